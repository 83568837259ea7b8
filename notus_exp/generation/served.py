"""An OpenAI-compatible server answers: an endpoint that is there already, or one that the run starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.chat.messages import OnDiscarded, Reply, Unanswered
from notus_exp.chat.openai_chat import OpenAIChat
from notus_exp.chat.thinking import after_thinking
from notus_exp.chat.waiting import Pause
from notus_exp.config.generation_settings import AskedGeneration, EndpointGeneration, ServedGeneration
from notus_exp.disk import files
from notus_exp.disk.hashing import uniform
from notus_exp.disk.json_lines import append_line, keep_lines, opened_line, read_lines, sealed_line
from notus_exp.errors import UserError
from notus_exp.generation.conversation import Answer, AnswerTurn, Conversation
from notus_exp.generation.leniency import STRICT, Leniency, Payer
from notus_exp.reporting.texts import many
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings

POLL_SECONDS = 0.5
"""How often it is looked whether a server of the run's own still runs."""
AGAIN = "the answers that came are kept: the same command asks only for the missing ones"


SEEDS = 2**31
"""Seeds of requests are below this: every server takes them."""


class _Failure(NamedTuple):
    """A conversation whose answer did not come, and why."""

    conversation: Conversation
    error: Unanswered


class Reached(NamedTuple):
    """A server that can be asked.

    Attributes:
        base_url: Its address.
        api_key_env: Variable that holds its key, where it wants one; "" for none.
        model: The name of the model there.
        body: Further fields of each request.
        engine: Program and version of a server of the run's own; "" of an endpoint.
        ended: Returns how a server of the run's own ended, or None.
    """

    base_url: str
    api_key_env: str
    model: str
    body: dict[str, Any]
    engine: str = ""
    ended: Callable[[], UserError | None] = lambda: None


def endpoint_reached(settings: GenerationsSettings, endpoint: EndpointGeneration) -> Reached:
    """Return an endpoint that is there already."""
    assert settings.endpoint_model is not None
    return Reached(endpoint.base_url, endpoint.api_key_env, settings.endpoint_model, {})


def served_answers(
    settings: GenerationsSettings,
    inputs: dict[str, Path],
    out: Path,
    context: Context,
    leniency: Leniency = STRICT,
) -> AnswerTurn:
    """Return the function that answers turns through the server of the config group `generation`.

    Each answer is kept at once; what an earlier attempt got is not asked again, unless another version of a server of
    the run's own gave it. Such a server is started where something is to be asked. Token ids are not known here.

    Raises:
        UserError: Some requests were not answered after all retries, the server ended, or there is no money left; the
            answers that came are kept.
    """
    asked = context.generation
    assert isinstance(asked, AskedGeneration), "the plan names a served model"
    reach = _reaching(asked, settings, inputs, out, context)

    def answer_turn(turn: int, conversations: list[Conversation]) -> dict[str, Answer]:
        path = out / files.ANSWERS.format(turn)
        keep_lines(path)
        made_from = {one.question.prompt_id: [out.name, one.messages()] for one in conversations}
        known = _read(path, made_from, context.events.say)
        if len(known) < len(conversations):
            reached = reach()
            if reached.engine:
                known = _of_engine(reached.engine, known, context.events.say)
            missing = [one for one in conversations if one.question.prompt_id not in known]
            context.events.progress(len(known), len(conversations))
            failures = asyncio.run(
                _ask_all(settings, asked, reached, turn, missing, path, context, len(conversations), leniency.payer)
            )
            if ended := reached.ended():
                raise UserError(ended.message, f"{ended.hint}\n  {AGAIN}")
            if leniency.payer and leniency.payer.unaffordable is not None:
                lacking = len(conversations) - len(_read(path, made_from))
                raise UserError(
                    f"{leniency.payer.unaffordable}; {lacking} of {len(conversations)} answers are missing",
                    f"raise the budget; {AGAIN}",
                )
            if leniency.some_may_lack:
                failures = _kept_refusals(failures, path, made_from)
            if failures:
                first = failures[0].error
                raise UserError(
                    f"{len(failures)} of {len(conversations)} prompts were not answered by {reached.base_url}: "
                    f"{first.reason}",
                    f"{first.hint}; {AGAIN}" if first.hint else AGAIN,
                )
        return {prompt_id: Answer(*fields) for prompt_id, fields in _read(path, made_from).items()}

    return answer_turn


def _reaching(
    asked: AskedGeneration, settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context
) -> Callable[[], Reached]:
    """Return what makes the server ready to be asked, where it is not yet."""
    if isinstance(asked, EndpointGeneration):
        reached = endpoint_reached(settings, asked)
        return lambda: reached
    assert isinstance(asked, ServedGeneration)

    from notus_exp.generation.engine import Engine  # imports torch: not where an endpoint answers

    engine, body = Engine(settings, inputs, out, context), asked.body

    def start() -> Reached:
        started = engine.start()
        return Reached(started.address, "", started.model, body, started.engine, started.ended)

    return start


def _of_engine(engine: str, known: dict[str, list[Any]], say: Callable[[str], None]) -> dict[str, list[Any]]:
    """Return the answers that the very engine gave: an artifact's are of one."""
    kept = {prompt_id: fields for prompt_id, fields in known.items() if Answer(*fields).endpoint == engine}
    if len(kept) < len(known):
        say(f"{many(len(known) - len(kept), 'answer', 'answers')} of another engine than {engine}: asked again")
    return kept


async def _ask_all(
    settings: GenerationsSettings,
    asked: AskedGeneration,
    reached: Reached,
    turn: int,
    missing: list[Conversation],
    path: Path,
    context: Context,
    total: int,
    payer: Payer | None,
) -> list[_Failure]:
    """Ask for the missing answers, keeping each; return those that did not come, with the reasons.

    Where the server ends meanwhile, or the money, so does the asking.
    """
    slots = asyncio.Semaphore(asked.concurrency)
    failures: list[_Failure] = []
    done = total - len(missing)

    async def ask(one: Conversation) -> None:
        async with slots:
            messages, system = one.messages(), one.system(settings.system_prompt)
            if system is not None:
                messages = [{"role": "system", "content": system}, *messages]

            async def send(on_discarded: OnDiscarded | None = None) -> Reply:
                client = clients[one.question.temperature]
                return await client.ask(messages, on_discarded, seed=_seed(settings, one, turn))

            keep = partial(keep_answer, one)
            try:
                if payer:
                    await payer.pay(messages, send, keep)
                else:
                    keep(await send())
            except Unanswered as error:
                failures.append(_Failure(one, error))

    def keep_answer(one: Conversation, reply: Reply) -> None:
        nonlocal done
        truncated = reply.finish_reason == "length"
        text = after_thinking(reply.text, cut=truncated) if settings.thinking == "strip" else reply.text
        # an answer that ends within its thinking is empty, and counts as truncated
        source = reached.engine or reply.endpoint
        answer: list[Any] = [text or "", reply.completion_tokens, truncated or text is None, [], [], source]
        _keep(path, one, answer, sync=payer is None)  # who pays has put it where it is safe
        done += 1
        context.events.progress(done, total)

    pause = Pause(reached.base_url, asked.max_wait, "generation.max_wait")
    clients = {
        temperature: chat_with(settings, asked, reached, temperature, pause)
        for temperature in {one.question.temperature for one in missing}
    }
    try:
        for client in clients.values():
            await client.__aenter__()
        await _unless_ended(asyncio.gather(*(ask(one) for one in missing)), reached)
    finally:
        for client in clients.values():
            await client.__aexit__(None, None, None)
    return failures


def _keep(path: Path, one: Conversation, answer: list[Any], *, sync: bool = True) -> None:
    append_line(path, sealed_line({one.question.prompt_id: answer}, [path.parent.name, one.messages()]), sync=sync)


def _kept_refusals(failures: Sequence[_Failure], path: Path, made_from: dict[str, list[Any]]) -> list[_Failure]:
    """Keep that questions are refused by an endpoint which answers others; return the other failures.

    One that refuses all is asked wrongly: then nothing is kept.
    """
    answered = any(not Answer(*fields).refused for fields in _read(path, made_from).values())
    if not answered:
        return [*failures]
    refused = [failure for failure in failures if failure.error.lasting]
    for one, error in refused:
        _keep(path, one, ["", 0, False, [], [], "", error.reason])
    return [failure for failure in failures if not failure.error.lasting]


async def _unless_ended(asking: asyncio.Future[list[None]], reached: Reached) -> None:
    """Wait for the answers, or for the end of the server, after which none would come."""
    while not (await asyncio.wait([asking], timeout=POLL_SECONDS))[0]:
        if reached.ended():
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            return
    asking.result()


def _seed(settings: GenerationsSettings, one: Conversation, turn: int) -> int | None:
    """Return the seed of a request: of its prompt, the evaluation's seed and the turn alone, as in `decoding`."""
    if settings.sent_seed != "prompt":
        return None
    purpose = "sampling" if turn == 1 else f"sampling/{turn}"
    return int(uniform([one.question.prompt_id], settings.seed, purpose)[0] * SEEDS)


def chat_with(
    settings: GenerationsSettings,
    asked: AskedGeneration,
    reached: Reached,
    temperature: float,
    pause: Pause | None = None,
) -> OpenAIChat:
    """Return the client that asks as the settings say.

    Args:
        settings: Of the answers.
        asked: How the server is asked.
        reached: Where it is, and what it calls the model.
        temperature: Of the question, where one is sent.
        pause: Shared by all clients of the endpoint; None for one of its own.
    """
    return OpenAIChat(
        reached.model,
        base_url=reached.base_url,
        api_key_env=reached.api_key_env,
        timeout=asked.timeout,
        max_retries=asked.max_retries,
        max_tokens=settings.max_new_tokens,
        temperature=temperature if settings.sent_temperature else None,
        seed=settings.seed if settings.sent_seed == "evaluation" else None,
        token_limit_parameter=settings.token_limit_parameter,
        group="generation",
        max_wait=asked.max_wait,
        pause=pause,
        body=reached.body,
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
    """Say whether fields are those of an answer; the last two, where there is nothing to say, may be lacking."""
    kinds = (str, int | None, bool, list, list, str, str)
    if not isinstance(fields, list) or not len(kinds) - 2 <= len(fields) <= len(kinds):
        return False
    return all(isinstance(field, kind) for field, kind in zip(fields, kinds, strict=False))
