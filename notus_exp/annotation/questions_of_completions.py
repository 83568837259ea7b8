"""What an annotator is asked about the completions of a prompt: each by itself, or two by two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.curation.comparisons import CompletionPairs, groups_of, pairs_of_completions
from notus_exp.feedback.prompt_turns import CONTEXT, prompt_turns
from notus_exp.judging.templates import with_turns_before
from notus_exp.judging.verdicts import AnswerPair, Grading

READ = ("prompt_id", "row", "completion", "instruction", "response", "model", "principle", "system_prompt", CONTEXT)
"""Columns of the completions table that annotating reads, beside ratings and the true quality for its report."""
SYSTEM = "system"


class AskedPairs(NamedTuple):
    """Pairs of completions that are compared.

    Attributes:
        pairs: All of them, shape (n,).
        asked: Whether each is shown to the judge, shape (n,): two equal texts are a tie without asking.
        questions: What is shown, one for each that is asked.
    """

    pairs: CompletionPairs
    asked: NDArray[np.bool_]
    questions: list[AnswerPair]


def with_text(completions: pl.DataFrame) -> pl.DataFrame:
    """Return the completions that have any text, with `place`, that in the table."""
    return completions.with_row_index("place").filter(pl.col("response").str.strip_chars() != "")


def gradings_of(completions: pl.DataFrame) -> list[Grading]:
    """Return each completion as a conversation whose last answer is rated."""
    ids, responses = completions["prompt_id"].to_list(), completions["response"].to_list()
    return [
        Grading(identity, len(turns[::2]), "", tuple(turns[::2]), (*turns[1::2], response), ())
        for identity, response, turns in zip(ids, responses, _turns(completions), strict=True)
    ]


def comparisons_of(completions: pl.DataFrame) -> AskedPairs:
    """Return every two completions of a prompt; positions point into the table that is given."""
    pairs = pairs_of_completions(groups_of(completions))
    ids, responses = completions["prompt_id"].to_list(), completions["response"].to_list()
    instructions = [with_turns_before(turns[:-1], turns[-1]) for turns in _turns(completions)]
    both = list(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True))
    asked = np.array([responses[one] != responses[other] for one, other in both], dtype=np.bool_)
    questions = [
        AnswerPair(ids[one], instructions[one], responses[one], responses[other])
        for (one, other), wanted in zip(both, asked, strict=True)
        if wanted
    ]
    return AskedPairs(pairs, asked, questions)


def _turns(completions: pl.DataFrame) -> list[list[str]]:
    """Return the texts of each prompt's turns, the user's first; a system turn is the beginning of that."""
    found = []
    for turns in prompt_turns(completions).to_list():
        system, texts = "", [turn["content"] for turn in turns]
        if turns[0]["role"] == SYSTEM:
            system, *texts = texts
        found.append([f"{system}\n\n{texts[0]}" if system else texts[0], *texts[1:]])
    return found
