"""Runs and studies as frames: the numbers are those that were planted, and nothing is loaded before it is asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import notus_exp
from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.terminal import study_report
from notus_exp.errors import UserError
from notus_exp.frames.study_data import StudyData
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.search.summary import summary
from support.readable_studies import PROMPTS, add_stage, compared, made_by, readable
from support.searches import FakeJobs, Values, good, search
from support.study_folders import ACCURACY, STRICT, crossed, edit, prompt, run_json, sealed, write, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readable(tmp_path_factory.mktemp("readable"))


def one(frame: pl.DataFrame, **where: object) -> dict[str, object]:
    """The only row with these values."""
    [row] = frame.filter(**where).rows(named=True)
    return row


# A study
def test_a_study_has_a_row_for_each_run(study: Path) -> None:
    runs = notus_exp.load_study(study).runs
    assert runs.select("arm", "seed", "run_id", "status").rows() == [
        ("critique", 0, "critique-s0", "finished"),
        ("critique", 1, "critique-s1", "finished"),
        ("average", 0, "average-s0", "finished"),
        ("average", 1, "average-s1", "finished"),
    ]
    assert runs["device_seconds"].to_list() == [1.0] * 4
    assert runs["judge_usd"].dtype == pl.Float64


def test_values_by_prompt_are_those_of_the_runs_files(study: Path) -> None:
    found = notus_exp.load_study(str(study)).by_prompt
    planted = crossed(PROMPTS, [0, 1], effect=0.2, arm=1)[1]
    row = one(found, arm="average", seed=1, metric=ACCURACY, prompt_id=prompt(7))
    assert row["value"] == planted[7]
    assert (row["run_id"], row["base"]) == ("average-s1", 0.5)
    assert one(found, arm="critique", seed=0, metric=STRICT, prompt_id=prompt(3))["value"] == 1.0
    assert found.height == 4 * 2 * PROMPTS


def test_contrasts_and_estimates_are_those_of_the_comparison(study: Path) -> None:
    loaded = notus_exp.load_study(study)
    rows = loaded.comparison["contrasts"]
    found = loaded.contrasts
    assert found.height == len(rows)
    for place, row in enumerate(rows):
        named = found.row(place, named=True)
        for key in ("metric", "arm", "reference", "primary", "value", "low", "high", "p", "holm", "verdict", "words"):
            assert named[key] == row[key]
        assert named["cautions"] == row["cautions"]
    primary = one(found, primary=True)
    assert (primary["arm"], primary["reference"], primary["verdict"]) == ("average", "critique", "higher")
    average = one(loaded.estimates, arm="average", metric=ACCURACY)
    assert average["value"] == loaded.comparison["arms"][1]["metrics"][ACCURACY]["value"]
    by_hand = loaded.by_prompt.filter(arm="average", metric=ACCURACY)["value"].mean()
    assert average["value"] == pytest.approx(by_hand)
    assert "base model" in loaded.estimates["arm"].to_list()


def test_what_the_arms_train_on_is_a_frame(study: Path) -> None:
    found = notus_exp.load_study(study).curations
    assert found.columns == ["arm", "reference", "measure", "value", "low", "high", "prompts"]
    assert one(found, arm="average", measure="pairs")["value"] == 3, "of four one is a test pair"
    assert one(found, arm="average", measure="pairs in common")["value"] == 1
    turned = one(found, arm="average", measure="same side of those")
    assert (turned["value"], turned["reference"]) == (pytest.approx(2 / 3), "critique")


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (("0.1", "5e-1"), [0.1, 0.5]),
        (("8", "16"), [8, 16]),
        (("null", "256"), [None, 256]),
        (("null", "null"), ["null", "null"]),
        (("true", "false"), [True, False]),
        (("[sigmoid,sft]", "0.5"), ["[sigmoid,sft]", "0.5"]),
    ],
)
def test_a_grid_has_a_column_for_each_setting_of_the_type_of_its_levels(
    tmp_path: Path, written: tuple[str, str], values: list[object]
) -> None:
    levels = {arm: {"some.key": level} for arm, level in zip("ab", written, strict=True)}
    folder = write_study(tmp_path, {arm: {0: {STRICT: [0.0, 1.0]}} for arm in levels}, kind="grid", metric=STRICT)
    edit(folder / "study.json", lambda content: content.update(factors={"some.key": [*written]}))
    for arm, level in levels.items():
        edit(folder / "study.json", lambda content, arm=arm, level=level: content["arms"][arm].update(levels=level))
    runs = notus_exp.load_study(folder).runs
    assert runs["arm"].to_list() == ["a", "b"]
    found = runs["some.key"].to_list()
    assert (found, [*map(type, found)]) == (values, [*map(type, values)])


def test_a_run_without_a_result_is_there_with_its_reason(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}, "b": {0: {STRICT: [0.0, 0.0]}}}, metric=STRICT)
    run_json(folder, "b-s0").unlink()
    edit(folder / "study.json", lambda content: content.update(unplanned={"b": {"0": "no such file"}}))
    loaded = notus_exp.load_study(folder)
    assert loaded.runs.select("status", "error").rows() == [("finished", None), ("failed", "no such file")]
    assert set(loaded.by_prompt["arm"]) == {"a"}
    assert loaded.run("b", 0).by_prompt.schema == loaded.run("a", 0).by_prompt.schema
    edit(folder / "study.json", lambda content: content["arms"]["b"].update(runs={}))
    without = notus_exp.load_study(folder)
    assert one(without.runs, arm="b")["run_id"] is None
    assert set(without.metrics["arm"]) == {"a"}
    with pytest.raises(UserError, match="has no run with seed 0"):
        without.run("b", 0)


@pytest.mark.parametrize("state", ["none", "older", "afterwards"])
def test_contrasts_that_are_not_those_of_the_plan_and_its_runs_are_refused(tmp_path: Path, state: str) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}, "b": {0: {STRICT: [0.0, 0.0]}}}, metric=STRICT)
    said = "has no comparison.json"
    if state == "older":
        edit(run_json(folder, "b-s0"), lambda content: content.update(status="running"))
        compared(folder)
        edit(run_json(folder, "b-s0"), lambda content: content.update(status="finished"))
        said = r"counts the seeds \[\] of arm 'b', of which \[0\] are finished now"
    elif state == "afterwards":
        compared(folder)
        change = {"chosen_afterwards": ["baseline"]}
        edit(folder / "comparison.json", lambda content: content["study"].update(change))
        said = "rests on another baseline than the study named"
    loaded = notus_exp.load_study(folder)
    assert loaded.runs.height == 2
    with pytest.raises(UserError, match=said) as error:
        _ = loaded.contrasts
    assert f"python -m notus_exp.compare {folder} writes it" in str(error.value)


def test_a_look_afterwards_is_opened_by_its_name(study: Path, tmp_path: Path) -> None:
    folder = write_study(tmp_path, {arm: {0: {STRICT: [0.0, 1.0, 1.0]}} for arm in ("a", "b")}, metric=STRICT)
    compared(folder)
    looked = analyse(folder, baseline="b")
    write(folder / "comparisons/other/comparison.json", sealed(looked))
    loaded = notus_exp.load_study(folder)
    assert loaded.looks == ["other"]
    assert loaded.contrasts.filter("primary")["arm"].to_list() == ["b"]
    found = notus_exp.load_study(folder, look="other").contrasts
    assert found.filter(reference="b")["arm"].to_list() == ["a"]
    assert not found["primary"].any()
    with pytest.raises(UserError, match="did you mean 'other'"):
        notus_exp.load_study(folder, look="othr")
    planned = study_report(analyse(folder), folder)
    assert not any("anew" in one for one in planned.sentences)


def test_a_look_of_before_an_arm_was_added_is_refused_with_the_command_that_makes_it_anew(tmp_path: Path) -> None:
    values = {arm: {0: {STRICT: [0.0, 1.0, 1.0]}} for arm in ("a", "b", "c")}
    folder = write_study(tmp_path, {arm: values[arm] for arm in ("a", "b")}, metric=STRICT)
    looked = analyse(folder, baseline="b", margin=0.1)
    write_study(tmp_path, values, metric=STRICT)
    write(folder / "comparisons/other/comparison.json", sealed(looked))
    command = f"python -m notus_exp.compare {folder} --baseline b --margin 0.1 --name other"
    with pytest.raises(UserError, match=r"counts the seeds \[\] of arm 'c', of which \[0\]") as error:
        _ = notus_exp.load_study(folder, look="other").contrasts
    assert command in str(error.value)
    said = study_report(analyse(folder), folder).sentences
    assert [command in one for one in said if one.startswith("comparisons/other ")] == [True]


def test_a_search_has_its_trials_as_arms(tmp_path: Path) -> None:
    place = tmp_path / "outputs" / "studies" / "found"

    def score(values: Values) -> dict[str, float] | Ended:
        return good(values) if values["selection"] == "average" else Ended("failed", "no luck")

    search(place, FakeJobs(place, score), trials=6, seeds=(0, 1))
    loaded = notus_exp.load_study(place)
    trials = loaded.trials
    assert trials["trial"].to_list() == list(range(6))
    states = trials.select("selection", "state").unique().sort("state").rows()
    assert states == [("average", "complete"), ("critique", "failed")]
    assert set(trials.filter(state="failed")["reason"]) == {"seed 0: no luck"}
    best = one(trials, best=True)
    assert best[ACCURACY] == trials[ACCURACY].max()
    assert best["selection"] == "average" and isinstance(best["dpo.beta"], float)
    assert trials.filter(selection="critique")["rejected"].is_null().all()  # it is asked with the average only
    arm = f"trial_{best['trial']}"
    assert loaded.runs.filter(arm=arm)["seed"].to_list() == [0, 1]
    measured = loaded.metrics.filter(arm=arm, metric=ACCURACY)["value"]
    assert measured.mean() == best[ACCURACY]
    assert loaded.run(arm, 0).status == "finished"


def test_trials_have_the_intervals_of_their_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "outputs" / "studies" / "found"
    search(place, FakeJobs(place, good), trials=2, seeds=(0,))
    found = summary(place)
    found["trials"][0]["intervals"] = {ACCURACY: {"value": 0.5, "low": 0.25, "high": 0.75, "prompts": 9}}
    monkeypatch.setattr(StudyData, "_summary", lambda study: found)
    ends = notus_exp.load_study(place).trials.select(f"{ACCURACY}/low", f"{ACCURACY}/high")
    assert ends.rows() == [(0.25, 0.75), (None, None)]


def test_another_study_has_no_trials(study: Path) -> None:
    assert notus_exp.load_study(study).trials.height == 0


# A run
def test_each_stage_says_what_made_it_and_one_of_before_that_it_is_not_recorded(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}}, metric=STRICT)
    made_by(folder, "a-s0", "policy", profile="gpu", seconds=None)
    made_by(folder, "a-s0", "policy", profile="cpu", command=["seed=0", "judge=mock"])
    add_stage(folder, "a-s0", "pairs", {})
    run = notus_exp.load_run(folder.parent.parent / "runs" / "a-s0")
    policy, pairs = (one(run.stages, node=node) for node in ("policy", "pairs"))
    assert policy["made"] == "2026-11-20 gpu (killed); then 2026-11-20 cpu"
    assert (policy["profile"], policy["device"], policy["git_commit"]) == ("cpu", "cpu", "abc")
    assert policy["command"] == "python -m notus_exp seed=0 judge=mock"
    assert pairs["made"] == "not recorded"
    assert {pairs[key] for key in ("started", "profile", "device", "git_commit", "command")} == {None}
    assert [attempt["versions"]["torch"] for attempt in run.provenance["policy"]] == ["2", "2"]
    assert run.provenance["pairs"] == []


def test_who_gives_an_id_for_a_folder_is_told_the_folder(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent.parent.parent)
    for load, given, meant in (
        (notus_exp.load_run, "average-s1", "outputs/runs/average-s1"),
        (notus_exp.load_study, "planted", "outputs/studies/planted"),
    ):
        with pytest.raises(UserError) as error:
            load(given)
        assert error.value.hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize("frame", ["history", "pairs", "answers"])
def test_what_is_gone_is_said_and_no_empty_frame(tmp_path: Path, frame: str) -> None:
    study = readable(tmp_path)
    run = notus_exp.load_run(study.parent.parent / "runs" / "average-s1")
    shutil.rmtree(run.artifacts)
    with pytest.raises(UserError, match="is gone") as error:
        getattr(run, frame)
    assert "the command of run average-s1 makes it anew" in str(error.value)
    assert run.stages["made"].unique().to_list() == ["not recorded"]


def test_a_run_has_its_metrics_pairs_answers_and_curves(study: Path) -> None:
    run = notus_exp.load_run(study.parent.parent / "runs" / "average-s1")
    assert (run.run_id, run.status) == ("average-s1", "finished")
    assert run.metrics.select("side", "metric").rows() == [("policy", ACCURACY), ("policy", STRICT)]
    last = one(run.pairs, row=3)
    assert (last["system"], last["context"], last["prompt"]) == ("be brief", None, "prompt 3")
    talked = one(run.pairs, row=2)
    assert (talked["system"], talked["prompt"]) == (None, "prompt 2")
    assert talked["context"] == "[user] hello\n\n[assistant] yes?"
    assert (last["chosen"], last["rejected"], last["margin"]) == ("good answer 3", "bad answer 3", 2.5)
    first = one(run.pairs, row=0)
    assert (first["system"], first["chosen"], first["split"]) == (None, "bad answer 0", "test")
    answer = one(run.answers, prompt_id=prompt(5))
    assert (answer["evaluation"], answer["response"], answer["base"]) == ("verifiable", "average says 5", "base says 5")
    assert run.history.rows() == [("policy", 1, "train/loss", 0.7), ("policy", 2, "train/loss", 0.5)]
    policy = one(run.stages, node="policy")
    assert Path(str(policy["folder"])).is_dir()


def test_sides_of_a_runs_metrics_are_told_apart(study: Path, tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}}, metric=STRICT)
    values = {side + STRICT: {"value": at, "low": None, "high": 1.0, "n": 2} for at, side in enumerate(SIDES.values())}
    edit(run_json(folder, "a-s0"), lambda content: content.update(metrics=values))
    found = notus_exp.load_run(folder.parent.parent / "runs" / "a-s0").metrics
    assert found.rows() == [(side, STRICT, float(at), None, 1.0, 2) for at, side in enumerate(SIDES)]


SIDES = {"policy": "", "base": "base/", "difference": "difference/"}


def test_frames_become_pandas(study: Path) -> None:
    loaded = notus_exp.load_study(study)
    for frame in (loaded.runs, loaded.by_prompt, loaded.contrasts, loaded.run("average", 0).pairs):
        assert list(frame.to_pandas().columns) == frame.columns
        assert len(frame.to_pandas()) == frame.height > 0


def test_what_is_gone_or_changed_is_one_error(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}}, metric=STRICT)
    add_stage(folder, "a-s0", "pairs", {})
    run = notus_exp.load_study(folder).run("a", 0)
    with pytest.raises(UserError, match=r"pairs\.parquet is gone"):
        _ = run.pairs


@pytest.mark.parametrize(
    ("load", "said"),
    [(notus_exp.load_study, "is not a study: it has no study.json"), (notus_exp.load_run, "no run.json")],
)
def test_another_folder_is_refused(tmp_path: Path, load: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(tmp_path)  # type: ignore[operator]


def test_unknown_arms_and_seeds_are_named(study: Path) -> None:
    loaded = notus_exp.load_study(study)
    with pytest.raises(UserError, match="did you mean 'average'"):
        loaded.run("averag", 0)
    with pytest.raises(UserError, match="it has 0, 1"):
        loaded.run("average", 7)


# Importing
def test_importing_the_package_loads_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import notus_exp\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))\n"
        "print([name for name in sys.modules if name.startswith('notus_exp.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["['notus_exp']", "[]"]


def test_loading_a_study_imports_no_training_library(study: Path) -> None:
    code = (
        "import sys, notus_exp; study = notus_exp.load_study(sys.argv[1]); study.by_prompt, study.contrasts\n"
        "print({'torch', 'transformers', 'trl', 'wandb', 'optuna', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, study], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


AFTER = """
import importlib, pkgutil, sys, notus_exp
for found in pkgutil.{walk}(notus_exp.__path__, "notus_exp."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
study = notus_exp.load_study(sys.argv[1])
run = notus_exp.load_run(study.folder.parent.parent / "runs" / "average-s0")
print(type(study) is notus_exp.StudyData, type(run) is notus_exp.RunData, study.contrasts.height > 0)
print(set(notus_exp.__all__) <= set(dir(notus_exp)))
"""


@pytest.mark.parametrize("walk", ["iter_modules", pytest.param("walk_packages", marks=pytest.mark.slow)])
def test_no_modules_name_shadows_what_the_package_offers(study: Path, walk: str) -> None:
    """Importing a submodule sets an attribute of its package, as only those directly below it do of the package itself.

    Without mark they alone are imported, and every other submodule, with its libraries, in the slow tests.
    """
    code = AFTER.format(walk=walk)
    done = subprocess.run([sys.executable, "-c", code, study], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True True True\nTrue\n"), done.stderr[-2000:]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_studies'"):
        _ = notus_exp.load_studies
