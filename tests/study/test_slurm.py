"""Studies through a real Slurm of two nodes: the same study, and runs whose jobs Slurm ends or queues again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.slurm import NODES, Cluster, slurm
from support.study_runs import ARMS, alive, read, run_of, runs, start, wait_for

pytestmark = pytest.mark.slow
SLURM = "hydra/launcher=submitit_slurm"
LIMIT = 560


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm() as running:
        yield running


def done(folder: Path, *arguments: str, code: int = 0, **environment: str) -> tuple[str, str]:
    process = start(folder, *arguments, cold=True, **environment)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code, err[-3000:]
    return out, err


def training(folder: Path, seed: int, process: Any) -> list[dict[str, Any]]:
    """Wait until each of two runs of a seed trains; return their records."""

    def policies() -> bool:
        return len([*folder.glob("outputs/artifacts/policy-*.partial/events.jsonl")]) == 2

    wait_for(policies, process, LIMIT)
    return [one for one in runs(folder).values() if one["seed"] == seed]


def test_the_acceptance_study_is_the_same_by_slurm(cluster: Cluster, tmp_path: Path) -> None:
    study = ["study=acceptance", "study.seeds=[0]", "tracking=none"]
    out, _ = done(tmp_path, *study, SLURM, **cluster.environment)
    assert out.splitlines() == [str(tmp_path / "outputs/studies/acceptance")]
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    names = ("critique", "critique_repaired", "average", "average_lowest")
    assert [run_of(tmp_path, "acceptance", name, 0)["status"] for name in names] == ["finished"] * 4
    comparison = (tmp_path / "outputs/studies/acceptance/comparison.json").read_bytes()
    done(tmp_path, *study)
    assert (tmp_path / "outputs/studies/acceptance/comparison.json").read_bytes() == comparison
    for content in runs(tmp_path).values():
        assert len(content["attempts"]) == 1, "without Slurm they are the same runs"


def test_a_job_that_is_queued_again_goes_on_and_one_that_is_cancelled_is_one_failed_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    study = [*ARMS, "seed=5", "tracking=none", "dpo.epochs=48", SLURM]
    process = start(tmp_path, *study, cold=True, **cluster.environment)
    training(tmp_path, 5, process)
    assert sorted(cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%N").split()) == [*NODES], "a run on each node"
    first, second = sorted(cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%i").split())
    cluster.ask("scontrol", "requeue", first)
    cluster.ask("scancel", second)
    wait_for(lambda: "PENDING" in cluster.ask("squeue", "-h", "-r", "-o", "%T"), process)
    time.sleep(4)  # until Slurm's own clean-up after a requeue is over
    cluster.ask("scontrol", "update", f"JobId={first}", "StartTime=now")
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 2, err[-3000:]
    assert "1 of 2 runs failed" in err
    assert "the launcher failed: UncompletedJobError: " in err
    states = {content["status"]: [one["status"] for one in content["attempts"]] for content in runs(tmp_path).values()}
    assert states == {"finished": ["interrupted", "finished"], "interrupted": ["interrupted"]}
    assert cluster.ask("squeue", "-h") == ""
    out, err = done(tmp_path, *study, **cluster.environment)
    assert out.splitlines() == [str(tmp_path / "outputs/studies/mine")]
    for content in runs(tmp_path).values():
        assert [one["status"] for one in content["attempts"]] == ["interrupted", "finished"]


def test_a_job_that_slurm_tells_to_make_room_queues_itself_again(cluster: Cluster, tmp_path: Path) -> None:
    study = [*ARMS, "seed=6", "tracking=none", "dpo.epochs=48", SLURM]
    process = start(tmp_path, *study, cold=True, **cluster.environment)
    training(tmp_path, 6, process)
    first, _ = sorted(cluster.ask("squeue", "-h", "-r", "-t", "R", "-o", "%i").split())
    cluster.ask("scancel", "--signal=USR2", first)  # as at the end of its time, or for a preemption
    wait_for(lambda: "PENDING" in cluster.ask("squeue", "-h", "-r", "-o", "%T"), process)
    attempts = [[one["status"] for one in content["attempts"]] for content in runs(tmp_path).values()]
    assert sorted(attempts) == [["interrupted"], ["running"]]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err[-3000:]
    deadline = time.monotonic() + 60
    while (cluster.ask("squeue", "-h") or alive(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert cluster.ask("squeue", "-h") == "", "Ctrl-C takes all jobs of the study back"
    assert not alive(str(tmp_path))
    assert {content["status"] for content in runs(tmp_path).values()} == {"interrupted"}


def test_a_queue_that_takes_no_job_fails_the_runs_with_its_reason(cluster: Cluster, tmp_path: Path) -> None:
    study = [*ARMS, "seed=0", "tracking=none", "hydra.launcher.partition=nowhere", SLURM]
    _, err = done(tmp_path, *study, code=2, **cluster.environment)
    assert "2 of 2 runs failed" in err
    assert "invalid partition specified: nowhere" in err
    assert "Traceback" not in err
    assert read(tmp_path / "outputs/studies/mine/study.json")["unplanned"]
