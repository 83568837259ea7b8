"""The completions that a node of `reference` needs, as token ids within the limits; what is left out is counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.feedback.prompt_turns import CONTEXT, CONVERSATION, prompt_turns
from notus_exp.models.encoding import (
    Encoded,
    EncodedPrompt,
    Limits,
    complete,
    fit_prompt,
    shows_system_turn,
)
from notus_exp.models.logprobs import tokens_of
from notus_exp.models.markup import marks
from notus_exp.models.pretrained import load_tokenizer
from notus_exp.models.rendering import Message
from notus_exp.stages.settings import ReferenceSettings

ANY_LENGTH = 10**9
_PROMPT = "prompt_turns"
HELD = 0.9
"""Share of the completions that the length suggested for `dpo.max_length` holds."""


class Tokenised(NamedTuple):
    """The needed completions that are within the limits, and counts of what was cut or left out.

    Attributes:
        rows: (prompt_id, row, completion, use) of each.
        encoded: Their token ids, in the same order.
        lengths: Tokens of prompt and completion before the completion's end was cut, likewise.
        marked: Whether a text of theirs holds a mark of the model's own (`models/markup.py`), likewise.
        altered: Whether the template writes another text than theirs, such as one without a part, likewise.
        prompts_too_long: Prompts left out, with all of their completions.
        prompts_cut: Prompts that lost their beginning.
        system_turns_hidden: Prompts whose system turn, which comes from the data, the template does not show.
        prompts_altered: Other prompts of which it writes another text than a turn's.
    """

    rows: list[tuple[str, int, int, str]]
    encoded: list[Encoded]
    lengths: list[int]
    marked: list[bool]
    altered: list[bool]
    prompts_too_long: int
    prompts_cut: int
    system_turns_hidden: int
    prompts_altered: int

    @property
    def truncated(self) -> list[bool]:
        """Say of each completion whether it lost its end."""
        return [length > tokens_of(item) for length, item in zip(self.lengths, self.encoded, strict=True)]

    @property
    def holding_length(self) -> int:
        """Return the length (tokens) within which `HELD` of the completions are whole with their prompts."""
        return sorted(self.lengths)[math.ceil(HELD * len(self.lengths)) - 1] if self.lengths else 0

    def only(self, wanted: pl.DataFrame) -> Tokenised:
        """Return the part of some completions (columns of their ids); the counts of prompts stay those of all."""
        ids = set(wanted.select("prompt_id", "row", "completion").iter_rows())
        places = [place for place, row in enumerate(self.rows) if row[:3] in ids]
        return self._replace(
            rows=[self.rows[place] for place in places],
            encoded=[self.encoded[place] for place in places],
            lengths=[self.lengths[place] for place in places],
            marked=[self.marked[place] for place in places],
            altered=[self.altered[place] for place in places],
        )


def tokenise(wanted: pl.DataFrame, settings: ReferenceSettings, model_folder: Path) -> Tokenised:
    """Return completions as token ids.

    Args:
        wanted: Columns prompt_id, row, completion, use, response, and what `prompt_turns` reads. Of a prompt with
            earlier turns all of them are in the prompt's ids: no completion, and so no loss, is on them.
        settings: The limits, the config's system turn, the template's date.
        model_folder: Has the tokenizer.
    """
    tokenizer, date = load_tokenizer(model_folder), settings.template_date
    limits = Limits(settings.max_length, settings.max_prompt_length, settings.long_prompts)
    found = Tokenised([], [], [], [], [], 0, 0, 0, 0)
    fitted: dict[tuple[str, int], EncodedPrompt | None] = {}
    hidden = altered = 0
    marked = _marked(wanted, marks(tokenizer, date))
    wanted = wanted.with_columns(prompt_turns(wanted).alias(_PROMPT))
    for item, holds_mark in zip(wanted.iter_rows(named=True), marked, strict=True):
        prompt = (item["prompt_id"], item["row"])
        if prompt not in fitted:
            turns: list[Message] = item[_PROMPT]
            within = fitted[prompt] = fit_prompt(tokenizer, turns, settings.system_prompt, limits, date)
            if within is not None:
                own = turns[0]["role"] == "system"
                hides = own and not shows_system_turn(tokenizer, turns, settings.system_prompt, date)
                hidden += hides
                altered += within.altered and not hides
        within = fitted[prompt]
        if within is None:
            continue
        completion = complete(tokenizer, within, item["response"], ANY_LENGTH, date)
        ids = completion.ids
        found.rows.append((*prompt, item["completion"], item["use"]))
        found.encoded.append(Encoded(within.ids, ids[: settings.max_length - len(within.ids)]))
        found.lengths.append(len(within.ids) + len(ids))
        found.marked.append(holds_mark)
        found.altered.append(completion.altered)
    return found._replace(
        prompts_too_long=sum(prompt is None for prompt in fitted.values()),
        prompts_cut=sum(prompt is not None and prompt.cut for prompt in fitted.values()),
        system_turns_hidden=hidden,
        prompts_altered=altered,
    )


def _marked(wanted: pl.DataFrame, known: list[str]) -> pl.Series:
    system = pl.when(pl.col("principle") == CONVERSATION).then(pl.col("system_prompt")).otherwise(pl.lit(""))
    texts = [pl.col("instruction"), system, pl.col("response")]
    if CONTEXT in wanted.columns:
        texts.append(pl.col(CONTEXT).list.eval(pl.element().struct.field("content")).list.join("\n"))
    return wanted.select(held=pl.any_horizontal(text.str.contains_any(known) for text in texts).fill_null(False))[
        "held"
    ]
