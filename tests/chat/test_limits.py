"""What no server can do to us: hold us, flood us, send us elsewhere, or be asked while it wants a rest."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from notus_exp.chat import openai_chat, waiting
from notus_exp.chat.messages import Reply, Unanswered
from notus_exp.chat.openai_chat import OpenAIChat
from notus_exp.chat.waiting import asked_wait, in_words
from notus_exp.errors import UserError
from notus_exp.judging.judge import prefer
from support.fault_server import FaultServer, token
from support.judges import openai_judge, pair

KEY = "sk-top-secret-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTUS_TEST_KEY", KEY)
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "MOST_BACKOFF_SECONDS", 0.02)


def chat(url: str, **changes: Any) -> OpenAIChat:
    options: dict[str, Any] = {"base_url": url, "api_key_env": "NOTUS_TEST_KEY", "timeout": 5.0}
    options |= {"max_retries": 2, "max_tokens": 4, "temperature": 0.0, "seed": None}
    return OpenAIChat("judge", **(options | changes))


def ask(backend: OpenAIChat, *texts: str) -> list[Reply]:
    async def run() -> list[Reply]:
        async with backend:
            return await asyncio.gather(*(backend.ask([{"role": "user", "content": text}]) for text in texts))

    return asyncio.run(run())


def test_an_answer_that_drips_is_a_failed_request_after_the_timeout() -> None:
    with FaultServer(lambda prompt, nth: "drip" if nth == 0 else "ok") as server:
        start = time.monotonic()
        assert ask(chat(server.url, timeout=0.3), "hello")[0].text == token("hello")
        assert 0.3 <= time.monotonic() - start < 2
        server.plan = lambda prompt, nth: "drip"
        with pytest.raises(Unanswered, match=r"the answer did not end within 0.3 s"):
            ask(chat(server.url, timeout=0.3, max_retries=0), "hello")


@pytest.mark.parametrize("fault", ["flood", "drip"])
def test_an_answer_without_an_end_is_a_failed_request_that_may_cost(fault: str) -> None:
    reasons = {"flood": "the answer is longer than 1,004,000 bytes", "drip": "the answer did not end within 0.3 s"}
    told: list[tuple[int | None, int | None, bool]] = []

    async def discard(read: int | None, written: int | None, *, again: bool) -> None:
        told.append((read, written, again))

    async def run(backend: OpenAIChat) -> None:
        async with backend:
            await backend.ask([{"role": "user", "content": "hello"}], discard)

    with FaultServer(lambda prompt, nth: fault) as server:
        with pytest.raises(Unanswered, match=reasons[fault]):
            asyncio.run(run(chat(server.url, max_retries=1, timeout=0.3 if fault == "drip" else 30.0)))
        assert server.sent < 2 * (1_004_000 + 16_000_000), "only what fits the system's own buffers beside the limit"
    assert told == [(None, None, True), (None, None, False)]


def test_log_probs_of_every_token_fit_the_limit() -> None:
    top = [(f"a long token {number} ", -float(number)) for number in range(20)]
    with FaultServer() as server:
        server.top_logprobs = top
        assert ask(chat(server.url, top_logprobs=20), "hello")[0].top_logprobs == top
    assert chat(server.url, top_logprobs=20, max_tokens=1_000)._most_bytes == 22_000_000


@pytest.mark.parametrize("status", ["301", "302", "307", "308"])
def test_a_redirect_to_another_host_is_refused_by_name_and_gets_nothing(status: str) -> None:
    with FaultServer() as other, FaultServer(lambda prompt, nth: status) as server:
        server.location = other.url.replace("http://", "http://me:hidden@") + "/x?key=hidden"
        with pytest.raises(UserError, match=r"redirects to http://127\.0\.0\.1:.* another host") as error:
            ask(chat(server.url), "hello")
        assert not other.requests
        assert len(server.requests) == 1
    assert other.url.removesuffix("/v1") in error.value.message
    assert "judge.base_url" in error.value.hint
    assert "hidden" not in str(error.value)


def test_a_redirect_within_the_host_is_followed_with_the_key() -> None:
    with FaultServer(lambda prompt, nth: "307" if nth == 0 else "ok") as server:
        server.location = "/elsewhere"
        assert ask(chat(server.url), "hello")[0].text == token("hello")
        assert [request[3] for request in server.requests] == [f"Bearer {KEY}"] * 2
        server.plan = lambda prompt, nth: "307"
        with pytest.raises(UserError, match="redirects more than 3 times"):
            ask(chat(server.url), "hello")


def test_while_a_server_asks_to_wait_nobody_asks_it() -> None:
    with FaultServer(lambda prompt, nth: "429" if (prompt, nth) == ("0", 0) else "ok", retry_after="1") as server:
        backend = chat(server.url)

        async def run() -> None:
            async with backend:
                first = asyncio.create_task(backend.ask([{"role": "user", "content": "0"}]))
                while not server.requests:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2)
                await asyncio.gather(first, *(backend.ask([{"role": "user", "content": str(n)}]) for n in range(1, 6)))

        asyncio.run(run())
        begun = sorted(moment for moment, *_ in server.requests)
    assert len(begun) == 7
    assert begun[1] - begun[0] >= 1.0, "none of the seven in between"


def test_a_wait_beyond_the_limit_is_said_in_words_at_once_and_stops_all(tmp_path: Any) -> None:
    with FaultServer(lambda prompt, nth: "429", retry_after="7200") as server:
        start = time.monotonic()
        judge = openai_judge(base_url=server.url, max_wait=60.0, concurrency=2)
        with pytest.raises(UserError, match=r"asks to wait 2 hours .*longer than judge.max_wait=60 seconds") as error:
            prefer([pair(number) for number in range(20)], judge, tmp_path / "a.sqlite")
        assert time.monotonic() - start < 5
        assert len(server.requests) <= 2, "only what was under way"
    assert "what was answered is kept" in error.value.hint


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], expected: float | None) -> None:
    assert asked_wait(headers) == expected


def test_a_date_to_wait_for_counts_from_now() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 87 < (asked_wait({"retry-after": then}) or 0) <= 90
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    assert asked_wait({"retry-after": past}) is None


def test_a_wait_in_words() -> None:
    assert [in_words(n) for n in (3, 90, 150, 7_200, 86_400, 259_200)] == [
        "3 seconds",
        "90 seconds",
        "2.5 minutes",
        "2 hours",
        "24 hours",
        "3 days",
    ]


def test_the_hosted_endpoints_own_variable_must_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(openai_chat.DEFAULT_URL_VARIABLE, "https://me:hidden@host/v1")
    with pytest.raises(UserError, match="OPENAI_BASE_URL holds a user name or password") as error:
        ask(chat("", base_url=None), "hello")
    assert "hidden" not in str(error.value)


def test_the_last_refusal_tells_how_long_the_server_asks_to_wait() -> None:
    with FaultServer(lambda prompt, nth: "429", retry_after="0.2") as server:
        with pytest.raises(Unanswered, match=r"status 429: .*; it asks to wait 0.2 seconds") as error:
            ask(chat(server.url, max_retries=1), "hello")
        assert len(server.requests) == 2
    assert error.value.hint == "wait so long, or raise judge.max_retries"


@pytest.mark.parametrize("write", [lambda key: "".join(f"\\u{ord(one):04x}" for one in key), lambda key: b64(key)])
def test_a_key_that_a_server_writes_otherwise_is_not_shown(write: Callable[[str], str]) -> None:
    refusing = FaultServer(refuse=lambda body: f"wrong key {write(KEY)}")
    with refusing as server, pytest.raises(Unanswered, match=r"wrong key \*\*\*") as error:
        ask(chat(server.url), "hello")
    assert write(KEY)[:-4] not in error.value.reason


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
