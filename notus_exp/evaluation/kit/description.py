"""How an evaluation is described: what it needs, and each metric that it reports. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from notus_exp.config.schema import Config

MAXIMIZE, MINIMIZE = "maximize", "minimize"
"""Which way a metric is better, in the words of studies."""
SHARE, PERCENT = (0.0, 1.0), (0.0, 100.0)
"""Spans of shares and of percentages."""

Span = tuple[float, float]
"""The least and the largest value."""


class Metric(NamedTuple):
    """One metric of an evaluation, or a family of metrics.

    Attributes:
        name: Its name behind the evaluation's. One that ends in `/` (or is empty) stands for all that begin so: a
            metric for each labelling, kind of constraint, category or task.
        unit: Of a value and of a difference, in the plural; "" for shares and for what has none.
        meaning: What a value says, in words: "share of prompts".
        span: The least and the largest value that one prompt can have, where there are such.
        scale: The least and the largest value that is asked for, where a value beyond them stays as it is: no interval
            is cut to it, but a caution knows how far a prompt may go.
        least: The least value that one prompt can have, where nothing bounds it from above.
        ends_at: Setting of the evaluation beyond which no prompt's value goes, where one bounds it from above; the
            least is 0 then.
        direction: `MAXIMIZE` or `MINIMIZE`, whichever is better; None where neither is.
        headline: Shown at the end of a run and first in a report; of a family the members that are, or True for all.
        by_construction: The value that any base model has on every prompt, where it is not measured.
        digits: After the point, of a value with its interval.
        needs: Setting of the evaluation without which the metric is not measured.
        of_some_prompts: The metric is about some of the prompts only (those of a kind, a category or a task).
        caution: What a reader of its values must know wherever they are shown; "" where nothing.
    """

    name: str
    unit: str = ""
    meaning: str = ""
    span: Span | None = None
    scale: Span | None = None
    least: float | None = None
    ends_at: str | None = None
    direction: str | None = MAXIMIZE
    headline: bool | tuple[str, ...] = False
    by_construction: float | None = None
    digits: int = 3
    needs: str | None = None
    of_some_prompts: bool = False
    caution: str = ""

    @property
    def is_family(self) -> bool:
        """Whether the name stands for all that begin so."""
        return not self.name or self.name.endswith("/")

    @property
    def bounds(self) -> Span | None:
        """The least and the largest value that a mean can have, infinite where nothing bounds it; None: unknown."""
        return self.span if self.span is not None or self.least is None else (self.least, math.inf)

    def difference_span(self, *, base: bool = False) -> Span | None:
        """Return the least and the largest difference of two values of a prompt, where there are such.

        Args:
            base: The second is the base model's.
        """
        if self.span is None:
            return None
        constant = self.by_construction if base else None
        low, high = self.span if constant is None else (constant, constant)
        return self.span[0] - high, self.span[1] - low

    @property
    def digits_of_difference(self) -> int:
        """How many digits a table of differences shows: of small values one more."""
        return self.digits if self.digits <= 2 else self.digits + 1

    @property
    def label(self) -> str:
        """Unit and meaning, as an axis or the head of a column says them."""
        return f"{self.unit} ({self.meaning})" if self.unit and self.meaning else self.unit or self.meaning


class EvaluationSpec(NamedTuple):
    """All that is known of an evaluation before it runs.

    Its heavy half is `measure.py` in the folder of its name (see `catalogue.entrance`).

    Attributes:
        name: The option's, the folder's, and what its metrics begin with.
        metrics: In the order in which they are shown.
        version: Raised where what it reports changes, a new metric too: what was measured before is then measured anew.
        leads: Metrics that the manifest of the stage `evaluation` names, base, policy and difference.
        held_out: It has validation prompts beside the test prompts; else its prompts are fixed.
        answers: Base and policy answer its prompts.
        judged: A judge compares or rates the answers.
        prompts_file: The setting that names its file of prompts; None where it makes its own or has none.
        chosen_by: Settings that choose among its prompts, and so enter the key of the answers.
        files: Settings that name files, whose digests stand for them in keys.
        folders: Those of `files` that name a folder.
        measured_from: Word -> node of the plan whose settings say in which way the evaluation was measured.
        rehearsed: Its measuring needs what may be missing, and can be tried without any answer (`Entrance.rehearse`).
        labelled: Its values depend on the labellings that the data has.
        of_data: Its prompts are held out of the run's own data, so runs of other data are not compared on it.
        members: Known members of a family, before anything runs: (config, the family's name) -> endings. None: which
            there are is only known from a file of questions, or from the tasks themselves.
    """

    name: str
    metrics: tuple[Metric, ...]
    version: int = 1
    leads: tuple[str, ...] = ()
    held_out: bool = False
    answers: bool = False
    judged: bool = False
    prompts_file: str | None = None
    chosen_by: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    measured_from: Mapping[str, str] = MappingProxyType({})
    rehearsed: bool = False
    labelled: bool = False
    of_data: bool = False
    members: Callable[[Config, str], list[str] | None] = lambda config, family: None
