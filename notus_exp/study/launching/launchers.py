"""What Hydra's launchers for other processes and machines need beside their own configuration."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig


def settle(launcher: Launcher, hardware: DictConfig) -> None:
    """Give a launcher by ray its defaults; what the user sets under `hydra.launcher.ray` stays.

    Args:
        launcher: Any launcher of Hydra.
        hardware: The config's section `hardware`: on CUDA each run asks ray for its devices, else it sees none.
    """
    settings: Any = getattr(launcher, "ray_cfg", None)
    if settings is None:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray would report its use over the network
    if settings.init.get("address") or os.environ.get("RAY_ADDRESS"):
        settings.init.setdefault(
            "object_store_memory", None
        )  # a cluster that runs takes no size; Hydra's plugin sets one
    else:
        settings.init.setdefault("include_dashboard", False)
    if hardware.device == "cuda":
        settings.remote.setdefault("num_gpus", hardware.processes)


def cancel_submitted() -> None:
    """End the jobs that submitit runs or has queued; it leaves them to themselves when its launcher is interrupted."""
    if "submitit" not in sys.modules:
        return
    from submitit import Job

    for one in gc.get_objects():  # the launcher keeps them in a local variable
        if issubclass(type(one), Job):
            with suppress(Exception):  # one that has ended
                one.cancel(check=False)
