"""A comparison in the terminal: metrics by arm, the contrasts of its family, the verdict, and where the files are."""

from __future__ import annotations

from pathlib import Path

from notus_exp.comparison.cautions import counted_cautions
from notus_exp.comparison.looking import old_looks
from notus_exp.comparison.words import said_verdict
from notus_exp.contracts.comparison_file import BASE_MODEL, ComparisonFile, ContrastRow, family_of
from notus_exp.disk.outputs import COMPARISON_CSV, COMPARISON_JSON, REPORT_HTML
from notus_exp.evaluation.metrics import metric_of
from notus_exp.reporting.console import shorten
from notus_exp.reporting.tables import Report, Table, digits_that_tell, number, p_value, span, with_span


def study_report(comparison: ComparisonFile, out: Path) -> Report:
    """Return what is printed of a comparison; the cautions of its family stand in its verdict.

    Args:
        comparison: As `analysis.analyse` returns it; all of it is the report's data.
        out: Folder with the written files.
    """
    family = family_of(comparison)
    tables = [_metrics(comparison), _contrasts(comparison, family)] if comparison["arms"] else []
    sentences = [f"warning: {warning}" for warning in comparison["warnings"]]
    if beside := [row for row in comparison["contrasts"] if row not in family]:
        other = "other " if _is_look(comparison) else ""
        sentences.append(f"{len(beside)} {other}exploratory contrasts are in {COMPARISON_CSV}")
        sentences += counted_cautions(beside)
    if not _is_look(comparison):
        sentences += old_looks(out, {row["arm"]: row["seeds"] for row in comparison["arms"]})
    files = ", ".join(shorten(out.absolute() / name) for name in (COMPARISON_JSON, COMPARISON_CSV, REPORT_HTML))
    return Report(dict(comparison), tables, [*sentences, "", comparison["verdict"], "", f"written: {files}"])


def _metrics(comparison: ComparisonFile) -> Table:
    sides = {BASE_MODEL: comparison["base"]["metrics"]} if comparison["base"]["metrics"] else {}
    sides |= {row["arm"]: row["metrics"] for row in comparison["arms"]}
    names = list(dict.fromkeys(name for metrics in sides.values() for name in metrics))
    rows = []
    for name in names:
        digits = metric_of(name).digits
        rows.append([name, *(with_span(metrics.get(name), digits) for metrics in sides.values())])
    return Table("Metrics: mean [95 % interval over prompts and seeds]", ["", *sides], rows)


def _contrasts(comparison: ComparisonFile, family: list[ContrastRow]) -> Table:
    study = comparison["study"]
    usual = metric_of(study["metric"]).digits_of_difference
    rows = [
        [
            row["arm"],
            number(row["value"], digits),
            span(row["low"], row["high"], digits),
            span(row["holm_low"], row["holm_high"], digits),
            *(str(row[name]) for name in ("prompts", "seeds", "left_out")),
            *(p_value(row[name]) for name in ("p", "holm", "benjamini_hochberg")),
            said_verdict(row),
        ]
        for row in family
        for digits in [digits_that_tell((row["value"], row["low"], row["high"]), usual)]
    ]
    columns = [
        "",
        "difference",
        "95 %",
        "by Holm",
        "prompts",
        "seeds",
        "left out",
        "p",
        "Holm",
        "Benjamini-Hochberg",
        "verdict",
    ]
    exploratory = " (exploratory: a look afterwards)" if _is_look(comparison) else ""
    return Table(f"{study['metric']}, minus {study['baseline']}{exploratory}", columns, rows)


def _is_look(comparison: ComparisonFile) -> bool:
    return bool(comparison["study"]["chosen_afterwards"])
