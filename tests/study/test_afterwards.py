"""The command `track`: a study in W&B after the fact, and the workspace whose every key the offline records have."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from notus_exp.comparison.analysis import analyse
from notus_exp.contracts.format import sealed
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.track import main
from notus_exp.tracking import WorkspaceSpec, save
from notus_exp.tracking.saving import made
from notus_exp.tracking.workspace import INTERVAL_FIELDS, Panel, interval_chart, is_logarithmic
from support.offline_runs import own_places, read_runs  # noqa: F401  (a fixture)
from support.searches import ACCURACY, STRICT
from support.study_folders import edit, run_json
from support.wandb_groups import Group, planted, searched

LOSSES = [(1, 0.7), (2, 0.6)]


def compared(root: Path, **more: Any) -> Path:
    """A study of arms that was compared, its runs with curves, and never tracked."""
    folder = planted(root, **more)
    for arm, seed in (("critique", 0), ("average", 1)):
        lines = [
            {"time": 0.0, "stage": "policy", "step": step, "metrics": {"train/loss": loss}} for step, loss in LOSSES
        ]
        lines += [{"time": 0.0, "stage": "policy", "step": 2, "metrics": {"progress": 1.0}}]
        events = run_json(folder, f"{arm}-s{seed}").with_name("events.jsonl")
        events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(folder / "comparison.json", sealed(analyse(folder)))
    return folder


def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> WorkspaceSpec:
    assert main([str(folder), "--json"]) == 0
    spec: WorkspaceSpec = json.loads(capsys.readouterr().out)["workspace"]
    return spec


def panels(spec: WorkspaceSpec) -> list[Panel]:
    return [panel for section in spec["sections"] for panel in section["panels"]]


def at(config: Mapping[str, Any], path: str) -> Any:
    """The value under a dotted path; KeyError where there is none."""
    found: Any = config
    for part in path.split("."):
        found = found[part]
    return found


def every_key_is_there(spec: WorkspaceSpec, group: Group) -> None:
    everyone = [*group.runs, group.study]
    assert {run.run.run_group for run in everyone} == {spec["group"]}
    for panel in panels(spec):
        if "table" in panel:
            assert set(INTERVAL_FIELDS.values()) <= set(group.study.table(panel["table"])["columns"])
        if "group_by" in panel:
            key = panel["group_by"]
            assert all(at(run.config, key) is not None for run in group.runs)
        if panel["kind"] == "bar":
            assert any(panel["metric"] in run.summary for run in group.runs), panel
        if panel["kind"] == "line":
            assert any(run.history_of(panel["metric"], panel["x"]) for run in everyone), panel
        for axis in panel.get("axes", []):
            if axis["where"] == "config":
                measured = [run for run in group.runs if run.summary["status"] == "finished"]
                assert all(at(run.config, axis["key"]) is not None for run in measured), axis
            else:
                assert any(axis["key"] in run.summary for run in group.runs), axis


def test_a_study_that_was_never_tracked_is_told_to_wandb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = compared(tmp_path)
    assert main([str(folder), "--mode", "offline", "--project", "elsewhere"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "told of 4 runs of planted: group planted, project elsewhere" in said
    assert "wandb sync --yes" in said
    group = Group(folder)
    comparison = json.loads((folder / "comparison.json").read_text())
    assert group.means(STRICT) == {arm["arm"]: arm["metrics"][STRICT]["value"] for arm in comparison["arms"]}
    curves = {run.run.display_name: run.curve("policy/train/loss") for run in group.runs}
    assert (curves["critique-s0"], curves["average-s1"], curves["average-s0"]) == (LOSSES, LOSSES, [])
    assert {run.run.project for run in group.runs} == {"elsewhere"}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_every_panel_of_arms_finds_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str) -> None:
    folder = compared(tmp_path, split=split)
    spec = shown(folder, capsys)
    assert not read_runs(folder), "the workspace alone was asked for"
    assert main([str(folder), "--mode", "offline"]) == 0
    every_key_is_there(spec, Group(folder))
    first = panels(spec)[0]
    name = STRICT if split == "test" else f"validation/{STRICT}"
    assert (first["kind"], first["table"]) == ("intervals", "primary")
    assert first["title"].startswith(f"{name} by arm, 95 % intervals")
    assert "policy/train/loss" in [panel.get("metric") for panel in panels(spec)]


def test_every_panel_of_a_search_finds_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = searched(tmp_path)
    study = json.loads((folder / "study.json").read_text())
    write_json(folder / "comparison.json", sealed(search_comparison(folder, study)))
    spec = shown(folder, capsys)
    parallel = panels(spec)[0]
    assert parallel["kind"] == "parallel"
    keys = [(axis["where"], axis["key"], axis["log"]) for axis in parallel["axes"]]
    assert keys == [
        ("config", "choices.selection", False),
        ("config", "choices.rejected", False),
        ("config", "dpo.beta", True),
        ("summary", f"validation/{ACCURACY}", False),
        ("summary", "validation/verifiable/tokens", False),
    ]
    every_key_is_there(spec, Group(folder))


@pytest.mark.parametrize(
    ("spec", "logarithmic"),
    [
        ({"choices": [1e-9, 1e-5, 1e-3]}, True),
        ({"choices": [0.1, 0.2]}, False),
        ({"choices": [0, 1000]}, False),
        ({"choices": ["a", 1000]}, False),
        ({"low": 1e-6, "high": 1e-3, "log": True}, True),
        ({"low": 1, "high": 100}, False),
    ],
)
def test_an_axis_is_logarithmic_as_its_setting_was_searched_or_chosen(spec: dict[str, Any], logarithmic: bool) -> None:
    assert is_logarithmic(spec) == logarithmic


def test_the_chart_of_intervals_reads_the_fields_that_the_panel_gives_it() -> None:
    text = json.dumps(interval_chart())
    assert set(re.findall(r"\$\{field:(\w+)\}", text)) == set(INTERVAL_FIELDS)
    assert set(re.findall(r"\$\{string:(\w+)\}", text)) == {"metric"}


def test_wandbs_own_objects_hold_the_same_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces", reason="an optional extra: notus-exp[workspace]")
    spec = shown(compared(tmp_path), capsys)
    text = made(spec, "me", "me/chart")._to_model().model_dump_json()
    for panel in panels(spec):
        for name in ("metric", "x", "table"):
            assert panel.get(name, "") in text
    assert "me/chart" in text
    assert "arm.value" in text


def test_without_the_package_that_saves_workspaces_the_remedy_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"a workspace cannot be saved") as caught:
        save(shown(compared(tmp_path), capsys))
    assert "pip install 'notus-exp[workspace]'" in str(caught.value)


def test_a_study_that_was_not_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = planted(tmp_path)
    assert main([str(folder)]) == 2
    assert "python -m notus_exp.compare" in capsys.readouterr().err


def test_settings_are_those_of_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = compared(tmp_path)
    own = {"name": "none", "project": "ours", "entity": "team", "group": "shelf", "mode": "offline", "later": 1}
    edit(run_json(folder, "critique-s0"), lambda content: content["config"].update(tracking=own))
    spec = shown(folder, capsys)
    assert (spec["project"], spec["entity"], spec["group"]) == ("ours", "team", "shelf")
