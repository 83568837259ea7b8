"""A run's pairs and model as W&B artifacts: a name for each arm and role, whose versions W&B counts; one for a search.

A version's aliases are `latest`, the seed (behind its trial, or what tuning tries), and the hash that its folder in
outputs/artifacts ends in. The pairs are an
input of the run (online an output too), the model is its output: so W&B's graph leads from the pairs through each run
that trained on them to its model. The metadata hold the full keys of the artifact and of everything that it was made
from.

A model is what is small of it, and a record of its files; its weights are sent where `tracking.artifacts` names them.
The files are read where they lie when the run is sent, so an offline run's artifacts must still be in outputs/ at
`wandb sync`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from notus_exp.contracts.curation_file import read_curation
from notus_exp.contracts.run_file import StageRecord
from notus_exp.disk.files import CURATION_HTML, CURATION_JSON, MODEL, PAIRS
from notus_exp.disk.json_files import write_json
from notus_exp.tracking.names import artifact_name

PAIRS_STAGE, MODEL_STAGE = "pairs", "policy"
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")
"""Endings of files that are weights, of a whole model or of an adapter."""
RECORD = "model.json"
"""File of a model's artifact that says what the model is, so that two models are two versions."""


def log_products(run: Any, stages: Mapping[str, StageRecord], wanted: Iterable[str], owner: str, part: str) -> None:
    """Log the wanted of a run's products that its stages made or reused and that were not pruned since.

    Args:
        run: An open W&B run.
        stages: As in run.json, by node name.
        wanted: Any of `pairs`, `model` and `weights`.
        owner: What the artifacts are named by: the study and its arm, or a search.
        part: Alias of what this run made, such as `s0` or `trial_3-s0`.

    Raises:
        UserError, ValueError, OSError: A file cannot be read.
    """
    asked, there = set(wanted), {name for name, stage in stages.items() if Path(stage["path"]).is_dir()}
    if "pairs" in asked and PAIRS_STAGE in there:
        stage = stages[PAIRS_STAGE]
        _use(run, _pairs(stage, artifact_name(owner, "pairs")), _aliases(stage, part))
    if asked & {"model", "weights"} and MODEL_STAGE in there:
        stage = stages[MODEL_STAGE]
        whole = "weights" in asked
        model = _model(stage, stages[PAIRS_STAGE], artifact_name(owner, "model"), Path(run.dir).parent, whole)
        run.log_artifact(model, aliases=_aliases(stage, part))


def _use(run: Any, artifact: Any, aliases: list[str]) -> None:
    """Log an artifact and declare it an input.

    W&B's `use_artifact` refuses an offline run, though its records can say as much: `use_after_commit`, which is what
    it sets itself for an artifact that no server has yet. `wandb sync` then declares it.
    """
    if run.offline:
        run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(run.log_artifact(artifact, aliases=aliases).wait())


def _aliases(stage: StageRecord, part: str) -> list[str]:
    return ["latest", part, Path(stage["path"]).name.rpartition("-")[2]]


def _pairs(stage: StageRecord, name: str) -> Any:
    folder = Path(stage["path"])
    curation = read_curation(folder / CURATION_JSON)
    files = [folder / file for file in (PAIRS, CURATION_JSON, CURATION_HTML)]
    return _artifact(name, "pairs", {**_lineage(stage), "curation": curation}, files, folder)


def _model(stage: StageRecord, pairs: StageRecord, name: str, place: Path, whole: bool) -> Any:
    """Return the policy, or an adapter over the base model that `inputs` names; without its weights unless `whole`."""
    folder = Path(stage["path"])
    root = folder / MODEL
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    sent = [path for path in files if whole or path.suffix not in WEIGHTS]
    metadata = {**_lineage(stage), "pairs": Path(pairs["path"]).name, "folder": folder.name, "weights": whole}
    artifact = _artifact(name, "model", metadata, sent, root)
    sizes = {path.relative_to(root).as_posix(): path.stat().st_size for path in files}
    write_json(place / RECORD, {**_lineage(stage), "folder": folder.name, "files": sizes})
    artifact.add_file(str(place / RECORD), name=RECORD, policy="immutable", skip_cache=True)
    return artifact


def _lineage(stage: StageRecord) -> dict[str, Any]:
    return {"key": stage["key"], "inputs": dict(stage["inputs"])}


def _artifact(name: str, kind: str, metadata: dict[str, Any], files: list[Path], root: Path) -> Any:
    """Return an artifact of finished files, which nobody changes and which therefore need no copy."""
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=metadata)
    for path in files:
        artifact.add_file(str(path), name=path.relative_to(root).as_posix(), policy="immutable", skip_cache=True)
    return artifact
