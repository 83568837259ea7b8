"""The stage `feedback` as a run makes it, from a command's overrides alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.schema import Config
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS
from notus_exp.feedback import completions
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings, from_json
from support.configs import composed


class Feedback(NamedTuple):
    """What the stage made: its counts, its table, its folder, and the node that it was planned as."""

    facts: dict[str, Any]
    table: pl.DataFrame
    out: Path
    node: Node


def asked(*overrides: str) -> Config:
    """Return the config of a run that ends with the feedback."""
    return composed("experiment=smoke", "until=feedback", "selection=critique", *overrides)


def planned(config: Config) -> tuple[Node, dict[str, list[str]]]:
    """Return the node of the feedback, and the files that it reads."""
    sources = resolve(config)
    return make_plan(config, sources)[0], sources.files


def made(folder: Path, *overrides: str) -> Feedback:
    """Make the feedback of a config in a folder."""
    node, files = planned(asked(*overrides))
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    events = EventWriter("feedback", out / "events.jsonl", folder / "followed.jsonl")
    context = Context(events, None, folder / "cache", files)  # type: ignore[arg-type] # no hardware is asked for
    facts = completions.run(from_json(FeedbackSettings, node.settings), {}, out, context)
    return Feedback(facts, pl.read_parquet(out / COMPLETIONS), out, node)
