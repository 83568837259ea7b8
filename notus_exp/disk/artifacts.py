"""Artifacts: folders named by a key, complete when their manifest exists, published by one atomic rename."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from notus_exp.contracts.manifest import Manifest, manifest_file, read_manifest
from notus_exp.disk.files import EVENTS, MANIFEST
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError


def make_key(
    stage: str, version: int, settings: dict[str, Any], inputs: dict[str, str], versions: dict[str, str]
) -> str:
    """Return the sha256 that names an artifact: of everything that may change its content."""
    return digest({"stage": stage, "version": version, "slice": settings, "inputs": inputs, "versions": versions})


class ArtifactStore:
    """The folder of all artifacts of one output folder; safe under several processes.

    Args:
        root: `outputs/artifacts`; made when the first artifact is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        """Return the folder of an artifact, whether or not it exists."""
        return self.root / f"{stage}-{key[:16]}"

    def partial(self, stage: str, key: str) -> Path:
        """Return the folder in which an artifact is being made."""
        return self.root / f"{stage}-{key[:16]}.partial"

    def find(self, stage: str, key: str) -> Manifest | None:
        """Return the manifest of a complete artifact, else None.

        Raises:
            UserError: If the artifact was damaged after it was published, or was made by a newer version.
        """
        folder = self.path(stage, key)
        try:
            manifest = read_manifest(folder / MANIFEST)
        except FileNotFoundError:
            return None
        for name, size in manifest.files.items():
            if not (folder / name).exists() or (folder / name).stat().st_size != size:
                raise UserError(f"{folder / name} is missing or was changed", f"delete {folder} and run again")
        return manifest

    def build(
        self,
        manifest: Manifest,
        make: Callable[[Path], dict[str, Any]],
        *,
        resumable: bool,
        on_wait: Callable[[], None] = lambda: None,
    ) -> tuple[Manifest, bool]:
        """Return the artifact's manifest, making the artifact if no other process does or did.

        Args:
            manifest: What is to be made; its facts, seconds and files are filled in.
            make: Writes the files into the folder that it is given and returns the facts.
            resumable: Whether `make` continues what a killed attempt left in the folder; else it is given an empty one.
            on_wait: Called once if another process holds the lock.

        Returns:
            The manifest, and whether it was made here.
        """
        stage, key = manifest.stage, manifest.key
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / f"{stage}-{key[:16]}.lock", on_wait):
            found = self.find(stage, key)
            if found:
                return found, False
            partial, final = self.partial(stage, key), self.path(stage, key)
            if not resumable:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            start = time.monotonic()
            manifest.facts = make(partial)
            manifest.seconds = round(time.monotonic() - start, 3)
            (partial / EVENTS).touch()
            manifest.files = {
                str(path.relative_to(partial)): path.stat().st_size
                for path in sorted(partial.rglob("*"))
                if path.is_file() and path.name != MANIFEST
            }
            write_json(partial / MANIFEST, manifest_file(manifest))
            partial.rename(final)
            _sync(self.root)
            return manifest, True


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader, or a crash, never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a file lock; the kernel frees it when the holder dies, however it dies."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
