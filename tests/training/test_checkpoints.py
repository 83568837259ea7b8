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
    damage_of,
    keep_only,
    mark_complete,
    newest_complete,
    one_before,
)


def checkpoint(folder: Path, step: int, *, mark: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"a": torch.arange(50.0)}, path / "adapter_model.safetensors")
    torch.save({"state": torch.arange(50.0)}, path / "optimizer.pt")
    torch.save({"last": step}, path / "scheduler.pt")
    torch.save({"cpu": torch.arange(50)}, path / "rng_state.pth")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
    if mark:
        mark_complete(path)
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
    assert newest_complete(tmp_path) == last
    do(last)
    said: list[str] = []
    assert newest_complete(tmp_path, said.append) == before, damage
    assert len(said) == 1
    assert said[0].startswith(f"{last} is damaged and passed over: ")


SEEN_WITHOUT_HASHES = [one for one in DAMAGES if "bit of the adapter" not in one[0] and "marker" not in one[0]]


@pytest.mark.parametrize(("damage", "do"), SEEN_WITHOUT_HASHES, ids=[name for name, _ in SEEN_WITHOUT_HASHES])
def test_a_checkpoint_with_a_marker_of_before_is_usable_and_checked_as_far_as_it_can_be(
    damage: str, do: Callable[[Path], object], tmp_path: Path
) -> None:
    path = checkpoint(tmp_path, 4, mark=False)
    (path / MARKER).touch()
    assert damage_of(path) is None
    do(path)
    assert damage_of(path) is not None, damage


def test_the_one_before_is_kept_until_the_next_is_complete(tmp_path: Path) -> None:
    first, second = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    keep_only(tmp_path, second, one_before(second))
    assert first.exists()
    third = checkpoint(tmp_path, 6, mark=False)
    assert one_before(second) == first
    mark_complete(third)
    keep_only(tmp_path, third, one_before(third))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-6"}


def test_a_checkpoint_without_a_marker_is_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, 2, mark=False)
    said: list[str] = []
    assert newest_complete(tmp_path, said.append) is None
    assert said == []
