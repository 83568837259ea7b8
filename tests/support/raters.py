"""One annotator that answers in JSON at work: its stage on answers of our own, and as a process that can be killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from notus_exp.annotation import make_annotations
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.disk import files
from notus_exp.disk.events import EventWriter
from notus_exp.disk.hashing import digest
from notus_exp.disk.ledger import Ledger
from notus_exp.judging.shown_texts import shown_texts
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings
from support.curation_tables import completion, prompt, table
from support.judges import openai_judge
from support.known_judges import ratings_of
from support.recipes import machine

NAME = "rater"
ANSWERS = 2
"""Of each prompt."""


def judge_at(url: str, concurrency: int) -> OpenAIJudge:
    """Return the judge, who is at an endpoint."""
    judge: OpenAIJudge = openai_judge(base_url=url, concurrency=concurrency, max_tokens=200, max_retries=0)
    return judge


def rated(question: str) -> str:
    """Return what a server says to a question: each answer's `true_rating`, or a critique with it."""
    shown = shown_texts(question)
    assert shown is not None
    if not shown.critique:
        return ratings_of(shown, true_rating)
    [mark], [text] = shown.marks, shown.answers
    return json.dumps({"id": mark, "feedback": f"About {text}.", "overall_score": true_rating(text)})


def true_rating(answer: str) -> int:
    """Return what an answer is rated, from 1 to 5: a number of its text alone."""
    return 1 + int(digest([answer])[:8], 16) % 5


def rate(folder: Path, prompts: int, form: str, url: str, concurrency: int) -> Path:
    """Let the annotator rate the answers to so many prompts, perhaps with replies that a killed attempt left.

    Args:
        folder: Of everything.
        prompts: Of which each has `ANSWERS` answers.
        form: "together", one call a prompt, or "critique", one call an answer.
        url: Of the endpoint.
        concurrency: Requests under way at once.

    Returns:
        The stage's folder.
    """
    feedback, out = folder / "feedback", folder / "out"
    for place in (feedback, out):
        place.mkdir(parents=True, exist_ok=True)
    answers = [[f"Answer {number}.{one}" for one in range(ANSWERS)] for number in range(prompts)]
    rows = [prompt(f"Question {number}?", *map(completion, texts)) for number, texts in enumerate(answers)]
    table(*rows).write_parquet(feedback / files.COMPLETIONS)
    judge = judge_at(url, concurrency)
    annotator = {
        "together": Annotator(NAME, judge, rubric="honesty", together=True),
        "critique": Annotator(NAME, judge, form="critique"),
    }[form]
    context = Context(EventWriter("annotations", out / "events.jsonl"), machine(), folder / "cache")
    context.cache.mkdir(exist_ok=True)
    context.annotators, context.ledger = {NAME: annotator}, Ledger(folder / "ledger.jsonl")
    spec = AnnotationsSettings(NAME, {}, {}, annotator.rubric, annotator.scale, annotator.pairs)
    make_annotations.run(spec, {"feedback": feedback}, out, context)
    return out


def ratings(folder: Path) -> dict[str, float | None]:
    """Return what was written of each answer, by its text."""
    said = pl.read_parquet(folder / "out" / files.COLUMNS)
    texts = pl.read_parquet(folder / "feedback" / files.COMPLETIONS).select("row", "completion", "response")
    both = texts.join(said, on=["row", "completion"], how="left")
    return dict(both.select("response", NAME).iter_rows())


if __name__ == "__main__":
    rate(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
