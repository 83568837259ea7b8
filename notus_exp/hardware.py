"""What this machine has, found without importing torch, and how a profile is launched."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import sys

from notus_exp.schema import Hardware, Launch, Precision


def cuda_devices() -> int:
    """Return the number of CUDA devices that torch could use: 0 without a driver or with a CPU build of torch.

    Asks the driver itself (cuInit, cuDeviceGetCount), which honours CUDA_VISIBLE_DEVICES as torch does.
    """
    try:
        if importlib.metadata.version("torch").endswith("+cpu"):
            return 0
        driver = ctypes.CDLL("libcuda.so.1")
    except (importlib.metadata.PackageNotFoundError, OSError):
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def describe() -> dict[str, str | int]:
    """Return what run.json says of the machine."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "cuda_devices": cuda_devices(),
    }


def launch_command(hardware: Hardware, precision: Precision, job: str) -> list[str]:
    """Return the command that runs a worker's job as the profile says."""
    if hardware.launch is Launch.plain:
        return [sys.executable, "-m", "notus_exp.worker", job]
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
    return [*command, "-m", "notus_exp.worker", job]
