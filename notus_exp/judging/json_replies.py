"""From a judge's JSON to ratings with their reasons, or to the reason why there is none. Nothing is guessed.

The JSON may stand in prose or in a fenced block. It must name exactly the answers that were shown, by their marks:
JSON of the answers' own, or the question's own words said again, have none of these and are no rating.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from notus_exp.chat.completion import LONE_SURROGATE
from notus_exp.disk import given
from notus_exp.judging.json_questions import CRITIQUE, TOGETHER, ReadBy
from notus_exp.judging.verdicts import NOT_APPLICABLE

MOST_OBJECTS = 100
"""Places in a reply where a JSON object may begin that are looked at: no reply that can be read has as many."""
_NUMBER = re.compile(r"\s*[0-9]+(?:\.[0-9]+)?\s*", re.ASCII)
_SHOWN = 30
"""Characters of what stands in a rating's place that are shown."""


class ReadEntry(NamedTuple):
    """What a reply says of one answer.

    Attributes:
        value: The rating; None where there is none.
        reason: Why not, `NOT_APPLICABLE` where the judge says so and may; "" where there is a rating.
        rationale: The judge's words; "" for none.
        types: Those of the rubric that it names.
        unknown_types: How many others it names, which are left out.
    """

    value: float | None
    reason: str = ""
    rationale: str = ""
    types: tuple[str, ...] = ()
    unknown_types: int = 0

    @property
    def failed(self) -> bool:
        """Whether there is neither a rating nor leave to have none."""
        return self.value is None and self.reason != NOT_APPLICABLE


class _NoReading(Exception):  # noqa: N818 - no error: what a reply is
    """A reply that says nothing of any answer; the message is the reason."""


class _OtherJson(_NoReading):
    """An object that does not look like what was asked for."""


def read_reply(text: str, marks: Sequence[str], by: ReadBy) -> list[ReadEntry]:
    """Return what a reply says of each answer; where it cannot be read at all, the same reason for each.

    Args:
        text: The reply, without a model's thoughts.
        marks: Of the answers, in the order shown.
        by: What was asked for.
    """
    of_form: dict[str, Callable[[dict[str, Any], Sequence[str]], list[dict[str, Any]]]] = {
        TOGETHER: _entries,
        CRITIQUE: _one_entry,
    }
    try:
        entries = _agreed(text, marks, of_form[by.form])
    except _NoReading as nothing:
        return unread(str(nothing), marks)
    return [_read(entry, by) for entry in entries]


def unread(reason: str, marks: Sequence[str]) -> list[ReadEntry]:
    """Return the entries of a reply that says nothing."""
    return [ReadEntry(None, reason)] * len(marks)


def _agreed(
    text: str, marks: Sequence[str], of_form: Callable[[dict[str, Any], Sequence[str]], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the entries of the answers, in the order of the marks, of the one object that has them."""
    if not text.strip():
        raise _NoReading("the reply is empty")
    found, broken = _objects(text)
    if not found:
        raise _NoReading(broken or "no JSON in the reply")
    found = [_unwrapped(one) for one in found]
    if len(entries := [one for one in found if "id" in one and "rating" in one]) == len(found) > 1:
        found = [{"answers": entries}]  # a bare list of them
    fitting, wrong, other = list[list[dict[str, Any]]](), list[str](), list[str]()
    for one in found:
        try:
            fitting.append(of_form(one, marks))
        except _OtherJson as nothing:
            other.append(str(nothing))
        except _NoReading as nothing:
            wrong.append(str(nothing))
    if not fitting and not wrong:
        raise _NoReading(broken or other[0])
    if not fitting:
        raise _NoReading(wrong[0] if len(set(wrong)) == 1 else "several JSON objects, and none that fits")
    if any(one != fitting[0] for one in fitting):
        raise _NoReading("several JSON objects with different ratings")
    return fitting[0]


def _unwrapped(found: dict[str, Any]) -> dict[str, Any]:
    """Return the object within an object that holds nothing else, as `{"result": {...}}` does."""
    while len(found) == 1 and isinstance(inner := next(iter(found.values())), dict):
        found = inner
    return found


def _objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """Return the JSON objects of a text, each whole and in no other, and what is wrong with one that is not."""
    found, broken, place = list[dict[str, Any]](), "", -1
    for _ in range(MOST_OBJECTS):
        place = text.find("{", place + 1)
        if place < 0:
            break
        try:
            value, end = given.parse_at(text, place)
        except given.DuplicateKeyError as error:
            broken = broken or f"the JSON cannot be read: {error}"
        except ValueError:
            broken = broken or "the JSON is broken, or ends too soon"
        else:
            found.append(value)
            place = end - 1
    return found, broken


def _entries(found: dict[str, Any], marks: Sequence[str]) -> list[dict[str, Any]]:
    entries = found.get("answers")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _OtherJson("the JSON has no list 'answers' of objects")
    if len(entries) != len(marks):
        raise _NoReading(f"{len(entries)} ratings of {len(marks)} answers")
    by_mark = {one["id"]: one for one in entries if isinstance(one.get("id"), str)}
    if set(by_mark) != set(marks):
        raise _NoReading("the ids are not those of the answers, each once")
    return [by_mark[mark] for mark in marks]


def _one_entry(found: dict[str, Any], marks: Sequence[str]) -> list[dict[str, Any]]:
    if "overall_score" not in found:
        raise _OtherJson("the JSON has no 'overall_score'")
    if [found.get("id")] != [*marks]:
        raise _NoReading("the id is not that of the answer")
    return [found]


def _read(entry: dict[str, Any], by: ReadBy) -> ReadEntry:
    value_key, words_key = {TOGETHER: ("rating", "rationale"), CRITIQUE: ("overall_score", "feedback")}[by.form]
    words = entry.get(words_key)
    rationale = _writable(words.strip()) if isinstance(words, str) else ""
    types, unknown = _types(entry.get("types"), by)
    value, reason = _value(entry.get(value_key), by)
    if by.form == CRITIQUE and value is not None and not rationale:
        value, reason = None, "a score without feedback"
    return ReadEntry(value, reason, rationale, types, unknown)


def _value(said: Any, by: ReadBy) -> tuple[float | None, str]:
    """Return the rating, or None and the reason; of a number in words only its digits alone count."""
    if isinstance(said, str) and said.strip().upper() == NOT_APPLICABLE:
        return None, NOT_APPLICABLE if by.rubric.not_applicable else f"{NOT_APPLICABLE} is no rating by this rubric"
    if isinstance(said, str) and _NUMBER.fullmatch(said):
        said = float(said)
    if isinstance(said, bool) or not isinstance(said, int | float) or not given.usable(said):
        return None, f"the rating is no number: {_writable(json.dumps(said, ensure_ascii=False)[:_SHOWN])}"
    if by.form == TOGETHER and said != int(said):  # an overall score between two is published too
        return None, f"the rating {said:g} is no whole number"
    least, best = by.scale
    if not least <= said <= best:
        return None, f"the rating {said:g} is not between {least:g} and {best:g}"
    return float(said), ""


def _types(said: Any, by: ReadBy) -> tuple[tuple[str, ...], int]:
    named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    known = [name for name in by.rubric.types if name in named]
    return tuple(known), len({json.dumps(name) for name in named if name not in by.rubric.types})


def _writable(text: str) -> str:
    """Return a text with U+FFFD for lone surrogates, which an escape in JSON may be and no file can hold."""
    return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
