"""A command that asks a server, killed in the midst and given again: what is asked for twice."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from support.fault_server import FaultServer
from support.places import IMPORTABLE
from support.warm import ENVIRONMENT

KILLS = 2


def questions_of(server: FaultServer) -> Counter[str]:
    """Return how often a server was asked each question, by the words of its last turn."""
    return Counter(question for _, question, _, _ in server.requests)


def let_finish_killed(
    command: Sequence[str], server: FaultServer, need: int, concurrency: int, kept: Callable[[], Collection[str]]
) -> None:
    """Give a command, kill it by SIGKILL in the midst of its questions, twice, and give it until it ends.

    Asserts that no question whose answer is kept is asked again, that all are asked, and that a kill costs no more
    calls than were under way.

    Args:
        command: Asks the server, and goes on with what is kept.
        server: Which answers slowly enough that there is a midst.
        need: How many questions there are.
        concurrency: How many are under way at once, at most.
        kept: Returns the questions whose answers a killed attempt left.
    """
    environment = {**ENVIRONMENT, **IMPORTABLE}
    asked_for: dict[str, int] = {}  # of each question whose answer is kept how often it was asked until then
    for kill in range(1, KILLS + 1):
        process = subprocess.Popen(command, env=environment)
        try:
            _wait_until_asked(server, kill * need // (KILLS + 1), process)
        finally:
            process.kill()  # by SIGKILL
            process.wait()
        time.sleep(0.1)  # what was under way is answered to nobody
        asked = questions_of(server)
        assert all(asked[question] == asked_for[question] for question in asked_for), "none again"
        asked_for = {question: asked[question] for question in kept()}
    assert subprocess.run(command, env=environment, timeout=60).returncode == 0
    after = questions_of(server)
    assert len(asked_for) >= need // 3, "it was killed in the midst"
    assert all(after[question] == asked_for[question] for question in asked_for), "what is kept is not asked for again"
    assert len(after) == need
    assert sum(after.values()) <= need + KILLS * concurrency


def _wait_until_asked(server: FaultServer, often: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while len(server.requests) < often:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end, "it does not ask"
        time.sleep(0.01)
