"""The planner of memory beside peaks measured on the processor: peak RSS above that after imports, before loading.

    python benchmarks/memory.py outputs/memory > docs/results/memory.md

A model of random weights in Llama's shape, 1.16 GB of them in float32, goes through the stages themselves: two steps of
training, or a batch of scoring. Each case is a process of its own. Needs about 7 GB; `--cases` takes some of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import DPO, LongPrompts, Lora, MasterWeights, Precision, SpecialTokens
from notus_exp.disk import files
from notus_exp.models.shapes import shape_of
from notus_exp.run.memory.inference_needs import scoring
from notus_exp.run.memory.need import Need, fullest
from notus_exp.run.memory.number_sizes import bytes_of
from notus_exp.run.memory.training_needs import training

CONFIG = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 20,
    "num_attention_heads": 16, "num_key_value_heads": 4, "tie_word_embeddings": False, "max_position_embeddings": 2048,
}  # fmt: skip
SHAPE = shape_of(CONFIG)
assert SHAPE is not None
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FULL, LORA = Lora(0, 16, 0.0, []), Lora(64, 16, 0.1, EVERY[:4])
LENGTH, PROMPT, PAIRS = 128, 8, 4
STEPS = 2
STORED = 4
"""Bytes of a weight in the model's file."""
RECIPE = DPO(
    beta=0.1, loss_type=["sigmoid"], loss_weights=None, label_smoothing=0.0, learning_rate=1e-6,
    lr_scheduler="constant", warmup=0.0, optimizer="rmsprop", weight_decay=0.0, max_grad_norm=1.0, epochs=1.0,
    max_steps=STEPS, global_batch_size=2, precision=Precision.float32, max_length=LENGTH, max_prompt_length=None,
    long_prompts=LongPrompts.drop, evaluations=0, max_validation_pairs=None, checkpoints=1, lora=FULL,
    special_tokens=SpecialTokens.keep,
)  # fmt: skip
MACHINE = Hardware(
    name="cpu", device=Device.cpu, micro_batch_size=2, scoring_batch_size=4, generation_batch_size=4,
    attention="sdpa", activation_checkpointing=False, precisions=[Precision.float32, Precision.bfloat16],
    launch=Launch.plain, processes=1, zero_stage=None, offload=False,
)  # fmt: skip


class Case(NamedTuple):
    """What is measured: a training by a recipe, or scoring in its precision."""

    recipe: DPO
    hardware: Hardware = MACHINE
    scores: bool = False

    def needs(self) -> list[Need]:
        """Return what the planner says of it."""
        if self.scores:
            computed = bytes_of(self.recipe.precision)
            weights = float(computed * SHAPE.parameters)
            found = scoring("reference", SHAPE, weights, computed, LENGTH, self.hardware)
            if computed != STORED:  # pages of the file that is read; the system takes them back where it needs them
                loading = {"weights": weights, "file": float(STORED * SHAPE.parameters)}
                found.append(Need("reference", "loading from float32", loading))
            return found
        return training(SHAPE, self.recipe, self.hardware)


HALF = replace(RECIPE, precision=Precision.bfloat16)
CHECKPOINTED = replace(MACHINE, activation_checkpointing=True)
CASES = {
    "full, float32": Case(RECIPE),
    "full, float32, checkpointed": Case(RECIPE, CHECKPOINTED),
    "LoRA, float32": Case(replace(RECIPE, lora=LORA)),
    "LoRA, float32, checkpointed": Case(replace(RECIPE, lora=LORA), CHECKPOINTED),
    "scoring, float32": Case(RECIPE, scores=True),
    "full, bfloat16 by float32 masters": Case(HALF),
    "full, bfloat16 alone": Case(replace(HALF, master_weights=MasterWeights.same)),
    "LoRA, bfloat16": Case(replace(HALF, lora=LORA)),
    "scoring, bfloat16": Case(HALF, scores=True),
    "full, float32, 2 accumulated, adamw": Case(replace(RECIPE, global_batch_size=4, optimizer="adamw_torch")),
}


def make_model(folder: Path) -> None:
    """Write a model of random weights, behind the tiny model's tokenizer, unless it is there."""
    if (folder / "config.json").exists():
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from notus_exp.models.pretrained import tiny_random

    tiny_random(folder, 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIG)).save_pretrained(folder)


def make_inputs(root: Path) -> None:
    """Write the artifacts that a training reads: pairs of as many tokens as the recipe lets them have."""
    import polars as pl

    inputs = {name: root / f"{name}-{'0' * 16}" for name in ("pairs", "base_model", "reference")}
    for folder in inputs.values():
        folder.mkdir(parents=True, exist_ok=True)
    make_model(inputs["base_model"] / files.MODEL)
    rows, pairs = [], []
    for number in range(PAIRS):
        prompt = [{"role": "user", "content": f"question {number}"}]
        pair: dict[str, Any] = {"prompt_id": f"{number:016x}", "row": number, "split": "train", "prompt": prompt}
        for place, side in enumerate(("chosen", "rejected")):
            pair |= {side: [{"role": "assistant", "content": side}], f"{side}_completion": place}
            shorter = LENGTH - PROMPT - (number + place) % 2  # some padding, as there is in any real batch
            rows.append(
                {
                    "prompt_id": pair["prompt_id"], "row": number, "completion": place, "use": "train",
                    "prompt_ids": [5] * PROMPT, "completion_ids": [(7 + place + n) % 250 for n in range(shorter)],
                    "ref_logp": -900.0,
                }
            )  # fmt: skip
        pairs.append(pair)
    pl.DataFrame(rows).write_parquet(inputs["reference"] / files.REFERENCE)
    pl.DataFrame(pairs).write_parquet(inputs["pairs"] / files.PAIRS)


def measure(name: str, root: Path) -> dict[str, float]:
    """Run a case in this process; return its peak above what the imports left, in bytes, and what of it files back."""
    import peft  # noqa: F401 - what a stage imports only when it is needed counts as imports all the same
    import trl.trainer.dpo_trainer  # noqa: F401

    from notus_exp.disk.events import EventWriter
    from notus_exp.models.encoding import Encoded
    from notus_exp.models.reference import base_logps
    from notus_exp.stages.context import Context
    from notus_exp.stages.settings import PolicySettings
    from notus_exp.training import dpo

    case = CASES[name]
    inputs = {use: root / f"{use}-{'0' * 16}" for use in ("pairs", "base_model", "reference")}
    out = root / f"case-{os.getpid()}"
    out.mkdir()
    context = Context(EventWriter("policy", out / files.EVENTS, out / "followed.jsonl"), case.hardware, out / "cache")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, watched = status()["VmRSS"], Watch()
    with watched:
        if case.scores:
            items = [
                Encoded([5] * PROMPT, [(7 + n + k) % 250 for k in range(LENGTH - PROMPT - n % 2)]) for n in range(4)
            ]
            base_logps(inputs["base_model"], case.recipe.precision.name, items, context)
        else:
            dpo.run(PolicySettings(case.recipe, 0, None), inputs, out, context)
    return {"peak": status()["VmHWM"] - before, "imports": before, "files": watched.files}


class Watch(threading.Thread):
    """Looks every few milliseconds how much of the memory in use is mapped from files, at its fullest."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.files = self._most = 0.0
        self._done = threading.Event()

    def run(self) -> None:
        """Look until the block ends."""
        while not self._done.wait(0.01):
            now = status()
            if now["VmRSS"] > self._most:
                self._most, self.files = now["VmRSS"], now["RssFile"]

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()


def status() -> dict[str, float]:
    """Return what the kernel says of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    told = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return {name: 1024.0 * int(value) for name, value in told.items()}


def measured(name: str, root: Path) -> dict[str, float]:
    """Measure a case in a process of its own, or return what was measured of it there before."""
    kept = root / f"{name.replace(' ', '_')}-{LENGTH}.json"
    if kept.exists():
        before: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return before
    command = [sys.executable, __file__, str(root), "--measure", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    kept.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_inputs(given.outputs)
        return
    if given.measure:
        print(json.dumps(measure(given.measure, given.outputs)))
        return
    making = [sys.executable, __file__, str(given.outputs), "--make"]
    subprocess.run(making, check=True, stdout=subprocess.DEVNULL)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "trl", "peft")
    )
    print(f"{platform.machine()}, {os.cpu_count()} processors, python {platform.python_version()}, {versions}\n")
    print("| case | planned, GB | its fullest moment | measured, GB | planned / measured |")
    print("|---|---|---|---|---|")
    for name in given.cases:
        need, found = fullest(CASES[name].needs()), measured(name, given.outputs)
        ratio = need.total / found["peak"]
        cells = [name, f"{need.total / 1e9:.2f}", need.moment, f"{found['peak'] / 1e9:.2f}", f"{ratio:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
