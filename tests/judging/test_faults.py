"""Judging against a server that fails in every way that a server can: nothing is lost, nothing is invented."""

import asyncio
import json
import logging
import random
import signal
import subprocess
import sys
import textwrap
import time
import traceback

import pytest

from notus_exp.chat import waiting
from notus_exp.chat.completion import NO_KEY, read_body
from notus_exp.chat.messages import Reply, Unanswered
from notus_exp.chat.openai_chat import OpenAIChat
from notus_exp.chat.waiting import backoff
from notus_exp.errors import UserError
from notus_exp.judging.cache import ReplyCache, reply_key
from notus_exp.judging.judge import prefer
from notus_exp.judging.templates import comparison_messages, load_comparison_template
from support.fault_server import FAULTS, SNAPSHOT, FaultServer, token
from support.judges import openai_judge, pair
from support.places import ROOT

KEY = "sk-top-secret-0123456789"
PLACES = {"m": 1.0, "M": 2.0}


@pytest.fixture
def quick(monkeypatch):
    """Back off for hundredths of a second; the policy itself stays."""
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "MOST_BACKOFF_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("NOTUS_TEST_KEY", KEY)


def at(server, **changes):
    return openai_judge(**({"base_url": server.url} | changes))


def chat(server, **changes):
    options = {"base_url": server.url, "api_key_env": "NOTUS_TEST_KEY", "timeout": 5.0, "max_retries": 6}
    options |= {"max_tokens": 4, "temperature": 0.0, "seed": None} | changes
    return OpenAIChat("judge", **options)


def ask(backend, text="hello"):
    async def run():
        async with backend:
            return await backend.ask([{"role": "user", "content": text}])

    return asyncio.run(run())


def prompt_of(comparison, order):
    return comparison_messages(comparison, order, load_comparison_template("ranking"))[0]["content"]


def check_against(server, pairs, verdicts):
    """Every verdict is what the server said, on the scale on which 2 is the model's win."""
    asked = [(p, order) for p in pairs for order in ("reference_first", "model_first")]
    assert [(v.prompt_id, v.order) for v in verdicts] == [(p.prompt_id, order) for p, order in asked]
    for verdict, (comparison, order) in zip(verdicts, asked, strict=True):
        said = server.said[prompt_of(comparison, order)]
        assert verdict.raw == said
        if not said:
            assert (verdict.value, verdict.reason) == (None, "the reply is empty")
        else:
            place = PLACES[said]
            assert verdict.value == (place if order == "reference_first" else 3 - place)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_is_survived(quick, tmp_path, fault):
    with FaultServer(lambda prompt, nth: fault if nth == 0 else "ok") as server:
        reply = ask(chat(server, timeout=0.4 if fault == "timeout" else 5.0))
        assert (reply.text, reply.snapshot) == (token("hello"), SNAPSHOT)
        assert len(server.requests) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_ends_as_unanswered_after_max_retries(quick, fault):
    with FaultServer(lambda prompt, nth: fault) as server:
        with pytest.raises(Unanswered) as error:
            ask(chat(server, timeout=0.2, max_retries=2))
        assert len(server.requests) == 3
    assert KEY not in str(error.value)


def test_faults_of_both_kinds_share_one_count_of_repetitions(quick):
    faults = ["500", "malformed", "429", "no_choices", "500"]
    with FaultServer(lambda prompt, nth: faults[nth]) as server:
        with pytest.raises(Unanswered):
            ask(chat(server, max_retries=4))
        assert len(server.requests) == 5


def test_malformed_successes_count_as_money_and_the_budget_holds(quick, tmp_path):
    # An answer costs 101 USD; a malformed one is held at (bytes of the messages + 16) USD.
    prices = {"input_price": 1e6, "output_price": 1e6, "both_orders": False}
    with FaultServer(lambda prompt, nth: ["malformed", "told", "ok"][nth]) as server:
        judged = prefer([pair(1)], at(server, **prices), tmp_path / "a.sqlite")
        [most] = {len(json.dumps(body["messages"]).encode()) + 16 for _, _, body, _ in server.requests}
        assert (judged.facts["discarded"], judged.facts["cost"]) == (2, 202.0)
        assert (judged.facts["cost_unknown_requests"], judged.facts["cost_reserved"]) == (1, most)
        server.plan = lambda prompt, nth: "malformed"
        server.requests.clear()
        with pytest.raises(UserError, match=rf"up to {3 * most} by requests .* \(3\);"):
            prefer([pair(1)], at(server, budget=3.9 * most, **prices), tmp_path / "b.sqlite")
        assert len(server.requests) == 3


def test_the_last_discarded_answer_is_paid_once(quick):
    told = []

    async def discard(*usage, again):
        told.append((usage, again))

    async def run(backend):
        async with backend:
            await backend.ask([{"role": "user", "content": "hello"}], discard)

    with FaultServer(lambda prompt, nth: ["500", "told", "malformed"][nth]) as server, pytest.raises(Unanswered):
        asyncio.run(run(chat(server, max_retries=2)))
    assert told == [((100, 1), True), ((None, None), False)]


def test_a_server_that_tells_no_usage_costs_an_unknown_amount(tmp_path):
    told = []
    with FaultServer() as server:
        server.usage = None
        settings = at(server, input_price=1e6, output_price=1e6)
        judged = prefer([pair(1)], settings, tmp_path / "a.sqlite", on_spent=lambda *numbers: told.append(numbers))
    assert (judged.facts["cost"], judged.facts["cost_unknown_requests"]) == (0.0, 2)
    assert judged.facts["cost_reserved"] == sum(usd for usd, _ in told) > 0


def test_a_bad_request_is_not_repeated_and_says_what_the_server_said(quick):
    with FaultServer(lambda prompt, nth: "400") as server:
        with pytest.raises(Unanswered, match=r"status 400: .*no: 400"):
            ask(chat(server))
        assert len(server.requests) == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_verdict_is_lost_or_invented_in_a_random_mix_of_faults(quick, tmp_path, seed):
    draw = random.Random(seed)
    pairs = [pair(number) for number in range(30)]

    def plan(prompt, nth):
        if nth >= 3:
            return "ok"
        return draw.choices(["ok", "empty", *FAULTS], [6, 1, *[0.15 if f == "timeout" else 1 for f in FAULTS]])[0]

    with FaultServer(plan) as server:
        judged = prefer(pairs, at(server, timeout=0.4), tmp_path / "replies.sqlite")
        check_against(server, pairs, judged.verdicts)
        assert server.most <= 8, "no more at once than judge.concurrency"
    empty = sum(not text for text in server.said.values())
    assert judged.facts["verdicts"] == judged.facts["asked"] == 60
    assert judged.facts["failed"] == empty
    assert len(server.requests) > 60, "there were faults"


def test_a_second_run_asks_only_for_what_is_missing(quick, tmp_path):
    cache = tmp_path / "replies.sqlite"
    pairs = [pair(number) for number in range(20)]
    lost = {prompt_of(pairs[number], "model_first") for number in (3, 7, 11)}
    with FaultServer(lambda prompt, nth: "500" if prompt in lost else "ok") as server:
        with pytest.raises(UserError, match=r"3 of 40 requests got no valid answer; the first: status 500") as error:
            prefer(pairs, at(server, max_retries=1), cache)
        assert "asks only for the rest" in error.value.hint
        assert len(server.said) == 37
        server.plan = lambda prompt, nth: "ok"
        server.requests.clear()
        judged = prefer(pairs, at(server), cache)
        assert sorted(prompt for _, prompt, _, _ in server.requests) == sorted(lost)
        check_against(server, pairs, judged.verdicts)
        assert (judged.facts["from_cache"], judged.facts["asked"]) == (37, 3)
        server.requests.clear()
        again = prefer(pairs, at(server, offline=True, base_url="http://127.0.0.1:9/v1"), cache)
        assert again.verdicts == judged.verdicts
        assert not server.requests


def test_an_empty_answer_is_a_failed_verdict_that_is_not_asked_for_again(tmp_path):
    with FaultServer(lambda prompt, nth: "empty") as server:
        for _ in range(2):
            judged = prefer([pair(1)], at(server), tmp_path / "replies.sqlite")
            assert [(v.value, v.raw, v.reason) for v in judged.verdicts] == [(None, "", "the reply is empty")] * 2
        assert len(server.requests) == 2


def test_retry_after_is_honoured(quick):
    with FaultServer(lambda prompt, nth: "429" if nth == 0 else "ok", retry_after="1") as server:
        ask(chat(server))
        first, second = (moment for moment, *_ in server.requests)
        assert second - first >= 1.0


def test_backoff_grows_to_a_limit_and_is_never_the_same_for_all():
    waits = [[backoff(repetition) for _ in range(200)] for repetition in range(10)]
    for repetition, drawn in enumerate(waits):
        longest = min(0.5 * 2**repetition, 8)
        assert 0.75 * longest <= min(drawn) < max(drawn) <= longest


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_key_stops_at_once_and_names_the_variable_only(quick, tmp_path, status):
    with FaultServer(lambda prompt, nth: status) as server:
        with pytest.raises(UserError) as error:
            prefer([pair(number) for number in range(50)], at(server), tmp_path / "replies.sqlite")
        assert len(server.requests) <= 8, "only what was under way"
    assert "NOTUS_TEST_KEY" in str(error.value)
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_an_unknown_model_stops_at_once_and_is_named(quick, tmp_path):
    with FaultServer(lambda prompt, nth: "404") as server, pytest.raises(UserError, match="no model 'judge'") as error:
        prefer([pair(1)], at(server), tmp_path / "replies.sqlite")
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_a_missing_key_is_an_error_at_the_hosted_endpoint_only(monkeypatch):
    monkeypatch.delenv("NOTUS_TEST_KEY")
    with FaultServer() as server:
        ask(chat(server))
        assert server.requests[0][3] == f"Bearer {NO_KEY}"
        with pytest.raises(UserError, match="NOTUS_TEST_KEY with the key is not set"):
            ask(chat(server, base_url=None))


@pytest.mark.parametrize("bad", ["sk-\N{SNOWMAN}secret", "sk-a\nb-secret"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(monkeypatch, bad):
    monkeypatch.setenv("NOTUS_TEST_KEY", bad)
    with FaultServer() as server, pytest.raises(UserError, match="NOTUS_TEST_KEY") as error:
        ask(chat(server))
    assert "secret" not in "".join(traceback.format_exception(error.value))


def test_the_key_is_in_no_exception_log_cache_or_fact(quick, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    cache = tmp_path / "replies.sqlite"
    pairs = [pair(number) for number in range(12)]
    shown = []
    with FaultServer(lambda prompt, nth: FAULTS[nth] if nth < len(FAULTS) else "ok") as server:
        settings = at(server, timeout=0.5, max_retries=len(FAULTS) + 6)
        judged = prefer(pairs, settings, cache, lambda *numbers, **more: shown.append((numbers, more)))
        assert {authorization for *_, authorization in server.requests} == {f"Bearer {KEY}"}
        server.plan = lambda prompt, nth: "ok"
        backend = chat(server)
        ask(backend)
        shown += [repr(backend), vars(backend)]
        for status in ("400", "401", "404", "500", "cut"):
            server.plan = lambda prompt, nth, status=status: status
            with pytest.raises((UserError, Unanswered)) as error:
                ask(chat(server, max_retries=0))
            shown.append("".join(traceback.format_exception(error.value)))
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY.encode() not in files
    assert len(files) > 1000
    assert KEY not in repr((judged, shown, settings)) + caplog.text
    assert "Retrying request" in caplog.text, "the logs were caught"


def test_only_the_log_prob_parser_asks_for_log_probs(tmp_path):
    with FaultServer() as server:
        prefer([pair(1)], at(server, both_orders=False), tmp_path / "a.sqlite")
        server.top_logprobs = [("m", -0.5), ("M", -1.5)]
        judged = prefer([pair(1)], at(server, parser="logprobs", seed=7, top_logprobs=3), tmp_path / "a.sqlite")
        plain, asked = server.requests[0][2], server.requests[-1][2]
    assert {"logprobs", "top_logprobs", "seed"}.isdisjoint(plain)
    assert (plain["temperature"], plain["max_tokens"]) == (0.0, 16)
    assert (asked["logprobs"], asked["top_logprobs"], asked["seed"]) == (True, 3, 7)
    # p(m) / (p(m) + p(M)) = 1 / (1 + e^-1) = 0.731059; the second order is mirrored
    assert [v.value for v in judged.verdicts] == pytest.approx([2 - 0.731059, 1 + 0.731059], abs=1e-6)


def test_a_judge_that_answers_as_another_snapshot_is_an_error_and_is_not_kept(tmp_path):
    cache = tmp_path / "replies.sqlite"
    with FaultServer() as server:
        with pytest.raises(UserError, match=f"judge.snapshot=judge-2025, but the endpoint answers as '{SNAPSHOT}'"):
            prefer([pair(1)], at(server, snapshot="judge-2025"), cache)
        judged = prefer([pair(1)], at(server, snapshot=SNAPSHOT), cache)
        assert judged.facts["snapshots"] == {SNAPSHOT: 2}
        assert judged.facts["from_cache"] == 0


def test_a_snapshot_that_changes_meanwhile_is_a_fact(tmp_path):
    with FaultServer() as server:
        prefer([pair(1)], at(server), tmp_path / "a.sqlite")
        server.snapshot = "judge-2026-02-02"
        judged = prefer([pair(1), pair(2)], at(server), tmp_path / "a.sqlite")
    assert judged.facts["snapshots"] == {SNAPSHOT: 2, "judge-2026-02-02": 2}


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{}", '{"model": "x", "choices": null}', '{"model": "x", "choices": [{"message": {}}]}',
     '{"model": "x", "choices": [{"message": {"content": 5}}]}', '{"choices": [{"message": {"content": "m"}}]}'],
)  # fmt: skip
def test_a_body_that_is_no_answer_says_where(body):
    with pytest.raises(ValueError, match="not a chat completion: "):
        read_body(body)


def test_a_body_may_lack_usage_and_finish_reason_and_have_null_text():
    reply = read_body('{"model": "x", "choices": [{"message": {"content": null}}]}')
    assert reply == Reply("", None, "x", None, None, "")


def body_of(text, **more):
    return json.dumps({"model": "x", "choices": [{"message": {"content": text}}], **more})


@pytest.mark.parametrize(
    "usage",
    [None, [], {"prompt_tokens": 100, "completion_tokens": None}, {"prompt_tokens": None, "completion_tokens": 3},
     {"prompt_tokens": 100}, {"prompt_tokens": -100, "completion_tokens": 3}, {"prompt_tokens": "?"},
     *({"prompt_tokens": a, "completion_tokens": b} for a, b in [(10**399, 3), (3, 10**399), (10**7 + 1, 0)])],
)  # fmt: skip
def test_a_usage_that_tells_no_number_leaves_the_answer_valid_and_the_tokens_unknown(usage):
    assert read_body(body_of("m", usage=usage)) == Reply("m", None, "x", None, None, "")


def test_an_absurd_usage_is_none_and_ends_no_run(tmp_path):
    with FaultServer() as server:
        server.usage = {"prompt_tokens": 10**399, "completion_tokens": 10**399}
        judged = prefer([pair(1)], at(server, input_price=1.0, output_price=1.0), tmp_path / "a.sqlite")
    assert [verdict.prompt_tokens for verdict in judged.verdicts] == [None, None]
    assert judged.facts["prompt_tokens"] == 0
    assert read_body(body_of("m", usage={"prompt_tokens": 10**7, "completion_tokens": 0})).prompt_tokens == 10**7


def test_a_lone_surrogate_becomes_the_replacement_character_and_the_reply_is_kept(tmp_path):
    with FaultServer(answer=lambda prompt: "m \ud83d") as server:
        judged = prefer([pair(1)], at(server, both_orders=False, max_retries=0), tmp_path / "a.sqlite")
        again = prefer([pair(1)], at(server, both_orders=False, offline=True), tmp_path / "a.sqlite")
    assert [v.raw for v in judged.verdicts] == [v.raw for v in again.verdicts] == ["m \N{REPLACEMENT CHARACTER}"]
    assert read_body(body_of("\N{GRINNING FACE}")).text == "\N{GRINNING FACE}", "a whole pair stays"


def test_a_body_nested_too_deeply_is_no_answer():
    with pytest.raises(ValueError, match="not a chat completion: "):
        read_body("[" * 200_000)


def test_a_key_that_a_server_repeats_is_struck_out_before_it_is_kept(tmp_path):
    with FaultServer(answer=lambda prompt: f"m, says {KEY}!") as server:
        server.snapshot, server.top_logprobs = f"judge for {KEY}", [(KEY, -0.5), ("m", -1.5)]
        reply = ask(chat(server, top_logprobs=2))
        judged = prefer([pair(1)], at(server, parser="logprobs"), tmp_path / "a.sqlite")
    assert reply[:3] == ("m, says ***!", [("***", -0.5), ("m", -1.5)], "judge for ***")
    assert KEY not in repr(judged)
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_placeholder_for_a_key_spoils_no_reply(monkeypatch):
    monkeypatch.setenv("NOTUS_TEST_KEY", "m")
    with FaultServer(answer=lambda prompt: "m") as server:
        assert ask(chat(server)).text == "m"


SCRIPT = """
    import sys
    sys.path.insert(0, "tests")
    from pathlib import Path
    from support.judges import openai_judge, pair
    from notus_exp.judging.judge import prefer
    prefer([pair(n) for n in range(60)], openai_judge(base_url=sys.argv[1], concurrency=4), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_nothing_that_was_answered_is_asked_again(tmp_path, how):
    cache = tmp_path / "replies.sqlite"
    pairs = [pair(number) for number in range(60)]
    with FaultServer(latency=0.05) as server:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), server.url, str(cache)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while len(server.said) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        errors = process.communicate(timeout=30)[1]
        assert process.returncode == (-how if how == signal.SIGKILL else process.returncode)
        assert process.returncode != 0, errors
        time.sleep(0.1)  # the server's threads finish
        answered = dict(server.said)
        asked = [(p, order) for p in pairs for order in ("reference_first", "model_first")]
        settings = at(server)
        template = load_comparison_template("ranking")
        keys = {reply_key(settings, comparison_messages(p, o, template), None): prompt_of(p, o) for p, o in asked}
        with ReplyCache(cache) as kept:
            found = {keys[name]: reply.text for name, reply in kept.get_many(keys).items()}
        assert 20 <= len(answered) < 120
        assert len(found) >= len(answered) - 4, "only what was on the wire may be asked again"
        assert all(answered[prompt] == text for prompt, text in found.items())
        server.requests.clear()
        judged = prefer(pairs, settings, cache)
        assert sorted(prompt for _, prompt, _, _ in server.requests) == sorted(set(keys.values()) - set(found))
        check_against(server, pairs, judged.verdicts)


def test_what_is_sent_is_what_the_cache_key_says(tmp_path):
    with FaultServer() as server:
        prefer([pair(1)], at(server, both_orders=False), tmp_path / "a.sqlite")
        body = server.requests[0][2]
    assert json.dumps(body["messages"]) in {
        json.dumps([{"role": "user", "content": prompt_of(pair(1), order)}])
        for order in ("reference_first", "model_first")
    }
    assert set(body) == {"model", "messages", "max_tokens", "temperature"}
