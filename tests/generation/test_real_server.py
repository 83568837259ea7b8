"""`transformers serve`, a real server of the OpenAI protocol, started by a run, asked, and ended."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from support.pipelines import place, record, run
from support.real_servers import require_serving

SMALL = [
    *("experiment=smoke", "dpo=lora_small", "dpo.precision=float32", "filters.max_pairs=8", "dpo.global_batch_size=8"),
    *("dpo.epochs=1", "dpo.max_validation_pairs=4", "evaluation=[verifiable]", "evaluation.verifiable.kl_prompts=0"),
    *("evaluation.verifiable.prompts=4", "evaluation.verifiable.max_new_tokens=8", "until=generations"),
]


@pytest.mark.slow
def test_transformers_serve_gives_the_greedy_answers_of_the_models_themselves(tmp_path: Path) -> None:
    require_serving()
    here = record(run(tmp_path, *SMALL))
    there = record(run(tmp_path, *SMALL, "generation=transformers_serve"))
    for node in ("generations_verifiable_base", "generations_verifiable"):
        assert answers(place(there, node)) == answers(place(here, node))
        facts = json.loads((place(there, node) / "manifest.json").read_text())["facts"]
        assert sum(facts["engines"].values()) == 4
    left = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]
    assert left == []


def answers(artifact: Path) -> list[str]:
    import polars as pl

    return pl.read_parquet(artifact / "generations.parquet")["response"].to_list()
