"""From messages to token ids: the one place where prompts and completions are templated, tokenised and cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jinja2
from transformers import PreTrainedTokenizerFast

from notus_exp.errors import UserError

Message = Mapping[str, str]
"""One turn: {"role": ..., "content": ...}."""


class Limits(NamedTuple):
    """Lengths in tokens. `long_prompts` is "drop" or "cut"; without `max_prompt_length` only `max_length` counts."""

    max_length: int
    max_prompt_length: int | None
    long_prompts: str


class Encoded(NamedTuple):
    """Token ids of a templated prompt and of one completion of it; the model reads them joined."""

    prompt_ids: list[int]
    completion_ids: list[int]


class EncodedPrompt(NamedTuple):
    """A prompt within the limits: its messages after cutting, their token ids, and whether anything was cut."""

    messages: list[Message]
    ids: list[int]
    cut: bool


class Completion(NamedTuple):
    """Token ids of a completion, and whether some were cut off at its end."""

    ids: list[int]
    truncated: bool


def with_system(messages: list[Message], system_prompt: str | None) -> list[Message]:
    """Return the messages with a system turn put first.

    Args:
        messages: The turns.
        system_prompt: Text of the system turn ("" gives an empty turn), or None to leave the messages alone.

    Returns:
        The same messages where `system_prompt` is None or where they already begin with a system turn.
    """
    if system_prompt is None or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def encode_prompt(tokenizer: PreTrainedTokenizerFast, messages: list[Message], system_prompt: str | None) -> list[int]:
    """Return the token ids of a templated prompt, with the generation prompt at its end."""
    return _template(tokenizer, with_system(messages, system_prompt), add_generation_prompt=True)


def fit_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: list[Message], system_prompt: str | None, limits: Limits
) -> EncodedPrompt | None:
    """Return the prompt within the limits, or None where it is too long.

    Too long is: more than `max_prompt_length` tokens with `long_prompts="drop"`; `max_length` tokens or more, which
    would leave no place for a completion; or a template that is too long even with nothing left of the message.
    With `long_prompts="cut"` the first user message loses tokens at its beginning until the prompt fits.
    """
    turns = with_system(messages, system_prompt)
    ids = _template(tokenizer, turns, add_generation_prompt=True)
    fitted: EncodedPrompt | None = EncodedPrompt(turns, ids, cut=False)
    most = limits.max_prompt_length
    if most is not None and len(ids) > most:
        fitted = _cut(tokenizer, turns, len(ids), most) if limits.long_prompts == "cut" else None
    return fitted if fitted is not None and len(fitted.ids) < limits.max_length else None


def complete(tokenizer: PreTrainedTokenizerFast, prompt: EncodedPrompt, response: str, max_length: int) -> Completion:
    """Return a completion of a prompt, cut where both together reach `max_length` tokens (the beginning is kept).

    Prompt and completion are templated and tokenised together, as TRL's DPOTrainer does; the completion begins where
    the tokens of the prompt end.

    Raises:
        UserError: The tokens of the prompt do not begin the tokens of both, so that a model would be trained on
            another context than it is given later.
    """
    turns = [*prompt.messages, {"role": "assistant", "content": response}]
    ids = _template(tokenizer, turns, add_generation_prompt=False)
    start = len(prompt.ids)
    if ids[:start] != prompt.ids:
        same = next(i for i, (a, b) in enumerate(zip(prompt.ids, [*ids, None], strict=False)) if a != b)
        raise UserError(
            "model: the templated prompt is not the beginning of the templated prompt and completion; they part at "
            f"token {same} of {start}, before {tokenizer.decode(prompt.ids[same:])!r}",
            "use a model whose chat template writes the generation prompt as it writes an assistant's turn",
        )
    return Completion(ids[start:max_length], truncated=len(ids) > max_length)


def encode(
    tokenizer: PreTrainedTokenizerFast, prompt: list[Message], response: str, system_prompt: str | None, limits: Limits
) -> Encoded | None:
    """Return the token ids of one prompt and completion, or None where the prompt is too long (see `fit_prompt`).

    For several completions of one prompt, `fit_prompt` once and `complete` for each give the same.
    """
    fitted = fit_prompt(tokenizer, prompt, system_prompt, limits)
    if fitted is None:
        return None
    return Encoded(fitted.ids, complete(tokenizer, fitted, response, limits.max_length).ids)


def _template(tokenizer: PreTrainedTokenizerFast, turns: list[Message], *, add_generation_prompt: bool) -> list[int]:
    try:
        encoded = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
        )
    except jinja2.TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise UserError(
            f"model: the chat template refuses the turns {roles}: {error}",
            "set model.system_prompt=null for a template without a system turn",
        ) from error
    return list(encoded["input_ids"])


def _cut(tokenizer: PreTrainedTokenizerFast, turns: list[Message], length: int, most: int) -> EncodedPrompt | None:
    """Cut the beginning of the first user message, by whole tokens, until the templated prompt has at most `most`."""
    place = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), None)
    if place is None:
        return None
    content = turns[place]["content"]
    offsets = tokenizer(content, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    # Where a token begins that is not the rest of a character which the token before it began.
    starts = [start for start, _ in offsets]
    ends = [0, *(end for _, end in offsets)]
    cut = 0
    while length > most:
        cut += length - most  # the text after a cut may tokenise into more tokens than were counted: cut again
        cut = next((i for i in range(cut, len(starts)) if starts[i] >= ends[i]), len(starts))
        if cut == len(starts):
            return None
        shorter = [*turns[:place], {**turns[place], "content": content[starts[cut] :]}, *turns[place + 1 :]]
        ids = _template(tokenizer, shorter, add_generation_prompt=True)
        length = len(ids)
    return EncodedPrompt(shorter, ids, cut=True)
