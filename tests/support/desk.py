"""A folder in which the commands of the pages can be given: the files that they name, made up or taken from pages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from notus_exp.disk.hashing import digest
from notus_exp.run.measured_machine import FILE, measured_for
from notus_exp.run.recorded import here
from support.configs import composed
from support.markdown import blocks
from support.places import REPLAY, ROOT
from support.study_folders import ACCURACY, crossed, write_study

STORED = {
    "annotations.json": "alpaca_eval/notus-7b-v1.annotations.json",
    "preferences.csv": "alpaca_eval/preferences_core.csv",
    "judgments.jsonl": "mt_bench/instructlab_single.jsonl",
    "responses.jsonl": "ifeval/input_response_data_gpt4_20231107_145030.jsonl",
    "prompts.jsonl": "ifeval/input_data.jsonl",
    "nltk_data": "ifeval/nltk_data",
}
"""Verdicts and answers that others published, by the names that the pages use."""
OPTIONS = {
    "experiment/safe.yaml": "docs/extending.md",
    "data/mine.yaml": "docs/layouts.md",
    "study/rejection.yaml": "docs/studies.md",
    "study/tries.yaml": "docs/searches.md",
}
"""Options of one's own, and the page whose YAML they are."""
WORDS = ["river", "stone", "lamp", "cloud", "paper", "engine", "garden", "letter", "window", "bridge"]


def lay(folder: Path) -> Path:
    """Lay the files out; return the folder."""
    draw = random.Random(0)
    _lines(
        folder / "rated.jsonl",
        _rated(draw, "prompt", "response", ["helpfulness", "correctness", "coherence", "overall"]),
    )
    _lines(folder / "other.jsonl", _rated(draw, "question", "answer", ["quality", "safety", "overall"]))
    _lines(folder / "ultrafeedback.jsonl", _ultrafeedback(draw))
    pairs = [{"prompt": _ask(draw, i), "chosen": _say(draw), "rejected": _say(draw)} for i in range(200)]
    _lines(folder / "pairs.jsonl", pairs)
    (folder / "clone/data").mkdir(parents=True)
    for split, some in (("train", pairs[:150]), ("test", pairs[150:])):
        _lines(folder / f"clone/data/{split}-00000-of-00001.jsonl", some)
    said = [[("user", pair["prompt"]), ("assistant", pair["chosen"])] for pair in pairs]
    chats = [{"messages": [{"role": role, "content": text} for role, text in turns]} for turns in said]
    _lines(folder / "chats.jsonl", chats)
    _lines(folder / "scored.jsonl", [{**pair, "score_chosen": 0.7, "score_rejected": 0.2} for pair in pairs])
    starred = [{"question": one["prompt"], "meta": {"topic": "x"}} for one in pairs]
    answers = [{"text": _say(draw), "stars": stars, "by": "a"} for stars in (5, 1)]
    _lines(folder / "answers.jsonl", [{**one, "answers": answers} for one in starred])
    _lines(folder / "benchmark.jsonl", [{"prompt": _ask(draw, i)} for i in range(5)])
    answers = [{"instruction": _ask(draw, i), "output": _say(draw), "generator": "x", "dataset": "y"} for i in range(6)]
    (folder / "alpaca.json").write_text(json.dumps(answers))
    _lines(folder / "asked.jsonl", [{"prompt": _ask(draw, i)} for i in range(20)])
    for place, page in OPTIONS.items():
        own = [one for one in blocks((ROOT / page).read_text(encoding="utf-8"))[0] if one.language == "yaml"]
        (folder / "mine" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / place).write_text("\n".join(own[0].lines) + "\n")
    for name, stored in STORED.items():
        if (REPLAY / stored).exists():
            (folder / name).symlink_to(REPLAY / stored)
    return folder


def plant_measurement(folder: Path) -> None:
    """Plant what a plan of a study would measure of this machine, so that the machine is not measured."""
    config = composed()
    machine = measured_for(here(config.hardware), config.hardware, config.dpo.precision.name)
    times: dict[str, Any] = {"imports": 1.0, "train": [0.01, 1e-10], "score": [0.01, 1e-10], "decode": [0.01, 1e-10]}
    (folder / "outputs/cache").mkdir(parents=True, exist_ok=True)
    (folder / "outputs/cache" / FILE).write_text(json.dumps({digest(machine): times}))


def plant_study(folder: Path) -> None:
    """Plant a finished study of two arms and three seeds, called `mine`."""
    arms = {"critique": crossed(40, [0, 1, 2], arm=0), "average": crossed(40, [0, 1, 2], arm=1, effect=0.1)}
    planted = {arm: {seed: {ACCURACY: list(row)} for seed, row in rows.items()} for arm, rows in arms.items()}
    write_study(folder, planted, name="mine").rename(folder / "outputs/studies/mine")


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _say(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(8)) + "."


def _ask(draw: random.Random, number: int) -> str:
    return f"Question {number}: what of {draw.choice(WORDS)} and {draw.choice(WORDS)}?"


def _rated(draw: random.Random, prompt: str, response: str, ratings: list[str]) -> Iterable[dict[str, Any]]:
    for number in range(200):
        asked = _ask(draw, number)
        for _ in range(4):
            yield {prompt: asked, response: _say(draw), **{one: draw.randint(0, 4) for one in ratings}}


def _ultrafeedback(draw: random.Random) -> Iterable[dict[str, Any]]:
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    for number in range(100):
        completions = [
            {
                "model": f"model_{one}",
                "response": _say(draw),
                "overall_score": float(draw.randint(1, 10)),
                "critique": "as it is",
                "annotations": {name: {"Rating": str(draw.randint(1, 5)), "Rationale": "so"} for name in aspects},
            }
            for one in range(4)
        ]
        yield {
            "source": "own",
            "instruction": _ask(draw, number),
            "models": [one["model"] for one in completions],
            "completions": completions,
        }
