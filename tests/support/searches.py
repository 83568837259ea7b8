"""Searches without training: jobs whose runs end at once with given metrics, in a folder of their own."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine

from notus_exp.config.study_settings import Study
from notus_exp.disk.hashing import digest
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.search.searching import run_search
from notus_exp.study.search.storage import open_storage
from notus_exp.study.search.storage_urls import storage_url
from support.configs import composed

ACCURACY, STRICT, TOKENS = "preferences/accuracy/average", "verifiable/strict", "verifiable/tokens"
PARAMETERS = {
    "selection": {"choices": ["critique", "average"]},
    "rejected": {"choices": ["random", "lowest"], "when": {"selection": "average"}},
    "dpo.beta": {"low": 0.01, "high": 1.0, "log": True},
}


@event.listens_for(Engine, "connect")
def _unsynchronised(connection: Any, record: Any) -> None:
    """Let sqlite not wait for the disk, which only a power cut would show: a killed process loses nothing."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


Values = Mapping[str, str]
"""A run's overrides as key -> text."""


def good(values: Values) -> dict[str, float]:
    """Metrics of a run: the nearer beta is to 0.1, the better; selection=average gives 0.1 more, and longer answers."""
    beta, average = float(values["dpo.beta"]), values.get("selection") == "average"
    return {ACCURACY: 0.5 - abs(beta - 0.1) / 4 + 0.1 * average, STRICT: beta, TOKENS: 40.0 + 30 * average}


class FakeJobs:
    """Plans and launches runs that end at once.

    Args:
        folder: The study's.
        score: What a run measures, or how it ended.
        config: What a plan shows; the default run's if not given.
    """

    def __init__(
        self, folder: Path, score: Callable[[Values], Mapping[str, float | None] | Ended] = good, config: Any = None
    ) -> None:
        self.outputs = folder.parent.parent
        self.score = score
        self.config = config or composed("dpo.evaluations=4")
        self.launched: list[dict[str, str]] = []
        self.planned: list[list[str]] = []

    def plan(self, overrides: Sequence[str]) -> Any:
        self.planned.append(list(overrides))
        values = split(overrides)
        moving = {key: value for key, value in values.items() if not key.startswith("study")}
        return SimpleNamespace(id="run-" + digest(moving)[:10], config=self.config, choices={}, nodes=[])

    def launch(self, batch: Sequence[Sequence[str]]) -> list[Ended]:
        return [self._run(overrides) for overrides in batch]

    def _run(self, overrides: Sequence[str]) -> Ended:
        values = split(overrides)
        self.launched.append(values)
        result = self.score(values)
        if isinstance(result, Ended):
            return result
        place = self.outputs / "runs" / self.plan(overrides).id
        place.mkdir(parents=True, exist_ok=True)
        metrics = {name: {"value": value, "low": None, "high": None, "n": 9} for name, value in result.items()}
        config: dict[str, Any] = {"evaluation_split": values["evaluation_split"]}
        config["dpo"] = {key[4:]: float(value) for key, value in values.items() if key.startswith("dpo.")}
        choices = {"rejected": "random"} | {key: value for key, value in values.items() if key in PARAMETERS}
        choices = {key: value for key, value in choices.items() if "." not in key}
        content = {"status": "finished", "config": config, "choices": choices, "metrics": metrics, "stages": {}}
        (place / "run.json").write_text(json.dumps(content))
        return Ended("finished", None)


def split(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def study_of(folder: Path, *, seeds: Sequence[int] = (0,), **search: Any) -> Study:
    """A study's settings; its name is the folder's."""
    study = composed().study
    given = {"parameters": PARAMETERS, "objectives": {ACCURACY: "maximize"}, "sampler": "random", "trials": 3, **search}
    return dataclasses.replace(
        study, name=folder.name, seeds=list(seeds), search=dataclasses.replace(study.search, **given)
    )


def search(
    folder: Path,
    jobs: Any = None,
    *,
    common: Sequence[str] = (),
    may_start: Callable[[], str | None] = lambda: None,
    **settings: Any,
) -> str:
    """Run a search in a folder and return what it printed."""
    study = study_of(folder, **settings)
    folder.mkdir(parents=True, exist_ok=True)
    described = {name: getattr(study.search, name) for name in ("objectives", "constraints", "parameters")}
    content = {"name": study.name, "kind": "search", "seeds": study.seeds, "arms": {}, "metric": ACCURACY}
    storage_file = None if study.search.storage else "optuna.db"
    content |= {"search": {"storage_file": storage_file, **described}}
    said = io.StringIO()
    names = [*common, f"study.name={study.name}"]
    console = Console(file=said, width=400)

    def begin() -> None:
        (folder / "study.json").write_text(json.dumps(content))

    run_search(jobs or FakeJobs(folder), study, folder, names, console, may_start, begin=begin)
    return said.getvalue()


def loaded(folder: Path) -> optuna.Study:
    """Optuna's study of a search's folder."""
    return optuna.load_study(study_name=folder.name, storage=open_storage(storage_url(None, folder)))


def child(work: Callable[[], Any]) -> int:
    """Do some work in a forked process that ends without any tidying up; return its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
