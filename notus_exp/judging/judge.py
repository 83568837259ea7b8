"""Preferring and rating answers: one function for each, whoever the judge is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise, starmap
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.chat.messages import Reply
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import ChatJudge, Judge, ReplayJudge, RewardModelJudge
from notus_exp.disk.database import Say, to_stderr
from notus_exp.disk.hashing import uniform
from notus_exp.judging import mock, replay
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.chat_models import JudgingSetting, ask_model, chat_model, readable, thinks_aloud
from notus_exp.judging.parsing import ParsedVerdict, parse_comparison, parse_grading
from notus_exp.judging.spending import cost_of
from notus_exp.judging.templates import (
    RubricTemplate,
    comparison_messages,
    grading_messages,
    load_comparison_template,
    load_grading_templates,
    rubric_messages,
)
from notus_exp.judging.verdicts import (
    MODEL_FIRST,
    REFERENCE_FIRST,
    AnswerPair,
    Grading,
    OnProgress,
    OnSpent,
    Prompted,
    Verdict,
    failures_of,
)

DRAW = 1.5


class Judged(NamedTuple):
    """Verdicts in the order of what was judged, and facts for the manifest.

    Attributes:
        verdicts: One a request: of a pair in both orders there are two, next to each other.
        facts: verdicts, failed; of chat models also what `asking.Answered` and `ask_again` have; of pairs also draws,
            inconsistent (pairs whose two orders name different winners) and first_shown_preferred (share of the
            verdicts with an order and a winner in which the answer shown first wins; None where there is none).
    """

    verdicts: list[Verdict]
    facts: dict[str, Any]


def prefer(
    pairs: Sequence[AnswerPair],
    judge: Judge,
    cache_path: Path,
    on_progress: OnProgress | None = None,
    *,
    hardware: Hardware | None = None,
    spent: float = 0.0,
    on_spent: OnSpent | None = None,
    say: Say = to_stderr,
) -> Judged:
    """Judge pairs of answers.

    Args:
        pairs: What is judged, n of them.
        judge: Who judges.
        cache_path: The sqlite file with the replies of chat models.
        on_progress: Told (done, total, numbers); see `asking.ask_all`.
        hardware: Where a reward model runs; None for the CPU.
        spent: USD of judge.budget that earlier judgings spent; not in the facts' cost.
        on_spent: Called after each request that may have been paid for; see `verdicts.OnSpent`.
        say: Told of a damaged cache.

    Raises:
        UserError: See `asking.ask_all`, `templates`, `replay` and `reward_model`.
    """
    by_name: dict[str, Callable[[Sequence[AnswerPair], Any, JudgingSetting], Judged]] = {
        "openai": _prefer_by_chat,
        "mock": _prefer_by_chat,
        "replay": _prefer_by_replay,
        "reward_model": _prefer_by_reward,
    }
    setting = JudgingSetting(cache_path, on_progress, hardware, spent=spent, on_spent=on_spent, say=say)
    judged = by_name[judge.name](pairs, judge, setting)
    return Judged(judged.verdicts, _counts(judged.verdicts) | comparison_facts(judged.verdicts) | judged.facts)


def grade(
    gradings: Sequence[Grading],
    judge: Judge,
    cache_path: Path,
    on_progress: OnProgress | None = None,
    *,
    hardware: Hardware | None = None,
    prompts: Path | None = None,
    rubric: RubricTemplate | None = None,
    spent: float = 0.0,
    on_spent: OnSpent | None = None,
    say: Say = to_stderr,
) -> Judged:
    """Rate answers one by one; arguments and errors as for `prefer`.

    Args:
        gradings: What is rated, n of them.
        judge: Who judges.
        cache_path: The sqlite file with the replies of chat models.
        on_progress: Told (done, total, numbers).
        hardware: Where a reward model runs; None for the CPU.
        prompts: FastChat's judge_prompts.jsonl; None for our own prompt.
        rubric: What a chat model is asked in place of these, and on what scale.
        spent: USD of judge.budget that earlier judgings spent.
        on_spent: Called after each request that may have been paid for.
        say: Told of a damaged cache.
    """
    by_name: dict[str, Callable[[Sequence[Grading], Any, JudgingSetting], Judged]] = {
        "openai": _grade_by_chat,
        "mock": _grade_by_chat,
        "replay": _grade_by_replay,
        "reward_model": _grade_by_reward,
    }
    setting = JudgingSetting(cache_path, on_progress, hardware, prompts, spent, on_spent, say, rubric)
    judged = by_name[judge.name](gradings, judge, setting)
    return Judged(judged.verdicts, _counts(judged.verdicts) | judged.facts)


def comparison_facts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Count draws and what the order did; see `Judged`."""
    first_wins = [
        (verdict.value > DRAW) == (verdict.order == MODEL_FIRST)
        for verdict in verdicts
        if verdict.order and verdict.value is not None and verdict.value != DRAW
    ]
    return {
        "draws": sum(verdict.value == DRAW for verdict in verdicts),
        "inconsistent": sum(starmap(_contradict, pairwise(verdicts))),
        "first_shown_preferred": sum(first_wins) / len(first_wins) if first_wins else None,
    }


def _contradict(one: Verdict, other: Verdict) -> bool:
    """Do two neighbours judge one pair in its two orders and name different winners?"""
    if (one.prompt_id, one.order, other.order) != (other.prompt_id, REFERENCE_FIRST, MODEL_FIRST):
        return False
    return one.value is not None and other.value is not None and (one.value - DRAW) * (other.value - DRAW) < 0


def orders(pair: AnswerPair, both: bool) -> tuple[str, ...]:
    """Return the orders to show a pair in: both, or one that a hash of the prompt decides."""
    if both:
        return (REFERENCE_FIRST, MODEL_FIRST)
    [draw] = uniform([pair.prompt_id], 0, "judge order")
    return (REFERENCE_FIRST,) if draw < 0.5 else (MODEL_FIRST,)


def _counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {"verdicts": len(verdicts), "failed": failures_of(verdicts)}


# ---------------------------------------------------------------------------------------------------------- chat models
def _prefer_by_chat(pairs: Sequence[AnswerPair], judge: ChatJudge, setting: JudgingSetting) -> Judged:
    template = load_comparison_template(judge.parser, Path(judge.template) if judge.template else None)
    prompted = [
        Prompted(pair.prompt_id, 1, order, comparison_messages(pair, order, template))
        for pair in pairs
        for order in orders(pair, judge.both_orders)
    ]
    return _chat(prompted, judge, setting, judge.parser)


def _grade_by_chat(gradings: Sequence[Grading], judge: ChatJudge, setting: JudgingSetting) -> Judged:
    templates, rubric = load_grading_templates(setting.prompts), setting.rubric
    prompted = [
        Prompted(
            grading.prompt_id,
            grading.turn,
            "",
            rubric_messages(grading, rubric) if rubric else grading_messages(grading, templates),
        )
        for grading in gradings
    ]
    return _chat(prompted, judge, setting, mock.RATING)


def _chat(prompted: Sequence[Prompted], judge: ChatJudge, setting: JudgingSetting, parser: str) -> Judged:
    def read(place: int, reply: Reply) -> float:
        return float(_read(reply, judge, parser, setting.scale).value is not None)

    messages = [request.messages for request in prompted]
    model = chat_model(judge, parser, setting.scale)
    with ReplyCache(setting.cache_path, setting.say) as cache:
        answered = asyncio.run(ask_model(messages, judge, model, cache, setting, read))
    verdicts = [
        _verdict(request, reply, judge, parser, setting.scale)
        for request, reply in zip(prompted, answered.replies, strict=True)
    ]
    return Judged(verdicts, answered.facts)


def _verdict(request: Prompted, reply: Reply, judge: ChatJudge, parser: str, scale: tuple[float, float]) -> Verdict:
    parsed = _read(reply, judge, parser, scale)
    value, reason = _mirrored(parsed) if request.order == MODEL_FIRST else parsed
    return Verdict(
        request.prompt_id,
        request.turn,
        request.order,
        value,
        reason,
        reply.text,
        reply.snapshot,
        reply.prompt_tokens,
        reply.completion_tokens,
        cost_of(judge, reply.prompt_tokens, reply.completion_tokens),
    )


def _read(reply: Reply, judge: ChatJudge, parser: str, scale: tuple[float, float]) -> ParsedVerdict:
    """Return the verdict that a reply holds; where the judge is known to think aloud, only behind its thoughts.

    A reply with thoughts where none are expected holds none, whatever the parser: what a thought names is no verdict.
    """
    found = readable(reply, judge)
    if isinstance(found, str):
        return ParsedVerdict(None, found)
    parsed = parse_grading(found, scale) if parser == mock.RATING else parse_comparison(found, parser)
    if thinks_aloud(reply, judge):
        reason = parsed.reason or "a verdict among thoughts is none"
        return ParsedVerdict(None, f"{reason} (the reply thinks: judge.thinking=strip reads what follows)")
    return parsed


def _mirrored(parsed: ParsedVerdict) -> ParsedVerdict:
    """Turn "the answer shown first" into the model: 1 and 2 change places."""
    return parsed if parsed.value is None else ParsedVerdict(3 - parsed.value)


# --------------------------------------------------------------------------------------------------------- other judges
def _prefer_by_replay(pairs: Sequence[AnswerPair], judge: ReplayJudge, setting: JudgingSetting) -> Judged:
    return Judged(replay.prefer(pairs, judge), {})


def _grade_by_replay(gradings: Sequence[Grading], judge: ReplayJudge, setting: JudgingSetting) -> Judged:
    return Judged(replay.grade(gradings, judge), {})


def _prefer_by_reward(pairs: Sequence[AnswerPair], judge: RewardModelJudge, setting: JudgingSetting) -> Judged:
    from notus_exp.judging import reward_model  # imports torch, which nobody else here needs

    return Judged(reward_model.prefer(pairs, judge, setting.hardware, setting.on_progress), {})


def _grade_by_reward(gradings: Sequence[Grading], judge: RewardModelJudge, setting: JudgingSetting) -> Judged:
    from notus_exp.judging import reward_model  # imports torch, which nobody else here needs

    return Judged(reward_model.grade(gradings, judge, setting.hardware, setting.on_progress), {})
