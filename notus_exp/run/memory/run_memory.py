"""A run's plan of memory: its model's shape from wherever that is told, and its stages that are to be made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from notus_exp.config.schema import Config, Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MODEL
from notus_exp.models.shapes import shape_of
from notus_exp.models.told_config import config_in, told_config
from notus_exp.run.memory.memory_words import MemoryPlan
from notus_exp.run.nodes import Node
from notus_exp.run.sources import UNRESOLVED


def plan_memory(
    config: Config,
    digest: str | None,
    files: Mapping[str, Sequence[str]],
    missing: Collection[Node],
    store: ArtifactStore,
) -> MemoryPlan:
    """Return what a run's missing nodes need of memory.

    Args:
        config: The run's.
        digest: What stands for its model in keys.
        files: Places that digests stand for.
        missing: Nodes that are to be made.
        store: Where the model may lie already, with its config.json.
    """
    stages = {node.stage for node in missing}
    here = [
        store.path(node.uses["base_model"], node.inputs["base_model"])
        for node in missing
        if "base_model" in node.inputs and node.stage is not Stage.responses  # a writer's may be another
    ]
    found = next(filter(None, (config_in(folder / MODEL) for folder in here)), None)
    if found is None:
        found = told_config(config.model, digest if digest != UNRESOLVED else None, files.get("model", []), fetch=True)
    return MemoryPlan(config, shape_of(found if found is not None else config.model.shape), stages)
