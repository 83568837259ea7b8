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

from notus_exp.contracts.study_file import ImportanceRow, TrialRecord
from notus_exp.disk.outputs import read_study
from notus_exp.study.search.certainty import difference, in_words, tied, trial_intervals
from notus_exp.study.search.importances import importances
from notus_exp.study.search.search_comparison import search_comparison
from notus_exp.study.search.search_terminal import search_report
from notus_exp.study.search.summary import runs_of_trials, summary
from support.report_folders import trial
from support.searches import ACCURACY, FakeJobs, Values, good, search
from support.study_folders import STRICT, edit, write_study

MAXIMIZE = {STRICT: "maximize"}


def valued(number: int, value: float | None, *ends: float, **more: Any) -> TrialRecord:
    """A complete trial of its own run, whose interval has these ends, over 16 prompts."""
    intervals = {STRICT: {"value": value, "low": ends[0], "high": ends[1], "prompts": 16}} if ends else {}
    known = {"runs": {"0": f"run-{number}"}, "values": {STRICT: value}, "intervals": intervals, **more}
    made: Any = trial(number, **known)
    return made  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------------- ties
def behind(*ends: float) -> dict[str, Any]:
    """A difference from the best trial with these ends."""
    return {"differences": {STRICT: {"value": sum(ends) / 2, "low": ends[0], "high": ends[1], "prompts": 16}}}


def test_ties_for_the_best_are_said_with_the_prompts_they_were_measured_on() -> None:
    trials = [
        valued(0, 0.125, 0.03, 0.36, **behind(-0.2, 0.05)),
        *(valued(number, 0.1875, 0.07, 0.43) for number in (1, 3, 5, 6)),
        valued(2, 0.05, 0.01, 0.12, **behind(-0.3, -0.02)),
        valued(4, None, state="failed"),
    ]
    ties = tied(trials, 1, STRICT)
    assert ties == [1, 3, 5, 6]
    first, second = in_words(trials, ties, MAXIMIZE)
    assert first == (
        "4 trials tie at 0.1875 on 16 prompts (verifiable/strict): 1, 3, 5, 6; 1 was asked first and has the interval"
        " 0.07 to 0.43 (95 %)."
    )
    assert second.startswith("Paired by prompt, 1 of 2 other trials cannot be told from it")


def test_sums_in_another_order_tie_and_other_constraints_or_the_same_runs_do_not() -> None:
    a = valued(0, 0.1 + 0.2 + 0.3, feasible=True)
    b = valued(1, 0.3 + 0.2 + 0.1, feasible=True)
    outside = valued(2, 0.6, feasible=False)
    again = valued(3, 0.6, runs=a["runs"], feasible=True)
    assert a["values"] != b["values"]
    assert tied([a, b, outside, again], 0, STRICT) == [0, 1]
    assert tied([a, outside, again], 0, STRICT) == [0]
    assert tied([a, b], 1, STRICT) == [1, 0], "the one that was asked first is in front"


def test_of_several_objectives_no_best_is_there_to_tie_for() -> None:
    both = {**MAXIMIZE, ACCURACY: "maximize"}
    assert in_words([valued(0, 0.5), valued(1, 0.5)], [0, 1], both) == []


# ---------------------------------------------------------------------------------------------------------- differences
def of_runs(number: int, arm: str) -> Any:
    return trial(number, values={STRICT: 0.5}, runs={"0": f"{arm}-s0", "1": f"{arm}-s1"})


def test_trials_are_compared_prompt_by_prompt(tmp_path: Path) -> None:
    """Prompts differ far more than the trials: intervals of each overlap, and that of the difference leaves out 0."""
    hard = np.random.default_rng(3).uniform(0, 0.8, 40)
    small = np.random.default_rng(4).uniform(0.08, 0.12, 40)
    arms = {"a": {seed: {STRICT: hard} for seed in (0, 1)}, "b": {seed: {STRICT: hard + small} for seed in (0, 1)}}
    folder = write_study(tmp_path, arms, kind="search")  # type: ignore[arg-type]
    a, b = of_runs(0, "a"), of_runs(1, "b")
    apart = [trial_intervals(folder, one)[STRICT] for one in (a, b)]
    assert apart[0]["high"] is not None
    assert apart[1]["low"] is not None
    assert apart[0]["high"] > apart[1]["low"]
    found = difference(folder, a, b, STRICT)
    assert found is not None
    assert found["high"] is not None
    assert found["value"] == pytest.approx(-small.mean())
    assert found["high"] < 0
    assert found["prompts"] == 40
    assert difference(folder, a, {**b, "runs": {"0": "gone", "1": "gone"}}, STRICT) is None


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


def drawn(trials: int, seed: int = 0) -> list[tuple[float, str]]:
    """Settings of trials by chance."""
    generator = np.random.default_rng(seed)
    return [(float(10 ** generator.uniform(-2, 0)), str(generator.choice(["x", "y"]))) for _ in range(trials)]


def weighed(rows: list[tuple[float, str, float]]) -> dict[str, ImportanceRow]:
    return importances(*asked(rows), MAXIMIZE).rows[STRICT]


@pytest.mark.parametrize("few", [3, 9])
def test_of_few_trials_no_importance_is_told(few: int) -> None:
    found = importances(*asked([(beta, choice, beta) for beta, choice in drawn(few)]), MAXIMIZE)
    assert found.rows == {}
    assert found.note == f"What each setting matters cannot be told from {few} complete trials; 10 are needed."


def test_a_setting_that_decides_is_found_and_the_other_is_not() -> None:
    rows = weighed([(beta, choice, -abs(np.log10(beta) + 1)) for beta, choice in drawn(40)])
    assert list(rows) == ["beta", "selection"], "the largest share first"
    assert sum(row["value"] or 0.0 for row in rows.values()) == pytest.approx(1)
    assert (rows["beta"]["verdict"], rows["selection"]["verdict"]) == ("matters", "cannot tell")
    assert (rows["beta"]["value"] or 0) > 0.8
    again = importances(*asked([(beta, choice, -abs(np.log10(beta) + 1)) for beta, choice in drawn(40)]), MAXIMIZE)
    assert again.rows[STRICT] == rows, "the draws are the same each time"
    assert again.note.startswith("Over 40 complete trials: beta can be told to matter.")


def test_noise_is_told_to_be_noise_and_each_interval_holds_its_share() -> None:
    for seed in range(2):
        noise = np.random.default_rng(100 + seed).normal(size=12)
        found = weighed([(*setting, float(value)) for setting, value in zip(drawn(12, seed), noise, strict=True)])
        for row in found.values():
            assert row["verdict"] == "cannot tell"
            assert row["holm"] is not None
            assert row["holm"] > 0.05
            if row["low"] is not None:
                assert row["value"] is not None
                assert row["high"] is not None
                assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1


def test_settings_that_moved_together_cannot_be_told_apart() -> None:
    """selection=x always came with a large beta, and these trials are better."""
    large = [(0.5 + place / 50, "x", 1.0 + place / 100) for place in range(8)]
    small = [(0.01 + place / 500, "y", 0.1 + place / 100) for place in range(8)]
    found = importances(*asked(large + small), MAXIMIZE)
    assert found.rows == {}
    assert "cannot be told" in found.note
    assert "selection moved together with beta" in found.note


def test_a_setting_of_few_trials_or_of_one_value_is_unknown_and_not_zero() -> None:
    study = optuna.create_study(direction="maximize")
    space = {"beta": FloatDistribution(0.01, 1.0, log=True), "selection": CategoricalDistribution(["x", "y"])}
    for place, (beta, selection) in enumerate(drawn(16)):
        params: dict[str, Any] = {"beta": beta, "selection": selection, "fixed": 0}
        own: dict[str, Any] = {**space, "fixed": CategoricalDistribution([0])}
        if place < 4:
            params["rejected"], own["rejected"] = ["a", "b"][place % 2], CategoricalDistribution(["a", "b"])
        study.add_trial(create_trial(params=params, distributions=own, value=-abs(np.log10(beta) + 1)))
    rows = importances(study, study.get_trials(), MAXIMIZE).rows[STRICT]
    for name, reason in {
        "fixed": "was never varied",
        "rejected": "was part of 4 complete trials; 10 are needed",
    }.items():
        assert (rows[name]["value"], rows[name]["low"], rows[name]["high"]) == (None, None, None)
        assert (rows[name]["verdict"], rows[name]["reason"]) == ("cannot tell", reason)
    assert (rows["beta"]["value"], rows["rejected"]["trials"]) != (None, 16)


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([(0.1, "x", 0.5)], "What each setting matters cannot be told from 1 complete trial; 10 are needed."),
        (
            [(0.01 * place, "x", float(place)) for place in range(1, 13)],
            "What each setting matters cannot be told: fewer than two can be weighed against each other (selection was"
            " never varied).",
        ),
        (
            [(beta, choice, 0.5) for beta, choice in drawn(12)],
            "All 12 complete trials are alike, so no setting is seen to matter.",
        ),
    ],
)
def test_where_there_is_nothing_to_weigh_it_is_said_why(rows: list[tuple[float, str, float]], note: str) -> None:
    found = importances(*asked(rows), MAXIMIZE)
    assert found.rows == {}
    assert found.note.startswith(note)


def test_trials_that_did_not_complete_are_not_weighed() -> None:
    study, trials = asked([(beta, choice, beta) for beta, choice in drawn(10)])
    trials[0].state = TrialState.PRUNED
    assert "from 9 complete trials" in importances(study, trials, MAXIMIZE).note
    assert "from 0 complete trials" in importances(None, [], MAXIMIZE).note


# ------------------------------------------------------------------------------------------------------- a whole search
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies" / "mine"


def test_a_search_ends_with_its_trials_ties_importances_and_a_test_against_a_baseline(folder: Path) -> None:
    def flat(values: Values) -> dict[str, float]:
        return good(values) | {ACCURACY: 0.75 if values["selection"] == "average" else 0.5}

    search(folder, FakeJobs(folder, flat), trials=14, common=["experiment=smoke"])
    edit(folder / "study.json", lambda content: content.update(metric=STRICT))
    found = summary(folder)
    average = [one["number"] for one in found["trials"] if one["params"]["selection"] == "average"]
    assert found["best"] == average
    assert len(average) > 1
    assert sorted(runs_of_trials(folder)) == sorted(run for one in found["trials"] for run in one["runs"].values())
    words = shlex.split(str(found["command"]))
    assert "+study.arms.baseline=[]" in words
    assert {"study.baseline=baseline", f"study.metric={ACCURACY}", "experiment=smoke"} <= {*words}
    comparison = search_comparison(folder, read_study(folder))
    assert comparison["verdict"].startswith(f"{len(average)} trials tie at 0.75 ({ACCURACY})")
    assert comparison["study"]["metric"] == ACCURACY, "that of the objective, whatever the study's is"
    assert comparison["search"] == found
    shown = search_report(comparison, folder)
    trials, shares = shown.tables
    assert "of one seed [95 % interval for new prompts; how far another seed would differ is not in it]" in trials.title
    assert [row[-1] for row in trials.rows].count("ties for best") == len(average)
    assert {row[0] for row in shares.rows} == {*found["importances"][ACCURACY]}
    assert shown.commands == [found["command"]], "on a line of its own, however long"
