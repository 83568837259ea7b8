"""The W&B workspace of a study as data: which panels it has, and by which keys they find what the runs were told.

`saving.py` makes W&B's own objects of it. Keys of a run's config are dotted paths into it, keys of its summary and of
its history are names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from notus_exp.config.schema import Tracking
from notus_exp.contracts.comparison_file import ComparisonFile
from notus_exp.contracts.study_file import SearchSummary, StudyFile
from notus_exp.tracking.names import VALIDATION, leading, wandb_name
from notus_exp.tracking.wandb_study import TRIALS_AXIS

INTERVALS, BAR, LINE, PARALLEL = "intervals", "bar", "line", "parallel"
WIDE = 20.0
"""A factor between the smallest and the largest choice from which an axis is logarithmic."""
CHART = "notus-exp-intervals"
"""Name of the chart with intervals among the account's own charts."""
INTERVAL_FIELDS = {"arm": "arm", "value": "value", "low": "low", "high": "high"}
"""Field of that chart -> column of the table that it draws."""


class Axis(TypedDict):
    """One axis of parallel coordinates.

    Attributes:
        where: `config` or `summary`.
        key: The setting's path, or the metric's name there.
        title: What the axis is called.
        log: Whether it is logarithmic.
    """

    where: str
    key: str
    title: str
    log: bool


class Panel(TypedDict):
    """A panel.

    Attributes:
        kind: `intervals`, `bar`, `line` or `parallel`.
        title: What stands above it.
        table: Of `intervals`: the table of the study's run that it draws.
        metric: Of `bar`: a name in the summary; of `line`: in the history.
        x: Of `line`: the name in the history that it is drawn over.
        group_by: Path in the config by which runs are joined, with the standard error of their mean.
        axes: Of `parallel`.
    """

    kind: str
    title: str
    table: NotRequired[str]
    metric: NotRequired[str]
    x: NotRequired[str]
    group_by: NotRequired[str]
    axes: NotRequired[list[Axis]]


class PanelSection(TypedDict):
    """Panels under a heading."""

    title: str
    panels: list[Panel]


class WorkspaceSpec(TypedDict):
    """A workspace.

    Attributes:
        name: What it is called.
        project: W&B's project.
        entity: W&B's user or team; None for the account's default.
        group: The group whose runs it shows.
        sections: What is in it, from the top.
    """

    name: str
    project: str
    entity: str | None
    group: str
    sections: list[PanelSection]


def workspace(
    tracking: Tracking,
    study: StudyFile,
    comparison: ComparisonFile,
    curves: Sequence[str],
    found: SearchSummary | None = None,
) -> WorkspaceSpec:
    """Return the workspace of a study: the primary metric by arm with its interval first, or a search's trials.

    Args:
        tracking: Project, entity and group.
        study: study.json.
        comparison: comparison.json.
        curves: Names of the training's curves that its runs have, such as `policy/train/loss`.
        found: What a search found; None for arms.
    """
    split = comparison["study"].get("evaluation_split")
    first = _of_arms(comparison, split) if found is None else _of_search(study, found, split or VALIDATION)
    key = "arm" if found is None else "trial"
    lines: list[Panel] = [
        {"kind": LINE, "title": curve, "metric": curve, "x": f"{curve.split('/')[0]}/step", "group_by": key}
        for curve in curves
    ]
    training: list[PanelSection] = [{"title": "Training", "panels": lines}] if lines else []
    return {
        "name": study["name"],
        "project": tracking.project,
        "entity": tracking.entity,
        "group": tracking.group or study["name"],
        "sections": [*first, *training],
    }


def interval_chart() -> dict[str, Any]:
    """Return the chart of values with their intervals as Vega-Lite, whose fields are `INTERVAL_FIELDS`."""
    arm: dict[str, Any] = {"field": "${field:arm}", "type": "nominal", "sort": None, "title": None}
    tooltip = [{"field": "${field:" + name + "}"} for name in INTERVAL_FIELDS]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "description": "Mean over prompts and seeds with the 95 % interval that covers both.",
        "data": {"name": "wandb"},
        "encoding": {"y": arm, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "bar", "opacity": 0.6},
                "encoding": {
                    "x": {"field": "${field:value}", "type": "quantitative", "title": "${string:metric}"},
                    "color": {"field": "${field:arm}", "type": "nominal", "legend": None},
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "x": {"field": "${field:low}", "type": "quantitative"},
                    "x2": {"field": "${field:high}"},
                },
            },
        ],
    }


def config_path(setting: str) -> str:
    """Return where a run's config holds a setting: an option among the choices, any other under its own path."""
    return setting if "." in setting else f"choices.{setting}"


def is_logarithmic(searched: Mapping[str, Any]) -> bool:
    """Say whether a setting belongs on a logarithmic axis: it was searched so, or its choices span a large factor.

    Args:
        searched: As in `study.search.parameters`.
    """
    choices = searched.get("choices") or []
    numbers = [one for one in choices if isinstance(one, int | float) and not isinstance(one, bool) and one > 0]
    if not choices or len(numbers) < len(choices):
        return bool(searched.get("log"))
    return bool(max(numbers) / min(numbers) > WIDE)


def _of_arms(comparison: ComparisonFile, split: str | None) -> list[PanelSection]:
    primary = comparison["study"]["metric"]
    reported = list(dict.fromkeys(metric for arm in comparison["arms"] for metric in arm["metrics"]))
    others = [metric for metric in leading(reported, []) if metric != primary]
    first: list[Panel] = []
    if primary in reported:
        name = wandb_name(primary, split)
        title = f"{name} by arm, 95 % intervals over prompts and seeds"
        first.append({"kind": INTERVALS, "title": title, "table": "primary"})
        first.append({"kind": BAR, "title": f"{name}, mean over seeds", "metric": name, "group_by": "arm"})
    bars: list[Panel] = [
        {"kind": BAR, "title": f"{name}, mean over seeds", "metric": name, "group_by": "arm"}
        for name in (wandb_name(metric, split) for metric in others)
    ]
    sections: list[PanelSection] = [{"title": "Primary metric", "panels": first}] if first else []
    return [*sections, {"title": "Other metrics", "panels": bars}] if bars else sections


def _of_search(study: StudyFile, found: SearchSummary, split: str) -> list[PanelSection]:
    measured = {name for trial in found["trials"] for name, value in trial["values"].items() if value is not None}
    measured |= {name for trial in found["trials"] for name in trial["constraints"]}
    goals = [name for name in (*found["objectives"], *study["search"]["constraints"]) if name in measured]
    tried = {name for trial in found["trials"] for name in trial["params"]}
    parameters = {name: spec for name, spec in study["search"]["parameters"].items() if name in tried}
    axes: list[Axis] = [
        {"where": "config", "key": config_path(name), "title": name, "log": is_logarithmic(spec)}
        for name, spec in parameters.items()
    ]
    names = [wandb_name(name, split) for name in goals]
    axes += [{"where": "summary", "key": name, "title": name, "log": False} for name in names]
    history: list[Panel] = [
        {"kind": LINE, "title": f"{name} by trial", "metric": f"search/{wandb_name(name, split)}", "x": TRIALS_AXIS}
        for name in goals
    ]
    first: list[Panel] = [{"kind": PARALLEL, "title": "Settings and what they reach", "axes": axes}] if axes else []
    return [{"title": "The search", "panels": [*first, *history]}]
