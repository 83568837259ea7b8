"""Which options are named where the chosen one reads nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk import events
from notus_exp.errors import UserError
from notus_exp.feedback.completions import run
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings, keyed
from support.configs import composed

TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
SIDES = {side: [*TALK, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
ORCA = {"system": "s", "question": "q", "chosen": "x", "rejected": "y"}
ULTRA = {"instruction": "q", "source": "s", "completions": [{"response": "x", "annotations": {}, "overall_score": 1}]}


def read(folder: Path, name: str, *rows: dict[str, Any] | str) -> UserError:
    file = folder / "data.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    data = composed(f"data={name}", f"data.path={file}", "selection=critique").data
    out = folder / "out"
    out.mkdir()
    writer = events.EventWriter("feedback", out / "events.jsonl", folder / "followed.jsonl")
    context = Context(writer, None, folder / "cache", {"data": [str(file)]})  # type: ignore[arg-type]
    with pytest.raises(UserError) as error:
        run(FeedbackSettings(keyed(data), "d" * 64), {}, out, context)
    return error.value


@pytest.mark.parametrize(
    ("chosen", "row", "named"),
    [
        ("pairs", ORCA, "data=orca_pairs reads such records"),
        ("rated", ORCA, "data=orca_pairs reads such records"),
        ("skywork", ORCA, "data=orca_pairs reads such records"),
        ("pairs", {"chosen": "\n\nHuman: q\n\nAssistant: x", "rejected": "\n\nHuman: q\n\nAssistant: y"},
         "data=hh_rlhf reads such records"),
        ("pairs", {"chosen": "What? x", "rejected": "What? y"}, "data=trl reads such records"),
        ("pairs", SIDES, "data=trl reads such records"),
        ("pairs", SIDES | {"source": "s"}, "data=skywork or data=tulu reads such records"),
        ("trl", ULTRA, "data=ultrafeedback reads such records"),
        ("trl", {"prompt": "q", "response": "x"} | dict.fromkeys(("helpfulness", "correctness", "coherence"), 1),
         "data=rated reads such records"),
        ("ultrafeedback", {"prompt": "q", "chosen": "x", "rejected": "y"}, "data=pairs or data=trl reads such records"),
    ],
)  # fmt: skip
def test_the_options_that_read_the_first_records_are_named(
    chosen: str, row: dict[str, Any], named: str, tmp_path: Path
) -> None:
    parts = read(tmp_path, chosen, row, row).hint.split("; ")
    assert any(part.removeprefix(f"none fits data={chosen}: ") == named for part in parts)


def test_where_no_option_reads_them_all_are_named(tmp_path: Path) -> None:
    hint = read(tmp_path, "ultrafeedback", {"text": "x"}, {"text": "y"}).hint
    assert "none fits data=ultrafeedback: is it UTF-8, or the layout of another option (ultrafeedback, " in hint


def test_conversations_as_texts_are_said_to_be_that(tmp_path: Path) -> None:
    row = {side: json.dumps(turns) for side, turns in SIDES.items()}
    error = read(tmp_path, "trl", row, row)
    assert "chosen is a text that holds messages, in the form of JSON or of Python" in error.message
    assert "none fits data=trl: give it conversations as lists, in .jsonl or .parquet" in error.hint


def test_records_that_cannot_be_parsed_are_of_no_layout(tmp_path: Path) -> None:
    assert "is it UTF-8" in read(tmp_path, "pairs", "{", "{").hint


def test_an_option_is_not_named_where_some_records_are_read(tmp_path: Path) -> None:
    error = read(tmp_path, "ultrafeedback", ORCA, ULTRA)
    assert "orca_pairs" not in error.hint
    assert "data.max_bad_rows=1" in error.hint
