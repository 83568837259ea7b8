"""From a composed config to a checked one, and how a run ended: what a single run and a study's runs share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from notus_exp.config import loading as configuration
from notus_exp.config.commandline import check_overrides, check_places
from notus_exp.config.made_settings import every_annotator
from notus_exp.config.schema import Config
from notus_exp.disk.full import DISK_HINT, disk_problem, remedy
from notus_exp.errors import UnscoredError, UserError, first_line
from notus_exp.evaluation.catalogue import unasked
from notus_exp.evaluation.checks import check_evaluations

HIDDEN_GROUPS = ("hydra/", "study")
"""Groups that are no choice about what a run computes."""


@dataclass
class Outcome:
    """How a run ended: the folder it left, or the expected error that stopped it. Hydra hands it back unchanged.

    Attributes:
        folder: Of a run that finished.
        error: Why it did not.
        pruned: Why its study ended it.
        unscored: Evaluations that were asked for and have no score, with the reasons.
    """

    folder: str | None = None
    error: UserError | None = None
    pruned: str | None = None
    unscored: dict[str, str] = field(default_factory=dict)


def unscored(reasons: Mapping[str, str]) -> UnscoredError:
    """Return what says that a finished run lacks scores.

    Args:
        reasons: Evaluation -> why it has none.
    """
    return UnscoredError(
        f"no score of {', '.join(reasons)}, which was asked for: {'; '.join(reasons.values())}",
        "all else is made and recorded",
    )


@contextmanager
def disk_errors(output_dir: str) -> Iterator[None]:
    """Turn what a full disk or an unusable folder raises into an error that says so.

    Raises:
        UserError: In the place of an OSError, or of what Polars makes of one.
    """
    try:
        yield
    except Exception as error:
        if (failure := disk_failure(error, output_dir)) is not None:
            raise failure from error
        raise


def disk_failure(error: BaseException, output_dir: str) -> UserError | None:
    """Return what an error says of a full disk or an unusable folder; None where it says nothing of the kind."""
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{error.strerror or first_line(error)}: {error.filename}", remedy(error, DISK_HINT))
    # Polars has no error of its own for a full disk.
    if type(error).__module__.startswith("polars") and "IO error" in str(error):
        return UserError(f"{first_line(error)}: below output_dir={output_dir}", DISK_HINT)
    problem = disk_problem(error, Path(output_dir), Path(tempfile.gettempdir()))
    if problem is None and isinstance(error, OSError):
        problem = f"{error.strerror or first_line(error)}: below output_dir={output_dir}"
    return UserError(problem, DISK_HINT) if problem else None


def load(composed: DictConfig, chosen: Any, overrides: Sequence[str]) -> tuple[Config, dict[str, str]]:
    """Check a composed config and return it with the option chosen of each group.

    Args:
        composed: Without Hydra's own part.
        chosen: Option per group, Hydra's groups among them.
        overrides: Those of the task, as given.

    Raises:
        UserError: For anything that the config must not say.
    """
    choices: dict[str, Any] = {
        group: choice for group, choice in chosen.items() if choice is not None and not group.startswith(HIDDEN_GROUPS)
    }
    config = configuration.load(composed)
    check_evaluations(config)
    configuration.check_choices(config, choices)
    evaluations = configuration.chosen_evaluations(config)
    choices["evaluation"] = ",".join(evaluations)
    idle = unasked(config.evaluation)
    annotators = every_annotator(config.data, config.annotators)
    if any(annotator.judge.name == config.judge.name for annotator in annotators.values()):
        idle.pop("judge", None)  # they take over what is set of it
    check_overrides(overrides, evaluations, lora=config.dpo.lora.r > 0, unasked=idle)
    check_places(overrides, config)
    return config, choices
