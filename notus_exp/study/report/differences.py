"""Sections on differences: the forest of contrasts, main effects and interactions, head-to-head strengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.comparison.words import HIGHER, LOWER
from notus_exp.reporting.figures import GREY, inline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import p_of, shown_first, span_of, value_of, with_unit
from notus_exp.study.report.palette import Look
from notus_exp.study.report.plots import Row, forest


def contrasts(material: Material) -> Section:
    """Return the section of all contrasts: those of the primary metric drawn first, the exploratory ones folded."""
    rows = material.comparison["contrasts"]
    if not rows:
        return Section("contrasts", "Differences", None, "There are no two models to contrast.")
    primary = [row for row in rows if row["primary"]]
    beside = [row for row in rows if not row["primary"] and row["metric"] == material.metric]
    others = [row for row in rows if row["metric"] != material.metric]
    drawn = shown_first([row["metric"] for row in others], "")
    content = {
        "metric": material.metric,
        "margin": material.comparison["study"].get("margin"),
        "figure": _figure(material, [*primary, *beside], "contrasts") if primary or beside else None,
        "primary": [_shown(row) for row in primary],
        "exploratory": [_shown(row) for row in [*beside, *others]],
        "others": [
            (name, _figure(material, [row for row in others if row["metric"] == name], f"contrasts{place}"))
            for place, name in enumerate(drawn)
        ],
    }
    return Section("contrasts", "Differences", content)


def effects(material: Material) -> Section:
    """Return the section of a grid's main effects and interactions; left out where the study is no grid."""
    rows = material.comparison.get("effects") or []
    if not rows:
        note = (
            "The grid has no effects to show: not all of its runs can be compared."
            if material.study.get("factors")
            else ""
        )
        return Section("effects", "Main effects and interactions", None, note)
    drawn = [Row(effect_name(row), row, _effect_look(row), _clear(row)) for row in rows]
    axis = f"difference in {with_unit(material.metric)}"
    words = "Effects of the grid: " + "; ".join(f"{row.name} {value_of(row.estimate, sign=True)}" for row in drawn)
    content = {
        "metric": material.metric,
        "figure": inline(forest(drawn, axis), "effects", words),
        "rows": [
            {
                "name": effect_name(row),
                "kind": row["kind"],
                "p": p_of(row["p"]),
                "degrees": row.get("degrees"),
                **_texts(row),
            }
            for row in rows
        ],
        "grid": _grid(material),
    }
    return Section("effects", "Main effects and interactions", content)


def bradley_terry(material: Material) -> Section:
    """Return the section of the strengths; left out where no verdicts of two models against each other exist."""
    found = material.comparison.get("bradley_terry")
    if not found:
        return Section("bradley_terry", "Head to head", None)
    strengths = found["strengths"]
    if not strengths:
        return Section("bradley_terry", "Head to head", None, found.get("note") or "No strengths could be fitted.")
    grey = Look(GREY, "o", "-")
    rows = [Row(one["name"], one, material.looks.get(one["name"], grey)) for one in strengths]
    words = "Strengths: " + "; ".join(f"{one['name']} {value_of(one, sign=True)}" for one in strengths)
    figure = inline(forest(rows, "strength (logits; the reference is 0)"), "strengths", words)
    reference = {"span": "the reference"}  # 0 by definition
    shown = [{"name": one["name"], **_texts(one), **({} if one["value"] else reference)} for one in strengths]
    return Section("bradley_terry", "Head to head", {**found, "figure": figure, "rows": shown})


def contrast_name(row: Mapping[str, Any]) -> str:
    """Return what is subtracted from what."""
    return f"{row['arm']} − {row['reference']}"


def effect_name(row: Mapping[str, Any]) -> str:
    """Return a main effect as `factor: level − reference level`, an interaction with both factors."""
    parts = zip(row["factors"], row["levels"], row["reference"], strict=True)
    return " × ".join(f"{factor}: {level} − {reference}" for factor, level, reference in parts)


def _figure(material: Material, rows: list[dict[str, Any]], name: str) -> Any:
    """Draw contrasts of one metric: the primary ones in their arm's colour, the exploratory ones grey."""
    drawn = []
    for row in rows:
        look = material.looks[row["arm"]]
        remark = row["verdict"]
        if row["primary"]:
            remark += f", Holm p {p_of(row['holm'])}" if row["holm"] is not None else ""
        else:
            look, remark = look._replace(colour=GREY), f"{remark} (exploratory)"
        drawn.append(Row(contrast_name(row), row, look, row["verdict"] in (HIGHER, LOWER), remark))
    metric = rows[0]["metric"]
    margins = [row["equivalence"]["margin"] for row in rows if row["primary"] and row["equivalence"]]
    axis = f"difference in {with_unit(metric)}"
    words = f"Differences in {metric}: " + "; ".join(
        f"{row.name} {value_of(row.estimate, sign=True)} [{span_of(row.estimate, sign=True)}], {row.remark}"
        for row in drawn
    )
    return inline(forest(drawn, axis, band=margins[0] if margins else None), name, words)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    equivalence = row["equivalence"]
    within = None
    if equivalence:
        yes = {True: "yes", False: "not shown"}.get(equivalence["equivalent"], "cannot tell")
        within = f"{yes} (p {p_of(equivalence['p'])})"
    components = {name: _deviation(row["components"].get(name)) for name in ("prompt", "seed", "residual")}
    bootstrap = row.get("bootstrap")
    return {
        **row,
        **_texts(row),
        "name": contrast_name(row),
        "p_text": p_of(row["p"]),
        "holm_text": p_of(row["holm"]),
        "bh_text": p_of(row["benjamini_hochberg"]),
        "within": within,
        "spread": components,
        "bootstrap_text": span_of({"value": row["value"], **bootstrap}, sign=True) if bootstrap else None,
        "permutation_text": p_of(row["permutation"]) if row.get("permutation") is not None else None,
    }


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {"text": value_of(row, sign=True), "span": span_of(row, sign=True)}


def _deviation(variance: float | None) -> float | None:
    return None if variance is None else float(variance) ** 0.5


def _clear(row: Mapping[str, Any]) -> bool:
    return row["low"] is not None and row["high"] is not None and not row["low"] <= 0 <= row["high"]


def _effect_look(row: Mapping[str, Any]) -> Look:
    return Look("#0072b2", "o", "-") if row["kind"] == "main" else Look("#cc79a7", "D", "-")


def _grid(material: Material) -> dict[str, Any] | None:
    """Return the primary metric by the levels of a grid of two factors."""
    factors = material.study.get("factors") or {}
    if len(factors) != 2:
        return None
    (down, downs), (across, acrosses) = factors.items()
    by_levels = {
        (str(row["levels"].get(down)), str(row["levels"].get(across))): row["metrics"].get(material.metric)
        for row in material.comparison["arms"]
    }
    cells = [[_cell(by_levels.get((str(one), str(two)))) for two in acrosses] for one in downs]
    return {"down": down, "across": across, "rows": list(zip(downs, cells, strict=True)), "columns": acrosses}


def _cell(estimate: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if estimate is None else {"text": value_of(estimate), "span": span_of(estimate)}
