"""What lies outside a run and can be known before it is asked for before anything is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notus_exp.chat import waiting
from notus_exp.config.schema import Config
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import GENERATIONS
from notus_exp.disk.hashing import prompt_id
from notus_exp.disk.json_lines import read_lines
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import entrance
from notus_exp.generation.conversation import Answer, Conversation, Question, to_table
from notus_exp.run.ahead import look_ahead
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.stages.context import Context
from support.configs import composed
from support.fault_server import SNAPSHOT, FaultServer

SMOKE = ["experiment=smoke"]
FAKE_HARNESS = """
class TaskManager:
    all_tasks = ["arc_easy", "arc_challenge"]
    def __init__(self, include_path=None): pass
    def match_tasks(self, names): return [task for task in self.all_tasks if task in names]
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-top-secret-0123456789")
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "MOST_BACKOFF_SECONDS", 0.02)


class Ahead:
    """A planned run below a folder, and what looking ahead says."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.config: Config = composed(*SMOKE, *overrides)
        sources = resolve(self.config)
        self.nodes = make_plan(self.config, sources)
        self.store = ArtifactStore(folder / "artifacts")
        config = self.config
        self.job = Job(
            self.nodes, self.store.root, folder / "cache", folder / "events.jsonl", config.hardware, sources.files,
            config.generation, config.judge, folder / "ledger.jsonl",
        )  # fmt: skip

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def look(self) -> list[str]:
        said: list[str] = []
        missing = [node for node in self.nodes if self.store.find(node.wanted) is None]
        look_ahead(replace(self.job, nodes=missing), self.nodes, said.append)
        return said


@pytest.fixture
def alpaca(tmp_path: Path) -> list[str]:
    rows = [{"instruction": name, "output": "x", "generator": "r", "dataset": "d"} for name in ("a", "b")]
    (tmp_path / "alpaca.json").write_text(json.dumps(rows))
    return ["evaluation=[alpaca_eval]", f"evaluation.alpaca_eval.prompts={tmp_path / 'alpaca.json'}"]


def judged_by(server: FaultServer, *more: str) -> list[str]:
    return ["judge=openai", "judge.model=gpt", f"judge.base_url={server.url}", "judge.max_retries=0", *more]


def served_by(server: FaultServer, *more: str) -> list[str]:
    models = ["generation.base_model=base", "generation.policy_model=tuned", "judge=mock"]
    return ["generation=openai", f"generation.base_url={server.url}", "generation.max_retries=0", *models, *more]


# -------------------------------------------------------------------------------------------------------------- judges
def test_a_judge_is_asked_one_question_which_is_paid(tmp_path: Path, alpaca: list[str]) -> None:
    prices = ["judge.input_price=10", "judge.output_price=20"]
    with FaultServer() as server:
        said = Ahead(tmp_path, *alpaca, *judged_by(server, *prices)).look()
        assert len(server.requests) == 1
    assert said == [f"judge.model=gpt answers as {SNAPSHOT}"]
    [paid] = read_lines(tmp_path / "ledger.jsonl")
    assert (paid["usd"], paid["tokens"]) == (0.00102, 101)


@pytest.mark.parametrize(
    ("said", "parameter", "remedy"),
    [
        ("Use 'max_completion_tokens' instead of 'max_tokens'", "max_tokens",
         "judge.token_limit_parameter=max_completion_tokens"),
        ("'temperature' does not support 0.0", "temperature", "judge.temperature=null"),
    ],
)  # fmt: skip
def test_a_refused_parameter_is_told_before_anything_is_made_and_mended_by_the_setting(
    tmp_path: Path, alpaca: list[str], said: str, parameter: str, remedy: str
) -> None:
    with FaultServer(refuse=lambda body: said if parameter in body else None) as server:
        with pytest.raises(UserError, match="does not answer a first question: status 400") as error:
            Ahead(tmp_path, *alpaca, *judged_by(server)).look()
        assert remedy in error.value.hint
        assert Ahead(tmp_path, *alpaca, *judged_by(server, remedy)).look()
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("until", ["policy", "pairs", "generations"])
def test_nobody_is_asked_who_will_not_be(tmp_path: Path, alpaca: list[str], until: str) -> None:
    with FaultServer() as server:
        assert not Ahead(tmp_path, *alpaca, *judged_by(server), f"until={until}").look()
        assert not Ahead(tmp_path, *alpaca, *judged_by(server, "judge.offline=true")).look()
        assert not Ahead(tmp_path, *alpaca, "judge=mock").look()
        assert not server.requests


def test_a_judge_is_not_asked_where_all_verdicts_are_cached(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer() as server:
        ahead = Ahead(tmp_path, *alpaca, *judged_by(server))
        for side in ("", "_base"):
            answer(ahead, ahead.node(f"generations_alpaca_eval{side}"), side)
        assert ahead.look()
        assert len(server.requests) == 1
        for side in ("", "_base"):
            node = ahead.node(f"generations_alpaca_eval{side}")
            context = Context(
                EventWriter("x", tmp_path / "x.jsonl"), ahead.job.hardware, ahead.job.cache, ahead.job.sources
            )
            place = ahead.store.path("generations", node.key) / GENERATIONS
            entrance("alpaca_eval").judge(place, ahead.config.judge, context)
        server.requests.clear()
        assert not ahead.look()
        assert not server.requests


def answer(ahead: Ahead, node: Node, side: str) -> None:
    """Make an artifact of answers."""

    def make(out: Path) -> dict[str, Any]:
        questions = [Question(prompt_id(text), (text,), 0.0, "d") for text in ("a", "b")]
        found = [Conversation(one, [Answer(f"answer {side}", 2, False, [], [])]) for one in questions]
        to_table(found).write_parquet(out / GENERATIONS)
        return {}

    ahead.store.build(node.wanted, make, resumable=False)


def test_what_a_parser_needs_is_asked_for(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer() as server:
        ahead = Ahead(tmp_path, *alpaca, *judged_by(server, "judge.parser=logprobs"))
        with pytest.raises(UserError, match="answers without log-probs"):
            ahead.look()
        server.top_logprobs = [("m", -0.5), ("M", -1.0)]
        assert ahead.look()
        assert server.requests[-1][2]["logprobs"]


def test_another_snapshot_a_reply_of_thoughts_alone_and_no_room_in_the_budget_are_told(
    tmp_path: Path, alpaca: list[str]
) -> None:
    with FaultServer() as server:
        with pytest.raises(UserError, match=f"judge.snapshot=old, but the endpoint answers as '{SNAPSHOT}'"):
            Ahead(tmp_path, *alpaca, *judged_by(server, "judge.snapshot=old")).look()
        prices = ["judge.input_price=1", "judge.output_price=1000", "judge.budget=0.1"]
        with pytest.raises(UserError, match=r"judge.budget=0.1 USD"):
            Ahead(tmp_path, *alpaca, *judged_by(server, *prices)).look()
        server.answer = lambda prompt: "<think>one letter?</think>\nm"
        assert any("judge.thinking=strip" in line for line in Ahead(tmp_path, *alpaca, *judged_by(server)).look())
        server.answer, server.finish_reason = lambda prompt: "", "length"
        with pytest.raises(UserError, match=r"has said nothing .* judge.max_tokens=9"):
            Ahead(tmp_path, *alpaca, *judged_by(server, "judge.max_tokens=9")).look()


def test_an_endpoint_that_is_not_there_is_told(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer() as server:
        pass
    with pytest.raises(UserError, match=r"judge.model=gpt at http://127.0.0.1:.* the connection failed"):
        Ahead(tmp_path, *alpaca, *judged_by(server)).look()


def test_stored_verdicts_are_read_ahead(tmp_path: Path, alpaca: list[str]) -> None:
    stored = tmp_path / "stored.json"
    stored.write_text("{}")
    with pytest.raises(UserError, match="is no list of objects"):
        Ahead(tmp_path, *alpaca, "judge=replay", f"judge.path={stored}").look()
    stored.write_text(json.dumps([{"instruction": "a", "output_1": "x", "output_2": "y", "preference": 1}]))
    assert Ahead(tmp_path, *alpaca, "judge=replay", f"judge.path={stored}").look() == []


def test_the_files_of_a_reward_model_are_looked_at_ahead(tmp_path: Path, alpaca: list[str]) -> None:
    folder = tmp_path / "reward"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    chosen = [*alpaca, "judge=reward_model", f"judge.model={folder}"]
    for content, words in (
        ("", "config.json: Expecting value"),
        ('{"architectures": ["LlamaForCausalLM"]}', "has 2 outputs"),
        ('{"id2label": {"0": "a", "1": "b", "2": "c"}}', "has 3 outputs"),
        ('{"id2label": {"0": "reward"}}', "has no chat template"),
    ):
        (folder / "config.json").write_text(content)
        with pytest.raises(UserError, match=words):
            Ahead(tmp_path, *chosen).look()
    (folder / "chat_template.jinja").write_text("x")
    assert Ahead(tmp_path, *chosen).look() == []


# ------------------------------------------------------------------------------------------------------------- answers
def test_each_served_model_is_asked_once(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer() as server:
        said = Ahead(tmp_path, *alpaca, *served_by(server)).look()
        assert [body["model"] for _, _, body, _ in server.requests] == ["base", "tuned"]
    assert said == ["generation.base_model=base answers", "generation.policy_model=tuned answers"]


def test_a_model_that_the_endpoint_does_not_have_is_told_before_the_training(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer(lambda prompt, nth: "404") as server:
        ahead = Ahead(tmp_path, *alpaca, *served_by(server))
        with pytest.raises(UserError, match=r"generation.base_model: .* has no model 'base'"):
            ahead.look()
    with FaultServer(lambda prompt, nth: "ok" if nth == 0 else "404") as server:
        with pytest.raises(UserError, match=r"generation.policy_model: .* has no model 'tuned'") as error:
            Ahead(tmp_path, *alpaca, *served_by(server)).look()
        assert "until=policy" in error.value.hint
        ahead = Ahead(tmp_path, *alpaca, *served_by(server))
        place = ahead.store.path("policy", ahead.node("policy").key)
        server._counts.clear()
        named = f"generation.policy_model={place}"
        assert Ahead(tmp_path, *alpaca, *served_by(server), named).look() == ["generation.base_model=base answers"]


def test_a_parameter_that_the_endpoint_refuses_is_told(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer(refuse=lambda body: "no temperature" if "temperature" in body else None) as server:
        with pytest.raises(UserError, match=r"generation.base_model=base at .* status 400") as error:
            Ahead(tmp_path, *alpaca, *served_by(server)).look()
        assert "generation.temperature=null" in error.value.hint
        assert Ahead(tmp_path, *alpaca, *served_by(server, "generation.temperature=null")).look()


# --------------------------------------------------------------------------------------------------- tables and tasks
def ifeval(folder: Path, instruction: str, **arguments: Any) -> list[str]:
    row = {"key": 1, "prompt": "a", "instruction_id_list": [instruction], "kwargs": [arguments]}
    (folder / "ifeval.jsonl").write_text(json.dumps(row))
    return ["evaluation=[ifeval]", f"evaluation.ifeval.prompts={folder / 'ifeval.jsonl'}"]


def test_missing_tables_and_unknown_instructions_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk
    from if_verifiable.ifeval import instructions_util

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    instructions_util._get_sentence_tokenizer.cache_clear()
    sentences = ifeval(tmp_path, "length_constraints:number_sentences", num_sentences=2, relation="at least")
    with pytest.raises(UserError, match="'punkt_tab', which are in none of the places searched"):
        Ahead(tmp_path, *sentences).look()
    assert Ahead(tmp_path, *sentences, "until=generations").look() == []
    with pytest.raises(UserError, match="unknown instruction 'made:up'"):
        Ahead(tmp_path, *ifeval(tmp_path, "made:up")).look()
    assert Ahead(tmp_path, *ifeval(tmp_path, "punctuation:no_comma")).look() == []


def test_an_unknown_task_of_the_harness_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lm_eval").mkdir()
    (tmp_path / "lm_eval" / "__init__.py").write_text("")
    (tmp_path / "lm_eval" / "tasks.py").write_text(FAKE_HARNESS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    chosen = ["evaluation=[lm_eval]", "evaluation.lm_eval.tasks=[arc_esay]"]
    with pytest.raises(UserError, match="'arc_esay' is no task") as error:
        Ahead(tmp_path, *chosen).look()
    assert error.value.hint == "did you mean 'arc_easy'?"
    assert Ahead(tmp_path, chosen[0], "evaluation.lm_eval.tasks=[arc_easy]").look() == []


def test_a_harness_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="which is not installed"):
        Ahead(tmp_path, "evaluation=[lm_eval]", "evaluation.lm_eval.tasks=[arc_easy]").look()


def test_one_served_model_for_two_is_told(tmp_path: Path, alpaca: list[str]) -> None:
    with FaultServer() as server:
        both = Ahead(tmp_path, *alpaca, *served_by(server, "generation.policy_model=base")).look()
        assert both[0].startswith("note: generation.policy_model=base is generation.base_model too")
        earlier = Ahead(tmp_path, *alpaca, *served_by(server, "dpo.beta=0.7"))
        node = earlier.node("generations_alpaca_eval")
        earlier.store.build(node.wanted, lambda out: {}, resumable=False)
        said = Ahead(tmp_path, *alpaca, *served_by(server)).look()
        assert said[0].startswith("note: generation.policy_model=tuned answered for another policy before")
        assert not any("note" in line for line in earlier.look())
