"""What is told of annotators before they are asked: judgements and money in the plan, and one first question."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from notus_exp.annotation import make_annotations
from notus_exp.chat import waiting
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.schema import Config
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.run.ahead import look_ahead
from notus_exp.run.amounts import Known
from notus_exp.run.asking_notes import asking_notes, failed_notes
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings, from_json
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.fault_server import SNAPSHOT, FaultServer

PRICED = "input_price: 1000000, output_price: 1000000, max_tokens: 7"
"""A dollar a token."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-top-secret-0123456789")
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.01)


class Asking:
    """A planned run of annotators below a folder, with feedback that is made or is not."""

    def __init__(self, folder: Path, items: str, *, feedback: bool = True) -> None:
        self.config: Config = composed("experiment=smoke", f"annotators=[{items}]", "until=annotations")
        self.sources = resolve(self.config)
        self.nodes = make_plan(self.config, self.sources)
        self.store = ArtifactStore(folder / "artifacts")
        self.annotators: dict[str, Annotator] = {one.name: one for one in self.config.annotators}
        self.folder = folder
        config = self.config
        self.job = Job(
            self.nodes, self.store.root, folder / "cache", folder / "events.jsonl", config.hardware,
            self.sources.files, config.generation, config.judge, folder / "ledger.jsonl", annotators=self.annotators,
        )  # fmt: skip
        if feedback:
            self.store.build(self.nodes[0].wanted, self._feedback, resumable=False)

    def _feedback(self, out: Path) -> dict[str, Any]:
        made = table(
            prompt("A?", completion("a"), completion("bb"), completion("bb")),
            prompt("B?", completion("c"), completion(" "), completion("ddd")),
        )
        made.write_parquet(out / COMPLETIONS)
        return {"prompts": 2, "completions": 6}

    def notes(self) -> list[str]:
        by_key = {node.key: node for node in self.nodes}
        there = self.store.find(self.nodes[0].wanted)
        known = Known(lambda stage, key: by_key.get(key), lambda stage, key: there and there.facts)
        place = self.store.path("feedback", self.nodes[0].key)
        return asking_notes(
            self.nodes, self.annotators, known, lambda key: place if there else None, self.sources.files
        )

    def look(self) -> list[str]:
        said: list[str] = []
        look_ahead(self.job, self.nodes, said.append)
        return said

    def make(self, node: Node) -> dict[str, Any]:
        context = Context(EventWriter(node.name, self.folder / "e.jsonl"), self.config.hardware, self.job.cache)
        context.annotators, context.ledger = self.annotators, Ledger(self.job.ledger)
        context.cache.mkdir(exist_ok=True)
        place = self.store.path("feedback", self.nodes[0].key)
        settings = from_json(AnnotationsSettings, node.settings)
        return make_annotations.run(settings, {"feedback": place}, self.folder, context)


def test_judgements_are_counted_as_they_will_be_asked(tmp_path: Path) -> None:
    rated, duel = "{name: rated, judge: mock, rubric: honesty}", "{name: duel, judge: mock, pairs: true}"
    asking = Asking(tmp_path, f"{rated}, {duel}")
    # 5 completions have a text; of 3 + 1 pairs of them two have the same text, and the others are asked twice
    assert asking.notes() == ["annotations_duel: 6 judgements", "annotations_rated: 5 judgements"]
    assert [asking.make(node)["verdicts"] for node in asking.nodes[1:]] == [6, 5]


def test_what_is_said_of_all_completions_of_a_prompt_is_one_judgement(tmp_path: Path) -> None:
    together = f"{{name: a, judge: openai, model: m, rubric: honesty, together: true, {PRICED}}}"
    critic = "{name: b, judge: mock, form: critique}"
    asking = Asking(tmp_path, f"{together}, {critic}")
    first, second = asking.notes()
    assert first.startswith("annotations_a: 2 judgements, each of all completions of a prompt, about $")
    assert second == "annotations_b: 5 judgements"
    assert asking.make(asking.nodes[2])["asked"] == 4, "of two equal ones one"
    before = Asking(tmp_path / "b", f"{together}, {critic}", feedback=False)
    prompts = before.config.data.prompts
    assert before.notes()[0].startswith(f"annotations_a: about {prompts:,} judgements, each of all")
    assert before.notes()[1] == f"annotations_b: about {prompts * 4:,} judgements"


def test_money_is_what_is_read_and_the_longest_replies(tmp_path: Path) -> None:
    template = tmp_path / "t.j2"
    template.write_text("{{ instruction }}{{ response }}")
    item = f"{{name: rated, judge: openai, model: m, template: {template}, {PRICED}, budget: 3}}"
    # a token for four characters: 1 each for A?a, A?bb twice and B?c, 2 for B?ddd; 7 more for each reply
    assert Asking(tmp_path, item).notes() == [
        "annotations_rated: 5 judgements, about $41 at most (replies of up to 7 tokens); "
        "the budget of $3.00 may end it before"
    ]
    unpriced = "{name: rated, judge: openai, model: m, rubric: honesty}"
    [told] = Asking(tmp_path, unpriced).notes()
    assert told.endswith("what they cost is not counted without input_price and output_price")


def test_before_there_is_feedback_the_number_is_about_and_money_is_not_guessed(tmp_path: Path) -> None:
    item = f"{{name: rated, judge: openai, model: m, rubric: honesty, {PRICED}}}"
    asking = Asking(tmp_path, f"{item}, {{name: duel, judge: mock, pairs: true}}", feedback=False)
    prompts = asking.config.data.prompts
    assert asking.notes() == [
        f"annotations_duel: about {prompts * 2 * math.comb(4, 2):,} judgements",
        f"annotations_rated: about {prompts * 4:,} judgements; about what they cost is told once the feedback is there "
        "(until=feedback)",
    ]


def test_failed_verdicts_are_a_note_of_the_run() -> None:
    facts = {"annotations_a": {"failed": 2, "verdicts": 9}, "annotations_b": {"failed": 0, "verdicts": 9}, "pairs": {}}
    [note] = failed_notes(facts)
    assert note.startswith("2 of 9 verdicts of the annotator a failed")


def test_each_endpoint_is_asked_one_question_which_is_paid(tmp_path: Path) -> None:
    with FaultServer() as server:
        judge = f"judge: openai, model: gpt, base_url: '{server.url}', max_retries: 0"
        two = f"{{name: a, {judge}, rubric: honesty, {PRICED}}}, {{name: b, {judge}, rubric: helpfulness, {PRICED}}}"
        asking = Asking(tmp_path, two)
        assert asking.look() == [f"annotators.a.model=gpt answers as {SNAPSHOT}"]
        assert len(server.requests) == 1
        assert Ledger(asking.job.ledger).usd == pytest.approx(101.0)
        with pytest.raises(UserError, match=r"annotators.a.snapshot=old, but the endpoint answers as"):
            Asking(tmp_path, f"{{name: a, {judge}, rubric: honesty, snapshot: old}}").look()
    with pytest.raises(UserError, match=r"annotators.a.model=gpt at http://127.0.0.1:.* does not answer"):
        Asking(tmp_path, f"{{name: a, {judge}, rubric: honesty}}").look()


def test_an_endpoint_rates_and_is_not_asked_where_all_is_cached(tmp_path: Path) -> None:
    with FaultServer(answer=lambda text: "[[4]]") as server:
        item = f"{{name: a, judge: openai, model: gpt, base_url: '{server.url}', rubric: honesty, {PRICED}}}"
        asking = Asking(tmp_path, item)
        facts = asking.make(asking.nodes[1])
        assert (facts["verdicts"], facts["asked"], facts["repeated"], facts["with_value"]) == (5, 4, 1, 5)
        assert facts["cost"] == pytest.approx(4 * 101)
        before = len(server.requests)
        assert asking.look() == []
        assert len(server.requests) == before


def test_a_folder_of_a_reward_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotators.r.model=/no/such: there is no such folder"):
        Asking(tmp_path, "{name: r, reward_model: /no/such}")


def test_a_folder_that_is_no_reward_model_is_told_before_anything_runs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"num_labels": 3}')
    item = f"{{name: r, reward_model: '{folder}'}}"
    with pytest.raises(UserError, match=r"annotators.r.model=.* has no safetensors weights"):
        Asking(tmp_path, item)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"annotators.r.model=.* has 3 outputs"):
        Asking(tmp_path, item).look()
