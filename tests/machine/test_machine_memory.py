"""How much memory there is: the machine's, or what a control group leaves of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from notus_exp.machine import memory_size as memory

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/job\n", {"job/memory.max": "5000"}, 5000),
        ("0::/job/step\n", {"job/memory.max": "4000", "job/step/memory.max": "max"}, 4000),
        ("0::/job\n", {"memory.max": "3000"}, 3000),  # a container sees its own group as the root
        ("0::/job\n", {"job/memory.max": "max"}, PHYSICAL),
        ("4:memory:/box\n0::/\n", {"memory/box/memory.limit_in_bytes": "2000"}, 2000),
        ("4:memory:/box\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, PHYSICAL),
        ("4:cpu:/box\n", {"cpu/box/memory.limit_in_bytes": "1"}, PHYSICAL),
        ("0::/job\n", {}, PHYSICAL),
    ],
)
def test_the_limit_of_a_control_group_counts(
    own: str, limits: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(own)
    for name, value in limits.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    assert memory.machine_bytes() == expected


def test_without_a_device_there_is_no_memory_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cuda_models", list)
    assert memory.cuda_bytes() is None
