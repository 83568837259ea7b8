"""Whole studies with a tiny model: sharing, resuming, failing, stopping, budgets, tuning, tracking."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from rich.console import Console

from notus_exp.config import loading as configuration
from notus_exp.errors import UserError
from notus_exp.run.pipeline import Run
from notus_exp.study.sweep import sweep
from support.offline_runs import read_runs
from support.places import CASES
from support.study_runs import ARMS, SMALL, alive, read, run, run_of, runs, start, wait_for
from support.wandb_groups import Group, names

OUTCOME = ("comparison.json", "comparison.csv", "report.html")
SHARED = ("feedback", "pairs", "base_model", "reference", "reference_scored")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A working folder with the undisturbed study of two arms and two seeds, and what it printed last."""
    folder = tmp_path_factory.mktemp("compared")
    return folder, run(folder, *ARMS, "seed=0,1").stdout.splitlines()[-1]


@pytest.fixture
def copied(compared: tuple[Path, str], tmp_path: Path) -> Path:
    """A working folder of one's own in which that study has run."""
    shutil.copytree(compared[0] / "outputs", tmp_path / "outputs")
    return tmp_path


def check_only(*arguments: str, small: Sequence[str] = SMALL) -> None:
    """What the command does with a study until its first run would start, in this process: there is no launcher."""
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        fixed = [argument for argument in [*small, *arguments] if not re.match(r"\w+=\w+,", argument)]
        master = loader.load_configuration("config", fixed, RunMode.MULTIRUN)
        sweep(loader, cast(Launcher, None), master, [*small, *arguments])


def bytes_of(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the checkout")
def test_arms_of_different_data_are_planned_on_prompts_that_are_not_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["experiment=smoke", "hardware=cpu", "data=pairs", "selection=critique", "until=config"]
    small.append("calibrate=never")
    files = ",".join(f"{name}:['data.path={CASES}/labels_{name}.jsonl']" for name in ("clean", "turned"))
    check_only(f"+study.arms={{{files}}}", "study.metric=verifiable/strict", small=small)
    with pytest.raises(UserError, match="arms 'clean' and 'turned' differ in feedback"):
        check_only(f"+study.arms={{{files}}}", "study.metric=preferences/accuracy/critique", small=small)


# ------------------------------------------------------------------------------------------------------------- together
def test_every_arm_is_run_with_every_seed_and_compared(compared: tuple[Path, str]) -> None:
    folder, last_line = compared
    study = folder / "outputs/studies/mine"
    assert Path(last_line) == study
    assert all((study / name).stat().st_size > 500 for name in OUTCOME)
    description = read(study / "study.json")
    assert (description["kind"], description["baseline"], description["seeds"]) == ("grid", "critique", [0, 1])
    plan = description["plan"]
    assert (plan["results"], plan["fixed"], plan["added"]) == (0, False, []), "it was named before the first run"
    for arm in ("critique", "average"):
        for seed in (0, 1):
            content = run_of(folder, "mine", arm, seed)
            assert (content["status"], content["seed"], content["choices"]["selection"]) == ("finished", seed, arm)
    comparison = read(study / "comparison.json")
    assert [(arm["arm"], arm["seeds"]) for arm in comparison["arms"]] == [("critique", [0, 1]), ("average", [0, 1])]
    assert [path.name for path in folder.iterdir()] == ["outputs"], "nothing is left beside it"


def test_what_runs_share_is_made_once_before_the_first(compared: tuple[Path, str]) -> None:
    folder, _ = compared
    contents = runs(folder)
    assert len(contents) == 4
    for content in contents.values():
        stages = content["stages"]
        assert all(stages[name]["reused"] for name in SHARED)
        assert all(stages[name]["facts"]["computed"] == 0 for name in ("reference", "reference_scored"))
        assert content["attempts"][0]["made"] == ["policy", "likelihoods", "evaluation"]
    tables = [pl.read_parquet(path) for path in folder.glob("outputs/artifacts/reference-*/reference.parquet")]
    assert len(tables) == 5, "of four runs what they train on, and once what all are scored on"
    different = pl.concat(tables).select("prompt_ids", "completion_ids").unique()
    manifests = [read(path) for path in folder.glob("outputs/artifacts/reference-*/manifest.json")]
    assert sum(one["facts"]["computed"] for one in manifests) == len(different), "the union, each once"
    assert len(list(folder.glob("outputs/artifacts/feedback-*/manifest.json"))) == 1


def test_the_same_command_again_runs_nothing_and_gives_the_same_bytes(copied: Path) -> None:
    study = copied / "outputs/studies/mine"
    kept = [study / "job.json", *copied.glob("outputs/runs/*/*")]
    before = bytes_of(study, *OUTCOME), {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    for name in OUTCOME:
        (study / name).unlink()
    done = run(copied, *ARMS, "seed=0,1")
    assert (bytes_of(study, *OUTCOME), {path: path.stat().st_mtime_ns for path in kept if path.is_file()}) == before
    assert "nothing is left to make" in done.stderr


def test_a_plan_makes_nothing_and_tells_what_would_be_run(compared: tuple[Path, str], tmp_path: Path) -> None:
    done = run(tmp_path, *ARMS, "seed=0,1", "until=config")
    assert not list(tmp_path.iterdir())
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["critique", "0,1", "0", "2"] in lines
    assert ["reference", "8", "5", "5"] in lines, "needed, distinct, to make"
    assert "expected, one run after the other: not known: nothing like it was made on this machine" in done.stdout
    assert lines[-1] == [str(tmp_path / "outputs/studies/mine")]
    before = sorted(compared[0].rglob("*"))
    done = run(compared[0], *ARMS, "seed=0,1,2", "until=config")
    assert ["critique", "0,1,2", "2", "1"] in [line.split() for line in done.stdout.splitlines()]
    assert "about" in done.stdout, "stages that were made before tell how long"
    assert re.search(r"expected, one run after the other: about .* artifacts took on this machine", done.stdout)
    assert sorted(compared[0].rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+study.arms={a:[],b:['dpo.betta=0.3']}"], "arm 'b': unknown key 'dpo.betta'"),
        (["+study.arms={a:[],b:['dpo.beta=-1']}"], "arm 'b': dpo.beta=-1.0 is out of range"),
        (["+study.arms={a:['data.seed=1'],b:[]}"], "arms 'a' and 'b' differ in feedback"),
        (["+study.arms={a:['data.seed=1'],b:[]}"], "out of which its prompts are held, so their preferences/"),
        (["+study.arms={a:[],b:['evaluation.preferences.max_prompts=3']}"], "differ in evaluation.preferences"),
        (["+study.arms={a:[],b:['model.system_prompt=Be brief.']}"], "preferences.scored.system_prompt is"),
        (["+study.arms={a:[],b:['tracking=wandb']}"], "arms 'a' and 'b' are the same"),
        (["selection=critique,average", "study.metric=verifiable/strict"], "is not measured by arm 'critique'"),
        (
            ["selection=critique,average", "study.margin=2"],
            "study.margin=2 covers all that preferences/accuracy/average",
        ),
        (
            [
                "selection=critique,average",
                "evaluation=verifiable",
                "study.metric=verifiable/tokens",
                "study.margin=1e9",
            ],
            "study.margin=1e+09 covers all that verifiable/tokens can differ by",
        ),
        (["selection=critique,averge"], "arm 'averge': selection=averge is not an option"),
        (["selection=critique,average", "until=policy", "study.tune=[dpo.beta]"], "study.tune needs evaluations"),
    ],
)
def test_every_arm_is_checked_before_the_first_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        check_only(*arguments)
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (["judge.model=u,v"], 'alpaca_eval.judge.model is "u" in arm \'model=u\', seed 0 and "v" in arm'),
        (["judge.model=u", "+study.arms={a:[],b:['judge.both_orders=false']}"], "judge.both_orders is true in arm 'a'"),
        (["judge.model=u", "+study.arms={a:[],b:['judge.template=pair.j2']}"], "judge.files"),
    ],
)
def test_arms_that_are_judged_otherwise_are_refused_before_anybody_is_asked_and_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arms: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"instruction": "a", "output": "x", "generator": "r", "dataset": "d"}
    (tmp_path / "alpaca.json").write_text(json.dumps([row]))
    (tmp_path / "pair.j2").write_text("{{ instruction }} {{ first }} {{ second }}")
    small = [*SMALL[:-1], "evaluation=[alpaca_eval,preferences]", "evaluation.alpaca_eval.prompts=alpaca.json"]
    small += ["judge=openai", "judge.base_url=http://127.0.0.1:9/v1", "until=config"]
    small += ["evaluation.alpaca_eval.max_new_tokens=64"]  # the tiny model reads 2048 tokens in all
    with pytest.raises(UserError, match=r"^alpaca_eval/win_rate would not be measured in one way: ") as raised:
        check_only(*arms, "study.metric=alpaca_eval/win_rate", small=small)
    assert words in raised.value.message
    check_only(*arms, "study.metric=preferences/accuracy/average", small=small)


# ------------------------------------------------------------------------------------------------------------- failures
def test_arms_of_unlike_sizes_end_a_study_when_all_are_curated_and_none_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    half = "['filters.keep.by=margin','filters.keep.share=0.5']"
    arms = ["+study.arms={all:[],half:" + half + "}", "data.prompts=60", "study.match_size=true", "study.name=sized"]
    with pytest.raises(UserError, match=r"not equally many training pairs.*\n  filters.max_pairs=\d+ makes them"):
        check_only(*arms, "study.seeds=[0]", "filters.max_pairs=null")
    made = {path.name.partition("-")[0] for path in (tmp_path / "outputs/artifacts").glob("[!.]*-*")}
    assert made == {"feedback", "pairs"}
    assert not list((tmp_path / "outputs/runs").glob("*/run.json"))


def test_a_failed_arm_is_told_with_its_reason_and_a_mended_call_does_what_is_missing(copied: Path) -> None:
    def study(empty: str, code: int) -> Any:
        arms = f"good:['selection=critique'],empty:['selection=average','{empty}'],stuck:['dpo.beta=0.7']"
        return run(copied, f"+study.arms={{{arms}}}", "seed=0", "study.name=broken", code=code)

    obstacle = _policy_folder(copied, "dpo.beta=0.7").with_suffix(".partial")
    obstacle.write_text("a file where the folder of a stage should be")
    before = (copied / "outputs/runs" / _run_id(copied, "mine", "critique", 0) / "run.json").stat().st_mtime_ns
    done = study("filters.min_margin=100", 2)
    folder = copied / "outputs/studies/broken"
    assert done.stdout == "", "the folder is printed where all went well"
    assert "Traceback" not in done.stderr
    last = done.stderr[done.stderr.index("error: ") :]
    assert last.startswith("error: 2 of 3 runs failed; the others are compared in outputs/studies/broken")
    assert "empty, seed 0: no pairs" in last or "min_margin" in last
    assert "stuck, seed 0: stage policy failed: FileExistsError" in last
    comparison = read(folder / "comparison.json")
    failed = {arm["arm"]: arm["failed"] for arm in comparison["arms"]}
    assert failed["good"] == {}
    assert "FileExistsError" in failed["stuck"]["0"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "FileExistsError" in page
    assert "min_margin" in page
    obstacle.unlink()
    done = study("filters.min_margin=0", 0)
    assert Path(done.stdout.splitlines()[-1]) == folder
    assert "empty" in done.stderr
    content = run_of(copied, "broken", "stuck", 0)
    assert [attempt["status"] for attempt in content["attempts"]] == ["failed", "finished"]
    assert content["attempts"][1]["made"] == ["policy", "likelihoods", "evaluation"]
    assert not any(arm["failed"] for arm in read(folder / "comparison.json")["arms"])
    good = copied / "outputs/runs" / _run_id(copied, "mine", "critique", 0) / "run.json"
    assert good.stat().st_mtime_ns == before, "what another study has run is not run again"


def _policy_folder(folder: Path, *overrides: str) -> Path:
    """Where the policy of the one run with these overrides goes, from its plan."""
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        config = configuration.load(compose("config", overrides=[*SMALL, *overrides]))
    planned = Run(config, {"selection": config.selection.name}, Console())
    node = next(node for node in planned.nodes if node.name == "policy")
    return folder / "outputs/artifacts" / planned.store.path("policy", node.key).name


def _run_id(folder: Path, study: str, arm: str, seed: int) -> str:
    run_id: str = read(folder / "outputs/studies" / study / "study.json")["arms"][arm]["runs"][str(seed)]
    return run_id


def test_an_arm_with_results_cannot_become_another(copied: Path) -> None:
    arms = "+study.arms={critique:['selection=critique','rejected=lowest'],average:['selection=average']}"
    done = run(copied, arms, "seed=0,1", "study.name=mine", code=2)
    assert "the study 'mine' exists, and its arm 'critique' is another" in done.stderr


def test_an_arm_with_results_cannot_be_dropped(copied: Path) -> None:
    done = run(copied, "selection=critique", "dpo.beta=0.05,0.2", "study.name=mine", code=2)
    assert "the arms 'critique', 'average', which this command would drop from it" in done.stderr
    assert "another study.name" in done.stderr


def test_a_plan_with_results_cannot_be_replaced(compared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared[0])
    words = "was planned with study.metric=preferences/accuracy/average, but this command has study.metric=preferences/"
    with pytest.raises(UserError, match=words) as refused:
        check_only(*ARMS, "seed=0,1", "study.metric=preferences/accuracy/critique")
    assert "compare outputs/studies/mine --metric preferences/accuracy/critique" in refused.value.hint


def test_a_damaged_record_is_written_again(copied: Path) -> None:
    study = copied / "outputs/studies/mine"
    before = bytes_of(study, "comparison.json")
    damaged = copied / "outputs/runs" / _run_id(copied, "mine", "average", 1) / "run.json"
    damaged.write_text("{")
    run(copied, *ARMS, "seed=0,1")
    assert read(damaged)["status"] == "finished"
    assert bytes_of(study, "comparison.json") == before


@pytest.mark.parametrize("name", ["study.json", "comparison.json"])
def test_a_study_of_a_newer_version_is_refused_before_anything_is_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "outputs/studies/mine" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 7}')
    with pytest.raises(UserError, match="has format 7, and this version of notus-exp reads up to 2"):
        check_only(*ARMS, "seed=0")
    assert path.read_text() == '{"format": 7}'
    assert not list((tmp_path / "outputs/runs").glob("*/run.json"))
    assert [one.name for one in path.parent.iterdir()] == [name]


def test_an_output_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = run(tmp_path, *ARMS, "seed=0", "output_dir=taken/below", code=2)
    assert "Traceback" not in done.stderr
    assert "Not a directory" in done.stderr
    assert "output_dir=FOLDER" in done.stderr


def test_overrides_may_stand_on_both_sides_of_m(copied: Path) -> None:
    arguments = [sys.executable, "-m", "notus_exp", "until=config", *SMALL, "-m", *ARMS, "seed=0,1"]
    done = subprocess.run(arguments, cwd=copied, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "nothing is left to make" in done.stdout


# -------------------------------------------------------------------------------------------- killing and sharing work
def test_killed_three_times_and_continued_by_two_processes_it_ends_the_same(
    compared: tuple[Path, str], tmp_path: Path
) -> None:
    delays = random.Random(4)
    for _ in range(3):
        process = start(tmp_path, *ARMS, "seed=0,1")
        time.sleep(delays.uniform(2, 7))
        process.kill()
        process.communicate()
    both = [start(tmp_path, *ARMS, "seed=0,1") for _ in range(2)]
    ended = [process.communicate(timeout=500) for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors[-2000:] for _, errors in ended)
    study = tmp_path / "outputs/studies/mine"
    assert {out.splitlines()[-1] for out, _ in ended} == {str(study)}
    names = ("comparison.json", "comparison.csv")
    assert bytes_of(study, *names) == bytes_of(Path(compared[1]), *names)
    made = Counter(
        (run_id, stage)
        for run_id, content in runs(tmp_path).items()
        for attempt in content["attempts"]
        for stage in attempt["made"]
    )
    assert set(made.values()) == {1}
    assert all(content["status"] == "finished" for content in runs(tmp_path).values())


@pytest.mark.parametrize("moment", ["preparing", "running"])
def test_ctrl_c_is_one_line_and_leaves_no_worker(moment: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue("copied") if moment == "running" else tmp_path
    seeds = "0,1,2" if moment == "running" else "0,1"
    place = f"outputs/{'runs/*-s2-*' if moment == 'running' else 'studies/mine'}/job.json"
    process = start(folder, *ARMS, f"seed={seeds}", cold=True)
    wait_for(lambda: list(folder.glob(place)), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in errors
    assert not alive(str(next(folder.glob(place))))
    started = [content["status"] for content in runs(folder).values() if content["seed"] == 2]
    assert started == (["interrupted"] if moment == "running" else [])


# -------------------------------------------------------------------------------------------------------------- budgets
NAMED = """# @package _global_
study:
  name: named
  arms:
    critique: [selection=critique]
    average: [selection=average]
  seeds: [0, 1]
  metric: preferences/accuracy/average
  baseline: critique
"""


def test_a_study_of_a_file_over_finished_runs_of_another_ends_with_its_comparison(copied: Path) -> None:
    (copied / "own" / "study").mkdir(parents=True)
    (copied / "own" / "study" / "named.yaml").write_text(NAMED)
    run(copied, "--config-dir", "own", "study=named", "hardware.micro_batch_size=2")
    comparison = read(copied / "outputs/studies/named/comparison.json")
    assert [(row["arm"], row["reference"]) for row in comparison["contrasts"] if row["primary"]] == [
        ("average", "critique")
    ]
    assert all(len(attempt["attempts"]) == 1 for attempt in runs(copied).values()), "nothing was run again"


def test_no_run_starts_after_the_hours_are_over(tmp_path: Path) -> None:
    done = run(tmp_path, *ARMS, "seed=0,1", "study.max_hours=1e-9")
    assert "study.max_hours=1e-09 is over: 4 runs are not started; the same command goes on with them" in done.stderr
    assert Path(done.stdout.splitlines()[-1]) == tmp_path / "outputs/studies/mine"
    assert not list((tmp_path / "outputs/runs").glob("*/run.json"))
    assert list((tmp_path / "outputs/artifacts").glob("[a-z]*")) == []


def test_nothing_is_compared_after_half_a_tuning(tmp_path: Path) -> None:
    done = run(tmp_path, *ARMS, "seed=0", "study.tune=[dpo.beta]", "study.max_hours=1e-9")
    assert "8 runs are not started" in done.stderr
    assert all(arm["tuned"] == {} for arm in read(Path(done.stdout.strip()) / "study.json")["arms"].values())


def test_a_budget_needs_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions.json").write_text(json.dumps([{"instruction": "a question", "output": "b"}]))
    judged = ["evaluation=[alpaca_eval]", "judge=mock", "evaluation.alpaca_eval.prompts=questions.json"]
    judged.append("evaluation.alpaca_eval.max_new_tokens=64")  # the tiny model reads no more than 2,048
    study = [*ARMS, *judged, "study.metric=alpaca_eval/win_rate", "study.max_cost=2", "until=config"]
    with pytest.raises(UserError, match=r"max_cost=2 cannot be kept without prices\n  add judge.input_price=USD"):
        check_only(*study)
    check_only(*study, "judge.input_price=1", "judge.output_price=1")


# --------------------------------------------------------------------------------------------------------------- tuning
def test_every_arm_is_tuned_alike_on_validation_and_compared_on_test(copied: Path) -> None:
    candidates = "study.tuning.values={dpo.beta:[0.02,0.5]}"
    arms = ["selection=critique,average", "study.name=tuned", "seed=0"]
    done = run(copied, *arms, "study.tune=[dpo.beta]", candidates)
    folder = copied / "outputs/studies/tuned"
    assert Path(done.stdout.splitlines()[-1]) == folder
    study = read(folder / "study.json")
    for arm in ("critique", "average"):
        tried = study["tuning"][arm]
        assert [one["values"] for one in tried] == [{"dpo.beta": "0.02"}, {"dpo.beta": "0.5"}]
        assert all([*one["runs"]] == ["1000"] and one["reason"] is None for one in tried)
        contents = [read(copied / "outputs/runs" / one["runs"]["1000"] / "run.json") for one in tried]
        for one, content in zip(tried, contents, strict=True):
            config = content["config"]
            assert (config["evaluation_split"], config["seed"]) == ("validation", 1000)
            assert config["dpo"]["beta"] == float(one["values"]["dpo.beta"])
            assert one["value"] == pytest.approx(content["metrics"]["preferences/accuracy/average"]["value"])
        best = max(tried, key=lambda one: one["value"])["values"]
        assert study["arms"][arm]["tuned"] == best
        final = run_of(copied, "tuned", arm, 0)
        assert (final["config"]["evaluation_split"], final["config"]["dpo"]["beta"]) == (
            "test",
            float(best["dpo.beta"]),
        )
    comparison = read(folder / "comparison.json")
    assert [arm["tuned"] for arm in comparison["arms"]] == [study["arms"][arm]["tuned"] for arm in study["arms"]]
    assert "dpo.beta" in (folder / "report.html").read_text(encoding="utf-8")


def test_tuning_leaves_evaluations_with_fixed_prompts_to_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions.json").write_text(json.dumps([{"instruction": "a question", "output": "b"}]))
    chosen = ["evaluation=[preferences,alpaca_eval]", "evaluation.alpaca_eval.prompts=questions.json", "judge=mock"]
    chosen.append("evaluation.alpaca_eval.max_new_tokens=64")  # the tiny model reads no more than 2,048
    study = [*ARMS, *chosen, "study.tune=[dpo.beta]", "seed=0,1", "until=config"]
    check_only(*study)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["policy", "8", "8", "8"] in lines, "two arms with four candidates, one seed"
    assert not any(line[:1] == ["judgments"] for line in lines)
    with pytest.raises(UserError, match="tuning cannot optimise 'alpaca_eval/win_rate'") as raised:
        check_only(*study, "study.metric=alpaca_eval/win_rate")
    assert "set study.tuning.metric: did you mean 'preferences/" in str(raised.value)


# ------------------------------------------------------------------------------------------------------------- tracking
def test_wandb_has_one_group_with_a_run_for_each_arm_and_seed_and_one_for_the_study(copied: Path) -> None:
    pytest.importorskip("wandb")
    shutil.rmtree(copied / "outputs/runs")  # every stage is reused, and its curves are tracked all the same
    places = dict.fromkeys(("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(copied / "home"))
    run(copied, *ARMS, "seed=0,1", "tracking=wandb", "tracking.mode=offline", **places)
    found = read_runs(copied / "outputs")
    assert {one.run.run_group for one in found} == {"mine"}
    assert Counter(one.run.job_type for one in found)["study"] == 1
    tracked = [one for one in found if one.run.job_type != "study"]
    assert len({one.run.display_name for one in tracked}) == len({one.run.run_id for one in tracked}) == 4
    expected = {content["seed"] for content in runs(copied).values()}
    assert {one.config["seed"] for one in tracked} == expected == {0, 1}
    for one in tracked:
        content = runs(copied)[one.config["run_id"]]
        assert (
            one.summary["preferences/accuracy/average"] == content["metrics"]["preferences/accuracy/average"]["value"]
        )
        assert one.curve("policy/train/loss"), "curves of a reused stage"
        assert one.exit_code == 0


def test_runs_that_an_untracked_command_made_are_in_the_group_with_their_curves(copied: Path) -> None:
    """Three runs are only read; the fourth is made again, so that it is tracked while it goes on."""
    pytest.importorskip("wandb")
    shutil.rmtree(copied / "outputs/runs" / run_of(copied, "mine", "average", 1)["run_id"])
    places = dict.fromkeys(("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(copied / "home"))
    done = run(copied, *ARMS, "seed=0,1", "tracking=wandb", "tracking.mode=offline", **places)
    assert done.stderr.count("run 1 of") + done.stderr.count("run 4 of") == 1, "one run was launched"
    group = Group(copied / "outputs/studies/mine")
    metric = "preferences/accuracy/average"
    comparison = read(copied / "outputs/studies/mine/comparison.json")
    expected = {arm["arm"]: arm["metrics"][metric]["value"] for arm in comparison["arms"]}
    assert group.means(metric) == pytest.approx(expected)
    assert names(group.runs) == ["average-s0", "average-s1", "critique-s0", "critique-s1"]
    for one in group.runs:
        kept = Path(runs(copied)[one.config["run_id"]]["stages"]["policy"]["path"]) / "events.jsonl"
        events = [json.loads(line) for line in kept.read_text().splitlines()]
        losses = [
            (event["step"], event["metrics"]["train/loss"]) for event in events if "train/loss" in event["metrics"]
        ]
        assert one.curve("policy/train/loss") == losses
        assert {name.rpartition(".")[2] for name in one.artifacts} == {"pairs", "model"}
