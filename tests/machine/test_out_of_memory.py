"""That memory ran out is known by the exception, whoever raised it, and by what the kernel counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from notus_exp.machine import out_of_memory
from notus_exp.machine.out_of_memory import is_out_of_memory


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
        caused(ValueError("the stage failed"), MemoryError()),
    ],
)
def test_these_mean_it(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("out of memory"), OSError(28, "No space left on device")]
)
def test_these_do_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_a_real_allocation_that_is_too_large_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_kernels_count_is_read_from_either_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "oom_control", tmp_path / "events"
    monkeypatch.setattr(out_of_memory, "COUNTERS", (second, first))
    assert out_of_memory.ended_for_memory() == 0
    first.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert out_of_memory.ended_for_memory() == 2
    second.write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n")
    assert out_of_memory.ended_for_memory() == 3
