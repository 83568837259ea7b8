"""One small question to a judge before anything is made for it: what its endpoint does not take is told at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from notus_exp.chat.messages import Messages, Reply, Unanswered
from notus_exp.chat.thinking import after_thinking, thinks
from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.disk.files import VERDICT_CACHE
from notus_exp.errors import UserError
from notus_exp.judging.asking import ask_all
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.chat_models import openai_model
from notus_exp.judging.verdicts import OnSpent

QUESTION: Messages = [{"role": "user", "content": "Answer with the one letter m, and nothing else."}]
LETTER_SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "letter",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"letter": {"type": "string"}},
            "required": ["letter"],
            "additionalProperties": False,
        },
    },
}
"""Sent with it where the judge is to send schemas."""


def ask_first(
    judge: OpenAIJudge, parser: str, *, spent: float, on_spent: OnSpent, schema: bool = False
) -> tuple[Reply, str | None]:
    """Ask with the very settings of the judge; return the reply, and what a reader of it should know.

    The question counts against the budget as any other. It is asked anew each time: what a cache holds tells nothing
    of an endpoint.

    Args:
        judge: Who is asked.
        parser: As for verdicts on pairs, or `mock.RATING` where there will be none.
        spent: USD of judge.budget that earlier judgings spent.
        on_spent: Told what this one costs.
        schema: A schema of the reply will be sent, so one is.

    Raises:
        UserError: The endpoint does not answer so that verdicts can be read; with the setting that mends it, where its
            words tell.
    """
    reply = asyncio.run(_ask(judge, parser, spent, on_spent, LETTER_SCHEMA if schema else None))
    named = f"judge.model={judge.model}"
    if parser == "logprobs" and not reply.top_logprobs:
        raise UserError(
            f"{named} answers without log-probs, which judge.parser=logprobs reads",
            "set judge.parser=ranking or judge.parser=letters",
        )
    cut = reply.finish_reason == "length"
    read = after_thinking(reply.text, cut=cut) if judge.thinking == "strip" else reply.text
    if cut and not read:
        raise UserError(
            f"{named} has said nothing to a question that takes one letter after judge.max_tokens={judge.max_tokens}",
            "raise judge.max_tokens: the tokens of a model's thinking count",
        )
    unread = judge.thinking == "none" and thinks(reply.text)
    return reply, f"{named} thinks aloud: judge.thinking=strip reads what follows its thoughts" if unread else None


async def _ask(
    judge: OpenAIJudge, parser: str, spent: float, on_spent: OnSpent, schema: dict[str, Any] | None
) -> Reply:
    model = openai_model(judge, parser, schema)
    with TemporaryDirectory() as folder, ReplyCache(Path(folder) / VERDICT_CACHE) as cache:
        async with model.backend as backend:
            try:
                answered = await ask_all(
                    [QUESTION],
                    judge,
                    backend,
                    cache,
                    top_logprobs=model.top_logprobs,
                    schema=model.schema,
                    spent=spent,
                    on_spent=on_spent,
                )
            except UserError as error:
                if isinstance(error.__cause__, Unanswered):
                    raise _explained(judge, error.__cause__) from None
                raise
    return answered.replies[0]


def _explained(judge: OpenAIJudge, unanswered: Unanswered) -> UserError:
    return UserError(
        f"judge.model={judge.model} at {judge.base_url or 'the default endpoint'} does not answer a first question: "
        f"{unanswered.reason}",
        unanswered.hint or "check judge.base_url and judge.model, and that the endpoint is up; nothing was begun",
    )
