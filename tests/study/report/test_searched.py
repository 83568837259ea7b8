"""The report's section on an Optuna search: trials, best, plots, importances, the command of the test."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from notus_exp.study.report.searched import from_summary, mark_without_value, options_of, search_headline
from support.report_folders import EVIL, METRIC, StudyFolder, comparison, importance, searched, trial, written


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
    assert "3 of 4 trials are complete (1 failed)." in text
    assert (
        "A value is of one seed [95 % interval for new prompts; how far another seed would differ is not in it]" in text
    )
    assert "3 (best) complete 0.05 average 0.635 −1 1" in text
    assert "1 complete 0.5 critique 0.7 9.5 1 breaks a constraint" in text
    assert f"2 failed 0.1 {EVIL} – – 1 crashed at {EVIL} crashed-run" in text
    assert "python -m notus_exp dpo.beta=0.05 seed=0,1,2 -m" in text
    assert "Over 12 complete trials: dpo.beta can be told to matter." in text
    assert "dpo.beta 0.0200 matters selection 0.4000 cannot tell" in text


def test_a_search_draws_history_slices_and_importances() -> None:
    content = from_summary(searched()).content
    assert content is not None
    assert (len(content["history"]), len(content["by_parameter"]), len(content["importances"])) == (1, 2, 1)
    assert all(content["by_parameter"])
    assert content["front"] is None, "there is one objective"


def test_what_a_search_found_is_shown_with_how_sure_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = searched(said=["3 trials tie at 0.1875 on 16 prompts."])
    found["trials"][3]["intervals"] = {METRIC: {"value": 0.6349, "low": 0.61, "high": 0.66, "prompts": 20}}
    found["importances"][METRIC]["fixed"] = importance(None, None, None, None)
    [(_, drawn, said)] = from_summary(found).content["importances"]  # type: ignore[index]
    assert "dpo.beta 0.80 [0.31 to 0.97]; selection 0.20; fixed cannot tell" in drawn
    assert said[-1][2] == "was never varied"
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
    assert f"0 of 1 trial are complete (1 {state})." in text
    assert "There is no best trial yet" in text


def test_a_search_without_trials_says_so() -> None:
    assert from_summary(searched(trials=[])).note == "No trial has been started yet."


@pytest.mark.parametrize(
    ("values", "feasible", "line"),
    [
        ([0.6, 0.7], [True, True], "The best of 2 complete trials reached 0.7 in {metric}: x=1."),
        (
            [0.7, 0.7],
            [True, True],
            "All 2 complete trials tie at 0.7 in {metric}; the first of them: x=0.",
        ),
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
    best = [place for place, value in enumerate(values) if value == 0.7 and feasible[place]]
    found = searched(trials=trials, best=best, importances={})
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


def test_trials_without_a_value_are_counted_and_marked_on_the_plots() -> None:
    trials = [trial(place, values={METRIC: 0.5}, params={"x": place}) for place in range(2)]
    trials += [trial(2, "pruned", params={"x": 2}), trial(3, "failed", params={"x": 3}), trial(4, "failed")]
    section = from_summary(searched(trials=trials, best=[0, 1], importances={}))
    headline = search_headline([section])
    assert headline is not None
    assert headline.line == f"All 2 complete of 5 trials tie at 0.5 in {METRIC}; the first of them: x=0."
    assert section.content is not None
    assert section.content["ended"] == "2 of 5 trials are complete (1 pruned, 2 failed)."
    assert [one["best"] for one in section.content["trials"]] == ["ties for best"] * 2 + [""] * 3
    axes = Figure().subplots()
    mark_without_value(axes, trials, [one["number"] for one in trials])
    assert [list(line.get_xdata()) for line in axes.lines] == [[2], [3, 4]]


@pytest.mark.parametrize(
    ("spec", "tried", "options"),
    [
        ({"choices": [1e-9, 1e-3, 1.0]}, [1.0, 1e-9], ["1e-09", "0.001", "1.0"]),
        ({"choices": [0]}, [0], ["0"]),
        ({"low": 0.0, "high": 1.0}, [0.1, 0.2], []),
        ({"choices": ["b", "a"]}, ["a", "b"], ["b", "a"]),
    ],
)
def test_choices_are_no_points_of_a_line(spec: Any, tried: list[Any], options: list[str]) -> None:
    trials = [trial(place, values={METRIC: 0.5}, params={"x": value}) for place, value in enumerate(tried)]
    found = searched(trials=trials, best=[0], parameters={"x": spec}, importances={})
    assert options_of(found, "x") == options
    assert from_summary(found).content["by_parameter"][0] is not None  # type: ignore[index]
