"""A model's answers to questions, turn by turn."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from notus_exp.disk import files
from notus_exp.generation.conversation import AnswerTurn, Conversation, Question, to_table
from notus_exp.machine.team import conducts
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings


def answer(
    questions: list[Question], settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context
) -> dict[str, Any]:
    """Answer questions and write `generations.parquet`, one row a turn, in the questions' order.

    `prompt_ids` are the templated conversation's tokens, `response_ids` the generated ones with the end token where
    there is one, `tokens` their number without it; an answer without an end token was `truncated`. What is finished is
    kept at once, so a killed attempt goes on where it was.

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
    start = time.monotonic()
    context.events.keep(0)  # nothing here is worth keeping: what lies there is nobody's
    if settings.endpoint_model is None:
        from notus_exp.generation.local import local_answers  # imports torch: not where an endpoint answers

        answer_turn: AnswerTurn = local_answers(settings, inputs, out, context)
    else:
        from notus_exp.generation.served import served_answers

        answer_turn = served_answers(settings, inputs, out, context)
    conversations = [Conversation(question, []) for question in questions]
    for turn in range(1, max((len(question.turns) for question in questions), default=0) + 1):
        going_on = [one for one in conversations if len(one.question.turns) >= turn]
        answers = answer_turn(turn, going_on)
        for one in going_on:
            one.answers.append(answers[one.question.prompt_id])
    table = to_table(conversations)
    if conducts(context.team):
        table.write_parquet(out / files.GENERATIONS)
        for left in out.glob(files.ANSWERS.format("*")):
            left.unlink()
        for folder in out.glob(f"{files.MERGED}*"):
            if context.servers:
                context.servers.end()  # which reads it
            shutil.rmtree(folder)
    served: dict[str, Any] = {}
    if settings.endpoint_model is not None:
        addresses = Counter(one.endpoint for conversation in conversations for one in conversation.answers)
        served["tokens_unknown"] = table["tokens"].null_count()
        by = "endpoints" if settings.engine is None else "engines"
        served[by] = {address: count for address, count in sorted(addresses.items()) if address}
    return {
        **served,
        "prompts": len(questions),
        "answers": len(table),
        "tokens": int(table["tokens"].sum()),
        "truncated": int(table["truncated"].sum()),
        "seconds": round(time.monotonic() - start, 3),
    }
