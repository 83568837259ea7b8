"""`runs pairs`: preference pairs in full, of one run or those of which two runs learn something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from notus_exp.comparison.pair_sets import RECORD, by_record
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError, did_you_mean
from notus_exp.frames.run_data import RunData
from notus_exp.inference.estimates import share_estimate
from notus_exp.reporting.tables import Report, Table, number, span
from notus_exp.reporting.texts import cut, many

_SALT = "read"
_OTHER = "_other"


class Reading(NamedTuple):
    """Which pairs are read.

    Attributes:
        most: How many at most.
        split: Only those of this split; None for all.
        prompt: Only those whose prompt's id begins so; None for all.
        characters: Of each text at most; 0 for all of it.
    """

    most: int = 5
    split: str | None = None
    prompt: str | None = None
    characters: int = 600


def pairs_report(run: RunData, reading: Reading) -> Report:
    """Return pairs of a run, drawn by a hash of their prompts: the same ones each time.

    Raises:
        UserError: The run has no pairs, or none that are asked for.
    """
    pairs = _chosen(_pairs(run), reading)
    shown = _drawn(pairs, reading.most)
    sentences = [text for row in shown for text in _texts(row, reading.characters)]
    sentences.append(f"{len(shown)} of {pairs.height} pairs of {run.run_id}{_of_split(reading)}")
    return Report({"run": run.run_id, "pairs": shown, "of": pairs.height}, [], sentences)


def flips_report(run: RunData, other: RunData, reading: Reading) -> Report:
    """Return how many pairs differ between two runs of the same feedback, and some of them in full.

    Raises:
        UserError: A run has no pairs, none that are asked for, or the two are of different feedback.
    """
    own, theirs = _pairs(run), _pairs(other)
    if _feedback(run) != _feedback(other):
        raise UserError(
            f"the pairs of {run.run_id} and {other.run_id} are of different feedback: their responses are not the same",
            "name two runs of the same data",
        )
    joined = by_record(own).join(by_record(theirs), on=RECORD, how="inner", suffix=_OTHER, maintain_order="left")
    differs = {role: pl.col(role) != pl.col(role + _OTHER) for role in ("chosen", "rejected")}
    swapped = (pl.col("chosen") == pl.col(f"rejected{_OTHER}")) & (pl.col("rejected") == pl.col(f"chosen{_OTHER}"))
    counts = {
        "another chosen response": _count(joined, differs["chosen"]),
        "another rejected response": _count(joined, differs["rejected"]),
        "chosen and rejected swapped": _count(joined, swapped),
    }
    firsts = _first(own).join(_first(theirs), on=RECORD, how="inner", suffix=_OTHER, maintain_order="left")
    apart = joined.filter(differs["chosen"] | differs["rejected"])
    flipped = _chosen(firsts.join(apart, on=RECORD, how="semi", maintain_order="left"), reading, found="pairs differ")
    shown = _drawn(flipped, reading.most)
    rows = [[name, str(count), *_share(count, joined.height)] for name, count in counts.items()]
    table = Table("Prompts", ["", "count", "share", "95 %"], rows)
    sentences = [text for row in shown for text in _both(row, run, other, reading.characters)]
    alone = _first(own).height + _first(theirs).height - 2 * joined.height
    if own.height > _first(own).height or theirs.height > _first(theirs).height:
        sentences.append("of a prompt with several pairs all are compared, and the first is shown")
    sentences.append(
        f"{len(shown)} of {flipped.height} pairs that differ{_of_split(reading)};"
        f" {many(joined.height, 'prompt has', 'prompts have')} a pair in both runs, {alone} in one only"
    )
    data = {"run": run.run_id, "other": other.run_id, "common": joined.height, "alone": alone, "counts": counts}
    return Report({**data, "pairs": shown, "of": flipped.height}, [table], sentences)


def _pairs(run: RunData) -> pl.DataFrame:
    if "pairs" not in run.record.get("stages", {}):
        raise UserError(f"run {run.run_id} has no pairs: it is {run.status}", "name a run that got so far")
    return run.pairs


def _first(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the first pair of each record."""
    return pairs.unique(RECORD, keep="first", maintain_order=True)


def _chosen(pairs: pl.DataFrame, reading: Reading, found: str = "pairs") -> pl.DataFrame:
    """Return the pairs that are asked for.

    Raises:
        UserError: There are none.
    """
    if reading.split is not None:
        splits = pairs["split"].unique().to_list()
        if pairs.height and reading.split not in splits:
            raise UserError(f"no {found} in the split '{reading.split}'", did_you_mean(reading.split, splits))
        pairs = pairs.filter(pl.col("split") == reading.split)
    if reading.prompt is not None:
        pairs = pairs.filter(pl.col("prompt_id").str.starts_with(reading.prompt))
        if not pairs.height:
            raise UserError(f"no {found} of a prompt whose id begins with '{reading.prompt}'", "leave --prompt out")
    return pairs


def _drawn(pairs: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    order = np.argsort(uniform(pairs["prompt_id"], 0, _SALT), kind="stable")[:count]
    rows: list[dict[str, Any]] = pairs[order.tolist()].to_dicts()
    return rows


def _count(joined: pl.DataFrame, wanted: pl.Expr) -> int:
    return int(joined.select(wanted.sum()).item())


def _share(count: int, n: int) -> list[str]:
    found = share_estimate(count, n)
    return [number(found.value, 3), span(found.low, found.high, 3)]


def _feedback(run: RunData) -> str | None:
    stage = run.record.get("stages", {}).get("feedback")
    return stage["key"] if stage else None


def _of_split(reading: Reading) -> str:
    return f" in the split {reading.split}" if reading.split else ""


def _texts(row: dict[str, Any], characters: int) -> list[str]:
    return [*_head(row, characters), *_sides(row, "", characters), ""]


def _both(row: dict[str, Any], run: RunData, other: RunData, characters: int) -> list[str]:
    sides = [[f"-- {one.run_id}", *_sides(row, end, characters)] for one, end in ((run, ""), (other, _OTHER))]
    return [*_head(row, characters), *sides[0], *sides[1], ""]


def _head(row: dict[str, Any], characters: int) -> list[str]:
    whose = [
        f"== prompt {row['prompt_id']}, row {row['row']}, {row['split']}, from {row['source'] or 'an unknown source'}"
    ]
    system = [f"[system] {_cut(row['system'], characters)}"] if row["system"] else []
    context = [f"[before] {_cut(row['context'], characters)}"] if row["context"] else []
    return [*whose, *system, *context, f"[prompt] {_cut(row['prompt'], characters)}"]


def _sides(row: dict[str, Any], end: str, characters: int) -> Sequence[str]:
    said = []
    for role in ("chosen", "rejected"):
        writer = row[f"{role}_model{end}"]
        by = f", by {writer}" if writer else ""
        score = number(row[f"{role}_score{end}"], 2)
        said.append(f"[{role}, score {score}{by}] {_cut(row[f'{role}{end}'], characters)}")
    return said


def _cut(text: str, characters: int) -> str:
    return cut(text, characters) if characters else text
