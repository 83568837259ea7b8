"""A run's pairs and model as W&B artifacts, named as their folders on the disk: by the keys of the stages.

Arms that share pairs share the artifact, whose content W&B stores once. What lineage is recorded:

    online     the pairs are an output of the run and, once W&B has them, its input; the model is its output. W&B's
               graph leads from the pairs through each run that trained on them to its model.
    offline    W&B lets no offline run declare an input: both are outputs, and the model's metadata name its pairs.
               So it stays after `wandb sync`.

In both modes the metadata hold the full keys of the artifact and of everything that it was made from. The files are
read where they lie when the run is sent, so an offline run's artifacts must still be in outputs/ at `wandb sync`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from notus_exp.contracts.curation_file import read_curation
from notus_exp.contracts.run_file import StageRecord
from notus_exp.disk.files import CURATION_HTML, CURATION_JSON, MODEL, PAIRS

PAIRS_STAGE, MODEL_STAGE = "pairs", "policy"


def log_products(run: Any, stages: Mapping[str, StageRecord], wanted: Iterable[str]) -> None:
    """Log the wanted of a run's products that its stages made or reused.

    Args:
        run: An open W&B run.
        stages: As in run.json, by node name.
        wanted: Any of `pairs` and `model`.

    Raises:
        UserError, ValueError, OSError: A file cannot be read.
    """
    if "pairs" in wanted and PAIRS_STAGE in stages:
        pairs = run.log_artifact(_pairs(stages[PAIRS_STAGE]))
        if not run.offline:
            run.use_artifact(pairs.wait())
    if "model" in wanted and MODEL_STAGE in stages:
        run.log_artifact(_model(stages[MODEL_STAGE], stages[PAIRS_STAGE]))


def _pairs(stage: StageRecord) -> Any:
    folder = Path(stage["path"])
    curation = read_curation(folder / CURATION_JSON)
    files = [folder / name for name in (PAIRS, CURATION_JSON, CURATION_HTML)]
    return _artifact(folder, "pairs", {**_lineage(stage), "curation": curation}, files, folder)


def _model(stage: StageRecord, pairs: StageRecord) -> Any:
    """Return the policy: all its weights, or an adapter over the base model that `inputs` names."""
    folder = Path(stage["path"])
    files = [path for path in sorted((folder / MODEL).rglob("*")) if path.is_file()]
    return _artifact(folder, "model", {**_lineage(stage), "pairs": Path(pairs["path"]).name}, files, folder / MODEL)


def _lineage(stage: StageRecord) -> dict[str, Any]:
    return {"key": stage["key"], "inputs": dict(stage["inputs"])}


def _artifact(folder: Path, kind: str, metadata: dict[str, Any], files: list[Path], root: Path) -> Any:
    """Return an artifact of finished files, which nobody changes and which therefore need no copy."""
    import wandb

    artifact = wandb.Artifact(folder.name, type=kind, metadata=metadata)
    for path in files:
        artifact.add_file(str(path), name=path.relative_to(root).as_posix(), policy="immutable", skip_cache=True)
    return artifact
