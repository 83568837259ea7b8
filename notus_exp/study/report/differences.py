"""Sections on differences: the contrasts, main effects and interactions, head-to-head strengths."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict, cast

from markupsafe import Markup

from notus_exp.comparison.cautions import counted_cautions, of_seeds
from notus_exp.contracts.comparison_file import (
    ALIKE,
    BASE_MODEL,
    HIGHER,
    LOWER,
    ContrastRow,
    EffectRow,
    StrengthRow,
    family_of,
)
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.figures import COLOURS
from notus_exp.reporting.looks import GREY, UNKNOWN_LOOK, Look
from notus_exp.reporting.strips import Scale, axis, scale_of, strip
from notus_exp.study.report.headline import cautions_beside, verdict_word, what_each_takes
from notus_exp.study.report.material import Material, Section, parts
from notus_exp.study.report.numbers import ShownValue, about, number, p_of, shown, span_of, unit_after, value_of


class ShownContrast(ContrastRow, ShownValue):
    """A contrast and its texts.

    Attributes:
        in_family: Whether Holm's p corrects it together with others, as it does the primary ones.
        look: Colour and marker of its arm, grey where it is of no family.
        strip: Its interval, drawn on the scale of its table.
        said: Its verdict: better or worse where the metric has a direction.
        tone: The class of the verdict's colour; "" for none.
        name: What is subtracted from what.
        p_text: p alone.
        holm_text: p by Holm.
        bh_text: p by Benjamini and Hochberg.
        holm_span: The interval at the level of Holm's step, shown of a family.
        deciding: That interval where its own would say otherwise than the verdict; None where both say the same.
        within: Whether it is shown to be within the margin; None where there is none.
        spread: Standard deviations over prompts, seeds and what is left, in the metric's unit.
        bootstrap_text: Interval over seeds alone; None where they are too few.
        permutation_text: p over seeds alone, likewise.
    """

    in_family: bool
    look: Look
    strip: Markup
    said: str
    tone: str
    name: str
    p_text: str
    holm_text: str
    bh_text: str
    holm_span: str
    deciding: str | None
    within: str | None
    spread: dict[str, str]
    bootstrap_text: str | None
    permutation_text: str | None


class StripTable(TypedDict):
    """Contrasts of one metric, all on one scale.

    Attributes:
        axis: The scale's numbers.
        groups: What is said above some rows, "" for nothing, and the rows.
    """

    axis: Markup
    groups: list[tuple[str, list[ShownContrast]]]


class ShownEffect(ShownValue):
    """An effect: its name, whether it is a main one, its p, and its interval drawn."""

    name: str
    kind: str
    p: str
    strip: Markup


class ShownStrength(ShownValue):
    """A strength, whose it is, and its interval drawn."""

    name: str
    strip: Markup


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
    """Return the section of all contrasts: those of the primary metric in one table, the other metrics' folded."""
    rows = material.comparison["contrasts"]
    if not rows:
        return Section("contrasts", "Differences", None, "There are no two models to contrast.")
    primary = family_of(material.comparison)
    of_family = {id(row) for row in primary}
    beside = [row for row in rows if id(row) not in of_family and row["metric"] == material.metric]
    others = [row for row in rows if row["metric"] != material.metric]
    margin = material.comparison["study"]["margin"]
    shown_arms = {*material.shown}
    told = [row for row in beside if row["arm"] in shown_arms]
    groups = [
        ("", [_texts(material, row, in_family=True) for row in primary]),
        (_beside_title(told), [_texts(material, row) for row in told]),
    ]
    detailed = [row for row in groups[0][1] if row["arm"] in shown_arms]
    content = {
        "metric": material.metric,
        "about": about(material.metric),
        "margin": None if margin is None else f"{margin:g}{unit_after(material.metric)}",
        "sizes": _sizes(primary or beside),
        "baseline": material.comparison["study"]["baseline"],
        "table": _strips([*primary, *told], [group for group in groups if group[1]], margin),
        "primary": groups[0][1],
        "detailed": detailed,
        "parts": parts([row["arm"] for row in detailed]),
        "remarks": [*cautions_beside(primary), *_counted(beside, primary)],
        "remarks_of_others": _counted(others, primary),
        "takes": what_each_takes(primary, margin, shown_arms),
        "corrected": len(primary) > 1,
        "planned": all(row["primary"] for row in primary),
        "others": [_of_metric(material, name, rows) for name, rows in _by_metric(others, shown_arms).items()],
        "count": len(others),
    }
    fewer = f"All contrasts in {material.metric} with the baseline stand here; of all else {material.fewer}"
    return Section("contrasts", "Differences", content, fewer=fewer if material.fewer else "")


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
    if len(material.study.get("factors") or {}) == 1:  # its effects are the contrasts, which stand above
        return Section("effects", "Main effects and interactions", None)
    scale = scale_of(rows)
    content = {
        "metric": material.metric,
        "about": about(material.metric),
        "rows": [_effect_texts(row, scale) for row in rows],
        "axis": axis(scale),
        "grid": _grid(material),
    }
    return Section("effects", "Main effects and interactions", content)


def bradley_terry(material: Material) -> Section:
    """Return the section of the strengths; left out where no verdicts of two models against each other exist."""
    found = material.comparison["bradley_terry"]
    if not found:
        return Section("bradley_terry", "Head to head", None)
    strengths = found["strengths"]
    if len(material.arms) == 2 and found["metric"] == material.metric:  # it is the contrast, which stands above
        return Section("bradley_terry", "Head to head", None)
    if not strengths:
        return Section("bradley_terry", "Head to head", None, found["note"])
    scale = scale_of(strengths)
    rows = [_strength_texts(material, one, scale) for one in strengths]
    return Section("bradley_terry", "Head to head", {**found, "axis": axis(scale), "rows": rows})


def contrast_name(row: ContrastRow) -> str:
    """Return what is subtracted from what."""
    return f"{row['arm']} − {row['reference']}"


def effect_name(row: EffectRow) -> str:
    """Return a main effect as `factor: level − reference level`, an interaction with both factors."""
    parts = zip(row["factors"], row["levels"], row["reference"], strict=True)
    return " × ".join(f"{factor}: {level} − {reference}" for factor, level, reference in parts)


def _strips(rows: list[ContrastRow], groups: list[tuple[str, list[ShownContrast]]], margin: float | None) -> StripTable:
    """Return contrasts of one metric as a table of strips, all on one scale."""
    scale = scale_of(rows, band=margin)
    for _, shown_rows in groups:
        for row in shown_rows:
            words = f"{row['name']} {row['text']} [{row['span']}], {row['said']}"
            row["strip"] = strip(row, scale, row["look"], words, filled=row["verdict"] in (HIGHER, LOWER))
    return {"axis": axis(scale), "groups": groups}


def _by_metric(rows: list[ContrastRow], arms: Collection[str]) -> dict[str, list[ContrastRow]]:
    """Return metric -> its contrasts of some arms."""
    found: dict[str, list[ContrastRow]] = {}
    for row in rows:
        if row["arm"] in arms:
            found.setdefault(row["metric"], []).append(row)
    return found


def _of_metric(material: Material, metric: str, rows: list[ContrastRow]) -> dict[str, Any]:
    """Return what is shown of the contrasts of another metric than the primary one."""
    table = _strips(rows, [("", [_texts(material, row) for row in rows])], None)
    return {"metric": metric, "about": about(metric), "sizes": _sizes(rows), "table": table}


def _counted(rows: list[ContrastRow], primary: list[ContrastRow]) -> list[str]:
    """Return the cautions of exploratory contrasts, but what few seeds mean, where the primary ones say it."""
    said = {one for row in primary for one in row["cautions"]}
    said |= {one for row in primary if row["cautions"] for one in of_seeds(row["seeds"], 1)}
    own = [cast(ContrastRow, {**row, "cautions": [one for one in row["cautions"] if one not in said]}) for row in rows]
    return [f"{one}." for one in counted_cautions(own)]


def _beside_title(beside: list[ContrastRow]) -> str:
    if all(row["reference"] == BASE_MODEL for row in beside):
        return "Against the untuned base model (exploratory)"
    return "Exploratory"


def _sizes(rows: list[ContrastRow]) -> str:
    """Return on how many prompts and seeds contrasts rest where all rest on the same, else nothing: the rows say it."""
    sizes = {(row["prompts"], row["seeds"]) for row in rows}
    if len(sizes) != 1:
        return ""
    [(prompts, seeds)] = sizes
    return f"{prompts:,} prompts, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def _texts(material: Material, row: ContrastRow, *, in_family: bool = False) -> ShownContrast:
    equivalence, components, bootstrap = row["equivalence"], row["components"], row["bootstrap"]
    within = None
    if equivalence:
        yes = "yes" if equivalence["equivalent"] else "not shown"
        within = "cannot tell" if equivalence["p"] is None else f"{yes} (p {p_of(equivalence['p'])})"
    look = material.looks[row["arm"]]
    word = verdict_word(row)
    at_step: MeasuredValue = {"value": row["value"], "low": row["holm_low"], "high": row["holm_high"]}
    otherwise = in_family and _clear(row) and row["verdict"] == ALIKE
    return {
        **row,
        **shown(row, sign=True),
        "in_family": in_family,
        "look": look if in_family else look._replace(colour=GREY),
        "strip": Markup(""),
        "said": word,
        "tone": {"better": "good", "worse": "bad"}.get(word, ""),
        "name": contrast_name(row),
        "p_text": p_of(row["p"]),
        "holm_text": p_of(row["holm"]),
        "bh_text": p_of(row["benjamini_hochberg"]),
        "holm_span": span_of(at_step, sign=True),
        "deciding": span_of(at_step, sign=True) if otherwise else None,
        "within": within,
        "spread": {name: number(_deviation(components[name])) for name in ("prompt", "seed", "residual")},
        "bootstrap_text": span_of({"value": row["value"], **bootstrap}, sign=True) if bootstrap else None,
        "permutation_text": p_of(row["permutation"]) if row["permutation"] is not None else None,
    }


def _strength_texts(material: Material, row: StrengthRow, scale: Scale) -> ShownStrength:
    text = value_of(row, sign=True)
    span = span_of(row, sign=True) if row["value"] else "the reference"  # 0 by definition
    look, words = material.looks.get(row["name"], UNKNOWN_LOOK), f"{row['name']} {text} [{span}]"
    drawn = strip(row, scale, look, words, filled=False)  # no verdict: no seed variance is in it, and no correction
    return {"name": row["name"], "text": text, "span": span, "strip": drawn}


def _effect_texts(row: EffectRow, scale: Scale) -> ShownEffect:
    name, texts = effect_name(row), shown(row, sign=True)
    words = f"{name} {texts['text']} [{texts['span']}]"
    drawn = strip(row, scale, _effect_look(row), words, filled=_clear(row))
    kind = "main effect" if row["kind"] == "main" else row["kind"]
    return {"name": name, "kind": kind, "p": p_of(row["p"]), "strip": drawn, **texts}


def _deviation(variance: float | None) -> float | None:
    return None if variance is None else float(variance) ** 0.5


def _clear(row: MeasuredValue) -> bool:
    return row["low"] is not None and row["high"] is not None and not row["low"] <= 0 <= row["high"]


def _effect_look(row: EffectRow) -> Look:
    return Look(COLOURS[0], "o", "-") if row["kind"] == "main" else Look(COLOURS[3], "D", "-")


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
