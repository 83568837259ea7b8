"""The settings of the group `evaluation`: one dataclass an evaluation, and which are chosen."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.ranges import HUB, bounded, place


@dataclass
class PreferencesEvaluation:
    """ScoreItem every completion of held-out prompts and compare the implicit reward with each labelling."""

    name: str
    max_prompts: Optional[int] = bounded(least=2)


@dataclass
class VerifiableEvaluation:
    """Generate answers to unseen constraint prompts and check them by program."""

    name: str
    prompts: int = bounded(least=2, most=100_000)
    seed: int = bounded(least=0)
    max_new_tokens: int = bounded(least=1)
    temperature: float = bounded(least=0)
    kl_prompts: int = bounded(least=0)


@dataclass
class Answering:
    """How the prompts of an evaluation are answered."""

    name: str
    seed: int = bounded(least=0)
    max_new_tokens: int = bounded(least=1)
    temperature: float = bounded(least=0)


@dataclass
class AlpacaEvalEvaluation(Answering):
    """Answers against reference answers, judged in both orders."""

    prompts: str = place(address=HUB)
    max_prompts: Optional[int] = bounded(least=2)
    difficulty: Optional[str] = place(address=HUB)
    leaderboard: Optional[str] = place(address=HUB)
    resamples: int = bounded(least=100)


@dataclass
class MTBenchEvaluation(Answering):
    """Two turns, each graded by a judge."""

    questions: str = place(address=HUB)
    references: Optional[str] = place(address=HUB)
    judge_prompts: Optional[str] = place(address=HUB)
    max_prompts: Optional[int] = bounded(least=2)
    temperatures: dict[str, float] = bounded(least=0)


@dataclass
class IFEvalEvaluation(Answering):
    """Instructions that IFEval's own checkers verify."""

    prompts: str = place(address=HUB)
    max_prompts: Optional[int] = bounded(least=2)
    exclude: list[int]


@dataclass
class LMEvalEvaluation:
    """Academic benchmarks through lm-evaluation-harness."""

    name: str
    tasks: list[str]
    include_path: Optional[str] = place()
    num_fewshot: Optional[int] = bounded(least=0)
    limit: Optional[int] = bounded(least=1)
    chat_template: bool
    seed: int = bounded(least=0)


@dataclass
class Evaluation:
    """The chosen evaluations (`evaluation=[preferences,verifiable]`); one that was not chosen is null.

    Choosing one sets its `name`; an overlay may set other keys of one that is not chosen, which changes nothing.
    """

    preferences: Optional[PreferencesEvaluation] = None
    verifiable: Optional[VerifiableEvaluation] = None
    alpaca_eval: Optional[AlpacaEvalEvaluation] = None
    mt_bench: Optional[MTBenchEvaluation] = None
    ifeval: Optional[IFEvalEvaluation] = None
    lm_eval: Optional[LMEvalEvaluation] = None
