"""Answers of a server that the run starts: what it is given and asked, and what of its answers is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.chat.completion import NO_KEY
from notus_exp.config.generation_settings import ServedGeneration
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.disk import files
from notus_exp.disk.events import EventWriter
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.generation import served as asking
from notus_exp.generation.answering import answer
from notus_exp.generation.conversation import Question, read_conversations
from notus_exp.generation.engine import room_for
from notus_exp.machine import servers
from notus_exp.machine.servers import Servers
from notus_exp.models.pretrained import tiny_random
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EngineSettings, GenerationsSettings
from support.engines import COMMAND, served

ENGINE = EngineSettings("fake", None, None, {}, "base")
SETTINGS = GenerationsSettings(
    "mt_bench", {}, 7, 16, 0.7, {}, None, "float32", "base", sent_seed="prompt", engine=ENGINE
)
HARDWARE = Hardware("cpu", Device.cpu, 1, 1, 1, "sdpa", False, [], Launch.plain, 1, None, False)
QUESTIONS = [
    Question(prompt_id(text), (text, "and then?") if text == "a" else (text,), heat)
    for text, heat in (("a", 0.7), ("b", 0.7), ("c", 0.0))
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.05)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """A base model and the adapter of a policy, of which only the names matter to the fake engine."""
    (tmp_path / "base" / "model").mkdir(parents=True)
    adapter = tmp_path / "policy" / "model"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 4, "rank_pattern": {"q_proj": 12}}))
    return {"base_model": tmp_path / "base", "policy": tmp_path / "policy"}


def ask(
    kept: Servers,
    generation: ServedGeneration,
    inputs: dict[str, Path],
    out: Path,
    policies: list[Path] | None = None,
    questions: list[Question] = QUESTIONS,
) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    context = Context(EventWriter("generations", out / "events.jsonl"), HARDWARE, out)
    context.generation, context.servers, context.policies = generation, kept, policies or []
    return answer(questions, SETTINGS, inputs, out, context)


def said(out: Path) -> list[str]:
    return [row["response"] for rows in read_conversations(out / files.GENERATIONS).values() for row in rows]


def starts(tmp_path: Path) -> int:
    return (tmp_path / "server.log").read_text().count("fake engine")


def test_base_model_and_adapter_are_answered_by_one_process(tmp_path: Path, inputs: dict[str, Path]) -> None:
    policy, log = inputs["policy"], tmp_path / "asked"
    generation = served(options=f"--log '{log}'")
    with Servers(tmp_path / "server.log") as kept:
        facts = ask(kept, generation, {"base_model": inputs["base_model"]}, tmp_path / "b", [policy])
        ask(kept, generation, inputs, tmp_path / "p", [policy])
    base = inputs["base_model"] / "model"
    assert said(tmp_path / "b") == [f"{base} says {text}" for text in ("a", "and then?", "b", "c")]
    assert said(tmp_path / "p")[0] == f"{policy / 'model'} says a"
    assert starts(tmp_path) == 1
    assert facts["engines"] == {f"{Path(COMMAND.split()[0].strip(chr(39))).name} 1.2.3": 4}
    assert "endpoints" not in facts
    sent = [json.loads(line) for line in log.read_text().splitlines()]
    assert {one["model"] for one in sent} == {"base", "policy"}
    seeds = {
        (one["model"], tuple(turn["content"] for turn in one["messages"] if turn["role"] == "user")): one["seed"]
        for one in sent
    }
    of_base = {asked: seed for (model, asked), seed in seeds.items() if model == "base"}
    assert len(set(of_base.values())) == 4, "each prompt and turn has a seed of its own"
    assert of_base == {asked: seed for (model, asked), seed in seeds.items() if model == "policy"}
    assert {one["temperature"] for one in sent} == {0.0, 0.7}
    assert {one["authorization"] for one in sent} == {f"Bearer {NO_KEY}"}


def test_seeds_and_answers_do_not_depend_on_how_many_are_asked_at_once(tmp_path: Path, inputs: dict[str, Path]) -> None:
    found = []
    for number in (1, 3):
        log = tmp_path / f"asked{number}"
        with Servers(tmp_path / "server.log") as kept:
            ask(kept, served(options=f"--log '{log}'", concurrency=number), inputs, tmp_path / str(number))
        found.append(sorted(log.read_text().splitlines()))
    assert found[0] == found[1]
    assert said(tmp_path / "1") == said(tmp_path / "3")


def test_a_policy_whose_weights_were_all_trained_is_a_model_of_its_own(tmp_path: Path, inputs: dict[str, Path]) -> None:
    (inputs["policy"] / "model" / "adapter_config.json").unlink()
    with Servers(tmp_path / "server.log") as kept:
        ask(kept, served(), {"base_model": inputs["base_model"]}, tmp_path / "b", [inputs["policy"]])
        ask(kept, served(), inputs, tmp_path / "p")
    assert said(tmp_path / "p")[0] == f"{inputs['policy'] / 'model'} says a"
    assert starts(tmp_path) == 2


def test_an_adapter_is_merged_for_a_server_that_takes_none(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from notus_exp.models.pretrained import load_model

    base, policy, out = tmp_path / "base", tmp_path / "policy", tmp_path / "out"
    tiny_random(base / "model", 0)
    model = load_model(base / "model", None, "float32", HARDWARE)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(
        policy / "model"
    )
    seen: list[str] = []
    with Servers(tmp_path / "server.log") as kept:
        started = kept.started

        def remember(wanted: Any, tick: Any) -> Any:
            folder = Path(wanted.arguments[wanted.arguments.index("--model") + 1])
            seen.extend(sorted(path.name for path in folder.iterdir()))
            return started(wanted, tick)

        kept.started = remember  # type: ignore[method-assign]
        ask(kept, served(adapter=None), {"base_model": base, "policy": policy}, out)
    assert said(out)[0] == f"{out / files.MERGED} says a"
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(seen)
    assert "adapter_config.json" not in seen
    assert not (out / files.MERGED).exists(), "no artifact keeps it"


def test_a_server_that_dies_in_the_midst_is_told_and_the_same_command_asks_for_the_rest(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    once, log = tmp_path / "once", tmp_path / "asked"
    generation = served(options=f"--die-after 2 --once '{once}' --log '{log}'", concurrency=1, max_retries=6)
    with Servers(tmp_path / "server.log") as kept:
        with pytest.raises(UserError) as error:
            ask(kept, generation, inputs, tmp_path / "out")
        assert "ended with code 137" in error.value.message
        assert asking.AGAIN in error.value.hint
        ask(kept, generation, inputs, tmp_path / "out")
    assert len(said(tmp_path / "out")) == 4
    assert len(log.read_text().splitlines()) == 4, "no answer was asked for twice"
    assert starts(tmp_path) == 2


def test_answers_of_another_version_are_asked_again_and_another_than_is_wanted_is_refused(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    once, log = tmp_path / "once", tmp_path / "asked"
    dying = served(options=f"--die-after 2 --once '{once}' --log '{log}'", concurrency=1)
    with Servers(tmp_path / "server.log") as kept:
        with pytest.raises(UserError):
            ask(kept, dying, inputs, tmp_path / "out")
        facts = ask(kept, served(options=f"--version 2.0 --log '{log}'"), inputs, tmp_path / "out")
        assert sum(facts["engines"].values()) == 4
        assert all(name.endswith(" 2.0") for name in facts["engines"])
        assert len(log.read_text().splitlines()) == 2 + 4
        with pytest.raises(UserError, match=r"generation.version=2.0 is wanted, and .* is of 1.2.3"):
            ask(kept, served(version="2.0"), inputs, tmp_path / "other")


def test_room_for_an_adapter_is_a_power_of_two(inputs: dict[str, Path]) -> None:
    assert room_for(inputs["policy"] / "model") == 16
