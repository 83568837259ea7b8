"""Curation's speed and memory: beside `datasets.map` and plain Polars, and at growing numbers of prompts.

    python benchmarks/curation.py                  # 63,967 prompts x 4 completions, then the table; about 2 GB of disk
    python benchmarks/curation.py --prompts 2000 --sizes 500,1000

All ways but the expression do the same job: leave out a source, repeated prompts, empty and repeated responses; average
the ratings, choose the best, reject a worse one at random, split by prompt, write the same columns (ours also counts
every drop). `datasets.map` is measured by row and by batches of 1,000; plain Polars is a script that counts nothing.
Each measurement is a process of its own that reads parquet and writes pairs.parquet; its time starts when its imports
are done. All ways get the same texts and ratings (seeded, words drawn from a list) in their natural layout: a row a
completion for ours and for plain Polars, a row a prompt with its list of completions, as UltraFeedback is published,
for `datasets.map`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from curation_data import ASPECTS, COMPLETIONS, make_data, nested

from notus_exp.disk.hashing import prompt_id


def settings() -> Any:
    """Return the default settings of `selection=average rejected=random`."""
    from notus_exp.config.curation_settings import (
        Ambiguous,
        Contamination,
        Filters,
        PairChoice,
        Rejected,
        Repair,
        Selection,
        Split,
        TopTies,
    )
    from notus_exp.stages.settings import PairsSettings

    none = Contamination([], None, 8, 0.5)
    return PairsSettings(
        aspects=ASPECTS,
        repair=Repair("none", 2.0, 4.0, Ambiguous.drop),
        selection=Selection("average", None, {}, TopTies.first),
        rejected=Rejected("random", True, TopTies.hash),
        filters=Filters(0.0, 1, None, True, True, True, True, ["truthful_qa"], none, [], None, PairChoice.random),
        contamination_digests=[],
        split=Split(0, 0.1, 0.1),
        seed=0,
    )


def ours(folder: Path, out: Path) -> float:
    """Read the completions, curate, write the pairs; return the seconds."""
    from notus_exp.curation import make_pairs, pairs

    start = time.perf_counter()
    table = pl.read_parquet(folder / "completions.parquet")
    if hasattr(make_pairs, "curate_to"):
        make_pairs.curate_to(out, table, settings(), [])
    else:  # a checkout of before
        make_pairs.write_pairs(pairs.curate(table, settings()).pairs, out)
    return time.perf_counter() - start


SCORE = "(average - AVG(average)) / STDDEV(average) + (armorm - AVG(armorm)) / STDDEV(armorm)"
WHERE = "margin > 0.1 AND chosen_chars < 3 * rejected_chars"


def expression(folder: Path, out: Path) -> float:
    """Curate by an expression with a joined score, and a condition on the pairs; return the seconds."""
    from notus_exp.curation.make_pairs import curate_to, with_columns_of

    start = time.perf_counter()
    own = settings()
    own = replace(
        own,
        selection=replace(own.selection, name="expression", score=SCORE),
        filters=replace(own.filters, where=WHERE),
        columns=["armorm"],
    )
    table = pl.read_parquet(folder / "completions.parquet")
    table = with_columns_of(table, folder / "columns.parquet", own.columns)
    curate_to(out, table, own, [])
    return time.perf_counter() - start


def stage(folder: Path, out: Path) -> float:
    """Run the whole stage, with its counts and report; return the seconds."""
    from notus_exp.config.hardware_settings import Device, Hardware, Launch
    from notus_exp.curation.make_pairs import run
    from notus_exp.disk.events import EventWriter
    from notus_exp.stages.context import Context

    hardware = Hardware("cpu", Device.cpu, 1, 1, 1, "eager", False, [], Launch.plain, 1, None, False)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as made:
        context = Context(EventWriter("pairs", Path(made) / "events.jsonl"), hardware, Path(made))
        run(settings(), {"feedback": folder}, Path(made), context)
    return time.perf_counter() - start


def plain(folder: Path, out: Path) -> float:
    """The same job as a script in Polars that counts and checks nothing, writing the same columns; return the seconds.

    It is meant to be good: it reads the columns that it needs, decides on numbers, and gathers texts last.
    """
    start = time.perf_counter()
    ratings = [f"rating_{aspect}" for aspect in ASPECTS]
    read = ["prompt_id", "row", "source", "instruction", "completion", "model", "response", *ratings]
    table = pl.read_parquet(folder / "completions.parquet", columns=read)
    table = table.filter(
        pl.col("source") != "truthful_qa",
        pl.col("response").str.strip_chars() != "",
        pl.col("row") == pl.col("row").min().over("prompt_id"),
    )
    table = table.filter(pl.struct("row", pl.col("response").hash()).is_first_distinct())
    scored = table.select("row", score=pl.mean_horizontal(ratings)).with_row_index("at").drop_nulls("score")
    best = scored.group_by("row", maintain_order=True).agg(
        chosen=pl.col("at").get(pl.col("score").arg_max()), chosen_score=pl.col("score").max()
    )
    worse = scored.join(best, on="row").filter(pl.col("score") < pl.col("chosen_score"))
    drawn = worse.group_by("row").agg(
        rejected=pl.col("at").get(pl.col("at").hash(7).arg_min()),
        rejected_score=pl.col("score").get(pl.col("at").hash(7).arg_min()),
    )
    pairs = best.join(drawn, on="row", maintain_order="left")
    first = table.select("prompt_id", "source", "instruction", "response", "model", "completion").select(
        pl.all().gather(pairs["chosen"])
    )
    other = table.select(pl.col("response", "model", "completion").gather(pairs["rejected"]))
    draw = first["prompt_id"].str.slice(0, 8).str.to_integer(base=16) / 16**8
    made = pairs.select(
        first["prompt_id"],
        "row",
        split=pl.when(draw < 0.1)
        .then(pl.lit("test"))
        .when(draw < 0.2)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train")),
        source=first["source"],
        prompt=_turns("user", first["instruction"]),
        chosen=_turns("assistant", first["response"]),
        rejected=_turns("assistant", other["response"]),
        chosen_score="chosen_score",
        rejected_score="rejected_score",
        margin=pl.col("chosen_score") - pl.col("rejected_score"),
        chosen_model=first["model"],
        rejected_model=other["model"],
        chosen_completion=first["completion"],
        rejected_completion=other["completion"],
    )
    made.write_parquet(out, compression="snappy")
    return time.perf_counter() - start


def _turns(role: str, texts_of: pl.Series) -> pl.Series:
    """Return each text as a list of one message."""
    message = pl.DataFrame({"content": texts_of}).select(pl.struct(role=pl.lit(role), content="content"))
    return message.to_series().reshape((texts_of.len(), 1)).arr.to_list()


def to_pair(row: dict[str, Any], index: int) -> dict[str, Any]:
    """Make one prompt's pair: what a script maps over a dataset's rows."""
    answers: list[tuple[int, dict[str, Any]]] = []
    for number, answer in enumerate(row["completions"]):
        repeated = any(answer["response"] == other["response"] for _, other in answers)
        if answer["response"].strip() and not repeated:
            answers.append((number, answer))
    rated = [[answer[aspect] for aspect in ASPECTS if answer[aspect] is not None] for _, answer in answers]
    scores = [sum(ratings) / len(ratings) for ratings in rated]
    best = max(scores)
    chosen = scores.index(best)
    worse = [number for number, score in enumerate(scores) if score < best]
    rejected = random.Random(index).choice(worse) if worse else chosen
    identity = prompt_id(row["instruction"])
    draw = int(identity, 16) / 16**16
    return {
        "prompt_id": identity,
        "split": "test" if draw < 0.1 else "validation" if draw < 0.2 else "train",
        "prompt": [{"role": "user", "content": row["instruction"]}],
        "chosen": [{"role": "assistant", "content": answers[chosen][1]["response"]}],
        "rejected": [{"role": "assistant", "content": answers[rejected][1]["response"]}],
        "chosen_score": best,
        "rejected_score": scores[rejected],
        "margin": best - scores[rejected],
        "chosen_model": answers[chosen][1]["model"],
        "rejected_model": answers[rejected][1]["model"],
        "chosen_completion": answers[chosen][0],
        "rejected_completion": answers[rejected][0],
    }


def datasets_map(folder: Path, out: Path) -> float:
    """The usual way: load the rows, filter and map a Python function over them, write parquet; return the seconds."""
    return _mapped(folder, out, to_pair, batched=False)


def datasets_batched(folder: Path, out: Path) -> float:
    """The same by batches of 1,000 rows."""
    return _mapped(folder, out, to_pairs, batched=True)


def _mapped(folder: Path, out: Path, function: Callable[..., Any], *, batched: bool) -> float:
    import datasets

    datasets.disable_progress_bars()
    start = time.perf_counter()
    rows = datasets.Dataset.from_parquet(str(folder / "nested.parquet"), cache_dir=str(folder / "cache"))
    rows = rows.filter(lambda source: source != "truthful_qa", input_columns="source")
    removed = ["instruction", "completions"]
    pairs = rows.map(function, with_indices=True, remove_columns=removed, batched=batched)
    seen: set[str] = set()

    def first_with_a_pair(identity: str, margin: float) -> bool:
        new = identity not in seen
        seen.add(identity)
        return new and margin > 0

    pairs = pairs.filter(first_with_a_pair, input_columns=["prompt_id", "margin"])
    pairs.to_parquet(str(out))
    return time.perf_counter() - start


def to_pairs(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
    """Make the pairs of a batch of prompts: what a script maps over a dataset's batches."""
    names = list(batch)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    made = [to_pair(row, index) for row, index in zip(rows, indices, strict=True)]
    return {name: [one[name] for one in made] for name in made[0]}


def peak_mib() -> float:
    """Return this process's largest resident memory in MiB (Linux).

    From /proc, because `getrusage` starts from the parent's size after a fork and would report that.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


WAYS: dict[str, Callable[[Path, Path], float]] = {
    "ours": ours,
    "plain": plain,
    "expression": expression,
    "stage": stage,
    "datasets_map": datasets_map,
    "datasets_batched": datasets_batched,
}
MAPPED, MOST_MAPPED = ("datasets_map", "datasets_batched"), 2
"""The ways that take longest, and how often they are run at most."""
BEFORE = "before"
"""The built-in rule by another checkout, whose folder the command line names."""


class Cost(NamedTuple):
    """What one run took: seconds on the clock, seconds of all cores, and peak memory."""

    seconds: float
    cpu: float
    peak_mib: float


def measure(way: str, folder: Path, out: Path, before: str | None = None) -> Cost:
    """Run one way in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    if way == BEFORE and before:
        environment["PYTHONPATH"] = before
    done = subprocess.run(
        [sys.executable, __file__, "--way", "ours" if way == BEFORE else way, str(folder), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median of each number."""
    return Cost(*(statistics.median(numbers) for numbers in zip(*costs, strict=True)))


def compare(prompts: int, repeats: int, before: str | None) -> None:
    """Measure all ways in turns on the same data, and check that those of one rule choose the same."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_data(folder, prompts, {"completions": lambda table: table, "nested": nested})
        make_columns(folder)
        ways = ["ours", *([BEFORE] if before else []), "plain", "expression", *MAPPED]
        runs: dict[str, list[Cost]] = {way: [] for way in ways}
        for number in range(repeats):
            for way in ways:  # in turns, so that a busy moment of the machine meets all
                if way in MAPPED and number >= MOST_MAPPED:
                    continue
                shutil.rmtree(folder / "cache", ignore_errors=True)  # each run of `datasets` starts without its cache
                cost = measure(way, folder, folder / f"{way}.parquet", before)
                runs[way].append(cost)
                print(f"  run {number + 1}, {way}: {cost.seconds:.2f} s, {cost.cpu:.2f} s of cores", flush=True)
        same = [way for way in ways if way != "expression"]
        columns = ["row", "chosen_completion", "chosen_score"]
        chosen = [pl.read_parquet(folder / f"{way}.parquet", columns=columns).sort("row") for way in same]
        for one in chosen[1:]:
            assert chosen[0].equals(one.cast(chosen[0].schema)), "the ways choose different responses"  # type: ignore[arg-type]
    print(f"\n{prompts:,} prompts x {COMPLETIONS}: {', '.join(same)} chose the same in {chosen[0].height:,} pairs")
    print("| way | runs | seconds | seconds of cores | times `ours`, seconds | of cores | peak memory, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for way, found in runs.items():
        beside = [*zip(found, runs["ours"], strict=False)]
        told = [
            statistics.median(one.seconds for one in found),
            statistics.median(one.cpu for one in found),
            statistics.median(one.seconds / base.seconds for one, base in beside),
            statistics.median(one.cpu / base.cpu for one, base in beside),
        ]
        numbers = " | ".join(f"{number:.2f}" for number in told)
        print(f"| {way} | {len(found)} | {numbers} | {max(one.peak_mib for one in found):,.0f} |")


def make_columns(folder: Path) -> None:
    """Write a joined score of every completion beside completions.parquet."""
    keys = pl.read_parquet(folder / "completions.parquet", columns=["row", "completion"])
    scores = np.random.default_rng(11).normal(size=keys.height)
    keys.with_columns(armorm=pl.Series(scores)).write_parquet(folder / "columns.parquet")


def scale(sizes: list[int]) -> None:
    """Print our cost at each number of prompts, medians of three: of the pairs alone, and with the report."""
    print("\n| prompts | pairs, s | of cores | MiB | stage with report, s | of cores | MiB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for prompts in sizes:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            make_data(folder, prompts, {"completions": lambda table: table})
            costs = [
                middle([measure(way, folder, folder / "pairs.parquet") for _ in range(3)]) for way in ("ours", "stage")
            ]
        told = " | ".join(f"{cost.seconds:.2f} | {cost.cpu:.2f} | {cost.peak_mib:,.0f}" for cost in costs)
        print(f"| {prompts:,} | {told} |", flush=True)


def main() -> None:
    """Compare and print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--prompts", type=int, default=63_967, help="prompts of the comparison")
    parser.add_argument("--sizes", default="1000,10000,64000,256000", help="numbers of prompts of the table")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way in the comparison; 0 for none")
    parser.add_argument("--before", metavar="FOLDER", help="another checkout, measured in turns with this one")
    parser.add_argument("--way", nargs=3, metavar=("WAY", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        way, folder, out = options.way
        import notus_exp.curation.make_pairs  # noqa: F401  # imports are no part of the measured time

        before = time.process_time()
        seconds = WAYS[way](Path(folder), Path(out))
        print(json.dumps({"seconds": seconds, "cpu": time.process_time() - before, "peak_mib": peak_mib()}))
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "datasets", "pyarrow", "xxhash"))
    print(f"python {sys.version.split()[0]}, {packages}, {os.cpu_count()} cores", flush=True)
    if options.repeats:
        compare(options.prompts, options.repeats, options.before)
    scale([int(size) for size in options.sizes.split(",") if size])


if __name__ == "__main__":
    main()
