"""Stage `responses`: the answers of one writer of `data=made` to the prompts that drew it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.made_items import named_writer
from notus_exp.config.made_settings import Writer
from notus_exp.config.told_as import told_as
from notus_exp.disk import files
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.feedback.made_table import RESPONSES_SCHEMA, asked_prompts
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.generation.answering import hold, tidy
from notus_exp.generation.conversation import Answer, Question
from notus_exp.generation.leniency import Leniency
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.purse import Purse
from notus_exp.judging.spending import Spending
from notus_exp.machine.team import conducts
from notus_exp.making.drawn import drawn
from notus_exp.making.payment import KeptAnswers, WriterPrices
from notus_exp.making.simulated_writing import simulated_answers
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings, ResponsesSettings

MADE = "made"
"""Stands in the settings of answers in an evaluation's place."""
_OF_OTHERS = re.compile(rf"\b(?:generation|evaluation\.{MADE})\.(?=[a-z_]+\b)")
"""What begins the settings that answering speaks of."""
_OTHER_REMEDIES = {
    "the evaluation's max_new_tokens": "{key}.max_new_tokens",
    "generation.base_model and generation.policy_model": "{key}.model",
    "set model.system_prompt=null": "write 'data.principles={{any: {{none: 1.0}}}}', which tells the writers nothing",
}
"""Remedies of an endpoint's refusals, as they are said of an evaluation's answers -> those of a writer."""


def run(settings: ResponsesSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write responses.parquet (feedback/made_table.py), one row a prompt that the writer answers.

    Each answer is kept as it comes: a killed attempt goes on where it was. Those of endpoints are in the cache of
    replies as well, where other runs find them: more prompts, or another writer, cost what is new.

    Args:
        settings: Who answers, which prompts, and told what.
        inputs: `instructions`; where a model of this process answers also `base_model`.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: `writers` says how an endpoint is reached and paid.

    Returns:
        Facts of `generation.answering.answer`, with prompts that were asked; empty (answers without text), refused
        (prompts without an answer) and, of an endpoint, from_cache (answers), and of what was asked in this attempt
        discarded, prompt_tokens, completion_tokens, cost, cost_unknown_requests and cost_reserved (see
        `judging.asking.Answered`).

    Raises:
        UserError: An endpoint does not answer, or there is no money left; what came is kept.
    """
    prompts = drawn(asked_prompts(inputs["instructions"]), settings)
    facts: dict[str, Any]
    if settings.skill is not None and settings.world is not None:
        made = simulated_answers(prompts, settings.world, settings.skill, settings.seed or 0)
        rows, facts = made, {"prompts": prompts.height, "answers": prompts.height}
        context.events.progress(prompts.height, prompts.height)
    else:
        rows, facts = _answered(prompts, settings, inputs, out, context)
    table = _table(prompts, rows)
    if conducts(context.team):
        table.write_parquet(out / files.RESPONSES, compression="zstd")
        tidy(out, context)
    refused = table.filter(pl.col("refused") != "").height
    empty = table.filter((pl.col("refused") == "") & (pl.col("response").str.strip_chars() == "")).height
    return {**facts, "empty": empty, "refused": refused}


def _table(prompts: pl.DataFrame, rows: list[dict[str, Any]]) -> pl.DataFrame:
    nothing: dict[str, Any] = {"response": "", "tokens": None, "truncated": False, "refused": "", "quality": None}
    said = pl.DataFrame([nothing | row for row in rows], schema={name: RESPONSES_SCHEMA[name] for name in nothing})
    asked = prompts.select("prompt_id", "place", "principle", "system_prompt")
    return pl.concat([asked, said], how="horizontal").select(*RESPONSES_SCHEMA).cast(RESPONSES_SCHEMA)


def _answered(
    prompts: pl.DataFrame, settings: ResponsesSettings, inputs: dict[str, Path], out: Path, context: Context
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the answers of a model, of this process or of an endpoint, and facts about them."""
    writer = context.writers[settings.writer]
    questions, asked = _questions(prompts, settings), asked_as(settings)
    with told_of_writer(named_writer(list(context.writers).index(settings.writer))):
        if settings.endpoint_model is None:
            model = {"base_model": inputs["base_model"]}
            held = hold(questions, asked, model, out, context, Leniency(some_may_lack=True))
            return [_row(one.answers[0]) for one in held.conversations], held.facts
        purse = purse_of(writer, settings, context.ledger, context.budget)
        with ReplyCache(context.cache / files.VERDICT_CACHE, context.events.say) as cache:
            payer = KeptAnswers(purse, cache, settings)
            asking = replace(context, generation=endpoint_of(writer, settings))
            held = hold(questions, asked, {}, out, asking, Leniency(True, payer))
    spent = purse.spending
    paid = {
        "from_cache": payer.from_cache,
        "discarded": purse.discarded,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "cost": spent.cost,
        "cost_unknown_requests": spent.unknown,
        "cost_reserved": spent.held,
    }
    return [_row(one.answers[0]) for one in held.conversations], held.facts | paid


def _row(answer: Answer) -> dict[str, Any]:
    said = {"response": answer.response, "tokens": answer.tokens, "truncated": answer.truncated}
    return {"tokens": 0, "refused": answer.refused} if answer.refused else said


def _questions(prompts: pl.DataFrame, settings: ResponsesSettings) -> list[Question]:
    temperature = 0.0 if settings.temperature is None else settings.temperature
    return [
        Question(
            row["prompt_id"],
            (row["instruction"],),
            temperature,
            before=tuple((turn["role"], turn["content"]) for turn in row.get(CONTEXT) or ()),
            system=row["system_prompt"] if row["principle"] else None,
        )
        for row in prompts.iter_rows(named=True)
    ]


def asked_as(settings: ResponsesSettings) -> GenerationsSettings:
    """Return the settings by which answers are made, as those to an evaluation's prompts are."""
    return GenerationsSettings(
        evaluation=MADE,
        chosen={},
        seed=settings.seed or 0,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature or 0.0,
        temperatures={},
        system_prompt=settings.system_prompt,
        precision=settings.precision,
        endpoint_model=settings.endpoint_model,
        template_date=settings.template_date,
        token_limit_parameter=settings.token_limit_parameter,
        sent_temperature=None if settings.temperature is None else "evaluation",
        sent_seed=None if settings.seed is None else "prompt",
        thinking=settings.thinking,
        noise=settings.noise,
    )


def endpoint_of(writer: Writer, settings: ResponsesSettings) -> EndpointGeneration:
    """Return how a writer's endpoint is asked."""
    assert writer.base_url is not None and settings.endpoint_model is not None
    return EndpointGeneration(
        name="openai",
        concurrency=writer.concurrency,
        timeout=writer.timeout,
        max_retries=writer.max_retries,
        max_wait=writer.max_wait,
        token_limit_parameter=settings.token_limit_parameter,
        temperature=None if settings.temperature is None else "evaluation",
        thinking=settings.thinking,
        base_url=writer.base_url,
        api_key_env=writer.api_key_env,
        base_model=settings.endpoint_model,
        policy_model=settings.endpoint_model,
        seed=None,
    )


def purse_of(writer: Writer, settings: ResponsesSettings, ledger: Ledger | None, budget: float | None) -> Purse:
    """Return what pays for a writer: out of what a budget leaves of what the run spent before."""
    prices = WriterPrices(writer.input_price, writer.output_price, settings.max_new_tokens, budget)
    return Purse(Spending(prices, ledger.usd if ledger else 0.0), ledger.add if ledger else None)


@contextmanager
def told_of_writer(key: str) -> Iterator[None]:
    """Let errors that speak of the settings of an endpoint or an evaluation speak of a writer's.

    Raises:
        UserError: The one that was raised within, with the writer's key.
    """
    with told_as(key, _OF_OTHERS):
        try:
            yield
        except UserError as error:
            hint = error.hint
            for said, meant in _OTHER_REMEDIES.items():
                hint = hint.replace(said, meant.format(key=key))
            raise UserError(error.message.replace("judge.budget=", "data.budget="), hint) from error
