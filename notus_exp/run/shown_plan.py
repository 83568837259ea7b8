"""What `until=config` shows of a run: what would be reused or made, how long that may take, and what is asked for."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from notus_exp.config.auto_hardware import AUTO, told_auto
from notus_exp.config.batches import plan_batches
from notus_exp.config.doubts import doubts
from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.made_settings import annotators_of, every_annotator
from notus_exp.config.mix_sources import sources_told
from notus_exp.config.schema import Stage
from notus_exp.config.sft_checks import as_recipe
from notus_exp.config.sft_settings import SftTraining
from notus_exp.config.told_to_deepspeed import zero_config
from notus_exp.disk.files import JOB
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import answering
from notus_exp.reporting.console import say, shorten
from notus_exp.reporting.going_on import working
from notus_exp.reporting.tables import number, print_table
from notus_exp.run import display
from notus_exp.run.amounts import Known
from notus_exp.run.asking_notes import asking_notes
from notus_exp.run.forecast import Forecast, Wanted
from notus_exp.run.intact import examine
from notus_exp.run.launch import launch_command
from notus_exp.run.made_notes import made_lines
from notus_exp.run.nodes import STAGES, Node
from notus_exp.run.pipeline import Run
from notus_exp.run.served_plan import served_lines
from notus_exp.run.sources import UNRESOLVED


def show_plan(run: Run, out: Console) -> None:
    """Print which stages would be reused and which run, and how; make nothing.

    Raises:
        UserError: A stage needs more memory than the config says that there is.
    """
    looks = {node.name: examine(node, run.store, run.by_key, read=False) for node in run.nodes}
    missing = [node for node in run.nodes if not looks[node.name].manifest]
    with working(run.console, "forecasting"):  # which may measure this machine
        forecast = Forecast(Wanted(run.config, run.by_key, missing), several=False, say=partial(say, run.console))
        seconds_of = {node.name: forecast.of(node).expected for node in run.nodes}
        words = forecast.in_words(missing)
    rows = []
    for node in run.nodes:
        manifest, damage = looks[node.name]
        if damage:
            say(out, f"{damage}: {node.name} will be made anew")
        started = STAGES[node.stage].resumable and run.store.partial(node.stage.name, node.key).exists()
        state = "reuse" if manifest else "continue" if started else "run"
        path = shorten(run.store.path(node.stage.name, node.key))
        seconds = manifest.seconds if manifest else None
        expected = seconds_of[node.name]
        rows.append(
            display.StageRow(
                node.name, state, seconds, path, f"about {number(expected.seconds, 0)}" if expected else ""
            )
        )
    print_table(display.stages_table(rows), out)
    out.print(f"expected: {words}", soft_wrap=True)
    for line in asking(run, missing, forecast.known):
        out.print(line, soft_wrap=True)
    hardware, dpo = run.config.hardware, run.config.dpo
    if run.choices.get("hardware") == AUTO:
        out.print(f"hardware: {told_auto(hardware)}", soft_wrap=True)
    batches = plan_batches(dpo, hardware)
    out.print(
        f"hardware {hardware.name}: {hardware.processes} x {hardware.device.name}, {dpo.precision.name}; "
        f"global batch {dpo.global_batch_size} = {batches.micro} pairs x {batches.accumulation} accumulation x "
        f"{batches.processes} processes",
        soft_wrap=True,
    )
    if isinstance(run.config.sft, SftTraining) and any(node.stage is Stage.sft for node in run.nodes):
        sft, spread = run.config.sft, plan_batches(as_recipe(run.config.sft), hardware)
        out.print(
            f"sft: {sft.precision.name}; global batch {sft.global_batch_size} = {spread.micro} conversations x "
            f"{spread.accumulation} accumulation x {spread.processes} processes",
            soft_wrap=True,
        )
    memory = run.memory(missing)
    if table := memory.table():
        print_table(table, out)
    for line in memory.lines():
        out.print(line, soft_wrap=True)
    if hardware.launch is not Launch.plain:
        out.print(f"launch: {shlex.join(_launched(hardware, str(run.folder / JOB)))}", soft_wrap=True)
    if hardware.launch is Launch.deepspeed:
        told = json.dumps(zero_config(dpo, hardware))
        out.print(f"deepspeed: {told}", soft_wrap=True, highlight=False, markup=False)
    for line in served_lines(run.config, missing, run.store):
        out.print(line, soft_wrap=True, markup=False)
    for spec in answering(run.config.evaluation):
        if spec.prompts_file:
            place = getattr(getattr(run.config.evaluation, spec.name), spec.prompts_file)
            out.print(f"prompts of {spec.name}: evaluation.{spec.name}.{spec.prompts_file}={place}", soft_wrap=True)
    for line in sources_told(run.config.data):
        say(out, line)
    if run.config.selection.name == "weighted":
        weights, aspects = run.config.selection.weights, run.config.data.aspects
        shown = ", ".join(f"{aspect} {weights.get(aspect, 0):g}" for aspect in aspects)
        out.print(f"weights of selection: {shown}", soft_wrap=True)
    for question in doubts(run.config, run.choices):
        say(out, f"question: {question}")
    sources = run.sources
    others = [*sources.evaluation_digests.values(), *sources.writer_digests.values(), sources.sft_digest]
    if UNRESOLVED in (sources.data_digest, sources.model_digest, *others):
        out.print("a hub could not be reached: the keys, and what is reused, are settled when it answers")
    if memory.available.configured:  # what this machine has says nothing of the one that will run it
        memory.check()


def _launched(hardware: Hardware, job: str) -> list[str]:
    """Return the launch command; where nothing here says where several nodes meet, with words for that."""
    try:
        return launch_command(hardware, job, os.environ)
    except UserError:  # the machines that run it may know
        return launch_command(hardware, job, {"PET_RDZV_ENDPOINT": "HOST:PORT"})


def asking(run: Run, missing: Sequence[Node], known: Known) -> list[str]:
    """Return a line for each writer and annotator among nodes that are to be made: what is asked, and what that costs.

    Args:
        run: The run.
        missing: Nodes of it.
        known: Where amounts of work are looked up.
    """

    def made(key: str) -> Path | None:
        node = run.by_key[key]
        return run.store.path(node.stage.name, key) if run.store.find(node.wanted) else None

    annotators = every_annotator(run.config.data, run.config.annotators)
    lines, later = made_lines(run.config, missing, known, made), {one.name for one in annotators_of(run.config.data)}
    if any(node.name == "answers" for node in missing):  # then what their judge is asked is told with the answers
        missing = [node for node in missing if node.settings.get("name") not in later]
    return [*lines, *asking_notes(missing, annotators, known, made, run.sources.files)]
