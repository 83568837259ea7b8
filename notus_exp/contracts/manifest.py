"""manifest.json: what an artifact is, what it was made from and what that cost; the last file written into it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from notus_exp.contracts.format import DamagedFileError, check_kinds, read_object

FORMAT = 1
"""The version of manifest.json that is written, and the newest that is read."""


@dataclass
class Manifest:
    """What an artifact is, what it was made from and what that cost.

    Attributes:
        stage: Name of the stage.
        key: Full sha256 of stage, version, settings and input keys.
        settings: The settings that the stage was given.
        inputs: Input node name -> key.
        versions: Library versions that the key includes.
        facts: Counts that the stage returned.
        seconds: Wall time that making it took, over all attempts of the process that finished it.
        files: Relative path -> size in bytes, to notice damage.
    """

    stage: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)


class ManifestFile(TypedDict):
    """The file: as `Manifest`, whose settings are called `slice` here, as they are in the keys of artifacts.

    Attributes:
        format: Version of this file.
        slice: The settings that the stage was given.
    """

    format: int
    slice: dict[str, Any]
    stage: str
    key: str
    inputs: dict[str, str]
    versions: dict[str, str]
    facts: dict[str, Any]
    seconds: float
    files: dict[str, int]


_OBJECTS = ("settings", "inputs", "versions", "facts", "files")


def manifest_file(manifest: Manifest) -> ManifestFile:
    """Return a manifest as the file holds it."""
    content = asdict(manifest)
    return cast(ManifestFile, {"format": FORMAT, "slice": content.pop("settings"), **content})


def read_manifest(path: Path) -> Manifest:
    """Return what a manifest.json says.

    Raises:
        FileNotFoundError: There is none, so the artifact is not complete.
        DamagedFileError: It cannot be read.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = read_object(path, FORMAT)
        content.pop("format", None)
        manifest = Manifest(settings=content.pop("slice"), **content)
        check_kinds(vars(manifest), dict.fromkeys(_OBJECTS, dict))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedFileError(f"{path} cannot be read", f"delete {path.parent} and run again") from error
    return manifest
