"""Keys: what names an artifact, and what stands for what it holds."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk.files import FOR_PEOPLE, MANIFEST
from notus_exp.disk.hashing import digest


def make_key(
    stage: str, version: int, settings: dict[str, Any], inputs: dict[str, str], versions: dict[str, str]
) -> str:
    """Return the sha256 that names an artifact: of everything that may change its content."""
    return digest({"stage": stage, "version": version, "slice": settings, "inputs": inputs, "versions": versions})


def folder_name(stage: str, key: str) -> str:
    """Return the name of an artifact's folder."""
    return f"{stage}-{key[:16]}"


def is_folder_name(name: str) -> bool:
    """Say whether a name is one that `folder_name` gives, so that a folder with it is an artifact's."""
    return re.fullmatch(r"[a-z_]+-[0-9a-f]{16}", name) is not None


def content_of(manifest: Manifest) -> str | None:
    """Return what stands for the content that other stages read of an artifact; None where it was not hashed yet."""
    if not manifest.hashes:
        return None
    read = {
        name: value
        for name, value in manifest.hashes.items()
        if not any(PurePosixPath(name).match(pattern) for pattern in FOR_PEOPLE)
    }
    return digest(read)[:32]


def contents_of(inputs: dict[str, Path]) -> dict[str, str]:
    """Return what stands for the content of each input's folder; one that was not hashed yet is left out."""
    manifests = {use: folder / MANIFEST for use, folder in inputs.items()}
    found = {use: content_of(read_manifest(path)) for use, path in manifests.items() if path.exists()}
    return {use: content for use, content in found.items() if content is not None}
