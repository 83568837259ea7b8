"""notus-exp: how the curation of AI feedback changes the model that is trained on it.

    import notus_exp

    study = notus_exp.load_study("outputs/studies/mine")    # runs, metrics, by_prompt, contrasts: Polars frames
    run = notus_exp.load_run("outputs/runs/NAME")           # pairs, answers, history as well

Importing the package loads nothing else: these two are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notus_exp.frames.run_data import RunData, load_run
    from notus_exp.frames.study_data import StudyData, load_study

__all__ = ["RunData", "StudyData", "load_run", "load_study"]

_PLACES = {
    "RunData": "notus_exp.frames.run_data",
    "StudyData": "notus_exp.frames.study_data",
    "load_run": "notus_exp.frames.run_data",
    "load_study": "notus_exp.frames.study_data",
}


def __getattr__(name: str) -> Any:
    """Return what stands in a room, which is imported now."""
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
