"""What both sides of `sweep.py` are given: the feedback file, the questions, the converted model, the recipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Split
from notus_exp.contracts.run_file import read_run_file
from notus_exp.curation.split import assign
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.simulated import constraint_prompts
from notus_exp.feedback.simulated.constraints import to_json

ROOT = Path(__file__).resolve().parents[1]
ASPECTS = ["helpfulness", "honesty", "instruction_following", "truthfulness"]
DRAWS = {"train": "max_pairs", "validation": "validation_pairs", "test": "test_prompts"}
"""The salts by which the framework takes some prompts of each split at random."""
MODELS = {"smollm2": ["model=smollm2_135m"], "tiny": ["experiment=smoke"]}


class Sizes(NamedTuple):
    """How much there is to do.

    Attributes:
        pairs: Training pairs.
        validation_pairs: Pairs evaluated once during the training.
        test_prompts: Held-out prompts whose completions are all scored.
        questions: Unseen prompts that are answered.
    """

    pairs: int
    validation_pairs: int
    test_prompts: int
    questions: int

    @property
    def world(self) -> int:
        """Return how many prompts the feedback has: more than enough for each split of the default shares."""
        return max(int(1.6 * self.pairs), 15 * max(self.test_prompts, self.validation_pairs), 200)


class Material(NamedTuple):
    """What lies ready before any clock starts.

    Attributes:
        feedback: A file in UltraFeedback's layout with a field `split`, which only the plain scripts read. Its rows
            are in the order in which the framework draws prompts: the first pairs of a split are the ones it takes.
        questions: JSON lines with `instruction` and `constraints`.
        base_model: The artifact of the converted base model.
        config: The resolved config of a run.
    """

    feedback: Path
    questions: Path
    base_model: Path
    config: dict[str, Any]

    def into(self, outputs: Path) -> None:
        """Put the converted base model into an empty output folder, where runs find it."""
        shutil.copytree(self.base_model, outputs / "artifacts" / self.base_model.name, copy_function=os.link)


def options(sizes: Sizes, model: str, feedback: Path) -> list[str]:
    """Return the framework's overrides that all arms share, but for selection, beta, seed and output folder."""
    return [
        *MODELS[model],
        "data=ultrafeedback",
        f"data.path={feedback}",
        "hardware=cpu",
        "tracking=none",
        f"filters.max_pairs={sizes.pairs}",
        f"dpo.max_validation_pairs={sizes.validation_pairs}",
        f"evaluation.preferences.max_prompts={sizes.test_prompts}",
        f"evaluation.verifiable.prompts={sizes.questions}",
        "evaluation.verifiable.kl_prompts=0",
    ]


def prepare(folder: Path, sizes: Sizes, model: str) -> Material:
    """Simulate the feedback, export it, and convert the base model, through the framework; nothing of it is timed."""
    made = folder / "prepared"
    world = ["data=simulated", f"data.prompts={sizes.world}", "tracking=none"]
    run_framework([*world, "until=feedback", f"output_dir={made}"])
    [feedback] = (made / "artifacts").glob("feedback-*/completions.parquet")
    first = pl.col("row") == pl.col("row").min().over("prompt_id")  # the world makes some prompts twice
    completions = pl.read_parquet(feedback).filter(first)
    exported, asked = folder / "feedback.jsonl", folder / "questions.jsonl"
    run = run_framework(
        [*options(sizes, model, export(completions, exported)), "until=base_model", f"output_dir={made}"]
    )
    config = read_run_file(run / RUN_JSON)["config"]
    seen = completions["prompt_id"].unique().to_list()
    questions = constraint_prompts(sizes.questions, config["evaluation"]["verifiable"]["seed"], seen)
    rows = [{"instruction": one.instruction, "constraints": to_json(one.constraints)} for one in questions]
    write_lines(asked, rows)
    [base_model] = (path for path in (made / "artifacts").glob("base_model-*") if path.is_dir())
    return Material(exported, asked, base_model, config)


def run_framework(overrides: list[str]) -> Path:
    """Run the framework to its end, not timed; return the run's folder."""
    command = [sys.executable, "-m", "notus_exp", *overrides]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"preparing failed: {done.stderr[-2000:]}")
    return Path(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Return the environment of both sides: this checkout, no hub, and a line on standard error for every import."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONPROFILEIMPORTTIME": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def export(completions: pl.DataFrame, path: Path) -> Path:
    """Write completions in UltraFeedback's layout, one row a prompt, shuffled as the framework would; return the path.

    Args:
        completions: The completions table, in which no prompt occurs twice.
        path: The file.
    """
    split = Split(0, 0.1, 0.1)
    ids = completions["prompt_id"].unique(maintain_order=True)
    assert len(ids) == completions["row"].n_unique(), "a prompt occurs twice"
    order = pl.DataFrame({"prompt_id": ids, "split": assign(ids, split)})
    draws = {name: uniform(ids, split.seed, salt) for name, salt in DRAWS.items()}
    draw = [draws[name][place] for place, name in enumerate(order["split"])]
    order = order.with_columns(draw=pl.Series(draw)).sort("draw", "prompt_id")
    groups = completions.partition_by("prompt_id", as_dict=True)
    rows = [to_record(groups[prompt_id,], name) for prompt_id, name, _ in order.iter_rows()]
    write_lines(path, rows)
    return path


def to_record(answers: pl.DataFrame, split: str) -> dict[str, Any]:
    """Return the record of one prompt."""
    return {
        "source": answers["source"][0],
        "instruction": answers["instruction"][0],
        "split": split,
        "completions": [
            {
                "model": one["model"],
                "response": one["response"],
                "annotations": {aspect: {"Rating": _rating(one[f"rating_{aspect}"])} for aspect in ASPECTS},
                "overall_score": one["overall_score"],
            }
            for one in answers.sort("completion").iter_rows(named=True)
        ],
    }


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _rating(value: float | None) -> str:
    return "N/A" if value is None else f"{value:g}"
