"""Artifacts: folders named by a key, complete when their manifest exists, published by one atomic rename.

What lies in one is what was written: the manifest has a hash of each file. Looking at an artifact compares sizes,
checking it compares contents; what a check found is noted, so that a file is read once on each machine and not again
while its inode, size and times stay as they were.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from notus_exp.contracts.format import DamagedFileError, check_shape
from notus_exp.contracts.manifest import Manifest, manifest_file, read_manifest
from notus_exp.contracts.provenance import Provenance
from notus_exp.disk.check_notes import Checked, read_notes, remove_notes, state_of, write_notes
from notus_exp.disk.files import EVENTS, MANIFEST
from notus_exp.disk.hashing import canonical, content_hash
from notus_exp.disk.json_files import write_json
from notus_exp.disk.keys import folder_name
from notus_exp.disk.locks import locked

PARTIAL = ".partial"
"""Ending of the folder in which an artifact is being made."""
SET_ASIDE = ".set-aside"
"""Ending of the folder of an artifact that was found damaged, or made from other bytes, and is made anew."""
MAKERS = ".provenance.json"
"""File in which a partial folder says which attempts worked on it."""
OTHERS = f".others{SET_ASIDE}"
"""Ending of the folder to which files are moved that lay in an artifact and were not written by its stage."""


class Found(NamedTuple):
    """What there is of an artifact.

    Attributes:
        manifest: Of an artifact that is complete and, as far as it was looked at, undamaged; else None.
        damage: What is wrong with one that is there, in one line; else None.
    """

    manifest: Manifest | None
    damage: str | None


ABSENT = Found(None, None)


class ArtifactStore:
    """The folder of all artifacts of one output folder; safe under several processes.

    Where a method is given a manifest `wanted`, that is what is asked for: stage, key, settings, inputs and versions.
    A manifest on the disk that says otherwise is not believed, whatever its folder is called.

    Args:
        root: `outputs/artifacts`; made when the first artifact is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        """Return the folder of an artifact, whether or not it exists."""
        return self.root / folder_name(stage, key)

    def partial(self, stage: str, key: str) -> Path:
        """Return the folder in which an artifact is being made."""
        return self.root / (folder_name(stage, key) + PARTIAL)

    def find(self, wanted: Manifest) -> Manifest | None:
        """Return the manifest of an artifact that is there, by the sizes of its files; None where it is to be made.

        Raises:
            NewerFormatError: It was made by a newer version.
        """
        return self.look(wanted).manifest

    def look(self, wanted: Manifest) -> Found:
        """Compare an artifact's manifest with what is asked for, and its files' sizes with the manifest.

        Raises:
            NewerFormatError: It was made by a newer version.
        """
        folder = self.path(wanted.stage, wanted.key)
        try:
            manifest = read_manifest(folder / MANIFEST)
        except FileNotFoundError:
            return Found(None, f"{folder} has no {MANIFEST}") if os.path.lexists(folder) else ABSENT
        except DamagedFileError as error:
            return Found(None, error.message)
        except OSError as error:
            return Found(None, f"{folder / MANIFEST} cannot be read: {error.strerror}")
        for what in ("stage", "key", "settings", "inputs", "versions"):
            if canonical(getattr(manifest, what)) != canonical(getattr(wanted, what)):
                return Found(None, f"{folder / MANIFEST} is of another artifact: its {what} is not what is asked for")
        damage = next(filter(None, (_other_size(folder / name, size) for name, size in manifest.files.items())), None)
        if damage is None and (others := _others(folder, manifest)):
            link = "a link, " if (folder / others[0]).is_symlink() else ""
            damage = f"{folder / others[0]} is {link}none of the files that were written"
        return Found(None, damage) if damage else Found(manifest, None)

    def told(self, stage: str, key: str) -> Manifest | None:
        """Return the manifest that lies in an artifact's folder; None where there is none that can be read."""
        with suppress(DamagedFileError, OSError):
            return read_manifest(self.path(stage, key) / MANIFEST)
        return None

    def check(self, wanted: Manifest) -> Found:
        """Look at an artifact and compare its files' contents with their hashes, where that was not done before.

        To a manifest of version 1, which has none, they are added, with the time.

        Raises:
            NewerFormatError: It was made by a newer version.
        """
        manifest, damage = self.look(wanted)
        if manifest is None:
            return Found(None, damage)
        return self.check_files(self.path(wanted.stage, wanted.key).name, manifest)

    def check_files(
        self, name: str, manifest: Manifest, *, again: bool = False, on_read: Callable[[int], None] | None = None
    ) -> Found:
        """Compare the contents of an artifact's files with their hashes; see `check`.

        Args:
            name: Of its folder.
            manifest: Its manifest.
            again: Whether files that were checked before are read again.
            on_read: Told how many bytes were read, each time.
        """
        folder = self.root / name
        before = {} if again else read_notes(self.root, name)
        checked: Checked = {}
        for file in manifest.files:
            path = folder / file
            try:
                state = state_of(path)
                known = before.get(file, [])
                found = str(known[-1]) if known[:-1] == state else content_hash(path, on_read)
            except OSError as error:
                return Found(None, f"{path} cannot be read: {error.strerror}")
            if manifest.hashes and found != manifest.hashes.get(file):
                return Found(None, f"{path} is not what was written: its content was changed")
            checked[file] = [*state, found]
        with suppress(OSError):  # where nothing may be written, nothing is noted: a check costs time again, no more
            if not manifest.hashes:
                manifest.hashes = {file: str(known[-1]) for file, known in checked.items()}
                manifest.hashed = _now()
                write_json(folder / MANIFEST, manifest_file(manifest))
            if checked != before:
                write_notes(self.root, name, checked)
        return Found(manifest, None)

    def manifests(self, stage: str) -> list[Manifest]:
        """Return the manifests of all artifacts of a stage that can be read."""
        found = []
        for path in sorted(self.root.glob(f"{folder_name(stage, '')}*/{MANIFEST}")):
            if path.parent.suffix not in (PARTIAL, SET_ASIDE):
                with suppress(DamagedFileError, OSError):  # whoever needs it says what is wrong with it
                    found.append(read_manifest(path))
        return found

    def note_contents(self, manifest: Manifest, contents: dict[str, str]) -> None:
        """Add to a manifest of version 1 what its inputs' contents are at the time when its own is first hashed."""
        manifest.contents = contents
        with suppress(OSError):
            write_json(self.path(manifest.stage, manifest.key) / MANIFEST, manifest_file(manifest))

    def clear(self, wanted: Manifest) -> list[Path]:
        """Move files and links out of an artifact that its stage did not write: what loads a folder loads them too.

        Of a link the link alone is moved. What was moved out before stays. Links to folders are moved out of what is
        in the making too: an attempt that goes on there would write to where they point.

        Returns:
            Where they lie now.
        """
        folder = self.path(wanted.stage, wanted.key)
        aside = folder.with_name(folder.name + OTHERS)
        try:
            found = [folder / name for name in _others(folder, read_manifest(folder / MANIFEST))]
        except (DamagedFileError, OSError):  # what is not there or damaged is dealt with as a whole
            found = []
        partial = self.partial(wanted.stage, wanted.key)
        found += [] if partial.is_symlink() else _links(partial)  # what is no folder of ours is not looked into
        moved: list[Path] = []
        if found:
            with locked(self._lock(wanted), lambda: None):
                for path in filter(os.path.lexists, found):
                    place = _free_place(aside, str(path.relative_to(partial if partial in path.parents else folder)))
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(path, place)  # also from another disk, where the artifact is a link to there
                    moved.append(place)
        return moved

    def set_aside(self, wanted: Manifest) -> Path:
        """Move an artifact out of the way, so that it is made anew; return where it lies now.

        One that was set aside before is removed. Where another process has done it, nothing is moved.
        """
        with locked(self._lock(wanted), lambda: None):
            return self._move(self.path(wanted.stage, wanted.key))

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
            manifest: What is to be made; its facts, seconds, files and hashes are filled in. Its provenance is what
                this attempt is made with, to which its time is added; what stands before is of attempts that were
                killed in the folder which is gone on with.
            make: Writes the files into the folder that it is given and returns the facts.
            resumable: Whether `make` continues what a killed attempt left in the folder; else it is given an empty one.
            on_wait: Called once if another process holds the lock.

        Returns:
            The manifest, and whether it was made here.
        """
        stage, key = manifest.stage, manifest.key
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self._lock(manifest), on_wait):
            found = self.find(manifest)
            if found:
                return found, False
            partial, final = self.partial(stage, key), self.path(stage, key)
            if partial.is_symlink() or (partial.is_dir() and not resumable):  # a file is not ours to remove
                with suppress(OSError):
                    _remove(partial)
            partial.mkdir(exist_ok=True)
            start, makers = time.monotonic(), _Makers(partial, manifest.provenance)
            try:
                makers.begin()
                manifest.facts = make(partial)
            except BaseException:
                if not resumable:  # what is half there helps nobody, and may be what fills the disk
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    makers.fail(round(time.monotonic() - start, 3))
                raise
            manifest.seconds = round(time.monotonic() - start, 3)
            manifest.provenance = makers.end(manifest.seconds)
            (partial / EVENTS).touch()
            (partial / MANIFEST).unlink(missing_ok=True)
            files = {str(path.relative_to(partial)): path for path in sorted(partial.rglob("*")) if path.is_file()}
            manifest.files = {name: path.stat().st_size for name, path in files.items()}
            manifest.hashes = {name: content_hash(path) for name, path in files.items()}
            write_json(partial / MANIFEST, manifest_file(manifest))
            self._move(final)  # what is there and not found is damaged
            partial.rename(final)
            _sync(self.root)
            written: Checked = {name: [*state_of(final / name), manifest.hashes[name]] for name in files}
            write_notes(self.root, final.name, written)
            return manifest, True

    def forget(self, name: str) -> None:
        """Remove a folder of this store, and what was noted about its files; of a link the link alone."""
        _remove(self.root / name)
        remove_notes(self.root, name)

    def _move(self, folder: Path) -> Path:
        aside = self.root / (folder.name + SET_ASIDE)
        if os.path.lexists(folder):
            _remove(aside)
            folder.rename(aside)
        return aside

    def _lock(self, manifest: Manifest) -> Path:
        return self.root / f"{folder_name(manifest.stage, manifest.key)}.lock"


class _Makers:
    """The attempts at making what lies in a partial folder, in a file there until the manifest has them.

    Args:
        partial: The folder.
        own: What this attempt is made with, in a list; empty where nobody says so, and nothing is noted then.
    """

    def __init__(self, partial: Path, own: Sequence[Provenance]) -> None:
        self._path = partial / MAKERS
        self._all: list[Provenance] = self._earlier()
        for one in own:
            self._all.append({**one, "started": _now(), "seconds": None})
        self._noted = bool(own)

    def begin(self) -> None:
        """Note this attempt, before it may be killed."""
        if self._noted:
            write_json(self._path, self._all)

    def fail(self, seconds: float) -> None:
        """Note how long this attempt took that did not finish; on a full disk it stays as one that was killed."""
        if self._noted:
            self._all[-1]["seconds"] = seconds
            with suppress(OSError):
                write_json(self._path, self._all)

    def end(self, seconds: float) -> list[Provenance]:
        """Return all attempts, this one with its time, and leave nothing behind."""
        if self._noted:
            self._all[-1]["seconds"] = seconds
        for path in (self._path, *self._path.parent.glob(f".{MAKERS}.*")):  # also one that was never finished
            path.unlink(missing_ok=True)
        return self._all

    def _earlier(self) -> list[Provenance]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            check_shape(found, list[Provenance])
        except (OSError, ValueError, RecursionError):  # no earlier attempt, or one that could not say so
            return []
        return cast(list[Provenance], found)


def _others(folder: Path, manifest: Manifest) -> list[str]:
    """Return what lies in a folder and its manifest does not name; hidden files are a system's, nothing loads them.

    A link to a folder is among them: whatever reads the artifact would read what lies there, which nobody compares.
    """
    files = [Path(place) / name for place, _, names in os.walk(folder) for name in names]  # does not enter links
    found = sorted(path.relative_to(folder) for path in (*files, *_links(folder)))
    return [
        str(path)
        for path in found
        if str(path) not in manifest.files and str(path) != MANIFEST and not path.name.startswith(".")
    ]


def _links(folder: Path) -> list[Path]:
    """Return the links to folders that lie in a folder, those below links not among them."""
    inside = (Path(place) / name for place, names, _ in os.walk(folder) for name in names)
    return [path for path in inside if path.is_symlink()]


def _free_place(aside: Path, name: str) -> Path:
    """Return where a file can be moved to, so that nothing which was moved there before is written over."""
    for number in itertools.count(1):
        place = aside / (name if number == 1 else f"again-{number}/{name}")
        above = itertools.takewhile(lambda one: one != aside.parent, place.parents)
        if not os.path.lexists(place) and all(one.is_dir() or not os.path.lexists(one) for one in above):
            return place
    raise AssertionError("there are more numbers than files")


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, never what a link points to; nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _other_size(path: Path, size: int) -> str | None:
    try:
        found = path.stat().st_size
    except OSError:
        return f"{path} is missing"
    return None if found == size else f"{path} has {found} bytes, not the {size} that were written"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
