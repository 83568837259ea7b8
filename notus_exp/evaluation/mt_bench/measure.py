"""The evaluation `mt_bench`: its questions, what is graded, and from ratings to means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from notus_exp.config.judge_settings import Judge
from notus_exp.disk.files import BY_PROMPT, GENERATIONS, VERDICT_CACHE
from notus_exp.evaluation.kit.both_sides import SIDES, failures, node_of, read_verdicts
from notus_exp.evaluation.kit.entrance import BASE, Locate, Part
from notus_exp.evaluation.mt_bench import ratings
from notus_exp.evaluation.mt_bench.questions import read_turns_questions, read_turns_references
from notus_exp.generation.conversation import Question, read_conversations
from notus_exp.judging.judge import Judged, grade
from notus_exp.judging.templates import load_grading_templates
from notus_exp.judging.verdicts import Grading
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings, GenerationsSettings


def questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: Mapping[str, list[str]]
) -> list[Question]:
    """Return the questions, each with the temperature of its category."""
    path = Path(sources["mt_bench.questions"][0])
    return [
        Question(one.prompt_id, one.turns, settings.temperatures.get(one.category, settings.temperature), one.category)
        for one in read_turns_questions(path)
    ]


def judge(generations: Path, judge: Judge, context: Context) -> Judged:
    """Have each turn's answer graded, with the turns before it."""
    references = _references(context)
    gradings = []
    for identity, turns in read_conversations(generations).items():
        known = references.get(identity, ())
        for turn in range(1, len(turns) + 1):
            shown = turns[:turn]
            gradings.append(
                Grading(
                    identity,
                    turn,
                    shown[0]["category"],
                    tuple(row["instruction"] for row in shown),
                    tuple(row["response"] for row in shown),
                    known[:turn],
                )
            )
    prompts = context.sources.get("mt_bench.judge_prompts")
    return grade(
        gradings,
        judge,
        context.cache / VERDICT_CACHE,
        context.events.progress,
        hardware=context.hardware,
        prompts=Path(prompts[0]) if prompts else None,
        **context.paying(),
    )


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Measure ratings per turn and category, and draw the radar plot of policy and base.

    Args:
        settings: With `mt_bench`.
        inputs: `judgments_mt_bench`, `generations_mt_bench`, and the same of the base model (`..._base`).
        out: Gets mt_bench.svg.
        context: Its judge, for what is said of failed verdicts.
    """
    verdicts = read_verdicts(inputs, "mt_bench")
    facts, note = failures(verdicts, "mt_bench", settings.max_failure_rate, context.judge)
    asked, rated = {}, {}
    for prefix in SIDES:
        answers = pl.read_parquet(inputs[node_of("generations", "mt_bench", prefix)] / GENERATIONS, glob=False)
        asked[prefix] = answers.select("turn", "category", question_id="prompt_id")
        rated[prefix] = verdicts[prefix].select("turn", question_id="prompt_id", score="value")
    keys = ["question_id", "turn"]
    both = asked[""].join(rated[""], on=keys, how="left").join(rated["base/"], on=keys, how="left", suffix="/base")
    both.rename({"question_id": "prompt_id"}).write_parquet(out / BY_PROMPT.format("mt_bench"))
    if note:
        return Part({}, facts, [], [note])
    by_side = {side: ratings.measure(rated[prefix], asked[prefix]) for prefix, side in SIDES.items()}
    (out / "mt_bench.svg").write_bytes(ratings.radar(by_side))
    return Part(ratings.estimates(rated[""], asked[""], rated["base/"]), facts)


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return each question's mean over its turns; none where a turn has no rating: turns differ in difficulty."""
    rated = pl.read_parquet(place("evaluation", BY_PROMPT.format("mt_bench")), glob=False)
    table = rated.select(pl.col("prompt_id").unique(maintain_order=True))
    for prefix, column in (("", "score"), (BASE, "score/base")):
        rows = rated.select("prompt_id", "turn", "category", score=pl.col(column))
        parts = {"score": rows}
        parts |= {f"turn_{turn}": part for (turn,), part in rows.group_by("turn", maintain_order=True)}
        parts |= {f"category/{name}": part for (name,), part in rows.group_by("category", maintain_order=True)}
        for name, part in parts.items():
            whole = pl.when(pl.col("score").count() == pl.len()).then(pl.col("score").mean())
            scored = part.group_by("prompt_id").agg(whole.alias(prefix + name))
            table = table.join(scored, on="prompt_id", how="left", maintain_order="left")
    return table


def check_files(files: Mapping[str, Path]) -> None:
    """Read questions, reference answers and judge prompts, where they are given."""
    questions = read_turns_questions(files["questions"]) if "questions" in files else None
    if "references" in files and questions is not None:
        read_turns_references(files["references"], questions)
    if "judge_prompts" in files:
        load_grading_templates(files["judge_prompts"])


def _references(context: Context) -> dict[str, tuple[str, ...]]:
    """Return prompt id -> reference answers by turn, of the questions that have them."""
    place = context.sources.get("mt_bench.references")
    if not place:
        return {}
    return read_turns_references(Path(place[0]), read_turns_questions(Path(context.sources["mt_bench.questions"][0])))
