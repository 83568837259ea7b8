"""The runs of a study: composing each as Hydra would, and handing batches of them to Hydra's launcher."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from notus_exp.config.explaining import explain
from notus_exp.config.interpolations import refers_elsewhere
from notus_exp.config.ranges import check
from notus_exp.config.schema import Config, Tracking
from notus_exp.disk import streams
from notus_exp.errors import named_line, whole_traceback
from notus_exp.reporting.texts import tell
from notus_exp.run import outcome
from notus_exp.run.pipeline import Run
from notus_exp.study.launching import launchers


class Ended(NamedTuple):
    """How a run of a batch ended.

    Attributes:
        status: finished, pruned or failed.
        reason: Why it did not finish, else None.
    """

    status: str
    reason: str | None


class Jobs:
    """Composes, plans and launches runs.

    Args:
        loader: Hydra's, which knows where configs lie.
        launcher: Hydra's, chosen by `hydra/launcher`.
        master: The config of the command itself, Hydra's part included.
        console: Where the runs' progress is shown.
    """

    def __init__(self, loader: ConfigLoader, launcher: Launcher, master: DictConfig, console: Console) -> None:
        self._loader, self._launcher, self._master, self._console = loader, launcher, master, console
        launchers.settle(launcher, master.hardware)
        self._launched = 0

    @property
    def in_process(self) -> bool:
        """Whether the launcher is Hydra's basic one: one run after the other, in this process."""
        return str(self._master.hydra.launcher._target_).endswith("BasicLauncher")

    @property
    def tracking(self) -> Tracking:
        """Where the command's metrics go."""
        found = OmegaConf.to_object(self._master.tracking)
        assert isinstance(found, Tracking)
        return found

    def load(self, overrides: Sequence[str]) -> tuple[Config, dict[str, str]]:
        """Compose and check the config of a run.

        Args:
            overrides: All of them, in the order in which they apply.

        Raises:
            UserError: As the command for a single run would say it.
        """
        composed, chosen = self._compose(overrides)
        return outcome.load(composed, chosen, overrides)

    def load_seeds(self, overrides: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[Config, dict[str, str]]]:
        """Yield what `load` returns with each seed; composed once, where nothing in the config can refer to the seed.

        Args:
            overrides: All but the seed.
            seeds: In order.

        Raises:
            UserError: As `load`.
        """
        composed, chosen = self._compose([*overrides, _seeded(seeds[0])])
        refers = refers_elsewhere(composed)
        config, choices = outcome.load(composed, chosen, [*overrides, _seeded(seeds[0])])
        yield config, choices
        for seed in seeds[1:]:
            if refers:
                yield self.load([*overrides, _seeded(seed)])
                continue
            own = copy.deepcopy(config)
            own.seed = seed
            check(own)
            yield own, {**choices}

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        """Return the config of a run without Hydra's part, and the option chosen of each group."""
        try:
            composed = self._loader.load_sweep_config(self._master, list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError, AssertionError) as error:
            raise explain(error, overrides) from error
        chosen = OmegaConf.to_container(composed.hydra.runtime.choices)
        with read_write(composed), open_dict(composed):
            del composed["hydra"]
        return composed, chosen

    def plan_seeds(self, overrides: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[int, list[str], Run]]:
        """Yield for each seed the complete overrides and the run that they describe, planned and not started.

        Raises:
            UserError: As `plan`.
        """
        for seed, loaded in zip(seeds, self.load_seeds(overrides, seeds), strict=True):
            yield seed, [*overrides, _seeded(seed)], Run(*loaded, self._console)

    def plan(self, overrides: Sequence[str]) -> Run:
        """Return the run that these overrides describe, planned and not started.

        Raises:
            UserError: It cannot be run as described, or something that it reads is not there.
        """
        return Run(*self.load(overrides), self._console)

    def launch(self, batch: Sequence[Sequence[str]]) -> list[Ended]:
        """Hand runs to the launcher and wait for all of them; a failed one does not end the others.

        Args:
            batch: The overrides of each run.

        Raises:
            Exception: Anything of the launcher's own, such as a queue that takes no job.
        """
        launchers.watch_queue(self._launcher)
        first, self._launched = self._launched, self._launched + len(batch)
        try:
            returns = self._launcher.launch([list(overrides) for overrides in batch], initial_job_idx=first)
        except KeyboardInterrupt:
            launchers.cancel_submitted()
            raise
        except Exception as error:
            lost = launchers.results_of(error)
            if lost is None:
                raise
            return [Ended("failed", one) if isinstance(one, str) else _ended(one) for one in lost]
        return [_ended(one) for one in returns]


def _seeded(seed: int) -> str:
    return f"seed={seed}"


def _ended(job: JobReturn) -> Ended:
    try:
        outcome: Any = job.return_value
    except Exception as error:  # whatever a run or its launcher died of is one failed run
        tell(whole_traceback(error), streams.err())
        return Ended("failed", named_line(error))
    if outcome.error:
        return Ended("failed", str(outcome.error))
    return Ended("pruned", outcome.pruned) if outcome.pruned else Ended("finished", None)
