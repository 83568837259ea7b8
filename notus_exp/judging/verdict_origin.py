"""Who gave stored verdicts, and against whose answers: verdicts of different origin are never mixed.

A win rate means nothing without its judge and its reference model: one set of answers has been scored 74 points apart
by two of them. So an origin is one for a whole file, and the same for two files that are compared, or they are refused.
"""

from __future__ import annotations

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


def tells_origin(key: str) -> bool:
    """Tell whether a record's key, or a table's column, tells a part of an origin, however its letters are cased."""
    return _plain(key) in _KEYS


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
    for key, column in values.items():
        counts = Counter("" if value is None else str(value) for value in column)
        if len(counts) > 1:
            listed = ", ".join(f"{name or 'none named'} ({n})" for name, n in counts.most_common(_SHOWN))
            label = _LABELS[_KEYS[_plain(key)]]
            raise UserError(
                f"{what}: '{path}' mixes verdicts that differ in their {label}; '{key}' is {listed}",
                f"write a file for each {label}: their verdicts are never pooled",
            )
        if name := next(iter(counts), ""):
            found.setdefault(_KEYS[_plain(key)], name)
    return VerdictOrigin(**found)


def origin_of_records(rows: list[dict[str, Any]], what: str, path: Path) -> VerdictOrigin:
    """Return the one origin of a file's records; see `origin_of`."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None and tells_origin(key))
    return origin_of({key: [row.get(key) for row in rows] for key in keys}, what, path)


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


def _plain(key: str) -> str:
    return key.strip().lower()
