"""How close judging comes to the ideal of its concurrency limit.

    python benchmarks/judging.py                   # 500 verdicts, 16 at once, a server that answers in 200 ms

The server is a process of its own on the loopback. The time is that of the whole comparison: prompts, cache, requests,
parsing; it starts when the imports are done. The ideal is ceil(verdicts / concurrency) answers one after another.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from slow_endpoint import SERVE, answer_slowly, served

from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.disk.hashing import prompt_id
from notus_exp.judging.judge import prefer
from notus_exp.judging.verdicts import AnswerPair

MOST_RATIO = 1.2


def judge_at(url: str, concurrency: int) -> OpenAIJudge:
    """Return the settings of a judge at a URL that is asked in both orders."""
    return OpenAIJudge(
        name="openai",
        model="benchmark",
        snapshot=None,
        parser="ranking",
        template=None,
        both_orders=True,
        temperature=0.0,
        max_tokens=1,
        seed=None,
        top_logprobs=5,
        max_failure_rate=0.0,
        base_url=url,
        api_key_env="NOTUS_BENCHMARK_KEY",
        concurrency=concurrency,
        requests_per_minute=None,
        timeout=30.0,
        max_retries=2,
        max_wait=30.0,
        token_limit_parameter="max_tokens",
        thinking="none",
        ask_again=0,
        offline=False,
        input_price=None,
        output_price=None,
        budget=None,
    )


def measure(url: str, verdicts: int, concurrency: int) -> float:
    """Return the seconds that so many verdicts take with an empty cache."""
    texts = [f"Instruction number {number}: say something about it." for number in range(verdicts // 2)]
    pairs = [AnswerPair(prompt_id(text), text, "One answer. " * 50, "Another answer. " * 50) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        judged = prefer(pairs, judge_at(url, concurrency), Path(folder) / "replies.sqlite")
        seconds = time.perf_counter() - start
    assert judged.facts["asked"] == len(judged.verdicts) == verdicts
    assert judged.facts["failed"] == 0
    return seconds


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=500, help="an even number")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(SERVE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        answer_slowly(options.latency, lambda asked: "m")
        return
    with served(__file__, options.latency) as url:
        ideal = math.ceil(options.verdicts / options.concurrency) * options.latency
        print(f"httpx {version('httpx')}, python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
        print(f"{options.verdicts} verdicts, {options.concurrency} at once, {options.latency * 1000:.0f} ms each")
        print(f"{'seconds':>8} {'ideal':>8} {'ratio':>6}   at most {MOST_RATIO}?")
        for _ in range(options.repeat):
            seconds = measure(url, options.verdicts, options.concurrency)
            ratio = seconds / ideal
            print(f"{seconds:8.2f} {ideal:8.2f} {ratio:6.3f}   {'yes' if ratio <= MOST_RATIO else 'NO'}", flush=True)


if __name__ == "__main__":
    main()
