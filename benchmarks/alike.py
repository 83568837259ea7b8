"""What of two output folders that the same commands filled is not the same, as docs say it must be."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from notus_exp.disk.files import EVENTS, MANIFEST, MEASURED, UNEQUAL

NOT_RESULTS = (".lock", ".partial", ".set-aside", ".checked", ".in-use")


def differences(one: Path, other: Path, only: Collection[str] = ()) -> list[str]:
    """Return the files of artifacts that differ: in any byte, or in more than what `files.MEASURED` names.

    Args:
        one: An output folder.
        other: Another.
        only: Names of the artifacts' folders that are compared; none for all.
    """
    there, here = (
        {name: path for name, path in _files(root / "artifacts").items() if not only or Path(name).parts[0] in only}
        for root in (one, other)
    )
    lacking = [f"{name} is in one alone" for name in sorted(there.keys() ^ here.keys())]
    return lacking + [
        name for name in sorted(there.keys() & here.keys()) if _content(there[name]) != _content(here[name])
    ]


def _files(root: Path) -> dict[str, Path]:
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path for name, path in found.items() if not Path(name).parts[0].endswith(NOT_RESULTS)}


def _content(path: Path) -> Any:
    if path.name not in UNEQUAL:
        return path.read_bytes()
    if path.name == EVENTS:
        return [_kept(json.loads(line)) for line in path.read_text().splitlines()]
    content = _kept(json.loads(path.read_text()))
    if path.name == MANIFEST:
        del content["seal"]
        if content["stage"] == "reference":  # what this attempt did, not what the first one had to
            for counted in ("computed", "found", "tokens"):
                del content["facts"][counted]
        for of_files in ("files", "hashes"):
            content[of_files].pop(EVENTS, None)
    return content


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(inner) for key, inner in value.items() if key not in MEASURED}
    return [_kept(inner) for inner in value] if isinstance(value, list) else value
