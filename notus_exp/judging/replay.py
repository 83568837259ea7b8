"""Verdicts that were given before and lie in a file. One that is missing is a failed verdict, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from notus_exp.config.judge_settings import ReplayJudge
from notus_exp.disk import given
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.judging.parsing import BEST_RATING, LEAST_RATING
from notus_exp.judging.verdict_origin import grading_judge, origin_of_gradings, origin_of_records
from notus_exp.judging.verdicts import AnswerPair, Grading, Verdict

QUESTIONS = "question.jsonl"

StoredVerdict = dict[str, Any]


def prefer(pairs: Sequence[AnswerPair], judge: ReplayJudge) -> list[Verdict]:
    """Look up pairs in an AlpacaEval annotations.json, by instruction, output_2 and, where it has one, output_1.

    Preference 1 = output_1 wins, 2 = output_2 wins, 0 or 1.5 = a draw, null = failed.

    Args:
        pairs: What is looked up.
        judge: Its file, a JSON list.

    Raises:
        UserError: No such file, a malformed one, one with two verdicts on the same outputs, or with several judges or
            reference models.
    """
    rows = _preferences(judge)
    return [_stored_preference(pair, rows) for pair in pairs]


def grade(gradings: Sequence[Grading], judge: ReplayJudge) -> list[Verdict]:
    """Look up the ratings of one model in a judgment file of FastChat's layout, by question and turn.

    The file names questions by number. Beside it or in the folder above, where FastChat has it, question.jsonl tells
    their texts; without it only prompt ids that are such numbers are found. A judgment without a rating has the
    score -1. The rated answers are not in the file, so that nothing can check whose they are.

    Args:
        gradings: What is looked up.
        judge: Its file, a JSON object a line, and the model whose judgments are read: a value of the column `model`.

    Raises:
        UserError: No such file, a malformed one, no judgment of the model, two of the same turn, or several judges.
    """
    judgments = _ratings(judge)
    numbers = _question_numbers(_file(judge))
    return [
        _stored_rating(grading, numbers.get(grading.prompt_id, grading.prompt_id), judgments) for grading in gradings
    ]


def check_stored(judge: ReplayJudge, *, pairs: bool) -> None:
    """Read the file as it will be read, so that a malformed one is told before anything runs.

    Args:
        judge: Its file, and of judgments the model.
        pairs: Verdicts on pairs are wanted, AlpacaEval's; else ratings, MT-Bench's.

    Raises:
        UserError: As `prefer` and `grade`.
    """
    if pairs:
        _preferences(judge)
    else:
        _ratings(judge)
        _question_numbers(_file(judge))


def _preferences(judge: ReplayJudge) -> dict[Hashable, StoredVerdict]:
    file = _file(judge)
    stored = _json_list(file)
    origin_of_records(stored, "judge.path", file)
    return _indexed(file, stored, lambda row: (row["instruction"], row.get("output_1"), row["output_2"]))


def _ratings(judge: ReplayJudge) -> dict[Hashable, StoredVerdict]:
    file, model = _file(judge), judge.model
    rows = list(_json_lines(file))
    models = {str(row.get("model")) for row in rows}
    if model not in models:
        raise UserError(f"judge.model={model}: {file} has no judgments of it", f"it has {', '.join(sorted(models))}")
    own = [row for row in rows if row.get("model") == model]
    origin_of_gradings(own, "judge.path", file)
    return _indexed(file, own, lambda row: (str(row["question_id"]), _whole(row["turn"])))


def _stored_preference(pair: AnswerPair, rows: dict[Hashable, StoredVerdict]) -> Verdict:
    _, instruction, reference, model = pair
    row = rows.get((instruction, reference, model)) or rows.get((instruction, None, model))
    if row is None:
        return _verdict(pair.prompt_id, 1, None, "no stored verdict on these outputs")
    stored = row.get("preference")
    drawn = stored == 0 and not isinstance(stored, bool)
    value = _between(1.5 if drawn else stored, 1, 2)
    reason = "" if value else f"the stored preference is {stored}"
    return _verdict(pair.prompt_id, 1, value, reason, row)


def _stored_rating(grading: Grading, question: str, rows: dict[Hashable, StoredVerdict]) -> Verdict:
    row = rows.get((question, grading.turn))
    if row is None:
        return _verdict(grading.prompt_id, grading.turn, None, f"no stored judgment of question {question}")
    value = _between(row.get("score"), LEAST_RATING, BEST_RATING)
    return _verdict(
        grading.prompt_id, grading.turn, value, "" if value else f"the stored score is {row.get('score')}", row
    )


def _verdict(prompt: str, turn: int, value: float | None, reason: str, row: StoredVerdict | None = None) -> Verdict:
    row = row or {}
    judge = row.get("annotator") or grading_judge(row.get("judge")) or ""
    raw = row.get("judgment") or row.get("raw_completion") or ""
    raw = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
    return Verdict(prompt, turn, "", value, reason, raw, str(judge), 0, 0, _price(row.get("price_per_example")))


def _between(value: Any, least: float, most: float) -> float | None:
    """Return a number that lies between two positive ones, and None for anything else."""
    inside = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return float(value) if inside else None


def _price(value: Any) -> float | None:
    """Return a price in USD, None where none is known.

    Raises:
        UserError: It is not a usable number of at least 0.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not given.usable(value) or value < 0:
        raise UserError(
            f"judge.path: price_per_example is {ascii(value)[:60]}, which is not a usable number",
            "give US dollars, or leave it out",
        )
    return float(value)


def _whole(value: Any) -> int:
    """Return a whole number that is given as such or as its digits; 1.9 and true are none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _file(judge: ReplayJudge) -> Path:
    file = Path(judge.path)
    if not file.is_file():
        raise UserError(f"judge.path={file} is no file", "give AlpacaEval's annotations.json or MT-Bench's .jsonl")
    return file


def _json_list(file: Path) -> list[StoredVerdict]:
    try:
        rows = given.parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"judge.path={file} is no JSON that can be used: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"judge.path={file} is no list of objects", "comparisons are read from an annotations.json")
    return rows


def _json_lines(file: Path) -> Iterable[StoredVerdict]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"judge.path={file} is not UTF-8: {error.reason} at byte {error.start}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = given.parse(line)
        except ValueError as error:
            message = f"{file}:{number} is no JSON that can be used: {error}"
            raise UserError(message, "a JSON object is expected on each line") from None
        if not isinstance(row, dict):
            raise UserError(f"{file}:{number} is no JSON object", "a JSON object is expected on each line")
        yield row


def _indexed(
    file: Path, rows: Iterable[StoredVerdict], key: Callable[[StoredVerdict], Hashable]
) -> dict[Hashable, StoredVerdict]:
    """Return the rows by key, each of which must be there once: of two, nobody can say which one holds."""
    found: dict[Hashable, StoredVerdict] = {}
    for number, row in enumerate(rows, 1):
        try:
            name = key(row)
            twice = name in found
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"judge.path={file}: verdict {number} is malformed ({type(error).__name__}: {error})"
            ) from None
        if twice:
            raise UserError(
                f"judge.path={file} has two verdicts on the same answer: {_short(name)}"
                + (f" of {row['model']}" if "model" in row else ""),
                "keep one of them",
            )
        found[name] = row
    return found


def _short(name: Hashable) -> str:
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _question_numbers(file: Path) -> dict[str, str]:
    """Return prompt id -> question number, from the question file that belongs to a judgment file; {} without one."""
    for folder in (file.parent, file.parent.parent):
        if (folder / QUESTIONS).is_file():
            return _numbered(folder / QUESTIONS)
    return {}


def _numbered(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(_json_lines(file), 1):
        try:
            name, question = prompt_id(row["turns"][0]), str(row["question_id"])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(
                f"{file}: question {number} is malformed ({type(error).__name__}: {error})",
                "each line is an object with question_id and turns, a list of texts",
            ) from None
        if found.setdefault(name, question) != question:
            raise UserError(f"{file} has the questions {found[name]} and {question} with the same first turn")
    return found
