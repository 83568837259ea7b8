"""Whether the arms of a study can be compared, asked before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import of_data
from notus_exp.run.pipeline import Run
from notus_exp.stages.settings import to_json
from notus_exp.study.launching.planned import Planned


def check_alike(planned: Sequence[Planned], metric: str) -> None:
    """Refuse, before anything is spent, arms that cannot be compared: other split or evaluation, or the same arm twice.

    Data may differ, unless the metric's prompts are held out of them.

    Raises:
        UserError: Naming two arms and what differs.
    """
    from notus_exp.comparison.compatibility import planned_difference  # Polars: not before a study is planned

    first = planned[0]
    scored = metric.split("/")[0]
    owner: dict[str, Planned] = {}
    for one in planned:
        twin = owner.setdefault(one.run.id, one)
        if twin.arm != one.arm and _later(one.run) == _later(twin.run):
            named = one.arm in one.run.config.study.arms
            raise UserError(
                f"arms '{twin.arm}' and '{one.arm}' are the same: they differ in nothing that moves a result",
                f"leave one of them out{f': ~study.arms.{one.arm}' if named else ''}",
            )
        alike: list[tuple[str, Callable[[Run, str], Any]]] = [("split", _split), (f"evaluation.{scored}", _asked)]
        if of_data(metric):
            alike.insert(0, ("feedback (data=...), out of which its prompts are held", _feedback))
        for what, of in alike:
            if of(one.run, scored) != of(first.run, scored):
                hint = "give it on the command line for all arms, or make two studies"
                if of is _feedback:
                    hint += ", or choose a study.metric with prompts of its own, such as verifiable/strict"
                    if len({run.config.rounds.number for run in (one.run, first.run)}) > 1:
                        hint += "; rounds.prompts=same gives every first round the same prompts"
                raise UserError(
                    f"arms '{first.arm}' and '{one.arm}' differ in {what}, so their {metric} cannot be compared", hint
                )
    by_run = {(one.arm, one.seed): {node.name: node.settings for node in one.run.nodes} for one in planned}
    if difference := planned_difference(by_run, metric):  # as the comparison would find it, after all was paid
        raise UserError(
            f"{metric} would not be measured in one way: {difference}",
            "give it on the command line for all arms, or make two studies; or choose the study.metric of another "
            "evaluation, beside which this one is kept apart",
        )


def _later(run: Run) -> Any:
    """Return what a run that stops early would go on with; nothing of one that does not, whose id says all."""
    if run.config.until in (Stage.config, Stage.evaluation):
        return None
    later = ("model", "sft", "dpo", "rounds", "generation", "judge", "evaluation")
    return [to_json(getattr(run.config, name)) for name in later]


def _feedback(run: Run, scored: str) -> Any:
    """Return the key of the feedback that a run is evaluated on, or that it curates where it stops before."""
    by_name = {node.name: node for node in run.nodes}
    read = by_name["evaluation"].inputs.get("feedback") if "evaluation" in by_name else None
    return read or by_name["feedback"].key


def _split(run: Run, scored: str) -> Any:
    return run.config.split, run.config.evaluation_split


def _asked(run: Run, scored: str) -> Any:
    return getattr(run.config.evaluation, scored, None)
