"""One experiment as a careful researcher writes it without a framework: `datasets.map`, TRL's DPOTrainer, transformers.

    python benchmarks/plain_trl.py SETTINGS.json RESULT.json

`sweep.py` writes the settings and compares the result with the framework's. The script does what a script alone can do
to be quick: the base model is scored before the adapter is added, the adapter is merged before the policy is scored,
batches are made of like lengths, logits are computed at the positions of completions alone, nothing needs gradients
outside the training, there is no activation checkpointing and no checkpoint but the final adapter. The reference is
TRL's own: the adapter is switched off for a second forward pass in every step. Beside the stopwatch nothing in it is
there for the benchmark.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets
import torch
import trl.trainer.dpo_trainer
from plain_recipe import adapter, dpo_config
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOTrainer

from notus_exp.feedback.simulated.constraints import follows, from_json

SCORING_BATCH = 8
ANSWERING_BATCH = 32

Settings = dict[str, Any]
Messages = list[dict[str, str]]


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the block's wall time to a name's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------------ curation
def score(answer: dict[str, Any], selection: str) -> float | None:
    """Return the overall score (`critique`) or the mean of the ratings that are there (`average`)."""
    if selection == "critique":
        return answer["overall_score"]
    ratings = [float(one["Rating"]) for one in answer["annotations"].values() if one["Rating"] != "N/A"]
    return sum(ratings) / len(ratings) if ratings else None


def to_pair(row: dict[str, Any], selection: str, seed: int, system: str | None) -> dict[str, Any]:
    """Make a prompt's pair: the best completion, and one of the worse ones at random; empty where none is worse."""
    distinct = {answer["response"]: answer for answer in reversed(row["completions"]) if answer["response"].strip()}
    scored = [(score(answer, selection), response) for response, answer in sorted(distinct.items())]
    scored = [(value, response) for value, response in scored if value is not None]
    best = max((value for value, _ in scored), default=0.0)
    top = [response for value, response in scored if value == best]
    worse = [response for value, response in scored if value < best]
    draw = random.Random(f"{seed}/{row['instruction']}")
    return {
        "prompt": conversation(row["instruction"], system),
        "chosen": turn(draw.choice(top)) if worse else [],
        "rejected": turn(draw.choice(worse)) if worse else [],
    }


def curate(rows: datasets.Dataset, settings: Settings) -> datasets.Dataset:
    """Map the rows to pairs; leave out repeated prompts and prompts without a pair."""
    arguments = {name: settings[name] for name in ("selection", "seed", "system")}
    pairs = rows.map(to_pair, fn_kwargs=arguments, remove_columns=["completions", "source"])
    seen: set[str] = set()

    def first_with_a_pair(instruction: str, chosen: Messages) -> bool:
        new = instruction not in seen
        seen.add(instruction)
        return new and bool(chosen)

    return pairs.filter(first_with_a_pair, input_columns=["instruction", "chosen"])


def of_split(rows: datasets.Dataset, split: str, most: int) -> datasets.Dataset:
    """Return the first rows of a split; the file is shuffled already."""
    kept = rows.filter(lambda name: name == split, input_columns="split")
    return kept.select(range(min(most, len(kept))))


def conversation(instruction: str, system: str | None) -> Messages:
    """Return a prompt as messages."""
    user = {"role": "user", "content": instruction}
    return [user] if system is None else [{"role": "system", "content": system}, user]


def turn(response: str) -> Messages:
    """Return an answer as messages."""
    return [{"role": "assistant", "content": response}]


# ------------------------------------------------------------------------------------------------------------- scoring
def encode(tokenizer: Any, prompt: Messages, response: str, most: int) -> tuple[list[int], int]:
    """Return the token ids of both, cut at the end, and how many of them are the prompt's."""
    start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
    both = tokenizer.apply_chat_template([*prompt, *turn(response)])["input_ids"]
    assert both[: len(start)] == start
    return both[:most], len(start)


@torch.inference_mode()
def log_probs(model: Any, items: list[tuple[list[int], int]]) -> list[float]:
    """Return the log-prob of each completion, summed over its tokens, in nats."""
    found = [0.0] * len(items)
    order = sorted(range(len(items)), key=lambda i: len(items[i][0]))
    for at in range(0, len(order), SCORING_BATCH):
        batch = order[at : at + SCORING_BATCH]
        ids = pad_sequence([torch.tensor(items[i][0]) for i in batch], batch_first=True)
        places = torch.arange(ids.shape[1])
        ends = torch.tensor([len(items[i][0]) for i in batch])[:, None]
        starts = torch.tensor([items[i][1] for i in batch])[:, None]
        hidden = model.model(input_ids=ids, attention_mask=(places < ends).long(), use_cache=False).last_hidden_state
        wanted = ((places >= starts) & (places < ends))[:, 1:]
        logits = model.lm_head(hidden[:, :-1][wanted])
        tokens = logits.gather(1, ids[:, 1:][wanted][:, None]).squeeze(1) - logits.logsumexp(dim=1)
        sums = torch.zeros(len(batch), dtype=torch.float64)
        sums.index_add_(0, wanted.nonzero()[:, 0], tokens.double())
        for i, value in zip(batch, sums.tolist(), strict=True):
            found[i] = value
    return found


@torch.inference_mode()
def answer(model: Any, tokenizer: Any, prompts: list[Messages], most: int) -> list[str]:
    """Return greedy answers of at most so many tokens, in the order of the prompts."""
    found = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i][-1]["content"]))
    for at in range(0, len(order), ANSWERING_BATCH):
        batch = order[at : at + ANSWERING_BATCH]
        asked = tokenizer.apply_chat_template(
            [prompts[i] for i in batch],
            add_generation_prompt=True,
            padding=True,
            tokenizer_kwargs={"padding_side": "left"},
            return_tensors="pt",
            return_dict=True,
        )
        made = model.generate(**asked, do_sample=False, max_new_tokens=most, pad_token_id=tokenizer.pad_token_id)
        texts = tokenizer.batch_decode(made[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(batch, texts, strict=True):
            found[i] = text
    return found


def accuracy(rows: datasets.Dataset, rewards: list[float], selection: str) -> float:
    """Return the mean over prompts of the share of strictly ordered pairs that the rewards order alike; a tie is half.

    Args:
        rows: n prompts with k completions each.
        rewards: n * k values, prompt by prompt.
        selection: The labelling.
    """
    left = iter(rewards)
    shares = []
    for row in rows:
        scored = [(score(one, selection), next(left)) for one in row["completions"]]
        scored = [(label, reward) for label, reward in scored if label is not None]
        right = [
            0.5 if a[1] == b[1] else float((a[0] > b[0]) == (a[1] > b[1]))
            for a, b in combinations(scored, 2)
            if a[0] != b[0]
        ]
        if right:
            shares.append(sum(right) / len(right))
    return sum(shares) / len(shares)


def strict(questions: list[dict[str, Any]], answers: list[str]) -> float:
    """Return the share of answers that follow all constraints of their question."""
    asked = [from_json(question["constraints"]) for question in questions]
    kept = [all(follows(one, text) for one in wanted) for wanted, text in zip(asked, answers, strict=True)]
    return sum(kept) / len(kept)


# ------------------------------------------------------------------------------------------------------------ training
def train(model: Any, tokenizer: Any, train_on: Any, validate_on: Any, settings: Settings, watch: Stopwatch) -> Any:
    """Train an adapter with DPO; return the trainer."""
    recipe = settings["recipe"]
    config = dpo_config(
        recipe,
        beta=settings["beta"],
        checkpointing=False,
        output_dir=settings["folder"],
        per_device_train_batch_size=recipe["global_batch_size"],
        seed=settings["seed"],
        bf16=False,
        use_cpu=True,
        eval_strategy="epoch",
    )
    switched_off = trl.trainer.dpo_trainer.use_adapter

    @contextmanager
    def timed(*arguments: Any, **named: Any) -> Iterator[Any]:
        with watch("reference"), switched_off(*arguments, **named) as found:
            yield found

    trl.trainer.dpo_trainer.use_adapter = timed  # around the reference's forward pass, and nothing else
    trainer = DPOTrainer(
        model=model,
        args=config,
        train_dataset=train_on,
        eval_dataset=validate_on,
        processing_class=tokenizer,
        peft_config=adapter(recipe),
    )
    trainer.train()
    trainer.save_model(settings["folder"])
    return trainer


def run(settings: Settings) -> dict[str, Any]:
    """Do the experiment; return counts, metrics and seconds."""
    watch = Stopwatch()
    datasets.disable_progress_bars()
    with watch("load"):
        tokenizer = AutoTokenizer.from_pretrained(settings["model"])
        model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32).eval()
    with watch("curation"):
        rows = datasets.load_dataset("json", data_files=settings["feedback"], split="train")
        pairs = curate(rows, settings)
        train_on = of_split(pairs, "train", settings["pairs"])
        validate_on = of_split(pairs, "validation", settings["validation_pairs"])
        test = of_split(rows, "test", settings["test_prompts"])
    questions = [json.loads(line) for line in Path(settings["questions"]).read_text(encoding="utf-8").splitlines()]
    prompts = [conversation(question["instruction"], settings["system"]) for question in questions]
    most = settings["recipe"]["max_length"]
    items = [
        encode(tokenizer, conversation(row["instruction"], settings["system"]), one["response"], most)
        for row in test
        for one in row["completions"]
    ]
    with watch("base log-probs"):
        base_logps = log_probs(model, items)
    with watch("base answers"):
        base_answers = answer(model, tokenizer, prompts, settings["max_new_tokens"])
    with watch("training"):
        trainer = train(model, tokenizer, train_on, validate_on, settings, watch)
        policy = trainer.model.merge_and_unload().eval()
    with watch("policy log-probs"):
        logps = log_probs(policy, items)
    with watch("policy answers"):
        answers = answer(policy, tokenizer, prompts, settings["max_new_tokens"])
    rewards = [settings["beta"] * (ours - base) for ours, base in zip(logps, base_logps, strict=True)]
    return {
        "counts": {
            "pairs": len(train_on),
            "validation_pairs": len(validate_on),
            "steps": trainer.state.global_step,
            "base_completions": len(base_logps),
            "completions": len(logps),
            "base_answers": len(base_answers),
            "answers": len(answers),
        },
        "metrics": {
            "preferences/accuracy/average": accuracy(test, rewards, "average"),
            "preferences/accuracy/critique": accuracy(test, rewards, "critique"),
            "verifiable/strict": strict(questions, answers),
            "base/verifiable/strict": strict(questions, base_answers),
        },
        "base_logp": sum(base_logps) / len(base_logps),
        "seconds": watch.seconds,
    }


def main() -> None:
    """Do what the file of settings, the first argument, says, and write the result to the second."""
    settings, result = (Path(argument) for argument in sys.argv[1:3])
    done = run(json.loads(settings.read_text(encoding="utf-8")))
    result.write_text(json.dumps(done, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
