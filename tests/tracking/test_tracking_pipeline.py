"""Runs of the pipeline with W&B offline: what a reused, an interrupted and a failed run leave there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.events import read
from notus_exp.disk.files import EVENTS, RUN_JSON
from support.offline_runs import OfflineRun, read_runs

COMMAND = [sys.executable, "-m", "notus_exp", "experiment=smoke", "tracking.mode=offline"]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    places = dict.fromkeys(("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(folder / "home"))
    return {**kept, **places, "HF_HUB_OFFLINE": "1"}


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[OfflineRun]]:
    """The same run made, and then reused where W&B has it not yet."""
    folder = tmp_path_factory.mktemp("twice")
    run(folder, "dpo.evaluations=2")
    run(folder, "dpo.evaluations=2", "tracking.project=another")
    return folder, read_runs(folder / "outputs")


def test_a_finished_run_that_is_repeated_is_one_run_in_wandb(twice: tuple[Path, list[OfflineRun]]) -> None:
    folder, before = twice
    said = run(folder, "dpo.evaluations=2")
    assert "W&B was told of this run before" in said
    assert [one.path for one in read_runs(folder / "outputs")] == [one.path for one in before]
    assert not list(folder.rglob("superseded"))


def recorded(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(next(folder.glob(f"outputs/runs/*/{RUN_JSON}")).read_text())
    return content


def test_the_curves_of_reused_stages_are_complete(twice: tuple[Path, list[OfflineRun]]) -> None:
    folder, (made, reused) = twice
    stage = recorded(folder)["stages"]["policy"]
    first, *later = [one["made"] for one in recorded(folder)["attempts"]]
    assert first and later and not any(later)
    kept = list(read(Path(stage["path"]) / EVENTS))
    for name in ("train/loss", "validation/accuracy"):
        expected = [(event.step, event.metrics[name]) for event in kept if name in event.metrics]
        assert len(expected) >= 2
        assert made.curve(f"policy/{name}") == expected
        assert reused.curve(f"policy/{name}") == expected


def test_a_reused_run_has_the_same_final_numbers_and_artifacts(twice: tuple[Path, list[OfflineRun]]) -> None:
    folder, (made, reused) = twice
    content = recorded(folder)
    estimate = content["metrics"]["verifiable/strict"]
    for found in (made, reused):
        assert found.exit_code == 0
        assert found.summary["status"] == "finished"
        shown = [found.summary["verifiable/strict"]]
        shown += [found.summary[f"detail/verifiable/strict/{part}"] for part in ("low", "high", "n")]
        assert shown == [estimate[part] for part in ("value", "low", "high", "n")]
        assert found.table("samples")["data"]
        hashes = {stage: Path(content["stages"][stage]["path"]).name.partition("-")[2] for stage in ("pairs", "policy")}
        pairs, model = (found.artifacts[f"average-tiny_random.{role}"] for role in ("pairs", "model"))
        assert hashes["pairs"] in pairs.aliases
        assert hashes["policy"] in model.aliases
        assert "model.safetensors" not in " ".join(found.artifact_files(model.name)), "weights were not asked for"
    assert made.run.run_id != reused.run.run_id


def test_tags_name_each_chosen_option(twice: tuple[Path, list[OfflineRun]]) -> None:
    tags = set(twice[1][0].run.tags)
    assert {"selection=average", "evaluation=preferences", "evaluation=verifiable", "experiment=smoke"} <= tags
    assert not [tag for tag in tags if tag.startswith("judge=")], "nothing was judged"


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    process = subprocess.Popen(
        COMMAND, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("outputs/runs/*/job.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (found,) = read_runs(tmp_path / "outputs")
    assert (found.exit_code, found.summary["status"]) == (1, "interrupted")


def test_a_failed_run_says_so(tmp_path: Path) -> None:
    run(tmp_path, "filters.min_margin=100", "until=pairs", code=2)
    (found,) = read_runs(tmp_path / "outputs")
    assert (found.exit_code, found.summary["status"]) == (1, "failed")
