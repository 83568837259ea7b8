"""The cache, the budget, and asking many prompts with a backend that needs no network."""

import asyncio
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.chat.messages import Reply, Unanswered
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError
from notus_exp.judging.asking import ask_all
from notus_exp.judging.cache import ReplyCache, reply_key
from notus_exp.judging.spending import Spending, forecast
from support.judges import mock_judge, openai_judge


def chat(text):
    return [{"role": "user", "content": text}]


def reply(text, read=10, written=2, top=None):
    return Reply(text, top, "snapshot", read, written, "stop")


class Backend:
    """Answers "re: <prompt>" after some time; one that begins with "lost" gets no answer, with "no" a refusal."""

    def __init__(self, seconds=0.0, read=10, written=2):
        self.seconds, self.read, self.written = seconds, read, written
        self.asked, self.times, self.now, self.most, self.done = [], [], 0, 0, 0

    async def ask(self, messages, on_discarded=None):
        text = messages[-1]["content"]
        self.asked.append(text)
        self.times.append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now -= 1
        if text.startswith("lost"):
            raise Unanswered(f"no answer to {text}")
        if text.startswith("no"):
            raise Unanswered(f"status 400: {text}", "a hint" if "hint" in text else "", refused=True)
        self.done += 1
        return reply(f"re: {text}", self.read, self.written)


def ask(texts, backend, path, on_progress=None, **changes):
    with ReplyCache(path) as cache:
        return asyncio.run(ask_all([chat(text) for text in texts], mock_judge(**changes), backend, cache, on_progress))


# --------------------------------------------------------------------------------------------------------------- cache
def test_a_reply_comes_back_as_it_was(tmp_path):
    one = reply("\ud800 é {}\n", top=[("m", -0.1), ("M", -2.5)])
    with ReplyCache(tmp_path / "deep/replies.sqlite") as cache:
        assert cache.put("a", one) == one
        assert cache.get_many(["a", "b"]) == {"a": one}
    with ReplyCache(tmp_path / "deep/replies.sqlite") as cache:
        assert cache.get_many(["a"]) == {"a": one}


def test_the_first_writer_wins_and_the_second_is_told(tmp_path):
    with ReplyCache(tmp_path / "a.sqlite") as one, ReplyCache(tmp_path / "a.sqlite") as other:
        one.put("k", reply("first"))
        assert other.put("k", reply("second")).text == "first"


def test_what_changes_a_reply_changes_its_key_and_nothing_else_does():
    base = reply_key(openai_judge(), chat("x"), None)
    different = [
        {"name": "other"}, {"model": "other"}, {"snapshot": "s"},
        {"temperature": 0.5}, {"max_tokens": 17}, {"seed": 0}, {"temperature": None},
        {"token_limit_parameter": "max_completion_tokens"},
    ]  # fmt: skip
    keys = {reply_key(openai_judge(**change), chat("x"), None) for change in different}
    keys |= {reply_key(openai_judge(), chat("y"), None), reply_key(openai_judge(), chat("x"), 5), base}
    keys.add(reply_key(openai_judge(), [{"role": "system", "content": "x"}], None))
    keys.add(reply_key(mock_judge(), chat("x"), None))
    keys.add(reply_key(openai_judge(), chat("x"), None, 1))
    assert len(keys) == len(different) + 6
    same = {"concurrency": 1, "base_url": "http://x", "timeout": 1.0, "max_retries": 0, "offline": True, "budget": 1.0}
    same |= {"input_price": 1.0, "output_price": 1.0, "requests_per_minute": 1.0, "max_failure_rate": 1.0}
    same |= {"thinking": "strip", "max_wait": 1.0, "ask_again": 1}
    assert all(reply_key(openai_judge(**{name: value}), chat("x"), None) == base for name, value in same.items())


def test_the_key_of_a_reply_that_is_paid_for_stays():
    before = digest(["openai", "judge", None, [0.0, 16, None, None], chat("x")])
    assert reply_key(openai_judge(), chat("x"), None) == before


def test_only_the_mocks_reply_depends_on_the_parser():
    keys = {
        judge: {reply_key(judge(parser=parser), chat("x"), None) for parser in ("ranking", "letters")}
        for judge in (mock_judge, openai_judge)
    }
    assert (len(keys[mock_judge]), len(keys[openai_judge])) == (2, 1)


def test_threads_share_a_cache(tmp_path):
    with ReplyCache(tmp_path / "a.sqlite") as cache, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cache.put(f"k{number % 50}", reply(str(number))), range(400)))
        assert len(cache.get_many([f"k{number}" for number in range(50)])) == 50


def write_many(path, name, started):
    with ReplyCache(path) as cache:
        for number in range(100_000):
            cache.put(f"{name}/{number}", reply(f"{name} {number}"))
            started.value = number


def test_processes_share_a_cache_and_kill_9_loses_no_kept_reply(tmp_path):
    path, spawn = tmp_path / "a.sqlite", multiprocessing.get_context("spawn")
    counts = [spawn.Value("i", -1) for _ in range(2)]
    writers = [spawn.Process(target=write_many, args=(path, i, count)) for i, count in enumerate(counts)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while min(count.value for count in counts) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    with ReplyCache(path) as cache:
        for i, count in enumerate(counts):
            assert count.value >= 20
            kept = cache.get_many([f"{i}/{number}" for number in range(count.value + 1)])
            assert [kept[f"{i}/{number}"].text for number in range(count.value + 1)] == [
                f"{i} {number}" for number in range(count.value + 1)
            ]


# -------------------------------------------------------------------------------------------------------------- asking
def test_replies_come_in_the_order_of_the_prompts(tmp_path):
    texts = [f"p{number}" for number in range(40)]
    answered = ask(texts, Backend(0.001), tmp_path / "a.sqlite")
    assert [one.text for one in answered.replies] == [f"re: {text}" for text in texts]


def test_equal_prompts_are_asked_once_and_the_counts_add_up(tmp_path):
    ask(["a", "b"], Backend(), tmp_path / "a.sqlite")
    backend = Backend()
    facts = ask(["a", "c", "a", "c", "d", "c"], backend, tmp_path / "a.sqlite").facts
    assert backend.asked == ["c", "d"]
    assert (facts["from_cache"], facts["asked"], facts["repeated"]) == (2, 2, 2)
    assert (facts["prompt_tokens"], facts["completion_tokens"], facts["cost"]) == (20, 4, None)
    assert facts["snapshots"] == {"snapshot": 6}


def test_concurrency_is_used_and_never_exceeded(tmp_path):
    backend = Backend(0.01)
    ask([str(number) for number in range(30)], backend, tmp_path / "a.sqlite", concurrency=5)
    assert backend.most == 5


def test_requests_per_minute_space_the_requests(tmp_path):
    backend = Backend()
    ask([str(number) for number in range(6)], backend, tmp_path / "a.sqlite", requests_per_minute=1200.0)
    gaps = [later - earlier for earlier, later in zip(backend.times, backend.times[1:], strict=False)]
    assert backend.times[-1] - backend.times[0] >= 5 * 0.05 - 0.01
    assert min(gaps) > 0.02, "not all at once after a pause"


def test_offline_asks_nothing_and_counts_what_is_missing(tmp_path):
    ask(["a"], Backend(), tmp_path / "a.sqlite")
    backend = Backend()
    with pytest.raises(UserError, match="2 of 3 replies are not in the cache"):
        ask(["a", "b", "c", "b"], backend, tmp_path / "a.sqlite", offline=True)
    assert not backend.asked
    assert ask(["a"], backend, tmp_path / "a.sqlite", offline=True).facts["from_cache"] == 1


def test_all_others_are_asked_before_the_lost_ones_are_reported(tmp_path):
    backend = Backend()
    texts = ["lost 1", *(str(number) for number in range(20)), "lost 2"]
    with pytest.raises(UserError, match="2 of 22 requests got no valid answer; the first: no answer to lost 1"):
        ask(texts, backend, tmp_path / "a.sqlite")
    assert sorted(backend.asked) == sorted(texts)
    assert ask(texts[1:-1], Backend(), tmp_path / "a.sqlite").facts["from_cache"] == 20


def test_a_prompt_that_is_refused_while_others_are_answered_is_no_obstacle(tmp_path):
    path = tmp_path / "a.sqlite"
    with pytest.raises(UserError, match="2 of 2 requests got no valid answer; the first: no answer to lost"):
        ask(["no", "lost"], Backend(), path)  # a lost one is asked for again
    with pytest.raises(UserError, match="2 of 2 requests got no valid answer; the first: status 400: no"):
        ask(["no", "no, too"], Backend(), path)  # nothing says that it is the prompts
    answered = ask(["1", "no, hint", "2"], Backend(), path, input_price=1e6, output_price=1e6)
    assert [one.text for one in answered.replies] == ["re: 1", "status 400: no, hint; a hint", "re: 2"]
    assert (answered.facts["refused"], answered.facts["snapshots"]) == (1, {"snapshot": 2})
    assert answered.facts["cost_unknown_requests"] == 0, "nobody charges for a refusal"
    again = Backend()
    assert ask(["1", "no", "2"], again, path).facts["refused"] == 1  # the others were answered earlier
    assert again.asked == ["no"], "a refusal is not kept"
    with pytest.raises(UserError, match="a hint"):
        ask(["1", "no, hint", "2"], Backend(), path)


def test_progress_begins_with_the_estimate_and_ends_with_all(tmp_path):
    ask(["a"], Backend(), tmp_path / "a.sqlite")
    shown = []

    def show(done, total, **more):
        shown.append((done, total, more))

    ask(["a", "b" * 41, "c"], Backend(), tmp_path / "a.sqlite", show, input_price=1e6, output_price=2e6)
    # read: 41 characters are 11 tokens, 1 is 1; written: 2 x max_tokens 16
    assert shown[0] == (1, 3, {"estimated_tokens": 12 + 32, "estimated_cost": 12.0 + 64.0})
    assert shown[-1] == (3, 3, {"cost": 2 * (10.0 + 2 * 2.0)})


def test_an_interruption_keeps_what_came(tmp_path):
    path, backend = tmp_path / "a.sqlite", Backend(0.05)

    async def interrupted():
        with ReplyCache(path) as cache:
            task = asyncio.create_task(ask_all([chat(str(n)) for n in range(50)], mock_judge(), backend, cache))
            await asyncio.sleep(0.13)
            task.cancel()
            await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert backend.now == 0, "nothing is left running"
    assert 0 < backend.done < 50
    assert ask([str(n) for n in range(50)], Backend(), path).facts["from_cache"] == backend.done


def test_a_failure_of_our_own_is_not_swallowed(tmp_path):
    class Broken:
        async def ask(self, messages, on_discarded=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(["a", "b"], Broken(), tmp_path / "a.sqlite")


# -------------------------------------------------------------------------------------------------------------- budget
PRICES = {"input_price": 1_000_000.0, "output_price": 1_000_000.0}  # a USD per token: easy to count
SIZE = len('[{"role": "user", "content": "0"}]')
MOST = float(SIZE + 16)  # a token for each byte, and max_tokens


def test_the_budget_stops_before_it_is_exceeded_and_says_what_is_kept(tmp_path):
    # A request costs 12 USD and may cost 50: after 5 requests 60 are spent and 60 + 50 > 109.
    assert MOST == 50
    backend = Backend()
    texts = [str(number) for number in range(9)]
    with pytest.raises(UserError) as error:
        ask(texts, backend, tmp_path / "a.sqlite", budget=109.0, **PRICES)
    assert len(backend.asked) == 5
    for part in (
        "judge.budget=109 USD: 0 USD spent before, 60 now;",
        "could cost 50;",
        "5 replies are kept, 4 are missing",
    ):
        assert part in error.value.message
    facts = ask(texts, Backend(), tmp_path / "a.sqlite", budget=1000.0, **PRICES).facts
    assert (facts["from_cache"], facts["asked"], facts["cost"]) == (5, 4, 48.0)


def test_requests_under_way_count_with_the_most_they_can_cost(tmp_path):
    backend = Backend(0.01)
    ask([str(number) for number in range(8)], backend, tmp_path / "a.sqlite", budget=150.0, concurrency=8, **PRICES)
    assert backend.most == 3, "3 x 50 are within 150"
    assert len(backend.asked) == 8, "8 x 12 are spent: there was room as soon as they were settled"


@settings(deadline=None, max_examples=60)  # each example opens a cache
@given(
    budget=st.floats(1, 2_000),
    usages=st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, 16)), min_size=1, max_size=30),
    concurrency=st.integers(1, 6),
)
def test_no_budget_is_ever_exceeded(tmp_path_factory, budget, usages, concurrency):
    class Random(Backend):
        async def ask(self, messages, on_discarded=None):
            while True:
                await asyncio.sleep(0)
                read, written = usages[len(self.asked) % len(usages)]
                self.asked.append((read, written))
                if (read + written) % 3:
                    return reply("x", read, written)
                told = (read, written) if read % 2 else (None, None)
                again = len(self.asked) < 60
                await on_discarded(*told, again=again)
                if not again:
                    raise Unanswered("discarded for ever")

    backend, limited = Random(), mock_judge(budget=budget, concurrency=concurrency, **PRICES)
    path = tmp_path_factory.mktemp("budget") / "a.sqlite"
    with ReplyCache(path) as cache:
        try:
            asyncio.run(ask_all([chat(str(n % 10) * (n // 10 + 1)) for n in range(20)], limited, backend, cache))
            assert len(backend.asked) >= 20
        except UserError as error:
            assert "judge.budget" in error.message or "got no valid answer" in error.message
    assert sum(map(sum, backend.asked)) <= budget


def test_a_request_without_usage_is_held_at_the_most_it_can_cost_and_is_no_cost():
    spending = Spending(mock_judge(**PRICES, budget=1e9))
    assert spending.settle(spending.reserve(chat("0")), None, None) == MOST
    assert spending.settle(spending.reserve(chat("0")), 0, 0) == MOST
    assert spending.settle(spending.reserve(chat("0")), 7, 3) == 10
    assert (spending.cost, spending.held, spending.unknown) == (10, 2 * MOST, 2)
    assert (spending.prompt_tokens, spending.completion_tokens, spending.pending) == (7, 3, 0)


def test_what_is_held_and_what_was_spent_before_counts_against_the_budget():
    spending = Spending(mock_judge(**PRICES, budget=3 * MOST), before=MOST)
    spending.settle(spending.reserve(chat("0")), None, None)
    spending.release(spending.reserve(chat("0")))  # costs nothing: its room is there again
    spending.settle(spending.reserve(chat("0")), 1, 0)
    assert spending.reserve(chat("0")) is None
    assert spending.no_room(chat("0")) == (
        "judge.budget=150 USD: 50 USD spent before, 1 now, up to 50 by requests that did not tell their tokens (1); "
        "the next request could cost 50"
    )


class Discarding(Backend):
    """Its first answers to every prompt are discarded; the nth tells `told[n]`."""

    def __init__(self, *told):
        super().__init__()
        self.told = told

    async def ask(self, messages, on_discarded=None):
        for told in self.told:
            self.asked.append(messages[-1]["content"])
            await on_discarded(*told, again=True)
        return await super().ask(messages)


def test_discarded_answers_are_counted_and_paid(tmp_path):
    backend = Discarding((20, 5), (None, None))
    facts = ask(["0"], backend, tmp_path / "a.sqlite", **PRICES).facts
    assert (facts["discarded"], facts["prompt_tokens"], facts["completion_tokens"]) == (2, 20 + 10, 5 + 2)
    assert (facts["cost"], facts["cost_unknown_requests"], facts["cost_reserved"]) == (25.0 + 12.0, 1, MOST)
    free = ask(["1"], Discarding((None, None)), tmp_path / "a.sqlite").facts
    assert (free["cost"], free["cost_unknown_requests"], free["cost_reserved"]) == (None, 1, None)


def test_a_repetition_needs_room_of_its_own(tmp_path):
    # 50 are held for each discarded answer: two fit in 149, and the second repetition has no room
    backend = Discarding((None, None), (None, None), (None, None))
    with pytest.raises(UserError, match=r"up to 100 by .* tokens \(2\); .* 0 replies are kept, 2 are missing"):
        ask(["0", "1"], backend, tmp_path / "a.sqlite", budget=149.0, concurrency=1, **PRICES)
    assert backend.asked == ["0", "0"]


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_what_is_spent_is_told_as_it_happens(tmp_path, concurrency):
    told = []
    with ReplyCache(tmp_path / "a.sqlite") as cache:
        settings = mock_judge(concurrency=concurrency, **PRICES)
        prompts = [chat(text) for text in "012"]
        backend = Discarding((20, 5), (None, None))
        asyncio.run(ask_all(prompts, settings, backend, cache, on_spent=lambda *numbers: told.append(numbers)))
    assert sorted(told) == [(12.0, 12)] * 3 + [(25.0, 25)] * 3 + [(MOST, 0)] * 3


def test_a_refused_request_spends_nothing_and_an_unanswered_one_its_most(tmp_path):
    class Refusing(Backend):
        async def ask(self, messages, on_discarded=None):
            raise UserError("refused", "no")

    for backend, text, expected in ((Refusing(), "0", []), (Backend(), "lost", [(MOST + 3, 0)])):
        told = []
        with ReplyCache(tmp_path / "a.sqlite") as cache, pytest.raises(UserError):
            asyncio.run(
                ask_all(
                    [chat(text)], mock_judge(**PRICES), backend, cache, on_spent=lambda *n, told=told: told.append(n)
                )
            )
        assert told == expected


def test_what_was_spent_before_is_named_and_is_no_cost_of_this_judging(tmp_path):
    with ReplyCache(tmp_path / "a.sqlite") as cache:
        with pytest.raises(UserError, match=r"judge.budget=109 USD: 60 USD spent before, 0 now; .* cost 50; 0 replies"):
            asyncio.run(ask_all([chat("0")], mock_judge(budget=109.0, **PRICES), Backend(), cache, spent=60.0))
        facts = asyncio.run(
            ask_all([chat("0")], mock_judge(budget=110.0, **PRICES), Backend(), cache, spent=60.0)
        ).facts
    assert facts["cost"] == 12.0


def test_the_estimate_counts_four_characters_as_a_token():
    assert forecast(mock_judge(max_tokens=5), [chat("12345678"), chat("123456789")]) == (2 + 3, 10, None)
    assert forecast(mock_judge(max_tokens=5, input_price=2.0, output_price=3.0), [chat("1234")]).cost == 17e-6
