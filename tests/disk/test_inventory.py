"""The command `artifacts`: what is there, whether it is intact, and that pruning takes nothing that anybody needs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notus_exp.artifacts import main
from notus_exp.contracts.format import sealed
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST, RUN_JSON
from notus_exp.disk.in_use import using
from notus_exp.disk.inventory import prune, verify
from notus_exp.disk.keys import folder_name

KEYS = {name: letter * 64 for name, letter in zip(("used", "free", "partial", "aside"), "abcd", strict=True)}


def name_of(which: str) -> str:
    return folder_name("pairs", KEYS[which])


def wanted(which: str) -> Manifest:
    return Manifest("pairs", KEYS[which], {}, {}, {})


def make(out: Path) -> dict[str, Any]:
    (out / "data.txt").write_text("content")
    return {}


def write_run(outputs: Path, name: str, content: dict[str, Any]) -> None:
    (outputs / "runs" / name).mkdir(parents=True)
    (outputs / "runs" / name / RUN_JSON).write_text(json.dumps(content))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """One artifact that a run uses, one that none does, one in the making and one set aside."""
    store = ArtifactStore(tmp_path / "artifacts")
    for which in ("used", "free", "aside"):
        store.build(wanted(which), make, resumable=False)
    store.set_aside(wanted("aside"))
    store.partial("pairs", KEYS["partial"]).mkdir()
    write_run(tmp_path, "mine", {"status": "failed", "artifacts": [name_of("used")]})
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == code
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def folders(outputs: Path) -> set[str]:
    return {path.name for path in (outputs / "artifacts").iterdir() if path.is_dir() and path.name[0] != "."}


def test_list_says_of_each_its_state_size_and_who_uses_it(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["name"]: one for one in said(capsys, "list", str(outputs))["artifacts"]}
    assert {name: (one["state"], one["runs"]) for name, one in found.items()} == {
        name_of("used"): ("complete", ["mine"]),
        name_of("free"): ("complete", []),
        name_of("partial") + ".partial": ("in the making", []),
        name_of("aside") + ".set-aside": ("set aside", []),
    }
    assert found[name_of("used")]["size"] == sum(
        path.stat().st_size for path in (outputs / "artifacts" / name_of("used")).iterdir()
    )
    assert main(["list", str(outputs)]) == 0
    assert "no run refers to 3 of them" in capsys.readouterr().out


def test_a_copy_is_as_old_as_what_was_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    for which, told in (("used", True), ("free", False)):
        artifact = wanted(which)
        artifact.provenance = [{"command": []}] if told else []
        store.build(artifact, make, resumable=False)
    path = tmp_path / "artifacts" / name_of("used") / MANIFEST
    content = json.loads(path.read_text())
    content["provenance"][-1] |= {"started": "2026-01-01T00:00:00+00:00", "seconds": 60.0}
    path.write_text(json.dumps(sealed(content)))
    found = {one["name"]: one["made"] for one in said(capsys, "list", str(tmp_path))["artifacts"]}
    assert found[name_of("used")] == datetime(2026, 1, 1, 0, 1, tzinfo=UTC).timestamp()
    assert found[name_of("free")] == pytest.approx(time.time(), abs=60), "its manifest is from before that was noted"


def test_prune_shows_first_and_removes_what_no_run_refers_to_when_told_so(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folders(outputs)
    shown = said(capsys, "prune", str(outputs))
    assert {one["name"] for one in shown["removable"]} == before - {name_of("used")}
    assert folders(outputs) == before
    removed = said(capsys, "prune", str(outputs), "--yes")
    assert {one["name"] for one in removed["removed"]} == before - {name_of("used")}
    assert folders(outputs) == {name_of("used")}
    assert main(["prune", str(outputs), "--yes"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert ArtifactStore(outputs / "artifacts").check(wanted("used")).manifest is not None


@pytest.mark.parametrize("status", ["failed", "running"])
def test_what_an_unfinished_run_of_before_was_making_is_not_known_and_stays(outputs: Path, status: str) -> None:
    write_run(outputs, "before", {"status": status, "stages": {}})
    prune(outputs)
    assert folders(outputs) == {name_of("used"), name_of("partial") + ".partial"}


def test_what_a_record_of_before_names_as_stages_stays(outputs: Path) -> None:
    stages = {"pairs": {"path": f"/elsewhere/{name_of('free')}", "key": "k", "facts": {}}}
    write_run(outputs, "before", {"status": "finished", "config": {}, "metrics": {}, "stages": stages})
    prune(outputs)
    assert folders(outputs) == {name_of("used"), name_of("free")}


def test_nothing_is_removed_while_a_process_uses_it_however_that_ends(outputs: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from notus_exp.disk.in_use import using
with using(Path({str(outputs / "artifacts")!r}), [{name_of("free")!r}, {name_of("partial")!r}]):
    print("using", flush=True)
    sys.stdin.read()
    os._exit(9)
"""
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    assert user.stdout.readline() == "using\n"
    prune(outputs)
    assert folders(outputs) == {name_of("used"), name_of("free"), name_of("partial") + ".partial"}
    user.communicate()
    assert user.returncode == 9
    prune(outputs)
    assert folders(outputs) == {name_of("used")}


def test_a_run_that_cannot_be_read_stops_pruning(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (outputs / "runs" / "mine" / RUN_JSON).write_text("{half")
    before = folders(outputs)
    assert main(["prune", str(outputs), "--yes"]) == 2
    assert "what its run refers to is not known" in capsys.readouterr().err
    assert folders(outputs) == before


@pytest.mark.parametrize(
    "content", [{"status": "finished", "config": {}, "metrics": {}, "stages": {}}, {"status": "failed"}]
)
def test_a_run_that_says_nothing_of_its_stages_stops_pruning(
    outputs: Path, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(outputs, "before", content)
    before = folders(outputs)
    for arguments in (["prune"], ["prune", "--yes"]):
        assert main([arguments[0], str(outputs), *arguments[1:]]) == 2
        assert "says nothing of its run's stages" in capsys.readouterr().err
    assert folders(outputs) == before


@pytest.mark.parametrize("name", ["my_notes", "my_notes.set-aside", "pairs-abc", f"Pairs-{'a' * 16}", "x.partial"])
def test_what_is_no_artifact_is_named_and_left_alone(
    outputs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (outputs / "artifacts" / name).mkdir()
    (outputs / "artifacts" / name / "thesis.tex").write_text("mine")
    states = {one["name"]: one["state"] for one in said(capsys, "list", str(outputs))["artifacts"]}
    assert states[name] == "not an artifact"
    assert main(["verify", str(outputs)]) == 0
    shown = capsys.readouterr().out
    assert "not an artifact, left alone" in shown
    assert "2 artifacts read whole: 2 intact, 0 damaged" in shown
    assert main(["prune", str(outputs)]) == 0
    assert f"{name} is not an artifact, and is left alone" in capsys.readouterr().out
    for more in ([], ["--set-aside"]):
        assert main(["prune", str(outputs), "--yes", *more]) == 0
        assert (outputs / "artifacts" / name / "thesis.tex").read_text() == "mine"


def test_files_that_were_moved_out_of_an_artifact_are_the_users_until_told_otherwise(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (outputs / "artifacts" / name_of("used") / "thesis.tex").write_text("mine")
    (moved,) = ArtifactStore(outputs / "artifacts").clear(wanted("used"))
    for more in ([], ["--yes"]):
        assert main(["prune", str(outputs), *more]) == 0
        words = " ".join(capsys.readouterr().out.split())
        assert f"{moved.parent.name} holds files of yours or of another program" in words
        assert moved.read_text() == "mine"
    (removed,) = said(capsys, "prune", str(outputs), "--yes", "--set-aside")["removed"]
    assert (removed["name"], removed["state"]) == (moved.parent.name, "moved out of an artifact")
    assert folders(outputs) == {name_of("used")}


@pytest.mark.parametrize("ending", ["", ".partial", ".set-aside", ".others.set-aside"])
def test_of_a_link_the_link_alone_is_removed_and_that_is_said(
    outputs: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = outputs / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("mine")
    link = outputs / "artifacts" / f"pairs-{'e' * 16}{ending}"
    link.symlink_to(elsewhere)
    assert main(["prune", str(outputs), "--yes", "--set-aside"]) == 0
    assert f"{link.name} is a link: that was removed, and not what it points to" in " ".join(
        capsys.readouterr().out.split()
    )
    assert not link.is_symlink()
    assert (elsewhere / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("note", [b"{half", b"", b"3", b"[3]", b"[[]]", b'{"a": 1}', b'["\xff"]', b"[" * 100_000])
def test_a_damaged_note_of_use_whose_process_goes_on_is_one_error_and_nothing_is_removed(
    outputs: Path, note: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folders(outputs)
    with using(outputs / "artifacts", [name_of("free")]):
        (path,) = (outputs / "artifacts" / ".in-use").glob("*.json")
        path.write_bytes(note)
        for arguments in (["list"], ["verify"], ["prune"], ["prune", "--yes"]):
            assert main([arguments[0], str(outputs), *arguments[1:]]) == 2
            assert f"{path} is damaged" in capsys.readouterr().err
    assert folders(outputs) == before
    assert main(["list", str(outputs)]) == 0


def test_a_folder_without_artifacts_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "verify", "prune"):
        assert main([command, str(tmp_path)]) == 2
        assert "has no folder artifacts" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- verify
def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _swap(path: Path) -> None:
    store = path.parent.parent
    path.write_bytes((store / name_of("free") / MANIFEST).read_bytes())


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("data.txt", _flip, "is not what was written"),
        ("data.txt", Path.unlink, "is missing"),
        (MANIFEST, Path.unlink, "it has no manifest.json"),
        (MANIFEST, _swap, "its manifest is of another artifact"),
    ],
)
def test_verify_reads_everything_and_names_what_is_damaged(
    outputs: Path, file: str, damage: Callable[[Path], None], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {one["damage"] for one in said(capsys, "verify", str(outputs))["artifacts"]} == {None}
    damage(outputs / "artifacts" / name_of("used") / file)
    found = {one["name"]: one["damage"] for one in said(capsys, "verify", str(outputs), code=1)["artifacts"]}
    assert words in found[name_of("used")]
    assert found[name_of("free")] is None
    assert main(["verify", str(outputs)]) == 1
    assert f"{name_of('used')}: the command of mine makes it anew" in capsys.readouterr().out


def test_verify_reads_again_what_was_checked_before(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = outputs / "artifacts" / name_of("used") / "data.txt"
    _flip(path)
    state = path.stat()
    monkeypatch.setattr(
        "notus_exp.disk.artifacts.state_of",
        lambda one: [state.st_ino, state.st_size, 0, 0],  # as on a disk that rots below its file system
    )
    said(capsys, "verify", str(outputs), code=1)


def test_verify_says_since_when_an_artifact_of_before_has_hashes(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = outputs / "artifacts" / name_of("used") / MANIFEST
    content = json.loads(path.read_text())
    for later in ("format", "hashes", "hashed", "contents", "seal", "provenance"):
        del content[later]
    path.write_text(json.dumps(content))
    first = {one["name"]: one["since"] for one in said(capsys, "verify", str(outputs))["artifacts"]}
    assert first[name_of("used")] is not None
    assert first[name_of("free")] is None
    assert said(capsys, "verify", str(outputs))["artifacts"][0]["since"] == first[name_of("used")]
    _flip(path.with_name("data.txt"))
    said(capsys, "verify", str(outputs), code=1)


def test_verifying_tells_how_many_of_all_bytes_were_read(outputs: Path) -> None:
    (outputs / "artifacts" / name_of("used") / "data.txt").write_text("x")  # damaged: found all the same
    store = ArtifactStore(outputs / "artifacts")
    big = Manifest("pairs", "e" * 64, {}, {}, {})
    store.build(big, lambda out: {"bytes": (out / "data").write_bytes(b"x" * 3_000_000)}, resumable=False)
    told: list[tuple[float, float]] = []
    verify(outputs, lambda done, total: told.append((done, total)))
    assert len(told) > 3
    assert told == sorted(told)
    done, total = told[-1]
    assert 3_000_000 <= done <= total < 3_010_000
