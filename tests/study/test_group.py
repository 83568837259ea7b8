"""What W&B shows of a study, read back from the offline files, against comparison.json, number by number."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from notus_exp.contracts.comparison_file import BASE_MODEL, ComparisonFile
from notus_exp.contracts.study_file import SearchSummary
from notus_exp.disk.outputs import read_study
from notus_exp.study.group import parts, track_runs
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.tracking import Ending, Membership, open_tracker
from support.offline_runs import TRACKING, keep_out, own_places, read_runs  # noqa: F401  (a fixture)
from support.searches import ACCURACY, STRICT, TOKENS
from support.study_folders import edit, run_json, write_run
from support.wandb_groups import ARMS, Group, names, numbers, planted, searched, told


def agrees(group: Group, comparison: ComparisonFile, split: str = "") -> None:
    """Hold everything that W&B has of a study of arms against comparison.json."""
    by_arm = {arm["arm"]: arm for arm in comparison["arms"]}
    assert names(group.runs) == sorted(f"{arm}-s{seed}" for arm, row in by_arm.items() for seed in row["seeds"])
    metrics = {metric for arm in by_arm.values() for metric in arm["metrics"]}
    for metric in metrics:
        expected = {arm: row["metrics"][metric]["value"] for arm, row in by_arm.items()}
        assert group.means(split + metric) == pytest.approx(expected)
    parts = ("value", "low", "high", "prompts", "seeds")
    measured = {**{arm: row["metrics"] for arm, row in by_arm.items()}, BASE_MODEL: comparison["base"]["metrics"]}
    rows = [[arm, split + name, *(own[name][part] for part in parts)] for arm, own in measured.items() for name in own]
    assert numbers(group.rows("arms"), ("arm", "metric", *parts)) == rows
    primary = comparison["study"]["metric"]
    first = [[arm, *(own[primary][part] for part in parts)] for arm, own in measured.items()]
    assert numbers(group.rows("primary"), ("arm", *parts)) == first
    columns = (*("arm", "reference", "value", "low", "high", "p", "holm", "holm_low"), "verdict", "words")
    assert numbers(group.rows("contrasts"), columns) == numbers(comparison["contrasts"], columns)
    for contrast in comparison["contrasts"]:
        name = f"{split}contrast/{contrast['arm']} vs {contrast['reference']}"
        assert (name in group.study.summary) == contrast["primary"]
        if contrast["primary"]:
            shown = [group.study.summary[name], *(group.study.summary[f"{name}/{part}"] for part in columns[3:])]
            assert shown == [contrast["value"], *(contrast[part] for part in columns[3:])]
    assert group.study.summary["verdict"] == comparison["verdict"]


# ---------------------------------------------------------------------------------------------------------------- arms
def test_named_arms_agree(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    comparison = told(folder)
    group = Group(folder)
    agrees(group, comparison)
    assert group.means(STRICT) == pytest.approx({"critique": 0.375, "average": 0.875})
    assert {run.run.run_group for run in group.runs} == {"planted"}
    for run in group.runs:
        assert (run.config["arm"], run.config["seed"]) == (run.config["study"]["arm"], run.config["run_id"][-1:] == "1")
        assert {f"arm={run.config['arm']}", "study=planted", f"selection={run.config['arm']}"} <= set(run.run.tags)
        assert not [tag for tag in run.run.tags if tag.startswith("judge=")]


def test_a_grid_with_a_reused_run_agrees(tmp_path: Path) -> None:
    """Three of its runs are tracked while they go on; the fourth is an earlier run of its own that was not tracked."""
    folder = planted(tmp_path, kind="grid", factors={"selection": ["critique", "average"]})
    edit(run_json(folder, "average-s1"), lambda content: content["config"].update({"study": {"name": None}}))
    for arm, seed in itertools.islice(itertools.product(ARMS, (0, 1)), 3):
        member = Membership("planted", arm, seed, metrics=(STRICT,))
        content: dict[str, Any] = {}
        edit(run_json(folder, f"{arm}-s{seed}"), content.update)
        tracker = open_tracker(
            TRACKING, "", [], {"seed": seed, "run_id": f"{arm}-s{seed}"}, folder, pytest.fail, member
        )
        tracker.finish(Ending.of(content, []))  # type: ignore[arg-type]
    before = {run.path for run in read_runs(folder)}
    assert len(before) == 3
    comparison = told(folder)
    group = Group(folder)
    agrees(group, comparison)
    assert before < {run.path for run in group.runs}, "what was told is not told again"


def test_a_study_that_is_repeated_or_changed_has_each_run_once(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    told(folder)
    paths = {run.path for run in Group(folder).runs}
    told(folder)
    assert {run.path for run in Group(folder).runs} == paths, "nothing changed, so nothing was told again"
    change = {"metrics": {STRICT: {"value": 0.25, "low": 0.0, "high": 1.0, "n": 4}}}
    edit(run_json(folder, "average-s1"), lambda content: content.update(change))
    told(folder)
    group = Group(folder)
    assert len({run.path for run in group.runs} & paths) == 3
    assert group.means(STRICT)["average"] == pytest.approx((0.75 + 0.25) / 2)


def test_a_run_that_the_study_replaces_by_another_is_replaced_in_the_group(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    told(folder)
    other = folder.parent.parent / "runs" / "made-anew"
    run_json(folder, "average-s1").parent.rename(other)
    metrics = {STRICT: {"value": 1.0, "low": 0.5, "high": 1.0, "n": 4}}
    edit(other / "run.json", lambda content: content.update(run_id="made-anew", metrics=metrics))
    edit(folder / "study.json", lambda content: content["arms"]["average"]["runs"].update({"1": "made-anew"}))
    comparison = told(folder)
    group = Group(folder)
    agrees(group, comparison)
    assert [run.config["run_id"] for run in group.runs if run.run.display_name == "average-s1"] == ["made-anew"]


def test_a_seed_that_the_study_no_longer_has_counts_nowhere(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    told(folder)
    edit(folder / "study.json", lambda content: content["arms"]["average"]["runs"].pop("1"))
    comparison = told(folder)
    group = Group(folder)
    (gone,) = [run for run in group.runs if run.run.display_name == "average-s1"]
    assert gone.summary["status"] == "left"
    assert group.means(STRICT)["average"] == comparison["arms"][1]["metrics"][STRICT]["value"] == 0.75
    paths = {run.path for run in group.runs}
    told(folder)
    assert {run.path for run in Group(folder).runs} == paths, "that is told once"


def test_a_note_that_cannot_be_read_is_told_anew(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    told(folder)
    note = sorted((folder / "wandb/told").iterdir())[0]
    note.write_text("{")
    comparison = told(folder)
    group = Group(folder)
    agrees(group, comparison)
    assert len(list((folder / "wandb/superseded").iterdir())) == 2, "that run, and the study's own"


def test_a_failed_run_is_in_the_group_and_counts_nowhere(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    edit(run_json(folder, "average-s1"), lambda content: content.update(status="failed", error="out of memory"))
    comparison = told(folder)
    group = Group(folder)
    (failed,) = [run for run in group.runs if run.run.display_name == "average-s1"]
    assert (failed.exit_code, failed.summary["status"], failed.summary["error"]) == (1, "failed", "out of memory")
    assert len(group.runs) == 4
    assert group.means(STRICT)["average"] == comparison["arms"][1]["metrics"][STRICT]["value"] == 0.75


def test_a_run_that_was_killed_is_told_with_what_it_was(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    edit(run_json(folder, "average-s1"), lambda content: content.update(status="running"))
    edit(folder / "study.json", lambda content: content.update(unplanned={"average": {"1": "killed by the cluster"}}))
    told(folder)
    (killed,) = [run for run in Group(folder).runs if run.run.display_name == "average-s1"]
    assert (killed.summary["status"], killed.summary["error"]) == ("failed", "killed by the cluster")
    assert (killed.config["dpo"]["beta"], STRICT in killed.summary) == (0.1, False)


def test_validation_prompts_have_names_of_their_own(tmp_path: Path) -> None:
    folder = planted(tmp_path, split="validation")
    comparison = told(folder)
    group = Group(folder)
    agrees(group, comparison, "validation/")
    for run in (*group.runs, group.study):
        assert STRICT not in run.summary


def test_candidates_of_tuning_are_apart_from_the_arms(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    write_run(folder.parent.parent, "tried", {STRICT: [0.0, 1.0]}, base={}, split="validation", seed=1000)
    candidate = {"values": {"dpo.beta": "0.10"}, "runs": {"1000": "tried"}, "reason": None}
    estimates = {"value": 0.5, "low": None, "high": None}
    edit(folder / "study.json", lambda content: content.update(tuning={"average": [candidate | estimates]}))
    comparison = told(folder)
    group = Group(folder)
    (tuned,) = [run for run in group.runs if run.run.job_type == "tuning"]
    assert (tuned.run.display_name, "arm" in tuned.config) == ("average dpo.beta=0.1-s1000", False)
    group.runs.remove(tuned)
    agrees(group, comparison)


def test_where_nothing_is_tracked_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted(tmp_path)
    told(folder, dataclasses.replace(TRACKING, name="none"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    told(folder, dataclasses.replace(TRACKING, mode="auto"))
    assert {path.name for path in folder.iterdir()} == {"study.json"}


# -------------------------------------------------------------------------------------------------------------- search
@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a search that was told to W&B, and what it found."""
    with pytest.MonkeyPatch.context() as patch:
        keep_out(tmp_path_factory.mktemp("wandb_home"), patch)
        return searched(tmp_path_factory.mktemp("hunt"))


def test_a_search_with_pruned_and_failed_trials_agrees(hunt: tuple[Path, Any]) -> None:
    folder, found = hunt
    states = {trial["number"]: trial["state"] for trial in found["trials"]}
    assert states == {0: "pruned", 1: "failed", 2: "failed", 3: "complete", 4: "complete"}
    group = Group(folder)
    assert {run.config["trial"] for run in group.runs} == {*states}, "every trial is there"
    assert all(run.run.display_name == f"trial_{run.config['trial']}-s{run.config['seed']}" for run in group.runs)
    assert {run.config["study"]["metric"] for run in group.runs} == {group.study.summary["metric"]} == {ACCURACY}
    for run in group.runs:
        trial = found["trials"][run.config["trial"]]
        assert run.summary["status"] == ("finished" if trial["state"] == "complete" else trial["state"])
        assert run.summary.get("error") == trial["reason"]
    for goal in (ACCURACY, TOKENS):
        values = {one["number"]: one["values"].get(goal, one["constraints"].get(goal)) for one in found["trials"]}
        expected = {number: value for number, value in values.items() if value is not None}
        assert group.means(f"validation/{goal}", "trial") == pytest.approx(expected)
        assert group.study.history_of(f"search/validation/{goal}", "search/trial") == sorted(expected.items())


def test_trials_whose_runs_another_machine_has_are_told_by_that_one(tmp_path: Path) -> None:
    study: Any = {"name": "mine", "kind": "search", "metric": ACCURACY, "seeds": [0], "arms": {}}
    study["search"] = {"constraints": {}}
    folder = tmp_path / "outputs" / "studies" / "mine"
    folder.mkdir(parents=True)
    trial = {"number": 0, "state": "complete", "params": {}, "runs": {"0": "far"}, "reason": None}
    found: Any = {"objectives": {ACCURACY: "maximize"}, "trials": [trial]}
    assert len([*parts(study, folder, found)]) == 1
    found["trials"] = [trial | {"elsewhere": True}]
    assert [*parts(study, folder, found)] == [], "what is known here would stand in the place of its results"


def test_the_run_of_a_search_carries_trials_and_best(hunt: tuple[Path, Any]) -> None:
    folder, found = hunt
    group = Group(folder)
    (best,) = found["best"]
    assert group.study.summary["best"] == str(best)
    name = f"best/trial_{best}/validation/{ACCURACY}"
    assert group.study.summary[name] == found["trials"][best]["values"][ACCURACY]
    assert (group.study.summary["trials"], group.study.summary["command"]) == (5, found["command"])
    rows = group.rows("trials_table")
    assert numbers(rows, ("number", "state", "feasible", "reason", "seeds")) == [
        [trial[column] for column in ("number", "state", "feasible", "reason", "seeds")] for trial in found["trials"]
    ]
    for row, trial in zip(rows, found["trials"], strict=True):
        assert {key: row[key] for key in trial["params"]} == trial["params"]
        assert row[f"validation/{ACCURACY}"] == trial["values"][ACCURACY]
        assert row[f"validation/{TOKENS}"] == trial["constraints"].get(TOKENS)
        assert row["best"] == (trial["number"] == best)


def test_a_search_agrees_with_comparison_json_number_by_number(tmp_path: Path) -> None:
    """Intervals are planted: the runs of these tests have none of their own."""
    row = {"value": 0.7, "low": 0.2, "high": 0.95, "p": 0.005, "holm": 0.01, "trials": 12, "verdict": "matters"}
    unknown = dict.fromkeys(("value", "low", "high", "p", "holm"))
    shares = {
        "selection": {**row, "reason": None},
        "rejected": {**unknown, "trials": 2, "verdict": "cannot tell", "reason": "was part of 2 complete trials"},
    }

    def intervals(found: dict[str, Any]) -> dict[str, Any]:
        for one in found["trials"]:
            if one["state"] == "complete":
                value = one["values"][ACCURACY]
                one["intervals"] = {ACCURACY: {"value": value, "low": value - 0.1, "high": value + 0.2, "prompts": 16}}
        return {**found, "importances": {ACCURACY: shares}}

    folder, found = searched(tmp_path, changed=intervals)
    comparison = search_comparison(folder, read_study(folder))
    there = {**comparison["search"], **intervals(cast(dict[str, Any], comparison["search"]))}
    assert {one["state"] for one in there["trials"]} == {"complete", "pruned", "failed"}
    group = Group(folder)
    assert group.study.summary["best"] == ", ".join(map(str, there["best"]))
    assert group.study.summary["metric"] == comparison["study"]["metric"] == ACCURACY
    name = f"validation/{ACCURACY}"
    for shown, trial in zip(group.rows("trials_table"), there["trials"], strict=True):
        interval = trial.get("intervals", {}).get(ACCURACY, {})
        expected = [trial["values"][ACCURACY], *(interval.get(part) for part in ("low", "high", "prompts"))]
        assert [shown[name], *(shown[f"{name}/{part}"] for part in ("low", "high", "prompts"))] == expected
        assert shown["best"] == (trial["number"] in there["best"])
    parts = ("low", "high", "p", "holm", "trials", "verdict", "reason")
    for shown, (setting, known) in zip(group.rows("importances"), shares.items(), strict=True):
        assert (shown["objective"], shown["setting"], shown["share"]) == (name, setting, known["value"])
        assert {part: shown[part] for part in parts} == {part: known[part] for part in parts}
        assert group.study.summary[f"importance/{name}/{setting}"] == known["value"]
        for part in parts:
            assert group.study.summary[f"importance/{name}/{setting}/{part}"] == known[part]
    assert group.study.summary["importances_note"] == found["importances_note"]


def test_trials_that_tie_are_all_best(tmp_path: Path) -> None:
    folder, found = searched(tmp_path, trials=4, seeds=(0,), score=lambda values: {ACCURACY: 0.5, TOKENS: 1.0})
    assert len(found["best"]) > 1
    group = Group(folder)
    assert group.study.summary["best"] == ", ".join(map(str, found["best"]))
    assert [row["number"] for row in group.rows("trials_table") if row["best"]] == sorted(found["best"])


def test_a_trial_that_expired_leaves_its_runs_to_the_trial_that_has_its_parameters_again(
    hunt: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "outputs/studies/hunt"
    shutil.copytree(hunt[0].parent.parent, tmp_path / "outputs")
    last = hunt[1]["trials"][4]
    lost = {**last, "number": 5, "state": "expired", "reason": "the process is gone", "values": {ACCURACY: None}}
    study, found = read_study(folder), {**hunt[1], "trials": [*hunt[1]["trials"], lost]}
    track_runs(TRACKING, study, folder, pytest.fail, cast(SearchSummary, found))
    group = Group(folder)
    run = next(run for run in group.runs if run.config["trial"] == 5)
    assert (run.summary["status"], run.summary["error"]) == ("expired", "the process is gone")
    assert f"validation/{ACCURACY}" not in run.summary
    assert 4 in group.means(f"validation/{ACCURACY}", "trial")
