"""A checkpoint is complete while its files are what was written; a damaged one is passed over for the one before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from notus_exp.training.checkpoints import (
    MARKER,
    CheckpointOwner,
    events_of,
    keep_only,
    mark_complete,
    newest_complete,
    one_before,
)


def owner(folder: Path, artifact: str = "policy-a", **inputs: str) -> CheckpointOwner:
    return CheckpointOwner(artifact, inputs or {"pairs": "p1"}, folder / "events.jsonl")


def checkpoint(folder: Path, step: int, *, mark: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"a": torch.arange(50.0)}, path / "adapter_model.safetensors")
    torch.save({"state": torch.arange(50.0)}, path / "optimizer.pt")
    torch.save({"last": step}, path / "scheduler.pt")
    torch.save({"cpu": torch.arange(50)}, path / "rng_state.pth")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
    if mark:
        mark_complete(path, owner(folder))
    return path


def flip(path: Path) -> None:
    """Flip a bit in the midst of the numbers that a file holds."""
    content = bytearray(path.read_bytes())
    numbers = torch.arange(20, 30, dtype=torch.int64 if path.name == "rng_state.pth" else torch.float32)
    content[content.index(numbers.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def raise_step(path: Path) -> None:
    state = path / "trainer_state.json"
    state.write_text(state.read_text().replace('"global_step": 4', '"global_step": 12'))


DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("no optimizer", lambda path: (path / "optimizer.pt").unlink()),
    ("no scheduler", lambda path: (path / "scheduler.pt").unlink()),
    ("a bit of the adapter", lambda path: flip(path / "adapter_model.safetensors")),
    ("a bit of the optimizer", lambda path: flip(path / "optimizer.pt")),
    ("another step", raise_step),
    ("a bit of the random state", lambda path: flip(path / "rng_state.pth")),
    ("a cut adapter", lambda path: (path / "adapter_model.safetensors").write_bytes(b"\x40")),
    ("an empty marker, as of before", lambda path: (path / MARKER).write_bytes(b"")),
    ("another marker", lambda path: (path / MARKER).write_text("{}")),
    ("half a marker", lambda path: (path / MARKER).write_text('{"step": 4, "fi')),
    ("the marker of another step", lambda path: path.joinpath(MARKER).write_bytes(_marker_of(path, 2))),
]


def _marker_of(path: Path, step: int) -> bytes:
    return (path.parent / f"checkpoint-{step}" / MARKER).read_bytes()


@pytest.mark.parametrize(("damage", "do"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_said(
    damage: str, do: Callable[[Path], object], tmp_path: Path
) -> None:
    before, last = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    assert newest_complete(tmp_path, owner(tmp_path)) == last
    do(last)
    said: list[str] = []
    assert newest_complete(tmp_path, owner(tmp_path), said.append) == before, damage
    assert len(said) == 1
    assert said[0].startswith(f"{last} is damaged and passed over: ")


def test_truncated_markers_prove_nothing_and_the_training_begins_anew(tmp_path: Path) -> None:
    for step in (2, 4):
        path = checkpoint(tmp_path, step)
        (path / MARKER).write_bytes(b"")
        flip(path / "adapter_model.safetensors")
    said: list[str] = []
    assert newest_complete(tmp_path, owner(tmp_path), said.append) is None
    assert [line.rpartition(": ")[2] for line in said] == ["its marker is empty"] * 2 + ["the training begins anew"]


def test_a_checkpoint_of_another_policy_or_of_other_inputs_is_refused_and_said(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 4)
    said: list[str] = []
    assert newest_complete(tmp_path, owner(tmp_path, "policy-b"), said.append) is None
    assert said[0] == f"{path} is passed over: it is a checkpoint of policy-a, not of policy-b"
    assert newest_complete(tmp_path, owner(tmp_path, pairs="p2"), said.append) is None
    assert "it was trained on another input: pairs has other content now" in said[2]
    assert newest_complete(tmp_path, owner(tmp_path)) == path


@pytest.mark.parametrize(
    ("events", "last"),
    [
        (b"one\ntwo\nthree\n", 4),
        (b"one\ntwo\nanything\xff", 4),
        (b"one\ntwp\nthree\n", 2),
        (b"one\n", 2),
        (b"other\nlines\n", None),
        (None, None),
    ],
)
def test_the_events_up_to_a_checkpoint_are_proven_by_it(events: bytes | None, last: int | None, tmp_path: Path) -> None:
    kept = tmp_path / "events.jsonl"
    for step, line in ((2, "one\n"), (4, "two\n")):
        with kept.open("a") as stream:
            stream.write(line)
        checkpoint(tmp_path, step)
    kept.unlink()
    if events is not None:
        kept.write_bytes(events)
    said: list[str] = []
    found = newest_complete(tmp_path, owner(tmp_path), said.append)
    assert (found and found.name) == (last and f"checkpoint-{last}")
    assert bool(said) == (last != 4)
    assert all(f"{kept} is not what was written" in line for line in said[:1])
    if found is not None:
        assert events_of(found) == {2: 4, 4: 8}[last or 0]


def test_the_one_before_is_kept_until_the_next_is_complete(tmp_path: Path) -> None:
    first, second = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    keep_only(tmp_path, second, one_before(second))
    assert first.exists()
    third = checkpoint(tmp_path, 6, mark=False)
    assert one_before(second) == first
    mark_complete(third, owner(tmp_path))
    keep_only(tmp_path, third, one_before(third))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-6"}


def test_a_checkpoint_without_a_marker_is_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, 2, mark=False)
    said: list[str] = []
    assert newest_complete(tmp_path, owner(tmp_path), said.append) is None
    assert said == []
