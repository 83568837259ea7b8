"""Asking a chat model, whatever the form of a question: who answers, what is known already, and what is read of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.chat.messages import ChatBackend, Messages, Reply
from notus_exp.chat.openai_chat import OpenAIChat
from notus_exp.chat.thinking import after_thinking, thinks
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import ChatJudge, MockJudge, OpenAIJudge
from notus_exp.disk.database import Say, to_stderr
from notus_exp.judging import constraint_judge, mock
from notus_exp.judging.asking import Answered, ask_all
from notus_exp.judging.asking_again import ask_again
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.parsing import SCALE
from notus_exp.judging.templates import RubricTemplate
from notus_exp.judging.verdicts import OnProgress, OnSpent

AMONG_THOUGHTS = "a verdict among thoughts is none (the reply thinks: judge.thinking=strip reads what follows)"


class JudgingSetting(NamedTuple):
    """How a judging runs, whatever is judged and whoever judges."""

    cache_path: Path
    on_progress: OnProgress | None
    hardware: Hardware | None = None
    prompts: Path | None = None
    spent: float = 0.0
    on_spent: OnSpent | None = None
    say: Say = to_stderr
    rubric: RubricTemplate | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """The least and the best rating."""
        return self.rubric.scale if self.rubric else SCALE


class ChatModel(NamedTuple):
    """Who answers, how many log-probs of first tokens it is asked for, and by what schema; None for none."""

    backend: AbstractAsyncContextManager[ChatBackend]
    top_logprobs: int | None
    schema: dict[str, Any] | None = None


def chat_model(
    judge: ChatJudge, parser: str, scale: tuple[float, float] = SCALE, schema: dict[str, Any] | None = None
) -> ChatModel:
    """Return who answers for a judge.

    Args:
        judge: The judge.
        parser: How its replies are read.
        scale: The least and the best rating.
        schema: The form of a reply, for an endpoint that takes one.
    """
    by_name: dict[str, Callable[[Any], ChatModel]] = {
        "openai": lambda judge: openai_model(judge, parser, schema),
        "mock": lambda judge: _mock_model(judge, parser, scale),
    }
    return by_name[judge.name](judge)


def openai_model(judge: OpenAIJudge, parser: str, schema: dict[str, Any] | None = None) -> ChatModel:
    """Return who answers at the judge's endpoint, asked for log-probs where the parser reads them."""
    top_logprobs = judge.top_logprobs if parser == "logprobs" else None
    backend = OpenAIChat(
        judge.model,
        base_url=judge.base_url,
        api_key_env=judge.api_key_env,
        timeout=judge.timeout,
        max_retries=judge.max_retries,
        max_tokens=judge.max_tokens,
        temperature=judge.temperature,
        seed=judge.seed,
        top_logprobs=top_logprobs,
        token_limit_parameter=judge.token_limit_parameter,
        max_wait=judge.max_wait,
        body={"response_format": schema} if schema else None,
    )
    return ChatModel(backend, top_logprobs, schema)


def _mock_model(judge: MockJudge, parser: str, scale: tuple[float, float]) -> ChatModel:
    top_logprobs = mock.TOP_LOGPROBS if parser == "logprobs" else None
    of_verdicts: dict[str, Callable[[], ChatBackend]] = {
        "hash": lambda: mock.MockChat(parser, scale),
        "constraints": lambda: constraint_judge.ConstraintChat(parser, scale),
    }
    return ChatModel(nullcontext(of_verdicts[judge.verdicts_by]()), top_logprobs)


async def ask_model(
    messages: Sequence[Messages],
    judge: ChatJudge,
    model: ChatModel,
    cache: ReplyCache,
    setting: JudgingSetting,
    read: Callable[[int, Reply], float],
) -> Answered:
    """Return the replies to questions; those that do not hold all that is asked for are asked again as the judge says.

    Args:
        messages: The questions, n of them.
        judge: Who is asked.
        model: Who answers for it.
        cache: Where replies are kept.
        setting: How the judging runs.
        read: Which share of what is asked for the reply to the question at a place holds, in [0, 1].
    """

    async def ask(places: list[int], again: int, spent: float) -> Answered:
        return await ask_all(
            [messages[place] for place in places],
            judge,
            backend,
            cache,
            setting.on_progress,
            top_logprobs=model.top_logprobs,
            schema=model.schema,
            again=again,
            spent=setting.spent + spent,
            on_spent=setting.on_spent,
        )

    async with model.backend as backend:
        again = judge.ask_again if isinstance(judge, OpenAIJudge) else 0
        return await ask_again(ask, len(messages), again, read)


def readable(reply: Reply, judge: ChatJudge) -> Reply | str:
    """Return what of a reply is read, or the reason why nothing is: of a judge known to think aloud what follows that.

    Args:
        reply: What came.
        judge: Whose it is.
    """
    if reply.refused:
        return f"the endpoint refuses this prompt: {reply.refused}"
    strip = isinstance(judge, OpenAIJudge) and judge.thinking == "strip"
    cut = reply.finish_reason == "length"
    text = after_thinking(reply.text, cut=cut) if strip else reply.text
    if text is None:
        return f"the reply ends within its thinking{' (cut at max_tokens)' * cut}"
    return reply._replace(text=text)


def thinks_aloud(reply: Reply, judge: ChatJudge) -> bool:
    """Say whether a reply has thoughts where none are expected: what a thought names is no verdict."""
    return not (isinstance(judge, OpenAIJudge) and judge.thinking == "strip") and thinks(reply.text)
