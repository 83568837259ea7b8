"""An OpenAI-compatible endpoint answers: vLLM, transformers serve, llama.cpp, whatever serves base model and policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from notus_exp.chat.messages import Unanswered
from notus_exp.chat.openai_chat import OpenAIChat
from notus_exp.chat.thinking import after_thinking
from notus_exp.chat.waiting import Pause
from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.disk import files
from notus_exp.disk.json_lines import append_line, keep_lines, opened_line, read_lines, sealed_line
from notus_exp.errors import UserError
from notus_exp.generation.conversation import Answer, AnswerTurn, Conversation
from notus_exp.reporting.texts import many
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings

AGAIN = "the answers that came are kept: the same command asks only for the missing ones"


def served_answers(settings: GenerationsSettings, out: Path, context: Context) -> AnswerTurn:
    """Return the function that answers turns through the endpoint of the config group `generation`.

    Each answer is kept at once; what an earlier attempt got is not asked again. Token ids are not known here.

    Raises:
        UserError: Some requests were not answered after all retries; the others are kept.
    """
    endpoint = context.generation
    assert isinstance(endpoint, EndpointGeneration), "the plan names an endpoint's model"

    def answer_turn(turn: int, conversations: list[Conversation]) -> dict[str, Answer]:
        path = out / files.ANSWERS.format(turn)
        keep_lines(path)
        made_from = {one.question.prompt_id: [out.name, one.messages()] for one in conversations}
        known = _read(path, made_from, context.events.say)
        missing = [one for one in conversations if one.question.prompt_id not in known]
        context.events.progress(len(conversations) - len(missing), len(conversations))
        failures = asyncio.run(_ask_all(settings, endpoint, turn, missing, path, context, len(conversations)))
        if failures:
            first = failures[0]
            raise UserError(
                f"{len(failures)} of {len(conversations)} prompts were not answered by {endpoint.base_url}: "
                f"{first.reason}",
                f"{first.hint}; {AGAIN}" if first.hint else AGAIN,
            )
        return {prompt_id: Answer(*fields) for prompt_id, fields in _read(path, made_from).items()}

    return answer_turn


async def _ask_all(
    settings: GenerationsSettings,
    endpoint: EndpointGeneration,
    turn: int,
    missing: list[Conversation],
    path: Path,
    context: Context,
    total: int,
) -> list[Unanswered]:
    """Ask for the missing answers, keeping each; return the reasons of those that did not come."""
    slots = asyncio.Semaphore(endpoint.concurrency)
    failures: list[Unanswered] = []
    done = total - len(missing)

    async def ask(one: Conversation) -> None:
        nonlocal done
        async with slots:
            messages = one.messages()
            if settings.system_prompt is not None:
                messages = [{"role": "system", "content": settings.system_prompt}, *messages]
            try:
                reply = await clients[one.question.temperature].ask(messages)
            except Unanswered as error:
                failures.append(error)
                return
        truncated = reply.finish_reason == "length"
        text = after_thinking(reply.text, cut=truncated) if settings.thinking == "strip" else reply.text
        # an answer that ends within its thinking is empty, and counts as truncated
        answer: list[Any] = [text or "", reply.completion_tokens, truncated or text is None, [], [], reply.endpoint]
        made_from = [path.parent.name, one.messages()]
        append_line(path, sealed_line({one.question.prompt_id: answer}, made_from))
        done += 1
        context.events.progress(done, total)

    pause = Pause(endpoint.base_url, endpoint.max_wait, "generation.max_wait")
    clients = {
        temperature: chat_with(settings, endpoint, temperature, pause)
        for temperature in {one.question.temperature for one in missing}
    }
    try:
        for client in clients.values():
            await client.__aenter__()
        await asyncio.gather(*(ask(one) for one in missing))
    finally:
        for client in clients.values():
            await client.__aexit__(None, None, None)
    return failures


def chat_with(
    settings: GenerationsSettings, endpoint: EndpointGeneration, temperature: float, pause: Pause | None = None
) -> OpenAIChat:
    """Return the client that asks as the settings say.

    Args:
        settings: Of the answers; they name an endpoint's model.
        endpoint: How it is reached.
        temperature: Of the question, where one is sent.
        pause: Shared by all clients of the endpoint; None for one of its own.
    """
    assert settings.endpoint_model is not None
    return OpenAIChat(
        settings.endpoint_model,
        base_url=endpoint.base_url,
        api_key_env=endpoint.api_key_env,
        timeout=endpoint.timeout,
        max_retries=endpoint.max_retries,
        max_tokens=settings.max_new_tokens,
        temperature=temperature if settings.sent_temperature else None,
        seed=settings.seed if settings.sent_seed else None,
        token_limit_parameter=settings.token_limit_parameter,
        group="generation",
        max_wait=endpoint.max_wait,
        pause=pause,
    )


def _read(
    path: Path, made_from: dict[str, list[Any]], say: Callable[[str], None] = lambda line: None
) -> dict[str, list[Any]]:
    """Return prompt id -> fields of its answer; a line that is damaged has none, so that it is asked again.

    Args:
        path: The file.
        made_from: Prompt id -> what its answer was made from.
        say: Told how many lines are passed over.
    """
    damaged: list[None] = []
    found: dict[str, list[Any]] = {}
    for line in read_lines(path, lambda: damaged.append(None)):
        prompt_id = next(iter(line), "") if isinstance(line, dict) else ""
        answers = opened_line(line, made_from.get(prompt_id))
        if answers is None or list(answers) != [prompt_id] or not _is_answer(answers[prompt_id]):
            damaged.append(None)
        else:
            found |= answers
    if damaged:
        say(
            f"{path}: {many(len(damaged), 'answer is', 'answers are')} damaged, or to another conversation: asked again"
        )
    return found


def _is_answer(fields: object) -> bool:
    """Say whether fields are those of an answer; lines from before the endpoint was noted lack it."""
    kinds = (str, int | None, bool, list, list, str)
    if not isinstance(fields, list) or len(fields) not in (len(kinds) - 1, len(kinds)):
        return False
    return all(isinstance(field, kind) for field, kind in zip(fields, kinds, strict=False))
