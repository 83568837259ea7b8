"""The whole pipeline with a tiny model: reuse, resume after kill -9, interruption, bad input, tracking."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from alike import differences

from notus_exp.contracts.format import sealed
from notus_exp.disk.files import EVENTS, METRICS, PAIRS
from support.pipelines import ENVIRONMENT, command, place, record, run
from support.places import ROOT

SMOKE = ["experiment=smoke"]
ANSWERS = ["generations_verifiable_base", "generations_verifiable"]
NODES = ["feedback", "pairs", "base_model", "reference", "reference_scored", "policy", *ANSWERS, "likelihoods"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, record(run(folder, *SMOKE, cold=True))


def test_one_command_makes_every_stage_and_metrics_with_intervals(finished: tuple[Path, dict[str, Any]]) -> None:
    _, content = finished
    assert content["status"] == "finished"
    assert list(content["stages"]) == [*NODES, "evaluation"]
    assert not any(stage["reused"] for stage in content["stages"].values())
    for name in ("preferences/accuracy/average", "verifiable/strict", "base/verifiable/strict"):
        estimate = content["metrics"][name]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert estimate["n"] > 1
    assert content["choices"]["selection"] == "average"
    assert content["costs"]["device_seconds"] > 0


def test_the_same_command_reuses_everything(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, first = finished
    again = record(run(folder, *SMOKE))
    for key in ("stages", "started", "finished", "metrics"):
        assert again[key] == first[key], "the repetition replaces nothing"
    assert again["run_id"] == first["run_id"]
    assert again["costs"]["device_seconds"] == pytest.approx(first["costs"]["device_seconds"]), "nothing is forgotten"
    assert again["costs"]["device_seconds_if_nothing_were_reused"] == pytest.approx(first["costs"]["device_seconds"])
    attempts = again["attempts"]
    assert attempts[0]["made"] == [*NODES, "evaluation"], "what the first attempt made and cost is still told"
    assert attempts[0]["device_seconds"] == pytest.approx(first["costs"]["device_seconds"])
    assert (attempts[-1]["made"], attempts[-1]["device_seconds"], attempts[-1]["status"]) == ([], 0, "finished")
    lines = (folder / "outputs/runs" / again["run_id"] / EVENTS).read_text().splitlines()
    assert any('"train/loss"' in line for line in lines), "a reused stage's events are replayed"


def test_artifacts_from_before_there_was_a_format_are_reused_and_a_newer_record_stays(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(finished[0] / "outputs", tmp_path / "outputs")
    path = tmp_path / "outputs/runs" / finished[1]["run_id"] / "run.json"
    manifests = list(tmp_path.glob("outputs/artifacts/*/manifest.json"))
    assert len(manifests) > len(NODES)
    for file in [*tmp_path.glob("outputs/artifacts/*/curation.json"), *manifests, path]:
        content = json.loads(file.read_text())
        assert content.pop("format") == {"curation.json": 1, "manifest.json": 3, "run.json": 2}[file.name]
        for later in ("hashes", "hashed", "contents", "seal", "provenance"):
            content.pop(later, None)
        curation = file.with_name("curation.json")
        if file.name == "manifest.json" and curation.exists():
            content["files"]["curation.json"] = curation.stat().st_size
        file.write_text(json.dumps(content))
    again = record(run(tmp_path, *SMOKE))
    assert again["attempts"][-1]["made"] == []
    assert len(again["attempts"]) > 1
    path.write_text(json.dumps(sealed(again | {"format": 7})))
    before = path.read_bytes()
    done = run(tmp_path, *SMOKE, code=2)
    assert f"{path} has format 7, and this version of notus-exp reads up to 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before


def test_what_training_and_scoring_need_is_computed_together_and_counted_once(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, content = finished
    for name in ("reference", "reference_scored"):
        facts = content["stages"][name]["facts"]
        assert facts["computed"] + facts["found"] + facts["same_tokens"] == facts["needed"]
        assert facts["computed"] > 0
    lines = (place(content, "evaluation").parents[1] / "runs" / content["run_id"] / EVENTS).read_text().splitlines()
    events = [json.loads(line) for line in lines if '"progress"' in line]
    assert [event["stage"] for event in events if event["stage"].startswith("reference")].count("reference_scored") == 0


def test_another_beta_shares_everything_before_the_policy(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    other = record(run(folder, *SMOKE, "dpo.beta=0.5", "until=policy"))
    reused = {name: stage["reused"] for name, stage in other["stages"].items()}
    assert reused == {**dict.fromkeys(NODES[:5], True), "policy": False}
    assert other["stages"]["reference"]["facts"]["computed"] == 0


@pytest.mark.parametrize("change", ["selection=critique", "seed=1"])
def test_another_selection_or_seed_computes_only_the_missing_reference_log_probs(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, change: str
) -> None:
    folder, first = finished
    shared = tmp_path / "shared"
    shutil.copytree(folder / "outputs", shared / "outputs")
    other = record(run(shared, *SMOKE, change, "until=reference"))
    facts = other["stages"]["reference"]["facts"]
    assert other["stages"]["reference_scored"]["reused"], "every arm is scored on the same completions"

    def needed(content: dict[str, Any]) -> set[tuple[str, int, int]]:
        table = pl.read_parquet(place(content, "reference") / "reference.parquet")
        return set(table.select("prompt_id", "row", "completion").iter_rows())

    new = len(needed(other) - needed(first))
    assert new - facts["same_tokens"] <= facts["computed"] <= new
    assert 0 < facts["computed"] < facts["needed"]
    assert facts["found"] + facts["computed"] + facts["same_tokens"] == facts["needed"]


def test_killed_in_every_stage_and_started_again_it_ends_the_same(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, undisturbed = finished
    for stage in [*NODES, "evaluation"]:
        _kill_in(tmp_path, stage)
    content = record(run(tmp_path, *SMOKE))
    assert content["status"] == "finished"
    pairs = [pl.read_parquet(place(one, "pairs") / PAIRS) for one in (undisturbed, content)]
    assert pairs[0].equals(pairs[1])
    metrics = [json.loads((place(one, "evaluation") / METRICS).read_text()) for one in (undisturbed, content)]
    assert metrics[0] == metrics[1]
    names = [Path(stage["path"]).name for stage in content["stages"].values()]
    assert differences(finished[0] / "outputs", tmp_path / "outputs", names) == []


def _kill_in(folder: Path, stage: str, cold: bool = False) -> None:
    """Start a run, wait until a stage has begun, and kill the parent with -9; its worker must die with it."""
    process = subprocess.Popen(
        command(*SMOKE, cold=cold), cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    mark = f'"stage": "{stage}", "step": 0, "metrics": {{"started": 1.0}}'
    while process.poll() is None and time.monotonic() < deadline:
        if any(mark in events.read_text() for events in folder.glob(f"outputs/runs/*/{EVENTS}")):
            break
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    _kill_in(tmp_path, "base_model", cold=True)
    deadline = time.monotonic() + 20
    job = str(next(tmp_path.glob("outputs/runs/*/job.json")))
    while time.monotonic() < deadline and _running(job):
        time.sleep(0.2)
    assert not _running(job)


def _running(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes().decode(errors="replace"):
                return True
        except OSError:
            continue
    return False


def test_ctrl_c_is_one_line_and_keeps_finished_stages(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*SMOKE, cold=True), cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("outputs/runs/*/job.json")):
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in errors
    content = json.loads(next(tmp_path.glob("outputs/runs/*/run.json")).read_text())
    assert content["status"] == "interrupted"
    assert set(content["stages"]) >= {"feedback", "pairs"}
    assert "likelihoods" not in content["stages"], "the worker was stopped, not waited for"
    assert [attempt["status"] for attempt in content["attempts"]] == ["interrupted"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data=ultrafeedback", "data.path=missing.jsonl"], "missing.jsonl"),
        (["data=rated", "data.path=empty.jsonl"], "empty.jsonl"),
        (["data=rated", "data.path=malformed.jsonl"], "malformed.jsonl:2: not JSON"),
        (["filters.min_margin=100"], "min_margin"),
        (["filters.contamination.files=[no.txt]"], "no.txt is not a file"),
        (["model=hub", "model.hub_id=nobody/nothing", "until=base_model"], "nobody/nothing"),
        (["model=local", "model.path=nowhere", "until=base_model"], "nowhere"),
        (["hardware=a100_8x40gb", "dpo.global_batch_size=8", "until=policy"], "the run needs 8 CUDA devices"),
    ],
)
def test_bad_input_is_one_or_two_lines_and_no_traceback(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    good = {"prompt": "a", "response": "b", "helpfulness": 1, "correctness": 2, "coherence": 3}
    (tmp_path / "malformed.jsonl").write_text(json.dumps(good) + "\n{broken\n")
    done = run(
        tmp_path, *SMOKE, *([] if any("until" in one for one in arguments) else ["until=pairs"]), *arguments, code=2
    )
    shown = [line for line in done.stderr.splitlines() if not line.startswith("[")]  # progress lines
    assert words in "\n".join(shown)
    assert shown[0].startswith("error: ")
    assert len(shown) <= 2, done.stderr
    manifests = list(tmp_path.glob("outputs/artifacts/*/manifest.json"))
    assert all(not path.parent.name.endswith(".partial") for path in manifests)


def test_a_plan_creates_nothing_and_says_what_would_be_reused(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    empty = run(tmp_path, *SMOKE, "until=config")
    assert not list(tmp_path.iterdir())
    assert "reuse" not in empty.stdout
    assert "expected: not known: nothing like it was made on this machine" in empty.stdout
    folder, content = finished
    planned = run(folder, *SMOKE, "until=config", "dpo.beta=0.7")
    states = {
        line.split()[0]: line.split()[1] for line in planned.stdout.splitlines() if line.count("outputs/artifacts")
    }
    assert (states["reference"], states["policy"]) == ("reuse", "run")
    assert re.search(r"^expected: about .* artifacts took on this machine$", planned.stdout, re.MULTILINE)
    assert Path(planned.stdout.splitlines()[-1]).parent == folder / "outputs" / "runs"
    assert Path(planned.stdout.splitlines()[-1]).name != content["run_id"]


def test_an_edited_data_file_gives_new_keys_and_another_path_does_not(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {i}", "response": f"answer {j}", "helpfulness": j, "correctness": j, "coherence": j}
        for i in range(4)
        for j in range(2)
    ]
    (tmp_path / "elsewhere").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("a.jsonl", "elsewhere/b.jsonl"):
        (tmp_path / name).write_text(text)
    (tmp_path / "edited.jsonl").write_text(text.replace("answer 1", "another 1"))
    keys = []
    for name in ("a.jsonl", "elsewhere/b.jsonl", "edited.jsonl"):
        done = run(tmp_path, "data=rated", f"data.path={name}", "tracking=none", "until=pairs")
        keys.append([stage["key"] for stage in record(done)["stages"].values()])
    assert keys[0] == keys[1]
    assert set(keys[0]).isdisjoint(keys[2])


def test_wandb_works_without_an_account_and_keeps_no_secret(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    secret = "local-0123456789abcdef0123456789abcdef01234567"
    arguments = [*SMOKE, "tracking=wandb", "tracking.mode=offline", "tracking.group=mine", "until=pairs"]
    done = run(tmp_path, *arguments, WANDB_API_KEY=secret)
    offline = list(Path(done.stdout.splitlines()[-1]).glob("wandb/offline-run-*/run-*.wandb"))
    assert len(offline) == 1
    data = offline[0].read_bytes()
    for word in (b"selection=average", b"mine", b"notus-exp"):
        assert word in data
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["tracking.mode=online"], {}, "W&B cannot open the run"),
        (["tracking.project='a/b'"], {"WANDB_MODE": "offline"}, "W&B cannot open the run"),
        ([], {"WANDB_MODE": "foo"}, "W&B cannot open the run"),
    ],
)
def test_what_wandb_refuses_is_one_error_and_the_run_is_called_failed(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    settings = ["experiment=smoke", "tracking=wandb", "until=feedback", *arguments]
    done = run(tmp_path, *settings, code=2, **environment)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    content = json.loads(next(tmp_path.glob("outputs/runs/*/run.json")).read_text())
    assert content["status"] == "failed"


def test_a_key_that_wandb_refuses_leaves_the_run_offline(tmp_path: Path) -> None:
    settings = ["experiment=smoke", "tracking=wandb", "until=feedback"]
    own = {"WANDB_API_KEY": "abc", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "online"}
    done = run(tmp_path, *settings, **own)
    assert "the run is kept offline" in done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"


def test_the_format_of_a_benchmark_file_is_part_of_the_key(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_text('{"prompt": "one two"}\n')
    keys = set()
    for name in ("a.txt", "a.jsonl"):
        done = run(tmp_path, *SMOKE, f"filters.contamination.files=[{name}]", "until=pairs")
        keys.add(record(done)["stages"]["pairs"]["key"])
    assert len(keys) == 2


def test_conf_is_in_the_wheel(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, timeout=120, capture_output=True)
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), tmp_path / "site", "zip")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(
        elsewhere, "--cfg", "job", "experiment=notus_7b_v1", PYTHONPATH=str(tmp_path / "site"), PYTHONSAFEPATH="1"
    )
    assert "zephyr-7b-sft-full" in done.stdout
    code = "import notus_exp.config.loading as c; print(c.conf_dir())"
    where = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert where.stdout.strip() == str(tmp_path / "site" / "notus_exp" / "conf")
