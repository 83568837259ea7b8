"""The weights of a model whose adapter is merged into them, and a tokenizer that stays what it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from notus_exp.config.hardware_settings import FLASH, Device, Hardware
from notus_exp.models.pretrained import load_model
from notus_exp.models.saved_weights import CONFIG, INDEX

OF_WEIGHTS = (CONFIG, INDEX, "generation_config.json")
"""Files beside the weights that say how they are to be used."""


def merge(base: Path, adapter: Path, into: Path, hardware: Hardware) -> None:
    """Write a model with an adapter merged into its weights, computed in float32 on the processor.

    Of a quantised base the adapter was trained on, it is the whole base that it is merged into.

    Args:
        base: Folder of the model's weights.
        adapter: Folder of the adapter.
        into: Where the merged weights are written.
        hardware: The profile, for its attention.
    """
    attention = "sdpa" if hardware.attention == FLASH else hardware.attention
    here = replace(hardware, device=Device.cpu, attention=attention)
    load_model(base, adapter, "float32", here).merge_and_unload().save_pretrained(into)


def keep_tokenizer(base: Path, model: Path) -> None:
    """Let a model's folder have the files of its base but for the weights and what says how these are to be used.

    What libraries write of a tokenizer that they have read may be another one's: prompts of this model's policies would
    then be other tokens.
    """
    for path in _others(model):
        path.unlink()
    for path in _others(base):
        shutil.copyfile(path, model / path.name)


def _others(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".safetensors" and path.name not in OF_WEIGHTS
    ]
