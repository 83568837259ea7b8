"""Feedback made by a real server on the loopback: SmolLM2 writes, and is asked to rate, which is beyond it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.files import ANNOTATIONS, COMPLETIONS, PAIRS, RESPONSES
from support.pipelines import place, record, run
from support.real_servers import require_serving, transformers_serve

PROMPTS = 6
TEMPERATURES = {"calm": 0.2, "wild": 1.2}
SCALES = {"honesty": (1, 5), "overall": (1, 10)}
FIRST_QUESTIONS = len(TEMPERATURES) + 1
"""One to each writer's endpoint and to the judge's, before anything is made."""


def sampling(model: Path, folder: Path) -> Path:
    """Return a copy of a model that samples: the server heeds a temperature only where the model's own files do."""
    shutil.copytree(model, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": True}))
    return folder


def asked(log: Path) -> int:
    """Return how many chats the server says it was asked for."""
    return log.read_text(errors="replace").count("/v1/chat/completions")


@pytest.mark.slow
def test_a_real_server_writes_and_rates_and_what_it_does_not_rate_is_counted_and_not_invented(
    smollm2_folder: Path, tmp_path: Path
) -> None:
    require_serving()
    model, log = sampling(smollm2_folder, tmp_path / "model"), tmp_path / "server.log"
    with transformers_serve(log) as url:
        at = f"base_url: '{url}', model: '{model}', concurrency: 1, timeout: 300"
        pool = [
            f"{{name: {name}, {at}, temperature: {value}, max_new_tokens: 24}}" for name, value in TEMPERATURES.items()
        ]
        given = [
            *("experiment=smoke", "data=made", f"data.prompts.prompts={PROMPTS}", "data.per_prompt=2", "until=pairs"),
            *(f"data.writers=[{', '.join(pool)}]", "data.aspects=[honesty]", "split.validation=0", "split.test=0"),
            *(f"data.judge={{judge: openai, {at}, max_tokens: 64}}", "selection=expression", "selection.score=chars"),
        ]
        refused = run(tmp_path, *given, code=2, seconds=1200)
        assert re.search(
            r"data.judge: \d+ of 12 verdicts of 'honesty' failed, above max_failure_rate=0.05", refused.stderr
        )
        content = record(run(tmp_path, *given, "data.judge.max_failure_rate=1", seconds=1200))
        calls = asked(log)
        check_answers(content, url)
        check_ratings(content)
        answers = PROMPTS * len(TEMPERATURES)
        assert calls == FIRST_QUESTIONS + answers + PROMPTS + answers, "answers, ratings together, critiques"
        assert pl.read_parquet(place(content, "pairs") / PAIRS).height > 0, "by their length, which needs no rating"
        assert record(run(tmp_path, *given, "data.judge.max_failure_rate=1"))["attempts"][-1]["made"] == []
        assert asked(log) == calls, "what was answered is not asked again"


def check_answers(content: dict[str, Any], url: str) -> None:
    """Every prompt has an answer of each writer, as long as it may be, and the writers do not say the same."""
    both = {name: pl.read_parquet(place(content, f"responses_{name}") / RESPONSES) for name in TEMPERATURES}
    for name, table in both.items():
        facts = content["stages"][f"responses_{name}"]["facts"]
        assert (facts["answers"], facts["refused"], facts["endpoints"]) == (PROMPTS, 0, {url: PROMPTS})
        assert facts["tokens"] == facts["completion_tokens"] == table["tokens"].sum()
        assert table["tokens"].is_between(1, 24).all() and facts["truncated"] == table["truncated"].sum()
    calm, wild = (table["response"].to_list() for table in both.values())
    assert sum(one == other for one, other in zip(calm, wild, strict=True)) < PROMPTS // 2


def check_ratings(content: dict[str, Any]) -> None:
    """Each verdict is what its reply says, read again here, or is missing with a reason; the table has no other."""
    table = pl.read_parquet(place(content, "feedback") / COMPLETIONS)
    missing = content["stages"]["feedback"]["facts"]["missing_ratings"]
    for name, column in (("honesty", "rating_honesty"), ("overall", "overall_score")):
        verdicts = pl.read_parquet(place(content, f"annotations_{name}") / ANNOTATIONS)
        assert verdicts.height == table.height == PROMPTS * len(TEMPERATURES)
        assert verdicts["raw"].str.len_chars().min() > 0
        for row in verdicts.iter_rows(named=True):
            said = row["value"]
            assert (said is None) == bool(row["reason"])
            assert said is None or str(int(said)) in row["raw"]
        low, high = SCALES[name]
        assert verdicts["value"].drop_nulls().is_between(low, high).all()
        rated = table.join(verdicts.select("row", "completion", "value"), on=["row", "completion"])
        assert rated[column].eq_missing(rated["value"]).all()
        assert sum(missing[name].values()) == table[column].null_count()
        facts = content["stages"][f"annotations_{name}"]["facts"]
        assert facts["verdicts"] - facts["with_value"] == facts["failed"] + facts["not_applicable"]
