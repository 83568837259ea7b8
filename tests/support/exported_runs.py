"""A run that can be handed over: feedback, pairs and what curation said of them, made by its stages, and a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.curation import make_pairs
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COLUMNS, COMPLETIONS, MODEL, RUN_JSON
from notus_exp.stages.context import Context
from notus_exp.stages.settings import PairsSettings, to_json
from support.configs import composed
from support.curation_tables import ASPECTS, completion, prompt, settings, table
from support.study_folders import write

RUN = "made-s0"
HUB_ID, COMMIT = "somebody/a-model", "0123456789abcdef0123456789abcdef01234567"
OF_HUB = {"model": {"kind": "hub", "hub_id": HUB_ID, "path": None}, "model_digest": COMMIT}
OF_A_FOLDER = {"model": {"kind": "local", "hub_id": None, "path": None}, "model_digest": "f" * 64}
SPLITS = {"train": 4, "validation": 1, "test": 1}


def feedback() -> pl.DataFrame:
    """Six prompts: plain, of many signs, with earlier turns, with a system turn; ratings that are odd or missing."""
    plain = [
        prompt(
            f"Name a river, number {number}.",
            completion(f"The Ucayali {number}.", 5, 4, overall=9.0, model="a"),
            completion(f"The Danube {number}.", 3, None, overall=4.5, model="b"),
            completion(f"No {number}.", 1, 0.30000000000000004, overall=None, model="c"),
        )
        for number in range(3)
    ]
    odd = prompt(
        'Quote "this", \\ and\nthat: ä漢🙂',
        completion("a\tb\r\nc", 5, 1e-7, overall=10.0),
        completion("", 2, 2, overall=1.0),
        source="",
    )
    turned = prompt(
        "And of Peru?",
        completion("The Ucayali.", 4, 4, overall=8.0),
        completion("The Rhine.", 1, 1, overall=2.0),
        context=[("user", "Name a river."), ("assistant", "The Danube.")],
    )
    spoken = prompt(
        "Be quick.",
        completion("Yes.", 3, 3, overall=7.0),
        completion("No, and here is why not.", 2, 2, overall=3.0),
        principle="conversation",
        system_prompt="You are brief.",
    )
    return table(*plain, odd, turned, spoken)


def without_turns(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a completions table without the prompts that have earlier turns, numbered anew."""
    kept = rows.filter(pl.col("context").list.len() == 0).drop("context")
    return kept.with_columns(row=(pl.col("row").rank("dense") - 1).cast(pl.Int64))


def made_run(
    outputs: Path,
    rows: pl.DataFrame | None = None,
    spec: PairsSettings | None = None,
    *,
    base: Mapping[str, Any] = OF_HUB,
    policy: Path | None = None,
    weights: Path | None = None,
    scores: pl.DataFrame | None = None,
    overrides: tuple[str, ...] = (),
    **record: Any,
) -> str:
    """Write a finished run below an output folder; return its id.

    Args:
        outputs: The output folder.
        rows: Its completions table.
        spec: How they are curated; the splits of its pairs are `SPLITS` in their order.
        base: Settings of the base model's manifest.
        policy: Folder of the policy's files; None for a run that stopped at its pairs.
        weights: Folder of the base model's.
        scores: columns.parquet of an annotator called `judged`.
        overrides: Of its config.
        record: Keys of run.json that differ from the usual ones.
    """
    rows = feedback() if rows is None else rows
    spec = spec or settings("average", aspects=ASPECTS)
    made = _artifact(outputs, "feedback", {"data": {"name": "ultrafeedback", "hub_id": "a/set"}, "data_digest": COMMIT})
    rows.write_parquet(made / COMPLETIONS)
    pairs = _artifact(outputs, "pairs", to_json(spec))
    context = Context(EventWriter("pairs", outputs / "events.jsonl"), None, outputs / "cache", {})  # type: ignore[arg-type]
    make_pairs.run(spec, {"feedback": made}, pairs, context)
    _split(pairs / "pairs.parquet")
    stages = {node: _stage(node) for node in ("feedback", "pairs")}
    if scores is not None:
        scores.write_parquet(_artifact(outputs, "annotations_judged", {"judge": {"name": "mock"}}) / COLUMNS)
        facts = {"snapshots": {"judge-2026-01-01": 7}, "verdicts": 7, "failed": 0, "cost": 0.25}
        stages["annotations_judged"] = _stage("annotations_judged", facts=facts)
    if policy is not None:
        lying = _artifact(outputs, "base_model", dict(base))
        if weights is not None:
            (lying / MODEL).symlink_to(weights)
        (_artifact(outputs, "policy", {}) / MODEL).symlink_to(policy)
        stages |= {node: _stage(node) for node in ("base_model", "policy")}
        stages["policy"]["inputs"] = {"base_model": stages["base_model"]["key"]}
        stages["policy"]["facts"] = {"pairs_same_tokens": 1}
    config = json.loads(_config(overrides))
    costs = {"device_seconds": 1.5, "device_seconds_if_nothing_were_reused": 2.5, "judge_tokens": 70, "judge_usd": 0.25}
    metrics = {"verifiable/strict": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}}
    content = {"run_id": RUN, "status": "finished", "error": None, "seed": 3, "config": config, "stages": stages}
    write(outputs / "runs" / RUN / RUN_JSON, {**content, "metrics": metrics, "costs": costs, **record})
    return RUN


@cache
def _config(overrides: tuple[str, ...]) -> str:
    """Return the config of a tiny model with these overrides, as JSON: composing takes longer than all the rest."""
    return json.dumps(to_json(composed("model=tiny_random", "hardware=cpu", *overrides)))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _artifact(outputs: Path, node: str, settings_: dict[str, Any]) -> Path:
    folder = outputs / "artifacts" / f"{node.split('_')[0]}-{node}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = "annotations" if node.startswith("annotations") else node
    write(folder / "manifest.json", manifest_file(Manifest(stage, node, settings_, {}, {})))
    return folder


def _stage(node: str, **more: Any) -> dict[str, Any]:
    path = f"/elsewhere/outputs/artifacts/{node.split('_')[0]}-{node}"
    stage = {"key": node, "path": path, "reused": False, "seconds": 1.0, "seconds_when_made": 1.0}
    return {**stage, "inputs": {}, "facts": {}, **more}


def _split(path: Path) -> None:
    """Give the pairs their splits by their order."""
    pairs = pl.read_parquet(path, glob=False)
    names = [name for name, count in SPLITS.items() for _ in range(count)]
    pairs.with_columns(split=pl.Series([*names, *["train"] * pairs.height][: pairs.height])).write_parquet(path)
