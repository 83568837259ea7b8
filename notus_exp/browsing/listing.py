"""`runs list`: every run of an output folder with its state, what sets it apart, its first metrics, age and size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from notus_exp.browsing.finding import all_runs, state_of_run, studies_of
from notus_exp.browsing.settings_apart import settings_apart
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.inventory import age_in_words, size_in_words
from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.catalogue import in_reading_order
from notus_exp.evaluation.metrics import metric_of
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.tables import Report, Table, with_span

MOST_SETTINGS, MOST_METRICS = 4, 2
"""Settings, and metrics, shown of a run where none are asked for; all settings are in the JSON."""
WIDE = 120
"""Columns of a terminal from which on the table has all that there is."""
_UNLIKE = "unlike most"


def list_report(outputs: Path, metrics: Sequence[str] = (), *, columns: int = WIDE) -> Report:
    """Return the table of all runs, the newest last.

    Args:
        outputs: Folder that holds `runs/`.
        metrics: Which are shown; none for the first ones of the evaluations that most runs have.
        columns: Of the terminal: on a narrow one a run is named by the end of its id.

    Raises:
        UserError: There are no runs, or none has such a metric.
    """
    runs = sorted(all_runs(outputs), key=_written)
    if not runs:
        raise UserError(f"{outputs} has no runs", "python -m notus_exp makes one")
    shown = _metrics(runs, metrics)
    apart = settings_apart([run.record for run in runs])
    studies = studies_of(outputs)
    sizes = {folder: _bytes_in(Path(folder)) for folder in {place for run in runs for place in run.stages["folder"]}}
    data = [
        {
            "run": run.run_id,
            "state": state_of_run(run),
            "error": run.record.get("error"),
            "choices": run.record.get("choices", {}),
            "apart": {key: values[place] for key, values in apart.items()},
            "studies": _studies(run, studies),
            "metrics": {name: run.record.get("metrics", {}).get(name) for name in shown},
            "started": run.record.get("started"),
            "finished": run.record.get("finished"),
            "bytes": _bytes_in(run.folder) + sum(sizes[folder] for folder in {*run.stages["folder"]}),
        }
        for place, run in enumerate(runs)
    ]
    common = _common(apart)
    rows = [_cells(one, run, shown, common) for one, run in zip(data, runs, strict=True)]
    table = _table(rows, shown) if columns >= WIDE else _narrow_table(rows, shown)
    total = sum(sizes.values()) + sum(_bytes_in(run.folder) for run in runs)
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    sentences = [f"{count}, {size_in_words(total)}: a size counts what other runs share too, the sum counts it once"]
    if others := [name for name in _leads(runs) if name not in shown]:
        sentences.append(f"--metric NAME shows another metric, such as {', '.join(others)}")
    return Report({"runs": data}, [table], sentences)


def _table(rows: Sequence[Mapping[str, str]], shown: Sequence[str]) -> Table:
    columns = ["run", "state", _UNLIKE, *shown, "study", "age", "size"]
    return Table("Runs", columns, [[row[name] for name in columns] for row in rows], ("state", _UNLIKE, "study"))


def _narrow_table(rows: Sequence[Mapping[str, str]], shown: Sequence[str]) -> Table:
    """Return the table for a terminal of 80 columns: what may be broken is broken between words."""
    state = "state, age, size"
    cells = [
        [row["run"].rpartition("-")[2], f"{row['state']} {row['age']}, {row['size']}", row[_UNLIKE], row["study"]]
        + [row[name] for name in shown]
        for row in rows
    ]
    columns = ["run", state, _UNLIKE, "study", *(name.replace("/", "/ ") for name in shown)]
    return Table("Runs, by the end of their ids, which names them to the other commands", columns, cells, columns[1:4])


def _cells(one: Mapping[str, Any], run: RunData, shown: Sequence[str], common: Mapping[str, str]) -> dict[str, str]:
    apart = {key: value for key, value in one["apart"].items() if value not in (common.get(key), "-")}
    settings = [f"{key}={value}" for key, value in apart.items()]
    more = [f"and {len(settings) - MOST_SETTINGS} more"] if len(settings) > MOST_SETTINGS else []
    return {
        "run": one["run"],
        "state": one["state"],
        _UNLIKE: " ".join([*settings[:MOST_SETTINGS], *more]),
        **{name: with_span(one["metrics"][name], metric_of(name).digits) for name in shown},
        "study": ", ".join(one["studies"]),
        "age": age_in_words(_written(run)),
        "size": size_in_words(one["bytes"]),
    }


def _studies(run: RunData, named: Mapping[str, list[str]]) -> list[str]:
    """Return the studies whose arms a run is in; of a search, whose trials its storage names, the one that made it."""
    made_by = run.record.get("config", {}).get("study", {}).get("name")
    return sorted({*named.get(run.run_id, []), *([made_by] if made_by else [])})


def _common(apart: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the value of each setting that more than half of the runs have."""
    counted = {key: Counter(values).most_common(1)[0] for key, values in apart.items()}
    return {key: value for key, (value, count) in counted.items() if 2 * count > len(apart[key])}


def _metrics(runs: Sequence[RunData], wanted: Sequence[str]) -> list[str]:
    """Return the metrics that are shown.

    Raises:
        UserError: No run has one of those asked for.
    """
    known = dict.fromkeys(name for run in runs for name in run.record.get("metrics", {}))
    for name in wanted:
        if name not in known:
            raise UserError(f"no run has the metric '{name}'", did_you_mean(name, known))
    having = Counter(name for run in runs for name in run.record.get("metrics", {}))
    leads = _leads(runs)
    most = sorted(leads, key=lambda name: -having[name])[:MOST_METRICS]
    return list(wanted) or [name for name in leads if name in most]


def _leads(runs: Sequence[RunData]) -> list[str]:
    """Return the first metric of each evaluation that a run has."""
    known = {name for run in runs for name in run.record.get("metrics", {})}
    leads = ([f"{spec.name}/{lead}" for lead in spec.leads] for spec in in_reading_order())
    first = (next((name for name in names if name in known), None) for names in leads)
    return [name for name in first if name is not None]


def _written(run: RunData) -> float:
    """Return when a run ended, or began, or its record was written last, in seconds since 1970."""
    when = run.record.get("finished") or run.record.get("started")
    try:
        return datetime.fromisoformat(when or "").timestamp()
    except ValueError:
        return (run.folder / RUN_JSON).stat().st_mtime


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a run in progress removes files of its own
            size += path.stat().st_size if path.is_file() else 0
    return size
