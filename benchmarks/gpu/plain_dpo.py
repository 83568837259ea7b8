"""A training as one writes it with TRL alone, on pairs that are given: `python plain_dpo.py SETTINGS.json RESULT.json`.

`smollm2.py` writes the settings, and compares losses, seconds and memory with the framework's. Each step is one global
batch of all pairs, so that no order of the data is in the comparison.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOTrainer

sys.path.append(str(Path(__file__).parents[1]))

from plain_recipe import adapter, dpo_config


class Watch(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, *arguments: Any, **named: Any) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        """Stop it, when the device is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._begun)


def main() -> None:
    """Train, and write losses, seconds, tokens and peak memory."""
    settings_file, result = (Path(argument) for argument in sys.argv[1:3])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    recipe, cuda = settings["recipe"], torch.cuda.is_available() and not settings["cpu"]
    bfloat16, lora = settings["precision"] == "bfloat16", recipe["lora"]["r"] > 0
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    # all weights trained in bfloat16: float32 masters under autocast, as the framework keeps them
    dtype = torch.bfloat16 if bfloat16 and lora else torch.float32
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=dtype)
    pairs = pl.read_parquet(settings["pairs"]).filter(pl.col("split") == "train")
    system = [] if settings["system"] is None else [{"role": "system", "content": settings["system"]}]
    rows = pairs.select("prompt", "chosen", "rejected").to_dicts()
    data = datasets.Dataset.from_list([{**row, "prompt": system + row["prompt"]} for row in rows])
    config = dpo_config(
        recipe,
        beta=recipe["beta"],
        checkpointing=settings["activation_checkpointing"],
        output_dir=settings["folder"],
        per_device_train_batch_size=settings["micro"],
        gradient_accumulation_steps=len(data) // settings["micro"],
        seed=settings["seed"],
        bf16=bfloat16,
        use_cpu=not cuda,
        logging_steps=1,
    )
    watch = Watch()
    trainer = DPOTrainer(
        model=model,
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=adapter(recipe) if lora else None,
        callbacks=[watch],
    )
    tokens = sum(
        2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in trainer.train_dataset
    )
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    peak = torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    told = {
        "losses": losses,
        "seconds": watch.seconds,
        "tokens": tokens,
        "peak": peak,
        "pairs": len(trainer.train_dataset),
    }
    result.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
