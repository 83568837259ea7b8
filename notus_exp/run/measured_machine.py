"""What was measured of this machine, kept in the cache; measured where it is missing, in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.disk.hashing import digest
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError, named_line
from notus_exp.machine import devices
from notus_exp.run.calibration import Calibration, Cost
from notus_exp.run.surroundings import surroundings

FILE = "calibration.json"
"""In the cache: what was measured, by a hash of machine, precision and versions."""
PATIENCE = 300
"""Seconds after which a measurement is given up."""


def kept(cache: Path, machine: Mapping[str, Any], say: Callable[[str], None]) -> Calibration | None:
    """Return what was measured on this machine before; None where nothing was.

    Args:
        cache: Folder of the cache.
        machine: What the measurement holds for: `measured_for`.
        say: Told where the file is damaged.
    """
    path = cache / FILE
    try:
        found = _all(path).get(digest(machine))
        return None if found is None else _read(found)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        say(f"{path} is not what a measurement of a machine wrote: it is not read, and is written anew by the next one")
        return None


def measured_for(here: Mapping[str, Any], hardware: Hardware, precision: str) -> dict[str, Any]:
    """Return what a measurement holds for: machine and device, precision, how it computes, libraries.

    Args:
        here: As `recorded.here` returned it.
        hardware: The profile.
        precision: In which is computed.
    """
    versions = surroundings(hardware, [])["versions"]
    libraries = {name: versions[name] for name in ("torch", "transformers", "trl")}
    means = [hardware.attention, hardware.generation_batch_size]
    return {"machine": dict(here), "precision": precision, "means": means, "libraries": libraries}


def measure(
    cache: Path, machine: Mapping[str, Any], hardware: Hardware, say: Callable[[str], None]
) -> Calibration | None:
    """Measure this machine in a process of its own, keep that in the cache, and return it; None where it fails, said.

    Args:
        cache: Folder of the cache, made where it is missing.
        machine: As `measured_for` returned it.
        hardware: The profile.
        say: Shows a line to the user.
    """
    say("measuring this machine once for the forecast, half a minute unless it is busy; calibrate=never leaves it out")
    command = [sys.executable, "-m", "notus_exp.run.calibration_process"]
    command += [hardware.device.name, machine["precision"], hardware.attention]
    command.append(str(hardware.generation_batch_size))
    try:
        with _device(hardware) as lease:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **lease.environment()},
                pass_fds=lease.descriptors,
            )
        found = json.loads(done.stdout.strip().splitlines()[-1])
        calibration = _read(found)
        with suppress(OSError):  # where nothing may be written, the next plan measures again
            cache.mkdir(parents=True, exist_ok=True)
            write_json(cache / FILE, _others(cache / FILE) | {digest(machine): {**found, "for": machine}})
    except (UserError, OSError, ValueError, IndexError, KeyError, TypeError, subprocess.SubprocessError) as error:
        told = error.stderr.strip().splitlines()[-1:] if isinstance(error, subprocess.CalledProcessError) else []
        say(f"this machine could not be measured: {told[0] if told else named_line(error)}")
        return None
    return calibration


def _device(hardware: Hardware) -> AbstractContextManager[devices.Lease]:
    """Hold a CUDA device, if one is free at once: others' work is not slowed down, nor measured."""
    if hardware.device is not Device.cuda:
        return nullcontext(devices.NO_LEASE)

    def refuse() -> None:
        raise UserError("other runs hold its CUDA devices", "wait for them")

    return devices.leased(1, devices.visible_devices(), refuse)


def _all(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError("no object")
    return content


def _others(path: Path) -> dict[str, Any]:
    """Return what was measured on other machines, nothing where that cannot be read: `kept` has said so."""
    try:
        return _all(path)
    except (OSError, ValueError, RecursionError):
        return {}


def _read(found: Mapping[str, Any]) -> Calibration:
    """Return a measurement; ValueError, TypeError or KeyError where it is none."""
    imports = float(found["imports"])
    train, score, decode = (Cost(*map(float, found[name])) for name in ("train", "score", "decode"))
    if not all(math.isfinite(one) and one >= 0 for one in (imports, *train, *score, *decode)):
        raise ValueError("no times")
    return Calibration(imports, train, score, decode)
