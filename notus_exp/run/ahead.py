"""What can be known before anything is made of what a run needs at its end: endpoints, tables, tasks, stored verdicts.

An endpoint is asked one small question with the run's very settings, and only where answers or verdicts will be asked:
not where artifacts or cached replies are there already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from notus_exp.config.annotator_items import told_of_annotator
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.generation_settings import EndpointGeneration, ServedGeneration
from notus_exp.config.judge_settings import OpenAIJudge, ReplayJudge, RewardModelJudge
from notus_exp.config.made_items import named_writer
from notus_exp.config.schema import Stage
from notus_exp.config.served_command import words
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import ANSWERS, EVENTS, GENERATIONS, VERDICT_CACHE
from notus_exp.disk.hashing import canonical
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import chosen, entrance
from notus_exp.machine.servers import check_program
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.stages.context import Context
from notus_exp.stages.settings import (
    AnnotationsSettings,
    BenchmarksSettings,
    EvaluationSettings,
    GenerationsSettings,
    ResponsesSettings,
    from_json,
    to_json,
)

PAIRED = ("alpaca_eval",)
"""Evaluations whose verdicts are on pairs of answers; the others' are ratings."""

ByKey = Mapping[str, Node]
"""All nodes of a run."""


def look_ahead(job: Job, nodes: Sequence[Node], say: Callable[[str], None]) -> None:
    """Check all of it for the nodes that a run will make.

    Args:
        job: Its nodes are those without an artifact.
        nodes: All nodes of the run.
        say: Shows a line to the user.

    Raises:
        UserError: Naming what is missing, or the setting that mends it.
    """
    by_key = {node.key: node for node in nodes}
    _writers([node for node in job.nodes if node.stage is Stage.responses], job, say)
    _tasks([node for node in job.nodes if node.stage is Stage.benchmarks], job)
    _measuring([node for node in job.nodes if node.stage is Stage.evaluation], nodes, job)
    _answers([node for node in job.nodes if node.stage is Stage.generations], job, by_key, say)
    _verdicts([node for node in job.nodes if node.stage is Stage.judgments], job, by_key, say)
    _annotations([node for node in job.nodes if node.stage is Stage.annotations], job, by_key, say)


def _writers(missing: Sequence[Node], job: Job, say: Callable[[str], None]) -> None:
    """Ask each writer at an endpoint one question, but for those that have answered some already."""
    store, names = ArtifactStore(job.artifacts), [writer.name for writer in job.writers]
    for node in missing:
        settings = from_json(ResponsesSettings, node.settings)
        begun = any(store.partial(node.stage.name, node.key).glob(ANSWERS.format("*")))
        if settings.endpoint_model is None or begun:
            continue
        from notus_exp.making.first_answer import ask_first_answer  # Polars: not for every run

        number = names.index(settings.writer)
        key, writer = named_writer(number), job.writers[number]
        ask_first_answer(settings, writer, key, Ledger(job.ledger), job.budget)
        say(f"{key}.model={writer.model} answers")


def _tasks(missing: Sequence[Node], job: Job) -> None:
    if missing:
        from notus_exp.evaluation.lm_eval.tasks import check_tasks

        asked = from_json(BenchmarksSettings, missing[0].settings).lm_eval
        check_tasks(asked.tasks, job.sources.get("lm_eval.include_path", []))


def _measuring(missing: Sequence[Node], nodes: Sequence[Node], job: Job) -> None:
    """Let the evaluations that need what may be missing measure answers that nobody gave."""
    by_name = {node.name: node for node in nodes}
    for node in missing:
        for spec in chosen(from_json(EvaluationSettings, node.settings)):
            if spec.rehearsed:
                from notus_exp.evaluation.generations import read_questions  # Polars: not for every run

                asked = from_json(GenerationsSettings, by_name[f"generations_{spec.name}"].settings)
                entrance(spec.name).rehearse(read_questions(asked, {}, job.sources), job.sources)


# -------------------------------------------------------------------------------------------------------------- answers
def _answers(missing: Sequence[Node], job: Job, by_key: ByKey, say: Callable[[str], None]) -> None:
    """Ask the endpoint that answers one question of each served model, as it will be asked."""
    endpoint = job.generation
    if isinstance(endpoint, ServedGeneration) and missing:
        check_program(words(endpoint.command, {})[0], "generation.command")
    if not isinstance(endpoint, EndpointGeneration):
        return
    store = ArtifactStore(job.artifacts)
    seen: set[tuple[str, int]] = set()
    for note in _stand_ins(missing, store):
        say(f"note: {note}")
    for node in missing:
        settings = from_json(GenerationsSettings, node.settings)
        model = settings.endpoint_model or ""
        if (model, settings.max_new_tokens) in seen or _made_later(model, store):
            continue
        seen.add((model, settings.max_new_tokens))
        untrained = "policy" in node.inputs and store.find(by_key[node.inputs["policy"]].wanted) is None
        setting = "generation.policy_model" if "policy" in node.inputs else "generation.base_model"
        _ask_model(setting, settings, endpoint, untrained=untrained)
        say(f"{setting}={model} answers")


def _stand_ins(missing: Sequence[Node], store: ArtifactStore) -> list[str]:
    """Say where one served model answers for two: base model and policy, or a policy and one of an earlier run."""
    served = {True: {}, False: {}}  # type: dict[bool, dict[str, str]]
    for node in missing:
        served["policy" in node.inputs][node.settings["endpoint_model"]] = node.inputs.get("policy", "")
    policies, bases = served[True], served[False]
    notes = [
        f"generation.policy_model={model} is generation.base_model too: what they differ by is no effect of training"
        for model in policies
        if model in bases
    ]
    kept = {
        str(manifest.settings.get("endpoint_model"))
        for manifest in store.manifests(Stage.generations.name)
        if "policy" in manifest.inputs
        and manifest.inputs["policy"] != policies.get(str(manifest.settings.get("endpoint_model")))
    }
    return notes + [
        f"generation.policy_model={model} answered for another policy before, whose answers are kept: see to it that "
        "it serves this run's policy now"
        for model in policies
        if model in kept
    ]


def _made_later(model: str, store: ArtifactStore) -> bool:
    """Say whether a served model is named by the folder of an artifact that this run will make."""
    path = Path(model)
    return path.is_absolute() and path.is_relative_to(store.root) and not path.exists()


def _ask_model(setting: str, settings: GenerationsSettings, endpoint: EndpointGeneration, *, untrained: bool) -> None:
    from notus_exp.chat.messages import Unanswered  # with the client: not for every run
    from notus_exp.generation.served import chat_with, endpoint_reached

    async def ask() -> None:
        async with chat_with(settings, endpoint, endpoint_reached(settings, endpoint), settings.temperature) as chat:
            await chat.ask([*system, {"role": "user", "content": "Say hello."}])

    system = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt is not None else []
    named = f"{setting}={settings.endpoint_model} at {endpoint.base_url}"
    later = "; of a policy that is not trained yet: make it with until=policy, serve it, and give the command again"
    try:
        asyncio.run(ask())
    except Unanswered as error:
        hint = error.hint or f"check generation.base_url and {setting}, and that the endpoint is up; nothing was begun"
        raise UserError(f"{named} does not answer a first question: {error.reason}", hint + later * untrained) from None
    except UserError as error:
        raise UserError(f"{setting}: {error.message}", error.hint + later * untrained) from None


# ------------------------------------------------------------------------------------------------------------- verdicts
def _verdicts(missing: Sequence[Node], job: Job, by_key: ByKey, say: Callable[[str], None]) -> None:
    """Ask the judge one question, or look at its files, where verdicts will be wanted."""
    judge = job.judge
    if isinstance(judge, ReplayJudge) and missing:
        from notus_exp.evaluation.judgments import located
        from notus_exp.judging.replay import check_stored

        stored = located(judge, job.sources)
        assert isinstance(stored, ReplayJudge)
        for name in dict.fromkeys(node.settings["evaluation"] for node in missing):
            check_stored(stored, pairs=name in PAIRED)
    if isinstance(judge, RewardModelJudge) and missing:
        from notus_exp.judging.reward_files import check_reward_files

        check_reward_files(judge)
    if not isinstance(judge, OpenAIJudge) or judge.offline:
        return
    wanting = [node for node in missing if not _all_cached(node, job, by_key)]
    if not wanting:
        return
    from notus_exp.judging.first_question import ask_first
    from notus_exp.judging.mock import RATING

    pairs = any(node.settings["evaluation"] in PAIRED for node in wanting)
    ledger = Ledger(job.ledger)
    reply, note = ask_first(judge, judge.parser if pairs else RATING, spent=ledger.usd, on_spent=ledger.add)
    say(f"judge.model={judge.model} answers as {reply.snapshot}")
    if note:
        say(f"note: {note}")


def _annotations(missing: Sequence[Node], job: Job, by_key: ByKey, say: Callable[[str], None]) -> None:
    """Ask each annotator's judge one question, or look at its files; one of the same settings is asked once."""
    seen = set[str]()
    for node in missing:
        annotator = job.annotators[node.settings["name"]]
        judge, key = annotator.judge, annotator.key
        with told_of_annotator(key):
            if isinstance(judge, RewardModelJudge):
                from notus_exp.judging.reward_files import check_reward_files

                check_reward_files(judge)
            if not isinstance(judge, OpenAIJudge) or judge.offline:
                continue
            schema = annotator.in_json and judge.response_format != "none"
            asked = canonical([to_json(judge), schema])
            if asked in seen:
                continue
            seen.add(asked)
            if _annotated_from_cache(node, annotator, job, by_key):
                continue
            from notus_exp.judging.first_question import ask_first
            from notus_exp.judging.mock import RATING

            ledger = Ledger(job.ledger)
            parser = judge.parser if annotator.pairs else RATING
            reply, note = ask_first(judge, parser, spent=ledger.usd, on_spent=ledger.add, schema=schema)
        say(f"{key}.model={judge.model} answers as {reply.snapshot}")
        if note:
            say(f"note: {note}")


def _annotated_from_cache(node: Node, annotator: Annotator, job: Job, by_key: ByKey) -> bool:
    """Say whether every verdict on feedback that is there already can be read from the cache, by reading them so."""
    from notus_exp.annotation import make_annotations  # Polars: not for every run

    store, feedback = ArtifactStore(job.artifacts), by_key[node.inputs["feedback"]]
    if not (job.cache / VERDICT_CACHE).exists() or store.find(feedback.wanted) is None:
        return False
    assert isinstance(annotator.judge, OpenAIJudge)
    offline = replace(annotator, judge=replace(annotator.judge, offline=True))
    with TemporaryDirectory() as folder:
        context = Context(EventWriter(node.name, Path(folder) / EVENTS), job.hardware, job.cache, job.sources)
        context.annotators = {annotator.name: offline}
        inputs = {"feedback": store.path(feedback.stage.name, feedback.key)}
        try:
            make_annotations.run(from_json(AnnotationsSettings, node.settings), inputs, Path(folder), context)
        except UserError:
            return False
    return True


def _all_cached(node: Node, job: Job, by_key: ByKey) -> bool:
    """Say whether every verdict on answers that are there already can be read from the cache, by reading them so."""
    from notus_exp.evaluation.judgments import located  # Polars: not for every run

    assert isinstance(job.judge, OpenAIJudge)
    store = ArtifactStore(job.artifacts)
    answers = by_key[node.inputs["generations"]]
    if not (job.cache / VERDICT_CACHE).exists() or store.find(answers.wanted) is None:
        return False
    judge = replace(job.judge, offline=True)
    with TemporaryDirectory() as folder:
        events = EventWriter(node.name, Path(folder) / EVENTS)
        context = Context(events, job.hardware, job.cache, job.sources, judge=judge)
        try:
            generations = store.path(answers.stage.name, answers.key) / GENERATIONS
            entrance(node.settings["evaluation"]).judge(generations, located(judge, job.sources), context)
        except UserError:
            return False
    return True
