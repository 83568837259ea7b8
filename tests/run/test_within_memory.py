"""Where memory runs out a worker is started again with a smaller batch, of the stage that was at work alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.batches import next_smaller
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.manifest import read_manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import JOB, MANIFEST, WORKER_ERROR
from notus_exp.errors import UserError
from notus_exp.run import worker as workers
from notus_exp.run.execution import Job, execute
from notus_exp.run.nodes import STAGES
from notus_exp.run.plan import make_plan
from notus_exp.run.within_memory import lower, make_within_memory
from support.configs import composed
from support.plans import fixed_sources


def job_of(config: Config, folder: Path, *stages: Stage) -> Job:
    nodes = [node for node in make_plan(config, fixed_sources(config)) if node.stage in stages]
    places = {name: folder / name for name in ("artifacts", "cache", "events.jsonl", "ledger")}
    return Job(
        nodes,
        places["artifacts"],
        places["cache"],
        places["events.jsonl"],
        config.hardware,
        {},
        config.generation,
        config.judge,
        places["ledger"],
    )


@pytest.fixture
def machine_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Workers that make empty artifacts, and fail where a batch is larger than what a machine holds of it."""

    def make(most: dict[str, int], code: int = workers.MEMORY) -> list[Job]:
        jobs: list[Job] = []

        def run_worker(command: list[str], log: Path, *others: Any) -> int:
            path = log.parent / JOB
            job = Job.read(path)
            jobs.append(job)
            for node in job.nodes:
                setting = {"policy": "micro_batch_size", "reference": "scoring_batch_size"}.get(node.stage.name)
                if setting and getattr(job.hardware, setting) > most[setting]:
                    said = {"message": "OutOfMemoryError: CUDA out of memory", "hint": "", "code": code}
                    (log.parent / WORKER_ERROR).write_text(json.dumps(said))
                    return code
                _, made[node.name] = execute(node, job)
                (log.parent / "made.json").write_text(json.dumps(made))
            return 0

        made: dict[str, bool] = {}
        monkeypatch.setattr(workers, "run_worker", run_worker)
        monkeypatch.setattr("notus_exp.run.execution.run_stage", lambda node, job, out, context: {"steps": 1})
        monkeypatch.setattr("notus_exp.run.execution.contents_of", lambda inputs: {})
        return jobs

    return make


CONFIG = ("experiment=smoke", "hardware=cpu", "dpo.global_batch_size=8", "hardware.micro_batch_size=8")


def test_the_micro_batch_is_halved_until_it_fits_and_the_artifact_says_so(tmp_path: Path, machine_of: Any) -> None:
    jobs = machine_of({"micro_batch_size": 2, "scoring_batch_size": 99})
    said: list[str] = []
    job = job_of(composed(*CONFIG), tmp_path, Stage.reference, Stage.policy)
    make_within_memory(job, tmp_path, said.append)
    assert [one.hardware.micro_batch_size for one in jobs] == [8, 4, 2]
    assert len({one.hardware.scoring_batch_size for one in jobs}) == 1
    assert said == [
        f"stage policy failed: out of memory: going on with hardware.micro_batch_size={value} in place of {before}, "
        "at the same global batch of 8, from its newest checkpoint where there is one"
        for before, value in ((8, 4), (4, 2))
    ]
    store = ArtifactStore(job.artifacts)
    facts = {node.name: read_manifest(store.path(node.stage.name, node.key) / MANIFEST).facts for node in job.nodes}
    assert facts["policy"] == {"steps": 1, "lowered_micro_batch_size": 2}
    assert facts["reference"] == {"steps": 1}
    assert all(workers.made(tmp_path).values())  # the first worker's too


def test_scoring_is_halved_for_itself(tmp_path: Path, machine_of: Any) -> None:
    jobs = machine_of({"micro_batch_size": 8, "scoring_batch_size": 1})
    said: list[str] = []
    job = job_of(composed(*CONFIG, "hardware.scoring_batch_size=4"), tmp_path, Stage.reference, Stage.policy)
    make_within_memory(job, tmp_path, said.append)
    sizes = [(one.hardware.scoring_batch_size, one.hardware.micro_batch_size) for one in jobs]
    assert sizes == [(4, 8), (2, 8), (1, 8)]
    assert "the last bits of what is computed depend on it" in said[0]


def test_what_cannot_be_smaller_ends_the_run(tmp_path: Path, machine_of: Any) -> None:
    machine_of({"micro_batch_size": 0, "scoring_batch_size": 99})
    job = job_of(composed(*CONFIG), tmp_path, Stage.reference, Stage.policy)
    with pytest.raises(UserError, match="stage policy failed: out of memory") as caught:
        make_within_memory(job, tmp_path, lambda line: None)
    assert "hardware.activation_checkpointing=true" in caught.value.hint


def test_any_other_failure_is_not_tried_again(tmp_path: Path, machine_of: Any) -> None:
    jobs = machine_of({"micro_batch_size": 2, "scoring_batch_size": 99}, code=1)
    job = job_of(composed(*CONFIG), tmp_path, Stage.reference, Stage.policy)
    with pytest.raises(UserError, match="stage policy failed"):
        make_within_memory(job, tmp_path, lambda line: None)
    assert len(jobs) == 1


def test_a_process_that_the_kernel_ended_for_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(composed(*CONFIG), tmp_path, Stage.policy)
    counts = iter([4, 5])
    monkeypatch.setattr(workers, "ended_for_memory", lambda: next(counts))
    monkeypatch.setattr(workers, "run_worker", lambda *others: -9)
    with pytest.raises(workers.OutOfMemoryError):
        workers.make_in_worker(job, tmp_path, lambda line: None)


def test_a_supervised_training_is_lowered_likewise(tmp_path: Path) -> None:
    config = composed(*CONFIG, "sft=chosen", "sft.global_batch_size=24")
    (node,) = job_of(config, tmp_path, Stage.sft).nodes
    lowered = lower(config.hardware, node)
    assert lowered is not None
    assert (lowered.setting, lowered.value, lowered.before) == ("micro_batch_size", 4, 8)
    assert "at the same global batch of 24" in lowered.told
    assert STAGES[Stage.sft].resumable


def test_a_loss_that_sorts_the_pairs_of_a_pass_keeps_them_together(tmp_path: Path) -> None:
    config = composed(*CONFIG)
    (node,) = job_of(config, tmp_path, Stage.policy).nodes
    assert lower(config.hardware, node) is not None
    settings = {**node.settings, "dpo": {**node.settings["dpo"], "loss_type": ["aot"]}}
    assert lower(config.hardware, replace(node, settings=settings)) is None
    assert STAGES[Stage.policy].resumable


@pytest.mark.parametrize(
    ("share", "micro", "expected"), [(8, 8, 4), (8, 4, 2), (8, 1, 0), (6, 6, 3), (6, 3, 1), (12, 6, 3), (7, 7, 1)]
)
def test_the_next_smaller_micro_batch_divides_a_process_s_share(share: int, micro: int, expected: int) -> None:
    assert next_smaller(share, micro) == expected
