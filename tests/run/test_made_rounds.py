"""README's way from prompts to a second round with a real small model, smaller: what each part is made from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.files import COMPLETIONS, PAIRS, RESPONSES, ROUNDS_HTML
from notus_exp.errors import UserError
from notus_exp.models.model_files import gguf_file
from support.markdown import commands
from support.pipelines import place, record, run
from support.places import ROOT

SMALLER = [
    *("data.prompts.prompts=40", "data.writers.0.max_new_tokens=24", "data.writers.1.max_new_tokens=24"),
    *("sft.max_steps=2", "dpo.max_steps=2", "dpo.max_length=160", "dpo.max_prompt_length=112", "dpo.checkpoints=1"),
    *("dpo.max_validation_pairs=2", "evaluation.preferences.max_prompts=4", "evaluation.verifiable.prompts=8"),
    *("evaluation.verifiable.max_new_tokens=24", "evaluation.verifiable.kl_prompts=2"),
]
COOL_AND_HOT, SIMULATED = ["cool", "hot"], ["good", "weak"]
ROUNDS = ("round1_", "")
"""What stands before the names of a round's nodes."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run's folder and record; skips where SmolLM2's wheel is not installed."""
    try:
        gguf_file()
    except UserError as error:
        pytest.skip(str(error))
    [given] = [one.text for one in commands(ROOT / "README.md") if "data=made rounds=2" in one.text]
    instead = {one.partition("=")[0] for one in SMALLER}
    arguments = [*(one for one in shlex.split(given)[3:] if one.partition("=")[0] not in instead), *SMALLER]
    done = run(tmp_path_factory.mktemp("made"), *arguments, cold=True, seconds=1200, OMP_NUM_THREADS="2")
    return Path(done.stdout.splitlines()[-1]), record(done)


def answers(content: dict[str, Any], before: str, writer: str) -> pl.DataFrame:
    return pl.read_parquet(place(content, f"{before}responses_{writer}") / RESPONSES)


@pytest.mark.slow
def test_both_temperatures_of_the_model_answer_in_both_rounds_and_not_the_same(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, content = finished
    for before in ROUNDS:
        cool, hot = (answers(content, before, name) for name in COOL_AND_HOT)
        both = cool.join(hot, on="prompt_id")
        assert both.height > 5
        same = both.filter(pl.col("response") == pl.col("response_right")).height
        assert same <= both.height // 4, "sampled at 0.3 and at 1.2 by seeds of their own"
        assert cool.filter(pl.col("response").str.strip_chars() == "").height <= cool.height // 4
    first, second = (set(answers(content, before, "cool")["prompt_id"]) for before in ROUNDS)
    assert first - second and second - first, "each round has prompts of its own"


@pytest.mark.slow
def test_ratings_follow_the_true_quality_of_answers_whose_quality_is_known(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, content = finished
    known = pl.concat(
        [
            pl.read_parquet(place(content, f"{before}feedback") / COMPLETIONS)
            .filter(pl.col("model").is_in(SIMULATED))
            .join(
                pl.concat(
                    answers(content, before, name).with_columns(pl.lit(name).alias("model")) for name in SIMULATED
                ),
                on=["prompt_id", "model"],
            )
            .select("model", "rating_instruction_following", "overall_score", "quality")
            for before in ROUNDS
        ]
    )
    assert known.height > 40 and not known["rating_instruction_following"].null_count()
    for rated in ("rating_instruction_following", "overall_score"):
        assert known.select(pl.corr(rated, "quality", method="spearman")).item() > 0.3
    means = dict(known.group_by("model").agg(pl.col("overall_score").mean()).iter_rows())
    assert means["good"] > means["weak"] + 1


@pytest.mark.slow
def test_each_training_begins_with_what_the_one_before_it_made(finished: tuple[Path, dict[str, Any]]) -> None:
    _, content = finished
    stages = content["stages"]
    inputs = {name: stage["inputs"] for name, stage in stages.items()}
    assert inputs["sft"] == {"base_model": stages["base_model"]["key"], "pairs": stages["round1_pairs"]["key"]}
    assert inputs["round1_policy"]["base_model"] == stages["sft"]["key"], "the supervised model is what DPO begins with"
    assert inputs["round1_merged"] == {"base_model": stages["sft"]["key"], "policy": stages["round1_policy"]["key"]}
    assert inputs["policy"]["base_model"] == stages["round1_merged"]["key"]
    for name in COOL_AND_HOT:
        assert inputs[f"round1_responses_{name}"]["base_model"] == stages["base_model"]["key"]
        assert inputs[f"responses_{name}"]["base_model"] == stages["round1_merged"]["key"]
    for before in ROUNDS:
        assert inputs[f"{before}policy"]["pairs"] == stages[f"{before}pairs"]["key"]
        assert pl.read_parquet(place(content, f"{before}pairs") / PAIRS).height > 5


@pytest.mark.slow
def test_both_rounds_are_measured_on_the_same_prompts_and_have_a_page(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, content = finished
    assert [one["round"] for one in content["rounds"]] == [1, 2]
    first, second = (one["metrics"] for one in content["rounds"])
    assert set(first) == set(second) and "verifiable/strict" in first
    assert {name: one["n"] for name, one in first.items()} == {name: one["n"] for name, one in second.items()}
    assert content["metrics"] == second
    assert "2 rounds" in (folder / ROUNDS_HTML).read_text(encoding="utf-8")
