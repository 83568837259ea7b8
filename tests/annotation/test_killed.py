"""A killed annotator goes on: no reply that is kept is asked for again, whether answers are rated or criticised."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from notus_exp.disk.files import VERDICT_CACHE
from notus_exp.judging.cache import ReplyCache, reply_key
from support.fault_server import FaultServer
from support.killings import let_finish_killed
from support.raters import ANSWERS, judge_at, rated, ratings, true_rating

CONCURRENCY = 4


@pytest.mark.parametrize(("form", "prompts", "calls"), [("together", 40, 40), ("critique", 20, 20 * ANSWERS)])
def test_killed_in_the_midst_of_rating_no_reply_that_is_kept_is_asked_for_again(
    tmp_path: Path, form: str, prompts: int, calls: int
) -> None:
    """Two kills: the calls exceed the need by no more than the requests that were under way at each."""
    with FaultServer(latency=0.02, answer=rated) as server:
        given = [str(tmp_path), str(prompts), form, server.url, str(CONCURRENCY)]
        let_finish_killed(
            [sys.executable, "-m", "support.raters", *given], server, calls, CONCURRENCY, lambda: kept(tmp_path, server)
        )
    found = ratings(tmp_path)
    assert len(found) == prompts * ANSWERS
    assert found == {answer: true_rating(answer) for answer in found}, "each has the rating that the server gave it"


def kept(folder: Path, server: FaultServer) -> set[str]:
    """Return the questions whose replies a killed attempt left."""
    judge = judge_at(server.url, CONCURRENCY)
    asked = {reply_key(judge, body["messages"], None): question for _, question, body, _ in server.requests}
    with ReplyCache(folder / "cache" / VERDICT_CACHE) as cache:
        return {asked[key] for key in cache.get_many(asked)}
