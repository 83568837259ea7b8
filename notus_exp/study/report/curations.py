"""Section of what the arms train on: sizes, what is shared with the baseline, lengths, agreement with labellings."""

from __future__ import annotations

from typing import TypedDict

from notus_exp.contracts.curations_of_arms import ArmCuration, CurationsTable
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.study.report.material import Material, Section, parts
from notus_exp.study.report.numbers import ShownValue, number, span_of, value_of

_TITLE = "What the arms train on"
_SHADE = 0.35
"""Opacity behind a cell of all pairs in common."""


class PairsRow(TypedDict):
    """The pairs of an arm as texts, shares in percent, lengths in characters.

    Attributes:
        arm: Its name.
        pairs: Training pairs.
        prompts: Prompts that they are of.
        common: Share of its pairs that the baseline trains on too; None of the baseline, as is what follows.
        same_side: Of those, with the same side chosen.
        same_chosen: Of the prompts of both, with the same text chosen.
        longer: Chosen minus rejected.
        length: Of the chosen.
        length_difference: That minus the baseline's.
    """

    arm: str
    pairs: int
    prompts: int
    common: ShownValue | None
    same_side: ShownValue | None
    same_chosen: ShownValue | None
    longer: ShownValue
    length: ShownValue
    length_difference: ShownValue | None


class AgreementCell(ShownValue):
    """How often a labelling prefers the chosen side.

    Attributes:
        apart: Pairs that it ties on or does not score, in words; "" where there are none.
    """

    apart: str


class CommonCell(TypedDict):
    """What two arms train on in common.

    Attributes:
        text: Share of the row's pairs, in percent.
        shade: Opacity behind it.
    """

    text: str
    shade: str


def curations(material: Material) -> Section:
    """Return the section of what each arm trains on; comparisons of before have none."""
    found = material.comparison.get("curations")
    if not found or not found["arms"]:
        return Section("curations", _TITLE, None)
    if _alike(found):
        return Section("curations", _TITLE, None, "All arms train on the same pairs.")
    baseline = material.comparison["study"]["baseline"]
    labellings = list(dict.fromkeys(name for arm in found["arms"] for name in arm["agreement"]))
    content = {
        "seed": found["seed"],
        "baseline": baseline,
        "rows": [_row(arm, own=arm["arm"] == baseline) for arm in found["arms"]],
        "labellings": labellings,
        "parts": parts(labellings),
        "agreement": [(arm["arm"], [_agreement(arm, name) for name in labellings]) for arm in found["arms"]],
        "common": [
            (arm["arm"], [_common(share) for share in shares])
            for arm, shares in zip(found["arms"], found["common"], strict=False)  # there is none of many arms
        ],
    }
    return Section("curations", _TITLE, content)


def _alike(found: CurationsTable) -> bool:
    """Say whether all arms train on the same pairs, as where they differ in the training alone."""
    both_sides = all(arm["same_side"]["value"] == 1 for arm in found["arms"])
    if found["common"]:
        return both_sides and all(share == 1 for shares in found["common"] for share in shares)
    # of many arms each is compared with the baseline alone: all of as many pairs are all pairs of both
    one_size = len({arm["pairs"] for arm in found["arms"]}) == 1
    return both_sides and one_size and all(arm["common"]["value"] == 1 for arm in found["arms"])


def _row(arm: ArmCuration, *, own: bool) -> PairsRow:
    return {
        "arm": arm["arm"],
        "pairs": arm["pairs"],
        "prompts": arm["prompts"],
        "common": None if own else _percent(arm["common"]),
        "same_side": None if own else _percent(arm["same_side"]),
        "same_chosen": None if own else _percent(arm["same_chosen"]),
        "longer": _characters(arm["longer"], sign=True),
        "length": _characters(arm["length"]),
        "length_difference": None if own else _characters(arm["length_difference"], sign=True),
    }


def _agreement(arm: ArmCuration, labelling: str) -> AgreementCell | None:
    found = arm["agreement"].get(labelling)
    if found is None:
        return None
    apart = [f"{found['ties']:,} tied"] if found["ties"] else []
    apart += [f"{found['unscored']:,} without a score"] if found["unscored"] else []
    return {**_percent(found), "apart": ", ".join(apart)}


def _common(share: float) -> CommonCell:
    return {"text": number(100 * share, 0), "shade": f"{_SHADE * share:.2f}"}


def _percent(estimate: MeasuredValue) -> ShownValue:
    value, low, high = (None if one is None else 100 * one for one in _numbers(estimate))
    return {"text": number(value, 1), "span": _span(number(low, 1), number(high, 1), known=low is not None)}


def _characters(estimate: MeasuredValue, *, sign: bool = False) -> ShownValue:
    return {"text": value_of(estimate, sign=sign), "span": span_of(estimate, sign=sign)}


def _span(low: str, high: str, *, known: bool) -> str:
    return f"{low} to {high}" if known else "no interval"


def _numbers(estimate: MeasuredValue) -> tuple[float | None, float | None, float | None]:
    return estimate["value"], estimate["low"], estimate["high"]
