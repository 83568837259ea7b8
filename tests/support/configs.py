"""Configs composed as the command composes them."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from notus_exp.config import loading as configuration
from notus_exp.config import schema
from notus_exp.evaluation.checks import check_evaluations


def composed(*overrides: str) -> schema.Config:
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        config = configuration.load(compose("config", overrides=list(overrides)))
    check_evaluations(config)
    return config
