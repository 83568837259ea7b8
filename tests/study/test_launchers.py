"""The same study through Hydra's launchers for other processes: the same bytes, reasons that arrive, and clean ends."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from notus_exp.study.launching import launchers
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.launching.launched import _seen
from notus_exp.study.launching.launchers import as_ray_job, as_slurm_job, reason_of, results_of, settle
from notus_exp.study.search.goals import measure
from support.study_runs import ARMS, alive, read, run, run_of, runs, start, wait_for

PACKAGE = "hydra_plugins.hydra_{}_launcher"
EXTRAS = {"submitit_local": (PACKAGE.format("submitit"), "slurm"), "ray": (PACKAGE.format("ray"), "ray")}


def require(launcher: str) -> None:
    module, extra = EXTRAS[launcher]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"hydra/launcher={launcher} needs the extra '{extra}': pip install 'notus-exp[{extra}]'")


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of a study by Hydra's own launcher, one run after the other in its process."""
    if not any(importlib.util.find_spec(module) for module, _ in EXTRAS.values()):
        pytest.skip("hydra/launcher=submitit_local and =ray need extras: pip install 'notus-exp[slurm,ray]'")
    folder = tmp_path_factory.mktemp("basic")
    run(folder, *ARMS, "seed=0")
    return folder


# `stuck` fails in its run: a study has other arms than the one above, so that what both share is the same.
STUCK = "+study.arms={critique:['selection=critique'],average:['selection=average'],stuck:['filters.min_margin=100']}"


@pytest.mark.parametrize("launcher", [*EXTRAS])
def test_a_study_is_the_same_by_every_launcher_and_tells_why_a_run_failed(
    launcher: str, basic: Path, tmp_path: Path
) -> None:
    require(launcher)
    done = run(tmp_path, STUCK, "seed=0", "study.name=mine", f"hydra/launcher={launcher}", code=2)
    assert "stuck, seed 0: " in done.stderr
    assert "min_margin" in run_of(tmp_path, "mine", "stuck", 0)["error"]
    assert "Traceback" not in done.stderr
    done = run(tmp_path, ARMS[0], "seed=0", "study.name=again", f"hydra/launcher={launcher}")
    assert done.stdout.splitlines() == [str(tmp_path / "outputs/studies/again")], "nothing else on standard output"
    found = (tmp_path / "outputs/studies/again/comparison.json").read_text()
    expected = (basic / "outputs/studies/mine/comparison.json").read_text()
    assert found == expected.replace('"name": "mine"', '"name": "again"')
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"], "the launcher leaves nothing beside it"
    for content in runs(tmp_path).values():
        assert len(content["attempts"]) == 1, "runs of another study are reused"


def test_a_job_that_is_killed_is_one_failed_run_and_ctrl_c_ends_the_others(basic: Path, tmp_path: Path) -> None:
    require("submitit_local")
    shutil.copytree(basic / "outputs", tmp_path / "outputs")
    study = [ARMS[0], "seed=5", "study.name=killed", "hydra/launcher=submitit_local"]
    process = start(tmp_path, *study)
    wait_for(lambda: len(list(tmp_path.glob("outputs/runs/*-s5-*/job.json"))) == 2, process)
    first = min(tmp_path.glob("outputs/.submitit/[0-9]*"), key=lambda path: path.stat().st_mtime)
    os.kill(_task(first), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors[-3000:]
    statuses = sorted(content["status"] for content in runs(tmp_path).values() if content["seed"] == 5)
    assert statuses == ["finished", "running"], "the other one was waited for"
    assert "1 of 2 runs failed" in errors
    assert "the launcher failed: " in errors
    comparison = read(tmp_path / "outputs/studies/killed/comparison.json")
    assert sum("the launcher failed" in str(arm["failed"]) for arm in comparison["arms"]) == 1
    process = start(tmp_path, *study)
    wait_for(
        lambda: any(c["status"] == "running" and len(c["attempts"]) == 2 for c in runs(tmp_path).values()), process
    )
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "error: interrupted" in errors
    deadline = time.monotonic() + 20
    while alive(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive(str(tmp_path)), "no job and no worker is left"


def _task(job: Path) -> int:
    """The process id of the job that works in this folder of submitit; the folder's name is that of its parent."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            variables = (path / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and f"SUBMITIT_LOCAL_JOB_ID={job.name}" in variables:
            return int(path.name)
    raise AssertionError(f"no process of {job}")


class _Ray:
    task_function = staticmethod(Path.cwd)

    def __init__(self, **settings: Any) -> None:
        self.ray_cfg = OmegaConf.create({"init": {"address": None}, "remote": {}} | settings)


def settled(device: str, **settings: Any) -> Any:
    launcher: Any = _Ray(**settings)
    settle(launcher, OmegaConf.create({"device": device, "processes": 2}))
    return OmegaConf.to_container(launcher.ray_cfg)


def test_ray_gets_defaults_and_keeps_what_the_user_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    assert settled("cpu") == {"init": {"address": None, "include_dashboard": False}, "remote": {}}
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", "it would report over the network"
    assert settled("cuda")["remote"] == {"num_gpus": 2}, "the devices of a run"
    assert settled("cuda", remote={"num_gpus": 0.5})["remote"] == {"num_gpus": 0.5}
    cluster = settled("cpu", init={"address": "auto"})
    assert cluster["init"] == {"address": "auto", "object_store_memory": None}, "a running cluster takes no size"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    settled("cpu")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


def asked_of_slurm(hardware: dict[str, Any], **params: Any) -> dict[str, Any]:
    launcher: Any = SimpleNamespace(_EXECUTOR="slurm", params=params, task_function=print)
    settle(launcher, OmegaConf.create(hardware))
    found: dict[str, Any] = launcher.params
    return found


def test_slurm_is_asked_for_the_devices_and_nodes_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "watch_queue", lambda launcher: None)
    one = {"device": "cuda", "processes": 1, "nodes": 1}
    assert asked_of_slurm({**one, "device": "cpu"}, nodes=1) == {"nodes": 1}
    assert asked_of_slurm(one, nodes=1, gpus_per_node=None) == {"nodes": 1, "gpus_per_node": 1}
    assert asked_of_slurm(one, gres="gpu:a100:1") == {"gres": "gpu:a100:1"}
    several = {"device": "cuda", "processes": 16, "nodes": 2}
    asked = asked_of_slurm(several, nodes=1, additional_parameters={"reservation": "mine"})
    assert asked["gpus_per_node"] == 8
    assert asked["nodes"] == 1, "the task is one"
    assert asked["additional_parameters"] == {"nodes": 2, "reservation": "mine"}
    assert asked["srun_args"] == ["--nodes=1", "--ntasks=1"]
    assert "additional_parameters" not in asked_of_slurm(several, nodes=2), "as the user has it"


def test_a_job_of_several_nodes_is_one_task_to_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from submitit.slurm.slurm import _make_sbatch_string

    text = _make_sbatch_string(
        "run", tmp_path, nodes=1, ntasks_per_node=1, additional_parameters={"nodes": 2},
        srun_args=["--nodes=1", "--ntasks=1"],
    )  # fmt: skip
    assert "#SBATCH --nodes=2\n" in text
    assert "#SBATCH --nodes=1\n" not in text
    assert "--nodes=1 --ntasks=1 run" in text


def test_other_launchers_are_left_alone() -> None:
    class Other(Launcher):
        setup = launch = None

    settle(Other(), OmegaConf.create({"device": "cuda", "processes": 1}))  # type: ignore[abstract]


# -------------------------------------------------------------------------------------------------------- jobs on nodes
CONFIG = OmegaConf.create({})


def test_a_job_of_ray_works_in_the_folder_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that runs works where it was started: relative outputs went there, and the study found none of them."""
    monkeypatch.chdir(tmp_path)
    launcher: Any = _Ray()
    settle(launcher, OmegaConf.create({"device": "cpu", "processes": 1}))
    monkeypatch.chdir("/")
    assert launcher.task_function.func is as_ray_job
    assert as_ray_job(launcher.task_function.args[0], lambda config: Path.cwd(), CONFIG) == tmp_path
    outcome = as_ray_job(str(tmp_path / "nowhere"), lambda config: None, CONFIG)
    assert "of ray has no folder" in str(outcome.error)
    assert "all nodes have under the same path" in str(outcome.error)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("second", [None, signal.SIGUSR2])
def test_a_job_that_slurm_ends_is_interrupted_and_queues_itself_again_where_it_is_told_so(
    second: signal.Signals | None, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "GRACE_SECONDS", 0.5)
    queued: list[int] = []

    def queue_again(number: int, frame: Any) -> None:  # as submitit's
        queued.append(number)
        raise SystemExit(-1)

    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGUSR2, queue_again)

    def task(config: Any) -> None:
        if second is not None:
            threading.Timer(0.1, lambda: os.kill(os.getpid(), second)).start()
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        as_slurm_job(task, CONFIG)
    assert queued == ([] if second is None else [second])


def test_a_lost_job_is_one_failure_and_the_others_are_waited_for() -> None:
    class Job:
        def __init__(self, result: Any) -> None:
            self.result = result

        def results(self) -> list[Any]:
            if isinstance(self.result, Exception):
                raise self.result
            return [self.result]

    source = "def launch(jobs):\n    return [one.results()[0] for one in jobs]\n"
    module: dict[str, Any] = {"__name__": PACKAGE.format("submitit") + ".submitit_launcher"}
    exec(source, module)
    with pytest.raises(RuntimeError) as caught:
        module["launch"]([Job("first"), Job(RuntimeError("node gone")), Job("third")])
    assert results_of(caught.value) == ["first", "the launcher failed: RuntimeError: node gone", "third"]
    assert results_of(ValueError("sbatch takes no job")) is None


def test_why_ray_failed_stands_behind_its_traceback() -> None:
    class RayError(Exception):
        __module__ = "ray.exceptions"

    red = "\x1b[36mray::_run_job()\x1b[39m (pid=1)\n  Traceback ...\n\x1b[31mModuleNotFoundError: No module named 'x'\n"
    assert reason_of(RayError(red)) == "RayError: ModuleNotFoundError: No module named 'x'"
    assert reason_of(ValueError("one\ntwo")) == "ValueError: one"


def test_where_slurm_keeps_no_accounts_the_queue_tells_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    require("submitit_local")
    from submitit.slurm.slurm import SlurmJob

    class Slurm:
        _EXECUTOR = "slurm"

    before = SlurmJob.watcher
    monkeypatch.setattr(SlurmJob, "watcher", before)
    monkeypatch.setattr(launchers, "_keeps_accounts", lambda: True)
    launchers.watch_queue(Slurm())  # type: ignore[arg-type]
    assert SlurmJob.watcher is before
    monkeypatch.setattr(launchers, "_keeps_accounts", lambda: False)
    launchers.watch_queue(Slurm())  # type: ignore[arg-type]
    watcher = SlurmJob.watcher
    watcher._registered = {"2_0", "2_1", "2_2", "5"}
    found = watcher.read_info(b"2_0|SUSPENDED\n2_1|CANCELLED\n2_2|PENDING\n99|FAILED\n")
    assert {job: one["State"] for job, one in found.items()} == {
        "2_0": "RUNNING",
        "2_1": "CANCELLED",
        "2_2": "RUNNING",
        "5": "GONE",
    }


def test_a_run_that_finished_where_the_study_cannot_see_it_is_a_failed_one(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "mine"
    folder.mkdir(parents=True)
    elsewhere: Any = SimpleNamespace(id="one", folder=tmp_path / "outputs" / "runs" / "one")
    status, reason = _seen(Ended("finished", None), elsewhere, folder)
    assert (status, reason) == (
        "failed",
        f"it finished, but is not in {elsewhere.folder}: all machines of a launcher must share that folder",
    )
    assert measure(folder, ["one"], ["preferences/accuracy/average"]).reason == (
        f"the run is not in {elsewhere.folder}: all machines of a launcher must share that folder"
    )
    elsewhere.folder.mkdir(parents=True)
    (elsewhere.folder / "run.json").write_text(json.dumps({"status": "finished", "metrics": {}}))
    assert _seen(Ended("finished", None), elsewhere, folder) == Ended("finished", None)
