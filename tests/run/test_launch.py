"""The launch command of a profile, and what torchrun tells of a process that a signal ended."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from notus_exp.config.hardware_settings import Launch
from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.run.launch import Killed, killed_process, launch_command, launch_environment
from notus_exp.run.needed_here import check_needed_here
from notus_exp.run.pipeline import Run
from notus_exp.run.shown_plan import show_plan
from support.configs import composed
from support.recipes import machine

JOB = "out/runs/mine/job.json"
WORKER = ["-m", "notus_exp.run.worker_process", JOB]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def test_one_process_needs_no_launcher() -> None:
    assert launch_command(machine(), JOB, {"MASTER_ADDR": "there"}) == [sys.executable, *WORKER]


@pytest.mark.parametrize("launch", [Launch.ddp, Launch.fsdp2, Launch.deepspeed])
def test_several_processes_of_one_machine_meet_there(launch: Launch) -> None:
    hardware = machine(launch=launch, processes=8)
    in_slurm = {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_ID": "7"}
    for environment in ({}, in_slurm):
        command = launch_command(hardware, JOB, environment)
        assert command == [*TORCHRUN, "--standalone", "--nproc-per-node=8", *WORKER]


@pytest.mark.parametrize(
    ("rendezvous", "environment", "endpoint"),
    [
        ("first:1234", {"MASTER_ADDR": "second"}, "first:1234"),
        (None, {"MASTER_ADDR": "second", "MASTER_PORT": "77"}, "second:77"),
        (None, {"MASTER_ADDR": "second"}, "second:29500"),
        (None, {"PET_RDZV_ENDPOINT": "third:9", "MASTER_ADDR": "second"}, "third:9"),
    ],
)
def test_several_nodes_meet_where_they_are_told(
    rendezvous: str | None, environment: dict[str, str], endpoint: str
) -> None:
    hardware = machine(launch=Launch.fsdp2, processes=16, nodes=2, rendezvous=rendezvous)
    shared = ["--nnodes=2", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=mine"]
    assert launch_command(hardware, JOB, environment) == [*TORCHRUN, *shared, f"--rdzv-endpoint={endpoint}", *WORKER]


def test_a_slurm_job_of_several_nodes_starts_a_launcher_on_each() -> None:
    hardware = machine(launch=Launch.fsdp2, processes=16, nodes=2)
    environment = {
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_JOB_ID": "81234",
        "SLURMD_NODENAME": "n7",
        "SLURM_CPUS_ON_NODE": "48",
    }
    command = launch_command(hardware, JOB, environment)
    start = ["srun", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=48"]
    assert command[:7] == [*start, "--kill-on-bad-exit=1"]
    assert command[7:10] == TORCHRUN
    assert command[10:] == [
        *("--nnodes=2", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=mine", "--rdzv-endpoint=n7:21234"),
        *WORKER,
    ]
    with pytest.raises(UserError, match=r"hardware\.nodes=4, and the SLURM job has 3") as caught:
        launch_command(machine(launch=Launch.fsdp2, processes=16, nodes=4), JOB, environment)
    assert "ask for as many nodes" in caught.value.hint


def test_nodes_that_are_told_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"hardware\.nodes=2, and nothing says where they meet") as caught:
        launch_command(machine(launch=Launch.ddp, processes=2, nodes=2), JOB, {})
    assert "hardware.rendezvous=HOST:PORT" in caught.value.hint


def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.launch._usable_cores", lambda: 24)
    assert launch_environment(machine(), {}) == {}
    hardware = machine(launch=Launch.ddp, processes=16, nodes=2)
    assert launch_environment(hardware, {})["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in launch_environment(hardware, {"OMP_NUM_THREADS": "1"})
    assert launch_environment(machine(launch=Launch.ddp, processes=64), {})["OMP_NUM_THREADS"] == "1"


TOLD = """
notus_exp.run.worker_process FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-26_23:27:35
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 18513)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 18513
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-26_23:27:35
  host      : localhost
  rank      : 3 (local_rank: 1)
  exitcode  : {code} (pid: 18512) {name}
  error_file: <N/A>
"""


def test_the_process_that_was_killed_is_told_apart_from_those_that_were_ended_for_it(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert killed_process(log) is None
    log.write_text(TOLD.format(code=-9, name="(SIGKILL)"))
    assert killed_process(log) == Killed(3, 9)
    earlier = log.stat().st_size
    log.write_text(log.read_text() + TOLD.format(code=1, name=""))
    assert killed_process(log, earlier) is None, "an earlier worker's"


@pytest.mark.parametrize(
    ("profile", "shown", "deepspeed"),
    [
        ("a100_8x40gb", "--standalone --nproc-per-node=8", True),
        ("h100_8", "--standalone --nproc-per-node=8", False),
        (
            "multi_node",
            "--nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-id={run} --rdzv-endpoint=HOST:PORT",
            False,
        ),
    ],
)
def test_the_plan_of_a_recipe_shows_how_it_is_launched(
    profile: str, shown: str, deepspeed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MASTER_ADDR", "PET_RDZV_ENDPOINT", "SLURM_JOB_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    out = io.StringIO()
    config = composed("experiment=notus_7b_v1", "data=simulated", "model=tiny_random", f"hardware={profile}")
    run = Run(config, {"selection": "average"}, Console(file=out, width=300))
    show_plan(run, Console(file=out, width=300))
    told = [line for line in out.getvalue().splitlines() if line.startswith(("launch: ", "deepspeed: "))]
    job = run.folder / "job.json"
    command = f"-m torch.distributed.run {shown.format(run=run.id)} -m notus_exp.run.worker_process {job}"
    assert told[0] == f"launch: {sys.executable} {command}"
    assert len(told) == 1 + deepspeed
    if deepspeed:
        content = json.loads(told[1].removeprefix("deepspeed: "))
        assert content["zero_optimization"]["stage"] == 3
        assert content["zero_optimization"]["offload_param"] == {"device": "cpu"}
        assert content["bf16"] == {"enabled": True}


CHOICES = {"selection": "average"}


def test_what_a_launch_lacks_is_said_before_anything_is_made_and_no_plan_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "PET_RDZV_ENDPOINT", "SLURM_JOB_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    nodes = ("hardware.launch=ddp", "hardware.processes=2", "hardware.nodes=2")
    run = Run(composed("experiment=smoke", *nodes, f"output_dir={tmp_path}"), CHOICES, Console(quiet=True))
    with pytest.raises(UserError, match=r"hardware\.nodes=2, and nothing says where they meet"):
        check_needed_here(run.config, run.nodes)
    run = Run(composed("experiment=smoke", "dpo=qlora", f"output_dir={tmp_path}"), CHOICES, Console(quiet=True))
    monkeypatch.setattr("notus_exp.config.bitsandbytes_checks.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs bitsandbytes, which is not installed"):
        check_needed_here(run.config, run.nodes)
    check_needed_here(run.config, [node for node in run.nodes if node.stage is not Stage.policy])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("device=cpu", "does not run on cpu"),
        ("device=cuda", "computes in 16 bits, not in dpo.precision=float32"),
    ],
)
def test_flash_attention_is_refused_where_it_does_not_run(given: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        composed("experiment=smoke", "hardware.attention=flash_attention_2", f"hardware.{given}")


def test_deepspeed_is_missed_before_anything_is_made_and_no_plan_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = ("hardware.launch=deepspeed", "hardware.zero_stage=2", "hardware.processes=2")
    run = Run(
        composed("experiment=smoke", *several, f"output_dir={tmp_path}"), {"selection": "average"}, Console(quiet=True)
    )
    monkeypatch.setattr("notus_exp.config.told_to_deepspeed.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="deepspeed needs DeepSpeed, which is not installed"):
        check_needed_here(run.config, run.nodes)
