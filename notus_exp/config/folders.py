"""Where the configuration lies: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

import importlib.resources
from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the configuration: inside an installed package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("notus_exp")))
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def sweeps_dir() -> Path:
    """Return the folder of the studies: beside the configuration."""
    return conf_dir().with_name("sweeps")
