"""The command `python -m notus_exp.runs`: what it says of runs is what was planted in them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock

from notus_exp.browsing.finding import state_of_run
from notus_exp.browsing.listing import list_report
from notus_exp.browsing.settings_apart import settings_apart
from notus_exp.frames.run_data import load_run
from notus_exp.reporting.console import make_console
from notus_exp.reporting.tables import show
from notus_exp.runs import main
from support.readable_studies import made_by, readable
from support.study_folders import ACCURACY, STRICT, edit, prompt, run_json

Asked = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readable(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A study whose runs a test may change."""
    shutil.copytree(made.parent.parent, tmp_path / "outputs")
    return tmp_path / "outputs/studies/planted"


@pytest.fixture
def runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, study: Path) -> Asked:
    """Run the command beside `outputs`; return exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(study.parent.parent.parent)

    def ask(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return ask


def data(runs: Asked, *arguments: object) -> dict[str, Any]:
    code, out, err = runs(*arguments, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def set_metric(study: Path, run: str, name: str, **value: Any) -> None:
    edit(run_json(study, run), lambda content: content["metrics"].update({name: value}))


# list
def test_the_list_has_state_choices_first_metrics_age_and_size(runs: Asked, study: Path) -> None:
    set_metric(study, "average-s1", STRICT, value=0.4375, low=0.31, high=0.56, n=64)
    for run in ("critique-s0", "critique-s1", "average-s0", "average-s1"):
        choices = {"selection": run.partition("-")[0], "data": "simulated"}
        edit(run_json(study, run), lambda content, choices=choices: content.update(choices=choices))
    edit(run_json(study, "average-s0"), lambda content: content.update(status="failed", error="out of memory"))
    found = {row["run"]: row for row in data(runs, "list")["runs"]}
    assert {name: row["state"] for name, row in found.items()} == {
        "critique-s0": "finished",
        "critique-s1": "finished",
        "average-s0": "failed",
        "average-s1": "finished",
    }
    row = found["average-s1"]
    assert row["apart"] == {"selection": "average", "seed": "1"}
    assert row["metrics"][STRICT] == {"value": 0.4375, "low": 0.31, "high": 0.56, "n": 64}
    assert row["studies"] == ["planted"]
    artifacts = study.parent.parent / "artifacts"
    own = [path for path in artifacts.rglob("*") if path.is_file() and ("average-s1" in str(path) or _shared(path))]
    assert row["bytes"] == sum(path.stat().st_size for path in [*own, run_json(study, "average-s1")])
    _, out, _ = runs("list", "outputs")
    assert "0.438 [0.310 to 0.560]" in out or "0.437 [0.310 to 0.560]" in out
    assert "selection=critique" in out
    assert "4 runs" in out


def _shared(path: Path) -> bool:
    return path.parent.name in ("feedback-feedback", "base_model-base_model")


def test_on_80_columns_no_number_is_broken_and_the_end_of_an_id_names_a_run(study: Path) -> None:
    set_metric(study, "average-s1", STRICT, value=0.4375, low=0.31, high=0.56, n=64)
    out = io.StringIO()
    console = make_console(out)
    console.width = 80
    show(list_report(study.parent.parent, columns=80), console, as_json=False)
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    first = [below for line, below in pairwise(lines) if line.strip() == "s1"]
    assert len(first) == 2, "where there is no room a name has a line of its own"
    assert all("finished" in below for below in first)
    words = out.getvalue().split()
    assert {"0.438", "[0.310", "0.560]", "preferences/", "verifiable/"} <= {*words}
    assert words.count("planted") == 4, "the study of each run"


def test_only_what_is_unlike_most_runs_is_shown_of_the_settings(runs: Asked, study: Path) -> None:
    for run in ("critique-s0", "critique-s1", "average-s0", "average-s1"):
        beta = 0.5 if run == "average-s1" else 0.1
        edit(run_json(study, run), lambda content, beta=beta: content["config"]["dpo"].update(beta=beta))
    _, out, _ = runs("list")
    [line] = [line for line in out.splitlines() if "dpo.beta" in line]
    assert line.startswith("average-s1") and "dpo.beta=0.5" in line


def test_a_metric_may_be_asked_for(runs: Asked) -> None:
    assert list(data(runs, "list", "--metric", ACCURACY)["runs"][0]["metrics"]) == [ACCURACY]
    code, _, err = runs("list", "--metric", "verifiable/stric")
    assert (code, "did you mean 'verifiable/strict'?" in err) == (2, True)


def test_a_damaged_record_is_listed_as_such_and_the_others_with_it(runs: Asked, study: Path) -> None:
    run_json(study, "average-s0").write_text("{")
    found = {row["run"]: row["state"] for row in data(runs, "list")["runs"]}
    assert found["average-s0"] == "damaged"
    assert found["average-s1"] == "finished"


def test_a_run_whose_process_died_is_called_killed(study: Path) -> None:
    path = run_json(study, "average-s0")
    edit(path, lambda content: content.update(status="running"))
    lock = FileLock(path.with_name(".lock"))
    with lock.acquire():
        assert state_of_run(load_run(path.parent)) == "running"
    assert state_of_run(load_run(path.parent)) == "killed"


# show
def test_a_run_is_shown_with_its_command_metrics_stages_and_places(runs: Asked, study: Path) -> None:
    for name, value in ((STRICT, 0.5), (f"base/{STRICT}", 0.25), (f"difference/{STRICT}", 0.25)):
        estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 12}
        edit(
            run_json(study, "average-s1"), lambda content, name=name, it=estimate: content["metrics"].update({name: it})
        )
    edit(run_json(study, "average-s1"), lambda content: content.update(command=["selection=average", "seed=1"]))
    code, out, err = runs("show", "average-s1")
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "verifiable/strict 0.500 [0.400 to 0.600] 0.250 [0.150 to 0.350] 0.250 [0.150 to 0.350] 12" in said
    assert "python -m notus_exp selection=average seed=1" in said
    assert "policy made 2.0 policy-policy-average-s1" in said
    assert "outputs/runs/average-s1" in said
    assert "outputs/artifacts/pairs-pairs-average-s1/curation.html" in said
    assert data(runs, "show", "average-s1")["run_id"] == "average-s1"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            ["study.margin=0.05", "+study.arms={a: []}", "study.name='mine'", "judge.prompt='a b'", "seed=2"],
            """python -m notus_exp 'judge.prompt='"'"'a b'"'"'' seed=2""",
        ),
        (["study=prescribed", "study.name='x'", "study.arm='average'"], "python -m notus_exp --run study=prescribed"),
        (["--run", "study=prescribed", "seed=1"], "python -m notus_exp --run study=prescribed seed=1"),
    ],
)
def test_the_command_of_a_studys_run_can_be_given_for_the_run_alone(
    runs: Asked, study: Path, given: list[str], shown: str
) -> None:
    edit(run_json(study, "average-s1"), lambda content: content.update(command=given))
    assert shown in runs("show", "average-s1")[1].splitlines()
    made_by(study, "average-s1", "policy", profile="gpu", command=given)
    stages = load_run(run_json(study, "average-s1").parent).stages
    assert stages.filter(pl.col("node") == "policy")["command"].to_list() == [shown]


def test_a_run_says_with_what_each_stage_was_made_and_not_with_what_it_was_started(runs: Asked, study: Path) -> None:
    started = {"hardware": {"profile": "todays"}, "versions": {"torch": "99"}, "git_commit": "fff", "command": ["x=1"]}
    edit(run_json(study, "average-s1"), lambda content: content.update(started))
    made_by(study, "average-s1", "policy", profile="gpu")
    made_by(study, "average-s1", "pairs", profile="gpu")
    said = " ".join(runs("show", "average-s1")[1].split())
    assert "pairs, policy made with: profile gpu, device cpu, torch 2, git abc" in said
    assert "feedback, base_model" in said.partition(" made with: not recorded")[0]
    assert "policy made 2.0 policy-policy-average-s1 2026-11-20 gpu" in said
    assert "base_model made 1.0 base_model-base_model not recorded" in said
    assert "todays" not in said and "99" not in said and "fff" not in said
    told = data(runs, "show", "average-s1")["provenance"]
    assert (told["base_model"], told["policy"][0]["git_commit"]) == ([], "abc")


def test_what_stages_of_two_runs_were_made_with_is_compared_and_not_what_they_were_started_with(
    runs: Asked, study: Path
) -> None:
    edit(run_json(study, "average-s1"), lambda content: content.update(hardware={"profile": "todays"}, versions={}))
    made_by(study, "average-s1", "policy", profile="gpu")
    made_by(study, "critique-s1", "policy", profile="cpu")
    found = data(runs, "diff", "critique-s1", "average-s1")["surroundings"]
    assert found == {"profile": {"a": "cpu and not recorded", "b": "gpu and not recorded"}}


def test_a_failed_run_says_why(runs: Asked, study: Path) -> None:
    edit(run_json(study, "average-s1"), lambda content: content.update(status="failed", error="out of memory"))
    assert "average-s1: failed: out of memory" in runs("show", "average-s1")[1]


# diff
def test_two_runs_differ_by_their_settings_stages_and_prompts(runs: Asked, study: Path) -> None:
    found = data(runs, "diff", "critique-s0", "average-s0")
    assert "pairs" in found["made_apart"] and "feedback" not in found["made_apart"]
    row = found["metrics"][STRICT]["b_minus_a"]
    # planted: every third prompt of 12 against every second; 1 minus 0 on 2, 4, 8, 10 and 0 minus 1 on 3, 9
    assert row["value"] == pytest.approx((6 - 4) / 12)
    assert (row["prompts"], row["differing"]) == (12, 6)
    assert row["low"] < row["value"] < row["high"]
    said = " ".join(runs("diff", "critique-s0", "average-s0")[1].split())
    assert "the same artifacts: feedback, base_model" in said
    assert "Each side is one training" in said


def test_settings_that_move_no_result_are_no_difference() -> None:
    one = {"status": "finished", "choices": {"data": "simulated", "hardware": "cpu", "dpo": "lora"}}
    two = {"status": "finished", "choices": {"data": "rated", "hardware": "gpu", "dpo": "lora"}}
    one["config"] = {"output_dir": "/a", "data": {"path": None}, "dpo": {"beta": 0.1, "lora": {"r": 8}}, "seed": 0}
    two["config"] = {"output_dir": "/b", "data": {"path": "x"}, "dpo": {"beta": 0.1, "lora": {"r": 16}}, "seed": 0}
    assert settings_apart([one, two]) == {"data": ["simulated", "rated"], "dpo.lora.r": ["8", "16"]}  # type: ignore[list-item]


def test_runs_that_may_not_be_compared_are_not_but_their_settings_are(runs: Asked, study: Path) -> None:
    edit(run_json(study, "average-s0"), lambda content: content["config"].update(evaluation_split="validation"))
    found = data(runs, "diff", "critique-s0", "average-s0")
    assert found["metrics"][STRICT]["b_minus_a"] is None
    assert any("no metric is compared" in note for note in found["notes"])
    assert found["settings"]["evaluation_split"] == {"a": "test", "b": "validation"}


def test_an_unfinished_run_has_no_metrics_to_compare(runs: Asked, study: Path) -> None:
    edit(run_json(study, "average-s0"), lambda content: content.update(status="failed", metrics={}))
    found = data(runs, "diff", "critique-s0", "average-s0")
    assert found["notes"] == ["B is failed, so no metric is compared"]
    assert found["metrics"][STRICT]["b"] is None


# pairs
def test_pairs_are_read_in_full_and_the_same_each_time(runs: Asked) -> None:
    code, out, _ = runs("pairs", "average-s0", "--count", 2)
    assert code == 0
    assert out.count("== prompt") == 2
    assert "2 of 4 pairs of average-s0" in out
    assert out == runs("pairs", "average-s0", "--count", 2)[1]
    whole = runs("pairs", "average-s0", "--prompt", prompt(3))[1]
    assert "[system] be brief\n[prompt] prompt 3\n[chosen, score 4.50, by gpt] good answer 3\n[rejected" in whole
    whole = runs("pairs", "average-s0", "--prompt", prompt(2))[1]
    assert "\n[before] [user] hello\n\n[assistant] yes?\n[prompt] prompt 2\n[chosen" in whole
    assert "[prompt] promp…" in runs("pairs", "average-s0", "--characters", 6)[1]
    rows = data(runs, "pairs", "average-s0", "--split", "test")
    assert [row["row"] for row in rows["pairs"]] == [0]


def test_flips_are_counted_and_both_sides_shown(runs: Asked) -> None:
    found = data(runs, "pairs", "critique-s0", "--flips", "average-s0")
    assert found["counts"] == {
        "another chosen response": 2,
        "another rejected response": 2,
        "chosen and rejected swapped": 2,
    }
    assert (found["common"], found["alone"], found["of"]) == (4, 0, 2)
    out = runs("pairs", "critique-s0", "--flips", "average-s0", "--prompt", prompt(1))[1]
    assert "-- critique-s0\n[chosen, score 4.50, by gpt] good answer 1\n" in out
    assert "-- average-s0\n[chosen, score 4.50, by gpt] bad answer 1\n" in out


def test_several_pairs_of_a_prompt_are_all_read_and_compared_together(runs: Asked, study: Path) -> None:
    for run in ("critique-s0", "average-s0"):
        path = study.parent.parent / "artifacts" / f"pairs-pairs-{run}" / "pairs.parquet"
        own = pl.read_parquet(path)
        worse = own.head(1).with_columns(own["rejected"].gather([2]))
        pl.concat([own, worse]).write_parquet(path)
    assert data(runs, "pairs", "critique-s0")["of"] == 5
    found = data(runs, "pairs", "critique-s0", "--flips", "average-s0")
    assert (found["common"], found["alone"], found["of"]) == (4, 0, 2)
    assert found["counts"]["another chosen response"] == 2
    said = runs("pairs", "critique-s0", "--flips", "average-s0")[1]
    assert "of a prompt with several pairs all are compared, and the first is shown" in said


def test_runs_without_flips_say_so(runs: Asked) -> None:
    assert data(runs, "pairs", "average-s0", "--flips", "average-s1")["of"] == 0


def test_pairs_of_other_feedback_are_not_set_side_by_side(runs: Asked, study: Path) -> None:
    edit(run_json(study, "average-s0"), lambda content: content["stages"]["feedback"].update(key="other"))
    code, _, err = runs("pairs", "critique-s0", "--flips", "average-s0")
    assert (code, "are of different feedback" in err) == (2, True)


# which run
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "averag-s0"], "did you mean 'average-s0'?"),
        (["show", "s0"], "'s0' is in the names of 2 runs"),
        (["show", "average-s0", "--output-dir", "elsewhere"], "elsewhere has no folder runs"),
        (["list", "elsewhere"], "elsewhere has no folder runs"),
        (["pairs", "average-s0", "--split", "tets"], "did you mean 'test'?"),
        (["pairs", "average-s0", "--prompt", "zz"], "of a prompt whose id begins with 'zz'"),
        (["pairs", "average-s0", "--count", "-1"], "is not a whole number"),
        (["diff", "average-s0"], "B must be given"),
        (["shw"], "did you mean 'show'?"),
    ],
)
def test_bad_input_is_one_error_and_exit_code_2(runs: Asked, arguments: list[str], said: str) -> None:
    code, out, err = runs(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("error: ") == 1


@pytest.mark.parametrize("name", ["average-s1", "average-s1/", "ge-s1", "outputs/runs/average-s1"])
def test_a_run_is_named_by_its_id_a_part_of_it_or_its_folder(runs: Asked, name: str) -> None:
    assert data(runs, "show", name)["run_id"] == "average-s1"


@pytest.mark.parametrize("named", ["planted", "planted/", "outputs/studies/planted", "outputs/studies/planted/"])
def test_who_names_a_study_is_told_its_runs(runs: Asked, named: str) -> None:
    code, _, err = runs("show", named)
    assert code == 2
    assert "is a study, and no run: critique-s0, critique-s1, average-s0, average-s1" in err
    assert "python -m notus_exp.compare outputs/studies/planted" in err


def test_a_run_without_pairs_is_one_error(runs: Asked, study: Path) -> None:
    edit(run_json(study, "average-s0"), lambda content: content.update(stages={}, status="failed"))
    code, _, err = runs("pairs", "average-s0")
    assert (code, "run average-s0 has no pairs: it is failed" in err) == (2, True)


def test_help_answers_at_once() -> None:
    code = (
        "import sys; from notus_exp.runs import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print({'torch', 'polars', 'scipy', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_of_writers_what_differs_is_told_by_their_names() -> None:
    def run(temperature: float) -> Any:
        writers = [{"name": "own", "temperature": temperature, "seed": 0}, {"name": "weak", "simulated": 0.3}]
        return {"status": "finished", "choices": {}, "config": {"data": {"writers": writers}}}

    assert settings_apart([run(0.5), run(1.0)]) == {"data.writers.own.temperature": ["0.5", "1.0"]}
