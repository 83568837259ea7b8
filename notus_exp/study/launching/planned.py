"""The runs of a study's arms: planned and checked before the first one starts, shown, and looked up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from notus_exp.config.doubts import doubts, margin_doubts
from notus_exp.config.expression_checks import named_columns
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk import streams
from notus_exp.disk.artifacts import Found
from notus_exp.disk.outputs import read_run
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import limit_of, width_of
from notus_exp.reporting.console import make_console, say
from notus_exp.reporting.going_on import working
from notus_exp.reporting.tables import Table, print_table
from notus_exp.run.forecast import Forecast, Wanted
from notus_exp.run.intact import examine
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.run.shown_plan import asking
from notus_exp.study.launching.jobs import Jobs


class Planned(NamedTuple):
    """A run of a study.

    Attributes:
        arm: Name of its arm.
        seed: Its seed.
        overrides: All of them, as a launcher is given them.
        run: The plan.
    """

    arm: str
    seed: int
    overrides: list[str]
    run: Run


def plan_arm(jobs: Jobs, arm: str, seeds: Sequence[int], overrides: Sequence[str]) -> list[Planned]:
    """Return the runs of an arm, one a seed.

    Raises:
        UserError: It cannot be run as described; the message names the arm.
    """
    try:
        return [Planned(arm, *planned) for planned in jobs.plan_seeds(overrides, seeds)]
    except UserError as error:
        raise UserError(f"arm '{arm}': {error.message}", error.hint) from error


def missing(planned: Sequence[Planned], folder: Path, *, read: bool = True) -> list[Planned]:
    """Return the runs that have not finished, whose last artifact is no longer there, or of which one is damaged.

    Args:
        planned: The runs.
        folder: The study's.
        read: Whether artifacts that were not checked before are read, or sizes are enough.
    """
    looked: dict[str, Found] = {}  # runs share artifacts, and what they are made from
    there: dict[str, Manifest | None] = {}

    def look(node: Node, run: Run) -> Found:
        def find(wanted: Manifest) -> Manifest | None:
            if wanted.key not in there:
                there[wanted.key] = run.store.find(wanted)
            return there[wanted.key]

        if node.key not in looked:
            looked[node.key] = examine(node, run.store, run.by_key, read=read, find=find)
        return looked[node.key]

    def finished(one: Planned) -> bool:
        if read_run(folder, one.run.id)["status"] != "finished":
            return False
        looks = [look(node, one.run) for node in one.run.nodes]
        return looks[-1].manifest is not None and not any(look.damage for look in looks)

    return [one for one in planned if not finished(one)]


def show(
    planned: Sequence[Planned], folder: Path, out: Console, *, tell: Callable[[str], None], in_process: bool = True
) -> None:
    """Print what is to be done: each arm's runs, the stages that are made or reused, and the time that may take.

    Args:
        planned: The runs.
        folder: The study's.
        out: Where the plan is printed.
        tell: Shows a line on the way to it.
        in_process: Whether the runs are made here, one after the other.
    """
    left = {one.run.id for one in missing(planned, folder, read=False)}
    by_arm: dict[str, list[Planned]] = {}
    for one in planned:
        by_arm.setdefault(one.arm, []).append(one)
    arms = []
    for arm, own in by_arm.items():
        to_run = sum(one.run.id in left for one in own)
        seeds = dict.fromkeys(one.seed for one in own)  # tuning has a run of each seed for every candidate
        arms.append([arm, ",".join(map(str, seeds)), str(len(own) - to_run), str(to_run)])
    print_table(Table("Runs", ["arm", "seeds", "finished", "to run"], arms), out)
    distinct = {node.key: (node, one.run) for one in planned for node in one.run.nodes}
    wanted = [node for node, run in distinct.values() if not run.store.find(node.wanted)]
    nodes = {key: node for key, (node, _) in distinct.items()}
    with working(make_console(streams.err()), "forecasting"):  # which may measure this machine
        forecast = Forecast(Wanted(planned[0].run.config, nodes, wanted), several=True, say=tell)
        needed = Counter(node.stage for one in planned for node in one.run.nodes)
        stages = []
        for stage in sorted(needed, key=lambda one: one.value):
            to_make = [node for node in wanted if node.stage is stage]
            different = sum(node.stage is stage for node, _ in distinct.values())
            stages.append(
                [stage.name, str(needed[stage]), str(different), str(len(to_make)), forecast.briefly(to_make)]
            )
        words = forecast.in_words(wanted)
    print_table(Table("Stages of all runs", ["stage", "needed", "distinct", "to make", "expected"], stages), out)
    order = "one run after the other"
    if not in_process:
        order = f"if {order} were made on this machine (the launcher may make several at once, or elsewhere)"
    say(out, f"expected, {order}: {words}")
    keys = {node.key for node in wanted}
    for node, run in distinct.values():
        for line in asking(run, [node], forecast.known) if node.key in keys else []:
            say(out, line)
    configs = [one.run.config for one in planned]
    used = {name for config in configs for name in named_columns(config)}
    questions = [question for one in planned for question in doubts(one.run.config, one.run.choices, used)]
    asked = planned[0].run.config.study
    limit = limit_of(asked.metric, [config.evaluation for config in configs])
    questions += margin_doubts(asked.margin, asked.metric, width_of(asked.metric, limit))
    for question in dict.fromkeys(questions):
        say(out, f"question: {question}")
