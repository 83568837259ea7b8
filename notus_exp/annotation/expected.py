"""How many judgements an annotator will be asked for, and what they may cost: from the feedback, before anything is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from notus_exp.annotation.make_annotations import asked_about, read_by, read_completions
from notus_exp.annotation.questions_of_completions import (
    comparisons_of,
    gradings_of,
    one_by_one,
    together_of,
)
from notus_exp.chat.messages import Messages
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.judge_settings import ChatJudge
from notus_exp.curation.comparisons import groups_of, pairs_of_completions
from notus_exp.judging.json_questions import json_question
from notus_exp.judging.spending import forecast
from notus_exp.judging.templates import (
    comparison_messages,
    load_comparison_template,
    load_rubric_template,
    rubric_messages,
)
from notus_exp.judging.verdicts import MODEL_FIRST, REFERENCE_FIRST
from notus_exp.stages.settings import DoubtfulScores

SAMPLE = 200
"""Prompts of which the texts are measured; the others are taken to be as long."""


class ExpectedAsking(NamedTuple):
    """What an annotator is asked for.

    Attributes:
        judgements: How many; what is said of all completions of a prompt in one call is one.
        usd: What they cost at most, replies being as long as they may be; None without prices.
    """

    judgements: int
    usd: float | None


def expected_asking(feedback: Path, annotator: Annotator, doubtful: DoubtfulScores | None = None) -> ExpectedAsking:
    """Return what annotating a feedback that lies there asks for; what is cached is not taken off.

    Args:
        feedback: Its folder.
        annotator: With the local paths of its judge's files.
        doubtful: Which completions are asked about, by their overall scores; None for all.
    """
    shown = asked_about(read_completions(feedback, doubtful), doubtful)
    groups = groups_of(shown)
    if annotator.pairs:
        pairs, texts = pairs_of_completions(groups), shown["response"].to_numpy()
        judgements = 2 * int((texts[pairs.one] != texts[pairs.other]).sum())
    else:
        judgements = len(np.unique(groups)) if annotator.together else shown.height
    judge = annotator.judge
    if not isinstance(judge, ChatJudge) or judge.input_price is None or not judgements:
        return ExpectedAsking(judgements, None)
    known = np.unique(groups)
    some = np.isin(groups, known[:: max(1, len(known) // SAMPLE)])
    asked = _messages(annotator, judge, shown.filter(some))
    usd = forecast(judge, asked).cost
    return ExpectedAsking(judgements, None if usd is None or not asked else usd * judgements / len(asked))


def _messages(annotator: Annotator, judge: ChatJudge, completions: pl.DataFrame) -> Sequence[Messages]:
    template = Path(judge.template) if judge.template else None
    if annotator.pairs:
        comparison = load_comparison_template(judge.parser, template)
        return [
            comparison_messages(pair, order, comparison)
            for pair in comparisons_of(completions).questions
            for order in (REFERENCE_FIRST, MODEL_FIRST)
        ]
    if annotator.in_json:
        questions = (together_of if annotator.together else one_by_one)(completions).questions
        return [json_question(question, read_by(annotator)).messages for question in questions]
    rubric = load_rubric_template(annotator.rubric, template, annotator.ends)
    return [rubric_messages(grading, rubric) for grading in gradings_of(completions)]
