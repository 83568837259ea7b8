"""What this machine has, found without importing torch."""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, NamedTuple


def cuda_devices() -> int:
    """Return the number of CUDA devices that torch could use: 0 without a driver or with a CPU build of torch.

    Asks the driver itself (cuInit, cuDeviceGetCount), which honours CUDA_VISIBLE_DEVICES as torch does.
    """
    return _driver_and_count()[1]


def cuda_uuids() -> list[str]:
    """Return the UUIDs of the devices that `cuda_devices` counts, in the driver's order; "" where it does not tell one.

    Asked in a process of its own, since the driver reads CUDA_VISIBLE_DEVICES but once in a process's life.

    Raises:
        CalledProcessError: That process failed.
    """
    code = "import json; from notus_exp.machine import cuda; print(json.dumps(cuda.ask_uuids()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    found: list[str] = json.loads(done.stdout)
    return found


def ask_uuids() -> list[str]:
    """Return what `cuda_uuids` does, asked in this process (cuDeviceGetUuid; its second version knows MIG's parts)."""
    driver, count = _driver_and_count()
    ask = getattr(driver, "cuDeviceGetUuid_v2", None) or getattr(driver, "cuDeviceGetUuid", None)
    found = []
    for index in range(count):
        device, told = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
        failed = driver.cuDeviceGet(ctypes.byref(device), index) or ask is None or ask(ctypes.byref(told), device)
        found.append("" if failed else str(uuid.UUID(bytes=bytes(told))))
    return found


class CudaModel(NamedTuple):
    """What a CUDA device is: its name, and its memory in GB (1e9 bytes); "unknown" and 0 where the driver is silent."""

    name: str
    memory_gb: float


def cuda_models() -> list[CudaModel]:
    """Return what each of the devices is that `cuda_devices` counts (cuDeviceGetName, cuDeviceTotalMem)."""
    driver, count = _driver_and_count()
    return [CudaModel(_name(driver, index), _memory_gb(driver, index)) for index in range(count)]


def _driver_and_count() -> tuple[Any, int]:
    """Return CUDA's driver and the number of devices that torch could use: 0 without one or with a CPU build."""
    try:
        if importlib.metadata.version("torch").endswith("+cpu"):
            return None, 0
        driver = ctypes.CDLL("libcuda.so.1")
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None, 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return driver, 0
    return driver, count.value


def describe() -> dict[str, str | int]:
    """Return what run.json and manifests say of the machine; `cuda_names` only where there are CUDA devices.

    `processor` is the kernel's name of it (/proc/cpuinfo), "unknown" where it does not tell.
    """
    driver, count = _driver_and_count()
    found: dict[str, str | int] = {
        "machine": platform.machine(),
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "cuda_devices": count,
    }
    names = sorted({_name(driver, index) for index in range(count)})
    return found | {"cuda_names": ", ".join(names)} if names else found


def _processor() -> str:
    """Return what the kernel calls the processor: machines of as many cores differ by several times in speed."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def _name(driver: Any, index: int) -> str:
    """Return what the driver calls a device (cuDeviceGetName), "unknown" where it does not tell."""
    device, told = ctypes.c_int(0), ctypes.create_string_buffer(128)
    failed = driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDeviceGetName(told, len(told), device)
    return "unknown" if failed else told.value.decode(errors="replace")


def _memory_gb(driver: Any, index: int) -> float:
    device, told = ctypes.c_int(0), ctypes.c_size_t(0)
    ask = getattr(driver, "cuDeviceTotalMem_v2", None)
    failed = driver.cuDeviceGet(ctypes.byref(device), index) or ask is None or ask(ctypes.byref(told), device)
    return 0.0 if failed else round(told.value / 1e9, 1)
