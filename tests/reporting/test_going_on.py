"""What moves at the foot of a terminal, and the lines of it where there is none."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from notus_exp.disk import streams
from notus_exp.reporting import going_on as module
from notus_exp.reporting.console import make_console
from notus_exp.reporting.going_on import going_on, working
from notus_exp.reporting.texts import QUIET, SHOWN, tell

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(*, terminal: bool, width: int = 80) -> tuple[Console, io.StringIO]:
    out = Terminal() if terminal else io.StringIO()
    return Console(file=out, width=width, force_terminal=terminal, color_system=None, markup=False), out


def lines(out: io.StringIO) -> list[str]:
    """Every line that was drawn, in order."""
    return [line.strip() for line in re.split(r"[\r\n]+", CONTROL.sub("", out.getvalue())) if line.strip()]


def test_what_has_no_known_end_shows_how_long_it_takes_and_leaves_nothing() -> None:
    where, out = console(terminal=True)
    with working(where, "comparing"):
        time.sleep(0.3)
    drawn = lines(out)
    assert drawn and all(re.fullmatch(r"comparing +━+ +0 s", line) for line in drawn), drawn
    assert out.getvalue().endswith("\x1b[2K\x1b[?25h\r") or "\x1b[2K" in out.getvalue().rpartition("comparing")[2]


def test_what_has_a_known_end_shows_its_share_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    where, out = console(terminal=True)
    with going_on(where).open() as foot:
        line = foot.add("verifying")
        assert foot._lines is not None
        clock = [foot._lines.tasks[0].start_time or 0.0]
        foot._lines.get_time = lambda: clock[0]
        foot._lines.tasks[0]._get_time = foot._lines.get_time
        clock[0] += 30.0
        foot.move(line, 0.25)
        foot._lines.refresh()
        foot.remove(line)
    assert any(
        re.search(r"verifying .* 25% 30 s, 90 s left|verifying .* 25% 30 s, 2 min left", one) for one in lines(out)
    )


def test_no_number_at_the_foot_of_80_columns_is_cut() -> None:
    where, out = console(terminal=True)
    with going_on(where).open() as foot:
        one = foot.add("generations_verifiable_base")
        foot.move(one, 0.5, shown="tokens/s 47650", left=lambda: "88 min")
        assert foot._lines is not None
        foot._lines.tasks[0].start_time = foot._lines.get_time() - 88.0
        time.sleep(0.2)
    assert "…" not in out.getvalue()
    assert any(re.fullmatch(r"generations_verifiable_base +━+.* +50% 88 s, 88 min left tokens/s 47650", line)
               for line in lines(out))  # fmt: skip


def test_in_a_log_what_takes_long_has_a_line_now_and_then_and_what_does_not_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where, out = console(terminal=False)
    with working(where, "short"):
        pass
    assert out.getvalue() == ""
    monkeypatch.setattr(module, "LINE_EVERY", 0.05)
    with working(where, "comparing") as move:
        move(1, 4)
        time.sleep(0.2)
    assert out.getvalue().splitlines()[0] == "comparing: 0 s, 25%"
    assert "\x1b" not in out.getvalue()


def test_a_quiet_command_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv(SHOWN, QUIET)
    with working(make_console(streams.err()), "comparing"):
        time.sleep(0.2)
    assert out.getvalue() == ""


def test_all_that_asks_for_the_foot_of_standard_error_shares_it_and_errors_stand_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("COLUMNS", "80")
    with working(make_console(streams.err()), "outer"):
        with working(make_console(streams.err()), "inner"):
            time.sleep(0.3)
            tell("error: told meanwhile", streams.err())
            time.sleep(0.2)
        assert make_console(streams.err()).file is out
    assert streams.err() is out
    drawn = lines(out)
    assert any(line.startswith("inner") for line in drawn[drawn.index("error: told meanwhile") :])
    assert drawn.count("error: told meanwhile") == 1


def test_what_begins_a_command_goes_when_anything_else_goes_on() -> None:
    where, out = console(terminal=True)
    foot = going_on(where)
    foot.begin("composing")
    with working(where, "planning"):
        time.sleep(0.2)
    drawn = lines(out)
    assert drawn[0].startswith("composing")
    assert not any(line.startswith("composing") for line in drawn[[one[:8] for one in drawn].index("planning") :])
    foot.begun()
