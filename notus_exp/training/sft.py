"""The stage `sft`: trains the base model on what assistants say, and writes a model that preferences go on from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from datasets import load_from_disk
from transformers import PrinterCallback
from trl.trainer.utils import disable_dropout_in_model

from notus_exp.config.hardware_settings import Launch
from notus_exp.config.precisions import working_precision
from notus_exp.config.sft_checks import as_recipe, told_of_sft
from notus_exp.config.sft_settings import SFT_SCHEMAS, ChatSft, SftTraining
from notus_exp.config.training_settings import DPO
from notus_exp.disk import files
from notus_exp.disk.hashing import canonical, uniform
from notus_exp.disk.keys import contents_of
from notus_exp.errors import UserError
from notus_exp.feedback.conversations import Chat, read_chats
from notus_exp.models.base_model import model_facts
from notus_exp.models.capabilities import check_fit
from notus_exp.models.dialogues import Templating, TokenisedDialogues, tokenise_dialogues
from notus_exp.models.merged import keep_tokenizer, merge
from notus_exp.models.pretrained import ADAPTER_CONFIG, DTYPES, load_model, load_tokenizer, pick_device
from notus_exp.models.rendering import Message
from notus_exp.models.saved_weights import keep_in
from notus_exp.stages.context import Context, Requirements
from notus_exp.stages.settings import SftSettings, from_json
from notus_exp.training.arguments import float32_masters, lora_config, plan_steps, sft_arguments, trainer_config
from notus_exp.training.checkpoints import CheckpointOwner
from notus_exp.training.frame import (
    CHECKPOINTS,
    DATASET,
    cost_of,
    end,
    float32_adapter,
    sharding_of,
    train,
    write_dataset,
)
from notus_exp.training.measures import SUPERVISED
from notus_exp.training.model_card import write_sft_card
from notus_exp.training.reporter import Reporter, final_metrics
from notus_exp.training.sharding import size, trained
from notus_exp.training.supervised import SupervisedTrainer
from notus_exp.training.throughput import Meter
from notus_exp.training.zero import join_group, leaving_nothing

ADAPTER = "adapter"
"""Folder of an adapter until it is merged."""
BEFORE = 0.05
"""Share of the stage's progress until its texts are tokens."""


class Dialogues(NamedTuple):
    """Conversations to train on and those that are measured on, and what was counted of where they are from."""

    train: list[list[Message]]
    validation: list[list[Message]]
    counts: dict[str, int]


def run(settings: SftSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Train the base model and write it to `out/model`: full weights (safetensors), tokenizer, model card.

    An adapter is merged into the weights in float32; they are written in `sft.precision`. A killed attempt's newest
    complete checkpoint in `out/checkpoints` is resumed; on the CPU the result is then the same to the bit.

    Args:
        settings: The recipe, the system turn, and what stands for the conversations.
        inputs: Artifact `base_model`; `pairs` where their chosen responses are learnt.
        out: Folder to write into, perhaps with the work of a killed attempt; `quarantine.jsonl` has malformed records.
        context: Events and hardware; `sources["sft"]` has the local files of conversations in reading order.

    Returns:
        Facts: counts of conversations, steps and tokens, final metrics, device and cost.

    Raises:
        UserError: No conversation to train on, too many malformed records, a setting that does not fit the model or the
            machine, or a loss that is no longer a number.
    """
    with told_of_sft():
        return _run(settings, inputs, out, context)


def _run(settings: SftSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    start = time.monotonic()
    sft = _training_of(settings)
    recipe, base = as_recipe(sft), inputs["base_model"] / files.MODEL
    asked = Requirements(target_modules=list(sft.lora.target_modules) if sft.lora.r else [])
    check_fit(base, asked, sft.max_length, settings.system_prompt, settings.template_date)
    counts = context.team.broadcast(lambda: _prepare(settings, sft, inputs, out, context))
    with leaving_nothing() if context.hardware.launch is Launch.deepspeed else nullcontext():
        trainer = _make_trainer(recipe, sft.seed, counts, inputs, out, context)
        train(trainer, out / CHECKPOINTS, context)
        facts = {
            **counts,
            **_counts(trainer, recipe, counts["conversations_trained"]),
            **final_metrics(trainer.state, SUPERVISED, tuple(SUPERVISED)),
            "seconds": round(time.monotonic() - start, 3),
            **(cost := cost_of(trainer.args.device)),
            "throughput": trainer.meter.told(
                trainer.model, cost["device"], recipe.precision.name, trainer.accelerator.gather
            ),
        }
        trainer.save_model(str(out / (ADAPTER if recipe.lora.r else files.MODEL)))
        if trainer.is_world_process_zero():
            facts |= _finish(settings, recipe, inputs, out, facts, context)
        trainer.accelerator.wait_for_everyone()
    return facts


def _training_of(settings: SftSettings) -> SftTraining:
    sft = from_json(SFT_SCHEMAS[settings.sft["name"]], settings.sft)
    assert isinstance(sft, SftTraining)
    return sft


# --------------------------------------------------------------------------------------------------------------- texts
def _prepare(
    settings: SftSettings, sft: SftTraining, inputs: dict[str, Path], out: Path, context: Context
) -> dict[str, int]:
    """Write the conversations as tokens into `out/dataset`, and return what was counted."""
    tokenizer = load_tokenizer(inputs["base_model"] / files.MODEL)
    found = _chats(settings, sft, out, context) if isinstance(sft, ChatSft) else _chosen(inputs["pairs"])
    held_out = _measured(found.validation, sft) if sft.evaluations else []
    how = Templating(
        settings.system_prompt,
        sft.max_length,
        settings.template_date,
        last_only=not isinstance(sft, ChatSft),  # what is before a chosen response is its prompt
        special_tokens=sft.special_tokens,
    )
    told = _teller(context, len(found.train) + len(held_out))
    train_rows = tokenise_dialogues(found.train, tokenizer, how, told)
    validation_rows = tokenise_dialogues(held_out, tokenizer, how, lambda done: told(len(found.train) + done))
    counts = {
        "conversations": len(found.train) + len(found.validation),
        **found.counts,
        "conversations_trained": len(train_rows.rows),
        "validation_conversations": len(validation_rows.rows),
        **{_named(name): number for name, number in train_rows.counts.items()},
        **{f"validation_{_named(name)}": number for name, number in validation_rows.counts.items()},
    }
    _check_tokens(train_rows, len(found.train), sft, context.requirements.sft_max_truncated)
    write_dataset(train_rows.rows, out / DATASET / "train")
    if len(validation_rows.rows):
        write_dataset(validation_rows.rows, out / DATASET / "validation")
    return counts


def _named(name: str) -> str:
    """Return the name of a count of conversations."""
    return name if name in ("trained_tokens", "system_turns_hidden") else f"conversations_{name}"


def _chosen(folder: Path) -> Dialogues:
    """Return the chosen responses of training and validation pairs with their prompts, each once, in their order."""
    pairs = pl.read_parquet(folder / files.PAIRS, columns=["split", "prompt", "chosen"], glob=False)
    found: dict[str, list[list[Message]]] = {}
    for split in ("train", "validation"):
        rows = pairs.filter(pl.col("split") == split).select("prompt", "chosen").iter_rows()
        distinct = {canonical(turns): turns for turns in ([*prompt, *chosen] for prompt, chosen in rows)}
        found[split] = [*distinct.values()]
    again = len(pairs.filter(pl.col("split") != "test")) - sum(map(len, found.values()))
    return Dialogues(found["train"], found["validation"], {"conversations_repeated": again})


def _chats(settings: SftSettings, sft: ChatSft, out: Path, context: Context) -> Dialogues:
    local = context.sources.get("sft", [])

    def report(share: float) -> None:
        context.events.progress(int(share * 1000), int(2 * 1000 / BEFORE))

    chats = read_chats(sft, settings.data_digest, local, out / files.QUARANTINE, report)
    counts = {name if "/" in name or "records" in name else _named(name): n for name, n in chats.counts.items()}
    return Dialogues([*map(_messages, chats.train)], [*map(_messages, chats.validation)], counts)


def _messages(turns: Chat) -> list[Message]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _measured(validation: list[list[Message]], sft: SftTraining) -> list[list[Message]]:
    """Return at most `max_validation` of the conversations held out: the first by a hash of their place."""
    if sft.max_validation is None or len(validation) <= sft.max_validation:
        return validation
    places = uniform([f"{place:016x}" for place in range(len(validation))], sft.seed, "sft_measured")
    return [validation[place] for place in sorted(places.argsort(kind="stable")[: sft.max_validation].tolist())]


def _teller(context: Context, conversations: int) -> Callable[[int], None]:
    """Return what tells how many conversations are tokens, as the share of the stage that comes before its training."""

    def tell(done: int) -> None:
        context.events.progress(done, int(max(conversations, 1) / BEFORE))

    return tell


def _check_tokens(found: TokenisedDialogues, conversations: int, sft: SftTraining, most: float) -> None:
    """Refuse a training without a conversation, or of which too many lose their end."""
    counts = found.counts
    if found.rows.is_empty():
        why = [f"{counts['too_long']} have no answer within sft.max_length={sft.max_length} tokens"]
        if counts["with_special_tokens"]:
            why.append(f"{counts['with_special_tokens']} hold a mark of the model's own (sft.special_tokens)")
        raise UserError(
            f"none of {conversations} conversations is left to train on: {', and '.join(why)}",
            "raise sft.max_length, or look at the texts",
        )
    cut = counts["truncated"] + counts["too_long"]
    if cut / conversations > most:
        raise UserError(
            f"{cut} of {conversations} conversations ({cut / conversations:.0%}) lose their end at "
            f"sft.max_length={sft.max_length}, and sft.max_truncated={most:g}",
            "raise sft.max_length, or sft.max_truncated to train on beginnings",
        )


# ------------------------------------------------------------------------------------------------------------ training
def _make_trainer(
    recipe: DPO, seed: int, counts: dict[str, int], inputs: dict[str, Path], out: Path, context: Context
) -> SupervisedTrainer:
    hardware = context.hardware
    device = pick_device(hardware, recipe.precision.name)
    arguments = sft_arguments(
        recipe,
        hardware,
        train=counts["conversations_trained"],
        validation=counts["validation_conversations"],
        seed=seed,
        out=out / CHECKPOINTS,
        use_cpu=device.type == "cpu",
    )
    config = trainer_config(arguments, hardware, "sft")  # before the model: ZeRO-3 is told of by it
    if hardware.launch is Launch.deepspeed:
        join_group(device)
    base = inputs["base_model"] / files.MODEL
    model = load_model(base, None, working_precision(recipe), hardware, trainable=True, full=float32_masters(recipe))
    disable_dropout_in_model(model)  # the base model's own; the adapter's, `sft.lora.dropout`, stays
    meter = Meter()
    trainer = SupervisedTrainer(
        meter=meter,
        sharding=sharding_of(recipe, hardware, device),
        model=model,
        args=config,
        train_dataset=load_from_disk(out / DATASET / "train"),
        eval_dataset=load_from_disk(out / DATASET / "validation") if arguments["eval_strategy"] == "steps" else None,
        processing_class=load_tokenizer(base),
        peft_config=lora_config(recipe.lora),
        callbacks=[Reporter(context.events, recipe.precision.name, meter, SUPERVISED), meter],
    )
    float32_adapter(trainer.model, recipe)
    trainer.owner = CheckpointOwner(out.name, contents_of(inputs), out / files.EVENTS)
    trainer.remove_callback(PrinterCallback)  # it prints to standard output, which belongs to the run
    return trainer


def _counts(trainer: SupervisedTrainer, recipe: DPO, conversations: int) -> dict[str, Any]:
    state = trainer.state
    return {
        "steps": state.global_step,
        "epochs": round(state.global_step / plan_steps(recipe, conversations).per_epoch, 6),
        "tokens": int(state.num_input_tokens_seen),
        "trainable_parameters": sum(size(parameter) for _, parameter in trained(trainer.model)),
    }


def _finish(
    settings: SftSettings,
    recipe: DPO,
    inputs: dict[str, Path],
    out: Path,
    facts: dict[str, Any],
    context: Context,
) -> dict[str, Any]:
    """Complete the model's folder, remove what a training needs no more, and return what the model is."""
    model, adapter, base = out / files.MODEL, out / ADAPTER, inputs["base_model"] / files.MODEL
    if (adapter / ADAPTER_CONFIG).exists():
        merge(base, adapter, model, context.hardware)
        shutil.rmtree(adapter)
    if recipe.precision.name != "float32":
        keep_in(model, DTYPES[recipe.precision.name])
    keep_tokenizer(base, model)
    write_sft_card(
        model, settings, inputs, {name: value for name, value in facts.items() if name not in files.MEASURED}
    )
    end(out)
    return model_facts(model)
