"""Checks of a supervised training that need no torch; what it shares with other trainings is asked of their checks."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager

from notus_exp.config.data_settings import FileData, RepeatedPrompts
from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.hardware_checks import check_hardware
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.mapping_paths import parsed_path
from notus_exp.config.sft_settings import ChatSft, Sft, SftTraining
from notus_exp.config.told_as import told_as
from notus_exp.config.training_settings import DPO, LongPrompts
from notus_exp.errors import UserError

GROUP = "sft"
_OTHERS = re.compile(
    r"(?<![\w./])(?:dpo\.|data\.(?=(?:path|hub_id|hub_split|revision|max_bad_rows)\b)|data\.mapping\.)"
)


def told_of_sft() -> AbstractContextManager[None]:
    """Let an error that speaks of `dpo.SETTING`, or of what data is read by, speak of this group's."""
    return told_as(GROUP, _OTHERS)


def as_recipe(sft: SftTraining) -> DPO:
    """Return a supervised training as what is shared with other trainings reads one: batches, precision, memory, steps.

    Its loss is the mean negative log-prob of a token, which is `sft` there too; nothing else of preferences is read.
    """
    return DPO(
        beta=1.0,
        loss_type=["sft"],
        loss_weights=None,
        label_smoothing=0.0,
        learning_rate=sft.learning_rate,
        lr_scheduler=sft.lr_scheduler,
        warmup=sft.warmup,
        optimizer=sft.optimizer,
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.max_grad_norm,
        epochs=sft.epochs,
        max_steps=sft.max_steps,
        global_batch_size=sft.global_batch_size,
        precision=sft.precision,
        max_length=sft.max_length,
        max_prompt_length=None,
        long_prompts=LongPrompts.drop,
        evaluations=sft.evaluations,
        max_validation_pairs=sft.max_validation,
        checkpoints=sft.checkpoints,
        lora=sft.lora,
        special_tokens=sft.special_tokens,
        batching=sft.batching,
        master_weights=sft.master_weights,
    )


def file_data(sft: ChatSft) -> FileData:
    """Return where conversations lie, as those who look for feedback's files and commits read it."""
    return FileData(
        name=GROUP,
        aspects=[],
        max_bad_rows=sft.max_bad_rows,
        path=sft.path,
        hub_id=sft.hub_id,
        hub_split=sft.hub_split,
        revision=sft.revision,
        repeated_prompts=RepeatedPrompts.keep,
    )


def check_sft(sft: Sft, hardware: Hardware) -> None:
    """Refuse a supervised training in which a setting contradicts another, or that the machine does not run.

    Raises:
        UserError: Names the key, its value and what to change.
    """
    if not isinstance(sft, SftTraining):
        return
    with told_of_sft():
        check_dpo(as_recipe(sft))
        check_hardware(hardware, as_recipe(sft))
    if isinstance(sft, ChatSft):
        _check_messages(sft)


def _check_messages(sft: ChatSft) -> None:
    if not sft.path and not sft.hub_id:
        raise UserError(
            "sft.path and sft.hub_id are both null", "give sft.path=FILE or sft.hub_id=OWNER/NAME, a set of chats"
        )
    try:
        path = parsed_path(sft.messages)
    except ValueError as problem:
        raise UserError(
            f"sft.messages='{sft.messages}' is no path: {problem}", "write names with dots, such as a.b or a.0"
        ) from problem
    if path.many or path.optional:
        raise UserError(
            f"sft.messages='{sft.messages}' is no one place in each record", "a record has one conversation: name it"
        )
