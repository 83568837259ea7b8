"""Answers of an endpoint: what is sent, what of a reply is the answer, and one pause for all of its clients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.disk import files
from notus_exp.disk.events import EventWriter
from notus_exp.disk.hashing import prompt_id
from notus_exp.disk.json_lines import SEAL, write_lines
from notus_exp.errors import UserError
from notus_exp.generation.conversation import Conversation, Question
from notus_exp.generation.served import served_answers
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings
from support.fault_server import FaultServer

SETTINGS = GenerationsSettings("alpaca_eval", {}, 7, 16, 0.7, {}, None, "float32", "served")
HARDWARE = Hardware("cpu", Device.cpu, 1, 1, 1, "sdpa", False, [], Launch.plain, 1, None, False)


def endpoint(server: FaultServer, **changes: Any) -> EndpointGeneration:
    made = EndpointGeneration(
        name="openai", base_url=server.url, api_key_env="NOTUS_TEST_KEY", base_model="base", policy_model="served",
        concurrency=4, timeout=5.0, max_retries=0, max_wait=60.0, token_limit_parameter="max_tokens",
        temperature="evaluation", seed="evaluation", thinking="none",
    )  # fmt: skip
    return replace(made, **changes)


def answers(server: FaultServer, folder: Path, settings: GenerationsSettings = SETTINGS, **changes: Any) -> Any:
    context = Context(EventWriter("generations", folder / "events.jsonl"), HARDWARE, folder)
    context.generation = endpoint(server, **changes)
    questions = [Question(prompt_id(text), (text,), heat, "") for text, heat in (("a", 0.0), ("b", 0.7))]
    found = served_answers(settings, {}, folder, context)(1, [Conversation(one, []) for one in questions])
    return [found[one.prompt_id] for one in questions]


def test_an_endpoint_is_sent_what_the_evaluation_says(tmp_path: Path) -> None:
    with FaultServer(answer=lambda prompt: f"re: {prompt}") as server:
        assert [one.response for one in answers(server, tmp_path)] == ["re: a", "re: b"]
        bodies = {prompt: body for _, prompt, body, _ in server.requests}
    assert {prompt: body["temperature"] for prompt, body in bodies.items()} == {"a": 0.0, "b": 0.7}
    assert bodies["a"]["max_tokens"] == 16
    assert bodies["a"]["seed"] == 7


def test_an_endpoint_that_takes_neither_temperature_nor_seed_is_sent_neither(tmp_path: Path) -> None:
    settings = replace(SETTINGS, token_limit_parameter="max_completion_tokens", sent_temperature=None, sent_seed=None)
    with FaultServer() as server:
        answers(server, tmp_path, settings)
        bodies = [body for _, _, body, _ in server.requests]
    assert [set(body) for body in bodies] == [{"model", "messages", "max_completion_tokens"}] * 2


def test_thoughts_are_no_part_of_an_answer_and_an_answer_without_an_end_to_them_is_truncated(tmp_path: Path) -> None:
    texts = {"a": "<think>hm</think>\n\nBlue.", "b": "<think>hm"}
    with FaultServer(answer=texts.__getitem__) as server:
        found = answers(server, tmp_path, replace(SETTINGS, thinking="strip"))
    assert [(one.response, one.truncated) for one in found] == [("Blue.", False), ("", True)]


def test_a_refusal_names_the_setting_and_a_long_wait_ends_it(tmp_path: Path) -> None:
    with FaultServer(refuse=lambda body: "'temperature' is not supported") as server:
        with pytest.raises(UserError, match="2 of 2 prompts were not answered") as error:
            answers(server, tmp_path)
        assert error.value.hint.startswith("set generation.temperature=null")
    with FaultServer(lambda prompt, nth: "429", retry_after="86400") as server:
        with pytest.raises(UserError, match=r"asks to wait 24 hours .* generation.max_wait=60 seconds"):
            answers(server, tmp_path, concurrency=1, max_retries=6)
        assert len(server.requests) == 1, "the pause holds for the clients of all temperatures"


def test_of_kept_answers_those_that_are_not_what_was_written_are_asked_again_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / files.ANSWERS.format(1)
    with FaultServer(answer=lambda prompt: f"re: {prompt}") as server:
        answers(server, tmp_path)
        written = path.read_text()
        path.write_text(written.replace("re: a", "re: c"))
        assert [one.response for one in answers(server, tmp_path)] == ["re: a", "re: b"]
        assert [prompt for _, prompt, _, _ in server.requests].count("a") == 2
        assert f"{path}: 1 answer is damaged" in capsys.readouterr().err
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / path.name).write_text(written)
        answers(server, tmp_path / "other")
        assert len(server.requests) == 5, "answers of another artifact are none of this one"
        old = [
            {name: value for name, value in json.loads(line).items() if name != SEAL} for line in written.splitlines()
        ]
        write_lines(path, old)
        answers(server, tmp_path)
        assert len(server.requests) == 5, "lines from before there were seals are read"


def test_tokens_that_an_endpoint_does_not_tell_are_unknown_and_not_nought(tmp_path: Path) -> None:
    with FaultServer() as server:
        server.usage = None
        assert [one.tokens for one in answers(server, tmp_path)] == [None, None]
        assert [one.tokens for one in answers(server, tmp_path)] == [None, None]
        assert len(server.requests) == 2, "an answer without its tokens is kept as any other"


def test_each_answer_says_which_address_gave_it(tmp_path: Path) -> None:
    with FaultServer() as one, FaultServer() as other:
        with (
            FaultServer(lambda prompt, nth: "400" if prompt == "b" else "ok") as half,
            pytest.raises(UserError, match="1 of 2 prompts were not answered"),
        ):
            answers(half, tmp_path)
        assert [answer.endpoint for answer in answers(one, tmp_path)] == [half.url, one.url]
        path = tmp_path / files.ANSWERS.format(1)
        old = [json.loads(line) for line in path.read_text().splitlines()]
        write_lines(path, [{name: fields[:5] for name, fields in line.items() if name != SEAL} for line in old])
        assert [answer.endpoint for answer in answers(other, tmp_path)] == ["", ""], "lines from before addresses"
        assert other.requests == []
