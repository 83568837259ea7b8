"""A virtual environment that sees torch, transformers and what they need, and nothing else: `bare_venv.py FOLDER`.

It stands for an offline machine in the rehearsal of pack.sh. Its packages are links to those of the environment that
runs this.
"""

from __future__ import annotations

import sys
import venv
from importlib import metadata
from pathlib import Path

from packing import PRESENT, needed


def main() -> None:
    """Make it."""
    folder = Path(sys.argv[1])
    venv.create(folder, with_pip=True, clear=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / f"python{version}" / "site-packages"
    for name in sorted(needed(PRESENT, version)):
        distribution = metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
            there = Path(str(distribution.locate_file(top)))
            if there.exists() and not (site / top).exists():
                (site / top).symlink_to(there)


if __name__ == "__main__":
    main()
