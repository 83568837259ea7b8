"""Hydra's plugin for studies: found by Hydra in this namespace, it hands a multirun to notus_exp.study."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs named arms, grids and Optuna searches through Hydra's launchers."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives a sweeper, and make the launcher."""
        self.config = config
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study that the command line and its config describe."""
        from notus_exp.study.sweep import sweep  # Hydra imports this module for every command

        return sweep(self.loader, self.launcher, self.config, arguments)
