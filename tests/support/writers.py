"""One writer of `data=made` at work: its stage on prompts of our own, and as a process that can be killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.made_settings import Writer
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS
from notus_exp.disk.ledger import Ledger
from notus_exp.feedback.table import Row, build
from notus_exp.making import responses
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ResponsesSettings

HARDWARE = Hardware("cpu", Device.cpu, 1, 1, 1, "sdpa", False, [], Launch.plain, 1, None, False)


def asked(folder: Path, number: int) -> Path:
    """Return the folder of a feedback with so many prompts, `Question 0?` and so on."""
    place = folder / "instructions"
    place.mkdir(parents=True, exist_ok=True)
    build([Row(row, 0, f"Question {row}?", "") for row in range(number)], []).write_parquet(place / COMPLETIONS)
    return place


def settings(**changes: Any) -> ResponsesSettings:
    """Return the settings of the one writer of a pool, who is at an endpoint and told nothing."""
    given: dict[str, Any] = {
        "writer": "far",
        "draw": {"writers": ["far"], "per_prompt": 1, "seed": 0, "max_prompts": None},
        "principles": {"any": {"none": 1.0}},
        "told": {},
        "seed": 7,
        "temperature": 0.7,
        "max_new_tokens": 16,
        "system_prompt": None,
        "template_date": None,
        "precision": "",
        "noise": 1,
        "endpoint_model": "served",
    }
    return ResponsesSettings(**{**given, **changes})


def writer(url: str, **changes: Any) -> Writer:
    given = {"base_url": url, "model": "served", "concurrency": 4, "timeout": 5.0, "max_retries": 0}
    return Writer("far", **{**given, "api_key_env": "NOTUS_TEST_KEY", **changes})


def answer(
    folder: Path,
    prompts: int,
    far: Writer,
    changed: dict[str, Any] | None = None,
    budget: float | None = None,
    name: str = "responses",
) -> tuple[dict[str, Any], Path]:
    """Let a writer answer in a folder, perhaps with what a killed attempt left; return the facts and the folder."""
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    context = Context(EventWriter("responses_far", out / "events.jsonl"), HARDWARE, folder / "cache")
    context.writers, context.ledger, context.budget = {"far": far}, Ledger(folder / "ledger.jsonl"), budget
    facts = responses.run(settings(**(changed or {})), {"instructions": asked(folder, prompts)}, out, context)
    return facts, out


if __name__ == "__main__":
    answer(Path(sys.argv[1]), int(sys.argv[2]), writer(sys.argv[3], concurrency=int(sys.argv[4])))
