"""Conversations of a chat set, each a record's messages, for a supervised training."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.mapping_paths import FieldPath, parsed_path
from notus_exp.config.mapping_settings import ASSISTANT, SYSTEM, USER, Layout
from notus_exp.config.sft_settings import ChatSft
from notus_exp.disk.hashing import prompt_id, uniform
from notus_exp.disk.json_lines import write_lines
from notus_exp.errors import UserError
from notus_exp.feedback.fields import ABSENT, find
from notus_exp.feedback.records import Malformed, OnShareRead, Record, read_files, read_hub
from notus_exp.feedback.table import RowError
from notus_exp.feedback.turns import Utterance, alternating, turns_of

MISSING_TURN, BLANK_TURN = "missing_turn", "blank_turn"
"""Rules by which a record is set aside: without a question and an answer; with one of them blank."""
SHOWN = 3
"""Malformed records, and fields of one, that are named in an error."""

Chat = tuple[Utterance, ...]
"""Turns, perhaps after a system turn: user and assistant by turns; the last one is the assistant's."""


class Chats(NamedTuple):
    """What was read of a chat set.

    Attributes:
        train: The conversations to train on, in the order of their records.
        validation: Those that are measured on.
        counts: records, bad_records, `quarantined/RULE` each, repeated (conversations that had been there before, left
            out), unanswered (of which a last question was left out), beyond_max (left out by `max_conversations`).
    """

    train: list[Chat]
    validation: list[Chat]
    counts: dict[str, int]


def read_chats(
    sft: ChatSft, made_of: str | None, local: Sequence[str], quarantine: Path, report: OnShareRead = lambda share: None
) -> Chats:
    """Read a chat set, and hold a share of it out by a hash of the first question.

    Args:
        sft: Where the messages are, and how many are taken.
        made_of: The digest of its files or its commit on the hub.
        local: Its files in reading order; none of a dataset on the hub.
        quarantine: The file that malformed records are written to, where there are any.
        report: Told how far it is.

    Raises:
        UserError: Files that cannot be read, more malformed records than `sft.max_bad_rows`, or none to train on.
    """
    if local:
        records = read_files([Path(file) for file in local], report)
    elif sft.hub_id and sft.hub_split and made_of:
        records = read_hub(sft.hub_id, sft.hub_split, made_of, report)
    else:
        raise ValueError("conversations read from neither files nor the hub")
    found, malformed, counts = _parsed(sft, records)
    if malformed:  # in ASCII: a malformed record may hold what UTF-8 cannot
        write_lines(quarantine, (row._asdict() for row in malformed))
    _check(sft, malformed, counts["records"], quarantine)
    distinct = list(dict.fromkeys(found))
    ids = pl.Series([_id(turns) for turns in distinct], dtype=pl.String)
    held_out = uniform(ids, sft.seed, "sft_validation") < sft.validation
    train = [turns for turns, held in zip(distinct, held_out, strict=True) if not held]
    validation = [turns for turns, held in zip(distinct, held_out, strict=True) if held]
    kept = _first(train, sft.max_conversations, sft.seed)
    if not kept:
        raise UserError(
            f"no conversation is left to train on ({counts['records']} records)",
            "check sft.path or sft.hub_id, and sft.validation",
        )
    counts |= {"repeated": len(found) - len(distinct), "beyond_max": len(train) - len(kept)}
    return Chats(kept, validation, counts)


def _parsed(sft: ChatSft, records: Iterable[Record | Malformed]) -> tuple[list[Chat], list[Malformed], dict[str, int]]:
    layout = Layout(sft.messages, None, None, [], dict(sft.roles), sft.role_key, sft.content_key, {})
    path = parsed_path(sft.messages)
    found, malformed, unanswered = list[Chat](), list[Malformed](), 0
    number = 0
    for record in records:
        number += 1
        if isinstance(record, Malformed):
            malformed.append(record)
            continue
        try:
            turns, cut = _conversation(record.value, path, layout)
        except RowError as problem:
            malformed.append(record.malformed(str(problem), problem.rule))
            continue
        found.append(turns)
        unanswered += cut
    rules = Counter(f"quarantined/{row.rule}" for row in malformed)
    counts = {"records": number, "bad_records": len(malformed), "unanswered": unanswered}
    return found, malformed, counts | dict(sorted(rules.items()))


def _conversation(record: dict[str, Any], path: FieldPath, layout: Layout) -> tuple[Chat, bool]:
    """Return a record's turns up to the last answer, and whether a question after it was left out."""
    value, name = find(record, path), str(path)
    if value is ABSENT or value is None:
        fields = ", ".join(itertools.islice(record, 2 * SHOWN))
        raise RowError(f"{name} is missing; the record has {fields or 'no field'}")
    system, turns = alternating(turns_of(value, name, layout, USER), name)
    last = max((place for place, turn in enumerate(turns) if turn.role == ASSISTANT), default=-1)
    if last < 0:
        raise RowError(f"{name} has no turn of an assistant", MISSING_TURN)
    answered = turns[: last + 1]
    blank = next((number for number, turn in enumerate(answered) if not turn.content.strip()), None)
    if blank is not None:
        raise RowError(f"{name}: turn {blank + 1}, {answered[blank].role}'s, is blank", BLANK_TURN)
    beginning = () if system is None else (Utterance(SYSTEM, system),)
    return (*beginning, *answered), last + 1 < len(turns)


def _check(sft: ChatSft, malformed: Sequence[Malformed], records: int, quarantine: Path) -> None:
    if len(malformed) <= sft.max_bad_rows:
        return
    first = "; ".join(f"{row.file}:{row.line}: {row.reason}" for row in malformed[:SHOWN])
    rows = "1 malformed record" if len(malformed) == 1 else f"{len(malformed)} malformed records"
    remedy = f"mend them, or set sft.max_bad_rows={len(malformed)} to go without them"
    if len(malformed) == records:
        remedy = f"none has a conversation at sft.messages={sft.messages}: name the field that has it"
    raise UserError(
        f"{rows}, sft.max_bad_rows is {sft.max_bad_rows}: {first}", f"all with their text: {quarantine}; {remedy}"
    )


def _first(found: list[Chat], most: int | None, seed: int) -> list[Chat]:
    """Return at most so many conversations, the first by a hash of all their turns, in their own order."""
    if most is None or len(found) <= most:
        return found
    ids = pl.Series([prompt_id("", turns) for turns in found], dtype=pl.String)
    places = uniform(ids, seed, "sft_conversations").argsort(kind="stable")[:most]
    return [found[place] for place in sorted(places.tolist())]


def _id(turns: Chat) -> str:
    """Return what a conversation is held out by: its first question, so that none of it is trained on elsewhere."""
    return prompt_id(next(turn.content for turn in turns if turn.role == USER))
