"""Whether what is to be trained is what the texts say: pairs of the same tokens, marks of the model, lost ends.

Looked at where tokens are made, before a log-prob is computed; the training looks again at what it reuses.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.models.tokens import Tokenised
from notus_exp.reporting.texts import many
from notus_exp.stages.context import Requirements
from notus_exp.stages.settings import ReferenceSettings


class PairCounts(NamedTuple):
    """Of the training and validation pairs within the limits: those that hold nothing to learn, or a mark.

    Attributes:
        pairs_same_tokens: Both sides are the same tokens, in which nothing is preferred to anything.
        pairs_same_cut: Of these, those of which a side lost its end: whole, they may differ.
        pairs_with_special_tokens: Of the others, those of which a text holds a mark of the model's own.
    """

    pairs_same_tokens: int
    pairs_same_cut: int
    pairs_with_special_tokens: int


def check_pairs(
    tokenised: Tokenised,
    pairs: pl.DataFrame,
    settings: ReferenceSettings,
    requirements: Requirements,
    reads: int | None = None,
) -> PairCounts:
    """Count what is wrong with the tokens of pairs, and refuse what the config refuses.

    Args:
        tokenised: The completions of the pairs that are within the limits.
        pairs: pairs.parquet.
        settings: The limits, for messages.
        requirements: What is refused.
        reads: Tokens that the model reads, or None where it does not say so.

    Raises:
        UserError: No training pair is left, a mark is an error, or too many completions lose their end.
    """
    drops = requirements.special_tokens == "drop"
    place = {row[:3]: number for number, row in enumerate(tokenised.rows)}
    truncated = tokenised.truncated
    columns = ("prompt_id", "row", "split", "chosen_completion", "rejected_completion")
    found = []
    for prompt, row, split, *sides in pairs.filter(pl.col("split") != "test").select(columns).iter_rows():
        chosen, rejected = (place.get((prompt, row, side)) for side in sides)
        if chosen is None or rejected is None:
            continue
        alike = tokenised.encoded[chosen].completion_ids == tokenised.encoded[rejected].completion_ids
        cut = alike and (truncated[chosen] or truncated[rejected])
        found.append((split, alike, cut, not alike and (tokenised.marked[chosen] or tokenised.marked[rejected])))
    counts = PairCounts(*(sum(pair[kind] for pair in found) for kind in (1, 2, 3)))
    train = [pair[1:] for pair in found if pair[0] == "train"]
    if not train:
        raise UserError(
            f"no training pair is left: all prompts are longer than dpo.max_prompt_length={settings.max_prompt_length} "
            f"tokens, or reach dpo.max_length={settings.max_length}",
            "raise them, or set dpo.long_prompts=cut",
        )
    if requirements.special_tokens == "error":
        refuse_marked(counts.pairs_with_special_tokens)
    if all(alike or (held and drops) for alike, _, held in train):
        raise nothing_left(len(train), PairCounts(*(sum(pair[kind] for pair in train) for kind in (0, 1, 2))))
    facts = {
        "completions_truncated": sum(truncated),
        "needed": len(tokenised.rows),
        "holding_length": tokenised.holding_length,
    }
    check_ends(facts, settings.max_length, requirements.max_truncated, reads)
    return counts


def nothing_left(pairs: int, counts: PairCounts) -> UserError:
    """Return the error of a training without pairs.

    Args:
        pairs: Training pairs within the limits.
        counts: Of these; pairs that hold a mark of the model's own are dropped.
    """
    same, cut, marked = counts
    why = [f"{same} have two sides of the same tokens"] if same else []
    why += [f"{marked} hold a mark of the model's own in a text, such as its end token"] if marked else []
    some = f"{cut} of {same} were cut: " if cut < same else ""
    remedies = [f"{some}where sides differ late, raise dpo.max_length"] if cut else []
    if same > cut:
        remedies.append(
            f"nothing of {same - cut} was cut: their sides differ in no more than white space, or what the chat "
            "template leaves out; choose pairs whose texts differ, or a model whose template writes them as they are"
        )
    remedies += ["dpo.special_tokens=keep trains on texts with marks"] if marked else []
    return UserError(f"none of {pairs} training pairs is left: {', and '.join(why)}", "; ".join(remedies))


def refuse_marked(marked: int) -> None:
    """Refuse pairs whose texts hold a mark of the model's own.

    Raises:
        UserError: There is one.
    """
    if marked:
        raise UserError(
            f"{many(marked, 'pair holds', 'pairs hold')} a mark of the model's own in a text, such as its end token, "
            "and dpo.special_tokens=error",
            "dpo.special_tokens=drop leaves them out, and keep trains on them",
        )


def check_ends(facts: dict[str, Any], max_length: int, most: float, reads: int | None = None) -> None:
    """Refuse a training whose completions lose their end in too large a share.

    Args:
        facts: Of the stage `reference`; holding_length is not among those of older artifacts.
        max_length: `dpo.max_length`.
        most: `dpo.max_truncated`.
        reads: Tokens that the model reads, or None where it does not say so.

    Raises:
        UserError: Naming the share, the length that holds nine of ten, and the key.
    """
    cut, needed = facts.get("completions_truncated", 0), facts.get("needed", 0)
    if not needed or cut / needed <= most:
        return
    holding = facts.get("holding_length")
    longer = f"dpo.max_length={holding} holds 90 % of them whole" if holding else "raise dpo.max_length"
    if reads and (holding or max_length + 1) > reads:
        longer = (
            f"dpo.max_length={reads} is the most that the model reads"
            + (f", and 90 % of them need {holding}" if holding else "")
            + ": choose a model that reads more, or leave out long answers with filters.max_chars"
        )
    accepted = math.ceil(100 * cut / needed) / 100
    raise UserError(
        f"{cut} of {needed} completions ({cut / needed:.0%}) lose their end at dpo.max_length={max_length}, and "
        f"dpo.max_truncated={most:g}",
        f"{longer}; dpo.max_truncated={accepted:g} trains on beginnings",
    )
