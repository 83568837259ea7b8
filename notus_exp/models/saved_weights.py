"""The weights that a training leaves, in the precision that everything after it computes in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

CONFIG, INDEX = "config.json", "model.safetensors.index.json"


def keep_in(folder: Path, dtype: torch.dtype) -> None:
    """Round a model's floating weights to a dtype, file by file, where they are in another.

    Whoever reads a policy loads it in its working precision, which rounds in the same way: nothing that is computed
    with it moves, and it takes half the disk.

    Args:
        folder: With safetensors weights and config.json, which says their dtype.
        dtype: Of the recipe's computing.
    """
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            names = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - it is no mapping
            about = weights.metadata()
        rounded = {name: one.to(dtype) if one.is_floating_point() else one for name, one in names.items()}
        total += sum(one.numel() * one.element_size() for one in rounded.values())
        if any(rounded[name] is not one for name, one in names.items()):
            part = path.with_suffix(".part")
            save_file(rounded, part, metadata=about)
            part.replace(path)
    _say(folder / CONFIG, "dtype", str(dtype).removeprefix("torch."))
    if (folder / INDEX).exists():
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        index["metadata"]["total_size"] = total
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _say(path: Path, name: str, value: str) -> None:
    """Set a value of a JSON file that has it, as transformers writes such files."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get(name, value) != value:
        content[name] = value
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
