"""What a study makes before its runs: what arms' expressions need of a model comes before their curation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.errors import UserError
from notus_exp.run import worker as workers
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.study.launching import prepare as preparing
from support.configs import composed
from support.expressions import choosing_by

SMALL = ("experiment=smoke", "model=tiny_random", "evaluation=[]", "until=policy")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Where nodes were made, here or in a worker, and which; what is made is empty."""
    calls: list[tuple[str, list[str]]] = []

    def build(where: str, job: Job) -> None:
        calls.append((where, [node.name.split()[0] for node in job.nodes]))
        store = ArtifactStore(job.artifacts)
        for node in job.nodes:
            assert all(is_there(store, node, key) for key in node.inputs.values()), f"{node.name} lacks an input"
            store.build(node.wanted, lambda out: {}, resumable=False)

    def execute(node: Node, job: Job) -> None:
        build("here", job)

    def make_in_worker(job: Job, *others: Any) -> None:
        build("worker", job)

    monkeypatch.setattr(preparing, "execute", execute)
    monkeypatch.setattr(workers, "make_in_worker", make_in_worker)
    return calls


def is_there(store: ArtifactStore, node: Node, key: str) -> bool:
    use = next(use for use, one in node.inputs.items() if one == key)
    return store.path(node.uses[use], key).is_dir()


def run_of(folder: Path, *overrides: str) -> Run:
    return Run(composed(*SMALL, f"output_dir={folder}", *overrides), {"selection": "arm"}, Console(quiet=True))


def test_without_such_columns_all_is_curated_before_the_worker_starts(
    tmp_path: Path, made: list[tuple[str, list[str]]]
) -> None:
    preparing.prepare([run_of(tmp_path), run_of(tmp_path, "rejected=lowest")], tmp_path, Console(quiet=True))
    assert made == [
        ("here", ["feedback"]),
        ("here", ["pairs"]),
        ("here", ["pairs"]),
        ("worker", ["base_model", "reference", "reference"]),
    ]


def test_what_a_column_needs_of_the_model_is_made_once_before_any_arm_is_curated(
    tmp_path: Path, made: list[tuple[str, list[str]]]
) -> None:
    arms = [
        run_of(tmp_path),
        *(run_of(tmp_path, *choosing_by(one)) for one in ("tokens", "ref_logp + tokens", "chars")),
    ]
    preparing.prepare(arms, tmp_path, Console(quiet=True))
    assert made == [
        ("here", ["feedback"]),
        ("worker", ["base_model", "columns_tokens", "reference_columns"]),
        *[("here", [name]) for name in ("pairs", "columns", "pairs", "columns", "pairs", "pairs")],
        ("worker", ["reference"] * 4),
    ]


@pytest.mark.parametrize(("kills", "tries"), [(0, 1), (1, 2), (5, 3)])
def test_a_killed_worker_is_begun_again_and_any_other_failure_is_not(
    tmp_path: Path, made: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, kills: int, tries: int
) -> None:
    build, begun = workers.make_in_worker, list[Job]()

    def killed_at_first(job: Job, *others: Any) -> None:
        begun.append(job)
        if len(begun) <= kills:
            raise workers.KilledError("stage reference failed: the worker was killed by signal 9")
        if kills == 0:
            raise UserError("stage reference failed: no prompt is left")
        build(job, *others)

    monkeypatch.setattr(workers, "make_in_worker", killed_at_first)
    preparing.prepare([run_of(tmp_path), run_of(tmp_path, "rejected=lowest")], tmp_path, Console(quiet=True))
    assert len(begun) == tries
    assert [job.nodes for job in begun] == [begun[0].nodes] * tries, "the union, whose batches are the same"
    assert (made[-1][0] == "worker") == (kills == 1)


def test_of_several_rounds_the_first_is_curated_and_nothing_is_trained(
    tmp_path: Path, made: list[tuple[str, list[str]]]
) -> None:
    given = ("data=made", "data.judge={judge: mock}", "data.per_prompt=2", "rounds=2")
    pool = "data.writers=[{name: own}, {name: weak, simulated: 0.3}]"
    preparing.prepare([run_of(tmp_path, *given, pool)], tmp_path, Console(quiet=True))
    names = [name for _, some in made for name in some]
    assert {"round1_feedback", "round1_pairs", "round1_reference"} <= set(names)
    assert not {"round1_policy", "round1_merged", "responses_own", "pairs", "policy", "reference"} & set(names)
