"""From a raw record of any layout to its prompt and its completions, as `data.mapping` says: one pure function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from notus_exp.config.mapping_paths import EACH, FieldPath, parsed_path
from notus_exp.config.mapping_settings import ASSISTANT, CHOSEN, REJECTED, USER, CompletionPaths, Layout
from notus_exp.feedback.common_beginning import common_beginning
from notus_exp.feedback.fields import ABSENT, find, missing, score_at
from notus_exp.feedback.table import RowError, optional_text
from notus_exp.feedback.turns import Utterance, alternating, turns_of

LABELS = {CHOSEN: 1.0, REJECTED: 0.0}
"""Score of a side of data that has no scores."""
DIFFERENT_PROMPTS = "different_prompts"
"""Rule by which a record is set aside whose answers, or prompt and answers, do not have the same turns before them."""


class MappedAnswer(NamedTuple):
    """One completion of a record, and the field that it is from.

    `side` is what the data calls it, `score` the overall score, `ratings` go by aspect; None is missing.
    """

    name: str
    text: str
    side: str | None
    score: float | None
    model: str
    critique: str
    ratings: dict[str, float | None]


class Lifted(NamedTuple):
    """A record's prompt (system turn, earlier turns, the user's last message), its source and its completions.

    `from_texts` says of the prompt that it is the common beginning of the answers' texts; `passed_over` counts the
    items of lists of answers that are missing and may be.
    """

    system: str | None
    context: tuple[Utterance, ...]
    user: str
    source: str
    answers: list[MappedAnswer]
    from_texts: bool
    passed_over: int


class _WithTurns(NamedTuple):
    """An answer with the turns before it, as it stands in the record; `plain` says that it is a text."""

    answer: MappedAnswer
    before: Sequence[Utterance]
    plain: bool


def lift(record: dict[str, Any], layout: Layout, aspects: Sequence[str] = ()) -> Lifted:
    """Return what a mapping finds in a record.

    Args:
        record: The raw record; it is not changed.
        layout: Where everything is.
        aspects: Ratings to read.

    Raises:
        RowError: Something that must be there is not, or is not what the mapping says; the text names the field.
    """
    found = [one for entry in layout.completions for one in _answers(record, entry, layout, aspects)]
    given = [one for one in found if one is not None]
    system: str | None = None
    turns: tuple[Utterance, ...]
    from_texts = _is_from_texts(record, layout, given)
    if from_texts:
        user, given = _parted([one.answer for one in given])
        turns = (Utterance(USER, user),)
    else:
        system, turns = _prompt(record, layout, given)
    own = _optional(record, layout.system)
    if own.strip():
        system = _agreed([system, own], "the system turn", str(layout.system))
    *context, last = turns
    if not last.content.strip():
        raise RowError("the user's message is empty")
    source = _optional(record, layout.source)
    return Lifted(
        system, tuple(context), last.content, source, [one.answer for one in given], from_texts, len(found) - len(given)
    )


def _answers(
    record: dict[str, Any], entry: CompletionPaths, layout: Layout, aspects: Sequence[str]
) -> Iterator[_WithTurns | None]:
    """Yield the answers of an entry, None for each item of a list that is missing and may be."""
    path = parsed_path(entry.text)
    found = find(record, path)
    if path.optional and missing(found):
        return
    if not path.many:
        yield _given(record, entry, layout, aspects, found, None)
        return
    if not isinstance(found, list):
        whole = FieldPath(path.parts[: path.parts.index(EACH)])
        raise RowError(f"{whole} is a text, no list" if isinstance(find(record, whole), str) else f"{path} is missing")
    for index, item in enumerate(found):
        skipped = path.optional and missing(item)
        yield None if skipped else _given(record, entry, layout, aspects, item, (index, len(found)))


def _given(
    record: dict[str, Any],
    entry: CompletionPaths,
    layout: Layout,
    aspects: Sequence[str],
    found: Any,
    place: tuple[int, int] | None,
) -> _WithTurns:
    """Return one answer: with `place` the item of that number, of as many, in each path with `*`."""
    name = _named(parsed_path(entry.text), place)
    turns = turns_of(None if found is ABSENT else found, name, layout, ASSISTANT)
    if turns[-1].role != ASSISTANT:
        raise RowError(f"{name} does not end with an assistant's message")
    score = _score(record, entry.score, place)
    if entry.score is None and entry.side is not None:
        score = LABELS[entry.side]
    answer = MappedAnswer(
        name=name,
        text=turns[-1].content,
        side=entry.side,
        score=score,
        model=_optional(record, entry.model, place),
        critique=_optional(record, entry.critique, place),
        ratings={aspect: _score(record, entry.ratings[aspect], place) for aspect in aspects},
    )
    return _WithTurns(answer, turns[:-1], isinstance(found, str))


def _is_from_texts(record: dict[str, Any], layout: Layout, given: Sequence[_WithTurns]) -> bool:
    """Say whether the prompt is the common beginning of the answers: a prompt that is null is one that is missing."""
    if not layout.common_beginning or len(given) < 2 or any(one.before or not one.plain for one in given):
        return False
    return layout.prompt is None or find(record, parsed_path(layout.prompt)) is ABSENT


def _parted(answers: Sequence[MappedAnswer]) -> tuple[str, list[_WithTurns]]:
    texts = [answer.text for answer in answers]
    prompt = common_beginning(texts, " and ".join(answer.name for answer in answers))
    return prompt, [_WithTurns(one._replace(text=one.text[len(prompt) :]), (), True) for one in answers]


def _prompt(
    record: dict[str, Any], layout: Layout, given: Sequence[_WithTurns]
) -> tuple[str | None, tuple[Utterance, ...]]:
    """Return the prompt's system turn and the others: the prompt's own, and those before answers, which must agree."""
    parts: list[tuple[str, str | None, tuple[Utterance, ...]]] = []
    path = None if layout.prompt is None else parsed_path(layout.prompt)
    if path is not None:
        found = find(record, path)
        if not path.optional or not missing(found):
            turns = turns_of(None if found is ABSENT else found, str(path), layout, USER)
            parts.append((str(path), *alternating(turns, str(path))))
    for one in given:
        if one.before:
            parts.append((one.answer.name, *alternating(one.before, one.answer.name)))
    dialogues = [(name, dialogue) for name, _, dialogue in parts if dialogue]
    if not dialogues:
        named = "is null" if path is None else f"names '{path}', which is not there"
        raise RowError(f"there is no prompt: data.mapping.prompt {named}, and no answer has turns before it")
    first, dialogue = dialogues[0]
    for name, other in dialogues[1:]:
        if other != dialogue:
            raise RowError(f"{first} and {name} have different turns before the answer", DIFFERENT_PROMPTS)
    if dialogue[-1].role != USER:
        raise RowError(f"{first} does not end with a user's message")
    system = None
    for name, said, _ in parts:
        system = _agreed([system, said], "the system turn", name)
    return system, dialogue


def _agreed(texts: Sequence[str | None], what: str, name: str) -> str | None:
    told = {text for text in texts if text is not None}
    if len(told) > 1:
        raise RowError(f"{name} has another text for {what} than what is before it", DIFFERENT_PROMPTS)
    return told.pop() if told else None


def _score(record: dict[str, Any], text: str | None, place: tuple[int, int] | None) -> float | None:
    if text is None:
        return None
    path = parsed_path(text, score=True)
    return score_at(_at(record, path, place), path, _named(path, place))


def _optional(record: dict[str, Any], text: str | None, place: tuple[int, int] | None = None) -> str:
    """Return a text that may be missing, "" then."""
    if text is None:
        return ""
    path = parsed_path(text)
    found = _at(record, path, place)
    return "" if found is ABSENT else optional_text(found, _named(path, place))


def _at(record: dict[str, Any], path: FieldPath, place: tuple[int, int] | None) -> Any:
    """Return what is at a path, of one with `*` the item that goes with the answer.

    Raises:
        RowError: The two lists have different lengths.
    """
    found = find(record, path)
    if not path.many or place is None:
        return found
    index, count = place
    if not isinstance(found, list):
        return ABSENT
    if len(found) != count:
        raise RowError(f"{path} has {len(found)} items, but there are {count} answers")
    return found[index]


def _named(path: FieldPath, place: tuple[int, int] | None) -> str:
    return str(path) if place is None else str(path).replace(".*", f"[{place[0]}]", 1)
