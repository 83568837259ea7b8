"""Studies of many finished runs without training them: one run is made, and the others are copies with moved values.

What a study's command plans is what lies there afterwards: each artifact under its own key, with manifest and hashes,
and a run.json a run, written by the code that writes them for runs that were trained. Numbers by prompt are those of
the first run with noise of their own, and an effect of the arm.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from scale import NAME, arguments

import notus_exp.study.sweep as sweeping
from notus_exp.__main__ import command
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.provenance import Provenance
from notus_exp.disk.files import BY_PROMPT, MANIFEST
from notus_exp.disk.keys import contents_of
from notus_exp.disk.outputs import read_run
from notus_exp.run.execution import execute
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.run.record import RunRecord
from notus_exp.run.surroundings import surroundings
from notus_exp.study.launching.launched import Launched
from notus_exp.study.launching.planned import Planned
from notus_exp.study.launching.prepare import CURATED

MOVED = {"preferences": 0.05, "verifiable": 0.05}
"""Evaluation -> standard deviation of the noise of each run on each prompt, beside the values of the first run."""


def make(output: Path, runs: int) -> None:
    """Make a study of finished runs that was not compared yet; its first run is a real one.

    Args:
        output: output_dir.
        runs: As of `scale.arguments`.
    """
    sweeping._launch = copied  # type: ignore[assignment]
    sweeping._conclude = lambda *given, **named: None  # type: ignore[assignment]
    sys.argv[1:] = arguments(output, runs)
    command()


def copied(_jobs: object, planned: Sequence[Planned], *_given: object, **_named: object) -> Launched:
    """Make the first run, and copies of what it made for the others, in the place of a study's launching."""
    first = planned[0].run
    first.execute()
    made = {node.name: node for node in first.nodes}
    arms = list(dict.fromkeys(one.arm for one in planned))
    for one in planned:
        _record(one.run, first, made, [arms.index(one.arm), one.seed])
    return Launched({}, None)


def _record(run: Run, first: Run, made: Mapping[str, Node], draw: Sequence[int]) -> None:
    """Write a run's artifacts, those that are not there, and its run.json."""
    store = run.store
    if run.id == first.id or read_run(store.root.parent / "studies" / NAME, run.id)["status"] == "finished":
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    written = RunRecord(run.config, run.choices, run.id, run.folder, store, run.nodes)
    for node in run.nodes:
        if node.stage in CURATED:
            manifest, here = execute(node, run.job([node]))
        else:
            source = store.path(made[node.name].stage.name, made[node.name].key)
            manifest, here = store.build(_wanted(node, run), partial(_copy, source, draw), resumable=False)
        written.add(node, manifest, reused=not here)
    written.finish("finished")


def _wanted(node: Node, run: Run) -> Manifest:
    wanted = node.wanted
    inputs = {use: run.store.path(node.uses[use], key) for use, key in node.inputs.items()}
    wanted.contents = contents_of(inputs)
    wanted.provenance = [cast(Provenance, surroundings(run.config.hardware, []))]
    return wanted


def _copy(source: Path, draw: Sequence[int], out: Path) -> dict[str, Any]:
    """Copy an artifact, its numbers by prompt moved; return its facts."""
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    for evaluation, spread in MOVED.items():
        path = out / BY_PROMPT.format(evaluation)
        if path.exists():
            moved(pl.read_parquet(path), draw, spread).write_parquet(path)
    return read_manifest(source / MANIFEST).facts


def moved(table: pl.DataFrame, draw: Sequence[int], spread: float) -> pl.DataFrame:
    """Return a table by prompt with noise on the policy's numbers, and an effect of the arm; the base model's stay.

    Args:
        table: Of an evaluation.
        draw: The numbers of arm and seed.
        spread: Standard deviation of the noise on a number; that of the effect is a tenth of it.
    """
    effect = np.random.default_rng(draw[0]).normal(0, spread / 10)
    noise = np.random.default_rng(draw).normal(effect, spread, table.height)
    return table.with_columns(
        [
            (pl.col(name) + pl.Series(noise)).alias(name)
            for name, kind in table.schema.items()
            if kind.is_float() and not name.startswith(("base/", "most/"))
        ]
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
