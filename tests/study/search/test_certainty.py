"""How sure a search is: ties, intervals, what the parameters matter, and the test against a baseline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from notus_exp.contracts.study_file import TrialRecord
from notus_exp.disk.outputs import read_study
from notus_exp.study.search.certainty import in_words, tied, trial_intervals
from notus_exp.study.search.importances import importances
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.study.search.search_terminal import search_report
from notus_exp.study.search.summary import runs_of_trials, summary
from support.report_folders import trial
from support.searches import ACCURACY, FakeJobs, Values, good, search
from support.study_folders import STRICT, write_study

MAXIMIZE, MINIMIZE = {STRICT: "maximize"}, {STRICT: "minimize"}


def valued(number: int, value: float | None, *ends: float, **more: Any) -> TrialRecord:
    """A complete trial of its own run, whose interval has these ends, over 16 prompts."""
    intervals = {STRICT: {"value": value, "low": ends[0], "high": ends[1], "prompts": 16}} if ends else {}
    known = {"runs": {"0": f"run-{number}"}, "values": {STRICT: value}, "intervals": intervals, **more}
    made: Any = trial(number, **known)
    return made  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------------- ties
def test_ties_for_the_best_are_said_with_the_prompts_they_were_measured_on() -> None:
    trials = [
        valued(0, 0.125, 0.03, 0.36),
        *(valued(number, 0.1875, 0.07, 0.43) for number in (1, 3, 5, 6)),
        valued(2, 0.05, 0.01, 0.12),
        valued(4, None, state="failed"),
    ]
    ties = tied(trials, [1], MAXIMIZE)
    assert ties == [1, 3, 5, 6]
    first, second = in_words(trials, [1], ties, MAXIMIZE)
    assert first == (
        "4 trials tie at 0.1875 on 16 prompts (verifiable/strict): 1, 3, 5, 6; 1 was asked first and has the interval"
        " 0.07 to 0.43 (95 %)."
    )
    assert second == "The intervals of 4 of the 5 other trials reach that value too."


def test_sums_in_another_order_tie_and_other_constraints_or_the_same_runs_do_not() -> None:
    a = valued(0, 0.1 + 0.2 + 0.3, feasible=True)
    b = valued(1, 0.3 + 0.2 + 0.1, feasible=True)
    outside = valued(2, 0.6, feasible=False)
    again = valued(3, 0.6, runs=a["runs"], feasible=True)
    assert a["values"] != b["values"]
    assert tied([a, b, outside, again], [0], MAXIMIZE) == [0, 1]
    assert tied([a, outside, again], [0], MAXIMIZE) == []


def test_of_several_objectives_no_best_is_there_to_tie_for() -> None:
    both = {**MAXIMIZE, ACCURACY: "maximize"}
    trials = [valued(0, 0.5), valued(1, 0.5)]
    assert tied(trials, [0, 1], both) == []
    assert in_words(trials, [0, 1], [], both) == []


def test_the_end_that_counts_is_that_towards_the_best() -> None:
    trials = [valued(0, 0.2, 0.1, 0.3), valued(1, 0.4, 0.25, 0.6), valued(2, 0.3, 0.15, 0.5)]
    assert in_words(trials, [0], [], MINIMIZE)[1:] == ["The intervals of 1 of the 2 other trials reach that value too."]
    assert in_words(trials, [0], [], MINIMIZE)[0] == (
        "The best trial is 0: verifiable/strict 0.2 [0.1 to 0.3, 95 %] on 16 prompts."
    )


# ------------------------------------------------------------------------------------------------------------ intervals
def test_over_several_seeds_the_interval_is_for_new_prompts_and_seeds(tmp_path: Path) -> None:
    values = {seed: np.random.default_rng(seed).integers(0, 2, 40).astype(float) for seed in (0, 1)}
    folder = write_study(tmp_path, {"a": {seed: {STRICT: row} for seed, row in values.items()}}, kind="search")
    one: Any = trial(0, values={STRICT: 0.5}, runs={"0": "a-s0", "1": "a-s1"})
    found = trial_intervals(folder, one)[STRICT]
    mean = float(np.mean([*values.values()]))
    assert (found["value"], found["prompts"]) == (0.5, 40)
    assert found["low"] is not None
    assert found["high"] is not None
    assert found["low"] < mean < found["high"]
    alone = np.std(np.mean([*values.values()], axis=0), ddof=1) / np.sqrt(40)
    assert found["high"] - found["low"] > 2 * 1.96 * alone * 0.99, "seeds are not less sure than prompts alone"


def test_of_one_seed_it_is_the_runs_and_without_one_there_is_none(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0]}}}, kind="search")
    one: Any = trial(0, values={STRICT: 0.0, "policy/validation/accuracy": 0.5, ACCURACY: None}, runs={"0": "a-s0"})
    assert trial_intervals(folder, one) == {}, "the run has none"
    assert trial_intervals(folder, one | {"state": "failed"}) == {}
    assert trial_intervals(folder, one | {"runs": {"0": "gone"}}) == {}


# ---------------------------------------------------------------------------------------------------------- importances
def asked(rows: list[tuple[float, str, float]]) -> tuple[optuna.Study, list[FrozenTrial]]:
    """Trials of a number, a choice and a value."""
    space = {"beta": FloatDistribution(0.01, 1.0, log=True), "selection": CategoricalDistribution(["x", "y"])}
    study = optuna.create_study(direction="maximize")
    for beta, selection, value in rows:
        study.add_trial(
            create_trial(params={"beta": beta, "selection": selection}, distributions=space, value=value)  # type: ignore[arg-type]
        )
    return study, study.get_trials()


def test_importances_are_given_from_three_trials_on_with_how_far_they_are_from_sure() -> None:
    generator = np.random.default_rng(0)
    rows = [(float(10 ** generator.uniform(-2, 0)), str(generator.choice(["x", "y"]))) for _ in range(40)]
    matters = [(beta, selection, -abs(np.log10(beta) + 1)) for beta, selection in rows]
    many, few = (importances(*asked(matters[:size]), MAXIMIZE) for size in (40, 6))
    assert sum(many.shares[STRICT].values()) == pytest.approx(1)
    assert many.shares[STRICT]["beta"] > 0.8
    for found in (many, few):
        for name, share in found.intervals[STRICT].items():
            low, high = share["low"], share["high"]
            assert share["value"] == found.shares[STRICT][name]
            assert low is not None
            assert high is not None
            assert 0 <= low <= high <= 1
        assert "In brackets the middle 90 % over" in found.note
    assert "a rough picture" in few.note
    again = importances(*asked(matters[:6]), MAXIMIZE)
    assert again == few, "the draws are the same each time"


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([(0.1, "x", 0.5), (0.2, "y", 0.4)], "2 trials are complete; importances are computed from 3 on."),
        ([(0.1, "x", 0.5), (0.2, "x", 0.4), (0.3, "x", 0.3)], "Fewer than two parameters were varied"),
    ],
)
def test_where_there_is_nothing_to_weigh_it_is_said_why(rows: list[tuple[float, str, float]], note: str) -> None:
    found = importances(*asked(rows), MAXIMIZE)
    assert (found.shares, found.intervals) == ({}, {})
    assert found.note.startswith(note)


def test_trials_that_did_not_complete_are_not_weighed() -> None:
    study, trials = asked([(0.1, "x", 0.5), (0.2, "y", 0.4), (0.3, "x", 0.3)])
    trials[0].state = TrialState.PRUNED
    assert importances(study, trials, MAXIMIZE).note.startswith("2 trials are complete")
    assert importances(None, [], MAXIMIZE).note.startswith("0 trials are complete")


# ------------------------------------------------------------------------------------------------------- a whole search
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies" / "mine"


def test_a_search_ends_with_its_trials_ties_importances_and_a_test_against_a_baseline(folder: Path) -> None:
    def flat(values: Values) -> dict[str, float]:
        return good(values) | {ACCURACY: 0.75 if values["selection"] == "average" else 0.5}

    search(folder, FakeJobs(folder, flat), trials=6, common=["experiment=smoke"])
    found = summary(folder)
    average = [one["number"] for one in found["trials"] if one["params"]["selection"] == "average"]
    assert found["tied"] == average
    assert len(average) > 1
    assert sorted(runs_of_trials(folder)) == sorted(run for one in found["trials"] for run in one["runs"].values())
    words = shlex.split(str(found["command"]))
    assert "+study.arms.baseline=[]" in words
    assert {"study.baseline=baseline", f"study.metric={ACCURACY}", "experiment=smoke"} <= {*words}
    comparison = search_comparison(folder, read_study(folder))
    assert comparison["verdict"].startswith(f"{len(average)} trials tie at 0.75 ({ACCURACY})")
    shown = search_report(comparison, folder, folder)
    trials, shares = shown.tables
    assert trials.rows[0][0] == str(average[0])
    assert [row[-1] for row in trials.rows].count("ties") == len(average) - 1
    assert {row[0] for row in shares.rows} == {*found["importances"][ACCURACY]}
    assert shown.commands == [found["command"]], "on a line of its own, however long"
