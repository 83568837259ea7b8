"""From messages to token ids: the one place where prompts and completions are templated, tokenised and cut."""

from __future__ import annotations

from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from notus_exp.errors import UserError
from notus_exp.models.rendering import REMEDY, Message, render

OTHER_SYSTEM_TURN = "another system turn"
"""Stands in a system turn's place, to see whether the template shows it at all."""


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
    """A prompt within the limits: messages after cutting, as text and as token ids, and whether anything was cut."""

    messages: list[Message]
    text: str
    ids: list[int]
    cut: bool

    @property
    def altered(self) -> bool:
        """Say whether the template does not write a turn as it is (white space at its ends aside)."""
        return any(turn["content"].strip() not in self.text for turn in self.messages)


class Completion(NamedTuple):
    """Token ids of a completion, whether some were cut off at its end, and whether the template writes another text.

    White space at the text's ends aside: templates trim it.
    """

    ids: list[int]
    truncated: bool
    altered: bool


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


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: list[Message], system_prompt: str | None, date: str | None = None
) -> list[int]:
    """Return the token ids of a templated prompt, with the generation prompt at its end.

    Here and below `date` is what a template is told that asks for today's (YYYY-MM-DD); None refuses such a template.
    """
    turns = with_system(messages, system_prompt)
    return _template(tokenizer, turns, date, add_generation_prompt=True, remedy=remedy_for(messages, turns))[1]


def shows_system_turn(
    tokenizer: PreTrainedTokenizerFast, messages: list[Message], system_prompt: str | None, date: str | None = None
) -> bool:
    """Say whether the template writes the text of the system turn that a prompt begins with.

    Raises:
        UserError: The template refuses these turns.
    """
    turns = with_system(messages, system_prompt)
    others = [{"role": "system", "content": OTHER_SYSTEM_TURN}, *turns[1:]]
    remedy = remedy_for(messages, turns)
    one, two = (
        render(tokenizer, some, add_generation_prompt=True, date=date, remedy=remedy) for some in (turns, others)
    )
    return one != two


def fit_prompt(
    tokenizer: PreTrainedTokenizerFast,
    messages: list[Message],
    system_prompt: str | None,
    limits: Limits,
    date: str | None = None,
) -> EncodedPrompt | None:
    """Return the prompt within the limits, or None where it is too long.

    Too long is: more than `max_prompt_length` tokens with `long_prompts="drop"`; `max_length` tokens or more, which
    would leave no place for a completion; or a template that is too long even with nothing left of the message.
    With `long_prompts="cut"` the first user message loses tokens at its beginning until the prompt fits, and where that
    is not enough in a conversation of several turns, its oldest turns are left out first.
    """
    turns = with_system(messages, system_prompt)
    text, ids = _template(tokenizer, turns, date, add_generation_prompt=True, remedy=remedy_for(messages, turns))
    fitted: EncodedPrompt | None = EncodedPrompt(turns, text, ids, cut=False)
    most = limits.max_prompt_length
    if most is not None and len(ids) > most:
        fitted = _cut(tokenizer, turns, len(ids), most, date) if limits.long_prompts == "cut" else None
    return fitted if fitted is not None and len(fitted.ids) < limits.max_length else None


def complete(
    tokenizer: PreTrainedTokenizerFast, prompt: EncodedPrompt, response: str, max_length: int, date: str | None = None
) -> Completion:
    """Return a completion of a prompt, cut where both together reach `max_length` tokens (the beginning is kept).

    Prompt and completion are templated and tokenised together, as TRL's DPOTrainer does; the completion begins where
    the tokens of the prompt end.

    Raises:
        UserError: The tokens of the prompt do not begin the tokens of both, so that a model would be trained on
            another context than it is given later.
    """
    turns = [*prompt.messages, {"role": "assistant", "content": response}]
    text, ids = _template(tokenizer, turns, date, add_generation_prompt=False)
    start = check_beginning(tokenizer, prompt.ids, ids)
    altered = response.strip() not in text.removeprefix(prompt.text)
    return Completion(ids[start:max_length], len(ids) > max_length, altered)


def check_beginning(tokenizer: PreTrainedTokenizerFast, part: list[int], whole: list[int]) -> int:
    """Return how many tokens of a conversation are those of its beginning, templated by itself.

    Raises:
        UserError: They do not begin the tokens of the whole.
    """
    start = len(part)
    if whole[:start] != part:
        same = next(i for i, (a, b) in enumerate(zip(part, [*whole, None], strict=False)) if a != b)
        raise UserError(
            "model: the templated prompt is not the beginning of the templated prompt and completion; they part at "
            f"token {same} of {start}, before {tokenizer.decode(part[same:])!r}",
            "use a model whose chat template writes the generation prompt as it writes an assistant's turn",
        )
    return start


def encode(
    tokenizer: PreTrainedTokenizerFast,
    prompt: list[Message],
    response: str,
    system_prompt: str | None,
    limits: Limits,
    date: str | None = None,
) -> Encoded | None:
    """Return the token ids of one prompt and completion, or None where the prompt is too long (see `fit_prompt`).

    For several completions of one prompt, `fit_prompt` once and `complete` for each give the same.
    """
    fitted = fit_prompt(tokenizer, prompt, system_prompt, limits, date)
    if fitted is None:
        return None
    return Encoded(fitted.ids, complete(tokenizer, fitted, response, limits.max_length, date).ids)


def _template(
    tokenizer: PreTrainedTokenizerFast,
    turns: list[Message],
    date: str | None,
    *,
    add_generation_prompt: bool,
    remedy: str = REMEDY,
) -> tuple[str, list[int]]:
    text = render(tokenizer, turns, add_generation_prompt=add_generation_prompt, date=date, remedy=remedy)
    return text, list(tokenizer(text, add_special_tokens=False)["input_ids"])


def remedy_for(messages: list[Message], turns: list[Message]) -> str:
    """Say what helps where a template refuses the turns: what the config puts first, or what the data does."""
    if len(turns) > len(messages):
        return "set model.system_prompt=null for a template without a system turn"
    if turns and turns[0]["role"] == "system":
        return (
            "the system turn is the data's: choose a model whose template has one, or take these turns out of the data"
        )
    return REMEDY


def _cut(
    tokenizer: PreTrainedTokenizerFast, turns: list[Message], length: int, most: int, date: str | None
) -> EncodedPrompt | None:
    """Cut the beginning of the first user message, by whole tokens, until the templated prompt has at most `most`.

    Where nothing would be left of it, it is left out together with its answer, and the next one is the first.
    """
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
            return _without_oldest(tokenizer, turns, place, most, date)
        shorter = [*turns[:place], {**turns[place], "content": content[starts[cut] :]}, *turns[place + 1 :]]
        text, ids = _template(tokenizer, shorter, date, add_generation_prompt=True)
        length = len(ids)
    return EncodedPrompt(shorter, text, ids, cut=True)


def _without_oldest(
    tokenizer: PreTrainedTokenizerFast, turns: list[Message], place: int, most: int, date: str | None
) -> EncodedPrompt | None:
    """Leave out the first user message and its answer, and cut on where that is not enough; None where it is the last.

    Args:
        tokenizer: Of the model.
        turns: The prompt.
        place: Where its first user message is.
        most: Tokens that the prompt may have.
        date: As everywhere here.
    """
    later = next((i for i, turn in enumerate(turns) if i > place and turn["role"] == "user"), None)
    if later is None:
        return None
    shorter = [*turns[:place], *turns[later:]]
    text, ids = _template(tokenizer, shorter, date, add_generation_prompt=True)
    if len(ids) > most:
        return _cut(tokenizer, shorter, len(ids), most, date)
    return EncodedPrompt(shorter, text, ids, cut=True)
