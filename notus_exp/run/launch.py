"""How a hardware profile starts a worker's process."""

from __future__ import annotations

import sys

from notus_exp.config.hardware_settings import Hardware, Launch
from notus_exp.config.training_settings import Precision


def launch_command(hardware: Hardware, precision: Precision, job: str) -> list[str]:
    """Return the command that runs a worker's job as the profile says."""
    if hardware.launch is Launch.plain:
        return [sys.executable, "-m", "notus_exp.run.worker_process", job]
    mixed = {Precision.float32: "no", Precision.bfloat16: "bf16", Precision.float16: "fp16"}[precision]
    command = ["accelerate", "launch", f"--num_processes={hardware.processes}", f"--mixed_precision={mixed}"]
    if hardware.zero_stage is not None:
        device = "cpu" if hardware.offload else "none"
        command += [
            "--use_deepspeed",
            f"--zero_stage={hardware.zero_stage}",
            f"--offload_optimizer_device={device}",
            f"--offload_param_device={device}",
            "--zero3_init_flag=true",
            "--zero3_save_16bit_model=true",
        ]
    return [*command, "-m", "notus_exp.run.worker_process", job]
