"""Small study folders with planted values: study.json, run.json, manifests and the tables by prompt."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.disk.hashing import prompt_id

ACCURACY, STRICT, TOKENS = "preferences/accuracy/average", "verifiable/strict", "verifiable/tokens"

Planted = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Arm -> seed -> metric (of preferences or verifiable) -> value of each prompt, None where missing."""


def crossed(
    n: int, seeds: list[int], *, effect: float = 0.0, world: int = 0, arm: int = 0, spread: float = 0.1
) -> dict[int, np.ndarray]:
    """Values by seed: 0.5 + effect + prompt (alike in all arms of a world) + seed + residual."""
    prompts = np.random.default_rng([world, 0]).normal(0, spread, n)
    own = np.random.default_rng([world, 1, arm])
    return {seed: 0.5 + effect + prompts + own.normal(0, 0.01) + own.normal(0, spread / 2, n) for seed in seeds}


def write_study(
    root: Path, planted: Planted, *, base: Mapping[str, Any] | None = None, split: str = "test", **study: Any
) -> Path:
    """Write outputs with one study of finished runs; return the study's folder.

    Args:
        root: Where `outputs` is made.
        planted: The values.
        base: Metric -> value of each prompt of the untuned model; 0.5 everywhere where not given.
        split: evaluation_split of all runs.
        study: Keys of study.json that differ from the usual ones.
    """
    outputs = root / "outputs"
    arms = {}
    for arm, by_seed in planted.items():
        runs = {str(seed): f"{arm}-s{seed}" for seed in by_seed}
        overrides = [f"selection={arm}"]
        arms[arm] = {"overrides": overrides, "levels": {}, "tuned": {}, "runs": runs}
        for seed, values in by_seed.items():
            write_run(outputs, f"{arm}-s{seed}", values, base=base or {}, split=split, seed=seed)
    content = {
        "name": "planted",
        "kind": "arms",
        "command": ["-m"],
        "metric": ACCURACY,
        "baseline": next(iter(planted), ""),
        "margin": None,
        "seeds": sorted({seed for by_seed in planted.values() for seed in by_seed}),
        "factors": None,
        "arms": arms,
        "tuning": None,
        "unplanned": {},
    }
    folder = outputs / "studies" / "planted"
    write(folder / "study.json", content | study)
    return folder


def write_run(
    outputs: Path, run: str, values: Mapping[str, Any], *, base: Mapping[str, Any], split: str = "test", seed: int = 0
) -> None:
    """Write one finished run and its artifacts."""
    verifiable = {"name": "verifiable", "prompts": 8, "seed": 1, "max_new_tokens": 64, "temperature": 0.0}
    preferences = {"name": "preferences", "max_prompts": None}
    chosen = {name: any(metric.startswith(name) for metric in values) for name in ("preferences", "verifiable")}
    given: dict[str, dict[str, Any]] = {
        "feedback": {"data": {"name": "simulated", "seed": 0}},
        "base_model": {"model_digest": None},
        "reference_scored": {"preferences": preferences, "scored_split": split, "max_length": 512, "precision": "f32"},
        "generations_verifiable": {"chosen": {"prompts": 8, "split": split}, "max_new_tokens": 64, "precision": "f32"},
        "evaluation": {
            "aspects": ["honesty"],
            "beta": 0.1,
            "files": {},
            "preferences": preferences if chosen["preferences"] else None,
            "verifiable": verifiable if chosen["verifiable"] else None,
        },
    }
    stages = {}
    for node, settings in given.items():
        stage = node.split("_")[0] if node != "base_model" else node
        shared = node in ("feedback", "base_model")
        name = f"{stage}-{node if shared else f'{node}-{run}'}"
        place = f"/elsewhere/outputs/artifacts/{name}"
        stages[node] = {"key": name, "path": place, "reused": False, "seconds": 1.0, "seconds_when_made": 1.0}
        stages[node] |= {"facts": {"labellings": ["average", "critique"]} if node == "evaluation" else {}}
        write(outputs / "artifacts" / name / "manifest.json", manifest_file(Manifest(stage, name, settings, {}, {})))
    _write_tables(outputs / "artifacts" / f"evaluation-evaluation-{run}", values, base)
    content = {
        "run_id": run,
        "status": "finished",
        "error": None,
        "seed": seed,
        "started": "2026-01-01T00:00:00+00:00",
        "config": {
            "seed": seed,
            "split": {"seed": 0, "validation": 0.1, "test": 0.2},
            "evaluation_split": split,
            "data": {"name": "simulated", "seed": 0},
            "dpo": {"beta": 0.1, "precision": "float32"},
        },
        "stages": stages,
        "metrics": {metric: {"value": 0.0, "low": None, "high": None, "n": 0} for metric in values},
        "versions": {"notus-exp": "0.1", "torch": "2", "transformers": "5", "trl": "1"},
        "costs": {
            "device_seconds": 1.0,
            "device_seconds_if_nothing_were_reused": 1.0,
            "judge_tokens": 0,
            "judge_usd": None,
        },
        "hardware": {"profile": "cpu"},
        "git_commit": None,
    }
    write(outputs / "runs" / run / "run.json", content)


def prompt(number: int) -> str:
    """Id of the prompt with this number; ids are not in the numbers' order."""
    return prompt_id(f"prompt {number}")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place, as who wrote it would have: its seal, where it has one, fits."""
    content = json.loads(path.read_text())
    change(content)
    write(path, sealed(content) if "seal" in content else content)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's content with the seal that fits it: sha256 of the JSON of all the rest, keys sorted."""
    rest = {name: value for name, value in content.items() if name != "seal"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "seal": hashlib.sha256(text.encode()).hexdigest()}


def run_json(folder: Path, run: str) -> Path:
    return folder.parent.parent / "runs" / run / "run.json"


def manifest(folder: Path, run: str, node: str) -> Path:
    place = json.loads(run_json(folder, run).read_text())["stages"][node]["path"]
    return folder.parent.parent / "artifacts" / Path(place).name / "manifest.json"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_tables(folder: Path, values: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    for evaluation, extra in (("preferences", {"row": 0, "completions": 4}), ("verifiable", {"degeneration": ""})):
        columns: dict[str, Any] = {}
        for metric, numbers in values.items():
            if not metric.startswith(f"{evaluation}/"):
                continue
            measure = metric.removeprefix(f"{evaluation}/")
            columns[measure] = list(numbers)
            columns[f"base/{measure}"] = list(base.get(metric, [0.5] * len(columns[measure])))
        if columns:
            n = len(next(iter(columns.values())))
            table = pl.DataFrame({"prompt_id": [prompt(number) for number in range(n)], **columns}, strict=False)
            table = table.with_columns(pl.lit(value).alias(name) for name, value in extra.items())
            table.write_parquet(folder / f"{evaluation}.parquet")


def write_pairs(folder: Path, run: str, pairs: list[tuple[int, int, int]], split: str = "train") -> None:
    """Let a run train on pairs of `write_completions`: number of the prompt, chosen and rejected completion."""
    rows = [
        {
            "prompt_id": prompt(number),
            "row": number,
            "split": split,
            "prompt": [{"role": "user", "content": f"prompt {number}"}],
            "chosen": [{"role": "assistant", "content": response(number, chosen)}],
            "rejected": [{"role": "assistant", "content": response(number, rejected)}],
            "chosen_completion": chosen,
            "rejected_completion": rejected,
        }
        for number, chosen, rejected in pairs
    ]
    name = f"pairs-{run}"
    artifact = folder.parent.parent / "artifacts" / name
    write(artifact / "manifest.json", manifest_file(Manifest("pairs", name, {}, {}, {})))
    place = f"/elsewhere/outputs/artifacts/{name}"
    stage = {"key": name, "path": place, "reused": False, "seconds": 1.0, "seconds_when_made": 1.0, "facts": {}}
    edit(run_json(folder, run), lambda content: content["stages"].update(pairs=stage))
    before = [pl.read_parquet(artifact / "pairs.parquet")] if (artifact / "pairs.parquet").exists() else []
    pl.concat([*before, pl.DataFrame(rows)]).write_parquet(artifact / "pairs.parquet")


def write_completions(folder: Path, prompts: int, **columns: list[float | None]) -> None:
    """Let the study's feedback hold completions, each column one value a completion, alike for all prompts."""
    count = len(next(iter(columns.values())))
    rows = [
        {"prompt_id": prompt(number), "row": number, "completion": place, "response": response(number, place)}
        | {name: values[place] for name, values in columns.items()}
        for number in range(prompts)
        for place in range(count)
    ]
    table = pl.DataFrame(rows, schema_overrides=dict.fromkeys(columns, pl.Float64))
    table.write_parquet(folder.parent.parent / "artifacts/feedback-feedback/completions.parquet")


def response(number: int, completion: int) -> str:
    """The text of a completion: 10, 6 or 2 characters, and no two prompts have one in common."""
    return chr(ord("a") + number) * (10 - 4 * completion)
