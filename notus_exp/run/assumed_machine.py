"""What stages may take on a machine that is not this one: from its devices' data sheets and two assumptions.

Training and scoring are bound by arithmetic, 2 FLOPs a parameter and token forward and 6 with gradients (Kaplan et al.
2020, "Scaling laws for neural language models", section 2.1), at `USED` of the peak; answers, a token at a time, by
reading the weights, at `READ` of the memory's bandwidth. What devices say to each other is not counted.
"""

from __future__ import annotations

from typing import NamedTuple

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Stage
from notus_exp.machine.peaks import peak_of, tflops
from notus_exp.run.calibration import FACTOR, Calibration, Cost

USED = 0.4
"""Of a device's peak that training and scoring reach: 0.46 was published of a far larger model (Chowdhery et al. 2022,
"PaLM", table 3), about 0.4 to 0.5 of models of 7 billion parameters."""
READ = 0.5
"""Of a memory's bandwidth that answering reaches: taken, not measured."""
LOADING = 60.0
"""Seconds to import libraries and to load a model: taken, not measured."""
SHARED = (Stage.sft, Stage.reference, Stage.policy, Stage.likelihoods, Stage.generations, Stage.responses)
"""Stages that all processes make together."""


class Assumed(NamedTuple):
    """A machine that is not here.

    Attributes:
        calibration: What its work costs, of one device.
        processes: Devices that share a stage.
        words: What is assumed, for a reader.
    """

    calibration: Calibration
    processes: int
    words: str

    def share(self, stage: Stage) -> float:
        """Return the part of a stage's work that one device has."""
        return 1 / self.processes if stage in SHARED else 1.0


def assumed(hardware: Hardware, precision: str, parameters: int) -> Assumed | None:
    """Return what a profile's machine is taken to do; None where the profile names no device of the table.

    Args:
        hardware: The profile, with `device_name`.
        precision: float32, bfloat16 or float16.
        parameters: Of the model, which are read for each token that is answered.
    """
    peak = peak_of(hardware.device_name) if hardware.device_name else None
    if peak is None:
        return None
    second = tflops(peak, precision) * 1e12 * USED
    reading = parameters * (4 if precision == "float32" else 2) / (peak.bandwidth * 1e9 * READ)
    costs = Cost(0.0, 6 / second), Cost(0.0, 2 / second), Cost(reading, 2 / second)
    parts = [
        f"assuming {hardware.processes} x {hardware.device_name} at {USED:.0%} of {tflops(peak, precision):g} TFLOP/s",
        f"answers as long as allowed at {READ:.0%} of {peak.bandwidth:,.0f} GB/s",
        "other texts a third of what is allowed",
        *(["nothing for moving what is offloaded"] if hardware.offload else []),
        f"within a factor of about {FACTOR:g}",
    ]
    return Assumed(Calibration(LOADING, *costs), hardware.processes, ", ".join(parts))
