"""The report's section on an Optuna search: trials, best, plots, importances, the command of the test."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from notus_exp.study.report.searched import from_summary, search_headline
from support.report_folders import EVIL, METRIC, StudyFolder, comparison, searched, trial, written


def search_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: dict[str, Any]) -> str:
    module = types.ModuleType("notus_exp.study.search.summary")
    module.summary = lambda folder: summary  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "notus_exp.study.search", types.ModuleType("notus_exp.study.search"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = StudyFolder(tmp_path)
    made.study |= {"kind": "search", "arms": {}}
    content = comparison(contrasts=[], base={"metrics": {}}, trained_by_evaluated=None)
    content["study"]["kind"] = "search"
    content["arms"] = []
    found = written(made.write(), content).texts
    assert list(found)[-2:] == ["search", "lineage"]
    assert "contrasts" not in found
    return found["search"]


def test_a_search_shows_trials_best_importances_and_the_command_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = search_text(tmp_path, monkeypatch, searched())
    assert "4 trials: 3 complete, 1 failed" in text
    assert "3 (best) complete 0.05 average 0.635 −1 1" in text
    assert "1 complete 0.5 critique 0.7 9.5 1 breaks a constraint" in text
    assert f"2 failed 0.1 {EVIL} – – 1 crashed at {EVIL} crashed-run" in text
    assert "python -m notus_exp dpo.beta=0.05 seed=0,1,2 -m" in text
    assert "By fANOVA over 3 trials: too few to trust." in text


def test_a_search_draws_history_slices_and_importances() -> None:
    content = from_summary(searched()).content
    assert content is not None
    assert (len(content["history"]), len(content["by_parameter"]), len(content["importances"])) == (1, 2, 1)
    assert all(content["by_parameter"])
    assert content["front"] is None, "there is one objective"


def test_what_a_search_found_is_shown_with_how_sure_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = searched(said=["3 trials tie at 0.1875 on 16 prompts."])
    found["trials"][3]["intervals"] = {METRIC: {"value": 0.6349, "low": 0.61, "high": 0.66, "prompts": 20}}
    found["importance_intervals"] = {METRIC: {"dpo.beta": {"value": 0.8, "low": 0.31, "high": 0.97}}}
    [(_, drawn)] = from_summary(found).content["importances"]  # type: ignore[index]
    assert "dpo.beta 0.80 [0.31 to 0.97]; selection 0.20" in drawn
    text = search_text(tmp_path, monkeypatch, found)
    assert "3 trials tie at 0.1875 on 16 prompts." in text
    assert "3 (best) complete 0.05 average 0.635 [0.610 to 0.660] −1 1" in text


def test_two_objectives_are_drawn_against_each_other() -> None:
    other = "verifiable/tokens"
    values = [{METRIC: 0.6, other: 40.0}, {METRIC: 0.7, other: 60.0}, {METRIC: 0.5, other: None}]
    trials = [trial(place, values=value, params={"x": place}) for place, value in enumerate(values)]
    found = searched(objectives={METRIC: "maximize", other: "minimize"}, trials=trials, best=[0, 1], importances={})
    content = from_summary(found).content
    assert content is not None
    assert content["front"] is not None
    assert len(content["history"]) == 2


@pytest.mark.parametrize("state", ["running", "failed", "expired", "pruned"])
def test_a_search_without_a_complete_trial_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    none = searched(
        trials=[trial(0, state, params={"dpo.beta": 0.1})], best=[], importances={}, importances_note=None, command=None
    )
    text = search_text(tmp_path, monkeypatch, none)
    assert f"1 trial: 1 {state}" in text
    assert "There is no best trial yet" in text


def test_a_search_without_trials_says_so() -> None:
    assert from_summary(searched(trials=[])).note == "No trial has been started yet."


@pytest.mark.parametrize(
    ("values", "feasible", "line"),
    [
        ([0.6, 0.7], [True, True], "The best of 2 complete trials reached 0.7 in {metric}: x=1."),
        (
            [0.7, 0.7, 0.7],
            [True, True, False],
            "2 of 3 complete trials tie at 0.7 in {metric}; the first of them: x=0.",
        ),
    ],
)
def test_the_headline_of_a_search_says_what_was_found_and_that_it_was_picked(
    values: list[float], feasible: list[bool], line: str
) -> None:
    trials = [
        trial(place, values={METRIC: value}, params={"x": place}, feasible=keeps)
        for place, (value, keeps) in enumerate(zip(values, feasible, strict=True))
    ]
    found = searched(trials=trials, best=[values.index(0.7)], importances={})
    headline = search_headline([from_summary(found)])
    assert headline is not None
    assert headline.line == line.format(metric=METRIC)
    assert "looks better than it is" in headline.remarks[0]
    assert search_headline([]) is None


def test_a_search_without_a_best_trial_says_why() -> None:
    running = search_headline([from_summary(searched(trials=[trial(0, "running")], best=[]))])
    broken = search_headline([from_summary(searched(trials=[trial(0, feasible=False)], best=[]))])
    assert running is not None
    assert broken is not None
    assert running.line == "No trial is complete yet."
    assert broken.line == "No best trial yet: of 1 complete trial none keeps the constraints."
