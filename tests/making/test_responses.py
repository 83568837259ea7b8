"""A writer answers the prompts that drew it: what is sent, kept, refused, paid, and gone on with after a kill."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import polars as pl
import pytest

from notus_exp.disk import files
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.making.first_answer import ask_first_answer
from support.fault_server import FaultServer
from support.killings import let_finish_killed, questions_of
from support.writers import answer, settings, writer

TOLD = {"principles": {"any": {"honesty": 1.0}}, "told": {"honesty": ["Be honest."]}}


def table(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / files.RESPONSES)


def test_a_writer_is_told_the_principle_as_the_system_turn_and_sampled_with_a_seed_of_the_prompt(
    tmp_path: Path,
) -> None:
    with FaultServer(answer=lambda prompt: f"re: {prompt}") as server:
        facts, out = answer(tmp_path, 3, writer(server.url), TOLD)
        bodies = [body for _, _, body, _ in server.requests]
    found = table(out)
    assert found["response"].to_list() == [f"re: Question {number}?" for number in range(3)]
    assert set(found["principle"]) == {"honesty"} and set(found["system_prompt"]) == {"Be honest."}
    assert {body["messages"][0]["content"] for body in bodies} == {"Be honest."}
    assert {body["messages"][0]["role"] for body in bodies} == {"system"}
    assert len({body["seed"] for body in bodies}) == 3
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.7, 16)}
    assert (facts["prompts"], facts["answers"], facts["empty"], facts["refused"]) == (3, 3, 0, 0)
    assert facts["endpoints"] == {server.url: 3}
    assert [path.name for path in out.glob("answers-*")] == []


def test_where_nothing_is_told_nothing_is_sent_nor_a_temperature_or_seed_that_is_null(tmp_path: Path) -> None:
    with FaultServer() as server:
        answer(tmp_path, 2, writer(server.url), {"temperature": None, "seed": None})
        bodies = [body for _, _, body, _ in server.requests]
    assert [set(body) for body in bodies] == [{"model", "messages", "max_tokens"}] * 2
    assert all(len(body["messages"]) == 1 for body in bodies)


def test_a_prompt_that_an_endpoint_refuses_while_it_answers_others_is_counted_and_not_asked_again(
    tmp_path: Path,
) -> None:
    broken = {"Question 1?": "filtered"}
    with FaultServer(
        plan=lambda prompt, nth: "500" if prompt == "Question 2?" and nth == 0 else "ok",
        refuse=lambda body: broken.get(body["messages"][-1]["content"]),
    ) as server:
        with pytest.raises(UserError, match="1 of 4 prompts were not answered") as error:
            answer(tmp_path, 4, writer(server.url, concurrency=1))
        assert "the same command asks only for the missing ones" in error.value.hint
        facts, out = answer(tmp_path, 4, writer(server.url))
        assert questions_of(server) == {"Question 0?": 1, "Question 1?": 1, "Question 2?": 2, "Question 3?": 1}
    found = table(out)
    assert re.match(r"status 400: .*filtered", found["refused"].to_list()[1])
    assert [bool(reason) for reason in found["refused"]] == [False, True, False, False]
    assert (facts["refused"], facts["empty"]) == (1, 0)


def test_an_endpoint_that_refuses_all_is_asked_wrongly_and_the_writers_setting_is_named(tmp_path: Path) -> None:
    with (
        FaultServer(refuse=lambda body: "'temperature' is not supported") as server,
        pytest.raises(UserError, match=r"^data.writers.0: 2 of 2 prompts were not answered") as error,
    ):
        answer(tmp_path, 2, writer(server.url))
    assert error.value.hint.startswith("set data.writers.0.temperature=null")


def test_the_budget_ends_the_answering_in_order_and_the_same_command_goes_on(tmp_path: Path) -> None:
    priced = {"input_price": 0.0, "output_price": 1_000_000.0, "concurrency": 2}  # a dollar a token written
    with FaultServer() as server:
        server.usage = {"prompt_tokens": 5, "completion_tokens": 2}
        with pytest.raises(UserError, match=r"data.budget=20 USD: 0 USD spent before, 6 now.* could cost 16") as error:
            answer(tmp_path, 6, writer(server.url, **priced), budget=20.0)
        assert error.value.hint.startswith("raise the budget")
        assert "3 of 6 answers are missing" in error.value.message
        assert Ledger(tmp_path / "ledger.jsonl").usd == 6.0, "the next one could cost 16 of the 14 that are left"
        facts, out = answer(tmp_path, 6, writer(server.url, **priced), budget=40.0)
        assert set(questions_of(server).values()) == {1}
    assert Ledger(tmp_path / "ledger.jsonl").usd == 12.0
    assert (facts["cost"], facts["completion_tokens"]) == (6.0, 6), "of this attempt"
    assert table(out).height == 6


def test_an_answer_that_was_lost_may_have_been_paid_and_is_held_against_the_budget(tmp_path: Path) -> None:
    priced = {"input_price": 0.0, "output_price": 1_000_000.0, "concurrency": 1, "max_retries": 1}
    with FaultServer(plan=lambda prompt, nth: "told" if nth == 0 else "ok") as server:
        server.usage = {"prompt_tokens": 5, "completion_tokens": 2}
        facts, _ = answer(tmp_path, 1, writer(server.url, **priced), budget=100.0)
    assert (facts["discarded"], facts["cost"]) == (1, 4.0)
    assert Ledger(tmp_path / "ledger.jsonl").tokens == 14


def test_killed_in_the_midst_of_answering_no_stored_answer_is_asked_for_again(tmp_path: Path) -> None:
    """Two kills: the calls exceed the need by no more than the requests that were under way at each."""
    prompts, concurrency = 40, 4
    with FaultServer(latency=0.02) as server:
        command = [sys.executable, "-m", "support.writers", str(tmp_path), str(prompts), server.url, str(concurrency)]
        let_finish_killed(command, server, prompts, concurrency, lambda: kept(tmp_path))
    assert table(tmp_path / "responses")["response"].to_list() == [
        server.said[f"Question {number}?"] for number in range(prompts)
    ]


def kept(folder: Path) -> set[str]:
    """Return the prompts whose answers a killed attempt left."""
    path = folder / "responses" / files.ANSWERS.format(1)
    lines = path.read_text().splitlines() if path.exists() else []
    ids = [line.split('"')[1] for line in lines]
    texts = pl.read_parquet(folder / "instructions" / files.COMPLETIONS).select("prompt_id", "instruction")
    return {text for one, text in texts.iter_rows() if one in ids}


def test_an_answer_that_another_run_paid_for_is_not_asked_for_again(tmp_path: Path) -> None:
    pool = {"draw": {"writers": ["far", "other"], "per_prompt": 2, "seed": 0, "max_prompts": None}}
    with FaultServer(answer=lambda prompt: f"re: {prompt}") as server:
        answer(tmp_path, 3, writer(server.url))
        facts, out = answer(tmp_path, 5, writer(server.url), pool, name="more")
        assert questions_of(server) == {f"Question {number}?": 1 for number in range(5)}
        assert (facts["from_cache"], facts["prompt_tokens"]) == (3, 200)
        assert table(out)["response"].to_list() == [f"re: Question {number}?" for number in range(5)]
        answer(tmp_path, 3, writer(server.url), {"temperature": 0.1}, name="cool")
        assert len(server.requests) == 8, "another temperature is another answer"


def test_as_many_requests_are_under_way_as_the_writer_allows(tmp_path: Path) -> None:
    with FaultServer(latency=0.05) as server:
        answer(tmp_path, 24, writer(server.url, concurrency=6))
        assert server.most == 6


def test_the_first_question_is_paid_and_names_the_writers_setting(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    priced = {"input_price": 1_000_000.0, "output_price": 0.0}
    with FaultServer() as server:
        server.usage = {"prompt_tokens": 5, "completion_tokens": 2}
        ask_first_answer(settings(**TOLD), writer(server.url, **priced), "data.writers.0", ledger, None)
        assert [turn["role"] for turn in server.requests[0][2]["messages"]] == ["system", "user"]
    assert (ledger.usd, ledger.tokens) == (5.0, 7)
    with (
        FaultServer(refuse=lambda body: "seed: extra fields not permitted") as server,
        pytest.raises(UserError, match=r"data.writers.0.model=served at http.* does not answer a first") as error,
    ):
        ask_first_answer(settings(), writer(server.url), "data.writers.0", ledger, None)
    assert error.value.hint == "set data.writers.0.seed=null, which sends none"
