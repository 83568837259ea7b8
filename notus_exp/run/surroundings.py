"""What this process makes things with: the command, the machine, the libraries and the code's commit."""

from __future__ import annotations

import functools
import importlib.metadata
import subprocess
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.contracts.provenance import Surroundings
from notus_exp.disk.credentials import without_credentials
from notus_exp.machine.cuda import describe

NOT_HERE = ", which the machine has not"
"""What is noted behind the device of a profile where there is none such: what was made was not made on it."""
RECORDED_VERSIONS = ("notus-exp", "torch", "transformers", "trl", "peft", "datasets", "polars", "hydra-core", "wandb")


def surroundings(hardware: Hardware, command: list[str]) -> Surroundings:
    """Return what this process makes things with.

    Args:
        hardware: The profile.
        command: As `given_command` returned it in the process that the user started.
    """
    machine = describe()
    device = hardware.device.name
    if hardware.device is Device.cuda and not machine["cuda_devices"]:
        device += NOT_HERE
    profile: dict[str, str | int] = {"profile": hardware.name, "device": device, "processes": hardware.processes}
    return {
        "command": command,
        "hardware": profile | machine,
        "versions": {name: _version(name) for name in RECORDED_VERSIONS},
        "git_commit": _git_commit(),
    }


def given_command() -> list[str]:
    """Return the arguments of this process's run, without credentials: of a study's run those of its own arm."""
    job = HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN
    return [without_credentials(str(one)) for one in (HydraConfig.get().overrides.task if job else sys.argv[1:])]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with "-dirty" after uncommitted changes.

    Asked once in a process's life: what was imported does not change with the checkout.
    """
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
