"""Runs of two processes: the same artifacts as of one, and an end with its reason whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from support.pipelines import ENVIRONMENT, command, place, record, run

TWO = ["hardware.launch=ddp", "hardware.processes=2"]
SMALL = ["experiment=smoke", "hardware=cpu", "tracking=none", "output_dir=out"]
LONG = [*SMALL, *TWO, "until=policy", "dpo.max_steps=100000", "dpo.epochs=100000"]
"""A training that nobody waits for."""
WAIT = 120.0


@pytest.fixture(scope="module")
def of_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of one process, up to the likelihoods."""
    folder = tmp_path_factory.mktemp("one")
    return folder, record(run(folder, *SMALL, "until=likelihoods"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process, up to the reference log-probs."""
    folder = tmp_path_factory.mktemp("scored")
    run(folder, *SMALL, "until=reference")
    return folder


def without(folder: Path, begun: Path, *stages: str) -> Path:
    """Return a folder with what another run made but for some stages."""
    shutil.copytree(begun / "out", folder / "out")
    for stage in stages:
        for found in (folder / "out" / "artifacts").glob(f"{stage}-*"):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    if "reference" in stages:
        shutil.rmtree(folder / "out" / "cache")
    shutil.rmtree(folder / "out" / "runs")
    return folder


@pytest.mark.slow
def test_two_processes_make_the_artifacts_of_one(tmp_path: Path, of_one: tuple[Path, dict[str, Any]]) -> None:
    begun, one = of_one
    made = ("reference", "generations", "likelihoods")
    folder = without(tmp_path, begun, *made)
    done = run(folder, *SMALL, *TWO, "until=likelihoods")
    two = record(done)
    assert [name for name, stage in two["stages"].items() if stage["key"] != one["stages"][name]["key"]] == []
    assert sorted(two["attempts"][-1]["made"]) == sorted(name for name in two["stages"] if name.startswith(made))
    for name, table in [("reference", "reference"), ("likelihoods", "likelihoods"), ("likelihoods", "divergence")]:
        written = [
            (top / place(of, name) / f"{table}.parquet").read_bytes() for top, of in ((begun, one), (folder, two))
        ]
        assert written[0] == written[1], name
    for name in (name for name in two["stages"] if name.startswith("generations")):
        assert (folder / place(two, name) / "generations.parquet").read_bytes() == (
            begun / place(one, name) / "generations.parquet"
        ).read_bytes()
    events = [
        json.loads(line) for line in (folder / place(two, "likelihoods") / "events.jsonl").read_text().splitlines()
    ]
    assert events == [event for event in events if event["stage"] == "likelihoods"]
    assert not (Path(done.stdout.splitlines()[-1]) / "beats").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launch", [["fsdp2"], ["deepspeed", "hardware.zero_stage=3"]], ids=lambda launch: launch[0])
def test_a_run_goes_through_all_stages_whatever_shares_its_training(
    launch: list[str], tmp_path: Path, of_one: tuple[Path, dict[str, Any]]
) -> None:
    pytest.importorskip("deepspeed") if launch[0] == "deepspeed" else None
    begun, one = of_one
    folder = without(tmp_path, begun, "policy", "generations", "likelihoods")
    two = record(run(folder, *SMALL, f"hardware.launch={launch[0]}", *launch[1:], TWO[1], "until=likelihoods"))
    assert {"policy", "generations_verifiable", "likelihoods"} <= set(two["attempts"][-1]["made"])
    likelihoods = [
        pl.read_parquet(top / place(of, "likelihoods") / "likelihoods.parquet")
        for top, of in ((begun, one), (folder, two))
    ]
    assert likelihoods[1]["logp"].to_list() == pytest.approx(likelihoods[0]["logp"].to_list(), abs=1e-3)


class Training:
    """A run of two processes that is in the middle of its training."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder

    @property
    def run(self) -> Path:
        (found,) = (self.folder / "out" / "runs").iterdir()
        return found

    def pids(self) -> list[int]:
        """Return the ids of its two worker processes, by their numbers."""
        return [json.loads((self.run / "beats" / f"{rank}.json").read_text())["pid"] for rank in range(2)]

    def trains(self) -> bool:
        try:
            lines = (self.run / "events.jsonl").read_text().splitlines()
        except (OSError, ValueError):
            return False
        return sum('"stage": "policy"' in line and '"loss"' in line for line in lines) > 2

    def end(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=WAIT)[1]
        return self.process.returncode, said

    def kept(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.run / "run.json").read_text())
        return content


@contextmanager
def training(folder: Path, *arguments: str) -> Iterator[Training]:
    with subprocess.Popen(
        command(*LONG, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        try:
            run = Training(process, folder)
            until(lambda: run.trains() or process.poll() is not None)
            assert process.poll() is None, process.communicate()[1]
            yield run
        finally:
            process.kill()


def until(holds: Any) -> None:
    ends = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.fixture
def begun(tmp_path: Path, scored: Path) -> Path:
    return without(tmp_path, scored)


def test_a_process_that_is_killed_ends_the_run_with_its_name_and_leaves_what_was_made(begun: Path) -> None:
    with training(begun) as run:
        pids = run.pids()
        os.kill(pids[1], signal.SIGKILL)
        code, said = run.end()
        assert gone(pids)
    assert code == 2
    assert "error: stage policy failed: process 1 was killed by signal 9" in said
    kept = run.kept()
    assert kept["status"] == "failed"
    assert {"feedback", "pairs", "base_model", "reference"} <= kept["stages"].keys()


@pytest.mark.slow
def test_a_process_that_hangs_is_ended_by_the_watchdog_with_all_others(begun: Path) -> None:
    with training(begun, "hardware.watchdog=15") as run:
        pids = run.pids()
        os.kill(pids[1], signal.SIGSTOP)
        code, said = run.end()
        assert gone(pids)
    assert code == 2
    assert "stage policy failed: nothing was heard of the worker for 15 s (hardware.watchdog): process 1 of 2" in said
    assert "hardware.watchdog=null waits for ever" in said
    assert run.kept()["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_command(begun: Path, number: int) -> None:
    with training(begun) as run:
        pids = run.pids()
        run.process.send_signal(number)
        code, _ = run.end()
        until(lambda: gone(pids))
    assert code == (-number if number == signal.SIGKILL else 130)
    assert run.kept()["status"] == ("running" if number == signal.SIGKILL else "interrupted")
