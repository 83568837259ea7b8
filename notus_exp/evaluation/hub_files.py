"""Files that evaluations read: found locally or on a hub. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from notus_exp.disk.hashing import digest, file_digest
from notus_exp.disk.hub import hub_commit
from notus_exp.errors import UserError, first_line

HUB = re.compile(r"hf://(?P<kind>datasets|spaces|models)/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")
"""A file on the hub: hf://datasets/OWNER/NAME@REVISION/PATH, as the hub's own file system writes it."""


def locate(place: str, key: str) -> Path:
    """Return the local path of a file, downloading it where it is one on the hub.

    Args:
        place: A local path, or hf://datasets/OWNER/NAME@REVISION/PATH (or spaces, models).
        key: The setting that named it, for messages.

    Raises:
        UserError: There is no such file, or the hub cannot be reached and no earlier download is kept.
    """
    found = HUB.fullmatch(place)
    if found is None:
        path = Path(place).expanduser()
        if place.startswith("hf://"):
            raise UserError(f"{key}={place} is no file on the hub", "write hf://datasets/OWNER/NAME@REVISION/PATH")
        if not path.is_file():
            raise UserError(f"{key}: there is no file '{place}'", "relative paths start where the command is called")
        return path.absolute()
    kind, repo, revision = found["kind"].removesuffix("s"), found["repo"], found["revision"] or "main"
    commit = hub_commit(repo, revision, kind)
    if commit is None:
        raise UserError(
            f"{key}: {place} cannot be downloaded: the hub cannot be reached",
            f"go online, or give a local copy with {key}=FILE; no judge, judge=mock neither, brings prompts of its own"
            if key.endswith((".prompts", ".questions"))
            else f"go online, or give a local copy with {key}=FILE",
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, found["path"], repo_type=kind, revision=commit))
    except Exception as error:  # each release of the hub's client has its own errors: refused, no such file
        raise UserError(
            f"{key}: {place} cannot be downloaded: {first_line(error)}", f"give a local copy with {key}=FILE"
        ) from error


def content_digest(path: Path) -> str:
    """Return the sha256 that stands for a file in a key: of its format and content, not of where it lies."""
    return digest([_format(path), file_digest(path)])


def _format(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]
