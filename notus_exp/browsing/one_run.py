"""`runs show`: one run, from its command to its metrics, and where its files are."""

from __future__ import annotations

import shlex
from typing import Any

import polars as pl

from notus_exp.browsing.finding import state_of_run
from notus_exp.browsing.makers import flat, in_words, made_alike
from notus_exp.config.commandline import single_run
from notus_exp.contracts.run_file import RunEstimate, made_with
from notus_exp.disk.files import CURATION_HTML, FEEDBACK_HTML, ROUNDS_HTML
from notus_exp.evaluation.metrics import headlines, metric_of
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.console import shorten
from notus_exp.reporting.tables import Report, Table, number, with_span
from notus_exp.run.record import notes_of


def show_report(run: RunData) -> Report:
    """Return what there is to know of a run at a glance; its JSON is run.json and the stages' `provenance`."""
    record = run.record
    tables = [table for table in (_metrics(run), _stages(run), _attempts(run)) if table.rows]
    sentences = [f"{run.run_id}: {state_of_run(run)}{_why(record.get('error'))}"]
    around = made_with(record)
    if "command" in around:
        sentences.append(shlex.join(["python", "-m", "notus_exp", *single_run(around["command"])]))
    if record.get("choices"):
        sentences.append(" ".join(f"{group}={option}" for group, option in record["choices"].items()))
    if run.rounds > 1:
        command = f"python -m notus_exp.runs rounds {run.run_id}"
        sentences.append(f"{run.rounds} rounds, of which the last is shown; {command} tells of all")
    if costs := record.get("costs"):
        told = f"device seconds {number(costs['device_seconds'], 0)}, had nothing been reused"
        told += f" {number(costs['device_seconds_if_nothing_were_reused'], 0)}"
        if costs.get("judge_tokens"):
            usd = costs.get("judge_usd")
            told += f"; judges read and wrote {costs['judge_tokens']} tokens, {_usd(usd)}"
        sentences.append(told)
    sentences += _made_with(run)
    if "config" in record and "dpo" in record["config"]:
        sentences += [f"note: {note}" for note in notes_of(record)]
    sentences += [f"no score of {name}: {reason}" for name, reason in record.get("unscored", {}).items()]
    sentences += ["", shorten(run.folder.absolute()), *_pages(run)]
    return Report({**record, "provenance": run.provenance}, tables, sentences)


def _metrics(run: RunData) -> Table:
    found = run.record.get("metrics", {})
    own = headlines(name for name in found if not name.startswith(("base/", "difference/")))
    rows = []
    for name in own:
        digits = metric_of(name).digits
        values: list[RunEstimate | None] = [found.get(f"{side}{name}") for side in ("", "base/", "difference/")]
        counted = found[name].get("n")
        rows.append([name, *(with_span(value, digits) for value in values), "-" if counted is None else str(counted)])
    return Table("Metrics: value [95 % interval]", ["", "policy", "base model", "difference", "n"], rows)


def _stages(run: RunData) -> Table:
    rows = [
        [
            row["node"],
            "reused" if row["reused"] else "made",
            number(row["seconds_when_made"], 1),
            row["artifact"],
            row["made"],
        ]
        for row in run.stages.iter_rows(named=True)
    ]
    by, when = "by this run", "made when and where"
    return Table("Stages", ["", by, "seconds when made", "artifact", when], rows, (by, "artifact", when))


def _made_with(run: RunData) -> list[str]:
    """Return a line for each set of hardware, libraries and commit with the stages that were made with it."""
    groups = made_alike(run)
    if not groups:
        around = flat(made_with(run.record))
        return [f"started with: {in_words(around)}"] if around else []
    of_all = {"all stages" if len(groups) == 1 else ", ".join(group.nodes): group.around for group in groups}
    return [f"{nodes} made with: {in_words(around)}" for nodes, around in of_all.items()]


def _attempts(run: RunData) -> Table:
    attempts: list[Any] = list(run.record.get("attempts", []))
    rows = [
        [
            *(str(place), one["status"], one.get("started") or "", one.get("finished") or ""),
            *(str(len(one.get("made", []))), one.get("error") or ""),
        ]
        for place, one in enumerate(attempts, 1)
    ]
    columns = ["attempt", "status", "started", "finished", "stages made", "error"]
    return Table("Attempts", columns, rows if len(rows) > 1 else [], [*columns[1:4], columns[5]])


def _pages(run: RunData) -> list[str]:
    folders = run.stages.filter(pl.col("node") == "pairs")["folder"]
    pages = [run.artifacts / folders[0] / CURATION_HTML] if len(folders) else []
    pages += [page for name in (FEEDBACK_HTML, ROUNDS_HTML) if (page := run.folder.absolute() / name).is_file()]
    return [shorten(page) for page in pages]


def _why(error: str | None) -> str:
    return f": {error}" if error else ""


def _usd(usd: float | None) -> str:
    return "at unknown prices" if usd is None else f"{usd:.2f} USD"
