"""What devices can do at most by their makers' data sheets: arithmetic and memory, by a part of their name."""

from __future__ import annotations

from typing import NamedTuple


class Peak(NamedTuple):
    """Of a device, dense, without sparsity.

    Attributes:
        half: 10^12 multiplications and additions a second in bfloat16 and float16 on tensor cores, summed in float32.
        single: Those in float32 off the tensor cores: TF32 is not used here.
        bandwidth: 10^9 bytes a second between the device and its memory.
    """

    half: float
    single: float
    bandwidth: float


PEAKS: dict[str, Peak] = {
    "A100 40GB": Peak(312, 19.5, 1555),  # NVIDIA A100 data sheet, June 2021: PCIe and SXM
    "A100": Peak(312, 19.5, 1935),  # NVIDIA A100 data sheet, June 2021: 80 GB PCIe; 2,039 as SXM
    "H100 PCIe": Peak(756, 51, 2000),  # NVIDIA H100 data sheet, 2023; half of the figures with sparsity
    "H100 NVL": Peak(835, 60, 3900),  # NVIDIA H100 NVL data sheet, 2024
    "H100": Peak(989, 67, 3350),  # NVIDIA H100 data sheet, 2023: SXM
    "H200 NVL": Peak(835, 60, 4800),  # NVIDIA H200 data sheet, 2024
    "H200": Peak(989, 67, 4800),  # NVIDIA H200 data sheet, 2024: SXM
    "A10": Peak(125, 31.2, 600),  # NVIDIA A10 data sheet, 2021
    "A40": Peak(149.7, 37.4, 696),  # NVIDIA A40 data sheet, 2021
    "L4": Peak(121, 30.3, 300),  # NVIDIA L4 data sheet, 2023; half of the figures with sparsity
    "L40S": Peak(362, 91.6, 864),  # NVIDIA L40S data sheet, 2023
    "RTX 3090": Peak(71, 35.6, 936),  # NVIDIA Ampere GA102 whitepaper, 2021, appendix A
    "RTX 4090": Peak(165.2, 82.6, 1008),  # NVIDIA Ada GPU architecture whitepaper, 2022, appendix A
}
"""Words of a CUDA device's name -> its peak; of several that fit the longest counts."""


def peak_of(device: str) -> Peak | None:
    """Return the peak of a device by its name as CUDA has it; None where it is not known, as of a processor."""
    words = device.casefold().replace("-", " ").split()
    if "laptop" in words:
        return None
    for name, peak in sorted(PEAKS.items(), key=lambda item: -len(item[0])):
        if _within(name.casefold().split(), words):
            return peak
    return None


def tflops(peak: Peak, precision: str) -> float:
    """Return a peak in float32, bfloat16 or float16, in 10^12 multiplications and additions a second."""
    return peak.single if precision == "float32" else peak.half


def _within(wanted: list[str], words: list[str]) -> bool:
    """Say whether words hold others in their order, such as `A100 40GB` in `NVIDIA A100-SXM4-40GB`."""
    left = iter(words)
    return all(word in left for word in wanted)
