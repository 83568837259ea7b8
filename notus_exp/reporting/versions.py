"""Which version of this package and of its libraries is installed."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGE = "notus-exp"
LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "hydra-core", "omegaconf", "optuna",
             "wandb", "polars")  # fmt: skip
"""Those that decide what a run computes, and how it is configured, searched and followed."""


def versions() -> list[str]:
    """Return lines with the package and Python, then a library each; nothing is imported for it."""
    return [
        f"{PACKAGE} {_version(PACKAGE)}, Python {platform.python_version()}",
        *(f"  {library} {_version(library)}" for library in LIBRARIES),
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
