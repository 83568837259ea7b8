"""A model's chat template, rendered within limits of time and size, and with a date that the config says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from transformers import PreTrainedTokenizerFast

from notus_exp.errors import UserError, first_line
from notus_exp.models.bounded_rendering import ask, limit_in_words

Message = Mapping[str, str]
"""One turn: {"role": ..., "content": ...}."""

OPEN = "|the text goes on here| "
"""Marks the end of a last turn's text, to cut what the template writes after it."""
MOST_SAID = 200
"""Characters of what a template says that an error repeats."""
_BY_FOLDER = {"model": " (model=local)"}
"""Group of the config -> how it is given a folder."""
REMEDY = "choose another model, or mend chat_template.jinja in a copy of its folder (model=local)"


def render(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Message],
    *,
    add_generation_prompt: bool,
    date: str | None,
    whose: str = "model",
    remedy: str = REMEDY,
    **given: Any,
) -> str:
    """Return a conversation as the tokenizer's chat template writes it.

    The text is that of `tokenizer.apply_chat_template(..., tokenize=False)`, but for the limits and the date.

    Args:
        tokenizer: Has the template and the special tokens that it names.
        turns: The conversation.
        add_generation_prompt: Whether it ends in the beginning of an assistant's turn.
        date: What the template is told when it asks for today's date (YYYY-MM-DD); None refuses one that asks.
        whose: Group of the config that the model belongs to, for messages.
        remedy: What helps where the template refuses these turns.
        given: Other variables of the template.

    Raises:
        UserError: The template asks for a date, refuses the turns, is none or one of several, takes more than the
            limits, or writes half a character.
    """
    found = ask(_request(tokenizer, turns, add_generation_prompt, date, whose, given))
    if "text" in found:
        text = str(found["text"])
        if _halved(text) and not any(_halved(turn["content"]) for turn in turns):
            raise UserError(
                f"{whose}: the chat template writes half a character (a lone surrogate), which no tokenizer reads",
                REMEDY,
            )
        return text
    if "asks_date" in found:
        raise UserError(
            f"{whose}: the chat template writes today's date, so that the same text has other tokens tomorrow",
            f"say which date it writes, on every day: {whose}.template_date={datetime.now(UTC).date()}",
        )
    if "limit" in found:
        most = limit_in_words(found["limit"])
        raise UserError(f"{whose}: one rendering of the chat template takes more than {most}", REMEDY)
    roles = ", ".join(turn["role"] for turn in turns)
    said = first_line(found["refused"])[:MOST_SAID].encode("utf-8", "replace").decode()
    raise UserError(f"{whose}: the chat template refuses the turns {roles}: {said}", remedy)


def asks_date(
    tokenizer: PreTrainedTokenizerFast, turns: Sequence[Message], *, add_generation_prompt: bool, whose: str = "model"
) -> bool:
    """Say whether the template asks for today's date where it renders these turns."""
    return "asks_date" in ask(_request(tokenizer, turns, add_generation_prompt, None, whose, {}))


def render_open(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Message], *, date: str | None, **given: Any) -> str:
    """Return a conversation up to the end of its last turn's text, which a model is to go on with.

    As transformers has it with `continue_final_message`: white space at that end is kept where the template keeps it.

    Raises:
        UserError: As `render`, or the template does not write the last turn's text.
    """
    marked = [*turns[:-1], {**turns[-1], "content": turns[-1]["content"] + OPEN}]
    text = render(tokenizer, marked, add_generation_prompt=False, date=date, **given)
    before, found, _ = text.rpartition(OPEN)
    if found:
        return before
    before, found, _ = text.rpartition(OPEN.strip())
    if not found:
        raise UserError("model: the chat template does not write the text of the last turn", REMEDY)
    return before.rstrip()


def _request(
    tokenizer: PreTrainedTokenizerFast,
    turns: Sequence[Message],
    add_generation_prompt: bool,
    date: str | None,
    whose: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    variables = {
        **{name: _plain(token) for name, token in tokenizer.special_tokens_map.items()},
        "messages": [dict(turn) for turn in turns],
        "tools": None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
        **given,
    }
    return {"template": _template(tokenizer, whose), "variables": variables, "date": date}


def _template(tokenizer: PreTrainedTokenizerFast, whose: str) -> str:
    """Return the chat template of a tokenizer; of several, which have names, the one that is the default."""
    several = tokenizer.chat_template
    if isinstance(several, dict) and "default" not in several:
        raise UserError(
            f"{whose}: the tokenizer has several chat templates ({', '.join(sorted(several))}), none of them 'default'",
            f"in a copy of the model's folder{_BY_FOLDER.get(whose, '')} make one of them the only chat_template.jinja",
        )
    return str(tokenizer.get_chat_template())


def _halved(text: str) -> bool:
    """Say whether a text holds half a character: half a surrogate pair, which UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain(token: Any) -> Any:
    """Return a special token, or several of a kind, as text."""
    return [str(one) for one in token] if isinstance(token, list | tuple) else str(token)
