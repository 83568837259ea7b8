"""Whether the settings of `data=made` go together: checked here, once, and relied on by the code that makes it."""

from __future__ import annotations

import math
import re

from notus_exp.config.annotator_settings import RUBRICS
from notus_exp.config.data_settings import MadeFeedback, PromptsAlone, Simulated
from notus_exp.config.judge_checks import check_judge
from notus_exp.config.judge_settings import ChatJudge, OpenAIJudge
from notus_exp.config.made_items import EXAMPLE, named_writer
from notus_exp.config.made_settings import ANY_SOURCE, JUDGE, NO_PRINCIPLE, OVERALL, PRINCIPLES, Writer
from notus_exp.config.ranges import check
from notus_exp.config.schema import Config, Stage
from notus_exp.config.told_as import told_as
from notus_exp.errors import UserError, did_you_mean

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_OF_JUDGE = re.compile(r"\bjudge\.(?=[a-z_]+\b)")


def check_made(config: Config) -> None:
    """Check what `data=made` says together, and that nothing else is asked for what only it has.

    Raises:
        UserError: Naming the key, its value and the remedy.
    """
    data = config.data
    if isinstance(data, PromptsAlone):
        raise UserError(
            "data=prompts has prompts without answers, of which nothing is curated",
            "write data=made 'data.prompts={data: prompts, path: FILE}', which makes the answers",
        )
    if not isinstance(data, MadeFeedback):
        if config.until is Stage.responses:
            raise UserError(f"until=responses, and data={data.name} has its answers", "use until=feedback")
        return
    if data.max_bad_rows:
        hint = "write data.prompts.max_bad_rows=N"
        raise UserError(f"data.max_bad_rows={data.max_bad_rows} is of what is read, the prompts", hint)
    _check_writers(data)
    _check_principles(data.principles)
    _check_judge(data)
    _check_budget(data)
    for annotator in config.annotators:
        if annotator.name in (*data.aspects, OVERALL):
            raise UserError(
                f"annotators: '{annotator.name}' is what {JUDGE} gives already", "give that annotator another name"
            )


def _check_writers(data: MadeFeedback) -> None:
    writers: list[Writer] = data.writers
    if not writers:
        raise UserError("data=made has no writers", EXAMPLE)
    for number, writer in enumerate(writers):
        key = named_writer(number)
        if not _NAME.fullmatch(writer.name):
            hint = "use letters, digits, '.', '-' and '_', at most 64"
            raise UserError(f"{key}.name='{writer.name}' is no name of a writer", hint)
        check(writer, f"{key}.")
        _check_writer(key, writer, data)
    names = [writer.name for writer in writers]
    for number, name in enumerate(names):
        if name in names[:number]:
            first = named_writer(names.index(name))
            raise UserError(f"{named_writer(number)}.name={name} is that of {first} too", "give each a name of its own")
    if data.per_prompt > len(writers):
        raise UserError(
            f"data.per_prompt={data.per_prompt} answers of different writers, and there are {len(writers)}",
            f"add writers, or write data.per_prompt={len(writers)}",
        )


def _check_writer(key: str, writer: Writer, data: MadeFeedback) -> None:
    if writer.simulated is not None and not isinstance(data.prompts, Simulated):
        raise UserError(
            f"{key} is simulated, and the prompts are of data={data.prompts.name}: such a writer knows those of the "
            "simulated world alone",
            "write 'data.prompts={data: simulated}', or give a model or an endpoint",
        )
    for name in ("temperature", "seed"):
        if getattr(writer, name) is None and not writer.at_endpoint:
            raise UserError(
                f"{key}.{name}=null sends none, and only an endpoint is sent any", f"give {key}.{name} a number"
            )
    if (writer.input_price is None) != (writer.output_price is None):
        raise UserError(
            f"{key}.input_price and {key}.output_price go together, and one is missing",
            "give both, in USD per million tokens (0 for what is free), or neither",
        )


def _check_principles(principles: dict[str, dict[str, float]]) -> None:
    if ANY_SOURCE not in principles:
        raise UserError(
            f"data.principles has no '{ANY_SOURCE}', for prompts of every other source",
            f"add it, as '+data.principles.{ANY_SOURCE}={{helpfulness: 1.0}}'",
        )
    for source, weights in principles.items():
        key = f"data.principles.{source}"
        for principle, weight in weights.items():
            if principle not in (*PRINCIPLES, NO_PRINCIPLE):
                hint = did_you_mean(principle, [*PRINCIPLES, NO_PRINCIPLE])
                raise UserError(f"{key}: '{principle}' is no principle", hint)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise UserError(f"{key}.{principle}={weight} is out of range", "a weight is a number of 0 or more")
        if not sum(weights.values()) > 0:
            raise UserError(f"{key} weighs nothing", f"write {{{NO_PRINCIPLE}: 1.0}} where writers are told nothing")


def _check_judge(data: MadeFeedback) -> None:
    unknown = [aspect for aspect in data.aspects if aspect not in (*RUBRICS, *data.rubrics)]
    if unknown or not data.aspects:
        said = f"'{unknown[0]}' is no rubric" if unknown else "there is nothing to rate"
        hint = f"name some of {', '.join(RUBRICS)}, or give a file of your own with +data.rubrics.NAME=FILE"
        raise UserError(f"data.aspects: {said}", hint)
    unused = [aspect for aspect in data.rubrics if aspect not in (*data.aspects, OVERALL)]
    if unused:
        raise UserError(
            f"data.rubrics.{unused[0]} is given, and data.aspects does not name it", "add it to data.aspects"
        )
    if OVERALL in data.aspects:
        raise UserError(f"data.aspects names '{OVERALL}', which the critiques give in any case", "leave it out")
    judge = data.judge
    if not isinstance(judge, ChatJudge):
        raise UserError(
            f"{JUDGE}: judge={judge.name} is not asked by a rubric", f"write '{JUDGE}={{judge: openai, model: NAME}}'"
        )
    if isinstance(judge, OpenAIJudge) and not judge.model:
        raise UserError(
            f"{JUDGE}.model must be given: who rates the answers",
            f"write '{JUDGE}={{judge: openai, model: NAME}}', or {{judge: mock}}, whose ratings mean nothing",
        )
    if judge.template is not None:
        raise UserError(f"{JUDGE}.template is not read: the judge rates by data.aspects", "leave it out")
    with told_as(JUDGE, _OF_JUDGE):
        check_judge(judge, "data=made")


def _check_budget(data: MadeFeedback) -> None:
    """Check that everything which a budget is to hold has a price."""
    if data.budget is None:
        return
    judge = data.judge
    without = [
        named_writer(number)
        for number, writer in enumerate(data.writers)
        if writer.at_endpoint and writer.input_price is None
    ]
    without += [JUDGE] if isinstance(judge, OpenAIJudge) and judge.input_price is None else []
    if without:
        raise UserError(
            f"data.budget={data.budget:g} cannot be kept without the prices of {', '.join(without)}",
            f"add {without[0]}.input_price=USD and {without[0]}.output_price=USD, per million tokens (0 for what is "
            "free)",
        )
