"""What an annotator is asked about the completions of a prompt: each by itself, two by two, or all together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.curation.comparisons import CompletionPairs, groups_of, pairs_of_completions
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.prompt_turns import CONTEXT, prompt_turns
from notus_exp.judging.json_questions import AnswersToRate
from notus_exp.judging.templates import with_turns_before
from notus_exp.judging.verdicts import AnswerPair, Grading

READ = ("prompt_id", "row", "completion", "instruction", "response", "model", "principle", "system_prompt", CONTEXT)
"""Columns of the completions table that annotating reads, beside ratings and the true quality for its report."""
CRITIQUE = "critique"
"""Column of the critique that came with the data: read where it is sent back with the overall score in doubt."""
SYSTEM = "system"
SHUFFLED = "shown together"
"""Salt of the order in which completions are shown together; a hash of the prompt id alone decides it."""


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


class ShownTogether(NamedTuple):
    """Questions that show several completions, or one.

    Attributes:
        places: Of each question, the places in the table of what it shows, in the order shown.
        questions: What is shown.
    """

    places: list[list[int]]
    questions: list[AnswersToRate]


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


def together_of(completions: pl.DataFrame) -> ShownTogether:
    """Return one question a prompt, which shows its completions in an order that a hash of the prompt id draws."""
    numbers = completions.select(pl.int_range(pl.len()).over("prompt_id", "row")).to_series().to_numpy()
    ids, responses = completions["prompt_id"].to_list(), completions["response"].to_list()
    draws = np.empty(completions.height)
    for number in np.unique(numbers):
        mine = np.flatnonzero(numbers == number)
        draws[mine] = uniform([ids[place] for place in mine], int(number), SHUFFLED)
    groups = groups_of(completions)
    order = np.lexsort((draws, groups))
    places = [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(part)]
    places.sort(key=min)  # by the table
    instructions = [with_turns_before(turns[:-1], turns[-1]) for turns in _turns(completions)]
    questions = [
        AnswersToRate(ids[shown[0]], instructions[shown[0]], tuple(responses[place] for place in shown))
        for shown in places
    ]
    return ShownTogether(places, questions)


def one_by_one(completions: pl.DataFrame) -> ShownTogether:
    """Return one question a completion; with the critique that it has, where the table has the column."""
    earlier = completions[CRITIQUE].to_list() if CRITIQUE in completions.columns else [""] * completions.height
    ids, responses = completions["prompt_id"].to_list(), completions["response"].to_list()
    instructions = [with_turns_before(turns[:-1], turns[-1]) for turns in _turns(completions)]
    questions = [
        AnswersToRate(identity, instruction, (response,), (critique or "").strip())
        for identity, instruction, response, critique in zip(ids, instructions, responses, earlier, strict=True)
    ]
    return ShownTogether([[place] for place in range(completions.height)], questions)


def _turns(completions: pl.DataFrame) -> list[list[str]]:
    """Return the texts of each prompt's turns, the user's first; a system turn is the beginning of that."""
    found = []
    for turns in prompt_turns(completions).to_list():
        system, texts = "", [turn["content"] for turn in turns]
        if turns[0]["role"] == SYSTEM:
            system, *texts = texts
        found.append([f"{system}\n\n{texts[0]}" if system else texts[0], *texts[1:]])
    return found
