"""manifest.json: what an artifact is, what it was made from and what that cost; the last file written into it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from notus_exp.contracts.format import (
    SEAL,
    DamagedFileError,
    check_kinds,
    check_shape,
    check_version,
    parse_checked,
    seal_of,
    sealed,
)
from notus_exp.contracts.provenance import Provenance

FORMAT = 3
"""The version of manifest.json that is written, and the newest that is read.

Version 1 had no hashes and no seal, version 2 did not say what made the artifact. It is a version of its own so that
a package which knows version 2 alone says that it is too old, and does not take the artifact for damaged.
"""


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
        files: Relative path -> size in bytes.
        hashes: Relative path -> xxh3-128 (hex) of the content; empty where a manifest of version 1 was not checked yet.
        hashed: When the hashes of a manifest of version 1 were added, in ISO 8601, UTC: damage done before cannot be
            seen. None where they were taken when the artifact was made.
        contents: Input node name -> what stood for the input's content (`disk.keys.content_of`) when this was made
            from it.
        provenance: The attempts that made it, the one that finished it last: where a killed one was gone on with, its
            own comes first. Empty where that was not recorded: versions 1 and 2.
    """

    stage: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    hashed: str | None = None
    contents: dict[str, str] = field(default_factory=dict)
    provenance: list[Provenance] = field(default_factory=list)


class ManifestFile(TypedDict):
    """The file: as `Manifest`, whose settings are called `slice` here, as they are in the keys of artifacts.

    Attributes:
        format: Version of this file.
        slice: The settings that the stage was given.
        seal: sha256 of all the rest, by which a change of the file itself is noticed; in every version from 2 on.
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
    hashes: dict[str, str]
    hashed: str | None
    contents: dict[str, str]
    provenance: list[Provenance]
    seal: str


_OBJECTS = ("settings", "inputs", "versions", "facts", "files", "hashes", "contents")
_LATER = ("hashes", "hashed", "contents", "seal", "provenance")
"""What version 1 did not have."""


def manifest_file(manifest: Manifest) -> ManifestFile:
    """Return a manifest as the file holds it."""
    content = asdict(manifest)
    return cast(ManifestFile, sealed({"format": FORMAT, "slice": content.pop("settings"), **content}))


def read_manifest(path: Path) -> Manifest:
    """Return what a manifest.json says.

    Raises:
        FileNotFoundError: There is none, so the artifact is not complete.
        DamagedFileError: It cannot be read, or is not as it was written.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = parse_checked(path, _check)
        return _manifest(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "it is not a manifest"
        raise DamagedFileError(f"{path} cannot be read: {reason}", "the run that needs it makes it anew") from error


def _check(content: dict[str, Any], path: Path) -> None:
    """Check that a manifest is as it was written, of a version that can be read, and what readers rely on.

    Raises:
        ValueError: It is not.
        TypeError: It is no manifest.
        KeyError: Likewise.
        NewerFormatError: It is of a newer version.
    """
    version = content.get("format", 1)
    if version == 1 and not isinstance(version, bool):
        if later := sorted(content.keys() & {*_LATER}):
            raise ValueError(f"it has '{later[0]}', which version 1 has not")
    else:
        # before the version: what a damaged file says of itself is not believed
        if content.get(SEAL) != seal_of(content):
            raise ValueError("it is not what was written")
        check_version(path, version, FORMAT)
    manifest = _manifest(content)
    check_kinds(vars(manifest), dict.fromkeys(_OBJECTS, dict))
    check_shape(manifest.provenance, list[Provenance], "its 'provenance'")


def _manifest(content: dict[str, Any]) -> Manifest:
    own = {key: value for key, value in content.items() if key not in ("slice", "format", SEAL)}
    return Manifest(settings=content["slice"], **own)
