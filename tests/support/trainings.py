"""Trainings on a tiny random model: the artifacts that they read, and what one leaves behind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, TrainerCallback
from trl import DPOConfig

from notus_exp.config.curation_settings import Split
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.training_settings import DPO
from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.disk import events, files
from notus_exp.machine.team import Alone
from notus_exp.stages.context import Context
from notus_exp.stages.settings import PolicySettings, ReferenceSettings
from notus_exp.training import dpo, prepared
from notus_exp.training.arguments import dpo_arguments
from notus_exp.training.checkpoints import step_of
from notus_exp.training.sharding import size, trained
from support.recipes import LORA, machine, recipe

FULL = replace(LORA, r=0)
SUBJECTS = ("rain", "a clock", "the old sea", "maps", "bread and salt", "owls", "a long winter", "tea", "iron", "moss")
N_TRAIN, N_VALIDATION = 11, 3


def conversation(number):
    subject = SUBJECTS[number % len(SUBJECTS)]
    prompt = [{"role": "system", "content": ""}, {"role": "user", "content": f"Write about {subject}, part {number}."}]
    chosen = [{"role": "assistant", "content": f"{subject} is fine" + " indeed" * (number % 4)}]
    rejected = [{"role": "assistant", "content": "no" + " idea" * (1 + number % 3)}]
    return prompt, chosen, rejected


def explicit_logp(model, prompt_ids, completion_ids):
    """The sum of log-probs of the completion's tokens, one by one, in float64."""
    ids = torch.tensor([prompt_ids + completion_ids])
    with torch.no_grad():
        logps = model(ids).logits[0].double().log_softmax(dim=-1)
    start = len(prompt_ids)
    return sum(logps[start + i - 1, token].item() for i, token in enumerate(completion_ids))


def reference_row(model, tokenizer, number, completion, use):
    prompt, chosen, rejected = conversation(number)
    prompt_ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    both = tokenizer.apply_chat_template(prompt + (chosen, rejected)[completion], return_dict=True)["input_ids"]
    completion_ids = both[len(prompt_ids) :]
    return {
        "prompt_id": f"{number:016x}", "row": number, "completion": completion, "prompt_ids": prompt_ids,
        "completion_ids": completion_ids, "ref_logp": explicit_logp(model, prompt_ids, completion_ids), "use": use,
    }  # fmt: skip


def make_artifacts(tiny_model_folder, root):
    """Return the input artifacts of the stage, with one training pair whose prompt was too long to have a reference."""
    names = ("pairs", "base_model", "reference")
    inputs = {name: root / f"{name}-{'0123456789abcdef'}" for name in names}
    for folder in inputs.values():
        folder.mkdir()
    (inputs["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    uses = ["train"] * N_TRAIN + ["validation"] * N_VALIDATION
    rows = [reference_row(model, tokenizer, n, c, use) for n, use in enumerate(uses) for c in (0, 1)]
    pl.DataFrame(rows[::-1]).write_parquet(inputs["reference"] / files.REFERENCE)  # its order must not matter
    pairs = [
        {
            "prompt_id": f"{n:016x}", "row": n, "split": use, "chosen_completion": 0, "rejected_completion": 1,
            **dict(zip(("prompt", "chosen", "rejected"), conversation(n), strict=True)),
        }
        for n, use in enumerate([*uses, "train"])
    ]  # fmt: skip
    pl.DataFrame(pairs).write_parquet(inputs["pairs"] / files.PAIRS)
    (inputs["pairs"] / files.CURATION_JSON).write_text(
        json.dumps({"counts": {"dropped": {"ties": 5}}, "margins": {"mean": 1.5}})
    )
    manifest = Manifest("pairs", "0" * 64, {}, {"feedback": "f" * 64}, {})
    (inputs["pairs"] / files.MANIFEST).write_text(json.dumps(manifest_file(manifest)))
    return inputs


def context_in(out, hardware=None, team=None):
    team = team or Alone()
    told = out if team.rank == 0 else out.with_name(f"{out.name}-{team.rank}")  # only one process tells what happens
    for folder in (out, told):
        folder.mkdir(parents=True, exist_ok=True)
    writer = events.EventWriter("policy", told / files.EVENTS, told / "followed.jsonl")
    return Context(events=writer, hardware=hardware or machine(), cache=out / "cache", team=team)


def train(artifacts, out, dpo_recipe, hardware=None, seed=3, encoding=None, team=None):
    """Run the stage and return its facts."""
    context = context_in(out, hardware, team)
    settings = PolicySettings(dpo=dpo_recipe, seed=seed, system_prompt=None, encoding=encoding)
    return dpo.run(settings, artifacts, out, context)


class Watcher(TrainerCallback):
    """Sees what a training holds, at its last step."""

    def __init__(self, trainer):
        self._trainer, self.seen = trainer, {}

    def on_train_begin(self, args, state, control, **_):
        self.seen["from"] = state.global_step

    def on_pre_optimizer_step(self, args, state, control, **_):
        self.seen["gradients"] = sorted({str(p.grad.dtype) for _, p in self._parameters() if p.grad is not None})

    def on_step_end(self, args, state, control, **_):
        parameters, optimizer = dict(self._parameters()), self._trainer.optimizer
        everything = list(self._trainer.model.parameters())
        self.seen |= {
            "kinds": sorted({_kind(p) for p in everything}),
            "weights": sorted({str(p.dtype) for p in parameters.values()}),
            "share": sum(_here(p) for p in everything) / sum(size(p) for p in everything),
            "state": sorted({str(v.dtype) for s in optimizer.state.values() for v in s.values() if v.dim()}),
            "masters": sorted({str(p.dtype) for group in optimizer.param_groups for p in group["params"]}),
        }

    def _parameters(self):
        return trained(self._trainer.model)


def _kind(parameter):
    return "partitioned" if hasattr(parameter, "ds_tensor") else type(parameter).__name__


def _here(parameter):
    """Elements in this process; ZeRO-3 keeps small ones whole."""
    if hasattr(parameter, "ds_tensor"):
        return (parameter.ds_tensor if parameter.ds_status.name == "NOT_AVAILABLE" else parameter).numel()
    return parameter.to_local().numel() if isinstance(parameter, DTensor) else parameter.numel()


class Wanted(NamedTuple):
    """A training: where, by which recipe, on which machine, and whether all its checkpoints stay."""

    out: Path
    asked: DPO
    hardware: Hardware
    keeps: bool = False


def train_all(team, artifacts, wanted):
    """Run the stage several times, in the processes of a team, and return facts, what was held, and models opened."""
    return [_watched(artifacts, *one, team) for one in wanted]


def kill_after(out, step):
    """Leave of a training whose checkpoints stay what one leaves that is killed after a step."""
    for path in (out / dpo.CHECKPOINTS).iterdir():
        if step_of(path) > step:
            shutil.rmtree(path)
    shutil.rmtree(out / files.MODEL)


def _watched(artifacts, out, asked, hardware, keeps, team):
    opened, watchers = [], []
    plain, open_model = dpo.go_on, PreTrainedModel.from_pretrained.__func__

    def watch(trainer, *given):
        watchers.append(Watcher(trainer))
        trainer.add_callback(watchers[0])
        plain(trainer, *given)

    def count(cls, *given, **named):
        opened.append(cls.__name__)
        return open_model(cls, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dpo, "go_on", watch)
        patch.setattr(PreTrainedModel, "from_pretrained", classmethod(count))
        if keeps:
            patch.setattr(prepared, "keep_only", lambda *_: None)
            patch.setattr(dpo, "_finish", lambda *_: None)
        facts = train(artifacts, out, asked, hardware, team=team)
    return {"facts": facts, "opened": opened, **watchers[0].seen}


def step_events(out, name="train/loss"):
    return [e.metrics[name] for e in events.read(out / files.EVENTS) if name in e.metrics]


def weights(out):
    (path,) = (out / files.MODEL).glob("*.safetensors")
    return load_file(path)


def without_reference(artifacts, root):
    """Return the inputs of a training that needs no reference, and how its pairs are made tokens: as those of it were.

    The pair whose prompt was too long is so here too.
    """
    feedback = root / "feedback-0123456789abcdef"
    feedback.mkdir(exist_ok=True)
    rows = []
    for row in pl.read_parquet(artifacts["pairs"] / files.PAIRS).to_dicts():
        long = row["row"] == N_TRAIN + N_VALIDATION
        rows += [
            {
                "prompt_id": row["prompt_id"], "row": row["row"], "completion": row[f"{side}_completion"],
                "instruction": row["prompt"][-1]["content"] * (1 + 99 * long), "principle": "", "system_prompt": "",
                "response": row[side][0]["content"],
            }
            for side in ("chosen", "rejected")
        ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(feedback / files.COMPLETIONS)
    encoding = ReferenceSettings(Split(0, 0.2, 0.0), "", "float32", 96, 64, "drop")
    inputs = {name: folder for name, folder in artifacts.items() if name != "reference"}
    return inputs | {"feedback": feedback}, encoding


FEW_PAIRS = [
    {
        "prompt_ids": [5, 6, 7], "chosen_ids": [8, 9, 10, 2], "rejected_ids": [11, 2],
        "ref_chosen_logps": -31.0, "ref_rejected_logps": -17.0,
    },
    {
        "prompt_ids": [12, 13], "chosen_ids": [14, 2], "rejected_ids": [15, 16, 17, 18, 2],
        "ref_chosen_logps": -16.0, "ref_rejected_logps": -40.5,
    },
    {
        "prompt_ids": [19], "chosen_ids": [20, 21, 2], "rejected_ids": [22, 23, 2],
        "ref_chosen_logps": -23.5, "ref_rejected_logps": -24.0,
    },
]  # fmt: skip
"""Pairs as tokens, with log-probs of a reference somewhere near those of a random model."""


def make_pair_trainer(model_folder, out, **changes):
    """Return a trainer of pairs, of all weights over a single pair, to whose passes a test gives batches of its own."""
    asked = recipe(**{"lora": FULL, "evaluations": 0, **changes})
    given = dpo_arguments(asked, machine(), train_pairs=1, validation_pairs=0, seed=1, out=out, use_cpu=True)
    row = {"prompt_ids": [5], "chosen_ids": [6], "rejected_ids": [7]}
    return dpo.TRAINERS[asked.algorithm](
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=DPOConfig(**given),
        train_dataset=Dataset.from_list([row]),
        processing_class=AutoTokenizer.from_pretrained(model_folder),
    )
