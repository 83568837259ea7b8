"""Check that what is installed is within the bounds of pyproject.toml: `python benchmarks/gpu/bounds.py`."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def unmet(requirements: list[str]) -> list[str]:
    """Return a sentence for each requirement that is not met here."""
    found = []
    for text in requirements:
        one = Requirement(text)
        if one.marker and not one.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{one} is not installed")
            continue
        if not one.specifier.contains(version, prereleases=True):
            found.append(f"{one} is wanted, and {version} is installed")
    return found


def main() -> int:
    """Tell what is not met; return how the process ends."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    problems = unmet(project["dependencies"])
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    import notus_exp

    print(f"notus_exp is imported from {Path(notus_exp.__file__).parent}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
