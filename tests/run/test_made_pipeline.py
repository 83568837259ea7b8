"""Feedback made from nothing: a tiny model at two temperatures and simulated writers, rated by a mock judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.files import COMPLETIONS, PAIRS, RESPONSES
from support.pipelines import place, record, run

OWN = "{name: cool, temperature: 0.3, max_new_tokens: 16}, {name: hot, temperature: 1.5, max_new_tokens: 16}"
MADE = [
    "experiment=smoke",
    "data=made",
    "data.prompts.prompts=30",
    "data.per_prompt=3",
    "data.judge={judge: mock, verdicts_by: constraints}",
    f"data.writers=[{OWN}, {{name: good, simulated: 0.9}}, {{name: weak, simulated: 0.2}}]",
    "until=pairs",
]
WRITERS = ["cool", "hot", "good", "weak"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("made")
    return folder, record(run(folder, *MADE))


def test_one_command_makes_prompts_answers_ratings_and_pairs(finished: tuple[Path, dict[str, Any]]) -> None:
    _, content = finished
    table = pl.read_parquet(place(content, "feedback") / COMPLETIONS)
    assert (table["prompt_id"].n_unique(), table.height) == (30, 90)
    assert set(table["model"]) == set(WRITERS)
    each = table.group_by("prompt_id").agg(pl.col("model").n_unique(), "completion")
    assert set(each["model"]) == {3} and all(sorted(one) == [0, 1, 2] for one in each["completion"].to_list())
    told = table.filter(pl.col("model").is_in(["cool", "hot"]))
    assert all(principle and text for principle, text in told.select("principle", "system_prompt").iter_rows())
    written = table.filter(pl.col("response").str.strip_chars() != "")
    assert written["rating_instruction_following"].null_count() == written["overall_score"].null_count() == 0
    assert (written["critique"] != "").all()
    means = dict(written.group_by("model").agg(pl.col("rating_instruction_following").mean()).iter_rows())
    assert means["good"] > means["weak"] + 0.5, "the judge reads which constraints are kept"
    assert "latent_quality" not in table.columns, "the truth is known of simulated answers alone"
    facts = content["stages"]["feedback"]["facts"]
    assert sum(facts[f"answers/{name}"] for name in WRITERS) == 90
    assert facts["models"] == 4
    assert pl.read_parquet(place(content, "pairs") / PAIRS).height > 10


@pytest.mark.slow
def test_the_same_command_reuses_all_and_another_temperature_asks_one_writer_anew(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, first = finished
    again = record(run(folder, *MADE, "data.writers.1.temperature=1.0"))
    made = set(again["attempts"][-1]["made"])
    assert {name for name in made if name.startswith("responses_")} == {"responses_hot"}
    assert {"answers", "feedback", "pairs"} <= made
    one, other = (pl.read_parquet(place(content, "responses_hot") / RESPONSES) for content in (first, again))
    assert one.select("prompt_id", "place", "system_prompt").equals(other.select("prompt_id", "place", "system_prompt"))
    assert not one["response"].equals(other["response"])
