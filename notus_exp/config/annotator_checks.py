"""Whether the items of `annotators` say what they must, and which of them a run asks."""

from __future__ import annotations

from notus_exp.config.annotator_items import EXAMPLE, named_annotator, told_of_annotator
from notus_exp.config.annotator_settings import CRITIQUES, RUBRICS, Annotator
from notus_exp.config.column_names import column_names
from notus_exp.config.curation_settings import Ambiguous
from notus_exp.config.expression_checks import named_columns
from notus_exp.config.judge_checks import check_judge
from notus_exp.config.judge_settings import ChatJudge, Judge, OpenAIJudge, RewardModelJudge
from notus_exp.config.made_settings import every_annotator
from notus_exp.config.ranges import HUB
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_checks import check_column_name
from notus_exp.errors import UserError, did_you_mean

_READ_BY = {
    "rubric": "a judge that is asked in words and rates; a critique goes by a file of yours, or by none",
    "together": "ratings by a rubric, of a judge that is asked in words",
    "form": "a judge that is asked in words and rates each completion",
    "template": "ratings of one completion, and pairs; what is answered in JSON goes by a rubric",
    "scale": "ratings by a template",
}
"""What reads a setting of an item."""


def check_annotators(config: Config) -> None:
    """Check each item of `annotators`, and that there is one where a run ends with the stage `annotations`.

    Raises:
        UserError: Naming the item, its value and the remedy.
    """
    names = column_names(config)
    for number, annotator in enumerate(config.annotators):
        key = named_annotator(number)
        check_column_name(f"{key}.name", annotator.name, annotator.name, names)
        if isinstance(annotator.judge, OpenAIJudge | RewardModelJudge) and not annotator.judge.model:
            raise UserError(f"{key}.model must be given: who annotates", "add model: NAME to that item")
        with told_of_annotator(key):
            check_judge(annotator.judge, annotator.name)
        _check_question(key, annotator)
    _check_reannotation(config)
    _check_schemas(config)
    if config.until is Stage.annotations and not config.annotators:
        raise UserError(
            "until=annotations, and there are no annotators",
            f"{EXAMPLE}, or use until=feedback",
        )


def asked_annotators(config: Config) -> list[Annotator]:
    """Return the annotators that a run asks, by name: those that expressions name or the report is to show.

    A run that ends with the stage `annotations` asks all.
    """
    named = {*named_columns(config)}
    every = config.until is Stage.annotations
    asked = [one for one in config.annotators if every or one.report or one.name in named]
    return sorted(asked, key=lambda annotator: annotator.name)


def reannotator(config: Config) -> Annotator | None:
    """Return the annotator that is asked about overall scores in doubt; None where none is."""
    if config.repair.ambiguous is not Ambiguous.reannotate:
        return None
    return next((one for one in config.annotators if one.name == config.repair.annotator), None)


def needed_annotators(config: Config) -> list[Annotator]:
    """Return the annotators that a run asks, whatever about."""
    again = reannotator(config)
    asked = asked_annotators(config)
    return asked if again is None or again in asked else [*asked, again]


def _check_schemas(config: Config) -> None:
    """Refuse a schema of replies for a judge none of whose replies are in JSON."""
    for number, annotator in enumerate(config.annotators):
        if _sends_schema(annotator.judge) and not annotator.in_json and not _sends_schema(config.judge):
            raise _no_schema(f"{named_annotator(number)}.response_format")
    asked = every_annotator(config.data, config.annotators).values()
    if _sends_schema(config.judge) and not any(one.in_json and _sends_schema(one.judge) for one in asked):
        raise _no_schema("judge.response_format")


def _sends_schema(judge: Judge) -> bool:
    return isinstance(judge, OpenAIJudge) and judge.response_format != "none"


def _no_schema(key: str) -> UserError:
    return UserError(
        f"{key}=json_schema is not read: only ratings of all completions together and critiques are answered in JSON",
        "leave it out, or write together: true or form: critique in an item of annotators",
    )


def _check_reannotation(config: Config) -> None:
    """Check that overall scores in doubt go to an annotator that gives such scores."""
    repair = config.repair
    names = [one.name for one in config.annotators]
    if repair.ambiguous is not Ambiguous.reannotate:
        if repair.annotator is not None:
            raise UserError(f"repair.annotator={repair.annotator} is not read", "it is for repair.ambiguous=reannotate")
        if repair.suspicious is not None and repair.name == "none":
            raise UserError(
                f"repair.suspicious={repair.suspicious:g} is not read", "it is for repair=openbmb or repair=drop"
            )
        return
    if repair.name == "none":
        raise UserError("repair.ambiguous=reannotate, and repair=none", "use repair=openbmb or repair=drop")
    if repair.annotator is None:
        raise UserError(
            "repair.ambiguous=reannotate needs repair.annotator: who is asked anew",
            "name an item: repair.annotator=critic 'annotators=[{name: critic, judge: openai, model: NAME, form: "
            "critique}]'",
        )
    again = reannotator(config)
    if again is None:
        hint = did_you_mean(repair.annotator, names) if names else "add an item of that name to annotators"
        raise UserError(f"repair.annotator={repair.annotator} is no item of annotators", hint)
    if again.form != CRITIQUES:
        raise UserError(
            f"repair.annotator={repair.annotator} gives no overall score", "add form: critique to that annotator"
        )


def _check_question(key: str, annotator: Annotator) -> None:
    """Check that a judge is told what to do, once, and nothing that it does not read."""
    judge = annotator.judge
    in_words = isinstance(judge, ChatJudge)
    template = judge.template if isinstance(judge, ChatJudge) else None
    if annotator.pairs and isinstance(judge, RewardModelJudge):
        raise UserError(
            f"{key}.pairs=true: a reward model scores each completion by itself",
            "leave pairs out: its scores order them",
        )
    if isinstance(judge, ChatJudge) and annotator.pairs and not judge.both_orders:
        raise UserError(f"{key}.both_orders=false: pairs are judged in both orders", "leave it out, or set it to true")
    critique = annotator.form == CRITIQUES
    if annotator.rubric_file and not _is_place(annotator.rubric_file):
        raise UserError(
            f"{key}.rubric={annotator.rubric} is not an option",
            f"{did_you_mean(annotator.rubric_file, RUBRICS)}; a file of your own is a path such as ./kind.yaml",
        )
    rates = in_words and not annotator.pairs
    for name, value, read in (
        ("rubric", annotator.rubric, rates and not (critique and annotator.rubric_file is None)),
        ("together", annotator.together or None, rates and not critique),
        ("form", annotator.form if critique else None, rates),
        ("template", template if annotator.in_json else None, False),
        ("scale", annotator.scale, template is not None and not annotator.pairs),
    ):
        if value is not None and not read:
            shown = str(value).lower() if isinstance(value, bool) else value
            raise UserError(f"{key}.{name}={shown} is not read: it is for {_READ_BY[name]}", f"leave {name} out")
    if critique:
        return
    if in_words and not annotator.pairs and (annotator.rubric is None) == (template is None):
        raise UserError(
            f"{key} has {'neither a rubric nor' if template is None else 'a rubric and'} a template",
            f"give one of them: rubric is one of {', '.join(RUBRICS)}, or a file; template is a file with the "
            "variables instruction and response; or pairs: true, or form: critique",
        )
    if annotator.scale is not None and not (len(annotator.scale) == 2 and annotator.scale[0] < annotator.scale[1]):
        raise UserError(f"{key}.scale={annotator.scale} is no scale", "write the least and the best: scale: [1, 10]")


def _is_place(rubric: str) -> bool:
    """Say whether a rubric's name is that of a file: a mistyped name of our own is none."""
    return rubric.startswith((HUB, "~")) or "/" in rubric or rubric.endswith((".yaml", ".yml"))
