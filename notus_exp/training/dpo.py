"""The stage `policy`: trains the base model on the pairs, resumes a killed training, keeps the final model."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PrinterCallback
from trl.trainer.utils import disable_dropout_in_model

from notus_exp.config.algorithms import needs_reference
from notus_exp.config.hardware_settings import Launch
from notus_exp.config.precisions import working_precision
from notus_exp.config.training_settings import DPO, SpecialTokens
from notus_exp.contracts.manifest import read_manifest
from notus_exp.disk import files
from notus_exp.disk.keys import contents_of
from notus_exp.errors import UserError
from notus_exp.models.capabilities import check_fit, model_length
from notus_exp.models.encoding import Encoded
from notus_exp.models.markup import marks
from notus_exp.models.pretrained import ADAPTER_CONFIG, DTYPES, load_model, load_tokenizer, pick_device
from notus_exp.models.reference import base_logps, encode, table
from notus_exp.models.saved_weights import keep_in
from notus_exp.models.token_checks import PairCounts, check_ends, nothing_left, refuse_marked
from notus_exp.stages.context import Context
from notus_exp.stages.settings import PolicySettings
from notus_exp.training.arguments import dpo_arguments, float32_masters, lora_config, plan_steps, trainer_config
from notus_exp.training.averaged import AveragedTrainer, OrpoTrainer, SimpoTrainer
from notus_exp.training.checkpoints import CheckpointOwner
from notus_exp.training.frame import CHECKPOINTS, DATASET, cost_of, end, float32_adapter, on_disk, sharding_of
from notus_exp.training.frame import train as go_on
from notus_exp.training.joined_pairs import JoinedPairs, discount_tails, effective_pairs, join_pairs, weighed
from notus_exp.training.kto import KtoTrainer, in_order, responses
from notus_exp.training.model_card import write_card
from notus_exp.training.reporter import Reporter, final_metrics
from notus_exp.training.sharding import size, trained
from notus_exp.training.throughput import Meter
from notus_exp.training.trainer import WEIGHT, PairTrainer
from notus_exp.training.zero import join_group, leaving_nothing

TRAINERS: dict[str, type[Any]] = {
    "dpo": PairTrainer, "kto": KtoTrainer, "cpo": PairTrainer, "simpo": SimpoTrainer, "orpo": OrpoTrainer,
}  # fmt: skip


def run(settings: PolicySettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Train the policy and write it to `out/model`: an adapter or full weights (safetensors), tokenizer, model card.

    A killed attempt's newest complete checkpoint in `out/checkpoints` is resumed; on the CPU the result is then the
    same to the bit.

    Args:
        settings: The recipe, the seed, the system turn.
        inputs: Artifacts `pairs`, `base_model` and `reference`; `feedback` in its place for a recipe that needs none.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: Events and hardware.

    Returns:
        Facts: counts of pairs, steps and tokens, final metrics, device and cost.

    Raises:
        UserError: No pair to train on, a setting that does not fit the model or the machine, or a loss that is no
            longer a number.
    """
    start = time.monotonic()
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS, glob=False)
    _check_inputs(settings, inputs, context)
    reference, counted = _tokens(settings, inputs, context)
    model_folder = inputs["base_model"] / files.MODEL
    known = marks(load_tokenizer(model_folder), settings.template_date)
    train, validation = (
        join_pairs(pairs.filter(pl.col("split") == split), reference, known, settings.dpo.special_tokens)
        for split in ("train", "validation")
    )
    if settings.dpo.special_tokens is SpecialTokens.error:
        refuse_marked(train.special_tokens + validation.special_tokens)
    if train.rows.is_empty():
        within = train.same_tokens + train.special_tokens
        if within:
            told = _reference_facts(inputs) | counted
            cut = min(train.same_tokens, told.get("pairs_same_cut", train.same_tokens))
            raise nothing_left(within, PairCounts(train.same_tokens, cut, train.special_tokens))
        raise UserError(
            f"none of the {train.without_reference} training pairs is left to train on: their prompts are too long",
            "raise dpo.max_prompt_length and dpo.max_length, or use dpo.long_prompts=cut",
        )
    train = train._replace(rows=weighed(train.rows, settings.dpo))
    validation = validation._replace(rows=validation.rows.drop(WEIGHT, strict=False))  # what is measured is not weighed
    with leaving_nothing() if context.hardware.launch is Launch.deepspeed else nullcontext():
        trainer = _make_trainer(settings, inputs, train.rows, validation.rows, out, context)
        go_on(trainer, out / CHECKPOINTS, context)
        facts = {
            **counted,
            **_counts(trainer, settings.dpo, train, validation),
            **final_metrics(trainer.state),
            "seconds": round(time.monotonic() - start, 3),
            **(cost := cost_of(trainer.args.device)),
            "throughput": trainer.meter.told(
                trainer.model, cost["device"], settings.dpo.precision.name, trainer.accelerator.gather
            ),
        }
        trainer.save_model(str(out / files.MODEL))
        if trainer.is_world_process_zero():
            _finish(settings, inputs, out, facts)
        trainer.accelerator.wait_for_everyone()
    return facts


def _check_inputs(settings: PolicySettings, inputs: dict[str, Path], context: Context) -> None:
    """Check what the reference log-probs were made under, once more: they may be reused, and the limits be others."""
    dpo, requirements = settings.dpo, context.requirements
    asked = replace(requirements, target_modules=list(dpo.lora.target_modules) if dpo.lora.r else [])
    folder = inputs["base_model"] / files.MODEL
    check_fit(folder, asked, dpo.max_length, settings.system_prompt, settings.template_date)
    check_ends(_reference_facts(inputs), dpo.max_length, requirements.max_truncated, model_length(folder))


def _tokens(settings: PolicySettings, inputs: dict[str, Path], context: Context) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the pairs' completions as tokens with their reference log-probs, and what was counted where it was here.

    A recipe that needs no reference has no artifact of one: the texts are made tokens here, by the same rules.
    """
    if settings.encoding is None:
        return pl.read_parquet(inputs["reference"] / files.REFERENCE, glob=False), {}
    tokenised, counted = encode(settings.encoding, inputs, context)
    return table(tokenised, [None] * len(tokenised.rows)), counted


def _rows(
    settings: PolicySettings, train: pl.DataFrame, validation: pl.DataFrame, inputs: dict[str, Path], context: Context
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of an algorithm, with what it needs of the reference beside the completions' own log-probs."""
    dpo = settings.dpo

    def logps_of(items: list[Encoded]) -> list[float]:
        return base_logps(inputs["base_model"], working_precision(dpo), items, context)

    if dpo.ld_alpha is not None:
        return discount_tails(train, dpo.ld_alpha, logps_of), discount_tails(validation, dpo.ld_alpha, logps_of)
    if dpo.algorithm == "kto":
        train = in_order(train, settings.seed)
        whole = max(1, len(validation))
        return (
            responses(train, dpo.global_batch_size, dpo.max_length, logps_of),
            responses(validation, whole, dpo.max_length, logps_of, beside=train),
        )
    return train, validation


def _reference_facts(inputs: dict[str, Path]) -> dict[str, Any]:
    manifest = inputs["reference"] / files.MANIFEST if "reference" in inputs else None
    return read_manifest(manifest).facts if manifest and manifest.exists() else {}


def _make_trainer(
    settings: PolicySettings,
    inputs: dict[str, Path],
    train: pl.DataFrame,
    validation: pl.DataFrame,
    out: Path,
    context: Context,
) -> PairTrainer | KtoTrainer:
    dpo, hardware = settings.dpo, context.hardware
    device = pick_device(hardware, dpo.precision.name)
    arguments = dpo_arguments(
        dpo,
        hardware,
        train_pairs=len(train),
        validation_pairs=len(validation),
        seed=settings.seed,
        out=out / CHECKPOINTS,
        use_cpu=device.type == "cpu",
    )
    evaluates = arguments["eval_strategy"] == "steps"
    # first, since what ZeRO-3 is told of is loaded in parts from then on
    train, validation = _rows(settings, train, validation if evaluates else validation.clear(), inputs, context)
    config = trainer_config(arguments, hardware, dpo.algorithm)
    if hardware.launch is Launch.deepspeed:
        join_group(device)
    base = inputs["base_model"] / files.MODEL
    model = load_model(base, None, working_precision(dpo), hardware, trainable=True, full=float32_masters(dpo))
    adapter = lora_config(dpo.lora)
    disable_dropout_in_model(model)  # the base model's own; the adapter's, `dpo.lora.dropout`, stays
    meter = Meter()
    trainer: PairTrainer | KtoTrainer = TRAINERS[dpo.algorithm](
        meter=meter,
        sharding=sharding_of(dpo, hardware, device),
        model=model,
        args=config,
        train_dataset=on_disk(train, out / DATASET / "train", context.team),
        eval_dataset=on_disk(validation, out / DATASET / "validation", context.team) if evaluates else None,
        processing_class=load_tokenizer(base),
        peft_config=adapter,
        callbacks=[Reporter(context.events, dpo.precision.name, meter), meter],
    )
    float32_adapter(trainer.model, dpo)
    if isinstance(trainer, AveragedTrainer):
        trainer.gamma_beta_ratio = dpo.gamma_beta_ratio
    trainer.owner = CheckpointOwner(out.name, contents_of(inputs), out / files.EVENTS)
    trainer.remove_callback(PrinterCallback)  # it prints to standard output, which belongs to the run
    return trainer


def _counts(trainer: PairTrainer | KtoTrainer, dpo: DPO, train: JoinedPairs, validation: JoinedPairs) -> dict[str, Any]:
    state = trainer.state
    lacking = "without_reference" if needs_reference(dpo) else "left_out"  # too long, or beyond max_validation_pairs
    return {
        "steps": state.global_step,
        "epochs": round(state.global_step / plan_steps(dpo, len(train.rows)).per_epoch, 6),
        "pairs_trained": min(len(train.rows), state.global_step * dpo.global_batch_size),
        **effective_pairs(train.rows),
        f"pairs_{lacking}": train.without_reference,
        "pairs_same_tokens": train.same_tokens,
        "pairs_with_special_tokens": train.special_tokens,
        "validation_pairs": len(validation.rows),
        f"validation_pairs_{lacking}": validation.without_reference,
        "validation_pairs_same_tokens": validation.same_tokens,
        "validation_pairs_with_special_tokens": validation.special_tokens,
        "tokens": int(state.num_input_tokens_seen),
        "trainable_parameters": sum(size(parameter) for _, parameter in trained(trainer.model)),
    }


def _finish(settings: PolicySettings, inputs: dict[str, Path], out: Path, facts: dict[str, Any]) -> None:
    model = out / files.MODEL
    adapter = model / ADAPTER_CONFIG
    if adapter.exists():  # PEFT notes the place on this machine, and a set in whatever order: neither is the adapter's
        content = json.loads(adapter.read_text(encoding="utf-8"))
        content["base_model_name_or_path"] = inputs["base_model"].name
        if isinstance(content["target_modules"], list):
            content["target_modules"].sort()
        adapter.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    elif settings.dpo.precision.name != "float32":
        keep_in(model, DTYPES[settings.dpo.precision.name])
    write_card(model, settings, inputs, {name: value for name, value in facts.items() if name not in files.MEASURED})
    end(out)
