"""The data card: by which rules the pairs were made, how many, who judged, what it cost, and what they were worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.contracts.comparison_file import BASE_MODEL, ContrastRow, family_of
from notus_exp.contracts.curation_file import CurationFile, read_curation
from notus_exp.disk.files import CURATION_JSON
from notus_exp.disk.outputs import manifest_of
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import headlines, metric_of
from notus_exp.exporting.cards import card, level
from notus_exp.exporting.chosen_run import ChosenRun
from notus_exp.exporting.layouts import READ_BY
from notus_exp.exporting.scored_pairs import place_of_artifact
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.tables import number, span, with_span

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Rows below which a set has the size class of the hub."""
_ASKED = ("verdicts", "failed", "prompt_tokens", "completion_tokens", "cost")
"""Facts of a judging that the card shows."""


def data_card(chosen: ChosenRun, form: str, files: Mapping[str, tuple[str, int]], notes: list[str]) -> str:
    """Return the text of README.md.

    Args:
        chosen: The run, and the study that it is of.
        form: The format of the export.
        files: Split -> its file, relative to the card's folder, and its rows.
        notes: Sentences that a reader of this layout must know.
    """
    run = chosen.run
    curation = (
        read_curation(place_of_artifact(run, "pairs") / CURATION_JSON) if "pairs" in run.record["stages"] else None
    )
    rows = sum(count for _, count in files.values())
    return card(
        "data_card.md.j2",
        name=chosen.study.name if chosen.study else run.run_id,
        run=run.run_id,
        chosen=[chosen.study.name, chosen.arm, chosen.seed, chosen.why] if chosen.study else None,
        form=form,
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": path} for split, (path, _) in files.items()],
            }
        ],
        size=next((name for most, name in _SIZES if rows < most), "n>1M"),
        files=files,
        read_by=READ_BY.get(form),
        notes=[*notes, *(curation["notes"] if curation else [])],
        data=_data(run),
        rules=_rules(curation),
        counts=level({**curation.get("reading", {}), **curation.get("counts", {})}) if curation else {},
        agreement=_agreement(curation),
        judges=_judges(run),
        costs=_costs(run, curation),
        metrics=metric_rows(run),
        verdict=_verdict(chosen),
        artifacts={node: stage["key"] for node, stage in run.record["stages"].items()},
    )


def _data(run: RunData) -> dict[str, Any]:
    """Return the settings of the feedback as its manifest has them, which hold no place, and its digest or commit."""
    manifest = manifest_of(run.folder, run.record, "feedback") if "feedback" in run.record["stages"] else None
    if manifest is None:
        return {}
    settings = {key: value for key, value in manifest.settings.items() if key != "data_digest"}
    found = level(settings)
    if manifest.settings.get("data_digest"):
        of_hub = manifest.settings.get("data", {}).get("hub_id")
        found["commit" if of_hub else "digest of its content"] = manifest.settings["data_digest"]
    return found


def _rules(curation: CurationFile | None) -> dict[str, Any]:
    return level(curation.get("settings", {})) if curation else {}


def _agreement(curation: CurationFile | None) -> dict[str, Any] | None:
    """Return who agrees with whom: strategies on the chosen text, annotators by alpha, and each with the truth."""
    if curation is None or "agreement" not in curation:
        return None
    same = curation["agreement"]
    found: dict[str, Any] = {
        "strategies": same["strategies"],
        "same_chosen": [[number(cell, 3) for cell in row] for row in same["same_chosen"]],
        "prompts": same["prompts"],
        "truth": {name: with_span(share["best"], 3) for name, share in curation.get("truth", {}).items()},
        "labellings": [],
        "alpha": [],
        "annotators": [],
    }
    if told := curation.get("annotators"):
        found["labellings"] = told["labellings"]
        found["alpha"] = [[number(cell, 3) for cell in row] for row in told["alpha"]]
        found["annotators"] = [
            {
                "name": one["told"]["name"],
                "judge": ", ".join(one["told"]["judge"].values()),
                "asked for": one["told"]["asked_for"],
                "verdicts": one["told"]["verdicts"],
                "failed": one["told"]["failed"],
                "agrees with the truth": with_span(one["agrees_with_gold"], 3) if one["agrees_with_gold"] else "-",
                "first preferred": _share(one["told"]["first_preferred"]),
                "longer preferred": _share(one["told"]["longer_preferred"]),
                "USD": "-" if one["told"]["usd"] is None else f"{one['told']['usd']:.2f}",
            }
            for one in told["annotators"]
        ]
    return found


def _share(share: Any) -> str:
    return with_span(share, 3) if share else "-"


def _judges(run: RunData) -> dict[str, dict[str, Any]]:
    """Return node -> what is known of who judged there: the judge, its snapshots, what was asked and paid."""
    found = {}
    for node, stage in run.record["stages"].items():
        facts = stage.get("facts", {})
        if "snapshots" not in facts:
            continue
        manifest = manifest_of(run.folder, run.record, node)
        judge = manifest.settings.get("judge", {}) if manifest else {}
        found[node] = {
            "judge": ", ".join(str(judge[key]) for key in ("name", "model") if judge.get(key)) or "-",
            "snapshots": ", ".join(f"{name} ({count} replies)" for name, count in facts["snapshots"].items()) or "-",
            **{name: facts[name] for name in _ASKED if name in facts},
        }
    return found


def _costs(run: RunData, curation: CurationFile | None) -> dict[str, Any]:
    """Return what the run cost, and of the annotators' verdicts what that is for each pair."""
    costs = run.record.get("costs")
    found: dict[str, Any] = {}
    if costs:
        found = {
            "device seconds": costs["device_seconds"],
            "device seconds, had nothing been reused": costs["device_seconds_if_nothing_were_reused"],
            "tokens that judges read and wrote": costs.get("judge_tokens"),
            "USD of judges": costs.get("judge_usd"),
        }
    for one in (curation.get("annotators") or {"annotators": []})["annotators"] if curation else []:
        found[f"USD per pair, annotator {one['told']['name']}"] = one["usd_per_pair"]
    return {name: "not known" if value is None else value for name, value in found.items()}


def metric_rows(run: RunData) -> list[list[str]]:
    """Return rows of metric, the policy's value with its interval, the base model's, and the difference."""
    found: Mapping[str, Any] = run.record.get("metrics", {})
    names = headlines(name for name in found if not name.startswith(("base/", "difference/")))
    sides = ("", "base/", "difference/")
    return [
        [name, *(with_span(found.get(f"{side}{name}"), metric_of(name).digits) for side in sides)] for name in names
    ]


def _verdict(chosen: ChosenRun) -> dict[str, Any] | None:
    """Return what a study found, and of the arm's contrasts in the primary metric the value with its intervals."""
    if chosen.study is None or len(chosen.study.record["arms"]) < 2:
        return None
    try:
        comparison = chosen.study.comparison
    except UserError as error:
        return {"words": f"There is none: {error.message}", "metric": "", "margin": None, "rows": [], "warnings": []}
    family = family_of(comparison)
    metric = comparison["study"]["metric"]
    of_base = [row for row in comparison["contrasts"] if row["metric"] == metric and row["reference"] == BASE_MODEL]
    own = [row for row in [*family, *of_base] if chosen.arm in (row["arm"], row["reference"])]
    return {
        "words": comparison["verdict"],
        "metric": metric,
        "margin": comparison["study"]["margin"],
        "rows": [_contrast(row) for row in own],
        "warnings": comparison["warnings"],
    }


def _contrast(row: ContrastRow) -> list[str]:
    digits = metric_of(row["metric"]).digits_of_difference
    return [
        f"{row['arm']} minus {row['reference']}",
        with_span(row, digits),
        span(row["holm_low"], row["holm_high"], digits) if row["holm_low"] is not None else "-",
        number(row["p"], 4),
        "-" if row["holm"] is None else number(row["holm"], 4),
        row["verdict"],
        f"{row['prompts']} prompts, {row['seeds']} seeds",
    ]
