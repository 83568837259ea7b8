"""The evaluation `ifeval`: its prompts, and the instructions that answers follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import BY_PROMPT, GENERATIONS
from notus_exp.disk.hashing import prompt_id
from notus_exp.evaluation.ifeval import checking
from notus_exp.evaluation.kit.entrance import BASE, MOST, Locate, Part
from notus_exp.generation.conversation import Question
from notus_exp.stages.context import Context
from notus_exp.stages.settings import EvaluationSettings, GenerationsSettings


def questions(
    settings: GenerationsSettings, inputs: dict[str, Path], sources: Mapping[str, list[str]]
) -> list[Question]:
    """Return the prompts but for the excluded ones."""
    path = Path(sources["ifeval.prompts"][0])
    excluded = settings.chosen["exclude"]
    kept = [prompt for prompt in checking.read_prompts(path) if prompt.key not in excluded]
    return [Question(prompt_id(prompt.text), (prompt.text,), settings.temperature) for prompt in kept]


def measure(settings: EvaluationSettings, inputs: dict[str, Path], out: Path, context: Context) -> Part:
    """Check the answers of both models; write `ifeval.parquet`, a row a prompt.

    Args:
        settings: Not read: excluded prompts were not answered.
        inputs: `generations_ifeval`, `generations_ifeval_base`.
        out: Gets the table.
        context: `sources` has the prompts.
    """
    prompts = checking.read_prompts(Path(context.sources["ifeval.prompts"][0]))
    sides = {}
    facts: dict[str, Any] = {}
    for prefix, name in (("", "generations_ifeval"), ("base/", "generations_ifeval_base")):
        answers = pl.read_parquet(inputs[name] / GENERATIONS, glob=False).select("prompt_id", "response")
        responses = dict(answers.iter_rows())
        asked = [prompt for prompt in prompts if prompt_id(prompt.text) in responses]
        sides[prefix] = checking.measure(asked, responses)
        facts |= {f"{prefix}ifeval_{count}": number for count, number in checking.left_out(sides[prefix]).items()}
    sides[""].join(sides["base/"], on="prompt_id", suffix="/base").write_parquet(out / BY_PROMPT.format("ifeval"))
    return Part(checking.estimates(sides[""], sides["base/"]), facts)


def by_prompt(place: Locate) -> pl.DataFrame:
    """Return what each prompt's answer follows."""
    checked = pl.read_parquet(place("evaluation", BY_PROMPT.format("ifeval")), glob=False)
    table = checked.select("prompt_id")
    for prefix, suffix in (("", ""), (BASE, "/base")):
        for mode in ("strict", "loose"):
            verdicts = checked.select("prompt_id", "instructions", followed=pl.col(f"{mode}{suffix}"))
            prompts = verdicts.select("prompt_id", pl.col("followed").list.all().alias(f"{prefix}prompt_{mode}"))
            flat = verdicts.drop_nulls("followed").explode("instructions", "followed")
            parts = [prompts, _followed(flat, f"{prefix}inst_{mode}")]
            for (kind,), rows in flat.group_by("instructions", maintain_order=True):
                parts.append(_followed(rows, f"{prefix}kind/{kind}/{mode}"))
            for part in parts:
                table = table.join(part, on="prompt_id", how="left", maintain_order="left")
    return table


def check_files(files: Mapping[str, Path]) -> None:
    """Read the prompts."""
    for path in files.values():
        checking.read_prompts(path)


def rehearse(questions: Sequence[Question], sources: Mapping[str, list[str]]) -> None:
    """Check answers that nobody gave: what a checker lacks, it lacks for any answer."""
    asked = {question.prompt_id for question in questions}
    prompts = [one for one in checking.read_prompts(Path(sources["ifeval.prompts"][0])) if prompt_id(one.text) in asked]
    checking.measure(prompts, dict.fromkeys(asked, "This is one sentence. Here is another one."))


def _followed(instructions: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the instructions that a prompt follows over their mean number; of the policy also the most it could."""
    counts = instructions.group_by("prompt_id").agg(followed=pl.col("followed").sum(), asked=pl.len())
    columns = {name: "followed"} if name.startswith(BASE) else {name: "followed", f"{MOST}{name}": "asked"}
    return counts.select(
        "prompt_id", **{name: pl.col(count) / pl.col("asked").mean() for name, count in columns.items()}
    )
