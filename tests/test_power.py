import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.power import TTestPower

from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.inference.crossed import Components, crossed_interval, mean_squares
from notus_exp.inference.power import (
    Design,
    detectable_effect,
    false_positives,
    power,
    prompts_needed,
    seeds_needed,
)
from notus_exp.power import main
from notus_exp.reporting.pilot import Pilot, seed_bound
from notus_exp.reporting.planning import FEW_DIFFERING
from notus_exp.study.conclusion import write_outcome
from support.study_folders import ACCURACY, crossed, edit, write_study

MIXED = Components(0.16, 0.0001, 0.09)


def contrast(**changes):
    return {
        "metric": "preferences/accuracy/average",
        "primary": True,
        "arm": "average",
        "reference": "critique",
        "components": {"prompt": 0.16, "seed": 0.0001, "residual": 0.09},
        "prompts": 300,
        "seeds": 3,
        "p": 0.2,
    } | changes


@pytest.fixture
def pilot(tmp_path):
    def write(*contrasts):
        (tmp_path / "comparison.json").write_text(json.dumps({"contrasts": contrasts}))
        return str(tmp_path)

    return write


def asked(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("effect", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(
    ("variances", "design", "units"),
    [
        (Components(0.6, 0.0, 0.4), Design(80, 1), 80),  # one seed: the t test over prompts
        (Components(1.0, 0.0, 0.0), Design(80, 3), 80),  # seeds that answer alike: the same
        (Components(0.0, 0.04, 0.0), Design(80, 5), 5),  # nothing but seeds: the t test over seeds
    ],
)
def test_a_single_source_of_variance_has_the_textbook_power(variances, design, units, effect):
    deviation = math.sqrt(sum(variances))
    found = power(variances, effect, design)
    wanted = TTestPower().power(effect / deviation, nobs=units, alpha=0.05)
    assert found.value == pytest.approx(wanted, abs=4 * found.error + 1e-9)
    assert found.error < 0.005


def test_seed_variance_alone_has_the_effects_that_the_t_test_detects():
    # seeds of deviation 1 in both arms, paired but uncorrelated: 2 in the difference; solved with the noncentral t
    for seeds, wanted in ((3, 4.62), (5, TTestPower().solve_power(nobs=5, power=0.8, alpha=0.05) * math.sqrt(2))):
        assert detectable_effect(Components(0.0, 2.0, 0.0), Design(50, seeds)) == pytest.approx(wanted, rel=0.01)


def test_predicted_power_is_that_of_simulated_tables():
    rng, shape = np.random.default_rng(11), (3000, 3, 100)
    variances, effect = Components(0.3, 0.004, 0.5), 0.2
    values = effect + sum(
        math.sqrt(variance) * rng.normal(size=size)
        for variance, size in zip(variances, [(3000, 1, 100), (3000, 3, 1), shape], strict=True)
    )
    interval = crossed_interval(values.mean(axis=(1, 2)), mean_squares(values), prompts=100, seeds=3)
    seen = float(np.mean((interval.low > 0) | (interval.high < 0)))
    assert power(variances, effect, Design(100, 3)).value == pytest.approx(seen, abs=0.03)


def test_one_seed_has_the_false_positives_of_errors_that_count_prompts_only():
    # the error holds 1200 / 800 = 1.5 of a variance of 3.5: beyond 1.963 sqrt(1.5 / 3.5) = 1.285 on both sides
    assert false_positives(Components(600.0, 2.0, 600.0), Design(800, 1)).value == pytest.approx(0.1988, abs=0.001)


def test_the_detectable_effect_has_the_wanted_power():
    effect = detectable_effect(MIXED, Design(400, 3), 0.9)
    assert power(MIXED, effect, Design(400, 3)).value == pytest.approx(0.9, abs=1e-6)


def test_needed_prompts_suffice_and_five_percent_fewer_do_not():
    needed = prompts_needed(MIXED, 0.05, 5)
    assert power(MIXED, 0.05, Design(needed, 5)).value >= 0.8
    assert power(MIXED, 0.05, Design(int(0.95 * needed), 5)).value < 0.8


def test_needed_seeds_suffice_and_one_fewer_does_not():
    needed = seeds_needed(Components(0.01, 0.01, 0.01), 0.1, 400)
    assert power(Components(0.01, 0.01, 0.01), 0.1, Design(400, needed)).value >= 0.8
    assert power(Components(0.01, 0.01, 0.01), 0.1, Design(400, needed - 1)).value < 0.8


def test_where_the_other_variance_is_a_floor_no_number_suffices():
    assert prompts_needed(Components(1.0, 1.0, 1.0), 3.0, 3) is None  # 3 seeds of deviation 1 see 3.27
    assert seeds_needed(Components(1.0, 0.0, 1.0), 0.2, 100) is None  # 100 prompts of deviation 1 see 0.28


def test_a_family_of_contrasts_needs_larger_effects():
    alone, family = (detectable_effect(MIXED, Design(400, 5, 1 - 0.05 / size)) for size in (1, 6))
    assert family > 1.2 * alone


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100), st.integers(2, 8))
def test_the_unit_does_not_matter(scale, seeds):
    scaled = Components(*(scale**2 * variance for variance in MIXED))
    one, other = (detectable_effect(variances, Design(200, seeds)) for variances in (MIXED, scaled))
    assert other == pytest.approx(scale * one, rel=1e-6)


def test_the_command_answers_from_a_pilots_primary_contrast(pilot, capsys):
    folder = pilot(contrast(), contrast(metric="verifiable/strict", primary=False))
    found = asked(capsys, "--pilot", folder, "--effect", "0.05", "--prompts", "400", "--seeds", "3,5")
    (answer,) = found["contrasts"].values()
    assert list(found["contrasts"]) == ["preferences/accuracy/average: average minus critique"]
    assert answer["variances"] == pytest.approx({"prompt": 0.16, "seed": 0.0001, "residual": 0.09})
    cell = answer["designs"][1]
    assert (cell["prompts"], cell["seeds"]) == (400, 5)
    assert cell["power"]["value"] == power(MIXED, 0.05, Design(400, 5)).value
    assert answer["prompts_needed"]["5"] == prompts_needed(MIXED, 0.05, 5)
    assert answer["seeds_needed"]["400"] == seeds_needed(MIXED, 0.05, 400)


def test_deviations_by_hand_equal_a_pilots_variances(pilot, capsys):
    by_hand = ("--prompt-sd", "0.4", "--seed-sd", "0.01", "--residual-sd", "0.3")
    one = asked(capsys, *by_hand, "--prompts", "400")
    other = asked(capsys, "--pilot", pilot(contrast()), "--prompts", "400")
    seen = [
        [cell["detectable_effect"] for cell in next(iter(a["contrasts"].values()))["designs"]] for a in (one, other)
    ]
    assert seen[0] == pytest.approx(seen[1])


def test_metric_arm_and_reference_choose_among_the_pilots_contrasts(pilot, capsys):
    other = contrast(metric="verifiable/strict", primary=False, arm="repaired")
    folder = pilot(contrast(), contrast(arm="repaired"), other)
    for arguments, names in (
        ([], ["preferences/accuracy/average: average", "preferences/accuracy/average: repaired"]),
        (["--arm", "repaired"], ["preferences/accuracy/average: repaired"]),
        (["--metric", "verifiable/strict", "--reference", "critique"], ["verifiable/strict: repaired"]),
    ):
        found = asked(capsys, "--pilot", folder, "--prompts", "50", "--seeds", "3", *arguments)
        assert list(found["contrasts"]) == [f"{name} minus critique" for name in names]


def test_the_family_is_the_pilots_primary_contrasts_unless_it_is_given(pilot, capsys):
    extra = contrast(metric="verifiable/strict", primary=False)
    folder = pilot(contrast(), contrast(arm="repaired"), contrast(arm="self"), extra)
    few = ["--pilot", folder, "--arm", "self", "--prompts", "50", "--seeds", "3"]
    by_hand = ["--prompt-sd", "0.4", "--seed-sd", "0.01", "--residual-sd", "0.3", "--prompts", "50", "--seeds", "3"]
    for arguments, size in (
        (few, 3),
        ([*few, "--contrasts", "1"], 1),
        (by_hand, 1),
        ([*by_hand, "--contrasts", "2"], 2),
    ):
        found = asked(capsys, *arguments)
        assert found["question"]["contrasts"] == size
        (answer,) = found["contrasts"].values()
        wanted = detectable_effect(MIXED, Design(50, 3, 1 - 0.05 / size))
        assert answer["designs"][0]["detectable_effect"] == pytest.approx(wanted)
    assert main(few) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "two-sided at 0.01667, as one of a family of 3 contrasts (Bonferroni: 0.05 / 3, the worst case of Holm" in said
    )


WIDE = {"prompt": 4.0, "seed": 0.0001, "residual": 0.09}


def test_no_effect_is_named_that_the_metric_cannot_have(pilot, capsys):
    asking = ["--pilot", pilot(contrast(components=WIDE)), "--prompts", "4,4000", "--seeds", "3"]
    (answer,) = asked(capsys, *asking)["contrasts"].values()
    few, many = (cell["detectable_effect"] for cell in answer["designs"])
    assert few is None
    assert many == pytest.approx(detectable_effect(Components(4.0, 0.0001, 0.09), Design(4000, 3)))
    assert main(asking) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "where none is shown, no difference that the metric can have (at most 1) would be seen" in said
    assert main([*asking, "--effect", "1.5"]) == 2
    assert "--effect=1.5 is more than this metric can differ by, 1\n  give an effect" in capsys.readouterr().err


def test_a_metric_that_a_setting_of_the_runs_bounds_has_no_effect_beyond(tmp_path, capsys):
    folder = write_study(tmp_path, {arm: {0: {ACCURACY: [0.1, 0.5, 0.4]}} for arm in ("average", "critique")})
    (folder / "comparison.json").write_text(
        json.dumps({"contrasts": [contrast(components=WIDE, metric="verifiable/tokens")]})
    )
    asking = ["--pilot", str(folder), "--prompts", "4", "--seeds", "3", "--effect", "65"]
    assert main(asking) == 0, "the runs do not say"
    for number, run in enumerate((tmp_path / "outputs/runs").iterdir()):
        tokens = {"max_new_tokens": (64, 48)[number]}
        edit(run / "run.json", lambda run, tokens=tokens: run["config"].update(evaluation={"verifiable": tokens}))
    capsys.readouterr()
    assert main(asking) == 2
    assert "--effect=65 is more than this metric can differ by, 64\n" in capsys.readouterr().err


def test_a_metric_without_bounds_may_have_any_effect(pilot, capsys):
    folder = pilot(contrast(components=WIDE, metric="verifiable/tokens"))
    (answer,) = asked(capsys, "--pilot", folder, "--prompts", "4", "--seeds", "3")["contrasts"].values()
    assert answer["designs"][0]["detectable_effect"] > 1


UNKNOWN = Components(math.nan, math.nan, math.nan)
NO_SPREAD = {"prompt": 0.16, "seed": 0.0, "residual": 0.09}


@pytest.mark.parametrize(
    ("seeds", "seed", "quantile"),
    # 5 % quantiles of chi-square with 1, 2 and 4 degrees, as printed tables have them
    [(2, 0.0, 0.00393214), (3, 0.0001, 0.102587), (5, 0.002, 0.710723)],
)
def test_the_seed_variances_bound_is_the_chi_squares(seeds, seed, quantile):
    pilot = Pilot("m", "a", "b", 300, seeds, Components(0.16, seed, 0.09))
    wanted = ((seeds - 1) * (300 * seed + 0.09) / quantile - 0.09) / 300
    assert seed_bound(pilot, UNKNOWN).variance == pytest.approx(wanted, rel=1e-5)


def test_the_bound_covers_the_true_seed_variance_in_nineteen_of_twenty_pilots():
    rng, (n, k), truth = np.random.default_rng(5), (100, 3), Components(0.2, 0.1, 0.1)
    squares = (n * truth.seed + truth.residual) * rng.chisquare(k - 1, 2000) / (k - 1)
    seeds = np.maximum((squares - truth.residual) / n, 0.0)
    bounds = [seed_bound(Pilot("m", "a", "b", n, k, truth._replace(seed=seed)), UNKNOWN).variance for seed in seeds]
    assert np.mean(np.asarray(bounds) >= truth.seed) == pytest.approx(0.95, abs=0.02)


def test_a_seed_variance_that_is_given_or_of_one_seed_has_no_bound():
    assert seed_bound(Pilot("m", "a", "b", 300, 3, MIXED), UNKNOWN._replace(seed=0.1)) is None
    assert seed_bound(Pilot("m", "a", "b", 300, 1, Components(0.2, math.nan, math.nan)), UNKNOWN) is None


def test_two_pilot_seeds_without_spread_recommend_no_single_seed(pilot, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = pilot(contrast(components=NO_SPREAD, seeds=2), contrast(components=NO_SPREAD, seeds=2, arm="repaired"))
    asking = ["--pilot", folder, "--effect", "0.2", "--prompts", "100", "--seeds", "1,5"]
    found = asked(capsys, *asking)["contrasts"]
    most = ((0.09 / 0.00393214) - 0.09) / 300
    assert len(found) == 2
    for answer in found.values():
        assert list(answer["prompts_needed"]) == ["5"]
        worst = answer["seed_bound"]
        assert worst["variances"]["seed"] == pytest.approx(most, rel=1e-5)
        assert list(worst["prompts_needed"]) == ["5"]
        wanted = power(Components(0.16, most, 0.09), 0.2, Design(100, 5, 0.975)).value
        assert worst["designs"][1]["power"]["value"] == pytest.approx(wanted, abs=1e-4)
    assert main(asking) == 0
    said = " ".join(capsys.readouterr().out.split())
    for arm in ("average", "repaired"):
        name = f"preferences/accuracy/average: {arm} minus critique"
        assert f"{name}: the seed deviation comes from the pilot's 2 seeds: 0, and with 95 % confidence" in said
        assert f"no more than {math.sqrt(most):.3g}" in said
        assert f"{name}, seed deviation at its upper bound: some designs have more than 4 % false positives" in said
        assert f"{name}, seed deviation at its upper bound: power to see 0.2, %" in said


def test_many_pilot_seeds_without_spread_leave_one_seed_where_few_prompts_do(pilot, capsys):
    folder = pilot(contrast(components=NO_SPREAD, seeds=20, prompts=10_000))
    (answer,) = asked(capsys, "--pilot", folder, "--effect", "0.2", "--prompts", "50", "--seeds", "1")[
        "contrasts"
    ].values()
    assert answer["prompts_needed"]["1"] == prompts_needed(Components(0.16, 0.0, 0.09), 0.2, 1)


ONE_SEED = {"prompt": 0.25, "seed": None, "residual": None}


def test_a_pilot_of_one_seed_asks_for_the_seeds_deviation(pilot, capsys):
    folder = pilot(contrast(components=ONE_SEED, seeds=1))
    assert main(["--pilot", folder]) == 2
    said = capsys.readouterr().err
    assert "average minus critique: the pilot's seeds are 1" in said
    assert "give --seed-sd" in said


def test_a_pilot_of_one_seed_splits_its_variance_where_the_residual_is_given(pilot, capsys):
    folder = pilot(contrast(components=ONE_SEED, seeds=1))
    arguments = ["--pilot", folder, "--seed-sd", "0.01", "--prompts", "50", "--seeds", "3"]
    for more, wanted in (([], (0.25, 0.0001, 0.0)), (["--residual-sd", "0.3"], (0.16, 0.0001, 0.09))):
        (answer,) = asked(capsys, *arguments, *more)["contrasts"].values()
        assert tuple(answer["variances"].values()) == pytest.approx(wanted)


def test_a_residual_that_one_seed_cannot_tell_is_said(pilot, capsys):
    folder = pilot(contrast(components=ONE_SEED, seeds=1))
    assert main(["--pilot", folder, "--seed-sd", "0.01", "--prompts", "50", "--seeds", "3"]) == 0
    assert "counts as the prompts' own" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "preferences/acuracy/average"], "did you mean 'preferences/accuracy/average'?"),
        (["--arm", "averag"], "did you mean 'average'?"),
        (["--reference", "x"], "known: critique"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(pilot, capsys, arguments, said):
    assert main(["--pilot", pilot(contrast()), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_pilot_is_refused(pilot, tmp_path, capsys):
    for text, said in ((None, "has no comparison.json"), ("{}", "is no comparison"), ("[", "is no comparison")):
        if text is not None:
            (tmp_path / "comparison.json").write_text(text)
        assert main(["--pilot", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err
    assert main(["--pilot", pilot(contrast(primary=False))]) == 2
    assert "no contrast of a primary metric" in capsys.readouterr().err


def test_power_reads_what_was_planned_and_a_look_afterwards_where_its_folder_is_given(tmp_path, capsys):
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(20, [0, 1, 2], arm=place).items()}
        for place, arm in enumerate("abc")
    }
    study = write_study(tmp_path, arms)
    write_outcome(study)
    write_outcome(study, baseline="b", name="looked")
    planned = asked(capsys, "--pilot", str(study), "--effect", "0.1")
    looked = asked(capsys, "--pilot", str(study / "comparisons/looked"), "--effect", "0.1")
    assert sorted(planned["contrasts"]) == [f"{ACCURACY}: {arm} minus a" for arm in "bc"]
    assert sorted(looked["contrasts"]) == [f"{ACCURACY}: {arm} minus b" for arm in "ac"]


def test_the_pilot_that_was_meant_is_named(tmp_path, capsys, monkeypatch):
    study = write_study(tmp_path, {arm: {0: {ACCURACY: [0.1, 0.5, 0.4]}} for arm in "ab"})
    monkeypatch.chdir(study.parent.parent.parent)
    assert main(["--pilot", "planted"]) == 2
    assert "did you mean 'outputs/studies/planted'?" in capsys.readouterr().err
    assert main(["--pilot", "outputs/studies/planted"]) == 2
    assert "python -m notus_exp.compare outputs/studies/planted writes it" in capsys.readouterr().err


def test_a_damaged_look_is_told_with_the_study_that_writes_it(tmp_path, capsys):
    place = tmp_path / "mine/comparisons/looked"
    place.mkdir(parents=True)
    (place / "comparison.json").write_text("[")
    assert main(["--pilot", str(place)]) == 2
    assert f"python -m notus_exp.compare {tmp_path / 'mine'} --name looked, with" in capsys.readouterr().err


def test_a_look_that_an_earlier_version_wrote_over_the_planned_one_is_no_pilot(tmp_path, capsys):
    study = write_study(tmp_path, {arm: {0: {ACCURACY: [0.1, 0.5, 0.4]}} for arm in "ab"})
    write_outcome(study)
    edit(study / "comparison.json", lambda content: content["study"].update(chosen_afterwards=["margin"]))
    assert main(["--pilot", str(study)]) == 2
    assert "rests on another margin than the study named" in capsys.readouterr().err
    write_outcome(study)
    assert read_comparison(study / "comparison.json")["study"]["chosen_afterwards"] == []


def test_a_pilot_on_which_few_prompts_differ_says_where_its_power_is_too_high(pilot, capsys):
    asking = ["--prompts", "100,200,400", "--seeds", "3"]
    folder = pilot(contrast(differing=15), contrast(arm="repaired", differing=300), contrast(arm="self"))
    assert main(["--pilot", folder, *asking]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "average minus critique: the two differ on 5 % of the pilot's prompts, so with 100 or 200 prompts fewer"
        " than 15 would: what is shown for these is too hopeful"
    ) in said
    assert said.count("too hopeful") == 1  # nothing is known of an earlier comparison.json
    assert "rough guess" not in said


def test_a_pilot_whose_own_spread_rests_on_few_prompts_says_so(pilot, capsys):
    folder = pilot(contrast(differing=14))
    assert main(["--pilot", folder, "--prompts", "20000", "--seeds", "3"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "was measured on 300 prompts of which 14 differ: it is a rough guess" in said


@pytest.mark.parametrize(("rate", "prompts"), [(0.03, 50), (0.01, 100), (0.1, 200)])
def test_power_of_rare_yes_and_no_is_too_high_only_where_that_is_said(rate, prompts):
    """Answers by an ease of each prompt that two arms share: three standard errors, 3 seeds, 1,500 studies."""
    rng, (k, studies) = np.random.default_rng(1), (3, 1500)

    def drawn(effect):
        ease = rng.standard_normal((studies, 1, prompts))
        shares = (rate + effect, rate)
        spread = math.sqrt(1 + 0.3**2)
        sides = [ease + 0.3 * rng.standard_normal((studies, k, prompts)) > spread * norm.isf(one) for one in shares]
        return sides[0] - sides[1].astype(float)

    effect = 3 * drawn(0.0).mean(axis=(1, 2)).std()
    values = drawn(effect)
    squares = mean_squares(values)
    known = sum(squares) > 0
    whole = type(squares)(*(np.where(known, one, 1.0) for one in squares))
    interval = crossed_interval(values.mean(axis=(1, 2)), whole, prompts=prompts, seeds=k)
    seen = np.mean(known & ((interval.low > 0) | (interval.high < 0)))
    residual = squares.residual.mean()
    prompt, seed = ((one.mean() - residual) / n for one, n in ((squares.prompt, k), (squares.seed, prompts)))
    predicted = power(Components(max(prompt, 0), max(seed, 0), residual), effect, Design(prompts, k)).value
    told = (values != 0).any(axis=1).sum(axis=1).mean() < FEW_DIFFERING
    assert (predicted - seen > 0.04) == told


def test_neither_pilot_nor_deviations_is_refused_naming_what_is_missing(capsys):
    assert main(["--prompt-sd", "1"]) == 2
    assert "not given: --seed-sd, --residual-sd" in capsys.readouterr().err


def test_prompts_that_do_not_vary_are_refused(capsys):
    assert main(["--prompt-sd", "0", "--seed-sd", "1", "--residual-sd", "0"]) == 2
    assert "neither prompts nor residual vary" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--prompts", "1"], ["--seeds", "2.5"], ["--effect", "0"], ["--power", "80"],
                                   ["--prompt-sd", "1e200"], ["--prompts", "9" * 400]])  # fmt: skip
def test_a_number_out_of_range_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_the_tables_say_where_no_number_suffices_and_what_one_seed_is_worth(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    deviations = ("--prompt-sd", "1", "--seed-sd", "1", "--residual-sd", "1")
    assert main([*deviations, "--effect", "2", "--prompts", "100", "--seeds", "1,3,5"]) == 0
    said = capsys.readouterr().out
    assert "with 3 seeds no number of prompts" in said
    assert "one seed does not cover seed variance" in said
    assert "Monte Carlo error" in said
    row = next(line for line in said.splitlines() if line.startswith("prompts needed")).split()
    assert row[:5] == ["prompts", "needed", "-", "none", "suffices"]


def test_the_seeds_needed_are_said_to_start_at_three(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    asking = ["--prompt-sd", "0.1", "--seed-sd", "0", "--residual-sd", "0.1", "--effect", "1"]
    assert main([*asking, "--prompts", "100", "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "seeds needed, from 3 up" in said
    assert "two seeds hardly tell the variance between seeds" in " ".join(said.split())
    row = next(line for line in said.splitlines() if line.startswith("100 prompts") and len(line.split()) == 4)
    assert row.split() == ["100", "prompts", "100.0", "3"]  # the power of two seeds stands beside it
    found = asked(capsys, *asking, "--prompts", "100", "--seeds", "2")
    assert found["least_seeds"] == 3


def test_help_loads_no_torch_and_no_statsmodels():
    code = (
        "import sys, notus_exp.power as power\n"
        "try: power.main(['--help'])\n"
        "except SystemExit: print([name for name in ('torch', 'statsmodels', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
