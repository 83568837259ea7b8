"""What is said of annotators: how many judgements each is asked for, about what they cost, and how many failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.judge_settings import ChatJudge, OpenAIJudge
from notus_exp.config.schema import Stage
from notus_exp.run import amounts
from notus_exp.run.amounts import Known
from notus_exp.run.nodes import Node
from notus_exp.stages.settings import ANNOTATED, REANNOTATED, AnnotationsSettings, from_json

OF_KIND = {"openai": "judgements", "mock": "judgements", "reward_model": "scores", "replay": "stored judgements"}
"""Judge -> what it gives."""


def asking_notes(
    missing: Sequence[Node],
    annotators: Mapping[str, Annotator],
    known: Known,
    folder: Callable[[str], Path | None],
    sources: Mapping[str, list[str]],
) -> list[str]:
    """Return a line for each annotator that is to be asked.

    Args:
        missing: Nodes that are to be made.
        annotators: By name.
        known: Where amounts are looked up.
        folder: Returns the feedback's folder for its key, None while it is not made.
        sources: Local files by setting.
    """
    return [
        f"{node.name}: {_asked(node, annotators[node.settings['name']], known, folder, sources)}"
        for node in missing
        if node.stage is Stage.annotations
    ]


def failed_notes(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each annotator of whose verdicts some failed.

    Args:
        facts: Node name -> what it counted.
    """
    return [
        f"{fact['failed']} of {fact['verdicts']} verdicts of {_who(name)} failed: what they were on counts as not "
        "judged"
        for name, fact in sorted(facts.items())
        if (name.startswith(ANNOTATED) or name == REANNOTATED) and fact.get("failed")
    ]


def _who(name: str) -> str:
    if name == REANNOTATED:
        return "repair.annotator"
    return f"the annotator {name.removeprefix(ANNOTATED)}"


def _asked(
    node: Node,
    annotator: Annotator,
    known: Known,
    folder: Callable[[str], Path | None],
    sources: Mapping[str, list[str]],
) -> str:
    judge, kind = annotator.judge, OF_KIND[annotator.judge.name]
    priced = isinstance(judge, ChatJudge) and judge.input_price is not None
    together = ", each of all completions of a prompt" if annotator.together else ""
    unpriced = "; what they cost is not counted without input_price and output_price"
    feedback = folder(node.inputs["feedback"])
    if feedback is None:
        doubtful = "doubtful" in node.settings
        number = None if doubtful else _before_feedback(node, annotator, known)
        on = "overall scores in doubt" if doubtful else "all of the feedback"
        unknown = f"{kind} on {on}, how many is not known yet"
        many = f"about {number:,} {kind}{together}" if number else unknown
        later = "; about what they cost is told once the feedback is there (until=feedback)"
        return many + (later if priced else unpriced if isinstance(judge, OpenAIJudge) else "")
    from notus_exp.annotation.expected import expected_asking  # Polars: not for every plan
    from notus_exp.annotation.make_annotations import located_annotator

    settings = from_json(AnnotationsSettings, node.settings)
    expected = expected_asking(feedback, located_annotator(annotator, sources), settings.doubtful)
    told = f"{expected.judgements:,} {kind}{together}"
    if expected.usd is None:
        return told + unpriced * isinstance(judge, OpenAIJudge)
    assert isinstance(judge, ChatJudge)
    told += f", about {dollars(expected.usd)} at most (replies of up to {judge.max_tokens:,} tokens)"
    short = judge.budget is not None and judge.budget < expected.usd
    return f"{told}; the budget of {dollars(judge.budget)} may end it before" if short and judge.budget else told


def _before_feedback(node: Node, annotator: Annotator, known: Known) -> int | None:
    """Return about how many judgements feedback that is not made yet asks for; None where nothing tells."""
    sizes = amounts.completions_of(node, known)
    if sizes is None:
        return None
    prompts, each = sizes
    if annotator.together:
        return round(prompts)
    return round(prompts * (2 * comb(round(each), 2) if annotator.pairs else each))


def dollars(usd: float) -> str:
    """Return an amount of USD, as exactly as a reader needs it."""
    return f"${usd:,.0f}" if usd >= 10 else f"${usd:.2f}" if usd >= 0.01 else "1 cent"
