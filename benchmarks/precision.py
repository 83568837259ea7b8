"""What a precision costs: a short training of SmolLM2-135M in several, by several seeds, beside each other.

    python benchmarks/precision.py outputs/precision > docs/results/precision.md

Recipes differ in precision, master weights and optimiser's state alone. A run that lies there already is not made anew.
Needs bitsandbytes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from scipy import stats

from notus_exp.disk.files import MODEL, RUN_JSON

COMMON = (
    "tracking=none", "until=policy", "data.prompts=400", "split.validation=0.2", "dpo.loss_type=[sigmoid]",
    "dpo.lr_scheduler=constant", "dpo.warmup=0", "dpo.lora.r=0", "dpo.max_steps=8",
    "dpo.global_batch_size=4", "dpo.max_validation_pairs=24", "dpo.checkpoints=1", "hardware=cpu",
)  # fmt: skip
HALF, PLAIN = ("dpo.precision=bfloat16",), ("dpo.optimizer=rmsprop",)
ARMS: dict[str, tuple[str, ...]] = {
    "float32": ("dpo.precision=float32", *PLAIN),
    "bfloat16, float32 masters": (*HALF, *PLAIN),
    "bfloat16 alone (master_weights=same)": (*HALF, *PLAIN, "dpo.master_weights=same"),
    "bfloat16, float32 masters, rmsprop_bnb_8bit": (*HALF, "dpo.optimizer=rmsprop_bnb_8bit"),
}
SEEDS = {"1.0e-5": (0,), "5.0e-7": (0,)}
"""Learning rate -> seeds: one that moves so small a model in so few steps, and the one of Notus 7B."""
METRICS = {"train/loss": "loss at the end", "validation/loss": "held-out loss", "validation/margin": "held-out margin"}


def trained(overrides: tuple[str, ...], outputs: Path) -> dict[str, Any]:
    """Run a training, or find it, and return its run.json."""
    command = [sys.executable, "-m", "notus_exp", *COMMON, *overrides, f"output_dir={outputs}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads((Path(done.stdout.splitlines()[-1]) / RUN_JSON).read_text(encoding="utf-8"))
    return found


def moved(base: Path, policy: Path) -> tuple[float, float]:
    """Return the share of weights that are not what they were, and how far they moved.

    In the policy's own dtype; the second is a root mean square, relative to that of the weights.
    """
    before, after = (_weights(folder) for folder in (base, policy))
    changed = total = 0
    squares = of_weights = 0.0
    for name, weight in after.items():
        old = before[name].to(weight.dtype)
        changed += int((old != weight).sum())
        total += weight.numel()
        squares += float((weight.double() - old.double()).square().sum())
        of_weights += float(old.double().square().sum())
    return changed / total, math.sqrt(squares / of_weights)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def interval(values: list[float]) -> str:
    """Return a mean, with half the width of its 95 % t interval over seeds where there are several."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {stats.t.ppf(0.975, len(values) - 1) * stats.sem(values):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    outputs = parser.parse_args().outputs
    asked = [(rate, seed) for place in range(3) for rate, seeds in SEEDS.items() for seed in seeds[place : place + 1]]
    runs = {
        (arm, rate, seed): trained((*ARMS[arm], f"dpo.learning_rate={rate}", f"seed={seed}"), outputs)
        for rate, seed in asked
        for arm in ARMS
    }
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "bitsandbytes")
    )
    print(f"Measured on {platform.machine()}, {torch.get_num_threads()} thread(s), {versions}.\n")
    for rate, seeds in SEEDS.items():
        print(f"## Peak learning rate {rate}\n")
        print("| recipe | " + " | ".join(METRICS.values()) + " | weights that moved | by (relative) | seconds |")
        print("|---|" + "---|" * (len(METRICS) + 3))
        for arm in ARMS:
            rows = []
            for seed in seeds:
                run = runs[arm, rate, seed]
                stages = run["stages"]
                folders = [Path(stages[stage]["path"]) / MODEL for stage in ("base_model", "policy")]
                rows.append((stages["policy"]["facts"], moved(*folders), stages["policy"]["seconds"]))
            cells = [interval([facts[name] for facts, _, _ in rows]) for name in METRICS]
            shares, steps = zip(*(one for _, one, _ in rows), strict=True)
            cells += [f"{100 * sum(shares) / len(shares):.2f} %", f"{sum(steps) / len(steps):.1e}"]
            cells.append(f"{sum(seconds for _, _, seconds in rows) / len(rows):.0f}")
            print(f"| {arm} | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
