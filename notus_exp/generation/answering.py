"""A model's answers to questions, turn by turn."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.disk import files
from notus_exp.generation.conversation import AnswerTurn, Conversation, Question, to_table
from notus_exp.generation.leniency import STRICT, Leniency
from notus_exp.machine.team import conducts
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings


class Held(NamedTuple):
    """Conversations with their answers, and facts about how these came; see `answer`."""

    conversations: list[Conversation]
    facts: dict[str, Any]


def answer(
    questions: list[Question], settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context
) -> dict[str, Any]:
    """Answer questions and write `generations.parquet`, one row a turn, in the questions' order.

    `prompt_ids` are the templated conversation's tokens, `response_ids` the generated ones with the end token where
    there is one, `tokens` their number without it; an answer without an end token was `truncated`.

    Args:
        questions: What is asked.
        settings: How long and how hot the answers are, and the precision.
        inputs: Artifacts `base_model` and, for a policy's answers, `policy`.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: Device, batch size, events; the endpoint where one answers.

    Returns:
        Facts: prompts, answers, tokens (generated, without end tokens, of the answers of which they are known),
        truncated, seconds (of this attempt); where an endpoint answered also tokens_unknown (answers of which it did
        not tell the tokens) and endpoints (address -> answers), or, of a server of the run's own, engines (program and
        version -> answers).

    Raises:
        UserError: A prompt and its answer are longer than the model reads, or an endpoint does not answer.
    """
    held = hold(questions, settings, inputs, out, context)
    if conducts(context.team):
        to_table(held.conversations).write_parquet(out / files.GENERATIONS)
        tidy(out, context)
    return held.facts


def hold(
    questions: list[Question],
    settings: GenerationsSettings,
    inputs: dict[str, Path],
    out: Path,
    context: Context,
    leniency: Leniency = STRICT,
) -> Held:
    """Answer questions, turn by turn; what is finished is kept at once, so a killed attempt goes on where it was.

    Args:
        questions: As of `answer`, as all that follows.
        settings: Likewise.
        inputs: Likewise.
        out: Likewise; `tidy` takes away what was kept, once the answers are written.
        context: Likewise.
        leniency: Whether some questions may stay without an answer, and who pays.

    Raises:
        UserError: As of `answer`; or there is no money left for an answer.
    """
    start = time.monotonic()
    context.events.keep(0)  # nothing here is worth keeping: what lies there is nobody's
    if settings.endpoint_model is None:
        from notus_exp.generation.local import local_answers  # imports torch: not where an endpoint answers

        answer_turn: AnswerTurn = local_answers(settings, inputs, out, context, lenient=leniency.some_may_lack)
    else:
        from notus_exp.generation.served import served_answers

        answer_turn = served_answers(settings, inputs, out, context, leniency)
    conversations = [Conversation(question, []) for question in questions]
    for turn in range(1, max((len(question.turns) for question in questions), default=0) + 1):
        going_on = [one for one in conversations if len(one.question.turns) >= turn]
        answers = answer_turn(turn, going_on)
        for one in going_on:
            one.answers.append(answers[one.question.prompt_id])
    given = [one for conversation in conversations for one in conversation.answers]
    served: dict[str, Any] = {}
    if settings.endpoint_model is not None:
        addresses = Counter(one.endpoint for one in given)
        served["tokens_unknown"] = sum(one.tokens is None for one in given)
        by = "endpoints" if settings.engine is None else "engines"
        served[by] = {address: count for address, count in sorted(addresses.items()) if address}
    return Held(
        conversations,
        {
            **served,
            "prompts": len(questions),
            "answers": len(given),
            "tokens": sum(one.tokens or 0 for one in given),
            "truncated": sum(one.truncated for one in given),
            "seconds": round(time.monotonic() - start, 3),
        },
    )


def tidy(out: Path, context: Context) -> None:
    """Take away what was kept of the answers while they came, and end the server that may read it."""
    for left in out.glob(files.ANSWERS.format("*")):
        left.unlink()
    for folder in out.glob(f"{files.MERGED}*"):
        if context.servers:
            context.servers.end()  # which reads it
        shutil.rmtree(folder)
