"""Saving a study's workspace in W&B, by its own package `wandb_workspaces`."""

from __future__ import annotations

from typing import Any

from notus_exp.errors import UserError, first_line
from notus_exp.tracking.workspace import (
    BAR,
    CHART,
    INTERVAL_FIELDS,
    INTERVALS,
    LINE,
    PARALLEL,
    Panel,
    WorkspaceSpec,
    interval_chart,
)

_INSTALL = "pip install 'notus-exp[workspace]'"


def save(spec: WorkspaceSpec) -> str:
    """Save a workspace as a view of its project, online; return its address.

    Raises:
        UserError: A package is missing, or W&B cannot be reached or refuses it.
    """
    try:
        import wandb
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError as error:
        raise UserError(f"a workspace cannot be saved: {first_line(error)}", _INSTALL) from error
    try:
        api = wandb.Api()
        entity = spec["entity"] or api.default_entity
        chart = _chart(api, entity)
        return str(made(spec, entity, chart).save().url)
    except (wandb.errors.Error, ValueError, OSError) as error:
        hint = "set WANDB_API_KEY (and WANDB_BASE_URL for a server of your own) and give the command again"
        raise UserError(f"W&B did not take the workspace: {first_line(error)}", hint) from error


def made(spec: WorkspaceSpec, entity: str, chart: str) -> Any:
    """Return W&B's own object of a workspace, not saved.

    Args:
        spec: What is in it.
        entity: W&B's user or team.
        chart: Full name of the chart with intervals.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.expr import And

    sections = [
        ws.Section(name=one["title"], panels=[_panel(panel, chart) for panel in one["panels"]], is_open=True)
        for one in spec["sections"]
    ]
    settings = ws.RunsetSettings(filters=And(ws.Metric("Group") == spec["group"]))
    return ws.Workspace(
        entity=entity, project=spec["project"], name=spec["name"], sections=sections, runset_settings=settings
    )


def _chart(api: Any, entity: str) -> str:
    """Make the chart with intervals in an account, or write over it; return its full name."""
    return str(
        api.create_custom_chart(
            entity=entity, name=CHART, display_name="Values with intervals", spec_type="vega2", access="private",
            spec=interval_chart(),
        )
    )  # fmt: skip


def _panel(panel: Panel, chart: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    kind, title = panel["kind"], panel["title"]
    if kind == INTERVALS:
        return wr.CustomChart(
            query={"summaryTable": {"tableKey": panel["table"]}},
            chart_name=chart,
            chart_fields=INTERVAL_FIELDS,
            chart_strings={"metric": title},
        )
    if kind == PARALLEL:
        where = {"config": wr.Config, "summary": wr.SummaryMetric}
        columns = [
            wr.ParallelCoordinatesPlotColumn(where[axis["where"]](axis["key"]), axis["title"], log=axis["log"])
            for axis in panel["axes"]
        ]
        return wr.ParallelCoordinatesPlot(title=title, columns=columns)
    key = panel.get("group_by")
    more = {"groupby": wr.Config(key), "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"} if key else {}
    if kind == LINE:
        return wr.LinePlot(title=title, x=panel["x"], y=[panel["metric"]], **more)
    assert kind == BAR
    return wr.BarPlot(title=title, metrics=[wr.SummaryMetric(panel["metric"])], **more)
