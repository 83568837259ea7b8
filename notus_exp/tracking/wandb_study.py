"""The run of a whole study: W&B's record of what the comparison of its arms says, or of what a search found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.contracts.comparison_file import BASE_MODEL, ComparisonFile, curation_rows
from notus_exp.contracts.study_file import SearchSummary, StudyFile
from notus_exp.disk.outputs import REPORT_HTML
from notus_exp.tracking import told
from notus_exp.tracking.names import VALIDATION, study_id, wandb_name
from notus_exp.tracking.opening import DISABLED, Label, conclude, open_run, wandb_mode
from notus_exp.tracking.wandb_tables import table

JOB_TYPE = "study"
CONTRAST = ("metric", "primary", "arm", "reference", "value", "low", "high", "p", "holm", "holm_low",
            "holm_high", "benjamini_hochberg", "prompts", "seeds", "verdict", "words")  # fmt: skip
"""Columns of the table of contrasts, as in comparison.json."""
IN_SUMMARY = ("low", "high", "p", "holm", "holm_low", "holm_high", "verdict", "words")
ARM = ("arm", "metric", "value", "low", "high", "prompts", "seeds")
PRIMARY = ("arm", "value", "low", "high", "prompts", "seeds")
"""Columns of the table of the primary metric: what a bar chart with intervals shows."""
CURATION = ("arm", "reference", "measure", "value", "low", "high", "prompts")
"""Columns of the table of what the arms train on."""
TRIAL = ("number", "state", "best", "feasible", "seeds", "reason")
"""First columns of the table of trials; those of each setting, objective (with its interval) and constraint follow."""
INTERVAL = ("low", "high", "prompts")
IMPORTANCE = ("value", "low", "high", "p", "holm", "trials", "verdict", "reason")
"""Columns of the table of importances behind objective and setting, as in comparison.json."""
TRIALS_AXIS = "search/trial"


def track_study(
    tracking: Tracking,
    study: StudyFile,
    comparison: ComparisonFile,
    folder: Path,
    warn: Callable[[str], None],
    found: SearchSummary | None = None,
) -> None:
    """Track a study: one run beside those of its arms, in their group, that carries its outcome.

    Of arms the summary has the verdict and, for each contrast of the primary metric, `contrast/<arm> vs <reference>`
    with its interval, p values, verdict and words; tables hold all contrasts, the metrics of all arms and of the base
    model, the primary one alone, and what the arms train on. Of a search it has the best trials, their values,
    importances and the command that tests them; a table holds the trials, and curves over their number show how the
    search went.
    A study that is compared again writes over its run.

    Args:
        tracking: Where it goes; nothing is done where that is nowhere.
        study: study.json, the run's config.
        comparison: comparison.json.
        folder: The study's folder, with report.html where there is one.
        warn: Told what W&B refuses.
        found: What a search found; None for arms.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    if tracking.name == "none" or wandb_mode(tracking.mode) == DISABLED:
        return
    name, wandb_id = study["name"], study_id(tracking, study["name"])
    told.supersede(folder, wandb_id)
    tags = [f"study={name}", *tracking.tags]
    label = Label(name, tracking.group or name, JOB_TYPE, tags, dict(study), wandb_id)
    run = open_run(tracking, label, folder, warn)

    def tell() -> None:
        run.summary["verdict"] = comparison["verdict"]
        run.summary["metric"] = comparison["study"]["metric"]
        split = comparison["study"].get("evaluation_split")
        run.summary["evaluation_split"] = split
        shown = _arms(run, comparison) if found is None else _search(run, found, split or VALIDATION)
        if (folder / REPORT_HTML).exists():
            shown["report"] = _page(folder / REPORT_HTML)
        if shown:
            run.log(shown)

    conclude(run, tell, warn, failed=False)


def contrast_name(arm: str, reference: str, split: str | None) -> str:
    """Return what the summary calls a contrast of the primary metric."""
    name = f"contrast/{arm} vs {reference}"
    return f"{VALIDATION}/{name}" if split == VALIDATION else name


def _arms(run: Any, comparison: ComparisonFile) -> dict[str, Any]:
    """Fill the summary of a study of arms; return its tables."""
    split, primary = comparison["study"].get("evaluation_split"), comparison["study"]["metric"]
    for contrast in comparison["contrasts"]:
        if contrast["primary"]:
            name = contrast_name(contrast["arm"], contrast["reference"], split)
            run.summary[name] = contrast["value"]
            for part, value in zip(IN_SUMMARY, _cells(contrast, IN_SUMMARY), strict=True):
                run.summary[f"{name}/{part}"] = value
    shown: dict[str, Any] = {}
    if comparison["contrasts"]:
        rows = [_named(_cells(contrast, CONTRAST), 0, split) for contrast in comparison["contrasts"]]
        shown["contrasts"] = table(list(CONTRAST), rows)
    measured = {arm["arm"]: arm["metrics"] for arm in comparison["arms"]} | {BASE_MODEL: comparison["base"]["metrics"]}
    rows = [
        _named([arm, metric, *_cells(estimate, ARM[2:])], 1, split)
        for arm, metrics in measured.items()
        for metric, estimate in metrics.items()
    ]
    if rows:
        shown["arms"] = table(list(ARM), rows)
    first = [[arm, *_cells(metrics[primary], PRIMARY[1:])] for arm, metrics in measured.items() if primary in metrics]
    if first:
        shown["primary"] = table(list(PRIMARY), first)
    if trained_on := curation_rows(comparison):
        shown["curations"] = table(list(CURATION), [_cells(row, CURATION) for row in trained_on])
    return shown


def _search(run: Any, found: SearchSummary, split: str) -> dict[str, Any]:
    """Fill summary and history of a search; return its tables."""
    trials, best = found["trials"], set(found["best"])
    run.summary["trials"] = len(trials)
    run.summary["best"] = ", ".join(map(str, found["best"]))
    run.summary["command"] = found["command"]
    run.summary["importances_note"] = found["importances_note"]
    for trial in trials:
        if trial["number"] in best:
            for name, value in trial["values"].items():
                run.summary[f"best/trial_{trial['number']}/{wandb_name(name, split)}"] = value
    run.define_metric(TRIALS_AXIS, hidden=True)
    run.define_metric("search/*", step_metric=TRIALS_AXIS)
    for trial in trials:
        values = {name: value for name, value in {**trial["values"], **trial["constraints"]}.items()
                  if value is not None}  # fmt: skip
        if values:
            named = {f"search/{wandb_name(name, split)}": value for name, value in values.items()}
            run.log({TRIALS_AXIS: trial["number"], **named})
    settings = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    goals = list(dict.fromkeys(name for trial in trials for name in (*trial["values"], *trial["constraints"])))
    ends = [(name, part) for name in found["objectives"] for part in INTERVAL]
    rows = [
        [
            *(trial["number"], trial["state"], trial["number"] in best, trial["feasible"], trial["seeds"]),
            trial["reason"],
            *(trial["params"].get(name) for name in settings),
            *({**trial["constraints"], **trial["values"]}.get(name) for name in goals),
            *(_cells(trial.get("intervals", {}).get(name, {}), [part])[0] for name, part in ends),
        ]
        for trial in trials
    ]
    shown: dict[str, Any] = {}
    if rows:
        columns = [*TRIAL, *settings, *(wandb_name(name, split) for name in goals)]
        columns += [f"{wandb_name(name, split)}/{part}" for name, part in ends]
        shown["trials_table"] = table(columns, rows)
    weighed = []
    for objective, by_setting in found["importances"].items():
        for setting, row in by_setting.items():
            name = f"importance/{wandb_name(objective, split)}/{setting}"
            run.summary[name] = row["value"]
            for part, cell in zip(IMPORTANCE[1:], _cells(row, IMPORTANCE[1:]), strict=True):
                run.summary[f"{name}/{part}"] = cell
            weighed.append([wandb_name(objective, split), setting, *_cells(row, IMPORTANCE)])
    if weighed:
        shown["importances"] = table(["objective", "setting", "share", *IMPORTANCE[1:]], weighed)
    return shown


def _page(path: Path) -> Any:
    """Return a page as it is: W&B's own style sheet would be loaded from elsewhere."""
    import wandb

    return wandb.Html(path.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)


def _named(cells: list[object], place: int, split: str | None) -> list[object]:
    """Return a row whose metric, at a place, is called as W&B calls it."""
    return [wandb_name(str(cell), split) if number == place else cell for number, cell in enumerate(cells)]


def _cells(row: Mapping[str, object], columns: Sequence[str]) -> list[object]:
    """Return some columns of a row; None for one that a comparison.json of before does not have."""
    return [row.get(column) for column in columns]
