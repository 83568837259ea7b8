"""Peaks of devices by the names that CUDA and profiles give them."""

from __future__ import annotations

import pytest

from notus_exp.machine.peaks import PEAKS, peak_of, tflops


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("A100 40GB", "A100 40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA A1000", None),
        ("NVIDIA RTX 4090 Laptop GPU", None),
        ("cpu", None),
    ],
)
def test_a_device_is_found_by_its_words(device: str, name: str | None) -> None:
    assert peak_of(device) == (PEAKS[name] if name else None)


def test_a_peak_is_of_a_precision() -> None:
    peak = PEAKS["A100"]
    assert [tflops(peak, precision) for precision in ("float32", "bfloat16", "float16")] == [19.5, 312, 312]
