"""Studies on a real ray cluster of two nodes: the same study, jobs that die, and a folder that nodes do not have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.ray_nodes import Cluster, two_nodes
from support.study_runs import ARMS, alive, run_of, runs, start, wait_for

pytestmark = pytest.mark.slow
LIMIT = 560


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_nodes() as running:
        yield running


def by_ray(cluster: Cluster) -> list[str]:
    return ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster.address}", "tracking=none"]


def done(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    process = start(folder, *arguments, cold=True)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code, err[-3000:]
    return out, err


def test_the_acceptance_study_is_the_same_on_two_nodes(cluster: Cluster, tmp_path: Path) -> None:
    study = ["study=acceptance", "study.seeds=[0]"]
    process = start(tmp_path, *study, *by_ray(cluster), cold=True)
    wait_for(lambda: cluster.workers() == [1, 1], process, LIMIT)  # each node has a run
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err[-3000:]
    assert out.splitlines() == [str(tmp_path / "outputs/studies/acceptance")]
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    names = ("critique", "critique_repaired", "average", "average_lowest")
    assert [run_of(tmp_path, "acceptance", name, 0)["status"] for name in names] == ["finished"] * 4
    comparison = (tmp_path / "outputs/studies/acceptance/comparison.json").read_bytes()
    done(tmp_path, *study, "tracking=none")
    assert (tmp_path / "outputs/studies/acceptance/comparison.json").read_bytes() == comparison
    for content in runs(tmp_path).values():
        assert len(content["attempts"]) == 1, "without ray they are the same runs"


def test_a_job_whose_process_is_killed_goes_on_and_ctrl_c_ends_all(cluster: Cluster, tmp_path: Path) -> None:
    study = [*ARMS, "seed=5", "dpo.epochs=48", *by_ray(cluster)]
    process = start(tmp_path, *study, cold=True)
    wait_for(lambda: len([*tmp_path.glob("outputs/artifacts/policy-*.partial/events.jsonl")]) == 2, process, LIMIT)
    victim = _parent_of_worker(tmp_path)
    os.kill(victim, signal.SIGKILL)

    def again() -> bool:
        return sorted(len(content["attempts"]) for content in runs(tmp_path).values()) == [1, 2]

    wait_for(again, process, LIMIT)  # ray gives a job whose process died to another one
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err[-3000:]
    deadline = time.monotonic() + 60
    while alive(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not alive(str(tmp_path)), "no worker is left"
    assert cluster.workers() == [0, 0]


def _parent_of_worker(folder: Path) -> int:
    """Return the process of ray's that runs a job of a study in this folder: the parent of its worker."""

    def is_worker(one: psutil.Process) -> Any:
        return any(word.startswith(str(folder)) for word in one.info["cmdline"] or ())

    workers = [one for one in psutil.process_iter(["cmdline", "ppid"]) if is_worker(one)]
    return int(workers[0].info["ppid"])
