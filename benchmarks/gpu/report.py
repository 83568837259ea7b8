"""Put the tables that the measurements left into one page: `python report.py FOLDER PAGE-FOLDER [--rehearse] NAME...`.

A measurement without a table is a row too: how it ended is in NAME.log.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

from measuring import GB, ROOT, reason

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "polars", "deepspeed", "bitsandbytes", "vllm")


NOT_WANTED = "NO"
"""A cell that says that something is not as it is wanted."""


def main() -> int:
    """Write the page and say where it is; return 1 where a table is missing or something is not as wanted."""
    rehearsed = "--rehearse" in sys.argv
    folder, pages, *names = (argument for argument in sys.argv[1:] if argument != "--rehearse")
    device, told = surroundings()
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    page = Path(pages) / f"gpu-{'rehearsal' if rehearsed else slug}.md"
    parts = [
        f"# {'A rehearsal on the CPU' if rehearsed else device}",
        told,
        *(part(Path(folder), name) for name in names),
    ]
    if rehearsed:
        parts.insert(1, "Tiny sizes: that every measurement runs to its end is all that this shows.")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(page)
    return int(not all(as_wanted(Path(folder) / f"{name}.json") for name in names))


def as_wanted(table: Path) -> bool:
    """Say whether a measurement left its table, and no cell says NO."""
    if not table.is_file():
        return False
    return all(NOT_WANTED not in row for row in json.loads(table.read_text(encoding="utf-8"))["rows"])


def surroundings() -> tuple[str, str]:
    """Return the device's name, and a paragraph on machine, libraries and commit."""
    import torch

    device, memory = "cpu", ""
    if torch.cuda.is_available():
        known = torch.cuda.get_device_properties(0)
        device = known.name
        memory = (
            f", {torch.cuda.device_count()} device(s) of {known.total_memory / GB:.1f} GB, CUDA {torch.version.cuda}"
        )
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    today = datetime.datetime.now(datetime.UTC).date()
    return device, (
        f"`bash benchmarks/gpu/accept.sh` at commit {commit()}, {today}: {device}{memory}; "
        f"Python {platform.python_version()}, {', '.join(versions)}."
    )


def commit() -> str:
    """Return the commit of this checkout, with a mark where files differ from it; "unknown" without git."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def part(folder: Path, name: str) -> str:
    """Return a measurement's part of the page."""
    table, log = folder / f"{name}.json", folder / f"{name}.log"
    if not table.is_file():
        why = reason(log) if log.is_file() else ""
        return f"## {name}\n\n| measurement | end |\n|---|---|\n| {name} | failed: {why or 'no table'} |"
    content = json.loads(table.read_text(encoding="utf-8"))
    rows = [content["columns"], ["---"] * len(content["columns"]), *content["rows"]]
    lines = ["| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n\n".join([f"## {content['title']}", "\n".join(lines), *content["words"]])


if __name__ == "__main__":
    sys.exit(main())
