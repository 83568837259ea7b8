"""Opening a Weights & Biases run that knows nothing of the runs before it, online or offline, and closing it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.config.schema import Tracking
from notus_exp.disk.credentials import without_credentials
from notus_exp.errors import UserError, first_line
from notus_exp.reporting.texts import cut

INIT_SECONDS = 30.0
"""How long W&B's server has to answer before the run goes on without it."""
DISABLED = "disabled"
"""W&B's mode in which nothing is tracked."""
TAG_LENGTH, NAME_LENGTH = 64, 128
"""Characters that W&B takes; what is longer is cut at the end, the config holds it whole."""


class Label(NamedTuple):
    """What a W&B run is called and filed under.

    Attributes:
        name: Shown in its tables.
        group: Runs that belong together, or None.
        job_type: `run`, `trial`, `tuning` or `study`.
        tags: What one filters by.
        config: The settings, nested.
        id: Of the run, whose earlier content is written over.
    """

    name: str
    group: str | None
    job_type: str
    tags: list[str]
    config: dict[str, Any]
    id: str


def open_run(tracking: Tracking, label: Label, folder: Path, warn: Callable[[str], None]) -> Any:
    """Open a W&B run: online with an account, else offline in `folder`, to be sent with `wandb sync`.

    With `tracking.mode=auto` a server that does not answer, or refuses the key, is warned of and the run kept offline.

    Raises:
        UserError: W&B refuses the settings, or cannot be reached although `tracking.mode=online`.
    """
    mode = wandb_mode(tracking.mode)
    try:
        return _init(tracking, label, folder, mode)
    except _refusals() as error:
        reason = first_line(error)
        if tracking.mode != "auto" or mode != "online":
            hint = "mend it, or use tracking.mode=offline or tracking=none"
            raise UserError(f"W&B cannot open the run: {reason}", hint) from error
        warn(f"W&B cannot be used online ({reason}); the run is kept offline, send it later with `wandb sync`")
        return _init(tracking, label, folder, "offline")


def conclude(run: Any, tell: Callable[[], None], warn: Callable[[str], None], *, failed: bool) -> bool:
    """Tell a W&B run its last things and close it: with exit code 0, or 1 where it failed.

    What is on the disk does not depend on W&B any more, so that its refusals, and files that it is not to be given, are
    warned of.

    Returns:
        Whether W&B took everything.
    """
    whole = True
    try:
        tell()
    except _refusals(OSError, UserError) as error:
        whole = False
        warn(f"W&B did not take all of the run's results ({first_line(error)}); they are in its folder")
    try:
        run.finish(exit_code=1 if failed else 0)
    except _refusals(OSError) as error:
        whole = False
        warn(f"W&B could not close the run ({first_line(error)})")
    return whole


def end_service() -> None:
    """End W&B's service, which its runs were told to, and wait for it; else W&B does so when the interpreter ends."""
    import wandb

    with suppress(Exception):  # all runs are closed by now, and what went wrong with one was told there
        wandb.teardown()


def wandb_mode(mode: str) -> Any:
    """Return W&B's mode: `auto` is WANDB_MODE's, else online where the environment holds a key, else offline."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def _refusals(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what W&B raises where it refuses something or does not answer, and more."""
    from wandb.errors import Error

    return Error, ValueError, *more


def _init(tracking: Tracking, label: Label, folder: Path, mode: Any) -> Any:
    """Call `wandb.init` so that nothing comes from an earlier run of this process, and no secret goes out.

    `create_new` never returns a run that is still open, and sets no global run. An id is always given: one in the
    environment would make all runs of a multirun the same. Without `resume` W&B writes over a run of the same id, which
    is what a run that is told anew wants. The system's metadata would hold the command line.
    """
    import wandb

    settings = wandb.Settings(
        reinit="create_new",
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        init_timeout=INIT_SECONDS,
    )
    with _own_environment():
        return wandb.init(
            id=label.id,
            project=tracking.project,
            entity=tracking.entity,
            group=label.group and cut(label.group, NAME_LENGTH),
            job_type=label.job_type,
            name=cut(label.name, NAME_LENGTH),
            tags=list(dict.fromkeys(cut(tag, TAG_LENGTH) for tag in label.tags)),
            config=without_credentials(label.config),
            dir=str(folder),
            mode=mode,
            settings=settings,
        )


@contextmanager
def _own_environment() -> Iterator[None]:
    """Keep W&B's wish to resume away from a run, and the address of its service from the processes started later."""
    before = {name: os.environ.get(name) for name in ("WANDB_SERVICE", "WANDB_RESUME")}
    os.environ.pop("WANDB_RESUME", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
