"""Records of any layout that `data.mapping` describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from notus_exp.config.data_settings import Mapped
from notus_exp.config.mapping_paths import OR_NONE, FieldPath, is_one_a_record, parsed_path, paths
from notus_exp.config.mapping_settings import CHOSEN, REJECTED, Layout
from notus_exp.errors import did_you_mean
from notus_exp.feedback.fields import ABSENT, find, missing, shown
from notus_exp.feedback.lifting import Lifted, MappedAnswer, lift
from notus_exp.feedback.prompt_turns import CONVERSATION
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import LayoutError, Parsed, Row, parse_all, with_answer_alone

COMMON_BEGINNINGS, PASSED_OVER = "common_beginnings", "answers_passed_over"
MOST_SHOWN = 5
"""Values, or fields, that are named where none is the one asked for."""


def read(spec: Mapped, records: Iterable[Record | Malformed]) -> Parsed:
    """Return the completions of records, as `lift` finds them, in the order of `data.mapping.completions`.

    Where a record has one completion, those with the same prompt belong together: `row` is then the number of the
    prompt's first well-formed record, `completion` counts its records. A record is used as a whole or not at all. One
    with an empty list of completions is no malformed one, and counted as `records_without_completions`; where
    sides have scores, those that contradict the sides which the data names, and equal ones, are kept and counted as
    `contradicting_scores` and `tied_scores`: curation goes by the scores. Where there are any, `common_beginnings`
    counts the records whose prompt is the common beginning of texts, and `answers_passed_over` the items of lists of
    answers that are missing, as `answers.* or none` allows.

    Raises:
        LayoutError: A path leads to nothing in all records, or a `PATH is VALUE` never holds while the field has values
            that no entry names.
    """
    looked = _Looked(spec.mapping, spec.aspects)
    together = _Together() if is_one_a_record(spec.mapping) else None
    counts = {"records_without_completions": 0}
    if any(entry.side and entry.score for entry in spec.mapping.completions):
        counts |= {"contradicting_scores": 0, "tied_scores": 0}
    rare = Counter[str]()

    def parse(record: Record) -> list[Row]:
        looked.at(record.value)
        lifted = lift(record.value, spec.mapping, spec.aspects)
        rows, answers = _rows(spec, record, lifted), lifted.answers
        rare.update({COMMON_BEGINNINGS: int(lifted.from_texts), PASSED_OVER: lifted.passed_over})
        counts["records_without_completions"] += not rows
        better, worse = _scores(answers, CHOSEN), _scores(answers, REJECTED)
        if "tied_scores" in counts and better and worse:
            counts["contradicting_scores"] += max(better) < min(worse)
            counts["tied_scores"] += max(better) == min(worse)
        return together.placed(rows) if together else rows

    parsed = parse_all(records, parse)
    looked.check()
    if rare[COMMON_BEGINNINGS]:
        looked.check_prompt(rare[COMMON_BEGINNINGS])
    return parsed._replace(facts=counts | +rare)


def _rows(spec: Mapped, record: Record, lifted: Lifted) -> list[Row]:
    rows = []
    for number, answer in enumerate(lifted.answers):
        row = Row(
            row=record.row,
            completion=number,
            instruction=lifted.user,
            response=answer.text,
            source=lifted.source,
            model=answer.model,
            principle="" if lifted.system is None else CONVERSATION,
            system_prompt=lifted.system or "",
            ratings=tuple(answer.ratings[aspect] for aspect in spec.aspects),
            overall_score=answer.score,
            critique=answer.critique,
            context=lifted.context,
        )
        rows.append(with_answer_alone(row, answer.name, spec.repeated_prompts))
    return rows


def _scores(answers: list[MappedAnswer], side: str) -> list[float]:
    return [answer.score for answer in answers if answer.side == side and answer.score is not None]


class _Together:
    """Puts the single completions of records with the same prompt into the row of the first of them."""

    def __init__(self) -> None:
        self._first: dict[tuple[Any, ...], int] = {}
        self._count: dict[tuple[Any, ...], int] = {}

    def placed(self, rows: list[Row]) -> list[Row]:
        """Return a record's rows with the place that they have in their prompt's."""
        found = []
        for row in rows:
            prompt = (row.context, row.instruction, row.principle, row.system_prompt)
            number = self._count.get(prompt, 0)
            self._count[prompt] = number + 1
            found.append(row._replace(row=self._first.setdefault(prompt, row.row), completion=number))
        return found


class _Looked:
    """Which paths have led to a field, and which values were compared: a misspelt name would else read as missing."""

    def __init__(self, layout: Layout, aspects: list[str]) -> None:
        named = [(key, parsed_path(text, score=score)) for key, text, score in paths(layout, aspects)]
        self._lost = {key: path for key, path in named if not path.optional}
        self._compared = [path for _, path in named if path.wanted is not None]
        self._wanted = {path.parts: set[str]() for path in self._compared}
        for path in self._compared:
            self._wanted[path.parts].add(shown(path.wanted))
        self._held = {parts: set[str]() for parts in self._wanted}
        self._others = {parts: set[str]() for parts in self._wanted}
        self._fields: dict[tuple[str, ...], set[str]] = {}
        self._prompt = None if layout.prompt is None else parsed_path(layout.prompt)
        self._has_prompt = False

    def at(self, record: dict[str, Any]) -> None:
        """Look at one more record."""
        self._has_prompt = self._has_prompt or (self._prompt is not None and _leads(record, self._prompt))
        for key in [key for key, path in self._lost.items() if _leads(record, path)]:
            del self._lost[key]
        for path in self._lost.values():
            parent = FieldPath(path.parts[:-1])
            known = self._fields.setdefault(parent.parts, set())
            known.update(name for value in _each(record, parent) if isinstance(value, dict) for name in value)
        for parts, wanted in self._wanted.items():
            others = self._others[parts]
            if self._held[parts] == wanted:
                continue
            found = {shown(value) for value in _each(record, FieldPath(parts)) if not missing(value)}
            self._held[parts] |= found & wanted
            others.update(sorted(found - wanted)[: MOST_SHOWN - len(others)])

    def check(self) -> None:
        """Refuse a path that led nowhere.

        Raises:
            LayoutError: Naming the key, the path and what is there instead.
        """
        for key, path in self._lost.items():
            fields = self._fields.get(path.parts[:-1])
            if fields is None:
                return  # no record could be read
            near = did_you_mean(path.parts[-1], fields) if fields else ""
            where = f" in '{'.'.join(path.parts[:-1])}'" if len(path.parts) > 1 else ""
            hint = f"fields found{where}: {', '.join(sorted(fields)) or 'none'}; '{path}{OR_NONE}' may be missing"
            raise LayoutError(
                f"no record has the field {key}='{path}'", f"{near} {hint}" if near.startswith("did") else hint
            )
        for path in self._compared:
            self._check_compared(path)

    def check_prompt(self, without: int) -> None:
        """Refuse data of which some records have a prompt, and `without` would be given the beginning of their texts.

        Raises:
            LayoutError: It is such data.
        """
        if self._has_prompt:
            raise LayoutError(
                f"data.mapping.prompt='{self._prompt}' is in some records, and {without} without it have texts with a "
                "common beginning, which would be the prompt",
                "give all records a prompt or none, or set aside those without: data.mapping.common_beginning=false",
            )

    def _check_compared(self, path: FieldPath) -> None:
        """Refuse a value that never occurs, unless all that do are named: a side may have won nowhere.

        With `or none` it is enough that another value which is named for the field occurs.
        """
        held, others = self._held[path.parts], self._others[path.parts]
        if shown(path.wanted) in held or not others or (path.optional and held):
            return
        hint = f"values found: {', '.join(sorted(held | others))}"
        if held:
            hint += f"; '{path}{OR_NONE} is {path.wanted}' may hold nowhere"
        raise LayoutError(f"data.mapping: '{path}' is never '{path.wanted}'", hint)


def _leads(record: dict[str, Any], path: FieldPath) -> bool:
    """Say whether a path leads to a field, with `*` in any item."""
    return any(value is not ABSENT for value in _each(record, path))


def _each(record: dict[str, Any], path: FieldPath) -> list[Any]:
    """Return what is at a path, with `*` at each item's."""
    found = find(record, path)
    return found if path.many and isinstance(found, list) else [found]
