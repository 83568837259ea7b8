"""Artifacts: atomic publishing, damage, locks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk import artifacts, check_notes
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.hashing import content_hash
from notus_exp.disk.keys import content_of
from notus_exp.errors import UserError

KEY = "ab" * 32


def wanted() -> Manifest:
    return Manifest("pairs", KEY, {"seed": 1}, {"feedback": "f"}, {})


def make(out: Path) -> dict[str, Any]:
    (out / "data.txt").write_text("content")
    return {"rows": 3}


def test_a_built_artifact_is_found_with_its_facts_and_not_built_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    manifest, made = store.build(wanted(), make, resumable=False)
    assert made
    assert manifest.facts == {"rows": 3}
    again, made = store.build(wanted(), lambda out: pytest.fail("built twice"), resumable=False)
    assert not made
    assert again.files["data.txt"] == len("content")


def test_a_failed_build_publishes_nothing_and_leaves_the_next_one_an_empty_folder(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def fail(out: Path) -> dict[str, Any]:
        (out / "half.txt").write_text("half")
        raise UserError("no")

    with pytest.raises(UserError):
        store.build(wanted(), fail, resumable=False)
    assert store.find(wanted()) is None
    manifest, _ = store.build(wanted(), make, resumable=False)
    assert "half.txt" not in manifest.files


def test_a_resumable_build_gets_what_the_last_attempt_left(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.partial("pairs", KEY).mkdir(parents=True)
    (store.partial("pairs", KEY) / "checkpoint").write_text("step 3")
    manifest, _ = store.build(wanted(), make, resumable=True)
    assert set(manifest.files) == {"checkpoint", "data.txt", "events.jsonl"}


def change(path: Path) -> None:
    """Change a file as a disk that rots does: same size, same time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "data.txt").write_text("cut"), r"data\.txt has 3 bytes, not the 7 that were written"),
        (lambda folder: (folder / "data.txt").unlink(), r"data\.txt is missing"),
        (lambda folder: change(folder / "data.txt"), r"data\.txt is not what was written: its content was changed"),
        (lambda folder: (folder / MANIFEST).write_text("{half"), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff"), "cannot be read"),
        (lambda folder: (folder / MANIFEST).unlink(), "has no manifest"),
        (lambda folder: change(folder / MANIFEST), "cannot be read"),
    ],
)
def test_damage_is_named_in_one_line_and_the_artifact_made_anew(
    damage: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    folder = store.path("pairs", KEY)
    damage(folder)
    manifest, told = store.check(wanted())
    assert manifest is None
    assert told is not None
    assert re.search(said, told)
    assert "\n" not in told
    aside = store.set_aside(wanted())
    assert aside.is_dir()
    _, made = store.build(wanted(), make, resumable=False)
    assert made
    assert (folder / "data.txt").read_text() == "content"
    assert store.check(wanted()).manifest is not None


def test_only_contents_are_read_when_they_are_needed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    change(store.path("pairs", KEY) / "data.txt")
    assert store.find(wanted()) is not None  # a plan looks at sizes
    assert store.check(wanted()).manifest is None


@pytest.mark.parametrize(
    "other",
    [{"stage": "policy"}, {"settings": {"seed": 2}}, {"inputs": {"feedback": "g"}}, {"versions": {"torch": "3"}}],
)
def test_a_manifest_that_lies_where_another_belongs_is_not_believed(other: dict[str, Any], tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(replace(wanted(), **other), make, resumable=False)
    asked = wanted()
    store.path(other.get("stage", "pairs"), KEY).rename(store.path("pairs", KEY))
    assert store.find(asked) is None
    assert "is of another artifact" in str(store.look(asked).damage)
    _, made = store.build(asked, make, resumable=False)
    assert made


def test_the_key_is_compared_whole_not_as_far_as_the_folder_names_it(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(replace(wanted(), key=KEY[:16] + "0" * 48), make, resumable=False)
    assert "its key is not what is asked for" in str(store.look(wanted()).damage)


def test_a_file_is_read_once_and_again_only_after_something_touched_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, on_read: Callable[[int], None] | None = None) -> str:
        read.append(path.name)
        return content_hash(path)

    monkeypatch.setattr(artifacts, "content_hash", counted)
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    assert read == ["data.txt", "events.jsonl"]  # while it is written
    read.clear()
    assert store.check(wanted()).manifest is not None
    assert read == []
    os.utime(store.path("pairs", KEY) / "data.txt")
    assert store.check(wanted()).manifest is not None
    assert read == ["data.txt"]
    read.clear()
    for notes in (tmp_path / check_notes.CHECKED).rglob("*.json"):
        notes.write_text("[[")
    assert store.check(wanted()).manifest is not None
    assert read == ["data.txt", "events.jsonl"]
    read.clear()
    monkeypatch.setattr(check_notes.platform, "node", lambda: "another")
    assert store.check(wanted()).manifest is not None
    assert read == ["data.txt", "events.jsonl"]


def test_a_manifest_with_sizes_alone_gets_hashes_at_the_first_check_and_says_since_when(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    path = store.path("pairs", KEY) / MANIFEST
    old = json.loads(path.read_text())
    for name in ("format", "hashes", "hashed", "contents", "seal", "provenance"):
        del old[name]
    path.write_text(json.dumps(old))
    assert store.find(wanted()) is not None
    assert json.loads(path.read_text()) == old  # looking writes nothing
    checked = store.check(wanted()).manifest
    assert checked is not None
    assert read_manifest(path) == checked
    assert checked.hashes["data.txt"] == content_hash(path.parent / "data.txt")
    assert checked.hashed is not None
    change(path.parent / "data.txt")
    assert store.check(wanted()).manifest is None


def test_what_is_read_by_people_alone_does_not_stand_for_the_content(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def make_with(word: str, page: str) -> str | None:
        def make(out: Path) -> dict[str, Any]:
            (out / "model").mkdir()
            (out / "model" / "README.md").write_text(page)
            (out / "plot.svg").write_text(page)
            (out / "data.txt").write_text(word)
            return {}

        manifest, _ = store.build(wanted(), make, resumable=False)
        store.set_aside(wanted())
        return content_of(manifest)

    assert make_with("content", "page") == make_with("content", "another page")
    assert make_with("content", "page") != make_with("another", "page")


@pytest.mark.parametrize("place", ["more", "model/additional_chat_templates", "model/dangling", "file"])
def test_a_link_that_no_stage_wrote_is_damage_and_is_moved_out_without_what_it_points_to(
    place: str, tmp_path: Path
) -> None:
    def make_model(out: Path) -> dict[str, Any]:
        (out / "model").mkdir()
        (out / "model" / "data.txt").write_text("content")
        return {}

    store, elsewhere = ArtifactStore(tmp_path / "artifacts"), tmp_path / "elsewhere"
    store.build(wanted(), make_model, resumable=False)
    elsewhere.mkdir()
    (elsewhere / "default.jinja").write_text("another template")
    target = {"file": elsewhere / "default.jinja", "model/dangling": tmp_path / "nowhere"}.get(place, elsewhere)
    link = store.path("pairs", KEY) / place
    link.symlink_to(target)
    assert f"{link} is a link, none of the files that were written" in str(store.look(wanted()).damage)
    assert store.check(wanted()).manifest is None
    (moved,) = store.clear(wanted())
    assert moved.readlink() == target
    assert not link.is_symlink()
    assert store.check(wanted()).manifest is not None
    assert (elsewhere / "default.jinja").read_text() == "another template"


def test_a_link_in_the_place_of_a_folder_is_no_folder_of_the_artifact(tmp_path: Path) -> None:
    def make_model(out: Path) -> dict[str, Any]:
        (out / "model").mkdir()
        (out / "model" / "data.txt").write_text("content")
        return {}

    store, model = ArtifactStore(tmp_path / "artifacts"), tmp_path / "model"
    store.build(wanted(), make_model, resumable=False)
    (store.path("pairs", KEY) / "model").rename(model)
    (store.path("pairs", KEY) / "model").symlink_to(model)  # what else lies there would be loaded too
    assert "model is a link" in str(store.check(wanted()).damage)
    store.clear(wanted())
    assert "is missing" in str(store.check(wanted()).damage)
    assert (model / "data.txt").read_text() == "content"


def test_an_attempt_that_goes_on_does_not_write_through_links(tmp_path: Path) -> None:
    def make_model(out: Path) -> dict[str, Any]:
        assert (out / "checkpoint").read_text() == "step 3"
        (out / "model").mkdir()
        (out / "model" / "data.txt").write_text("content")
        return {}

    store, elsewhere = ArtifactStore(tmp_path / "artifacts"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    partial = store.partial("pairs", KEY)
    partial.mkdir(parents=True)
    (partial / "checkpoint").write_text("step 3")
    (partial / "model").symlink_to(elsewhere)
    (moved,) = store.clear(wanted())
    assert moved.readlink() == elsewhere
    manifest, _ = store.build(wanted(), make_model, resumable=True)
    assert {*manifest.files} == {"checkpoint", "events.jsonl", "model/data.txt"}
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_what_its_content_is(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    store.build(wanted(), make, resumable=False)
    file, moved = store.path("pairs", KEY) / "data.txt", tmp_path / "data.txt"
    file.rename(moved)
    file.symlink_to(moved)
    assert store.check(wanted()).manifest is not None
    change(moved)
    assert "its content was changed" in str(store.check(wanted()).damage)


def test_what_was_moved_out_before_is_not_written_over(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    folder = store.path("pairs", KEY)
    kept = []
    for word in ("one", "two", "three"):
        (folder / "more").write_text(word)
        kept += store.clear(wanted())
    (folder / "more").mkdir()
    (folder / "more" / "below").write_text("four")
    kept += store.clear(wanted())
    assert [path.read_text() for path in kept] == ["one", "two", "three", "four"]


@pytest.mark.parametrize("ending", ["", ".set-aside", ".partial"])
@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("resumable", [False, True])
def test_a_link_in_the_place_of_an_artifact_ends_nothing_and_what_it_points_to_stays(
    ending: str, dangling: bool, resumable: bool, tmp_path: Path
) -> None:
    store, elsewhere = ArtifactStore(tmp_path / "artifacts"), tmp_path / "elsewhere"
    if not dangling:
        elsewhere.mkdir()
        (elsewhere / "mine.txt").write_text("mine")
    store.build(wanted(), make, resumable=False)
    folder = store.path("pairs", KEY)
    for _ in range(2):
        if ending != ".set-aside":
            store.set_aside(wanted())
        else:
            (folder / "data.txt").write_text("no longer whole")
        (store.root / (folder.name + ending)).symlink_to(elsewhere)
        if ending != ".partial":
            assert store.look(wanted()).damage is not None
            store.set_aside(wanted())
        _, made = store.build(wanted(), make, resumable=resumable)
        assert made
        assert store.check(wanted()).manifest is not None
        assert not folder.is_symlink()
        store.forget(f"{folder.name}.set-aside")
        assert dangling or [path.name for path in elsewhere.iterdir()] == ["mine.txt"]


def test_two_processes_make_an_artifact_once(tmp_path: Path) -> None:
    code = f"""
import json, sys, time
from pathlib import Path
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.artifacts import ArtifactStore
def make(out):
    time.sleep(0.5)
    return {{"made": 1}}
wanted = Manifest("pairs", {KEY!r}, {{}}, {{}}, {{}})
_, made = ArtifactStore(Path({str(tmp_path)!r})).build(wanted, make, resumable=False)
print(json.dumps(made))
"""
    workers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sorted(made) == [False, False, True]
