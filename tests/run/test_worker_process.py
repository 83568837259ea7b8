"""The worker's order: base models first, then the union of what reference nodes miss, then each node.

Of several processes, all make what a model scores, trains or answers, and process 0 alone the rest.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from notus_exp.config.schema import Stage
from notus_exp.machine.processes import Processes
from notus_exp.run import worker_process as worker
from notus_exp.run.execution import Job
from notus_exp.run.heartbeat import Heartbeat
from notus_exp.run.nodes import Node
from notus_exp.stages.context import Context
from support.configs import composed


def test_all_base_models_are_made_before_the_first_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [Stage.base_model, Stage.reference, Stage.policy, Stage.base_model, Stage.reference, Stage.policy]
    nodes = [Node(f"{stage.name}_{n}", stage, {}, {}, {}, str(n), {}) for n, stage in enumerate(stages)]
    config = composed("experiment=smoke")
    job = Job(
        nodes, tmp_path, tmp_path, tmp_path, config.hardware, {}, config.generation, config.judge, tmp_path / "ledger"
    )
    job.write(tmp_path / "job.json")
    done: list[tuple[str, bool]] = []

    def execute(node: Node, job: Job, prepare: object, *_: object) -> tuple[None, bool]:
        done.append((node.name, prepare is not None))
        return None, True

    monkeypatch.setattr(worker, "execute", execute)
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
    assert worker.main([str(tmp_path / "job.json")]) == 0
    assert done == [
        ("base_model_0", False),
        ("base_model_3", False),
        ("reference_1", True),
        ("policy_2", False),
        ("reference_4", True),
        ("policy_5", False),
    ]


def of_all(folder: Path, nodes: list[Node]) -> Job:
    config = composed("experiment=smoke")
    return Job(nodes, folder, folder, folder / "e", config.hardware, {}, config.generation, config.judge, folder / "l")


def test_all_processes_make_what_a_model_makes_and_process_0_alone_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = {"endpoint_model": "theirs"}
    stages = [
        ("base", Stage.base_model, {}),
        *((f"reference_{number}", Stage.reference, {}) for number in range(2)),
        ("policy", Stage.policy, {}),
        ("answers", Stage.generations, {"endpoint_model": None}),
        ("served", Stage.generations, served),
        *((stage.name, stage, {}) for stage in (Stage.likelihoods, Stage.benchmarks, Stage.judgments)),
    ]
    nodes = [Node(name, stage, settings, {}, {}, f"{n}" * 16, {}) for n, (name, stage, settings) in enumerate(stages)]
    job = of_all(tmp_path, nodes)
    done: dict[int, list[Any]] = {0: [], 1: []}
    here = threading.local()

    def run_stage(node: Node, job: Job, out: Path, context: Context) -> dict[str, Any]:
        done[here.rank].append((node.name, context.team.size, out.is_dir()))
        context.events.emit(1, {"rank": float(here.rank)})
        return {"rank": here.rank}

    def fill(nodes: list[Node], job: Job, context: Context) -> dict[str, int]:
        done[here.rank].append([node.name for node in nodes])
        return {"a": context.team.size}

    monkeypatch.setattr(worker, "run_stage", run_stage)
    monkeypatch.setattr("notus_exp.run.execution.run_stage", run_stage)
    monkeypatch.setattr(worker, "_fill", fill)
    store = HashStore()

    def process(rank: int) -> None:
        here.rank, team, heart = rank, Processes(store, rank, 2), Heartbeat(tmp_path / "beats", rank, None)
        if rank == 0:
            worker.conduct(job, tmp_path / "job.json", worker.Conductor(team, heart))
        else:
            worker.follow(job, team, heart)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    shared = [("reference_0", 2, True), ("reference_1", 2, True), ("policy", 2, True), ("answers", 2, True)]
    filled = ["reference_0", "reference_1"]
    assert done[1] == [filled, *shared, ("likelihoods", 2, True)]
    alone = [(name, 1, True) for name in ("base", "served", "benchmarks", "judgments")]
    assert done[0] == [alone[0], filled, *shared, alone[1], ("likelihoods", 2, True), *alone[2:]]
    events = [json.loads(line) for line in (tmp_path / "e").read_text().splitlines()]
    told = [event["stage"] for event in events if "rank" in event["metrics"]]
    assert told == [name for name, _, _ in stages], "one stream, of process 0"
    assert {event["metrics"].get("rank", 0.0) for event in events} == {0.0}
    assert all(json.loads(path.read_text())["facts"] == {"rank": 0} for path in tmp_path.glob("*/manifest.json"))
    assert json.loads((tmp_path / "made.json").read_text()) == {name: True for name, _, _ in stages}


def test_the_error_of_the_process_that_failed_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    assert worker._tell(path, "the first", "its hint", 2) == 2
    assert worker._tell(path, "followed from it", "", 1) == 1
    assert json.loads((tmp_path / "error.json").read_text()) == {"message": "the first", "hint": "its hint", "code": 2}


def test_another_number_of_processes_than_the_profile_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_all(tmp_path, []).write(tmp_path / "job.json")
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
    monkeypatch.setattr(worker, "launched_team", lambda: Processes(HashStore(), 0, 3))
    assert worker.main([str(tmp_path / "job.json")]) == 2
    error = json.loads((tmp_path / "error.json").read_text())
    assert error["message"] == "hardware.processes=1, but 3 processes were launched"
