"""What the plan says of a server of the run's own, and what of it enters keys."""

from __future__ import annotations

from pathlib import Path

from notus_exp.config.schema import Config, Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.run.memory.memory_stages import Computing
from notus_exp.run.plan import make_plan
from notus_exp.run.served_plan import served_lines
from support.configs import composed
from support.plans import fixed_sources

LORA = ["experiment=smoke", "dpo=lora", "evaluation=[verifiable,mt_bench]", "evaluation.verifiable.kl_prompts=0"]
LORA += ["judge=mock", "evaluation.mt_bench.questions=q.jsonl", "generation=vllm"]


def lines(config: Config, folder: Path) -> list[str]:
    nodes = make_plan(config, fixed_sources(config))
    return served_lines(config, nodes, ArtifactStore(folder))


def keys(*overrides: str) -> dict[str, str]:
    config = composed(*LORA, *overrides)
    return {node.name: node.key for node in make_plan(config, fixed_sources(config))}


def test_base_model_and_adapter_are_one_command_and_a_merged_policy_is_another(tmp_path: Path) -> None:
    (one,) = lines(composed(*LORA), tmp_path)
    assert one.startswith("server: vllm serve ")
    assert "--enable-lora --max-lora-rank" in one
    assert "--port '{port}'" in one, "a free one, not known yet"
    assert "(vllm is not on this machine)" in one
    assert len(lines(composed(*LORA, "generation.adapter=null"), tmp_path)) == 2
    assert lines(composed(*LORA, "generation=transformers"), tmp_path) == []


def test_all_that_one_model_is_asked_comes_before_what_the_other_is() -> None:
    names = [name for name in keys() if name.startswith("generations")]
    assert [name.endswith("_base") for name in names] == [True, True, False, False]


def test_how_a_server_is_run_enters_no_key_and_what_it_runs_does() -> None:
    first = keys()
    same = ["generation.concurrency=3", "generation.options=--max-model-len 512", "generation.start_timeout=5"]
    same += ["generation.health=/v1/models", "generation.max_retries=0"]
    assert keys(*same) == first
    for key, mine in (("base_model", "generations_mt_bench_base"), ("policy_model", "generations_mt_bench")):
        named = keys(f"generation.{key}=other")
        moved = {name for name in first if name.startswith("generations") and named[name] != first[name]}
        assert mine in moved, "a server that has several answers by the name"
        assert {name.endswith("_base") for name in moved} == {mine.endswith("_base")}
    command = composed(*LORA).generation.command  # type: ignore[attr-defined]
    assert keys(f"generation.command='/opt/engine/bin/{command}'") == first, "where the program lies"
    for other in ("generation=sglang", f"generation.command='{command} --quantization fp8'", "generation.seed=null"):
        moved = {name for name, key in keys(other).items() if key != first[name]}
        assert {name for name in first if name.startswith("generations")} <= moved
    for other in ("generation.version=0.32.0", "+generation.body.top_k=5", "generation=transformers"):
        assert keys(other)["generations_mt_bench"] != first["generations_mt_bench"]
    policy = {name for name in keys("generation.adapter=null") if keys("generation.adapter=null")[name] != first[name]}
    assert "generations_mt_bench" in policy


def test_no_memory_is_planned_here_for_what_a_server_writes() -> None:
    for generation, tokens in (("transformers", 64), ("vllm", 0)):
        config = composed(*LORA, f"generation={generation}", "evaluation.verifiable.max_new_tokens=64")
        config.evaluation.mt_bench = None
        assert Computing.of(config, [Stage.generations]).new_tokens == tokens
