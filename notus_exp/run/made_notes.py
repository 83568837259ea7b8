"""What is said of data that is made here before a cent is spent: answers, judgements, tokens and about what they cost.

Lengths are upper ends: each answer as long as its writer may write, each reply as long as the judge may. The texts of
prompts are measured where they lie there, and taken to be of `PROMPT_TOKENS` tokens before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.judge_settings import ChatJudge
from notus_exp.config.made_settings import Writer, annotators_of, writers_of
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.rounds_of_run import parsed_node
from notus_exp.judging.spending import CHARACTERS_PER_TOKEN, PER_PRICE
from notus_exp.reporting.tables import lasting
from notus_exp.run import amounts
from notus_exp.run.amounts import Known
from notus_exp.run.asking_notes import dollars
from notus_exp.run.nodes import Node
from notus_exp.stages.settings import ANNOTATED

PROMPT_TOKENS = 200
"""Of a prompt whose text is not there yet: taken, not measured."""
TOLD_TOKENS = 40
"""Of a system prompt of ours, at most."""
SIMULATED_TOKENS = 60
"""Of a simulated writer's answer, about."""
REQUEST_SECONDS = 10.0
"""Of a request to an endpoint: taken, not measured."""
RUBRIC_TOKENS = 600
"""Of a rubric of ours with the question around it, at most."""


_UNKNOWN = "how much is asked for is told with data.max_prompts, or once the prompts are there"


class AskedOf(NamedTuple):
    """What is asked of one.

    Attributes:
        times: How often.
        read: Tokens, at most.
        written: Likewise.
        usd: At most; None without prices.
        hours: Of an endpoint's requests, as many at once as may be; 0 of what this machine does.
    """

    times: float
    read: float
    written: float
    usd: float | None
    hours: float = 0.0


def made_lines(
    config: Config, missing: Sequence[Node], known: Known, folder: Callable[[str], Path | None]
) -> list[str]:
    """Return a line for each writer that is to be asked, and one for all that making the data's answers asks for.

    What is asked of a judge is said of each annotator once the answers are there (asking_notes.py).

    Args:
        config: The run's.
        missing: Nodes that are to be made.
        known: Where amounts are looked up.
        folder: Returns the folder of a feedback for its key, None while it is not made.
    """
    data, writers = config.data, writers_of(config.data)
    asked = [node for node in missing if node.stage is Stage.responses]
    if not isinstance(data, MadeFeedback) or not asked:
        return []
    length = _prompt_tokens(asked[0], folder)
    found = [(node, _answers(node, writers[node.settings["writer"]], known, length)) for node in asked]
    lines = [f"{node.name}: {_writer_told(writers[node.settings['writer']], one)}" for node, one in found]
    rounds = {trained for node in asked if (trained := amounts.trained_prompts(node, known)) is not None}
    if rounds:
        lines.append(f"rounds: about {min(rounds):,.0f} prompts to train on in each")
    if not any(parsed_node(node.name).name == "answers" for node in missing):
        return lines
    if any(one is None for _, one in found):
        return [*lines, f"made: {_UNKNOWN}"]
    asking = {f"{ANNOTATED}{one.name}": one for one in annotators_of(data)}
    ratings, critiques = (
        [
            _judgements(node, asking[name], data, known, length)
            for node in missing
            if (name := parsed_node(node.name).name) in asking and asking[name].together is together
        ]
        for together in (True, False)
    )
    return [*lines, _together([one for _, one in found if one], ratings, critiques, data)]


def _answers(node: Node, writer: Writer, known: Known, length: float) -> AskedOf | None:
    answers = amounts.answers_of(node, known)
    if answers is None:
        return None
    if writer.simulated is not None:
        return AskedOf(answers, 0.0, 0.0, 0.0)
    read, written = answers * (length + TOLD_TOKENS), answers * writer.max_new_tokens
    if not writer.at_endpoint:
        return AskedOf(answers, read, written, 0.0)
    return AskedOf(answers, read, written, _usd(writer, read, written), _hours(answers, writer.concurrency))


def _judgements(node: Node, annotator: Annotator, data: MadeFeedback, known: Known, length: float) -> AskedOf:
    judge, sizes = annotator.judge, amounts.completions_of(node, known)
    assert sizes is not None and isinstance(judge, ChatJudge), "the prompts are known, and the config is checked"
    prompts, each = sizes
    lengths = [SIMULATED_TOKENS if one.simulated is not None else one.max_new_tokens for one in data.writers]
    written = sum(lengths) / len(lengths)
    together = annotator.together
    times = prompts if together else prompts * each
    shown = written * (each if together else 1)
    read, replied = times * (RUBRIC_TOKENS + length + shown), times * judge.max_tokens
    if judge.name == "mock":
        return AskedOf(times, read, replied, 0.0)
    return AskedOf(times, read, replied, _usd(judge, read, replied), _hours(times, judge.concurrency))


def _hours(times: float, concurrency: int) -> float:
    return times / concurrency * REQUEST_SECONDS / 3600


def _usd(priced: Writer | ChatJudge, read: float, written: float) -> float | None:
    if priced.input_price is None or priced.output_price is None:
        return None
    return (read * priced.input_price + written * priced.output_price) / PER_PRICE


def _writer_told(writer: Writer, asked: AskedOf | None) -> str:
    where = f" by {writer.model} at {writer.base_url}" if writer.at_endpoint else ""
    if asked is None:
        return f"answers{where}, how many is not known yet"
    told = f"about {asked.times:,.0f} answers{where}"
    if writer.simulated is not None:
        return told
    told += f", up to {asked.written:,.0f} tokens"
    if not writer.at_endpoint:
        return told
    return told + (
        "; what they cost is not counted without input_price and output_price"
        if asked.usd is None
        else f", about {dollars(asked.usd)} at most"
    )


def _together(
    answers: Sequence[AskedOf], ratings: Sequence[AskedOf], critiques: Sequence[AskedOf], data: MadeFeedback
) -> str:
    every = [*answers, *ratings, *critiques]
    count, rated, criticised = (sum(one.times for one in some) for some in (answers, ratings, critiques))
    told = f"made: about {count:,.0f} answers and {rated + criticised:,.0f} judgements"
    told += f" ({rated:,.0f} of all answers to a prompt, {criticised:,.0f} critiques)"
    tokens = sum(one.read + one.written for one in every)
    told += f", up to {tokens:,.0f} tokens read and written"
    without = [one for one in every if one.usd is None]
    usd = sum(one.usd or 0.0 for one in every)
    told += f", about {dollars(usd)} at most" if usd else ""
    told += " beside what has no prices" if usd and without else ""
    if hours := sum(one.hours for one in every):
        told += f", about {lasting(3600 * hours)} of asking if a request takes {REQUEST_SECONDS:g} s"
    if data.budget is not None:
        told += f"; data.budget is {dollars(data.budget)}" + (" and may end it before" if usd > data.budget else "")
    return told


def _prompt_tokens(node: Node, folder: Callable[[str], Path | None]) -> float:
    """Return the tokens of a prompt on average, a token for four characters."""
    place = folder(node.inputs["instructions"])
    if place is None:
        return PROMPT_TOKENS
    import polars as pl  # not for every plan

    from notus_exp.feedback.made_table import asked_prompts

    mean = asked_prompts(place).select(pl.col("instruction").str.len_chars().mean()).item()
    return float(mean or 0) / CHARACTERS_PER_TOKEN
