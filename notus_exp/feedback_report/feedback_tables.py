"""What the report on the feedback is made of: the completions without their texts, and what annotators said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.contracts.annotator_file import AnnotatorFile, read_annotator
from notus_exp.curation.annotator_report import GOLD, annotator_values, gold_of
from notus_exp.curation.columns import OVERALL, RATING
from notus_exp.curation.comparisons import CompletionPairs, groups_of, pairs_of_completions
from notus_exp.curation.scores import AVERAGE, CRITIQUE, labelling_scores
from notus_exp.disk.files import ANNOTATOR_JSON, COMPLETIONS
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.table import LATENT_QUALITY

RaterValues = NDArray[np.float64]
MOST_PROMPTS = 20_000
"""Completions are compared, prompt by prompt, of at most so many prompts: an agreement is then known to within 0.01."""
MOST_LABELLINGS = 12
"""Of more the table of agreements is not readable, nor worth its time."""
_WITHOUT_TEXTS = ("prompt_id", "row", "completion", "source", "model", "principle", OVERALL, LATENT_QUALITY)


class AnnotatorSource(NamedTuple):
    """An annotator's artifact.

    Attributes:
        folder: Where it lies.
        about: The aspect that it rates, `critique` for an overall score, "" where that is not known.
        made_ratings: Whether the ratings of the feedback are its own, so that it is nobody beside them.
    """

    folder: Path
    about: str
    made_ratings: bool


class WriterPaid(NamedTuple):
    """What a model that answered in this run, or in one that it reuses, cost.

    Attributes:
        name: The writer's.
        asked: Answers asked for.
        failed: Of them, those that were refused.
        tokens: Read and written; None where nobody tells.
        usd: What an endpoint was paid, 0 where none was asked; None where its prices are not known.
    """

    name: str
    asked: int
    failed: int
    tokens: int | None
    usd: float | None


class ReportedFeedback(NamedTuple):
    """What a run has of its feedback.

    Attributes:
        feedback: Folder of the artifact.
        annotators: Those that rated its completions.
        low_mean: Mean rating up to which an overall score of 10 is contradicted, as `repair.low_mean`.
        high_mean: Mean rating above which it is supported, as `repair.high_mean`.
        pairs: How many pairs were made of it; None where none were yet.
        paid: What its writers cost, where they were asked for it.
    """

    feedback: Path
    annotators: Sequence[AnnotatorSource]
    low_mean: float
    high_mean: float
    pairs: int | None
    paid: Sequence[WriterPaid] = ()


class Annotation(NamedTuple):
    """What an annotator said: in sum, of each completion (NaN where nothing), and of what."""

    told: AnnotatorFile
    values: RaterValues
    source: AnnotatorSource


class FeedbackTables(NamedTuple):
    """The feedback as the report reads it.

    Attributes:
        path: The completions table, whose texts are read where they are shown.
        completions: Of all n completions what is no text, and `chars`, the characters of the response.
        groups: Number of each one's prompt, shape (n,).
        aspects: Those with a rating column, in the table's order.
        labellings: Name -> value of each completion, NaN where missing: annotators that are nobody else's words, the
            aspects, `average`, `critique` and `gold` where they say anything.
        annotations: Of all annotators.
        compared: Every two completions of a prompt, of the compared prompts.
        sampled: Whether there are more than `MOST_PROMPTS` prompts, and a fixed sample of them is compared.
        left_out: Labellings beyond `MOST_LABELLINGS`.
    """

    path: Path
    completions: pl.DataFrame
    groups: NDArray[np.int64]
    aspects: list[str]
    labellings: dict[str, RaterValues]
    annotations: list[Annotation]
    compared: CompletionPairs
    sampled: bool
    left_out: list[str]


def read_feedback(sources: ReportedFeedback) -> FeedbackTables:
    """Read the completions and what annotators said of them.

    Raises:
        FileNotFoundError: A file is gone.
        DamagedFileError: An annotator.json cannot be read.
    """
    path = sources.feedback / COMPLETIONS
    table = pl.scan_parquet(path, glob=False)
    known = table.collect_schema().names()
    read = [name for name in known if name in _WITHOUT_TEXTS or name.startswith(RATING)]
    completions = table.select(*read, chars=pl.col("response").str.len_chars().cast(pl.Int64)).collect()
    aspects = [name.removeprefix(RATING) for name in known if name.startswith(RATING) and name != RATING + GOLD]
    annotations = []
    for source in sources.annotators:
        told = read_annotator(source.folder / ANNOTATOR_JSON)
        annotations.append(Annotation(told, annotator_values(completions, source.folder, told["name"]), source))
    labellings = _labellings(completions, aspects, annotations)
    groups = groups_of(completions)
    compared, sampled = _compared(completions, groups)
    return FeedbackTables(
        path,
        completions,
        groups,
        aspects,
        dict([*labellings.items()][:MOST_LABELLINGS]),
        annotations,
        compared,
        sampled,
        [*labellings][MOST_LABELLINGS:],
    )


def _labellings(
    completions: pl.DataFrame, aspects: Sequence[str], annotations: Sequence[Annotation]
) -> dict[str, RaterValues]:
    scores = labelling_scores(completions, aspects)
    overall, of_aspects = (
        {name: scores[name].fill_null(np.nan).to_numpy() for name in names} for names in ((CRITIQUE, AVERAGE), aspects)
    )
    own = {one.told["name"]: one.values for one in annotations if not one.source.made_ratings}
    gold = gold_of(completions)
    found = {**({} if gold is None else {GOLD: gold}), **overall, **own, **of_aspects}
    return {name: values for name, values in found.items() if not np.isnan(values).all()}


def _compared(completions: pl.DataFrame, groups: NDArray[np.int64]) -> tuple[CompletionPairs, bool]:
    """Return every two completions of a prompt, of many prompts those of a sample by a hash of their ids."""
    ids = completions["prompt_id"].unique().sort()
    if len(ids) <= MOST_PROMPTS:
        return pairs_of_completions(groups), False
    smallest = np.argsort(uniform(ids, 0, "feedback report"), kind="stable")[:MOST_PROMPTS]
    sampled = ids.gather(smallest.tolist()).implode()
    taken = np.flatnonzero(completions["prompt_id"].is_in(sampled).to_numpy())
    pairs = pairs_of_completions(groups[taken])
    return CompletionPairs(pairs.group, taken[pairs.one], taken[pairs.other]), True
