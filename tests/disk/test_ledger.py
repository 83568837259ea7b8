"""What judges cost is written down as it is spent, and a later attempt goes on from there, whatever befell the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from notus_exp.disk.ledger import Ledger


def test_a_later_attempt_goes_on_from_what_was_spent(tmp_path):
    path = tmp_path / "spending.jsonl"
    first = Ledger(path)
    assert (first.usd, first.tokens) == (0.0, 0)
    first.add(0.25, 100)
    first.add(0.5, 30)
    with path.open("a") as stream:
        stream.write('{"usd": 9, "tok')  # killed while writing
    again = Ledger(path)
    assert (again.usd, again.tokens) == (first.usd, first.tokens) == (0.75, 130)
    assert again.mend() is None


def written(path: Path) -> list[bytes]:
    ledger = Ledger(path)
    for usd, tokens in ((0.25, 100), (0.5, 30), (1.0, 7)):
        ledger.add(usd, tokens)
    return path.read_bytes().splitlines(keepends=True)


DAMAGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("another sum", lambda line: line.replace(b'"usd": 0.5', b'"usd": 0.1')),
    ("no JSON", lambda line: b"{half\n"),
    ("not UTF-8", lambda line: b"\xff\xfe\n"),
    ("of another kind", lambda line: b"[1]\n"),
    ("no number", lambda line: b'{"usd": null, "tokens": 3}\n'),
    ("below nothing", lambda line: b'{"usd": -5, "tokens": 3}\n'),
    ("zeros", lambda line: b"\0" * (len(line) - 1) + b"\n"),
    ("one line with the next", lambda line: line[:-1] + b" "),
]


@pytest.mark.parametrize(("damage", "do"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_what_a_damaged_line_said_follows_from_the_next_one(
    damage: str, do: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "spending.jsonl"
    lines = written(path)
    last = lines[2] if damage != "one line with the next" else b"x\n" + lines[2]
    path.write_bytes(lines[0] + do(lines[1]) + last)
    damaged = path.read_bytes()
    ledger = Ledger(path)
    assert (ledger.usd, ledger.tokens) == (1.75, 137)
    said = ledger.mend()
    assert said is not None
    assert f"{path}: 1 lines are damaged, and it is kept as spending.jsonl.damaged-1; what they said follows" in said
    assert (tmp_path / "spending.jsonl.damaged-1").read_bytes() == damaged
    ledger.add(0.25, 3)
    again = Ledger(path)
    assert (again.usd, again.tokens, again.mend()) == (2.0, 140, None)
    assert {one.name for one in tmp_path.iterdir()} == {"spending.jsonl", "spending.jsonl.damaged-1"}


@pytest.mark.parametrize("rest", [b"{half\n", b"\0" * 100])
def test_what_a_damaged_end_said_is_not_known_and_that_is_said(rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    lines = written(path)
    path.write_bytes(lines[0] + lines[1] + rest)
    ledger = Ledger(path)
    assert (ledger.usd, ledger.tokens, ledger.unknown) == (0.75, 130, 1)
    assert "1 payments at its end are not known and count as nothing against judge.budget" in str(ledger.mend())


def test_a_line_whose_seal_was_taken_out_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    Ledger(path).add(0.5, 10)
    line = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in line.items() if name != "seal"} | {"usd": 0.1}) + "\n")
    found = Ledger(path)
    assert (found.damaged, found.unknown, found.usd) == (1, 1, 0.0)


def test_lines_from_before_there_were_seals_add_up_as_before(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    path.write_text('{"usd": 0.5, "tokens": 1}\n{"usd": 0.25, "tokens": 2}\n')
    ledger = Ledger(path)
    ledger.add(1.0, 4)
    assert (Ledger(path).usd, Ledger(path).tokens, Ledger(path).mend()) == (1.75, 7, None)


def test_what_a_record_knows_beyond_a_file_whose_end_was_lost_is_added_once(tmp_path: Path) -> None:
    path = tmp_path / "spending.jsonl"
    path.write_bytes(written(path)[0])
    ledger = Ledger(path)
    assert "tells less than was spent: 37 tokens and 1.5 USD are added" in str(ledger.catch_up(1.75, 137))
    again = Ledger(path)
    assert (again.usd, again.tokens) == (1.75, 137)
    assert again.catch_up(1.75, 137) is None
    assert again.catch_up(1.0, 3) is None, "it may know less: an attempt that was killed told nothing"
