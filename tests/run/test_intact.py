"""What of a plan can be used: damage anywhere is named, and what was made from other bytes is made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.schema import Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.keys import make_key
from notus_exp.run.execution import Job, execute
from notus_exp.run.intact import examine, ready
from notus_exp.run.nodes import STAGES, Node, StageInfo
from support.configs import composed
from support.pipelines import place, record, run

LINE = {"feedback": [], "pairs": ["feedback"], "base_model": [], "policy": ["pairs", "base_model"]}
"""Stage -> what it reads: a chain, and one beside it."""


def chain() -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, uses in LINE.items():
        inputs = {use: nodes[use].key for use in uses}
        key = make_key(name, 1, {}, inputs, {})
        nodes[name] = Node(name, Stage[name], {}, inputs, {}, key, {use: use for use in uses})
    return nodes


class House:
    """An output folder whose stages write a word."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words = dict.fromkeys(LINE, "as it was")
        self.nodes = chain()
        self.known = {node.key: node for node in self.nodes.values()}
        self.store = ArtifactStore(root / "artifacts")
        self.said: list[str] = []
        self.made: list[str] = []
        config = composed("experiment=smoke")
        self.job = Job([], self.store.root, root, root / "events", config.hardware, {}, config.generation, config.judge,
                       root / "ledger")  # fmt: skip
        info = StageInfo("tests.nowhere", 1, False, False, dict)
        monkeypatch.setattr("notus_exp.run.execution.STAGES", dict.fromkeys(STAGES, info))
        monkeypatch.setattr("notus_exp.run.execution.from_json", lambda kind, content: content)
        monkeypatch.setattr("notus_exp.run.execution.importlib.import_module", lambda name: self)

    def run(self, settings: Any, inputs: dict[str, Path], out: Path, context: Any) -> dict[str, Any]:
        name = out.name.split("-")[0]
        self.made.append(name)
        (out / "word.txt").write_text(self.words[name])
        return {}

    def settle(self) -> list[str]:
        """Make what is missing until nothing is, as a run does; return what was made."""
        self.said, self.made = [], []
        waiting = list(self.nodes.values())
        while waiting:
            found = ready(waiting, self.store, self.known, self.said.append)
            for node in found.missing:
                execute(node, self.job)
            waiting = found.undecided
        return self.made

    def file(self, name: str, file: str = "word.txt") -> Path:
        return self.store.path(name, self.nodes[name].key) / file


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path, monkeypatch)
    assert made.settle() == list(LINE)
    assert made.settle() == []
    assert made.said == []
    return made


def test_a_damaged_artifact_alone_is_made_anew_where_it_comes_out_as_it_was(house: House) -> None:
    house.file("feedback").write_text("as it wos")
    assert house.settle() == ["feedback"]
    assert len(house.said) == 1
    assert "word.txt is not what was written: its content was changed; feedback is made anew" in house.said[0]
    aside = house.file("feedback").parent.name + ".set-aside"
    assert house.said[0].endswith(f"what was there is kept as {aside}")
    assert (house.store.root / aside / "word.txt").read_text() == "as it wos"
    assert house.settle() == []


def test_what_was_made_from_an_input_of_other_bytes_is_made_anew_and_so_on_down_the_chain(
    house: House,
) -> None:
    house.words |= {"feedback": "otherwise", "pairs": "otherwise too"}
    house.file("feedback").write_text("damaged")
    assert house.settle() == ["feedback", "pairs", "policy"]
    assert len(house.said) == 3
    assert "pairs-" in house.said[1]
    assert "was made from another content of feedback than lies there now; pairs is made anew" in house.said[1]
    assert "was made from another content of pairs" in house.said[2]
    assert house.settle() == []


def test_the_chain_stops_where_the_bytes_are_the_same_again(house: House) -> None:
    house.words["feedback"] = "otherwise"
    house.file("feedback", MANIFEST).unlink()
    assert house.settle() == ["feedback", "pairs"]


def test_a_plan_looks_at_sizes_and_says_what_was_made_from_other_bytes(house: House) -> None:
    house.file("feedback").write_text("as it wos")
    assert examine(house.nodes["feedback"], house.store, house.known, read=False).damage is None
    assert "content was changed" in str(examine(house.nodes["feedback"], house.store, house.known, read=True).damage)
    assert house.settle() == ["feedback"]
    assert examine(house.nodes["pairs"], house.store, house.known, read=False).damage is None


def old(path: Path) -> None:
    """Make a manifest one of version 1."""
    content = json.loads(path.read_text())
    for later in ("format", "hashes", "hashed", "contents", "seal", "provenance"):
        del content[later]
    path.write_text(json.dumps(content))


def test_manifests_of_version_1_are_used_and_from_then_on_hold_what_they_were_made_from(house: House) -> None:
    for name in LINE:
        old(house.file(name, MANIFEST))
    assert house.settle() == []
    assert house.said == []
    house.words["feedback"] = "otherwise"
    house.file("feedback").unlink()
    assert house.settle() == ["feedback", "pairs"]


def test_a_file_that_no_stage_wrote_is_moved_out_and_the_artifact_used(house: House) -> None:
    house.file("policy", "adapter.json").write_text("of another model")
    (house.file("policy").parent / "model").mkdir()
    house.file("policy", "model/more.json").write_text("too")
    house.file("policy", ".DS_Store").write_text("a system's")
    found = examine(house.nodes["policy"], house.store, house.known, read=False)
    assert "adapter.json is none of the files that were written" in str(found.damage)
    assert house.settle() == []
    assert [line.split(" lay in ")[0] for line in house.said] == ["adapter.json", "more.json"]
    aside = house.store.root / (house.file("policy").parent.name + ".others.set-aside")
    assert (aside / "adapter.json").read_text() == "of another model"
    assert (aside / "model" / "more.json").read_text() == "too"
    assert house.settle() == []
    assert house.said == []


def test_a_link_that_no_stage_wrote_is_moved_out_said_and_the_artifact_used(house: House, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    house.file("policy", "templates").symlink_to(tmp_path / "mine")
    assert house.settle() == []
    aside = house.store.root / (house.file("policy").parent.name + ".others.set-aside")
    assert house.said == [
        "the link templates lay in the artifact of policy, which did not write it: it is moved to "
        f"{aside / 'templates'}"
    ]
    assert (aside / "templates").readlink() == tmp_path / "mine"
    assert house.settle() == []
    assert house.said == []


def test_what_reads_something_that_may_be_made_anew_is_not_made_before_that(house: House) -> None:
    house.words["feedback"] = "otherwise"  # so pairs, which are there, are made anew; the policy must read the new ones
    house.file("feedback").write_text("as it wos")
    house.words["pairs"] = "from otherwise"
    house.file("policy").unlink()
    assert house.settle() == ["feedback", "pairs", "policy"]
    assert house.settle() == []


def test_a_file_in_the_place_of_an_artifact_is_moved_out_of_the_way_twice(house: House) -> None:
    folder = house.file("pairs").parent
    for _ in range(2):
        shutil.rmtree(folder)
        folder.write_text("no folder")
        assert house.settle() == ["pairs"]
    house.file("pairs").write_text("damaged")
    assert house.settle() == ["pairs"]


def test_a_run_names_damage_makes_it_anew_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    asked = ["experiment=smoke", "until=pairs"]
    first = record(run(tmp_path, *asked))
    folder = place(first, "pairs")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = tmp_path / "outputs/runs" / first["run_id"] / "feedback.html"
    written = report.read_bytes()
    damaged = bytearray(before["pairs.parquet"])
    damaged[len(damaged) // 2] ^= 4
    (folder / "pairs.parquet").write_bytes(damaged)
    assert "reuse" in run(tmp_path, *asked[:1], "until=config").stdout
    done = run(tmp_path, *asked)
    said = [line for line in done.stderr.splitlines() if "pairs.parquet" in line]
    assert len(said) == 1
    assert "its content was changed; pairs is made anew" in said[0]
    again = record(done)
    assert again["attempts"][-1]["made"] == ["pairs"]
    assert report.read_bytes() == written
    assert "feedback: outputs/runs/" in done.stderr
    for name, content in before.items():
        if name not in ("manifest.json", "events.jsonl"):
            assert (folder / name).read_bytes() == content
    shutil.rmtree(place(first, "feedback"))
    assert "pairs" not in record(run(tmp_path, *asked))["attempts"][-1]["made"]
