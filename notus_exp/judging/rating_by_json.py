"""Rating answers by a judge that replies in JSON: all answers to a prompt in one call, or a critique of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from notus_exp.chat.messages import Reply
from notus_exp.config.judge_settings import ChatJudge, OpenAIJudge
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.chat_models import AMONG_THOUGHTS, JudgingSetting, ask_model, chat_model, readable, thinks_aloud
from notus_exp.judging.json_questions import AnswersToRate, JsonQuestion, ReadBy, json_question, schema_of
from notus_exp.judging.json_replies import ReadEntry, read_reply, unread
from notus_exp.judging.spending import cost_of
from notus_exp.judging.verdicts import NOT_APPLICABLE, Verdict

SCHEMA = "json_schema"
"""Of `judge.response_format`: the schema of a reply is sent."""


class RatedAnswers(NamedTuple):
    """What a judge says of the answers of n questions.

    Attributes:
        verdicts: Of each question's answers in the order shown, `order` being the place there, from "1". The reply is
            in each; tokens and cost of the question are in the first alone, and 0 in the others.
        entries: As they were read, likewise.
        facts: verdicts, failed, not_applicable, unknown_types, and what `asking.Answered` and `ask_again` have.
    """

    verdicts: list[list[Verdict]]
    entries: list[list[ReadEntry]]
    facts: dict[str, Any]


def sends_schema(judge: ChatJudge) -> bool:
    """Say whether the endpoint is told the form of a reply."""
    return isinstance(judge, OpenAIJudge) and judge.response_format == SCHEMA


def rate_by_json(asked: Sequence[AnswersToRate], by: ReadBy, judge: ChatJudge, setting: JudgingSetting) -> RatedAnswers:
    """Ask all questions, those that cannot be read again, and return what is said of each answer.

    Args:
        asked: What is shown, n questions.
        by: What they are asked for.
        judge: Who is asked.
        setting: Where replies are kept, and who is told.

    Raises:
        UserError: See `asking.ask_all`.
    """
    questions = [json_question(shown, by) for shown in asked]
    with ReplyCache(setting.cache_path, setting.say) as cache:
        model = chat_model(judge, by.form, by.scale, schema_of(by) if sends_schema(judge) else None)

        def read(place: int, reply: Reply) -> float:
            entries = _read(reply, questions[place], by, judge)
            return sum(not one.failed for one in entries) / max(1, len(entries))

        messages = [question.messages for question in questions]
        answered = asyncio.run(ask_model(messages, judge, model, cache, setting, read))
    entries = [_read(reply, question, by, judge) for reply, question in zip(answered.replies, questions, strict=True)]
    verdicts = [
        _verdicts(shown, reply, said, judge)
        for shown, reply, said in zip(asked, answered.replies, entries, strict=True)
    ]
    every = [one for said in entries for one in said]
    facts = {
        "verdicts": len(every),
        "failed": sum(one.failed for one in every),
        "not_applicable": sum(one.reason == NOT_APPLICABLE for one in every),
        "unknown_types": sum(one.unknown_types for one in every),
    }
    return RatedAnswers(verdicts, entries, facts | answered.facts)


def _read(reply: Reply, question: JsonQuestion, by: ReadBy, judge: ChatJudge) -> list[ReadEntry]:
    found = readable(reply, judge)
    if isinstance(found, str):
        return unread(found, question.marks)
    if thinks_aloud(reply, judge):
        return unread(AMONG_THOUGHTS, question.marks)
    entries = read_reply(found.text, question.marks, by)
    if reply.finish_reason != "length":
        return entries
    return [one._replace(reason=f"{one.reason} (cut at max_tokens)") if one.failed else one for one in entries]


def _verdicts(shown: AnswersToRate, reply: Reply, said: Sequence[ReadEntry], judge: ChatJudge) -> list[Verdict]:
    read, written = reply.prompt_tokens, reply.completion_tokens
    cost = cost_of(judge, read, written)
    return [
        Verdict(
            shown.prompt_id,
            1,
            str(place),
            entry.value,
            entry.reason,
            reply.text,
            reply.snapshot,
            read if place == 1 or read is None else 0,
            written if place == 1 or written is None else 0,
            cost if place == 1 or cost is None else 0.0,
        )
        for place, entry in enumerate(said, 1)
    ]
