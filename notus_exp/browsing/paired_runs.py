"""Two runs beside each other, prompt by prompt: the difference in every metric that both measured in the same way."""

from __future__ import annotations

from typing import Any, NamedTuple

from notus_exp.comparison.aligned import Measured
from notus_exp.comparison.compatibility import common_protocol
from notus_exp.comparison.contrasts import contrast
from notus_exp.comparison.per_prompt import on_shared_prompts, run_values
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import headlines, metric_of
from notus_exp.frames.run_data import RunData

_A, _B = "A", "B"
_SEED = 0
"""What both runs are aligned by, whatever their seeds."""


class Paired(NamedTuple):
    """The differences of two runs in the metrics that have a value by prompt, or why there are none.

    Attributes:
        rows: Metric -> value, interval, p, prompts, and how many prompts differ.
        notes: What is left out, and why.
    """

    rows: dict[str, dict[str, Any]]
    notes: list[str]


def paired_runs(one: RunData, two: RunData) -> Paired:
    """Return the differences, of the second less the first, by prompt of what both runs measured in the same way."""
    runs = {_A: one, _B: two}
    unfinished = [f"{name} is {run.status}, so no metric is compared" for name, run in runs.items() if not _done(run)]
    if unfinished:
        return Paired({}, unfinished)
    if one.artifacts.resolve() != two.artifacts.resolve():
        return Paired({}, ["the runs lie below different output folders, so their prompts are not paired"])
    try:
        protocol = common_protocol(one.folder, {(name, _SEED): run.record for name, run in runs.items()}, "")
        values = {name: {_SEED: run_values(run.folder, run.record)} for name, run in runs.items()}
    except UserError as error:
        return Paired({}, [f"no metric is compared: {error.message}"])
    notes = list(protocol.warnings)
    if protocol.feedback is None:
        values, left = on_shared_prompts(values)
        notes += left
    measured = Measured(values)
    names = [name for name in headlines(measured.metrics()) if name.partition("/")[0] not in protocol.apart]
    return Paired({name: row for name in names if (row := _row(measured, name))}, notes)


def _done(run: RunData) -> bool:
    return run.status == "finished"


def _row(measured: Measured, metric: str) -> dict[str, Any] | None:
    if not measured.seeds(metric, _A, _B):
        return None
    difference = measured.table(metric, _B, [_SEED]) - measured.table(metric, _A, [_SEED])
    found = contrast(difference, metric, _B, _A, span=metric_of(metric).difference_span())
    estimate = found.estimate
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "prompts": estimate.prompts,
        "differing": found.differing,
    }
