"""Searches of real runs with a tiny model: the searching process and a worker are killed, and a trial is pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from notus_exp.disk.events import read
from notus_exp.study.search.storage import open_storage
from notus_exp.study.search.storage_urls import storage_url
from notus_exp.study.search.summary import summary
from support.tiny_search import finish, start, wait_for


def training(root: Path) -> bool:
    """Say whether a policy is being made: from its folder's first moment, since the training takes but seconds."""
    return any(root.glob("outputs/artifacts/policy-*.partial"))


def trials_of(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = summary(root / "outputs" / "studies" / "tiny")["trials"]
    return found


def test_neither_a_killed_search_nor_a_killed_worker_loses_or_repeats_a_trial(tmp_path: Path) -> None:
    search = start(tmp_path, trials=2)
    wait_for(lambda: training(tmp_path), search)
    search.kill()
    search.communicate()

    search = start(tmp_path, trials=2)

    def second_trial() -> bool:
        return len(trials_of(tmp_path)) == 3 and trials_of(tmp_path)[-1]["runs"] and training(tmp_path)

    wait_for(second_trial, search)
    workers = [
        one for one in psutil.Process(search.pid).children() if any("worker_process" in word for word in one.cmdline())
    ]
    assert len(workers) == 1
    workers[0].kill()
    said = finish(search)

    first, again, failed = trials_of(tmp_path)
    assert (first["state"], again["state"], failed["state"]) == ("expired", "complete", "failed")
    assert again["repeats"] == 0
    assert (again["params"], again["runs"]) == (first["params"], first["runs"])
    record = json.loads((tmp_path / "outputs" / "runs" / again["runs"]["0"] / "run.json").read_text())
    assert [attempt["status"] for attempt in record["attempts"]] == ["killed", "finished"]
    assert record["config"]["evaluation_split"] == "validation"
    assert "killed by signal 9" in failed["reason"]
    assert "trial 0 expired" in said
    assert "the search is finished: 2 trials" in said
    # the command of the test holds what the study's own file had set, and needs that file no more
    command = str(summary(tmp_path / "outputs" / "studies" / "tiny")["command"])
    assert "dpo.evaluations=2" in command
    assert "study=tiny" not in command
    assert "study.name=tiny_best" in command


def test_a_pruned_trial_ends_its_worker_within_one_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "studies" / "tiny"
    folder.mkdir(parents=True)
    known = optuna.create_study(
        study_name="tiny", storage=open_storage(storage_url(None, folder)), direction="maximize"
    )
    for place in range(5):  # the median pruner prunes from the sixth trial on
        known.add_trial(
            create_trial(
                value=0.9,
                params={"dpo.beta": 0.02 + place / 50},
                distributions={"dpo.beta": FloatDistribution(0.01, 1.0, log=True)},
                intermediate_values=dict.fromkeys(range(1, 9), 2.0),  # an accuracy that no trial reaches
            )
        )
    # an evaluation comes every 32 steps: later than a run asks its pruner again, as in any training worth pruning
    said = finish(start(tmp_path, "dpo.epochs=64", trials=6, pruner="median", evaluations=8))
    pruned = trials_of(tmp_path)[-1]
    assert pruned["state"] == "pruned"
    assert pruned["reason"].startswith("pruned at step 32: policy/validation/accuracy")
    assert f"trial 5 {pruned['reason']}" in said
    record = json.loads((tmp_path / "outputs" / "runs" / pruned["runs"]["0"] / "run.json").read_text())
    assert record["status"] == "pruned"
    (events,) = tmp_path.glob("outputs/artifacts/policy-*.partial/events.jsonl")
    evaluated = [event.step for event in read(events) if "validation/accuracy" in event.metrics]
    assert evaluated[0] == 32
    assert len(evaluated) <= 2, "of eight"
