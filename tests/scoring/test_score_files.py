"""Scores of completions in files of others: whose they are, what is counted, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.run.data_notes import column_notes
from notus_exp.scoring.score_files import SCORE, completion_digest, join_scores, read_scores
from support.curation_tables import completion, prompt, table

COMPLETIONS = table(
    prompt("Name a colour.", completion("Red."), completion("Blue.")),
    prompt("Name a fruit.", completion("Plum."), completion("Fig.")),
)


def written(folder: Path, rows: list[dict[str, Any]], name: str = "scores.jsonl") -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    elif name.endswith(".csv"):
        pl.DataFrame(rows).write_csv(path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def joined(path: Path, completions: pl.DataFrame = COMPLETIONS, column: str = "score", by: str | None = None) -> Any:
    return join_scores(completions, read_scores(path, column, by, "scores.x"), "scores.x")


ROWS = [{"row": 1, "completion": 0, "score": 0.5}, {"row": 0, "completion": 1, "score": 2}]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.csv"])
def test_scores_are_found_by_the_completions_key_whatever_the_format(tmp_path: Path, name: str) -> None:
    found = joined(written(tmp_path, ROWS, name))
    assert found.values.to_list() == [None, 2.0, 0.5, None]
    assert found.counts == {
        "with_score": 2, "without_score": 2, "matched": 2, "unmatched": 0, "double": 0, "missing": 0, "unclear": 0,
    }  # fmt: skip


def test_scores_are_found_by_prompt_id_digest_and_text(tmp_path: Path) -> None:
    ids = {"prompt_id": prompt_id("Name a fruit."), "completion": 1, "score": 7.0}
    assert joined(written(tmp_path, [ids], "a.csv")).values.to_list() == [None, None, None, 7.0]
    digest = hashlib.sha256(b'["Name a fruit.","Fig."]').hexdigest()
    assert joined(written(tmp_path, [{"digest": digest.upper(), "score": 7.0}])).values.to_list()[3] == 7.0
    texts = {"prompt": "Name a fruit.", "response": "Fig.", "score": 7.0}
    assert joined(written(tmp_path, [texts])).values.to_list() == [None, None, None, 7.0]


def test_the_digest_is_of_all_turns_of_a_prompt() -> None:
    recipe = json.dumps(["Häuser?", "Ja.", "Wo?", "Da."], separators=(",", ":")).encode()
    assert completion_digest(["Häuser?", "Ja.", "Wo?"], "Da.") == hashlib.sha256(recipe).hexdigest()


def test_a_prompt_of_several_turns_is_found_by_its_digest_alone(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]] * 2 + [[]] * 2
    kind = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    several = COMPLETIONS.with_columns(pl.Series("context", turns, dtype=kind))
    digest = completion_digest(["Hi.", "Hello.", "Name a colour."], "Red.")
    alone = completion_digest(["Name a colour."], "Red.")
    rows = [{"digest": digest, "score": 1.0}, {"digest": alone, "score": 2.0}]
    assert joined(written(tmp_path, rows), several).values.to_list() == [1.0, None, None, None]
    text = {"prompt": "Name a colour.", "response": "Red.", "score": 1.0}
    fruit = {"prompt": "Name a fruit.", "response": "Fig.", "score": 3.0}
    found = joined(written(tmp_path, [text, fruit]), several)
    assert found.values.to_list() == [None, None, None, 3.0]
    assert found.counts["several_turns"] == 2
    facts = {"completions": 4} | {f"x/{count}": number for count, number in found.counts.items()}
    assert column_notes(facts)[0].endswith(
        "completions of prompts of several turns, which a digest alone can name, not their texts: 2"
    )


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        {"row": 1, "completion": 0, "score": 0.5},  # said twice
        {"row": 9, "completion": 0, "score": 1.0},  # of no completion
        {"row": 0, "completion": 0, "score": float("nan")},
        {"row": 1, "completion": 1, "score": float("inf")},
        {"row": 0, "completion": 0, "score": None},
        {"row": None, "completion": 0, "score": 1.0},  # of nobody
        {"row": None, "completion": 0, "score": 2.0},
    ]
    found = joined(written(tmp_path, rows, "a.parquet"))
    assert found.values.to_list() == [None, 2.0, 0.5, None]
    assert found.counts == {
        "with_score": 2, "without_score": 2, "matched": 2, "unmatched": 3, "double": 1, "missing": 3, "unclear": 0,
    }  # fmt: skip


def test_a_score_that_nothing_can_be_computed_with_is_refused(tmp_path: Path) -> None:
    assert joined(written(tmp_path, [*ROWS, {"row": 0, "completion": 0, "score": -1e9}])).counts["with_score"] == 3
    with pytest.raises(UserError, match=r"scores\.x: .* has 2 scores beyond 1e\+09 in 'score'"):
        joined(written(tmp_path, [*ROWS, *({"row": 0, "completion": n, "score": 1e308 - n} for n in (0, 1))]))


def test_of_a_prompt_in_several_rows_the_id_and_number_are_unclear(tmp_path: Path) -> None:
    twice = pl.concat([COMPLETIONS, COMPLETIONS.filter(pl.col("row") == 0).with_columns(row=pl.lit(5, pl.Int64))])
    rows = [
        {"prompt_id": prompt_id("Name a colour."), "completion": 0, "score": 1.0},
        {"prompt_id": prompt_id("Name a fruit."), "completion": 0, "score": 2.0},
    ]
    found = joined(written(tmp_path, rows), twice)
    assert found.values.to_list() == [None, None, 2.0, None, None, None]
    assert (found.counts["unclear"], found.counts["unmatched"]) == (4, 1)


def test_the_same_text_in_several_rows_has_the_same_score(tmp_path: Path) -> None:
    twice = pl.concat([COMPLETIONS, COMPLETIONS.filter(pl.col("row") == 0).with_columns(row=pl.lit(5, pl.Int64))])
    rows = [{"prompt": "Name a colour.", "response": "Red.", "score": 1.0}]
    assert joined(written(tmp_path, rows), twice).values.to_list() == [1.0, None, None, None, 1.0, None]


@pytest.mark.parametrize(
    ("rows", "column", "by", "said"),
    [
        ([{"row": 0, "completion": 0, "score": 1}, {"row": 0, "completion": 0, "score": 2}], "score", None,
         "row 0, completion 0 has two scores, 1 and 2"),
        ([{"prompt": "Name a colour.", "response": "Red.", "score": score} for score in (1, 3, 2)], "score", None,
         "prompt Name a colour., response Red. has two scores, 1 and 3"),
        ([{"row": 7, "completion": 0, "score": 1}], "score", None, "none of 1 scores"),
        ([{"row": 0, "completion": 0, "score": 1}], "scor", None, "no column 'scor'"),
        ([{"row": 0, "score": 1}], "score", None, "does not say whose its scores are"),
        ([{"row": 0, "completion": 0, "digest": "a", "score": 1}], "score", None, "in several ways"),
        ([{"row": 0, "completion": 0, "score": 1}], "score", "digest", "no column 'digest'"),
        ([{"row": 0, "completion": 0, "score": 1}], "row", None, "says whose a score is"),
        ([{"row": 0, "completion": 0, "score": "good"}], "score", None, "no numbers in 'score'"),
        ([{"row": 0, "completion": 0, "score": True}], "score", None, "no numbers in 'score'"),
        ([{"row": 0.5, "completion": 0, "score": 1}], "score", None, "no whole numbers in 'row'"),
        ([{"row": "a", "completion": 0, "score": 1}], "score", None, "no whole numbers in 'row'"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_one_error(
    tmp_path: Path, rows: list[dict[str, Any]], column: str, by: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=r"scores\.x") as caught:
        joined(written(tmp_path, rows), column=column, by=by)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b""), ("a.jsonl", b"[1]\n"), ("a.jsonl", b""), ("a.jsonl", b"{\n"), ("a.parquet", b"no"), ("a.csv", b""),
     ("a.jsonl.gz", b"no"), ("a.csv", b"row,row\n1,2\n"),
     ("a.jsonl", b'{"row": 0, "completion": 0, "score": 1}\nno\n')],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"scores\.x"):
        read_scores(tmp_path / name, "score", None, "scores.x")


def test_where_a_file_tells_in_several_ways_the_setting_decides(tmp_path: Path) -> None:
    path = written(tmp_path, [{"row": 1, "completion": 0, "digest": "0", "score": 4.0}])
    found = read_scores(path, "score", "row", "scores.x")
    assert found.rows() == [(1, 0, 4.0)]
    assert found.columns == ["row", "completion", SCORE]
