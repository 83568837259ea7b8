"""The version of a JSON file that is a contract: written as its key `format`, looked at before anything else is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from notus_exp.errors import UserError


class DamagedFileError(UserError):
    """A file that cannot be read for what it is: something cut it off or changed it."""


class NewerFormatError(UserError):
    """A file that only a newer notus-exp can read: it is not damaged, so it is neither called so nor written over."""


def read_object(path: Path, newest: int) -> dict[str, Any]:
    """Return the content of a JSON file, once it is known to be of a version that can be read.

    Args:
        path: The file; without `format` it is of version 1.
        newest: The newest version of this contract that this package reads.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged: not UTF-8, not JSON, or not an object.
        NewerFormatError: It is of a version that this package does not know.
    """
    content = parse_object(path)
    check_version(path, content.get("format", 1), newest)
    return content


def parse_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged: not UTF-8, not JSON, or not an object.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_kinds(content, {})
    return content


def check_version(path: Path, found: object, newest: int) -> None:
    """Refuse a version that this package does not know.

    Args:
        path: The file that says so.
        found: Its `format`.
        newest: The newest version that this package reads.

    Raises:
        NewerFormatError: Naming the file and both versions.
    """
    if isinstance(found, bool) or found not in range(1, newest + 1):
        raise NewerFormatError(
            f"{path} has format {json.dumps(found)}, and this version of notus-exp reads up to {newest}",
            "update notus-exp",
        )


def check_kinds(content: Any, kinds: Mapping[str, type], *, required: Iterable[str] = ()) -> None:
    """Check what readers rely on: that content is an object, and of which types its values are.

    Args:
        content: Parsed JSON.
        kinds: Key -> type of its value, where the key is there.
        required: Keys that must be there.

    Raises:
        ValueError: Naming the key.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it is of type {type(content).__name__} where an object belongs")
    for key in required:
        if key not in content:
            raise ValueError(f"it has no '{key}'")
    for key, kind in kinds.items():
        if key in content and not isinstance(content[key], kind):
            raise ValueError(f"its '{key}' is of type {type(content[key]).__name__}, not {kind.__name__}")


def refuse_newer(path: Path, newest: int) -> None:
    """Refuse to write over a file of a newer version; one that is missing or damaged may be written anew.

    Raises:
        NewerFormatError: Naming the file.
    """
    with suppress(FileNotFoundError, ValueError):
        read_object(path, newest)
