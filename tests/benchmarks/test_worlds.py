"""Worlds whose truth is known: what strategies choose, and what studies say, follows it."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict

import polars as pl
import pytest

from notus_exp.config.data_settings import SIMULATED_ASPECTS
from notus_exp.contracts.comparison_file import ALIKE, HIGHER, LOWER, UNKNOWN
from notus_exp.disk.hashing import prompt_id
from support.curation_tables import completion, prompt, table
from support.places import ROOT

SCRIPT = ROOT / "benchmarks/worlds.py"
spec = importlib.util.spec_from_file_location("worlds", SCRIPT)
assert spec and spec.loader
worlds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worlds)

AVERAGE, CRITIQUE, NEITHER = worlds.WORLDS


def finding(world, verdict, equivalent=False):
    nothing = worlds.Measured(0.0, 0.0, 0.0)
    return worlds.Finding(world, "made up", "share", nothing, nothing, nothing, verdict, equivalent)


def by_study(world):
    return world.study


# -------------------------------------------------------------------------------------------------------------- worlds
@pytest.mark.parametrize("world", worlds.WORLDS, ids=by_study)
def test_a_worlds_study_compares_average_with_critique_in_the_true_quality(world):
    arms = worlds.arms(world.study)
    study = arms["average"].study
    assert (study.name, study.baseline, study.metric) == (world.study, "critique", "preferences/accuracy/latent")
    assert {arm: config.selection.name for arm, config in arms.items()} == {
        "critique": "critique",
        "average": "average",
    }
    assert len(study.seeds) >= 3


def test_worlds_differ_in_the_noise_of_labels_alone():
    first, *others = [worlds.arms(world.study)["average"] for world in worlds.WORLDS]
    for other in others:
        ours, theirs = asdict(first), asdict(other)
        for config in (ours, theirs):
            for noise in ("rating_noise", "overall_noise", "inverted_score_rate"):
                del config["data"][noise]
            for own in ("name", "seeds"):
                del config["study"][own]
        assert ours == theirs


# ------------------------------------------------------------------------------------------------------------ curation
def test_a_chosen_response_is_judged_by_the_true_quality_alone():
    feedback = table(
        prompt("agree", completion("a", 5, 5, 5, 5, overall=9), completion("b", 1, 1, 1, 1, overall=2)),
        prompt("differ", completion("a", 5, 5, 5, 5, overall=3), completion("b", 2, 2, 2, 2, overall=8)),
        prompt("equal", completion("a", 4, 4, 4, 4, overall=7), completion("b", 1, 1, 1, 1, overall=2)),
        prompt(
            "second",
            completion("a", 5, 5, 5, 5, overall=9),
            completion("b", 2, 2, 2, 2, overall=4),
            completion("c", 2, 2, 2, 2, overall=3),
            completion("d", 5, 5, 5, 5, overall=9),  # never rejected: not strictly worse
        ),
        aspects=[*SIMULATED_ASPECTS],
    ).filter(~((pl.col("response") == "d") & (pl.col("row") == 3)))
    feedback = feedback.with_columns(latent_quality=pl.Series([0.9, 0.1, 0.3, 0.7, 0.6, 0.6, 0.5, 0.2, 0.4]))
    agree, differ, equal, second = map(prompt_id, ("agree", "differ", "equal", "second"))
    arms = worlds.arms("world_average")
    assert worlds.truly_chosen(feedback, arms["average"], 0) == {
        "better": {agree: 1.0, differ: 0.0, equal: 0.0, second: 1.0},
        "best": {agree: 1.0, differ: 0.0, equal: 1.0, second: 1.0},
    }
    assert worlds.truly_chosen(feedback, arms["critique"], 0) == {
        "better": {agree: 1.0, differ: 1.0, equal: 0.0, second: 1.0},
        "best": {agree: 1.0, differ: 1.0, equal: 1.0, second: 1.0},
    }


@pytest.mark.parametrize("world", worlds.WORLDS, ids=by_study)
def test_the_verdict_on_the_chosen_responses_follows_the_truth(world):
    for found in worlds.curation(world, [1, 2, 3], 3000):
        assert found.follows, found


@pytest.mark.slow
def test_where_neither_is_better_the_shares_differ_by_less_than_a_point():
    better, best = worlds.curation(NEITHER, [5, 6, 7], 20_000)
    assert abs(better.difference.value) < 0.01
    assert abs(best.difference.value) < 0.01


# ------------------------------------------------------------------------------------------------------------- verdict
@pytest.mark.parametrize(
    ("world", "verdict", "equivalent", "follows"),
    [
        (AVERAGE, HIGHER, False, True),
        (AVERAGE, LOWER, False, False),
        (AVERAGE, ALIKE, False, False),
        (CRITIQUE, LOWER, False, True),
        (CRITIQUE, HIGHER, False, False),
        (CRITIQUE, UNKNOWN, False, False),
        (NEITHER, ALIKE, True, True),
        (NEITHER, ALIKE, False, False),  # too little data is no proof that nothing is there
        (NEITHER, HIGHER, True, False),
        (NEITHER, UNKNOWN, False, False),
    ],
)
def test_a_verdict_follows_the_truth_only_where_it_says_so(world, verdict, equivalent, follows):
    assert finding(world, verdict, equivalent).follows is follows


def test_a_studys_comparison_is_read_in_its_primary_metric():
    row = {"value": 0.1, "low": 0.05, "high": 0.15, "verdict": "higher", "prompts": 600, "seeds": 3}
    comparison = {
        "study": {"metric": "m"},
        "arms": [
            {"arm": "critique", "metrics": {"m": {"value": 0.6, "low": 0.5, "high": 0.7}}},
            {"arm": "average", "metrics": {"m": {"value": 0.7, "low": 0.6, "high": 0.8}}},
        ],
        "contrasts": [
            {"primary": True, "arm": "average", "equivalence": {"equivalent": False}, **row},
            {"primary": False, "arm": "average", "equivalence": None, **row, "verdict": "lower"},
        ],
    }
    found = worlds.finding_of(AVERAGE, comparison)
    assert (found.measure, found.verdict, found.equivalent, found.follows) == ("m", "higher", False, True)
    assert (found.critique, found.average) == ((0.6, 0.5, 0.7), (0.7, 0.6, 0.8))
    assert found.difference == (0.1, 0.05, 0.15)


@pytest.mark.parametrize(("verdict", "code"), [(HIGHER, 0), (LOWER, 1)])
def test_the_command_fails_where_a_verdict_is_against_the_truth(monkeypatch, capsys, verdict, code):
    monkeypatch.setattr(worlds, "WORLDS", [AVERAGE])
    monkeypatch.setattr(worlds, "curation", lambda world, seeds, prompts: [finding(world, verdict)])
    monkeypatch.setattr("sys.argv", ["worlds.py", "--level", "curation", "--worlds", "1"])
    assert worlds.main() == code
    assert f"1 verdicts, {code} against the truth" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_trained_on_the_truly_better_choice_is_found_to_be_better(tmp_path):
    """Half of the study: fewer pairs, prompts and verdicts; the whole one is the benchmark."""
    found = worlds.model(AVERAGE, tmp_path, ["data.prompts=1200"])
    assert found.follows, found
