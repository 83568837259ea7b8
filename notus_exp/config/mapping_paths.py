"""The notation of paths in `data.mapping`, and whether a mapping can be read at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from notus_exp.config.data_settings import Mapped
from notus_exp.config.mapping_settings import ASSISTANT, USER, CompletionPaths, Layout
from notus_exp.errors import UserError, did_you_mean

EACH = "*"
"""Part of a path that is every item of a list."""
KEY = "data.mapping"
OR_NONE = " or none"
"""Ends a path that no record needs to have; a sign would need quotes in YAML or on the command line."""
_COMPARED = re.compile(r"(?P<path>.*\S)\s+is\s+(?P<wanted>\S.*)", re.S)


class FieldPath(NamedTuple):
    """A path as it was parsed.

    Attributes:
        parts: Names of fields, numbers of items, `EACH`.
        optional: Whether no record needs to have it.
        negative: Whether the number's negative is meant.
        wanted: The value that is 1, any other being 0; None where the value itself is meant.
    """

    parts: tuple[str, ...]
    optional: bool = False
    negative: bool = False
    wanted: str | None = None

    @property
    def many(self) -> bool:
        """Say whether it leads to every item of a list."""
        return EACH in self.parts

    def __str__(self) -> str:
        return ".".join(self.parts)


@cache
def parsed_path(text: str, *, score: bool = False) -> FieldPath:
    """Return a path; with `score` it may be a negative or a comparison.

    Raises:
        ValueError: It is not in the notation; the text says why.
    """
    given, wanted, negative = text.strip(), None, False
    if score:
        compared = _COMPARED.fullmatch(given)
        if compared:
            given, wanted = compared["path"], compared["wanted"].strip()
        elif given.startswith("-"):
            given, negative = given[1:].strip(), True
    optional = given.endswith(OR_NONE)
    parts = tuple(given.removesuffix(OR_NONE).rstrip().split("."))
    if not all(part.strip() for part in parts):
        raise ValueError("a name between its dots is empty")
    if parts.count(EACH) > 1:
        raise ValueError("it has '*' more than once")
    return FieldPath(parts, optional, negative, wanted)


def paths(mapping: Layout, aspects: Sequence[str] | None = None) -> Iterator[tuple[str, str, bool]]:
    """Yield the key, the path and whether it is a score of every path that a mapping names.

    Args:
        mapping: The mapping.
        aspects: Ratings whose paths are wanted; None for all.
    """
    for name in ("prompt", "system", "source"):
        if getattr(mapping, name) is not None:
            yield f"{KEY}.{name}", getattr(mapping, name), False
    for number, entry in enumerate(mapping.completions):
        yield from entry_paths(entry, f"{KEY}.completions[{number}]", aspects)


def entry_paths(
    entry: CompletionPaths, key: str, aspects: Sequence[str] | None = None
) -> Iterator[tuple[str, str, bool]]:
    """Yield likewise those of one entry of `completions`."""
    for name in ("text", "score", "model", "critique"):
        if getattr(entry, name) is not None:
            yield f"{key}.{name}", getattr(entry, name), name == "score"
    for aspect, path in entry.ratings.items():
        if aspects is None or aspect in aspects:
            yield f"{key}.ratings.{aspect}", path, True


def check_mapping(data: Mapped) -> None:
    """Check that a mapping says where the answers are, in the notation, and rates the aspects that are asked for.

    Raises:
        UserError: Naming the key and the remedy.
    """
    mapping = data.mapping
    if not mapping.completions:
        raise UserError(
            f"{KEY}.completions is empty: it does not say where the answers are",
            f"such as '{KEY}={{prompt: question, completions: [{{text: good, side: chosen}}, "
            "{text: bad, side: rejected}]}', or choose a layout that is known, such as data=trl",
        )
    for key, path, score in paths(mapping):
        try:
            many = parsed_path(path, score=score).many
        except ValueError as problem:
            hint = "write names with dots, such as a.b, a.0 or a.*.b"
            raise UserError(f"{key}='{path}' is no path: {problem}", hint) from problem
        if many and key.count(".") == 2:
            raise UserError(f"{key}='{path}' leads to several items", "a record has one: give the item's number")
    for number, entry in enumerate(mapping.completions):
        _check_entry(data, entry, f"{KEY}.completions[{number}]")
    _check_speakers(mapping)


def is_one_a_record(mapping: Layout) -> bool:
    """Say whether a record has one completion, so that records with the same prompt belong together."""
    return len(mapping.completions) == 1 and not parsed_path(mapping.completions[0].text).many


def _check_entry(data: Mapped, entry: CompletionPaths, key: str) -> None:
    if not parsed_path(entry.text).many:
        several = [path for _, path, score in entry_paths(entry, key) if parsed_path(path, score=score).many]
        if several:
            raise UserError(
                f"{key} reads a list at '{several[0]}', but its text '{entry.text}' is one", "give the text a '*' too"
            )
    if entry.side is None and entry.score is None and not entry.ratings:
        raise UserError(f"{key} has no side, score or rating: nothing says how good it is", "add score: PATH to it")
    if entry.side is not None and parsed_path(entry.text).many and entry.score is None:
        raise UserError(f"{key} calls every item {entry.side}", "give it a score, or name its items by their numbers")
    for aspect in data.aspects:
        if aspect not in entry.ratings:
            raise UserError(
                f"data.aspects names '{aspect}', which {key}.ratings does not have",
                did_you_mean(aspect, entry.ratings) if entry.ratings else f"add ratings: {{{aspect}: PATH}} to it",
            )


def _check_speakers(mapping: Layout) -> None:
    speakers = mapping.speakers
    if speakers and (set(speakers) != {USER, ASSISTANT} or not all(map(str.strip, speakers.values()))):
        raise UserError(f"{KEY}.speakers must have a mark for {USER} and one for {ASSISTANT}", "or be empty: {}")
    if speakers and speakers[USER].strip() == speakers[ASSISTANT].strip():
        raise UserError(f"{KEY}.speakers has one mark for both", "give each the mark that its turns begin with")
