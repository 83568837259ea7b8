"""Configs composed as the command composes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from notus_exp.config import loading as configuration
from notus_exp.config.schema import Config
from notus_exp.evaluation.checks import check_evaluations


def composed(*overrides: str, own: Path | None = None) -> Config:
    """Return the checked config of overrides, with a folder of own options as `--config-dir` adds it."""
    config = configuration.load(composed_by_hydra(*overrides, own=own))
    check_evaluations(config)
    return config


def composed_by_hydra(*overrides: str, own: Path | None = None, whole: bool = False) -> DictConfig:
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        if own:
            loader = GlobalHydra.instance().config_loader()
            places = loader.get_search_path()
            places.prepend(provider="command-line", path=f"file://{own}", anchor=SearchPathQuery("schema", None))
            loader.repository.initialize_sources(places)
        return compose("config", overrides=list(overrides), return_hydra_config=whole)


def chosen(*overrides: str, own: Path | None = None) -> dict[str, str]:
    """Return the option of each group that overrides choose, as a run records it."""
    found: Any = OmegaConf.to_container(composed_by_hydra(*overrides, own=own, whole=True).hydra.runtime.choices)
    return {group: choice for group, choice in found.items() if choice is not None}
