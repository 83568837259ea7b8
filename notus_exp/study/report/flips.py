"""Section of the pairs that flip: prompts of which two arms learn something else, and some of them in full."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from notus_exp.curation.strategies import share
from notus_exp.disk.files import PAIRS
from notus_exp.disk.hashing import uniform
from notus_exp.reporting.texts import cut
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import span_of, value_of

EXAMPLES = 5
"""Prompts shown for an arm beside the baseline."""
MOST_EXAMPLES = 20
"""Prompts shown in all."""
PROMPT_CHARS, RESPONSE_CHARS = 600, 700

_KEY = ["prompt_id", "row"]
_TITLE = "Pairs that flip"


def flips(material: Material) -> Section:
    """Return the section that counts, for each two arms, the prompts whose pair differs."""
    seed = material.common_seed("pairs")
    if seed is None:
        return Section("flips", _TITLE, None, "No seed has the pairs of every arm.")
    runs = {arm: material.runs[arm][seed] for arm in material.arms if seed in material.runs.get(arm, {})}
    found = {arm: _pairs(material, run) for arm, run in runs.items()}
    tables = {arm: table for arm, table in found.items() if table is not None}
    if len(tables) < 2:
        return Section("flips", _TITLE, None, "There are no two arms whose pairs can be compared.")
    same = [two for two in itertools.combinations(tables, 2) if _feedback(runs[two[0]]) == _feedback(runs[two[1]])]
    if not same:
        return Section(
            "flips", _TITLE, None, "The arms' pairs are of different feedback: their responses cannot be compared."
        )
    baseline = material.comparison["study"].get("baseline")
    content = {
        "seed": seed,
        "rows": [{"first": one, "second": two, **counts(tables[one], tables[two])} for one, two in same],
        "examples": _all_examples(material, tables, [two for two in same if baseline in two] or same, runs),
        "apart": len(list(itertools.combinations(tables, 2))) - len(same),
        "shown": EXAMPLES,
    }
    return Section("flips", _TITLE, content)


def counts(one: pl.DataFrame, two: pl.DataFrame) -> dict[str, Any]:
    """Count over the prompts of which both arms make a pair.

    Args:
        one: `prompt_id, row, chosen, rejected`: hashes of the texts.
        two: The same of the other arm.

    Returns:
        `common`, `alone` (prompts that only one of them has) and, as a number and a share with a 95 % Wilson interval
        in percent, `chosen` (another chosen text), `rejected` (another rejected text) and `swapped` (the one's chosen
        is the other's rejected and the reverse).
    """
    both = _join(one, two)
    swapped = (pl.col("chosen") == pl.col("rejected_right")) & (pl.col("rejected") == pl.col("chosen_right"))
    differs = {"chosen": _differs("chosen"), "rejected": _differs("rejected"), "swapped": swapped}
    found = {name: int(both.select(expr.sum()).item()) for name, expr in differs.items()}
    return {
        "common": both.height,
        "alone": one.height + two.height - 2 * both.height,
        **{name: {"count": count, **_percent(count, both.height)} for name, count in found.items()},
    }


def _differs(role: str) -> pl.Expr:
    return pl.col(role) != pl.col(f"{role}_right")


def _join(one: pl.DataFrame, two: pl.DataFrame) -> pl.DataFrame:
    return one.join(two, on=_KEY, how="inner", validate="1:1")


def _percent(count: int, number: int) -> dict[str, str]:
    found = {
        name: value if name == "n" or value is None else 100 * value for name, value in share(count, number).items()
    }
    return {"text": value_of(found), "span": span_of(found)}


def _pairs(material: Material, run: Mapping[str, Any]) -> pl.DataFrame | None:
    """Return a run's pairs with a hash in each text's place: texts are read again for the few that are shown."""
    table = material.table(run, "pairs", PAIRS, [*_KEY, "chosen", "rejected"])
    if table is None:
        return None
    hashes = [_text(role).hash().alias(role) for role in ("chosen", "rejected")]
    return table.select(*_KEY, *hashes).unique(_KEY, keep="first", maintain_order=True)


def _text(role: str) -> pl.Expr:
    return pl.col(role).list.last().struct.field("content")


def _feedback(run: Mapping[str, Any]) -> str | None:
    key: str | None = run["stages"].get("feedback", {}).get("key")
    return key


def _all_examples(
    material: Material, tables: Mapping[str, pl.DataFrame], pairs: list[tuple[str, str]], runs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return examples for each two arms, `EXAMPLES` at most and `MOST_EXAMPLES` in all, picked by a hash."""
    each = max(1, min(EXAMPLES, MOST_EXAMPLES // len(pairs)))
    found = []
    for one, two in pairs[:MOST_EXAMPLES]:
        different = _join(tables[one], tables[two]).filter(_differs("chosen"))
        order = np.argsort(uniform(different["prompt_id"], 0, "flips"), kind="stable")[:each]
        keys = different[order.tolist()].select(_KEY)
        if keys.height:
            found.append({"first": one, "second": two, "prompts": _examples(material, keys, runs[one], runs[two])})
    return found


def _examples(
    material: Material, keys: pl.DataFrame, one: Mapping[str, Any], two: Mapping[str, Any]
) -> list[dict[str, Any]]:
    sides = []
    for run in (one, two):
        path = material.place(run, "pairs", PAIRS)
        assert path is not None  # it was read before
        texts = [_text(role).alias(role) for role in ("prompt", "chosen", "rejected")]
        wanted = pl.scan_parquet(path).join(keys.lazy(), on=_KEY, how="semi")
        sides.append(wanted.select(*_KEY, *texts).unique(_KEY, keep="first").collect())
    both = keys.join(sides[0], on=_KEY, maintain_order="left").join(sides[1], on=_KEY, maintain_order="left")
    longest = {
        "prompt": PROMPT_CHARS,
        **dict.fromkeys(("chosen", "rejected", "chosen_right", "rejected_right"), RESPONSE_CHARS),
    }
    return [{name: cut(row[name], most) for name, most in longest.items()} for row in both.iter_rows(named=True)]
