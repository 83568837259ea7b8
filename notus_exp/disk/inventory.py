"""What lies below `artifacts/`: how large, how old, which runs refer to it; and removing what none refers to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.run_file import RunFile, read_run_file
from notus_exp.disk.artifacts import PARTIAL, SET_ASIDE, ArtifactStore
from notus_exp.disk.files import MANIFEST, RUN_JSON
from notus_exp.disk.in_use import names_in_use, pruning
from notus_exp.disk.keys import content_of, folder_name
from notus_exp.errors import UserError

COMPLETE, IN_THE_MAKING, MOVED = "complete", "in the making", "set aside"


class Entry(NamedTuple):
    """A folder below `artifacts/`.

    Attributes:
        name: Of the folder.
        state: `complete`, `in the making` (or left by a process that died), or `set aside`.
        size: Bytes of all its files.
        modified: When something in it was written last, in seconds since 1970.
        runs: The runs that refer to it, by name.
        used: Whether a process uses it now.
    """

    name: str
    state: str
    size: int
    modified: float
    runs: list[str]
    used: bool


class Verified(NamedTuple):
    """What checking all of an artifact's content found.

    Attributes:
        name: Of the folder.
        size: Bytes.
        since: Where the manifest had no hashes when the artifact was made, the time at which they were added.
        damage: What is wrong, in one line; None where nothing is.
        runs: The runs that refer to it.
    """

    name: str
    size: int
    since: str | None
    damage: str | None
    runs: list[str]


def entries(outputs: Path) -> list[Entry]:
    """Return what lies below an output folder's `artifacts/`, by name.

    Raises:
        UserError: There is no such folder, or a run.json cannot be read, so that it is not known what is referred to.
    """
    store = _store(outputs)
    users = _users(outputs)
    keep_partial = users.pop("", [])
    used = names_in_use(store.root)
    found = []
    for path in sorted(store.root.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        state = MOVED if path.name.endswith(SET_ASIDE) else IN_THE_MAKING if path.name.endswith(PARTIAL) else COMPLETE
        name = path.name.removesuffix(PARTIAL)
        runs = users.get(name, []) + (keep_partial if state == IN_THE_MAKING else [])
        files = [one.stat() for one in path.rglob("*") if one.is_file()]
        modified = max((one.st_mtime for one in files), default=path.stat().st_mtime)
        size = sum(one.st_size for one in files)
        found.append(Entry(path.name, state, size, modified, sorted({*runs}), name in used))
    return found


def removable(found: list[Entry]) -> list[Entry]:
    """Return the entries that no run refers to and no process uses."""
    return [entry for entry in found if not entry.runs and not entry.used]


def prune(outputs: Path) -> list[Entry]:
    """Remove what no run refers to and no process uses; return what was removed.

    While it removes, runs that are about to start wait. An artifact that is being made is locked by who makes it, and
    a run names what it uses before it looks for it, so nothing is taken from under a run.

    Raises:
        UserError: As `entries`.
    """
    store = _store(outputs)
    with pruning(store.root):
        removed = removable(entries(outputs))
        for entry in removed:
            store.forget(entry.name)
    return removed


def verify(outputs: Path) -> list[Verified]:
    """Read every file of every complete artifact and compare it with what was written.

    A manifest of version 1 has no hashes; they are added, and damage from before cannot be seen.

    Raises:
        UserError: As `entries`.
    """
    store = _store(outputs)
    found = [entry for entry in entries(outputs) if entry.state == COMPLETE]
    contents: dict[str, str] = {}
    looks = {entry.name: _read(store, entry.name) for entry in found}
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
        checked.append(Verified(entry.name, entry.size, manifest.hashed if manifest else None, damage, entry.runs))
    return checked


def age_in_words(modified: float) -> str:
    """Return how long ago that was, in the largest unit of which there is at least one."""
    seconds = max(0.0, time.time() - modified)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _store(outputs: Path) -> ArtifactStore:
    root = outputs / "artifacts"
    if not root.is_dir():
        raise UserError(f"{outputs} has no folder artifacts", "give the output folder of runs, such as outputs")
    return ArtifactStore(root)


def _read(store: ArtifactStore, name: str) -> tuple[Manifest | None, str | None]:
    try:
        manifest = read_manifest(store.root / name / MANIFEST)
    except FileNotFoundError:
        return None, f"it has no {MANIFEST}"
    except (DamagedFileError, OSError) as error:
        return None, str(error).splitlines()[0]
    if folder_name(manifest.stage, manifest.key) != name:
        return None, "its manifest is of another artifact"
    looked = store.look(manifest)
    return store.check_files(name, looked.manifest, again=True) if looked.manifest else looked


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
        for name in _named(run):
            users.setdefault(name, []).append(path.parent.name)
    return users


def _named(run: RunFile) -> set[str]:
    made = {Path(stage["path"]).name for stage in run.get("stages", {}).values()}
    if "artifacts" in run:
        return made | {*run["artifacts"]}
    return made if run["status"] == "finished" else {*made, ""}
