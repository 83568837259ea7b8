"""A run of its own is one run in W&B, however often its command is given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.events import Event
from notus_exp.tracking import Ending, open_tracker
from support.offline_runs import TRACKING, OfflineRun, own_places, read_runs  # noqa: F401  (a fixture)

METRICS = {"verifiable/strict": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 64}}
STAGES: dict[str, Any] = {"evaluation": {"key": "evaluation-1", "path": "pruned"}}
DONE = Ending("finished", METRICS, [], STAGES)
FAILED = Ending("failed", {}, [], {}, "no memory")
LOSS = Event(0.0, "policy", 1, {"train/loss": 0.5})


def told(folder: Path, ending: Ending = DONE, **changes: Any) -> list[str]:
    """Do what an attempt of a run does with its tracker; return what it says."""
    said: list[str] = []
    tracking = dataclasses.replace(TRACKING, artifacts=[], **changes)
    folder.mkdir(exist_ok=True)
    tracker = open_tracker(tracking, "run-id", [], {"seed": 0}, folder, said.append)
    tracker.log(LOSS)
    tracker.finish(ending)
    return said


def only(folder: Path) -> OfflineRun:
    (found,) = read_runs(folder)
    return found


def test_a_finished_run_that_is_repeated_is_left_as_it_is(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    before = only(tmp_path)
    assert told(tmp_path) == ["W&B was told of this run before, as it is: nothing is told again"]
    assert only(tmp_path).path == before.path
    assert not (tmp_path / "wandb/superseded").exists()


def test_a_run_that_failed_and_then_finishes_is_one_run(tmp_path: Path) -> None:
    told(tmp_path, FAILED)
    failed = only(tmp_path)
    told(tmp_path)
    found = only(tmp_path)
    assert (found.run.run_id, found.summary["status"]) == (failed.run.run_id, "finished")
    assert [path.name for path in (tmp_path / "wandb/superseded").iterdir()] == [f"0-{failed.path.parent.name}"]


def test_a_repeated_run_that_ends_otherwise_is_told_whole(tmp_path: Path) -> None:
    told(tmp_path)
    before = only(tmp_path)
    changed = {"verifiable/strict": {"value": 0.75, "low": 0.5, "high": 1.0, "n": 64}}
    assert told(tmp_path, DONE._replace(metrics=changed)) == []
    found = only(tmp_path)
    assert found.run.run_id == before.run.run_id
    assert found.summary["verifiable/strict"] == 0.75
    assert found.curve("policy/train/loss") == [(1, 0.5)]


@pytest.mark.parametrize("place", [{"project": "another"}, {"entity": "us"}, {"group": "mine"}])
def test_each_place_in_wandb_has_a_run_of_its_own(tmp_path: Path, place: dict[str, str]) -> None:
    for _ in range(2):
        told(tmp_path)
        told(tmp_path, **place)
    found = read_runs(tmp_path)
    assert len({one.run.run_id for one in found}) == len(found) == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"id": 3}', '{"id": "../up", "status": "finished", "content": ""}'])
def test_without_a_note_that_can_be_read_it_is_a_new_run(tmp_path: Path, text: str) -> None:
    told(tmp_path)
    (note,) = (tmp_path / "wandb/told").iterdir()
    first = json.loads(note.read_text())["id"]
    note.write_text(text)
    told(tmp_path)
    assert {one.run.run_id for one in read_runs(tmp_path)} == {first, json.loads(note.read_text())["id"]}
    assert len(read_runs(tmp_path)) == 2
