"""Sections on differences: the forest of contrasts, main effects and interactions, head-to-head strengths."""

from __future__ import annotations

from typing import TypedDict

from markupsafe import Markup

from notus_exp.contracts.comparison_file import HIGHER, LOWER, ContrastRow, EffectRow, StrengthRow, family_of
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.charts import ForestRow, Look, forest
from notus_exp.reporting.figures import GREY, inline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import ShownValue, p_of, shown, shown_first, span_of, value_of, with_unit


class ShownContrast(ContrastRow, ShownValue):
    """A contrast and its texts.

    Attributes:
        name: What is subtracted from what.
        p_text: p alone.
        holm_text: p by Holm.
        bh_text: p by Benjamini and Hochberg.
        holm_span: The interval at the level of Holm's step, shown of a family.
        within: Whether it is shown to be within the margin; None where there is none.
        spread: Standard deviations over prompts, seeds and what is left, in the metric's unit.
        bootstrap_text: Interval over seeds alone; None where they are too few.
        permutation_text: p over seeds alone, likewise.
    """

    name: str
    p_text: str
    holm_text: str
    bh_text: str
    holm_span: str
    within: str | None
    spread: dict[str, float | None]
    bootstrap_text: str | None
    permutation_text: str | None


class ShownEffect(ShownValue):
    """An effect: its name, whether it is a main one, and its p."""

    name: str
    kind: str
    p: str


class ShownStrength(ShownValue):
    """A strength and whose it is."""

    name: str


class GridTable(TypedDict):
    """The primary metric of a grid of two factors.

    Attributes:
        down: The factor whose levels are the rows.
        across: The other one.
        rows: Levels and their values, None where an arm has none.
        columns: Levels of the factor across.
    """

    down: str
    across: str
    rows: list[tuple[str, list[ShownValue | None]]]
    columns: list[str]


def contrasts(material: Material) -> Section:
    """Return the section of all contrasts: those of the primary metric drawn first, the exploratory ones folded."""
    rows = material.comparison["contrasts"]
    if not rows:
        return Section("contrasts", "Differences", None, "There are no two models to contrast.")
    primary = family_of(material.comparison)
    beside = [row for row in rows if row not in primary and row["metric"] == material.metric]
    others = [row for row in rows if row["metric"] != material.metric]
    drawn = shown_first([row["metric"] for row in others], "")
    content = {
        "metric": material.metric,
        "margin": material.comparison["study"]["margin"],
        "figure": _figure(material, [*primary, *beside], "contrasts") if primary or beside else None,
        "primary": [_texts(row) for row in primary],
        "exploratory": [_texts(row) for row in [*beside, *others]],
        "others": [
            (name, _figure(material, [row for row in others if row["metric"] == name], f"contrasts{place}"))
            for place, name in enumerate(drawn)
        ],
    }
    return Section("contrasts", "Differences", content)


def effects(material: Material) -> Section:
    """Return the section of a grid's main effects and interactions; left out where the study is no grid."""
    rows = material.comparison["effects"]
    if not rows:
        note = (
            "The grid has no effects to show: not all of its runs can be compared."
            if material.study.get("factors")
            else ""
        )
        return Section("effects", "Main effects and interactions", None, note)
    drawn = [ForestRow(effect_name(row), row, _effect_look(row), _clear(row)) for row in rows]
    axis = f"difference in {with_unit(material.metric)}"
    words = "Effects of the grid: " + "; ".join(f"{row.name} {value_of(row.estimate, sign=True)}" for row in drawn)
    content = {
        "metric": material.metric,
        "figure": inline(forest(drawn, axis), "effects", words),
        "rows": [_effect_texts(row) for row in rows],
        "grid": _grid(material),
    }
    return Section("effects", "Main effects and interactions", content)


def bradley_terry(material: Material) -> Section:
    """Return the section of the strengths; left out where no verdicts of two models against each other exist."""
    found = material.comparison["bradley_terry"]
    if not found:
        return Section("bradley_terry", "Head to head", None)
    strengths = found["strengths"]
    if not strengths:
        return Section("bradley_terry", "Head to head", None, found["note"])
    grey = Look(GREY, "o", "-")
    rows = [ForestRow(one["name"], one, material.looks.get(one["name"], grey)) for one in strengths]
    words = "Strengths: " + "; ".join(f"{one['name']} {value_of(one, sign=True)}" for one in strengths)
    figure = inline(forest(rows, "strength (logits; the reference is 0)"), "strengths", words)
    content = {**found, "figure": figure, "rows": [_strength_texts(one) for one in strengths]}
    return Section("bradley_terry", "Head to head", content)


def contrast_name(row: ContrastRow) -> str:
    """Return what is subtracted from what."""
    return f"{row['arm']} − {row['reference']}"


def effect_name(row: EffectRow) -> str:
    """Return a main effect as `factor: level − reference level`, an interaction with both factors."""
    parts = zip(row["factors"], row["levels"], row["reference"], strict=True)
    return " × ".join(f"{factor}: {level} − {reference}" for factor, level, reference in parts)


def _figure(material: Material, rows: list[ContrastRow], name: str) -> Markup:
    """Draw contrasts of one metric: the primary ones in their arm's colour, the exploratory ones grey."""
    drawn = []
    for row in rows:
        look = material.looks[row["arm"]]
        remark = row["verdict"]
        if row["primary"]:
            remark += f", Holm p {p_of(row['holm'])}" if row["holm"] is not None else ""
        else:
            look, remark = look._replace(colour=GREY), f"{remark} (exploratory)"
        drawn.append(ForestRow(contrast_name(row), row, look, row["verdict"] in (HIGHER, LOWER), remark))
    metric = rows[0]["metric"]
    margins = [row["equivalence"]["margin"] for row in rows if row["primary"] and row["equivalence"]]
    axis = f"difference in {with_unit(metric)}"
    words = f"Differences in {metric}: " + "; ".join(
        f"{row.name} {value_of(row.estimate, sign=True)} [{span_of(row.estimate, sign=True)}], {row.remark}"
        for row in drawn
    )
    return inline(forest(drawn, axis, band=margins[0] if margins else None), name, words)


def _texts(row: ContrastRow) -> ShownContrast:
    equivalence, components, bootstrap = row["equivalence"], row["components"], row["bootstrap"]
    within = None
    if equivalence:
        yes = {True: "yes", False: "not shown"}.get(equivalence["equivalent"], "cannot tell")
        within = f"{yes} (p {p_of(equivalence['p'])})"
    return {
        **row,
        **shown(row, sign=True),
        "name": contrast_name(row),
        "p_text": p_of(row["p"]),
        "holm_text": p_of(row["holm"]),
        "bh_text": p_of(row["benjamini_hochberg"]),
        "holm_span": span_of({"value": row["value"], "low": row["holm_low"], "high": row["holm_high"]}, sign=True),
        "within": within,
        "spread": {name: _deviation(components[name]) for name in ("prompt", "seed", "residual")},
        "bootstrap_text": span_of({"value": row["value"], **bootstrap}, sign=True) if bootstrap else None,
        "permutation_text": p_of(row["permutation"]) if row["permutation"] is not None else None,
    }


def _strength_texts(row: StrengthRow) -> ShownStrength:
    span = span_of(row, sign=True) if row["value"] else "the reference"  # 0 by definition
    return {"name": row["name"], "text": value_of(row, sign=True), "span": span}


def _effect_texts(row: EffectRow) -> ShownEffect:
    return {"name": effect_name(row), "kind": row["kind"], "p": p_of(row["p"]), **shown(row, sign=True)}


def _deviation(variance: float | None) -> float | None:
    return None if variance is None else float(variance) ** 0.5


def _clear(row: MeasuredValue) -> bool:
    return row["low"] is not None and row["high"] is not None and not row["low"] <= 0 <= row["high"]


def _effect_look(row: EffectRow) -> Look:
    return Look("#0072b2", "o", "-") if row["kind"] == "main" else Look("#cc79a7", "D", "-")


def _grid(material: Material) -> GridTable | None:
    """Return the primary metric by the levels of a grid of two factors."""
    factors = material.study.get("factors") or {}
    if len(factors) != 2:
        return None
    (down, downs), (across, acrosses) = factors.items()
    by_levels = {
        (str(row["levels"].get(down)), str(row["levels"].get(across))): row["metrics"].get(material.metric)
        for row in material.comparison["arms"]
    }
    found = [[by_levels.get((str(one), str(two))) for two in acrosses] for one in downs]
    cells = [[None if cell is None else shown(cell) for cell in row] for row in found]
    return {"down": down, "across": across, "rows": list(zip(downs, cells, strict=True)), "columns": acrosses}
