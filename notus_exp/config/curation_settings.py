"""The settings of the groups that make pairs of feedback: repair, selection, rejected, filters, split."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional

from notus_exp.config.ranges import bounded, place, unbounded

TopTies = Enum("TopTies", ["hash", "first", "drop"])
Ambiguous = Enum("Ambiguous", ["drop", "keep", "reannotate"])
PairChoice = Enum("PairChoice", ["random", "largest_margin"])
KeepSide = Enum("KeepSide", ["highest", "lowest", "middle"])
PairLabels = Enum("PairLabels", ["kept", "random", "reversed"])
MOST = 10**9
"""Counts of rows and characters beyond it would not fit the integers that tables hold."""


@dataclass
class Repair:
    """What is done about overall scores that are known to be wrong, or in doubt."""

    name: str
    low_mean: float
    high_mean: float
    ambiguous: Ambiguous
    suspicious: Optional[float] = bounded(above=0, most=9, since=None, default=None)
    annotator: Optional[str] = unbounded(since=None, default=None)


@dataclass
class Selection:
    """The score that orders the completions of a prompt; the highest is chosen. Null is that of the option's name."""

    name: str
    aspect: Optional[str]
    weights: dict[str, float]
    ties: TopTies
    labels: PairLabels = unbounded(since=PairLabels.kept, default=PairLabels.kept)
    score: Optional[str] = unbounded(since=None, default=None)
    place: str = unbounded(since="highest", default="highest")


@dataclass
class Rejected:
    """Which worse completion becomes the rejected one. Null is the selection's score, and the place of the name."""

    name: str
    strictly_worse: bool
    ties: TopTies
    score: Optional[str] = unbounded(since=None, default=None)
    place: Optional[str] = unbounded(since=None, default=None)


@dataclass
class PairRule:
    """How many pairs a prompt gives, and what each weighs in the loss."""

    per_prompt: str = unbounded(since="1", default="1")
    weight: Optional[str] = unbounded(since=None, default=None)


@dataclass
class Contamination:
    """Prompts that overlap with benchmark prompts."""

    files: list[str] = place()  # their digests stand for them
    field: Optional[str]
    ngram: int = bounded(least=1)
    max_overlap: float = bounded(least=0, most=1)


@dataclass
class Keep:
    """A share of the training pairs, by a number of each."""

    by: Optional[str] = None
    share: float = bounded(above=0, most=1, default=1.0)
    side: KeepSide = KeepSide.highest


@dataclass
class Filters:
    """Which prompts, completions and pairs are left out; each rule's drops are counted."""

    min_margin: float = bounded(least=0)
    min_chars: int = bounded(least=0, most=MOST)
    max_chars: Optional[int] = bounded(least=1, most=MOST)
    duplicate_prompts: bool
    duplicate_responses: bool
    identical_pairs: bool
    empty_responses: bool
    exclude_sources: list[str]
    contamination: Contamination
    valid_under: list[str]
    max_pairs: Optional[int] = bounded(least=1, most=MOST)
    max_pairs_by: PairChoice
    where: Optional[str] = unbounded(since=None, default=None)
    keep: Keep = unbounded(since=Keep(), default_factory=Keep)


@dataclass
class Split:
    """Shares of the prompts held out, by a hash of the folded prompt, and which of `folds` of the others are kept."""

    seed: int = bounded(least=0)
    validation: float = bounded(least=0, below=1)
    test: float = bounded(least=0, below=1)
    folds: Optional[int] = bounded(least=2, most=1000, since=None, default=None)
    fold: Optional[int] = bounded(least=0, since=None, default=None)
