"""Constraints that a program can check, each with one exact definition, and their JSON form.

Definitions that several checkers share:

- A **word** is a run of letters and digits, with apostrophes or hyphens inside it ("don't" and "well-known" are one).
- A **sentence** is a stretch of text with at least one word that ends in `.`, `!` or `?` (repeated, and closing quotes
  or brackets behind it) before white space or the end. Text behind the last such end is an unfinished sentence. An
  abbreviation with a full stop therefore ends a sentence; "3.5" does not.
- A **bullet** is a line that starts with "-", "*" or "•", then a space, then at least one word.

White space around a response never matters, and a response without any word follows nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from notus_exp.errors import UserError, did_you_mean

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"”')\]]*(?=\s|$)")
_BULLET = re.compile(r"[-*•] +\S")
_CLOSING = "\"”')]"


def words(text: str) -> list[str]:
    """Return the words of a text in order, as they are written."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped; an unfinished last one is included."""
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if _WORD.search(sentence)]


def _lowercase(response: str, params: dict[str, Any]) -> bool:
    """At least one letter, and every letter that has a case is lowercase."""
    return response.islower()


def _uppercase(response: str, params: dict[str, Any]) -> bool:
    """At least one letter, and every letter that has a case is a capital."""
    return response.isupper()


def _bullets(response: str, params: dict[str, Any]) -> bool:
    """Exactly `n` lines that are not blank, each one a bullet."""
    lines = [line.strip() for line in response.splitlines() if line.strip()]
    return len(lines) == params["n"] and all(_BULLET.match(line) and _WORD.search(line) for line in lines)


def _sentences(response: str, params: dict[str, Any]) -> bool:
    """Exactly `n` sentences, the last one finished."""
    found = sentences(response)
    return len(found) == params["n"] and _finished(response)


def _begin(response: str, params: dict[str, Any]) -> bool:
    """The first characters are `phrase`, in the same case, and the phrase's last word does not run on."""
    return re.match(re.escape(params["phrase"]) + r"(?!(?<=\w)\w)", response) is not None


def _end(response: str, params: dict[str, Any]) -> bool:
    """The last characters are `phrase`, in the same case, and the phrase's first word is not the tail of another."""
    return re.search(r"(?:(?<!\w)|(?!\w))" + re.escape(params["phrase"]) + r"\Z", response) is not None


def _include(response: str, params: dict[str, Any]) -> bool:
    """Each of `words` occurs as a whole word, in any case."""
    return {word.lower() for word in params["words"]} <= {word.lower() for word in words(response)}


def _no_commas(response: str, params: dict[str, Any]) -> bool:
    """The character "," does not occur."""
    return "," not in response


def _max_words(response: str, params: dict[str, Any]) -> bool:
    """At most `n` words."""
    return len(words(response)) <= int(params["n"])


def _min_words(response: str, params: dict[str, Any]) -> bool:
    """At least `n` words."""
    return len(words(response)) >= int(params["n"])


def _json(response: str, params: dict[str, Any]) -> bool:
    """The whole response is one JSON object whose keys are exactly `keys`, each once and in any order."""
    try:
        pairs = json.loads(response, object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return isinstance(pairs, _Pairs) and sorted(key for key, _ in pairs) == sorted(params["keys"])


def _quoted(response: str, params: dict[str, Any]) -> bool:
    """The first and the last character are the straight double quote, and it does not occur between them."""
    return len(response) > 2 and response[0] == response[-1] == '"' and '"' not in response[1:-1]


def _sum(response: str, params: dict[str, Any]) -> bool:
    """The total of `a` and `b` occurs in digits, and no other number does apart from `a` and `b` themselves."""
    total = params["a"] + params["b"]
    numbers = {int(digits) for digits in re.findall(r"[0-9]{1,9}", response)}
    return total in numbers and numbers <= {total, params["a"], params["b"]}


def _exclamations(response: str, params: dict[str, Any]) -> bool:
    """Every sentence ends in "!", the last one too."""
    return all(sentence.rstrip(_CLOSING).endswith("!") for sentence in sentences(response))


CHECKERS: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "lowercase": _lowercase,
    "uppercase": _uppercase,
    "bullets": _bullets,
    "sentences": _sentences,
    "begin": _begin,
    "end": _end,
    "include": _include,
    "no_commas": _no_commas,
    "max_words": _max_words,
    "min_words": _min_words,
    "json": _json,
    "quoted": _quoted,
    "sum": _sum,
    "exclamations": _exclamations,
}
"""kind -> (stripped response with a word in it, params) -> is the constraint followed. Use `follows`, which strips."""

_COUNT, _TEXT, _TEXTS = "an integer >= 1", "a string with a word in it", "a list of different strings, at least one"
PARAMS: dict[str, dict[str, str]] = {
    "lowercase": {},
    "uppercase": {},
    "bullets": {"n": _COUNT},
    "sentences": {"n": _COUNT},
    "begin": {"phrase": _TEXT},
    "end": {"phrase": _TEXT},
    "include": {"words": _TEXTS},
    "no_commas": {},
    "max_words": {"n": _COUNT},
    "min_words": {"n": _COUNT},
    "json": {"keys": _TEXTS},
    "quoted": {},
    "sum": {"a": _COUNT, "b": _COUNT},
    "exclamations": {},
}
"""kind -> the parameters that it takes, with what each may be."""

_VALID: dict[str, Callable[[Any], bool]] = {
    _COUNT: lambda value: type(value) is int and value >= 1,
    _TEXT: lambda value: isinstance(value, str) and bool(words(value)),
    _TEXTS: lambda value: (
        isinstance(value, list) and all(isinstance(text, str) for text in value) and 0 < len(value) == len({*value})
    ),
}


@dataclass(frozen=True)
class Constraint:
    """One demand on a response.

    Attributes:
        kind: One of `CHECKERS`.
        params: What the kind needs, JSON values; see `PARAMS`.

    Raises:
        UserError: The kind is unknown, or a parameter is missing, unknown or of the wrong type.
    """

    kind: str
    params: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in CHECKERS:
            raise UserError(f"constraint kind {self.kind!r} is unknown", did_you_mean(str(self.kind), CHECKERS))
        wanted = PARAMS[self.kind]
        if {*self.params} != {*wanted}:
            raise UserError(
                f"constraint '{self.kind}' has the parameters {sorted(self.params)}",
                f"it takes {', '.join(f'{name} ({what})' for name, what in wanted.items()) or 'none'}",
            )
        for name, what in wanted.items():
            if not _VALID[what](self.params[name]):
                raise UserError(f"constraint '{self.kind}': {name} is {self.params[name]!r}", f"give {what}")


def follows(constraint: Constraint, response: str) -> bool:
    """Tell whether a response follows a constraint, strictly; a response without any word follows none."""
    stripped = response.strip()
    return bool(_WORD.search(stripped)) and CHECKERS[constraint.kind](stripped, constraint.params)


def to_json(constraints: Sequence[Constraint]) -> str:
    """Return constraints as a JSON list of `{"kind", "params"}`; the same constraints give the same text."""
    listed = [{"kind": constraint.kind, "params": constraint.params} for constraint in constraints]
    return json.dumps(listed, sort_keys=True, ensure_ascii=False)


def from_json(text: str) -> list[Constraint]:
    """Return the constraints that `to_json` wrote.

    Raises:
        UserError: The text is not a JSON list of such objects, or names an unknown kind or a wrong parameter.
    """
    hint = 'give a list such as [{"kind": "bullets", "params": {"n": 3}}]'
    try:
        listed = json.loads(text)
    except ValueError as error:
        raise UserError(f"constraints are not JSON ({error}): {text[:80]!r}", hint) from None
    if not isinstance(listed, list):
        raise UserError(f"constraints are not a JSON list: {text[:80]!r}", hint)
    for item in listed:
        if not (isinstance(item, dict) and {*item} == {"kind", "params"} and isinstance(item["params"], dict)):
            raise UserError(f"a constraint is not an object of kind and params: {item!r}", hint)
    return [Constraint(item["kind"], item["params"]) for item in listed]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's pairs as they are written, so that a key given twice is seen."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finished(response: str) -> bool:
    return response.rstrip(_CLOSING).endswith((".", "!", "?"))
