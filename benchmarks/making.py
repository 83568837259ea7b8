"""How close making feedback comes to the ideal of its concurrency limit.

    PYTHONPATH=.:tests python benchmarks/making.py     # 250 prompts x 4 answers, 20 at once, a server of 200 ms

Four writers answer 250 prompts each; a judge rates the answers by four aspects, all answers to a prompt in one call
(1,000 calls), and writes a critique of each answer (1,000 calls). The server is a process of its own on the loopback.
The time of a node is that of its stage as a run makes it, the reading and writing of its artifact with it; imports are
done before. The ideal is ceil(calls / concurrency) answers one after another.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from slow_endpoint import SERVE, answer_slowly, served

from notus_exp.annotation import make_annotations  # noqa: F401 - imported before anything is measured
from notus_exp.judging.shown_texts import shown_texts
from notus_exp.making import responses  # noqa: F401 - likewise
from notus_exp.run.execution import execute
from notus_exp.run.pipeline import Run
from support.configs import composed

MOST_RATIO = 1.2
WRITERS = ("a", "b", "c", "d")


def said(asked: dict[str, Any]) -> str:
    """Return what the server says: a rating of each answer, a critique, or an answer, each with a text of its own."""
    shown = shown_texts(asked["messages"][-1]["content"])
    if shown is None:
        return f"Answer {asked.get('seed') or 0}. " * 30
    if shown.critique:
        return json.dumps({"id": shown.marks[0], "feedback": "Fair.", "overall_score": 6})
    entries = [{"id": mark, "rationale": "Fair.", "rating": 1 + number} for number, mark in enumerate(shown.marks)]
    return json.dumps({"answers": entries})


def planned(url: str, prompts: int, concurrency: int, folder: Path) -> Run:
    """Return a run whose writers and judge are at a URL."""
    at = f"base_url: '{url}', model: benchmark, concurrency: {concurrency}"
    pool = ", ".join(f"{{name: {name}, {at}}}" for name in WRITERS)
    config = composed(
        "experiment=smoke", "data=made", f"data.prompts.prompts={prompts}", f"data.writers=[{pool}]", "until=feedback",
        f"data.judge={{judge: openai, {at}, max_tokens: 200}}", f"output_dir={folder}", "tracking=none",
    )  # fmt: skip
    return Run(config, {"selection": "average"}, Console(quiet=True))


def measure(url: str, prompts: int, concurrency: int, latency: float) -> None:
    """Make all nodes one after the other and print what those that ask took."""
    with tempfile.TemporaryDirectory() as folder:
        run = planned(url, prompts, concurrency, Path(folder))
        run.folder.mkdir(parents=True)
        took = {"answers": [0, 0.0, 0.0], "ratings": [0, 0.0, 0.0], "critiques": [0, 0.0, 0.0]}
        for node in run.nodes:
            start = time.perf_counter()
            manifest, _ = execute(node, run.job([node]))
            seconds = time.perf_counter() - start
            kind = {"responses": "answers", "annotations": "ratings"}.get(node.stage.name)
            if kind is None:
                continue
            calls = manifest.facts["answers"] if kind == "answers" else manifest.facts["asked"]
            counted = took["critiques" if node.name.endswith("_overall") else kind]
            counted[0] += calls
            counted[1] += seconds
            counted[2] += math.ceil(calls / concurrency) * latency
    for kind, (calls, seconds, ideal) in took.items():
        ratio = seconds / ideal
        print(
            f"{kind:>10} {calls:6} {seconds:8.2f} {ideal:8.2f} {ratio:6.3f}   {'yes' if ratio <= MOST_RATIO else 'NO'}",
            flush=True,
        )


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=250)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument(SERVE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        answer_slowly(options.latency, said)
        return
    with served(__file__, options.latency) as url:
        print(f"python {sys.version.split()[0]}, {os.cpu_count()} CPUs; {options.prompts} prompts x 4 answers,")
        print(f"{options.concurrency} requests at once, {options.latency * 1000:.0f} ms each")
        print(f"{'':>10} {'calls':>6} {'seconds':>8} {'ideal':>8} {'ratio':>6}   at most {MOST_RATIO}?")
        for _ in range(options.repeat):
            measure(url, options.prompts, options.concurrency, options.latency)


if __name__ == "__main__":
    main()
