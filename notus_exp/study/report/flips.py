"""Section of the pairs that flip: prompts of which two arms learn something else, and some of them in full."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TypedDict

import numpy as np
import polars as pl

from notus_exp.contracts.run_file import RunFile
from notus_exp.curation.strategies import share
from notus_exp.disk.files import PAIRS
from notus_exp.disk.hashing import uniform
from notus_exp.reporting.texts import cut
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import ShownValue, shown

EXAMPLES = 5
"""Prompts shown for an arm beside the baseline."""
MOST_EXAMPLES = 20
"""Prompts shown in all."""
PROMPT_CHARS, RESPONSE_CHARS = 600, 700

_KEY = ["prompt_id", "row"]
_TITLE = "Pairs that flip"


class FlipShare(ShownValue):
    """How many prompts flip in some way; the texts are their share in percent, with a Wilson interval."""

    count: int


class FlipCounts(TypedDict):
    """What two arms make of the same prompts.

    Attributes:
        common: Prompts of which both make a pair.
        alone: Prompts of which only one of them does.
        chosen: Of the common ones those with another chosen text.
        rejected: Those with another rejected text.
        swapped: Those where the one's chosen text is the other's rejected one and the reverse.
    """

    common: int
    alone: int
    chosen: FlipShare
    rejected: FlipShare
    swapped: FlipShare


class FlipExamples(TypedDict):
    """Prompts of which two arms choose different responses.

    Attributes:
        first: The one arm.
        second: The other.
        prompts: The texts `prompt, chosen, rejected, chosen_right, rejected_right` of each, the last two the other's.
    """

    first: str
    second: str
    prompts: list[dict[str, str]]


def flips(material: Material) -> Section:
    """Return the section that counts, for each two arms, the prompts whose pair differs."""
    seed = material.common_seed("pairs")
    if seed is None:
        return Section("flips", _TITLE, None, "No seed has the pairs of every arm.")
    runs = {arm: run for arm in material.arms if (run := material.run(arm, seed)) is not None}
    found = {arm: _pairs(material, run) for arm, run in runs.items()}
    tables = {arm: table for arm, table in found.items() if table is not None}
    if len(tables) < 2:
        return Section("flips", _TITLE, None, "There are no two arms whose pairs can be compared.")
    same = [two for two in itertools.combinations(tables, 2) if _feedback(runs[two[0]]) == _feedback(runs[two[1]])]
    if not same:
        return Section(
            "flips", _TITLE, None, "The arms' pairs are of different feedback: their responses cannot be compared."
        )
    baseline = material.comparison["study"]["baseline"]
    content = {
        "seed": seed,
        "rows": [{"first": one, "second": two, **counts(tables[one], tables[two])} for one, two in same],
        "examples": _all_examples(material, tables, [two for two in same if baseline in two] or same, runs),
        "apart": len(list(itertools.combinations(tables, 2))) - len(same),
        "shown": EXAMPLES,
    }
    return Section("flips", _TITLE, content)


def counts(one: pl.DataFrame, two: pl.DataFrame) -> FlipCounts:
    """Count over the prompts of which both arms make a pair.

    Args:
        one: `prompt_id, row, chosen, rejected`: hashes of the texts.
        two: The same of the other arm.
    """
    both = _join(one, two)
    swapped = (pl.col("chosen") == pl.col("rejected_right")) & (pl.col("rejected") == pl.col("chosen_right"))
    return {
        "common": both.height,
        "alone": one.height + two.height - 2 * both.height,
        "chosen": _share(both, _differs("chosen")),
        "rejected": _share(both, _differs("rejected")),
        "swapped": _share(both, swapped),
    }


def _differs(role: str) -> pl.Expr:
    return pl.col(role) != pl.col(f"{role}_right")


def _join(one: pl.DataFrame, two: pl.DataFrame) -> pl.DataFrame:
    return one.join(two, on=_KEY, how="inner", validate="1:1")


def _share(both: pl.DataFrame, flipped: pl.Expr) -> FlipShare:
    count = int(both.select(flipped.sum()).item())
    found = share(count, both.height)
    value, low, high = (None if one is None else 100 * one for one in (found["value"], found["low"], found["high"]))
    return {"count": count, **shown({"value": value, "low": low, "high": high})}


def _pairs(material: Material, run: RunFile) -> pl.DataFrame | None:
    """Return a run's pairs with a hash in each text's place: texts are read again for the few that are shown."""
    table = material.table(run, "pairs", PAIRS, [*_KEY, "chosen", "rejected"])
    if table is None:
        return None
    hashes = [_text(role).hash().alias(role) for role in ("chosen", "rejected")]
    return table.select(*_KEY, *hashes).unique(_KEY, keep="first", maintain_order=True)


def _text(role: str) -> pl.Expr:
    return pl.col(role).list.last().struct.field("content")


def _feedback(run: RunFile) -> str | None:
    stage = run["stages"].get("feedback")
    return stage["key"] if stage else None


def _all_examples(
    material: Material, tables: Mapping[str, pl.DataFrame], pairs: list[tuple[str, str]], runs: Mapping[str, RunFile]
) -> list[FlipExamples]:
    """Return examples for each two arms, `EXAMPLES` at most and `MOST_EXAMPLES` in all, picked by a hash."""
    each = max(1, min(EXAMPLES, MOST_EXAMPLES // len(pairs)))
    found: list[FlipExamples] = []
    for one, two in pairs[:MOST_EXAMPLES]:
        different = _join(tables[one], tables[two]).filter(_differs("chosen"))
        order = np.argsort(uniform(different["prompt_id"], 0, "flips"), kind="stable")[:each]
        keys = different[order.tolist()].select(_KEY)
        if keys.height:
            found.append({"first": one, "second": two, "prompts": _examples(material, keys, runs[one], runs[two])})
    return found


def _examples(material: Material, keys: pl.DataFrame, one: RunFile, two: RunFile) -> list[dict[str, str]]:
    sides = []
    for run in (one, two):
        path = material.place(run, "pairs", PAIRS)
        assert path is not None  # it was read before
        texts = [_text(role).alias(role) for role in ("prompt", "chosen", "rejected")]
        wanted = pl.scan_parquet(path, glob=False).join(keys.lazy(), on=_KEY, how="semi")
        sides.append(wanted.select(*_KEY, *texts).unique(_KEY, keep="first").collect())
    both = keys.join(sides[0], on=_KEY, maintain_order="left").join(sides[1], on=_KEY, maintain_order="left")
    longest = {
        "prompt": PROMPT_CHARS,
        **dict.fromkeys(("chosen", "rejected", "chosen_right", "rejected_right"), RESPONSE_CHARS),
    }
    return [{name: cut(row[name], most) for name, most in longest.items()} for row in both.iter_rows(named=True)]
