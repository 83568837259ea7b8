"""What lies below `artifacts/`: how large, how old, which runs refer to it; and removing what none refers to.

Whose name no stage gives is not an artifact and nobody's business here; files that were moved out of artifacts, as no
stage wrote them, are taken for the user's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.run_file import RunFile, read_run_file
from notus_exp.disk.artifacts import OTHERS, PARTIAL, SET_ASIDE, ArtifactStore
from notus_exp.disk.files import MANIFEST, RUN_JSON
from notus_exp.disk.in_use import names_in_use, pruning
from notus_exp.disk.keys import content_of, folder_name, is_folder_name
from notus_exp.errors import UserError

_UNITS = ("B", "kB", "MB", "GB", "TB")
COMPLETE, IN_THE_MAKING, MOVED = "complete", "in the making", "set aside"
MOVED_OUT = "moved out of an artifact"
"""Files that no stage wrote: perhaps the user's, and removed only where that is asked for."""
NO_ARTIFACT = "not an artifact"
_STATES = {"": COMPLETE, PARTIAL: IN_THE_MAKING, OTHERS: MOVED_OUT, SET_ASIDE: MOVED}
"""Ending of a name -> state; the longer one of two that fit stands first."""


class Entry(NamedTuple):
    """A folder below `artifacts/`.

    Attributes:
        name: Of the folder.
        state: `complete`, `in the making` (or left by a process that died), `set aside`, `moved out of an artifact`
            (what no stage wrote, and so perhaps the user's), or `not an artifact`.
        size: Bytes of all its files.
        made: When it was made, in seconds since 1970, as its manifest says, whenever it was copied; where that does not
            say it, when something in it was written last.
        runs: The runs that refer to it, by name.
        used: Whether a process uses it now.
        link: Whether it is a link to a folder elsewhere.
    """

    name: str
    state: str
    size: int
    made: float
    runs: list[str]
    used: bool
    link: bool


class Verified(NamedTuple):
    """What checking all of an artifact's content found.

    Attributes:
        name: Of the folder.
        size: Bytes.
        since: Where the manifest had no hashes when the artifact was made, the time at which they were added.
        damage: What is wrong, in one line; None where nothing is.
        runs: The runs that refer to it.
        artifact: Whether it is one at all; what else lies there is not read.
    """

    name: str
    size: int
    since: str | None
    damage: str | None
    runs: list[str]
    artifact: bool


def entries(outputs: Path) -> list[Entry]:
    """Return what lies below an output folder's `artifacts/`, by name.

    Raises:
        UserError: There is no such folder, or a run.json cannot be read or says nothing of its stages, so that what is
            referred to is not known; or what a process uses is not.
    """
    store = _store(outputs)
    users = _users(outputs)
    keep_partial = users.pop("", [])
    used = names_in_use(store.root)
    found = []
    for path in sorted(store.root.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        state = _state(path.name)
        name = path.name.removesuffix(PARTIAL)
        runs = users.get(name, []) + (keep_partial if state == IN_THE_MAKING else [])
        size, modified = _extent(path)
        made = (_made(path) if state == COMPLETE else None) or modified
        found.append(Entry(path.name, state, size, made, sorted({*runs}), name in used, path.is_symlink()))
    return found


def removable(found: list[Entry], *, moved_out: bool = False) -> list[Entry]:
    """Return the artifacts that no run refers to and no process uses.

    Args:
        found: What lies there.
        moved_out: Whether files that were moved out of artifacts, as no stage wrote them, are among them.
    """
    kept = {NO_ARTIFACT} if moved_out else {NO_ARTIFACT, MOVED_OUT}
    return [entry for entry in found if not entry.runs and not entry.used and entry.state not in kept]


def prune(outputs: Path, *, moved_out: bool = False) -> list[Entry]:
    """Remove what no run refers to and no process uses; return what was removed. Of a link the link alone is removed.

    While it removes, runs that are about to start wait. An artifact that is being made is locked by who makes it, and
    a run names what it uses before it looks for it, so nothing is taken from under a run.

    Args:
        outputs: The output folder.
        moved_out: As in `removable`.

    Raises:
        UserError: As `entries`.
    """
    store = _store(outputs)
    with pruning(store.root):
        removed = removable(entries(outputs), moved_out=moved_out)
        for entry in removed:
            store.forget(entry.name)
    return removed


def verify(outputs: Path, move: Callable[[float, float], None] | None = None) -> list[Verified]:
    """Read every file of every complete artifact and compare it with what was written.

    A manifest of version 1 has no hashes; they are added, and damage from before cannot be seen.

    Args:
        outputs: The output folder.
        move: Told now and then how many bytes were read, and of how many.

    Raises:
        UserError: As `entries`.
    """
    store = _store(outputs)
    lying = entries(outputs)
    found = [entry for entry in lying if entry.state == COMPLETE]
    read, total = 0, sum(entry.size for entry in found)

    def on_read(size: int) -> None:
        nonlocal read
        read += size
        if move:
            move(read, total)

    contents: dict[str, str] = {}
    looks = {entry.name: _read(store, entry.name, on_read) for entry in found}
    for manifest, _ in looks.values():
        content = content_of(manifest) if manifest else None
        if manifest and content:
            contents[manifest.key] = content
    checked = []
    for entry in found:
        manifest, damage = looks[entry.name]
        if manifest:
            other = [
                use
                for use, content in manifest.contents.items()
                if contents.get(manifest.inputs.get(use, ""), content) != content
            ]
            damage = f"it was made from another content of {', '.join(other)} than lies there now" if other else None
        since = manifest.hashed if manifest else None
        checked.append(Verified(entry.name, entry.size, since, damage, entry.runs, artifact=True))
    others = [entry for entry in lying if entry.state == NO_ARTIFACT]
    return [*checked, *(Verified(one.name, one.size, None, None, [], artifact=False) for one in others)]


def age_in_words(when: float) -> str:
    """Return how long ago that was, in the largest unit of which there is at least one."""
    seconds = max(0.0, time.time() - when)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size_in_words(count: float) -> str:
    """Return a number of bytes with three digits that count, in the largest unit of which there is at least one."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"


def _store(outputs: Path) -> ArtifactStore:
    root = outputs / "artifacts"
    if not root.is_dir():
        raise UserError(f"{outputs} has no folder artifacts", "give the output folder of runs, such as outputs")
    return ArtifactStore(root)


def _state(name: str) -> str:
    fits = (state for ending, state in _STATES.items() if is_folder_name(name.removesuffix(ending)))
    return next(fits, NO_ARTIFACT)


def _extent(folder: Path) -> tuple[int, float]:
    """Return the bytes of a folder's files, and when one of them, or the folder, was written last."""
    size, modified = 0, folder.stat().st_mtime
    for path in folder.rglob("*"):
        with suppress(OSError):  # it was removed just now, as what is in the making may be
            if path.is_file():
                size, modified = size + path.stat().st_size, max(modified, path.stat().st_mtime)
    return size, modified


def _made(folder: Path) -> float | None:
    """Return when an artifact was made, in seconds since 1970; None where its manifest does not say so."""
    try:
        last = read_manifest(folder / MANIFEST).provenance[-1]
        return datetime.fromisoformat(last["started"]).timestamp() + (last["seconds"] or 0.0)
    except (UserError, OSError, LookupError, ValueError):  # damage is what `verify` is for
        return None


def _read(store: ArtifactStore, name: str, on_read: Callable[[int], None]) -> tuple[Manifest | None, str | None]:
    try:
        manifest = read_manifest(store.root / name / MANIFEST)
    except FileNotFoundError:
        return None, f"it has no {MANIFEST}"
    except (DamagedFileError, OSError) as error:
        return None, str(error).splitlines()[0]
    if folder_name(manifest.stage, manifest.key) != name:
        return None, "its manifest is of another artifact"
    looked = store.look(manifest)
    return store.check_files(name, looked.manifest, again=True, on_read=on_read) if looked.manifest else looked


def _users(outputs: Path) -> dict[str, list[str]]:
    """Return artifact -> names of the runs that refer to it.

    Under the empty name stand unfinished runs of before, whose records do not tell what they were making.
    """
    users: dict[str, list[str]] = {}
    for path in sorted((outputs / "runs").glob(f"*/{RUN_JSON}")):
        try:
            run = read_run_file(path)
        except DamagedFileError as error:
            raise UserError(
                f"{error.message}: what its run refers to is not known", "give the run's command again, or delete it"
            ) from error
        if "artifacts" not in run and not run.get("stages") and (run["status"] == "finished" or "stages" not in run):
            raise UserError(
                f"{path} says nothing of its run's stages: what the run refers to is not known",
                "give the run's command again, or delete it",
            )
        for name in _named(run):
            users.setdefault(name, []).append(path.parent.name)
    return users


def _named(run: RunFile) -> set[str]:
    made = {Path(stage["path"]).name for stage in run.get("stages", {}).values()}
    if "artifacts" in run:
        return made | {*run["artifacts"]}
    return made if run["status"] == "finished" else {*made, ""}
