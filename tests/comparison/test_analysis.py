import json
import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.cautions import LACKING, MANY_CONTRASTS, ONE_SEED, TWO_SEEDS
from notus_exp.comparison.terminal import study_report
from notus_exp.comparison.tidy import SCHEMA, tidy
from notus_exp.comparison.words import AGREE, contrast_words, verdict_of
from notus_exp.contracts.comparison_file import family_of
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import entrance
from notus_exp.evaluation.kit.description import Metric
from notus_exp.inference.crossed import crossed_mean
from notus_exp.inference.multiplicity import Adjusted
from notus_exp.inference.paired import Equivalence, Interval
from notus_exp.study.report.headline import verdict_word
from support.study_folders import ACCURACY, STRICT, TOKENS, crossed, edit, prompt, run_json, write_study

SEEDS = [0, 1, 2]


def planted(effects, *, n=60, seeds=SEEDS, metric=ACCURACY):
    """Arms whose true means differ by `effects`, on prompts that all share."""
    return {
        arm: {seed: {metric: row} for seed, row in crossed(n, seeds, effect=effect, arm=place).items()}
        for place, (arm, effect) in enumerate(effects.items())
    }


def contrasts(comparison, **wanted):
    return [row for row in comparison["contrasts"] if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    arms = planted({"critique": 0.0, "average": 0.1, "same": 0.0})
    return analyse(write_study(tmp_path_factory.mktemp("planted"), arms, margin=0.05))


def test_the_planted_truth_is_found(comparison):
    average, same = contrasts(comparison, primary=True)
    assert (average["arm"], average["reference"], average["verdict"]) == ("average", "critique", "higher")
    assert average["low"] < 0.1 < average["high"]
    assert (same["verdict"], same["equivalence"]["equivalent"]) == ("not distinguishable", True)
    assert "'average' is higher (+0.1" in comparison["verdict"]
    assert "'same' is not distinguishable" in comparison["verdict"]
    assert comparison["warnings"] == []


def test_the_value_is_the_mean_of_the_paired_differences(comparison):
    arms = planted({"critique": 0.0, "average": 0.1, "same": 0.0})
    wanted = np.mean([arms["average"][seed][ACCURACY] - arms["critique"][seed][ACCURACY] for seed in SEEDS])
    [average] = contrasts(comparison, primary=True, arm="average")
    assert average["value"] == pytest.approx(wanted, rel=1e-9)
    assert (average["prompts"], average["seeds"], average["left_out"]) == (60, 3, 0)


def test_the_family_is_corrected_and_the_rest_is_exploratory(comparison):
    family = contrasts(comparison, primary=True)
    ps = sorted(row["p"] for row in family)
    assert sorted(row["holm"] for row in family) == pytest.approx([2 * ps[0], max(2 * ps[0], ps[1])])
    others = contrasts(comparison, primary=False)
    assert {row["reference"] for row in others} == {"base model"}
    assert all(row["holm"] is None and row["words"].endswith("; exploratory") for row in others)


def test_p_verdict_and_the_interval_at_holms_step_agree(tmp_path):
    arms = planted({"a": 0.0, "b": 0.03, "c": 0.04, "d": 0.05, "e": 0.06}, n=40)
    family = contrasts(analyse(write_study(tmp_path, arms)), primary=True)
    verdicts = [row["verdict"] for row in family]
    assert set(verdicts) == {"higher", "not distinguishable"}
    for row in family:
        assert (row["verdict"] == "higher") == (row["holm"] < 0.05) == (row["holm_low"] > 0)
        assert (row["p"] < 0.05) == (row["low"] > 0)
        assert row["holm_low"] <= row["low"] <= row["high"] <= row["holm_high"]
    least = min(family, key=lambda row: row["p"])
    share, n, k = 1 - (1 - least["seed_share"] ** 2) ** 2, 40, 3  # the smallest of four is compared with 0.05 / 4
    squares = (1 - share) * stats.t.isf(0.00625, n - 1) ** 2 + share * stats.t.isf(0.00625, k - 1) ** 2
    assert least["holm_low"] == pytest.approx(least["value"] - math.sqrt(squares) * least["standard_error"])


def test_two_seeds_are_a_caution_of_each_contrast_and_of_the_verdict(tmp_path):
    comparison = analyse(write_study(tmp_path, planted({"a": 0.0, "b": 0.3}, seeds=[0, 1])))
    assert TWO_SEEDS in comparison["verdict"]
    assert all(row["cautions"] == [TWO_SEEDS] for row in comparison["contrasts"] if row["p"] is not None)


def test_three_seeds_and_many_contrasts_are_a_caution(tmp_path):
    arms = planted({f"arm{place}": 0.0 for place in range(9)}, n=12)
    few, many = (
        analyse(write_study(tmp_path / name, {arm: arms[arm] for arm in list(arms)[:count]}))
        for name, count in (("few", 8), ("many", 9))
    )
    assert MANY_CONTRASTS in many["verdict"]
    assert MANY_CONTRASTS not in few["verdict"]
    assert all(MANY_CONTRASTS in row["cautions"] for row in contrasts(many, primary=True))
    assert not any(MANY_CONTRASTS in row["cautions"] for row in contrasts(many, primary=False))


def test_rare_large_gains_are_a_caution_in_words_and_many_even_ones_are_not(tmp_path, comparison):
    arms = planted({"a": 0.0, "b": 0.0})
    for row in arms["b"].values():
        row[ACCURACY] = row[ACCURACY] + np.repeat([0.9, 0.0], [2, 58])  # two prompts of sixty gain much
    found = analyse(write_study(tmp_path, arms))
    [row] = contrasts(found, primary=True)
    [caution] = row["cautions"]
    assert caution.startswith("A few of the 60 prompts carry this difference (skewness of its mean +0.")
    assert f"'b': {caution}" in found["verdict"]
    assert [one["cautions"] for one in contrasts(comparison, primary=True)] == [[], []]


def test_a_base_model_has_its_accuracy_by_construction(comparison):
    base = comparison["base"]["metrics"][ACCURACY]
    assert (base["value"], base["low"], base["high"]) == (0.5, 0.5, 0.5)


def test_strengths_of_arms_follow_the_truth_and_say_what_a_game_is(comparison):
    strengths = {row["name"]: row for row in comparison["bradley_terry"]["strengths"]}
    assert strengths["critique"]["value"] == 0
    assert strengths["average"]["low"] > 0
    assert comparison["bradley_terry"]["games"] == 3 * 3 * 60
    assert "A game is one prompt under one seed" in comparison["bradley_terry"]["note"]


def test_strengths_that_are_not_finite_are_left_out_with_the_reason(tmp_path):
    arms = {"low": {0: {ACCURACY: [0.1, 0.2, 0.3]}}, "high": {0: {ACCURACY: [0.2, 0.4, 0.5]}}}
    found = analyse(write_study(tmp_path, arms))["bradley_terry"]
    assert found["strengths"] == []
    assert found["games"] == 3
    assert "Bradley-Terry" in found["note"]


def test_one_seed_is_said_in_words(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.3}, seeds=[7]))
    comparison = analyse(folder)
    assert ONE_SEED in comparison["warnings"]
    assert ONE_SEED in comparison["verdict"]
    [row] = contrasts(comparison, primary=True)
    assert row["components"]["seed"] is None


def test_with_one_seed_the_contrast_is_the_paired_t_test(tmp_path):
    a, b = [0.2, 0.4, 0.9, 0.5], [0.1, 0.5, 0.4, 0.2]
    arms = {"a": {0: {ACCURACY: a}}, "b": {0: {ACCURACY: b}}}
    [row] = contrasts(analyse(write_study(tmp_path, arms, baseline="b")), primary=True)
    wanted = stats.ttest_rel(a, b)
    assert row["p"] == pytest.approx(wanted.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(wanted.confidence_interval(0.95))


def test_a_failed_run_is_counted_and_its_arm_compared_on_the_seeds_it_has(tmp_path):
    arms = planted({"a": 0.0, "b": 0.2})
    folder = write_study(tmp_path, arms, unplanned={"b": {"9": "too little memory"}}, seeds=[0, 1, 2, 9])
    reason = f"stage policy failed: {folder.parent.parent}/artifacts/x is broken\n  the traceback is elsewhere"
    edit(run_json(folder, "b-s1"), lambda run: run.update(status="failed", error=reason))
    edit(run_json(folder, "a-s2"), lambda run: run.update(status="interrupted", error=None))
    comparison = analyse(folder)
    a, b = comparison["arms"]
    assert (a["seeds"], a["failed"]) == ([0, 1], {"2": "interrupted", "9": "not started"})
    assert b["failed"] == {"1": "stage policy failed: outputs/artifacts/x is broken", "9": "too little memory"}
    [row] = contrasts(comparison, primary=True)
    assert row["seeds"] == 1  # seed 0 is the only one that both have
    assert row["value"] == pytest.approx(np.mean(arms["b"][0][ACCURACY] - arms["a"][0][ACCURACY]))
    assert "arm 'b', seed 9 has no result: too little memory" in comparison["warnings"]
    assert "4 runs have no result" in comparison["verdict"]
    assert ONE_SEED in comparison["verdict"]


def test_an_arm_without_a_finished_run_cannot_be_told(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.2}))
    for seed in SEEDS:
        run_json(folder, f"b-s{seed}").unlink()
    comparison = analyse(folder)
    [row] = contrasts(comparison, primary=True)
    assert (row["verdict"], row["value"], row["seeds"]) == ("cannot tell", None, 0)
    assert "'b': cannot tell: no seed is finished on both sides" in comparison["verdict"]
    assert comparison["arms"][1]["failed"] == dict.fromkeys("012", "not started")


def test_a_study_without_any_finished_run_says_so(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.2}))
    for run in ("a", "b"):
        for seed in SEEDS:
            run_json(folder, f"{run}-s{seed}").unlink()
    comparison = analyse(folder)
    assert comparison["verdict"] == "No run is finished, so there is nothing to compare."
    assert len(comparison["warnings"]) == 6
    assert tidy(comparison)["table"].to_list() == []


def test_prompts_that_lack_a_value_are_left_out_and_counted(tmp_path):
    arms = {"a": {0: {ACCURACY: [0.1, None, 0.3, 0.2]}}, "b": {0: {ACCURACY: [0.2, 0.9, None, 0.6]}}}
    [row] = contrasts(analyse(write_study(tmp_path, arms)), primary=True)
    assert (row["prompts"], row["left_out"]) == (2, 2)
    assert row["value"] == pytest.approx((0.1 + 0.4) / 2)


def test_arms_without_two_prompts_in_common_cannot_be_told(tmp_path):
    arms = {"a": {0: {ACCURACY: [0.1, None, 0.3]}}, "b": {0: {ACCURACY: [None, 0.9, 0.5]}}}
    [row] = contrasts(analyse(write_study(tmp_path, arms)), primary=True)
    assert (row["verdict"], row["prompts"]) == ("cannot tell", 1)
    assert "1 prompt has a value on both sides" in row["words"]


def test_many_seeds_have_a_bootstrap_and_a_permutation_too(tmp_path):
    comparison = analyse(write_study(tmp_path, planted({"a": 0.0, "b": 0.2}, n=12, seeds=list(range(10)))))
    [row] = contrasts(comparison, primary=True)
    assert row["bootstrap"]["low"] < row["value"] < row["bootstrap"]["high"]
    assert row["permutation"] == pytest.approx(2 / 2**10)  # every seed of ten has the same sign


def test_a_grid_has_main_effects_and_an_interaction(tmp_path):
    effects = {"c1": 0.0, "c2": 0.0, "a1": 0.2, "a2": 0.4}
    folder = write_study(tmp_path, planted(effects), kind="grid", factors={"selection": ["c", "a"], "beta": ["1", "2"]})

    def levels(study):
        for arm, spec in study["arms"].items():
            spec["levels"] = {"selection": arm[0], "beta": arm[1]}

    edit(folder / "study.json", levels)
    comparison = analyse(folder)
    found = {tuple(row["factors"]): row for row in comparison["effects"]}
    assert found["selection",]["low"] < 0.3 < found["selection",]["high"]  # (0.2 + 0.4) / 2
    assert found["beta",]["value"] == pytest.approx(0.1, abs=0.04)
    assert found["selection", "beta"]["value"] == pytest.approx(0.2, abs=0.08)
    assert found["selection",]["levels"] == ["a"]
    rows = tidy(comparison).filter(table="effect")
    assert rows["arm"].to_list()[-1].count("=") == 2


def test_a_grid_with_a_hole_says_why_it_has_no_effects(tmp_path):
    folder = write_study(
        tmp_path, planted({"c": 0.0, "a": 0.2}, seeds=[0]), kind="grid", factors={"selection": ["c", "a"]}
    )
    edit(folder / "study.json", lambda it: [spec.update(levels={"selection": arm}) for arm, spec in it["arms"].items()])
    run_json(folder, "a-s0").unlink()
    comparison = analyse(folder)
    assert comparison["effects"] == []
    assert any("no seed is finished in every arm of the grid" in warning for warning in comparison["warnings"])


def test_rows_trained_on_meet_columns_evaluated_on(tmp_path):
    critique = "preferences/accuracy/critique"
    arms = {
        "critique": {0: {ACCURACY: [0.4, 0.6], critique: [0.9, 0.7]}},
        "average": {0: {ACCURACY: [0.8, 1.0], critique: [0.5, 0.5]}},
    }
    matrix = analyse(write_study(tmp_path, arms))["trained_by_evaluated"]
    assert (matrix["rows"], matrix["columns"]) == (["critique", "average"], ["average", "critique"])
    assert [[cell["value"] for cell in row] for row in matrix["cells"]] == [[0.5, 0.8], [0.9, 0.5]]


def test_a_metric_without_values_by_prompt_is_a_mean_over_seeds_with_a_warning(tmp_path):
    name = "mt_bench/coverage"
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.1}, seeds=[0, 1]))
    for run, value in (("a-s0", 0.5), ("a-s1", 1.0), ("b-s0", None), ("b-s1", 0.25)):
        edit(run_json(folder, run), lambda it, value=value: it["metrics"].update({name: {"value": value}}))
    edit(run_json(folder, "a-s0"), lambda it: it["stages"].update({}))
    with pytest.raises(UserError, match="its values of mt_bench are missing"):
        analyse(folder)  # a run that names an evaluation has its table
    table = pl.DataFrame({"prompt_id": ["p"], "turn": [1], "category": ["x"], "score": [1.0], "score/base": [1.0]})
    for run in ("a-s0", "a-s1", "b-s0", "b-s1"):
        table.write_parquet(folder.parent.parent / f"artifacts/evaluation-evaluation-{run}/mt_bench.parquet")
    comparison = analyse(folder)
    assert [arm["metrics"][name]["value"] for arm in comparison["arms"]] == [0.75, 0.25]
    assert comparison["arms"][0]["metrics"][name]["low"] is None
    assert contrasts(comparison, metric=name) == []
    assert any(name in warning and "no contrast" in warning for warning in comparison["warnings"])
    with pytest.raises(UserError, match="mt_bench/coverage has no value by prompt"):
        analyse(folder, metric=name)


def test_what_is_chosen_afterwards_is_called_so(tmp_path):
    arms = {
        arm: {seed: {**values, STRICT: values[ACCURACY] > 0.5} for seed, values in by_seed.items()}
        for arm, by_seed in planted({"a": 0.0, "b": 0.2}).items()
    }
    folder = write_study(tmp_path, arms)
    same = analyse(folder, baseline="a", metric=ACCURACY)
    assert same == analyse(folder)
    assert same["study"]["chosen_afterwards"] == []
    other = analyse(folder, baseline="b", metric=STRICT)
    assert other["study"]["chosen_afterwards"] == ["baseline", "metric"]
    assert "Chosen after the runs were made: baseline and metric" in other["verdict"]
    assert contrasts(other, primary=True) == []
    assert [(row["arm"], row["reference"]) for row in family_of(other)] == [("a", "b")]
    assert all(row["words"].endswith("; exploratory") for row in other["contrasts"])
    assert [(row["arm"], row["reference"]) for row in family_of(same)] == [("b", "a")]
    assert "exploratory" not in family_of(same)[0]["words"]
    assert "the metric was chosen after the runs were made" in other["warnings"]


def test_a_margin_beyond_what_a_metric_without_a_scale_can_differ_by_is_refused_or_asked_about(tmp_path):
    rng = np.random.default_rng(0)
    arms = {arm: {seed: {TOKENS: rng.integers(10, 40, 60)} for seed in SEEDS} for arm in ("a", "b")}
    folder = write_study(tmp_path, arms, metric=TOKENS)
    asked = "is more than any two prompts lie apart"
    assert any(asked in one for one in analyse(folder, margin=60)["warnings"])
    assert not any(asked in one for one in analyse(folder, margin=2)["warnings"])
    for run in (f"{arm}-s{seed}" for arm in arms for seed in SEEDS):
        evaluation = {"verifiable": {"max_new_tokens": 48}}
        edit(run_json(folder, run), lambda content, own=evaluation: content["config"].update(evaluation=own))
    with pytest.raises(UserError, match="--margin=48 covers all that verifiable/tokens can differ by, 48"):
        analyse(folder, margin=48)
    assert any("98 % of all that verifiable/tokens" in one for one in analyse(folder, margin=47)["warnings"])


def test_a_look_at_a_metric_of_another_unit_has_no_margin_of_the_plan(tmp_path):
    rng = np.random.default_rng(0)
    arms = {
        arm: {
            seed: {**values, STRICT: values[ACCURACY] > 0.5, TOKENS: rng.integers(0, 60, 60)}
            for seed, values in by_seed.items()
        }
        for arm, by_seed in planted({"a": 0.0, "b": 0.2}).items()
    }
    folder = write_study(tmp_path, arms, margin=0.05)
    look = analyse(folder, metric=TOKENS)
    assert (look["study"]["margin"], family_of(look)[0]["equivalence"]) == (None, None)
    assert any(f"the study's margin of 0.05 is of {ACCURACY}" in warning for warning in look["warnings"])
    named = analyse(folder, metric=TOKENS, margin=2)
    assert named["study"]["chosen_afterwards"] == ["metric", "margin"]
    assert not any("the study's margin" in warning for warning in named["warnings"])
    assert analyse(folder, metric=STRICT)["study"]["margin"] == 0.05, "a share as well"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"baseline": "averag"}, "did you mean 'average'?"),
        ({"metric": "preferences/accuracy/averag"}, f"did you mean '{ACCURACY}'?"),
        ({"metric": "speed"}, f"did you mean '{ACCURACY}'"),
    ],
)
def test_an_unknown_arm_or_metric_names_the_known_ones(tmp_path, asked, said):
    folder = write_study(tmp_path, planted({"critique": 0.0, "average": 0.2}, n=4))
    with pytest.raises(UserError, match=re.escape(said)):
        analyse(folder, **asked)


def test_a_metric_that_the_runs_refused_to_report_says_why(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.2}, n=4, seeds=[0]), metric="alpaca_eval/win_rate")
    note = "alpaca_eval is not reported: 9 of 10 verdicts on the policy failed"
    edit(run_json(folder, "a-s0"), lambda run: run["stages"]["evaluation"]["facts"].update(notes=[note]))
    with pytest.raises(UserError, match="9 of 10 verdicts on the policy failed"):
        analyse(folder)


def test_a_baseline_without_a_finished_run_leaves_nothing_to_compare(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.2}, n=4, seeds=[0]))
    run_json(folder, "a-s0").unlink()
    assert f"In {ACCURACY}, nothing can be compared with the baseline 'a'" in analyse(folder)["verdict"]


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a study: it has no study\.json"):
        analyse(tmp_path)


def test_arms_that_start_from_different_base_models_have_no_common_one(tmp_path):
    folder = write_study(tmp_path, planted({"a": 0.0, "b": 0.2}))
    for seed in SEEDS:
        edit(run_json(folder, f"b-s{seed}"), lambda run: run["stages"]["base_model"].update(key="other"))
    comparison = analyse(folder)
    assert comparison["base"]["metrics"] == {}
    assert "the arms start from different base models: each is contrasted with its own" in comparison["warnings"]
    assert len(contrasts(comparison, reference="base model")) == 2


def test_runs_that_disagree_on_the_base_model_are_said(tmp_path):
    folder = write_study(tmp_path, {arm: {0: {STRICT: [1, 0, 1]}} for arm in "ab"}, metric=STRICT)
    table = {"prompt_id": [prompt(number) for number in range(3)], "strict": [1.0, 0, 1], "base/strict": [1.0, 1, 1]}
    pl.DataFrame(table).write_parquet(folder.parent.parent / "artifacts/evaluation-evaluation-b-s0/verifiable.parquet")
    comparison = analyse(folder)
    assert f"the runs do not agree on the base model's {STRICT}: its mean is shown" in comparison["warnings"]
    assert comparison["base"]["metrics"][STRICT]["value"] == pytest.approx(0.75)


def test_the_same_runs_give_the_same_bytes_whatever_they_took_and_wherever_they_lie(tmp_path):
    arms = planted({"a": 0.0, "b": 0.2}, n=20)
    one, other = (write_study(tmp_path / place, arms) for place in ("here", "there/elsewhere"))

    def slower(run):
        run |= {"started": "2027-01-01T00:00:00+00:00", "costs": {**run["costs"], "device_seconds": 99.0}}
        for stage in run["stages"].values():
            stage |= {"seconds": 50.0, "reused": True}

    for run in ("a-s0", "b-s2"):
        edit(run_json(other, run), slower)
    texts = [json.dumps(analyse(folder)) for folder in (one, one, other)]
    assert texts[0] == texts[1] == texts[2]
    assert "99" not in re.findall(r'"seconds": (\d+)', texts[2])
    assert tidy(analyse(one)).equals(tidy(analyse(other)))


def test_names_are_neither_escaped_nor_cut(tmp_path):
    name = 'a "b", <b>&amp; ü'
    arms = {"base": {0: {ACCURACY: [0.1, 0.2, 0.4]}}, name: {0: {ACCURACY: [0.2, 0.3, 0.6]}}}
    comparison = analyse(write_study(tmp_path, arms))
    assert comparison["arms"][1]["arm"] == name
    assert f"'{name}' is" in comparison["verdict"]
    path = tmp_path / "comparison.csv"
    tidy(comparison).write_csv(path)
    assert name in pl.read_csv(path)["arm"].to_list()


def test_the_tidy_table_has_the_same_numbers(comparison):
    table = tidy(comparison)
    assert table.columns == list(SCHEMA)
    [row] = table.filter(table="contrast", arm="average", primary=True).rows(named=True)
    [wanted] = contrasts(comparison, arm="average", primary=True)
    shared = (
        "value",
        "low",
        "high",
        "p",
        "holm",
        "holm_low",
        "holm_high",
        "seed_share",
        "benjamini_hochberg",
        "prompts",
        "seeds",
        "left_out",
        "verdict",
    )
    assert {name: row[name] for name in shared} == {name: wanted[name] for name in shared}
    assert row["variance_seed"] == wanted["components"]["seed"]
    assert (row["equivalence_margin"], row["equivalent"]) == (0.05, wanted["equivalence"]["equivalent"])
    assert table.filter(table="arm")["arm"].to_list() == ["critique", "average", "same", "base model"]


def test_words_of_what_holm_takes_back():
    estimate = crossed_mean(np.array([[0.1, 0.3, 0.2, 0.4, -0.1, 0.3]]))
    assert verdict_of(estimate) == "higher"
    adjusted = Adjusted(0.2, 0.08)
    assert verdict_of(estimate, adjusted) == "not distinguishable"
    words = contrast_words(estimate, adjusted=adjusted, family=3)
    said = contrast_words(estimate, adjusted=adjusted, interval=Interval(-0.0123, 0.4), family=3)
    assert said.endswith("among 3 contrasts 0.2 by Holm (-0.012 to 0.400) and 0.08 by Benjamini-Hochberg)")
    assert words.startswith("not distinguishable (+0.200, 95 % ")
    assert words.endswith("alone, among 3 contrasts 0.2 by Holm and 0.08 by Benjamini-Hochberg)")


def test_words_name_margins_and_the_unit():
    estimate = crossed_mean(np.array([[1.0, -1.0, 2.0, -1.5]]))
    tests = [Equivalence(3, 0.01, True), Equivalence(2, 0.2, False)]
    words = contrast_words(estimate, tests, metric=Metric("", "points", digits=2))
    assert words.startswith("not distinguishable (+0.12 points, 95 % ")
    assert words.endswith("), equivalent within 3 points, not within 2")
    words = contrast_words(estimate, tests[1:], metric=Metric("", "points", digits=2))
    assert words.endswith("), not shown equivalent within 2 points")


def test_words_of_the_same_difference_everywhere_claim_nothing():
    words = contrast_words(crossed_mean(np.full((2, 4), 0.25)), metric=Metric("", "points", digits=2))
    assert words == "differ alike on every prompt (+0.25 points), so there is no test"


def test_words_of_two_that_agree_everywhere_say_so_and_tiny_numbers_keep_their_digits():
    metric = Metric("", "nats", digits=2)
    assert contrast_words(crossed_mean(np.zeros((2, 4))), metric=metric) == (
        "agree on every prompt, so there is no test"
    )
    tiny = contrast_words(crossed_mean(np.array([[1e-9, 3e-9, 2e-9, 1.5e-9]])), metric=metric)
    assert tiny.startswith("higher (+1.87e-09 nats, 95 % 5.16e-10 to ")


def test_arms_that_agree_everywhere_are_said_to_in_the_terminal_the_file_and_the_report(tmp_path):
    arms = {arm: {seed: {STRICT: [1.0, 0.0, 1.0]} for seed in SEEDS} for arm in ("a", "b")}
    found = analyse(write_study(tmp_path, arms, metric=STRICT, base={STRICT: [1.0, 0.0, 1.0]}))
    [row] = contrasts(found, primary=True)
    assert verdict_word(row) == AGREE
    assert row["words"].startswith(AGREE)
    assert f"'a' {AGREE}, 'b' {AGREE}" in found["verdict"]
    assert study_report(found, tmp_path).tables[1].rows[0][-1] == AGREE


def test_prompts_that_one_arm_lacks_are_told_in_words_wherever_they_are(tmp_path):
    arms = planted({"a": 0.0, "b": 0.1}, n=40)
    for row in arms["b"].values():
        row[ACCURACY] = [None] * 25 + list(row[ACCURACY][25:])
    found = analyse(write_study(tmp_path, arms))
    said = f"25 of 40 {LACKING} and are left out: where that is no accident"
    assert f"'b': {said}" in found["verdict"]
    [row] = contrasts(found, primary=True)
    assert row["cautions"][0].startswith(said)
    assert any(one.startswith(said) for row in contrasts(found, primary=False) for one in row["cautions"])


def test_a_few_prompts_that_nobody_has_are_no_caution_and_many_are(tmp_path):
    for count, told in ((1, False), (10, True)):
        arms = planted({"a": 0.0, "b": 0.1}, n=40)
        for by_seed in arms.values():
            for row in by_seed.values():
                row[ACCURACY] = [None] * count + list(row[ACCURACY][count:])
        [row] = contrasts(analyse(write_study(tmp_path / str(count), arms)), primary=True)
        assert (LACKING in " ".join(row["cautions"])) == told


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_verdict_never_contradicts_the_interval(values):
    estimate = crossed_mean(np.array([values]))
    verdict = verdict_of(estimate)
    outside = estimate.low > 0 or estimate.high < 0
    assert (verdict in ("higher", "lower")) == outside or math.isnan(estimate.p)


def test_words_round_a_number_as_the_tables_do():
    just_below = crossed_mean(np.array([[0.1124999999999999, 0.1124999999999999 - 0.5, 0.1124999999999999 + 0.5]]))
    assert "(+0.113, 95 %" in contrast_words(just_below)  # comparison.json has 0.1125


def test_a_length_adjusted_rate_of_an_older_study_has_its_name_and_its_caution(tmp_path, monkeypatch):
    monkeypatch.setattr(entrance("alpaca_eval"), "by_prompt", lambda place: pl.DataFrame({"prompt_id": ["p"]}))
    study = write_study(tmp_path, planted({"a": 0.0, "b": 0.0}, n=8, seeds=[0]))
    old = {"alpaca_eval/length_controlled_win_rate": {"value": 41.5, "low": None, "high": None, "n": 8}}
    for run in ("a-s0", "b-s0"):
        edit(run_json(study, run), lambda content: content["metrics"].update(old))
    comparison = analyse(study)
    now = "alpaca_eval/length_adjusted_win_rate"
    assert comparison["arms"][0]["metrics"][now]["value"] == 41.5
    assert "length_controlled_win_rate" not in json.dumps(comparison)
    [caution] = [warning for warning in comparison["warnings"] if warning.startswith(f"{now}: ")]
    assert "not AlpacaEval's length-controlled win rate" in caution


def test_an_arm_that_lacks_the_metric_is_said_and_the_others_are_compared(tmp_path):
    arms = planted({"critique": 0.0, "average": 0.1, "other": 0.0})
    study = write_study(tmp_path, {arm: dict(runs) for arm, runs in arms.items()})
    for seed in SEEDS:
        edit(run_json(study, f"other-s{seed}"), lambda it: it.update(metrics={}, unscored={"preferences": "why not"}))
    found = analyse(study)
    assert [f"arm 'other', seed {seed} has no {ACCURACY}: why not" for seed in SEEDS] == [
        line for line in found["warnings"] if "why not" in line
    ]
    [row] = contrasts(found, metric=ACCURACY, arm="average", reference="critique")
    assert row["value"] == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("spread", "said"), [(300.0, "as far apart as values of this metric lie"), (0.0, "No scale bounds this metric")]
)
def test_how_far_values_of_a_metric_without_a_scale_lie_apart_is_known_to_its_cautions(tmp_path, spread, said):
    # 5 tokens more on 60 prompts: one prompt in 21 that lay about 20 times as far on the other side would undo it
    rng = np.random.default_rng(0)
    lengths, gains = 50 + np.linspace(0, spread, 60), rng.normal(5, 10, 60)
    arms = {
        arm: {seed: {ACCURACY: np.full(60, 0.5), TOKENS: lengths + gained + rng.normal(0, 1, 60)} for seed in SEEDS}
        for arm, gained in (("a", 0 * gains), ("b", gains))
    }
    folder = write_study(tmp_path, arms, base={TOKENS: list(lengths)})
    [row] = contrasts(analyse(folder), metric=TOKENS, arm="b", reference="a")
    assert [said in one for one in row["cautions"]] == [True]


def test_prompts_on_which_two_arms_are_not_the_same_are_counted(tmp_path):
    one = {0: [1.0, 0.0, 1.0, None], 1: [1.0, 0.0, 0.0, 1.0]}
    other = {0: [1.0, 0.0, 1.0, 0.0], 1: [0.0, 0.0, 0.0, 0.0]}
    arms = {arm: {seed: {ACCURACY: row} for seed, row in rows.items()} for arm, rows in (("a", one), ("b", other))}
    [row] = contrasts(analyse(write_study(tmp_path, arms)), primary=True)
    assert (row["differing"], row["prompts"], row["left_out"]) == (1, 3, 1)  # the last prompt lacks a value
