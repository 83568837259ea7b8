"""What reading a prompt once for its completions saves, and batches of like lengths in a training: side by side.

    python benchmarks/scoring.py outputs/artifacts/base_model-KEY outputs/artifacts/reference-KEY ...

Of each reference artifact of a run it scores the completions of some prompts in both ways, alternately, and prints
seconds of the processor and by the clock with their ratios; both ways' log-probs are compared. Where it holds training
pairs, it counts the padding of an epoch's steps in a random order and in that of `dpo.batching=length`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import Precision
from notus_exp.disk import files
from notus_exp.models.encoding import Encoded
from notus_exp.models.logprobs import batches, tokens_of
from notus_exp.models.packing import pack, prompt_batches, row_tokens, rows_of
from notus_exp.models.pretrained import load_model
from notus_exp.models.scorer import Scorer
from notus_exp.training.batching import by_length


def machine(device: str) -> Hardware:
    """Return a hardware option of one process."""
    return Hardware(
        name=device,
        device=Device[device],
        micro_batch_size=8,
        scoring_batch_size=4,
        generation_batch_size=8,
        attention="sdpa",
        activation_checkpointing=False,
        precisions=[*Precision],
        launch=Launch.plain,
        processes=1,
        zero_stage=None,
        offload=False,
    )


def read(folder: Path, prompts: int) -> list[Encoded]:
    """Return the completions of the first prompts of an artifact `reference`."""
    table = pl.read_parquet(folder / files.REFERENCE, glob=False)
    some = table.unique(["prompt_id", "row"], maintain_order=True).select("prompt_id", "row").head(prompts)
    wanted = table.join(some, on=["prompt_id", "row"], maintain_order="left")
    return [Encoded(*row) for row in wanted.select("prompt_ids", "completion_ids").iter_rows()]


def slots(items: Sequence[Encoded], planned: Sequence[Sequence[int]], *, shared: bool) -> int:
    """Return the positions of all passes, padding included."""
    found = 0
    for batch in planned:
        own = [items[place] for place in batch]
        found += pack(own, torch.device("cpu")).input_ids.numel() if shared else len(own) * max(map(tokens_of, own))
    return found


def score(scorer: Scorer, items: list[Encoded], size: int, *, shared: bool) -> tuple[list[float], float, float]:
    """Return log-probs, and seconds of the processor and by the clock."""
    keys = [f"{place:09d}" for place in range(len(items))]
    planned = [*(prompt_batches if shared else batches)(items, keys, size)]
    processor, clock = time.process_time(), time.perf_counter()
    found = [0.0] * len(items)
    for batch in planned:
        for place, logp in zip(batch, scorer.logps([items[i] for i in batch], shared=shared), strict=True):
            found[place] = logp
    return found, time.process_time() - processor, time.perf_counter() - clock


def compare(scorer: Scorer, items: list[Encoded], size: int, rounds: int) -> None:
    """Print a table of both ways."""
    keys = [f"{place:09d}" for place in range(len(items))]
    tokens = sum(map(tokens_of, items))
    repeated = tokens - sum(len(items[row[0]].prompt_ids) for row in rows_of(items))
    repeated -= sum(len(item.completion_ids) for item in items)
    longest = max(row_tokens([items[place] for place in row]) for row in rows_of(items))
    share = repeated / tokens
    print(f"{len(items)} completions, {tokens} tokens, {share:.0%} of them repeated prompts; longest row {longest}\n")
    taken: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    logps: dict[bool, list[float]] = {}
    for _ in range(rounds):
        for shared, found in taken.items():
            logps[shared], *seconds = score(scorer, items, size, shared=shared)
            found.append((seconds[0], seconds[1]))
    told = {
        shared: [statistics.median(column) for column in zip(*found, strict=True)] for shared, found in taken.items()
    }
    print("| | positions of the passes | processor, s | clock, s | tokens/s of the processor |")
    print("|---|---:|---:|---:|---:|")
    for shared, name in ((False, "each text alone"), (True, "a prompt once")):
        planned = [*(prompt_batches if shared else batches)(items, keys, size)]
        processor, clock = told[shared]
        positions = slots(items, planned, shared=shared)
        print(f"| {name} | {positions} | {processor:.2f} | {clock:.2f} | {tokens / processor:.1f} |")
    ratios = [new / old for old, new in zip(told[False], told[True], strict=True)]
    apart = max(abs(one - other) for one, other in zip(logps[False], logps[True], strict=True))
    print(f"| **ratio** | | {ratios[0]:.2f} | {ratios[1]:.2f} | |\n\nLog-probs are at most {apart:.1e} nats apart.\n")


def padding(lengths: list[int], batch: int, order: list[int]) -> float:
    """Return the share of an epoch's positions that is padding, with a pass for each global batch."""
    whole = sum(
        max(lengths[row] for row in order[at : at + batch]) * len(order[at : at + batch])
        for at in range(0, len(order), batch)
    )
    return 1 - sum(lengths) / whole


def train_lengths(folder: Path) -> tuple[list[int], float]:
    """Return the longer side of each training pair, and the share of padding that the shorter sides are of both."""
    table = pl.read_parquet(folder / files.REFERENCE, glob=False).filter(pl.col("use") == "train")
    length = pl.col("prompt_ids").list.len() + pl.col("completion_ids").list.len()
    sides = table.group_by("prompt_id", "row").agg(length.max().alias("longer"), length.mean().alias("mean"))
    longer = [int(number) for number in sides.sort("prompt_id", "row")["longer"]]
    return longer, 1 - float(sides["mean"].sum()) / max(1, sum(longer))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_model", type=Path)
    parser.add_argument("references", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--size", type=int, default=4, help="completions of a pass (hardware.scoring_batch_size)")
    parser.add_argument("--batch", type=int, default=4, help="pairs of a step (dpo.global_batch_size)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    given = parser.parse_args()
    device = torch.device(given.device)
    model = load_model(given.base_model / files.MODEL, None, given.precision, machine(given.device))
    scorer = Scorer(model, given.precision, device)
    for folder in given.references:
        print(f"## {folder.name}, {given.precision} on {device}, {torch.get_num_threads()} threads\n")
        compare(scorer, read(folder, given.prompts), given.size, given.rounds)
        lengths, within = train_lengths(folder)
        if lengths:
            chance = torch.Generator().manual_seed(0)
            orders = [torch.randperm(len(lengths), generator=chance).tolist(), by_length(lengths, given.batch, 0)]
            shares = [1 - (1 - padding(lengths, given.batch, order)) * (1 - within) for order in orders]
            print(f"Padding of {len(lengths)} training pairs: random {shares[0]:.1%}, by length {shares[1]:.1%}\n")


if __name__ == "__main__":
    main()
