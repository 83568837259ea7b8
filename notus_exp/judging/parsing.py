"""From a judge's words to a verdict, or to the reason why there is none. Nothing is guessed."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from scipy.special import expit

from notus_exp.chat.messages import Reply

FIRST, SECOND = "m", "M"
"""The tokens that name the answer shown first and the one shown second."""

_TOKEN = re.compile(r"[\W_]*([mM])[\W_]*", re.ASCII)
_LETTER = re.compile(r"\[\[([ABC])\]\]")
_LETTERS = {"A": 1.0, "B": 2.0, "C": 1.5}
_NUMBER = r"\s*([0-9]+(?:\.[0-9]*)?)\s*"
_RATINGS = (re.compile(rf"\[\[{_NUMBER}\]\]"), re.compile(rf"\[{_NUMBER}\]"))
LEAST_RATING, BEST_RATING = 1.0, 10.0
SCALE = (LEAST_RATING, BEST_RATING)
"""The least and the best rating of a conversation, as FastChat asks for it."""


class ParsedVerdict(NamedTuple):
    """A verdict's value, or None with the reason."""

    value: float | None
    reason: str = ""


def parse_comparison(reply: Reply, parser: str) -> ParsedVerdict:
    """Return which answer wins, by its place: 1 = the one shown first, 2 = the one shown second, 1.5 = a draw.

    Args:
        reply: What the judge answered.
        parser: "ranking" (the text is one of the two tokens), "logprobs" (`parse_logprobs`) or "letters" (the text
            has [[A]], [[B]] or [[C]], and only one of them).
    """
    if parser == "logprobs":
        return parse_logprobs(reply.top_logprobs)
    read = {"ranking": _parse_token, "letters": _parse_letters}[parser]
    return _explain(read(reply.text), reply)


def parse_grading(reply: Reply, scale: tuple[float, float] = SCALE) -> ParsedVerdict:
    """Return the rating that a judge's answer holds; see `parse_rating`."""
    return _explain(parse_rating(reply.text, scale), reply)


def parse_logprobs(top: list[tuple[str, float]] | None) -> ParsedVerdict:
    """Return the expected place of the winner, from the log-probs of the two tokens.

        preference = 2 - p(m) / (p(m) + p(M))

    (AlpacaEval's weighted verdict.) A token that is not among the likeliest ones is at most as likely as the last of
    them: it counts as that likely, which errs towards a draw. Where both are missing there is no verdict.

    Args:
        top: The likeliest first tokens with their log-probs (nats), in any order.
    """
    if not top:
        return ParsedVerdict(None, "the reply has no log-probs")
    logprobs = dict(top)
    if FIRST not in logprobs and SECOND not in logprobs:
        return ParsedVerdict(None, f"neither {FIRST} nor {SECOND} is among the likeliest tokens")
    least = min(logprobs.values())
    share = float(expit(logprobs.get(FIRST, least) - logprobs.get(SECOND, least)))
    return ParsedVerdict(None, "the log-probs are no numbers") if math.isnan(share) else ParsedVerdict(2 - share)


def parse_rating(text: str, scale: tuple[float, float] = SCALE) -> ParsedVerdict:
    """Return the number in double square brackets, else in single ones, between the ends of the scale.

    FastChat's order of search; but where a text holds different numbers in such brackets FastChat takes the first,
    and here there is no verdict.
    """
    for pattern in _RATINGS:
        found = {float(number) for number in pattern.findall(text)}
        if len(found) > 1:
            return ParsedVerdict(None, f"several ratings: {', '.join(f'{number:g}' for number in sorted(found))}")
        if found:
            return _in_range(found.pop(), scale)
    return ParsedVerdict(None, "no rating in square brackets")


def _in_range(rating: float, scale: tuple[float, float]) -> ParsedVerdict:
    least, best = scale
    if least <= rating <= best:
        return ParsedVerdict(rating)
    return ParsedVerdict(None, f"the rating {rating:g} is not between {least:g} and {best:g}")


def _parse_token(text: str) -> ParsedVerdict:
    """Only the token itself counts: in a sentence an "m" may be anything, such as a unit or the end of "I'm"."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return ParsedVerdict(None, f"the reply is not the one token {FIRST} or {SECOND}")
    return ParsedVerdict(1.0 if match[1] == FIRST else 2.0)


def _parse_letters(text: str) -> ParsedVerdict:
    found = set(_LETTER.findall(text))
    if len(found) > 1:
        return ParsedVerdict(None, f"several verdicts: {', '.join(sorted(found))}")
    return (
        ParsedVerdict(_LETTERS[found.pop()])
        if found
        else ParsedVerdict(None, "none of [[A]], [[B]], [[C]] in the reply")
    )


def _explain(parsed: ParsedVerdict, reply: Reply) -> ParsedVerdict:
    """Add to a failure what explains it: an empty reply, or one cut at the token limit."""
    if parsed.value is not None:
        return parsed
    if not reply.text.strip():
        return ParsedVerdict(None, "the reply is empty")
    return ParsedVerdict(None, f"{parsed.reason} (cut at max_tokens)") if reply.finish_reason == "length" else parsed
