"""Judges that think aloud, take no temperature, or name the token limit in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.errors import UserError
from notus_exp.judging.judge import grade, prefer
from support.fault_server import FaultServer
from support.judges import grading, openai_judge, pair

AGREE = "<think>m? [[B]]</think>\n\nm"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTUS_TEST_KEY", "sk-top-secret-0123456789")


def at(server: FaultServer, **changes: Any) -> Any:
    return openai_judge(**({"base_url": server.url, "both_orders": False} | changes))


def test_a_limit_by_its_other_name_and_no_temperature_are_sent_so(tmp_path: Path) -> None:
    with FaultServer() as server:
        judge = at(server, token_limit_parameter="max_completion_tokens", temperature=None)
        prefer([pair(1)], judge, tmp_path / "a.sqlite")
        [(_, _, body, _)] = server.requests
    assert set(body) == {"model", "messages", "max_completion_tokens"}
    assert body["max_completion_tokens"] == 16


def test_a_refused_parameter_names_the_setting_that_mends_it(tmp_path: Path) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with FaultServer(refuse=lambda body: said if "max_tokens" in body else None) as server:
        with pytest.raises(UserError, match=r"status 400: .*Unsupported parameter") as error:
            prefer([pair(1)], at(server), tmp_path / "a.sqlite")
        assert "set judge.token_limit_parameter=max_completion_tokens; what was answered is kept" in error.value.hint
        judged = prefer([pair(1)], at(server, token_limit_parameter="max_completion_tokens"), tmp_path / "a.sqlite")
    assert judged.facts["failed"] == 0


@pytest.mark.parametrize(
    ("parser", "text", "places"),
    [
        ("ranking", AGREE, {1.0, 2.0}),
        ("letters", "I think of [[A]], no.</think> [[B]]", {1.0, 2.0}),
        ("letters", "<think>[[A]]</think> nothing", {None}),
    ],
)
def test_thoughts_are_no_verdict_and_are_kept_in_the_raw_text(
    tmp_path: Path, parser: str, text: str, places: set[float | None]
) -> None:
    with FaultServer(answer=lambda prompt: text) as server:
        judged = prefer([pair(1)], at(server, parser=parser, thinking="strip"), tmp_path / "a.sqlite")
    [verdict] = judged.verdicts
    assert verdict.value in places
    assert verdict.raw == text


def test_a_rating_behind_thoughts_counts_and_one_within_does_not(tmp_path: Path) -> None:
    with FaultServer(answer=lambda prompt: "<think>[[3]]? No.</think> Rating: [[7]]") as server:
        stripped = grade([grading(1)], at(server, thinking="strip"), tmp_path / "a.sqlite")
        plain = grade([grading(1)], at(server), tmp_path / "a.sqlite")
        assert len(server.requests) == 1, "one reply, read in two ways"
    assert stripped.verdicts[0].value == 7
    assert plain.verdicts[0].value is None
    assert "judge.thinking=strip" in plain.verdicts[0].reason


def test_a_reply_that_ends_within_its_thinking_is_a_failed_verdict(tmp_path: Path) -> None:
    with FaultServer(answer=lambda prompt: "Let me see: [[A]] or") as server:
        server.finish_reason = "length"
        judged = prefer([pair(1)], at(server, parser="letters", thinking="strip"), tmp_path / "a.sqlite")
    assert judged.verdicts[0].reason == "the reply ends within its thinking (cut at max_tokens)"


def test_a_mended_server_is_asked_again_only_for_what_holds_no_verdict(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(6)]
    prices = {"input_price": 10.0, "output_price": 20.0}
    with FaultServer() as server:
        server.reply = lambda body: "no idea" if "Question 3?" in str(body["messages"]) else "m"
        assert prefer(pairs, at(server, **prices), tmp_path / "a.sqlite").facts["failed"] == 1
    with FaultServer() as mended:
        mended.reply = lambda body: "m"
        assert prefer(pairs, at(mended), tmp_path / "a.sqlite").facts["failed"] == 1
        assert not mended.requests, "what was paid for is read, whatever the endpoint"
        spent: list[float] = []
        judge = at(mended, ask_again=2, **prices)
        judged = prefer(pairs, judge, tmp_path / "a.sqlite", on_spent=lambda usd, tokens: spent.append(usd))
        [(_, prompt, _, _)] = mended.requests
        assert "Question 3?" in prompt
        assert (judged.facts["failed"], judged.facts["from_cache"], judged.facts["asked"]) == (0, 6, 1)
        assert judged.facts["asked_again"] == 1
        assert judged.facts["cost"] == pytest.approx(sum(spent))
        again = prefer(pairs, at(mended, ask_again=2, offline=True), tmp_path / "a.sqlite")
        assert [verdict.value for verdict in again.verdicts] == [verdict.value for verdict in judged.verdicts]
        assert len(mended.requests) == 1


def test_what_never_holds_a_verdict_is_asked_so_often_and_stays_failed(tmp_path: Path) -> None:
    with FaultServer(answer=lambda prompt: "no idea") as server:
        judged = prefer([pair(1), pair(2)], at(server, ask_again=2), tmp_path / "a.sqlite")
        assert len(server.requests) == 6
    assert (judged.facts["failed"], judged.facts["asked"], judged.facts["asked_again"]) == (2, 6, 4)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("letters", "<think>so [[A]]</think>\nm"),
        ("letters", "<think>so [[A]] it"),
        ("ranking", "<think>m</think>"),
        ("logprobs", "<think>m"),
    ],
)
def test_a_reply_that_thinks_where_none_does_has_no_verdict_whatever_the_parser(
    tmp_path: Path, parser: str, text: str
) -> None:
    with FaultServer(answer=lambda prompt: text) as server:
        server.top_logprobs = [("m", -0.1), ("M", -3.0)]
        judged = prefer([pair(1)], at(server, parser=parser), tmp_path / "a.sqlite")
        assert grade([grading(1)], at(server), tmp_path / "b.sqlite").verdicts[0].value is None
    [verdict] = judged.verdicts
    assert verdict.value is None
    assert "judge.thinking=strip" in verdict.reason


def filtered(body: dict[str, Any]) -> str | None:
    return "content policy: the temperature of it is not allowed" if "Question 2?" in str(body["messages"]) else None


def test_a_prompt_that_an_endpoint_refuses_while_it_answers_others_is_a_failed_verdict(tmp_path: Path) -> None:
    pairs = [pair(1), pair(2), pair(3)]
    with FaultServer(refuse=filtered) as server:
        judged = prefer(pairs, at(server), tmp_path / "a.sqlite")
        assert [verdict.value is None for verdict in judged.verdicts] == [False, True, False]
        assert "the endpoint refuses this prompt: status 400: " in judged.verdicts[1].reason
        assert (judged.verdicts[1].snapshot, judged.verdicts[1].cost) == ("", None)
        facts = judged.facts
        assert (facts["failed"], facts["refused"], facts["asked"], len(facts["snapshots"])) == (1, 1, 3, 1)
        again = prefer(pairs, at(server), tmp_path / "a.sqlite")
        assert (again.facts["from_cache"], again.facts["refused"]) == (2, 1)
        twice = prefer(pairs, at(server, ask_again=1), tmp_path / "a.sqlite")
        assert (twice.facts["failed"], twice.facts["refused"], twice.facts["asked_again"]) == (1, 1, 1)
        server.refuse = lambda body: None
        assert prefer(pairs, at(server), tmp_path / "a.sqlite").facts["failed"] == 0, "no refusal is kept"


def test_an_endpoint_that_refuses_all_or_a_setting_is_an_error_still(tmp_path: Path) -> None:
    with FaultServer(refuse=filtered) as server, pytest.raises(UserError, match="1 of 1 requests got no valid answer"):
        prefer([pair(2)], at(server), tmp_path / "a.sqlite")
    too_long = "'max_tokens' is too large: 16. This model's maximum context length is 12 tokens"
    with (
        FaultServer(refuse=lambda body: too_long if filtered(body) else None) as server,
        pytest.raises(UserError, match="1 of 2 requests got no valid answer") as error,
    ):
        prefer([pair(1), pair(2)], at(server), tmp_path / "b.sqlite")
    assert error.value.hint.startswith("set judge.max_tokens lower than 12")


def test_a_prompt_that_cannot_be_sent_is_a_failed_verdict(tmp_path: Path) -> None:
    broken = pair(2)._replace(model="\ud800")
    with FaultServer() as server:
        judged = prefer([pair(1), broken], at(server), tmp_path / "a.sqlite")
    assert (judged.facts["failed"], judged.facts["refused"]) == (1, 1)


def test_what_a_snapshot_said_before_it_was_asked_for_is_not_paid_again(tmp_path: Path) -> None:
    with FaultServer() as server:
        server.snapshot = "old"
        prefer([pair(1)], at(server), tmp_path / "a.sqlite")
        server.snapshot = "new"
        assert prefer([pair(1), pair(2)], at(server), tmp_path / "a.sqlite").facts["snapshots"] == {"new": 1, "old": 1}
        judged = prefer([pair(1), pair(2)], at(server, snapshot="new"), tmp_path / "a.sqlite")
        assert (judged.facts["from_cache"], judged.facts["asked"]) == (1, 1)
        assert judged.facts["snapshots"] == {"new": 2}
        assert len(server.requests) == 3
        assert prefer([pair(1)], at(server, snapshot="old", offline=True), tmp_path / "a.sqlite").facts["asked"] == 0


def test_the_addresses_that_judged_are_counted_and_no_usage_is_no_cost_of_nought(tmp_path: Path) -> None:
    prices = {"input_price": 1.0, "output_price": 1.0}
    with FaultServer() as one, FaultServer() as other:
        one.usage = None
        [verdict] = prefer([pair(1)], at(one, **prices), tmp_path / "a.sqlite").verdicts
        assert (verdict.prompt_tokens, verdict.completion_tokens, verdict.cost) == (None, None, None)
        judged = prefer([pair(1), pair(2)], at(other, **prices), tmp_path / "a.sqlite")
        assert judged.facts["endpoints"] == {one.url: 1, other.url: 1}
