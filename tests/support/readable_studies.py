"""A study folder with all that is there to be read: values by prompt, pairs, answers, curves and a comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.comparison.analysis import analyse
from notus_exp.contracts.manifest import Manifest, manifest_file, read_manifest
from notus_exp.contracts.provenance import Provenance
from notus_exp.disk.files import EVENTS, GENERATIONS, MANIFEST, PAIRS
from support.study_folders import ACCURACY, STRICT, crossed, edit, prompt, run_json, sealed, write, write_study

SEEDS = (0, 1)
PROMPTS = 12


def readable(root: Path) -> Path:
    """Write a study of `critique` (the baseline) and `average`, two seeds each, and compare it; return its folder."""
    planted: dict[str, dict[int, dict[str, Any]]] = {}
    for place, arm in enumerate(("critique", "average")):
        values = crossed(PROMPTS, list(SEEDS), effect=0.2 * place, arm=place)
        strict = {seed: [float(number % (3 - place) == 0) for number in range(PROMPTS)] for seed in SEEDS}
        planted[arm] = {seed: {ACCURACY: values[seed], STRICT: strict[seed]} for seed in SEEDS}
    folder = write_study(root, planted, base={STRICT: [0.0] * PROMPTS})
    for place, arm in enumerate(planted):
        for seed in SEEDS:
            run = f"{arm}-s{seed}"
            add_stage(folder, run, "pairs", {PAIRS: pairs(swapped=2 * place)})
            add_stage(folder, run, "policy", {EVENTS: losses([0.7, 0.6 - 0.1 * place])})
            add_stage(folder, run, "generations_verifiable", {GENERATIONS: answers(f"{arm} says")})
            add_stage(folder, run, "generations_verifiable_base", {GENERATIONS: answers("base says")})
    compared(folder)
    return folder


def compared(folder: Path) -> None:
    """Write a study's comparison.json."""
    write(folder / "comparison.json", sealed(analyse(folder)))


def add_stage(folder: Path, run: str, node: str, files: dict[str, pl.DataFrame | str]) -> Path:
    """Let a run have made an artifact with these files; return its folder. One without hashes, so files may change."""
    name = f"{node.split('_')[0]}-{node}-{run}"
    place = folder.parent.parent / "artifacts" / name
    place.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        if isinstance(content, str):
            (place / file).write_text(content, encoding="utf-8")
        else:
            content.write_parquet(place / file)
    if not (place / MANIFEST).exists():
        write(place / MANIFEST, manifest_file(Manifest(node.split("_")[0], name, {}, {}, {})))
    record = {"key": name, "path": f"/elsewhere/outputs/artifacts/{name}", "reused": False, "facts": {}}
    record |= {"seconds": 2.0, "seconds_when_made": 2.0, "inputs": {}}
    edit(run_json(folder, run), lambda content: content["stages"].setdefault(node, record))
    return place


def made_by(
    folder: Path, run: str, node: str, *, profile: str, seconds: float | None = 2.0, command: Sequence[str] = ()
) -> None:
    """Let the manifest of a run's artifact tell of a further attempt that made it."""
    path = add_stage(folder, run, node, {}) / MANIFEST
    attempt: Provenance = {
        **{"command": [*command], "hardware": {"profile": profile, "device": "cpu"}, "versions": {"torch": "2"}},
        **{"git_commit": "abc", "started": "2026-11-20T10:00:00+00:00", "seconds": seconds},
    }  # type: ignore[typeddict-item]
    manifest = read_manifest(path)
    manifest.provenance.append(attempt)
    write(path, manifest_file(manifest))


def pairs(swapped: int = 0) -> pl.DataFrame:
    """Four pairs; in the first `swapped` of them chosen and rejected change places.

    The last has a system message, the one before it has earlier turns.
    """
    rows = []
    for number in range(4):
        texts = [f"good answer {number}", f"bad answer {number}"]
        chosen, rejected = texts[::-1] if number < swapped else texts
        messages = [{"role": "user", "content": f"prompt {number}"}]
        if number == 3:
            messages.insert(0, {"role": "system", "content": "be brief"})
        if number == 2:
            messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}, *messages]
        rows.append(
            {"prompt_id": prompt(number), "row": number, "split": "train" if number else "test", "source": "made"}
            | {"prompt": messages, "chosen": [{"role": "assistant", "content": chosen}]}
            | {"rejected": [{"role": "assistant", "content": rejected}], "chosen_score": 4.5, "rejected_score": 2.0}
            | {"margin": 2.5, "chosen_model": "gpt", "rejected_model": "", "chosen_completion": 0}
            | {"rejected_completion": 1}
        )
    return pl.DataFrame(rows)


def answers(said: str) -> pl.DataFrame:
    """An answer to each prompt."""
    rows = [
        {"prompt_id": prompt(number), "turn": 1, "category": "", "instruction": f"prompt {number}", "constraints": "[]"}
        | {"response": f"{said} {number}", "tokens": 3, "truncated": False}
        for number in range(PROMPTS)
    ]
    return pl.DataFrame(rows)


def losses(values: list[float]) -> str:
    """The events of a training, a loss a step."""
    lines = [
        json.dumps({"time": 0.0, "stage": "policy", "step": step, "metrics": {"train/loss": value}})
        for step, value in enumerate(values, start=1)
    ]
    return "\n".join(lines) + "\n"
