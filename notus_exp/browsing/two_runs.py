"""`runs diff`: what two runs were given, from which stage on they are apart, and how far their metrics are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.browsing.makers import makers_apart
from notus_exp.browsing.paired_runs import paired_runs
from notus_exp.browsing.settings_apart import settings_apart
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.evaluation.metrics import headlines, metric_of
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.tables import Report, Table, p_value, with_span

ONE_RUN_EACH = (
    "B minus A is paired by prompt and exploratory. Each side is one training: how much another seed would move it is"
    " in no interval here; a study of several seeds tells (python -m notus_exp -m seed=0,1,2 ...)"
)
_A, _B = "A", "B"


def diff_report(one: RunData, two: RunData) -> Report:
    """Return what differs between two runs, B being the second."""
    apart = settings_apart([one.record, two.record])
    nodes = _nodes_apart(one, two)
    around = makers_apart(one, two)
    paired = paired_runs(one, two)
    metrics = _metrics(one, two, paired.rows)
    data = {
        "a": one.run_id,
        "b": two.run_id,
        "settings": {key: {"a": a, "b": b} for key, (a, b) in apart.items()},
        "made_apart": nodes,
        "surroundings": {key: {"a": a, "b": b} for key, (a, b) in around.items()},
        "metrics": metrics,
        "notes": paired.notes,
    }
    tables = [
        Table("Settings", ["", "A", "B"], [[key, *values] for key, values in apart.items()], ("A", "B")),
        Table("Made with", ["", "A", "B"], [[key, *values] for key, values in around.items()], ("A", "B")),
        _table(metrics),
    ]
    sentences = [f"A: {one.run_id} ({one.status})", f"B: {two.run_id} ({two.status})", *_apart_from(one, two, nodes)]
    if not apart:
        sentences.append("no setting that could move a result differs")
    sentences += paired.notes
    if paired.rows:
        sentences.append(ONE_RUN_EACH)
    return Report(data, [table for table in tables if table.rows], sentences)


def _nodes_apart(one: RunData, two: RunData) -> list[str]:
    """Return the nodes that both runs have, with other artifacts, in the first one's order."""
    a, b = one.record.get("stages", {}), two.record.get("stages", {})
    return [node for node in a if node in b and a[node]["key"] != b[node]["key"]]


def _apart_from(one: RunData, two: RunData, nodes: list[str]) -> list[str]:
    a, b = (list(run.record.get("stages", {})) for run in (one, two))
    shared = [node for node in a if node in b and node not in nodes]
    said = []
    if shared:
        said.append(f"the same artifacts: {', '.join(shared)}")
    if nodes:
        said.append(f"made apart: {', '.join(nodes)}")
    for name, own, other in ((_A, a, b), (_B, b, a)):
        if alone := [node for node in own if node not in other]:
            said.append(f"only {name} has: {', '.join(alone)}")
    return said


def _metrics(one: RunData, two: RunData, paired: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return metric -> each run's value and, where it is known, B minus A."""
    a, b = one.record.get("metrics", {}), two.record.get("metrics", {})
    names = headlines(name for name in [*a, *b] if not name.startswith(("base/", "difference/")))
    return {name: {"a": a.get(name), "b": b.get(name), "b_minus_a": paired.get(name)} for name in names}


def _table(metrics: Mapping[str, dict[str, Any]]) -> Table:
    rows = []
    for name, row in metrics.items():
        digits, difference = metric_of(name).digits, row["b_minus_a"]
        values: list[MeasuredValue | None] = [row["a"], row["b"]]
        counted = [str(difference["prompts"]), str(difference["differing"])] if difference else ["-", "-"]
        rows.append(
            [
                name,
                *(with_span(value, digits) for value in values),
                with_span(difference, metric_of(name).digits_of_difference, sign=True),
                p_value(difference["p"]) if difference else "-",
                *counted,
            ]
        )
    return Table(
        "Metrics: value [95 % interval]", ["", "A", "B", "B minus A", "p", "prompts", "prompts that differ"], rows
    )
