"""Section of the pairs that flip: prompts of which two arms learn something else, and some of them in full."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import polars as pl

from notus_exp.comparison.pair_sets import RECORD, by_record, hashed, text_of
from notus_exp.contracts.run_file import RunFile
from notus_exp.curation.strategies import share
from notus_exp.disk.files import PAIRS
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.prompt_turns import as_read
from notus_exp.reporting.texts import cut
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import ShownValue, number

EXAMPLES = 5
"""Prompts shown of a group."""
MOST_EXAMPLES = 20
"""Prompts shown in all."""
PROMPT_CHARS, RESPONSE_CHARS = 600, 700
MOST_SIDE_BY_SIDE = 6
"""Arms of which each two are counted; of more each is counted against the baseline alone."""

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


class FlipResponse(TypedDict):
    """A response of a prompt, and which arms choose or reject it."""

    text: str
    chosen_by: list[str]
    rejected_by: list[str]


class FlipPrompt(TypedDict):
    """A prompt and all responses that some arm chooses or rejects, those most often chosen first."""

    prompt: str
    responses: list[FlipResponse]


class FlipGroup(TypedDict):
    """Prompts of which the same arms choose alike.

    Attributes:
        sides: The arms that choose the same response, side by side.
        count: How many such prompts there are.
        prompts: Some of them.
    """

    sides: list[list[str]]
    count: int
    prompts: list[FlipPrompt]


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
    twos = _compared([*tables], material.comparison["study"]["baseline"])
    same = [two for two in twos if _feedback(runs[two[0]]) == _feedback(runs[two[1]])]
    if not same:
        return Section(
            "flips", _TITLE, None, "The arms' pairs are of different feedback: their responses cannot be compared."
        )
    found_groups = [
        group
        for members in _of_one_feedback(tables, runs)
        for group in _groups(material, {arm: tables[arm] for arm in members}, runs)
    ]
    content = {
        "seed": seed,
        "rows": [{"first": one, "second": two, **counts(tables[one], tables[two])} for one, two in same],
        "groups": found_groups,
        "apart": len(twos) - len(same),
        "baseline": twos[0][0] if len(twos) < math.comb(len(tables), 2) else None,
    }
    return Section("flips", _TITLE, content)


def _compared(arms: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return each two arms; of more than `MOST_SIDE_BY_SIDE` the baseline and each other."""
    twos = [*itertools.combinations(arms, 2)]
    if len(arms) <= MOST_SIDE_BY_SIDE or baseline is None or baseline not in arms:
        return twos
    return [(baseline, arm) for arm in arms if arm != baseline]


def counts(one: pl.DataFrame, two: pl.DataFrame) -> FlipCounts:
    """Count over the prompts of which both arms make a pair.

    Args:
        one: `prompt_id, row, chosen, rejected`: what stands for the texts, as `pair_sets.by_record` has it.
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
    return one.join(two, on=RECORD, how="inner", validate="1:1")


def _share(both: pl.DataFrame, flipped: pl.Expr) -> FlipShare:
    count = int(both.select(flipped.sum()).item())
    found = share(count, both.height)
    value, low, high = (None if one is None else 100 * one for one in (found["value"], found["low"], found["high"]))
    return {"count": count, "text": number(value, 1), "span": f"{number(low, 1)} to {number(high, 1)}"}


def _pairs(material: Material, run: RunFile) -> pl.DataFrame | None:
    """Return a run's pairs with a hash in each text's place: texts are read again for the few that are shown."""
    table = material.table(run, "pairs", PAIRS, [*RECORD, "chosen", "rejected"])
    if table is None:
        return None
    return by_record(hashed(table))


def _feedback(run: RunFile) -> str | None:
    stage = run["stages"].get("feedback")
    return stage["key"] if stage else None


def _of_one_feedback(tables: Mapping[str, pl.DataFrame], runs: Mapping[str, RunFile]) -> list[list[str]]:
    """Return the arms of each feedback, where there are several."""
    found: dict[str | None, list[str]] = {}
    for arm in tables:
        found.setdefault(_feedback(runs[arm]), []).append(arm)
    return [arms for arms in found.values() if len(arms) > 1]


def _groups(material: Material, tables: Mapping[str, pl.DataFrame], runs: Mapping[str, RunFile]) -> list[FlipGroup]:
    """Return the prompts that all arms make a pair of and do not choose alike, grouped by which arms agree.

    The largest group comes first; its examples are picked by a hash.
    """
    arms = list(tables)
    joined = tables[arms[0]].select(*RECORD, pl.col("chosen").alias("0"))
    for place, arm in enumerate(arms[1:], start=1):
        joined = joined.join(tables[arm].select(*RECORD, pl.col("chosen").alias(str(place))), on=RECORD, how="inner")
    by_sides: dict[tuple[int, ...], list[int]] = {}
    for row, choices in enumerate(joined.select(str(place) for place in range(len(arms))).iter_rows()):
        sides = tuple(choices.index(one) for one in choices)  # which arm is the first to choose the same
        if any(sides):
            by_sides.setdefault(sides, []).append(row)
    ordered = sorted(by_sides.items(), key=lambda item: (-len(item[1]), item[0]))
    groups: list[FlipGroup] = []
    left = MOST_EXAMPLES
    for sides, rows in ordered:
        found = joined[rows]
        order = np.argsort(uniform(found["prompt_id"], 0, "flips"), kind="stable")[: min(EXAMPLES, left)]
        left -= len(order)
        groups.append(
            {
                "sides": [[arms[at] for at, of in enumerate(sides) if of == side] for side in dict.fromkeys(sides)],
                "count": len(rows),
                "prompts": _examples(material, found[order.tolist()].select(RECORD), {arm: runs[arm] for arm in arms})
                if len(order)
                else [],
            }
        )
    return groups


def _examples(material: Material, keys: pl.DataFrame, runs: Mapping[str, RunFile]) -> list[FlipPrompt]:
    """Return each prompt's texts once, with the arms that choose and reject them."""
    found: dict[tuple[str, int], FlipPrompt] = {}
    for arm, run in runs.items():
        path = material.place(run, "pairs", PAIRS)
        assert path is not None  # it was read before
        texts = [text_of(role).alias(role) for role in ("chosen", "rejected")]
        wanted = pl.scan_parquet(path, glob=False).join(keys.lazy(), on=RECORD, how="semi")
        for row in wanted.select(*RECORD, "prompt", *texts).collect().iter_rows(named=True):
            at = (row["prompt_id"], row["row"])
            turns = [turn for turn in row["prompt"] if turn["role"] != "system"]
            prompt = found.setdefault(at, {"prompt": as_read(turns, PROMPT_CHARS), "responses": []})
            _note(_response(prompt, row["chosen"])["chosen_by"], arm)
            _note(_response(prompt, row["rejected"])["rejected_by"], arm)
    for prompt in found.values():
        prompt["responses"].sort(key=lambda one: -len(one["chosen_by"]))
        for response in prompt["responses"]:
            response["text"] = cut(response["text"], RESPONSE_CHARS)
    return [found[at] for at in keys.iter_rows()]


def _response(prompt: FlipPrompt, text: str) -> FlipResponse:
    for one in prompt["responses"]:
        if one["text"] == text:
            return one
    prompt["responses"].append({"text": text, "chosen_by": [], "rejected_by": []})
    return prompt["responses"][-1]


def _note(arms: list[str], arm: str) -> None:
    """Note an arm once: of several pairs of a prompt it may choose one response in each."""
    if arm not in arms:
        arms.append(arm)
