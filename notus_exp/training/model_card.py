"""The card of a model that was trained here: from what, on which texts, how, and how to load it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from notus_exp.contracts.curation_file import read_curation
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk import files
from notus_exp.disk.keys import folder_name
from notus_exp.models.pretrained import ADAPTER_CONFIG
from notus_exp.stages.settings import PolicySettings, SftSettings, to_json

CARD = "README.md"
_METHODS = {
    "dpo": "DPO",
    "sft": "SFT on chosen responses",
    "kto": "KTO",
    "cpo": "CPO",
    "simpo": "SimPO",
    "orpo": "ORPO",
}
LIBRARIES = ("notus-exp", "torch", "transformers", "trl", "peft", "datasets")


def write_card(model: Path, settings: PolicySettings, inputs: dict[str, Path], facts: dict[str, Any]) -> None:
    """Write `README.md` into the policy's model folder.

    Args:
        model: Folder with the saved policy.
        settings: The recipe.
        inputs: Input name -> artifact folder, named `<stage>-<key>`.
        facts: What the stage counted and measured.
    """
    (model / CARD).write_text(render_card(model, settings, inputs, facts), encoding="utf-8")


def render_card(model: Path, settings: PolicySettings, inputs: dict[str, Path], facts: dict[str, Any]) -> str:
    """Return the card's text; arguments as for `write_card`. Values are escaped: names and texts may come from data."""
    kind = "sft" if settings.dpo.loss_type == ["sft"] else settings.dpo.algorithm
    return _rendered(
        model,
        settings,
        inputs,
        facts,
        title=f"A policy trained with {_METHODS[kind]}",
        data="pairs curated from AI feedback",
        kind=kind,
    )


def write_sft_card(model: Path, settings: SftSettings, inputs: dict[str, Path], facts: dict[str, Any]) -> None:
    """Write `README.md` into the folder of a model that was trained on what assistants say; arguments likewise."""
    (model / CARD).write_text(render_sft_card(model, settings, inputs, facts), encoding="utf-8")


def render_sft_card(model: Path, settings: SftSettings, inputs: dict[str, Path], facts: dict[str, Any]) -> str:
    """Return that card's text."""
    data = "the chosen responses of pairs curated from AI feedback" if "pairs" in inputs else "conversations"
    merged = ", by an adapter that was merged into them in float32" if settings.sft["lora"]["r"] else ""
    return _rendered(
        model, settings, inputs, facts, title="A model trained on what assistants say", data=data + merged, kind="sft"
    )


def _rendered(
    model: Path,
    settings: PolicySettings | SftSettings,
    inputs: dict[str, Path],
    facts: dict[str, Any],
    *,
    title: str,
    data: str,
    kind: str,
) -> str:
    """Return a card's text: its title, what the model was trained on in words, and how (a tag)."""
    environment = Environment(
        loader=PackageLoader("notus_exp.training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["yaml"] = lambda value: json.dumps(value, ensure_ascii=True)  # JSON is YAML
    adapter = (model / ADAPTER_CONFIG).exists()
    return environment.get_template("model_card.md.j2").render(
        title=title,
        data=data,
        adapter=adapter,
        base_model=_base_name(inputs["base_model"]),
        base_artifact=inputs["base_model"].name,
        library="peft" if adapter else "transformers",
        tags=[kind, "trl", "notus-exp", *(["lora"] if adapter else [])],
        recipe=flatten(to_json(settings)),
        lineage=lineage(inputs),
        has_pairs="pairs" in inputs,
        curation=_curation(inputs["pairs"]) if "pairs" in inputs else {},
        facts=flatten(facts),
        versions=_versions(),
    )


def lineage(inputs: dict[str, Path]) -> dict[str, list[str]]:
    """Return every artifact that the policy comes from -> the artifacts that one was made from.

    The inputs' manifests name their own inputs; those lie beside them.
    """
    found: dict[str, list[str]] = {}
    waiting = sorted(inputs.values())
    while waiting:
        folder = waiting.pop(0)
        if folder.name in found:
            continue
        manifest = _manifest(folder)
        uses = manifest.inputs if manifest else {}
        parents = [_made(folder.parent, use, key) for use, key in sorted(uses.items())]
        found[folder.name] = [parent.name for parent in parents]
        waiting += parents
    return found


def _made(artifacts: Path, use: str, key: str) -> Path:
    """Return the folder of an input by its key; where there is none, what it would be called as it is used."""
    return next((path for path in artifacts.glob(f"*-{key[:16]}") if path.is_dir()), artifacts / folder_name(use, key))


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested JSON as dotted key -> number, text or list of such; other lists are left out."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or all(not isinstance(item, dict | list) for item in value):
            flat[f"{prefix}{key}"] = value
    return flat


def _base_name(folder: Path) -> str:
    """Return the base model's hub id where it has one, else its artifact's name."""
    manifest = _manifest(folder)
    hub_id = manifest.settings.get("model", {}).get("hub_id") if manifest else None
    return hub_id or folder.name


def _curation(pairs: Path) -> dict[str, Any]:
    """Return the settings and counts of the curation; its plots' numbers stay in its own report."""
    path = pairs / files.CURATION_JSON
    if not path.exists():
        return {}
    content = read_curation(path)
    return flatten({"settings": content.get("settings", {}), "counts": dict(content.get("counts", {}))})


def _manifest(folder: Path) -> Manifest | None:
    path = folder / files.MANIFEST
    return read_manifest(path) if path.exists() else None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is run without being installed
            versions[library] = "not installed as a package"
    return versions


def _cell(value: Any) -> str:
    """Return a value as the text of a Markdown table's cell: one line, no column mark, no code mark."""
    if isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
