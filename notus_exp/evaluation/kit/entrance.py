"""The heavy half of an evaluation: what its module `measure` offers, and what measuring gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # the catalogue, which every plan reads, names these types and must stay light
    import polars as pl

    from notus_exp.config.judge_settings import Judge
    from notus_exp.generation.conversation import Question
    from notus_exp.inference.estimates import Estimate
    from notus_exp.judging.judge import Judged
    from notus_exp.stages.context import Context
    from notus_exp.stages.settings import EvaluationSettings, GenerationsSettings

BASE = "base/"
"""Prefix of the untuned model's metrics and columns."""
MOST = "most/"
"""Prefix of a column beside a metric's: the largest value that each prompt can have, where prompts differ in it."""

Locate = Callable[[str, str], Path]
"""(node of a run, file of its artifact) -> where that file is."""


class Part(NamedTuple):
    """One evaluation's share of the results.

    Attributes:
        metrics: Name -> estimate, for the policy, after `base/` for the base model, after `difference/` for both.
        facts: Counts of what was measured and left out.
        samples: Prompts with both answers, for reading; empty where nothing was generated.
        notes: Sentences that a reader of the metrics must know.
    """

    metrics: dict[str, Estimate]
    facts: dict[str, Any]
    samples: list[dict[str, str]] = []  # noqa: RUF012 - never changed
    notes: list[str] = []  # noqa: RUF012


class Entrance(Protocol):
    """What `measure.py` of every evaluation offers; `questions`, `judge`, `rehearse` only where its spec says so."""

    def measure(self, settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
        """Measure policy and base; tables by prompt go into the folder. Called by the stage `evaluation`."""
        ...

    def by_prompt(self, place: Locate) -> pl.DataFrame:
        """Return `prompt_id` (unique) and a column for each metric, without the evaluation's name, and after `base/`.

        Where the largest value is another for each prompt, and the least 0, a column after `most/` tells it.

        What is no mean over prompts has no column. Null and NaN are missing.
        """
        ...

    def check_files(self, files: Mapping[str, Path]) -> None:
        """Read what will be read, so that a malformed file is told before anything runs.

        Args:
            files: Setting of the evaluation -> local path, of those that are given.

        Raises:
            UserError: Naming the file, the record and what is wrong.
        """
        ...

    def questions(
        self, settings: GenerationsSettings, inputs: dict[str, Path], sources: Mapping[str, list[str]]
    ) -> list[Question]:
        """Return all questions, in a fixed order.

        Args:
            settings: How they are chosen and answered.
            inputs: `feedback`, where the evaluation has no file of prompts.
            sources: Local files by setting, such as `ifeval.prompts`.
        """
        ...

    def judge(self, generations: Path, judge: Judge, context: Context) -> Judged:
        """Have one side's answers (generations.parquet) judged; `context.sources` has the evaluation's files."""
        ...

    def rehearse(self, questions: Sequence[Question], sources: Mapping[str, list[str]]) -> None:
        """Measure answers that nobody gave to these questions, so that what is missing is told before anything runs.

        Raises:
            UserError: Naming what is missing.
        """
        ...
