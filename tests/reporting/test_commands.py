"""The doors' arguments: what is wrong with them is two lines in our words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notus_exp.reporting.commands import Parser


def parser() -> Parser:
    made = Parser(prog="python -m notus_exp.x")
    made.add_argument("study", metavar="STUDY", type=Path)
    made.add_argument("--metric")
    made.add_argument("--margin", type=float)
    made.add_argument("--kind", choices=["mean", "median"])
    made.add_argument("--seeds", type=int)
    made.add_argument("--json", action="store_true")
    either = made.add_mutually_exclusive_group()
    either.add_argument("--one", action="store_true")
    either.add_argument("--other", action="store_true")
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("x --metrik y", "--metrik is no option of this command\n  did you mean '--metric'?"),
        ("x y", "'y' is one argument too many\n  python -m notus_exp.x --help shows how it is used"),
        ("", "STUDY must be given"),
        ("x --metric", "--metric needs a value\n  write --metric VALUE"),
        ("x --m 3", "--m may be --metric, --margin\n  write it out"),
        ("x --margin 0,05", "--margin 0,05 is no number"),
        ("x --seeds 1.5", "--seeds 1.5 is no whole number"),
        ("x --kind men", "--kind cannot be 'men'\n  did you mean 'mean'?"),
        ("x --json=3", "--json takes no value"),
        ("x --one --other", "--other and --one do not go together\n  give one of them"),
    ],
)
def test_a_wrong_argument_is_said_in_two_lines(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(arguments.split())
    text = capsys.readouterr().err
    assert text.startswith(f"error: {said}")
    assert len(text.splitlines()) == 2
    assert not re.search("argument -|unrecognized|invalid|required|expected|ignored explicit", text)
