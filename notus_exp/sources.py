"""What a run reads from outside its config: data, benchmark prompts and weights, each as digest and local files."""

from __future__ import annotations

from pathlib import Path

from notus_exp.errors import UserError
from notus_exp.feedback import sources as feedback_sources
from notus_exp.hashing import digest, file_digest
from notus_exp.plan import Sources
from notus_exp.schema import Config, FileData, Stage
from notus_exp.training import sources as model_sources

UNRESOLVED = "unresolved"
"""Stands for a hub's commit in a plan that is only shown (`until=config`), where the hub cannot be reached."""


def resolve(config: Config) -> Sources:
    """Look up every digest that the run needs; with `until=config` an unreachable hub is no error.

    Raises:
        UserError: For a missing file, an uninstalled wheel or a hub that cannot be reached.
    """
    only_shown = config.until is Stage.config
    data_on_hub = isinstance(config.data, FileData) and not config.data.path
    try:
        data_digest, data_files = feedback_sources.sources(config.data)
    except UserError:
        if not (only_shown and data_on_hub):
            raise
        data_digest, data_files = UNRESOLVED, []
    benchmarks = config.filters.contamination.files
    for name in benchmarks:
        if not Path(name).is_file():
            raise UserError(f"filters.contamination.files: {name} is not a file")
    model_digest, model_files = None, list[str]()
    if only_shown or config.until.value >= Stage.base_model.value:
        try:
            model_digest, model_files = model_sources.model_sources(config.model)
        except UserError:
            if not (only_shown and config.model.kind == "hub"):
                raise
            model_digest = UNRESOLVED
    return Sources(
        data_digest,
        [digest([Path(name).suffix.lower(), file_digest(Path(name))]) for name in benchmarks],
        model_digest,
        {"data": data_files, "contamination": benchmarks, "model": model_files},
    )
