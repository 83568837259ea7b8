"""Writers and runs of `data=made` beyond one run's own model: a folder with another model, and a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import COMPLETIONS, RESPONSES
from support import study_runs
from support.pipelines import place, record, run

MADE = ["data=made", "data.per_prompt=2", "data.judge={judge: mock, verdicts_by: constraints}"]
BOTH = "data.writers=[{name: own, max_new_tokens: 12}, {name: other, model: ./other, max_new_tokens: 12}]"


def with_model(folder: Path, seed: int) -> None:
    """Write another tiny model than the run's own into the folder `other`."""
    from notus_exp.models.pretrained import tiny_random

    tiny_random(folder / "other", seed=seed)


def answers(content: dict[str, Any], writer: str) -> pl.DataFrame:
    return pl.read_parquet(place(content, f"responses_{writer}") / RESPONSES)


def test_a_writer_may_be_a_model_in_a_folder_whose_weights_are_in_its_key_alone(tmp_path: Path) -> None:
    given = ["experiment=smoke", *MADE, "data.prompts.prompts=12", "data.aspects=[honesty]", BOTH, "until=feedback"]
    with_model(tmp_path, seed=5)
    first = record(run(tmp_path, *given))
    table = pl.read_parquet(place(first, "feedback") / COMPLETIONS)
    assert set(table["model"]) == {"own", "other"} and not table["rating_honesty"].null_count()
    own, other = answers(first, "own"), answers(first, "other")
    assert own.height == other.height == 12
    assert not own.join(other, on="prompt_id").filter(pl.col("response") == pl.col("response_right")).height
    with_model(tmp_path, seed=6)
    second = record(run(tmp_path, *given))
    assert {name for name in second["attempts"][-1]["made"] if name.startswith(("base_model", "responses"))} == {
        "base_model_other", "responses_other",
    }  # fmt: skip
    assert not answers(second, "other")["response"].equals(other["response"])
    assert answers(second, "own").equals(own)


POOL = "{name: cool, temperature: 0.3, max_new_tokens: 12}, {name: good, simulated: 0.9}, {name: weak, simulated: 0.2}"
WRITERS = ["cool", "good", "weak"]
STUDY = [
    *MADE, f"data.writers=[{POOL}]", "data.prompts={data: simulated, prompts: 60}", "selection=critique,average",
    "seed=0", "study.name=made", "study.metric=preferences/accuracy/critique",
]  # fmt: skip


def test_a_study_makes_its_feedback_once_and_compares_its_arms_on_it(tmp_path: Path) -> None:
    study_runs.run(tmp_path, *STUDY)
    critique, average = (study_runs.run_of(tmp_path, "made", arm, 0) for arm in ("critique", "average"))
    keys = [{name: stage["key"] for name, stage in one["stages"].items()} for one in (critique, average)]
    same = {name for name in keys[0] if keys[0][name] == keys[1][name]}
    assert {f"responses_{name}" for name in WRITERS} | {"answers", "annotations_overall", "feedback"} <= same
    assert not {"pairs", "policy", "evaluation"} & same
    artifacts = tmp_path / "outputs/artifacts"
    made = [path for path in artifacts.glob("responses-*") if path.is_dir()]
    assert len(made) == len(WRITERS), "each writer is asked once for both arms"
    comparison = study_runs.read(tmp_path / "outputs/studies/made/comparison.json")
    [contrast] = [one for one in comparison["contrasts"] if one["primary"]]
    assert (contrast["arm"], contrast["reference"]) == ("average", "critique") and contrast["prompts"] > 0


def test_malformed_prompts_are_told_under_the_key_of_the_prompts(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"prompt": "Say one."}\nnot json\n')
    given = ["experiment=smoke", "data=made", "data.prompts={data: prompts, path: asked.jsonl}", "data.per_prompt=1"]
    given += ["data.writers=[{name: own}]", "data.judge={judge: mock}", "until=responses"]
    said = run(tmp_path, *given, code=2).stderr
    assert "data.prompts.max_bad_rows is 0" in said and "set data.prompts.max_bad_rows=1" in said
