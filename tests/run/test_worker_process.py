"""The worker's order: base models first, then the union of what reference nodes miss, then each node."""

from __future__ import annotations

from pathlib import Path

import pytest

from notus_exp.config.schema import Stage
from notus_exp.run import worker_process as worker
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
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

    def execute(node: Node, job: Job, prepare: object) -> tuple[None, bool]:
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
