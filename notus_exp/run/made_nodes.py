"""The nodes of data that is made here: its prompts, each writer's answers, their table, its ratings, and the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.made_settings import Writer, annotators_of, own_writers, writers_of
from notus_exp.config.precisions import working_precision
from notus_exp.config.schema import Config, Stage
from notus_exp.disk.hashing import digest
from notus_exp.making.principle_texts import told_of_principles
from notus_exp.run.curation_nodes import annotation_settings
from notus_exp.run.evaluation_nodes import NOISE
from notus_exp.run.nodes import Made, NodeRow, Sources
from notus_exp.stages.settings import (
    ANNOTATED,
    INSTRUCTIONS,
    WRITTEN,
    BaseModelSettings,
    FeedbackSettings,
    ResponsesSettings,
    keyed,
)

SEEDS = 2**32


def made_nodes(config: Config, sources: Sources, number: int = 1) -> list[NodeRow]:
    """Return what makes the node `feedback` of `data=made` in a round, and that itself."""
    made = config.data
    assert isinstance(made, MadeFeedback)
    read = FeedbackSettings(keyed(made.prompts), sources.data_digest, list(sources.source_digests))
    rows: list[NodeRow] = [(INSTRUCTIONS, Stage.feedback, read, {})]
    answers: dict[str, str | Made] = {INSTRUCTIONS: INSTRUCTIONS}
    for writer in sorted(writers_of(made).values(), key=lambda one: not one.loads_model):  # one worker for all models
        model = _base_of(writer, config, sources)
        if model not in (None, "base_model"):
            rows.append((str(model), Stage.base_model, BaseModelSettings(_model(writer), _digest(writer, sources)), {}))
        uses: dict[str, str | Made] = {INSTRUCTIONS: INSTRUCTIONS}
        if model:
            uses["base_model"] = model
        name = f"{WRITTEN}{writer.name}"
        rows.append((name, Stage.responses, _responses_settings(writer, config, number), uses))
        answers[name] = name
    table = FeedbackSettings(keyed(made), sources.data_digest)
    rows.append(("answers", Stage.feedback, table, answers))
    rated: dict[str, str | Made] = {"answers": "answers"}
    for one in annotators_of(made):
        name = f"{ANNOTATED}{one.name}"
        asked = annotation_settings(one, sources.annotator_digests.get(one.name, {}))
        rows.append((name, Stage.annotations, asked, {"feedback": "answers"}))
        rated[name] = name
    return [*rows, ("feedback", Stage.feedback, table, rated)]


def reads_run_model(config: Config) -> bool:
    """Say whether the run's own base model is among the writers."""
    return bool(own_writers(config.data))


def writer_model_name(writer: str) -> str:
    """Return the name of the node of a writer's own model."""
    return f"base_model_{writer}"


def _base_of(writer: Writer, config: Config, sources: Sources) -> str | None:
    """Return the node of the model by which a writer answers; None where none of this process does."""
    if not writer.loads_model:
        return None
    if writer.base is None:
        return "base_model"
    own = keyed(BaseModelSettings(writer.base, _digest(writer, sources)))
    same = own == keyed(BaseModelSettings(config.model, sources.model_digest))
    return "base_model" if same else writer_model_name(writer.name)


def _model(writer: Writer) -> Any:
    assert writer.base is not None
    return writer.base


def _digest(writer: Writer, sources: Sources) -> str | None:
    return sources.writer_digests.get(writer.name)


def _responses_settings(writer: Writer, config: Config, number: int) -> ResponsesSettings:
    made = config.data
    assert isinstance(made, MadeFeedback)
    model = writer.base or config.model
    loads, simulated = writer.loads_model, writer.simulated is not None
    return ResponsesSettings(
        writer=writer.name,
        draw={
            "writers": sorted(writers_of(made)),
            "per_prompt": made.per_prompt,
            "seed": made.seed,
            "max_prompts": made.max_prompts,
            **_part(config, number),
        },
        principles={} if simulated else made.principles,
        told={} if simulated else told_of_principles(made.principles),
        seed=_seed(writer, made.seed, number),
        temperature=None if simulated else writer.temperature,
        max_new_tokens=0 if simulated else writer.max_new_tokens,
        system_prompt=model.system_prompt if loads else None,
        template_date=model.template_date if loads else None,
        precision=working_precision(config.dpo) if loads else "",
        noise=NOISE if loads else 1,
        endpoint_model=writer.model if writer.at_endpoint else None,
        token_limit_parameter=writer.token_limit_parameter,
        thinking=writer.thinking,
        skill=writer.simulated,
        world=keyed(made.prompts) if simulated else None,
    )


def _part(config: Config, number: int) -> dict[str, Any]:
    """Return what of a draw says which part of the prompts a round answers; nothing of the first where it is all."""
    rounds = config.rounds
    parts = rounds.number if rounds.prompts == "new" else 1
    if number == 1 and parts == 1:
        return {}
    split = replace(config.split, folds=None, fold=None)  # a fold moves the pairs, and nothing that is held out
    return {"part": {"round": number, "parts": parts, "split": keyed(split)}}


def _seed(writer: Writer, seed: int, number: int) -> int | None:
    """Return the seed of a writer's sampling in a round; None where none is sent.

    It is of the data's seed, the writer's own and its name, and of every round but the first of its number.
    """
    if writer.seed is None:
        return None
    later = [number] if number > 1 else []
    return int(digest([seed, writer.seed, writer.name, *later])[:8], 16) % SEEDS
