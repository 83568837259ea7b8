"""Who gave stored verdicts, and against whose answers: verdicts of different origin are never mixed.

A win rate means nothing without its judge and its reference model: one set of answers has been scored 74 points apart
by two of them. So an origin is one for a whole file, and the same for two files that are compared, or they are refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.errors import UserError

_LABELS = {"annotator": "judge", "reference": "reference model", "snapshot": "snapshot of the judge"}
"""Field of an origin -> what it is called."""

_KEYS = {
    "annotator": "annotator",
    "judge": "annotator",
    "judge_model": "annotator",
    "evaluator": "annotator",
    "grader": "annotator",
    "rater": "annotator",
    "generator_1": "reference",
    "reference_model": "reference",
    "snapshot": "snapshot",
    "judge_snapshot": "snapshot",
}
"""Key of a record, or column of a table, that tells an origin -> the field that it tells."""

_WHO = frozenset({"annotator", "assessor", "evaluator", "grader", "judge", "rater", "referee", "scorer"})
"""Words in the name of any other key that say who judged."""
_WHAT_OF_IT = frozenset(
    {"answer", "choice", "comment", "completion", "cost", "decision", "error", "explanation", "feedback", "finish",
     "input", "judgement", "judgment", "label", "messages", "opinion", "order", "output", "position", "preference",
     "price", "prompt", "rating", "rationale", "raw", "reason", "reasoning", "reply", "response", "result", "score",
     "status", "text", "thinking", "thought", "time", "verdict", "winner"}
)  # fmt: skip
"""Words beside them that say it is something of the judge's, and not who it is."""
_WORDS = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_SHOWN = 5


class VerdictOrigin(NamedTuple):
    """Where verdicts are from; None where a file does not tell.

    Attributes:
        annotator: The judge's name.
        reference: The model whose answers the judged ones are compared with.
        snapshot: The judge as it named itself.
    """

    annotator: str | None = None
    reference: str | None = None
    snapshot: str | None = None


def tells_origin(key: str, values: Iterable[Any]) -> bool:
    """Tell whether a record's key, or a table's column, tells a part of an origin, however its letters are cased.

    Args:
        key: Its name: one that is usual, or one with a word for who judges (`judge_name`, `scorer`).
        values: What stands under it; under an unusual name only texts are taken for a judge's.
    """
    if _plain(key) in _KEYS:
        return True
    words = {word.lower().removesuffix("s") for word in _WORDS.findall(key)}
    if words.isdisjoint(_WHO) or not words.isdisjoint(_WHAT_OF_IT):
        return False
    told = [value for value in values if value is not None]
    return bool(told) and all(isinstance(value, str) for value in told)


def origin_of(values: Mapping[str, Iterable[Any]], what: str, path: Path) -> VerdictOrigin:
    """Return the one origin of all verdicts of a file.

    Args:
        values: A key that `tells_origin` -> its value in each record, None where a record has none.
        what: What the file holds, for the error.
        path: Of the file.

    Raises:
        UserError: A key has several values; some records without one count as another.
    """
    found: dict[str, str] = {}
    for key, column in sorted(values.items(), key=lambda one: _plain(one[0]) not in _KEYS):  # usual names first
        counts = Counter("" if value is None else str(value) for value in column)
        if len(counts) > 1:
            listed = ", ".join(f"{name or 'none named'} ({n})" for name, n in counts.most_common(_SHOWN))
            label = _LABELS[_field(key)]
            usual = "" if _plain(key) in _KEYS else f"; if '{key}' does not say who judged, leave it out of the file"
            raise UserError(
                f"{what}: '{path}' mixes verdicts that differ in their {label}; '{key}' is {listed}",
                f"write a file for each {label}: their verdicts are never pooled{usual}",
            )
        if name := next(iter(counts), ""):
            found.setdefault(_field(key), name)
    return VerdictOrigin(**found)


def origin_of_records(rows: list[dict[str, Any]], what: str, path: Path) -> VerdictOrigin:
    """Return the one origin of a file's records; see `origin_of`."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    columns = {key: [row.get(key) for row in rows] for key in keys}
    return origin_of({key: column for key, column in columns.items() if tells_origin(key, column)}, what, path)


def origin_of_gradings(rows: list[dict[str, Any]], what: str, path: Path) -> VerdictOrigin:
    """Return the one origin of records as FastChat writes them, whose `judge` has a template too; see `origin_of`."""
    return origin_of_records([{**row, "judge": grading_judge(row.get("judge"))} for row in rows], what, path)


def untold(origin: VerdictOrigin, *, reference: bool = True) -> list[str]:
    """Return the sentence on what a file of several models does not tell of its verdicts; empty where it tells all.

    Args:
        origin: Of the file.
        reference: Its verdicts are against a reference model, which games of two models each are not.
    """
    fields = ("annotator", "reference") if reference else ("annotator",)
    lacking = [_LABELS[field] for field in fields if getattr(origin, field) is None]
    if not lacking:
        return []
    return [f"the file names no {' and no '.join(lacking)}: that it is the same for all models is not checked"]


def grading_judge(value: Any) -> str | None:
    """Return the judge's name from what FastChat writes into `judge`: a list of the name and the template's."""
    name = value[0] if isinstance(value, list) and value else value
    return None if name is None or name == [] else str(name)


def check_same_origin(names: tuple[str, str], origins: tuple[VerdictOrigin, VerdictOrigin]) -> list[str]:
    """Refuse to compare verdicts of two origins; return sentences on what the files do not tell.

    Args:
        names: Of what is compared.
        origins: Of both, in the same order.

    Raises:
        UserError: Both tell a part of their origin, and it differs.
    """
    unknown = []
    for field, label in _LABELS.items():
        one, other = (getattr(origin, field) for origin in origins)
        if one is not None and other is not None and one != other:
            raise UserError(
                f"'{names[0]}' and '{names[1]}' differ in the {label}, so their verdicts are not compared: "
                f"'{one}' and '{other}'",
                f"give verdicts of one {label}",
            )
        if field != "snapshot" and (one is None or other is None):
            unknown.append((label, [name for name, value in zip(names, (one, other), strict=True) if value is None]))
    return [f"the file of {' and '.join(missing)} names no {label}: that it is the same is not checked"
            for label, missing in unknown]  # fmt: skip


def _field(key: str) -> str:
    """Return the field of an origin that a key tells."""
    return _KEYS.get(_plain(key), "annotator")


def _plain(key: str) -> str:
    return key.strip().lower()
