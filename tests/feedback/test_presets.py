"""Each preset reads a record in its layout; the records are made up, in the columns that the published data have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.data_settings import Mapped
from notus_exp.config.folders import conf_dir
from notus_exp.errors import UserError
from notus_exp.feedback.mapped import read
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import build, check
from support.configs import composed

GOOD, BAD = "Lima lies on the coast.", "I would rather not say."
ASKED = "Where does Lima lie?"


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def said(sender: str, value: str) -> dict[str, str]:
    return {"from": sender, "value": value}


SIDES = {
    "chosen": [turn("user", ASKED), turn("assistant", GOOD)],
    "rejected": [turn("user", ASKED), turn("assistant", BAD)],
}
TALK = [turn("user", "Hello."), turn("assistant", "Good day."), turn("user", ASKED)]
HUMAN = f"\n\nHuman: Hello.\n\nAssistant: Good day.\n\nHuman: {ASKED}\n\nAssistant:"
EARLIER = [turn("user", "Hello."), turn("assistant", "Good day.")]

RECORDS: dict[str, list[dict[str, Any]]] = {
    "trl": [SIDES | {"score_chosen": 8.0, "score_rejected": 5.5}],
    "argilla_ultrafeedback": [
        SIDES
        | {"source": "evol", "prompt": ASKED, "chosen-rating": 4.75, "chosen-model": "big"}
        | {"rejected-rating": 2.0, "rejected-model": "small"}
    ],
    "h4_ultrafeedback": [
        SIDES
        | {"prompt": ASKED, "prompt_id": "f00", "messages": SIDES["chosen"], "score_chosen": 8, "score_rejected": 5}
    ],
    "distilabel": [
        {"instruction": ASKED, "generations": [GOOD, BAD], "ratings": [5, None], "rationales": ["right", None]}
        | {"generation_models": ["big", "small"], "distilabel_metadata": {"raw": "text"}}
    ],
    "helpsteer2": [
        {"prompt": "Hello.\n<extra_id_1>Assistant\nGood day.\n<extra_id_1>User\n" + ASKED, "response": text}
        | {"helpfulness": mark, "correctness": mark, "coherence": 4, "complexity": 1, "verbosity": 2}
        for text, mark in ((GOOD, 4), (BAD, 0))
    ],
    "helpsteer3": [
        {"domain": "general", "language": "english", "context": TALK, "response1": GOOD, "response2": BAD}
        | {"overall_preference": -3, "individual_preference": [{"score": -3, "reasoning": "r", "feedback1": "f"}]}
    ],
    "nectar": [
        {"prompt": HUMAN + " ", "turns": 2, "num_responses": 2, "source": ["lmsys", "flan"], "good_natured": True}
        | {"answers": [{"answer": GOOD, "model": "big", "rank": 1.0}, {"answer": BAD, "model": "small", "rank": 2.0}]}
    ],
    "hh_rlhf": [{"chosen": f"{HUMAN} {GOOD}", "rejected": f"{HUMAN} {BAD}"}],
    "safe_rlhf": [
        {"prompt": ASKED, "response_0": BAD, "response_1": GOOD, "prompt_source": "own", "response_0_source": "small"}
        | {"response_1_source": "big", "is_response_0_safe": True, "is_response_1_safe": False, "better_response_id": 1}
        | {"safer_response_id": 0, "response_0_sha256": "0", "response_1_sha256": "1"}
    ],
    "orca_pairs": [{"system": "Be brief.", "question": ASKED, "chosen": GOOD, "rejected": BAD}],
    "sharegpt": [{"conversations": [said("human", ASKED)], "chosen": said("gpt", GOOD), "rejected": said("gpt", BAD)}],
    "skywork": [SIDES | {"source": "magpie"}],
    "tulu": [SIDES | {"id": "1", "source": "wildchat", "prompt": ASKED}],
}
"""Preset -> records in its layout."""
READ: dict[str, list[tuple[Any, ...]]] = {
    "trl": [(GOOD, 1.0, "", ""), (BAD, 0.0, "", "")],
    "argilla_ultrafeedback": [(GOOD, 4.75, "big", "evol"), (BAD, 2.0, "small", "evol")],
    "h4_ultrafeedback": [(GOOD, 8.0, "", ""), (BAD, 5.0, "", "")],
    "distilabel": [(GOOD, 5.0, "big", ""), (BAD, None, "small", "")],
    "helpsteer2": [(GOOD, 4.0, "", ""), (BAD, 0.0, "", "")],
    "helpsteer3": [(GOOD, 3.0, "", "general"), (BAD, -3.0, "", "general")],
    "nectar": [(GOOD, -1.0, "big", "lmsys"), (BAD, -2.0, "small", "lmsys")],
    "hh_rlhf": [(GOOD, 1.0, "", ""), (BAD, 0.0, "", "")],
    "safe_rlhf": [(BAD, 0.0, "small", "own"), (GOOD, 1.0, "big", "own")],
    "orca_pairs": [(GOOD, 1.0, "", ""), (BAD, 0.0, "", "")],
    "sharegpt": [(GOOD, 1.0, "", ""), (BAD, 0.0, "", "")],
    "skywork": [(GOOD, 1.0, "", "magpie"), (BAD, 0.0, "", "magpie")],
    "tulu": [(GOOD, 1.0, "", "wildchat"), (BAD, 0.0, "", "wildchat")],
}
"""Preset -> response, overall score, model and source of each completion."""


def test_every_preset_has_its_records() -> None:
    files = [path for path in (conf_dir() / "data").glob("*.yaml") if "\nmapping:" in path.read_text(encoding="utf-8")]
    assert {path.stem for path in files} - {"mapped"} == set(RECORDS) == set(READ)


@pytest.mark.parametrize("name", RECORDS)
def test_a_preset_reads_its_layout(name: str, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[name]), encoding="utf-8")
    spec = composed(f"data={name}", f"data.path={file}", "selection=critique").data
    assert isinstance(spec, Mapped)
    parsed = read(spec, read_files([file], lambda share: None))
    table = build(parsed.rows, spec.aspects)
    check(table, spec.aspects)
    assert parsed.malformed == []
    assert table["instruction"].to_list() == [ASKED] * 2
    assert table.select("response", "overall_score", "model", "source").rows() == READ[name]
    several = name in ("helpsteer2", "helpsteer3", "nectar", "hh_rlhf")
    assert table.get_column("context", default=table["row"]).to_list() == ([EARLIER] * 2 if several else [0, 0])
    assert set(table["system_prompt"]) == ({"Be brief."} if name == "orca_pairs" else {""})


def test_ratings_are_read_where_a_preset_has_them(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    for name, expected in (("helpsteer2", [[4, 0], [4, 0], [4, 4]]), ("safe_rlhf", [[0, 1], [1, 0]])):
        file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[name]), encoding="utf-8")
        spec = composed(f"data={name}", f"data.path={file}").data
        assert isinstance(spec, Mapped)
        table = build(read(spec, read_files([file], lambda share: None)).rows, spec.aspects)
        assert [table[f"rating_{aspect}"].to_list() for aspect in spec.aspects] == expected


def test_the_preset_of_trl_reads_an_explicit_prompt_too(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    records: list[dict[str, Any]] = [
        {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
        {"prompt": TALK, "chosen": [turn("assistant", GOOD)], "rejected": [turn("assistant", BAD)]},
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    spec = composed("data=trl", f"data.path={file}", "selection=critique").data
    assert isinstance(spec, Mapped)
    table = build(read(spec, read_files([file], lambda share: None)).rows, [])
    assert table.select("instruction", "response").rows() == [(ASKED, GOOD), (ASKED, BAD)] * 2
    assert table["context"].to_list() == [[], [], EARLIER, EARLIER]


def test_the_preset_of_trl_reads_an_implicit_prompt_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    record = {"chosen": f"{ASKED} {GOOD}", "rejected": f"{ASKED} {BAD}"}
    file.write_text(json.dumps(record) + "\n", encoding="utf-8")
    spec = composed("data=trl", f"data.path={file}", "selection=critique").data
    assert isinstance(spec, Mapped)
    parsed = read(spec, read_files([file], lambda share: None))
    table = build(parsed.rows, [])
    assert table.select("instruction", "response").rows() == [(ASKED, f" {GOOD}"), (ASKED, f" {BAD}")]
    assert parsed.facts["common_beginnings"] == 1
    file.write_text(f"{json.dumps(record)}\n{json.dumps(record | {'prompt': 'q'})}\n", encoding="utf-8")
    with pytest.raises(UserError, match="'prompt' is in some records, and 1 without it have texts with a common"):
        read(spec, read_files([file], lambda share: None))
