"""Artifacts: keys, atomic publishing, damage, locks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.artifacts import ArtifactStore, make_key
from notus_exp.disk.files import MANIFEST
from notus_exp.errors import UserError

KEY = "ab" * 32


def wanted() -> Manifest:
    return Manifest("pairs", KEY, {"seed": 1}, {"feedback": "f"}, {})


def make(out: Path) -> dict[str, Any]:
    (out / "data.txt").write_text("content")
    return {"rows": 3}


def test_a_key_changes_with_everything_that_it_is_made_of_and_not_with_the_order_of_keys() -> None:
    base = make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"})
    assert base == make_key("pairs", 1, {"b": 2, "a": 1}, {"feedback": "x"}, {"torch": "2"})
    others = [
        make_key("policy", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 2, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 3}, {"feedback": "x"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "y"}, {"torch": "2"}),
        make_key("pairs", 1, {"a": 1, "b": 2}, {"feedback": "x"}, {"torch": "3"}),
    ]
    assert len({base, *others}) == 6


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
    assert store.find("pairs", KEY) is None
    manifest, _ = store.build(wanted(), make, resumable=False)
    assert "half.txt" not in manifest.files


def test_a_resumable_build_gets_what_the_last_attempt_left(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.partial("pairs", KEY).mkdir(parents=True)
    (store.partial("pairs", KEY) / "checkpoint").write_text("step 3")
    manifest, _ = store.build(wanted(), make, resumable=True)
    assert set(manifest.files) == {"checkpoint", "data.txt", "events.jsonl"}


def test_damage_after_publishing_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.build(wanted(), make, resumable=False)
    folder = store.path("pairs", KEY)
    (folder / "data.txt").write_text("cut")
    with pytest.raises(UserError, match=r"data\.txt is missing or was changed"):
        store.find("pairs", KEY)
    (folder / MANIFEST).write_text("{half")
    with pytest.raises(UserError, match="cannot be read"):
        store.find("pairs", KEY)


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
