import numpy as np
import pytest

from notus_exp.errors import UserError
from notus_exp.inference.crossed import contrast
from notus_exp.inference.factorial import effects

NOISE = np.random.default_rng(7).normal(size=(3, 20))
LEVELS = {
    f"{selection}-{beta}": {"selection": selection, "dpo.beta": beta}
    for selection in ("critique", "average")
    for beta in ("0.1", "0.01", "0.5")
}
# means:           0.1  0.01  0.5
# critique         1    2     6
# average          4    5     12
MEANS = dict(zip(LEVELS, (1, 2, 6, 4, 5, 12), strict=True))
REFERENCE = {"selection": "critique", "dpo.beta": "0.1"}


def found_in(tables):
    return {(one.kind, one.factors, one.levels): one for one in effects(tables, LEVELS, REFERENCE)}


def test_effects_of_a_known_factorial():
    found = found_in({arm: mean + NOISE for arm, mean in MEANS.items()})
    assert {key: one.estimate.value for key, one in found.items()} == pytest.approx(
        {
            ("main", ("selection",), ("average",)): (3 + 3 + 6) / 3,
            ("main", ("dpo.beta",), ("0.01",)): (1 + 1) / 2,
            ("main", ("dpo.beta",), ("0.5",)): (5 + 8) / 2,
            ("interaction", ("selection", "dpo.beta"), ("average", "0.01")): (5 - 4) - (2 - 1),
            ("interaction", ("selection", "dpo.beta"), ("average", "0.5")): (12 - 4) - (6 - 1),
        }
    )
    assert found["interaction", ("selection", "dpo.beta"), ("average", "0.5")].reference == ("critique", "0.1")


def test_an_effect_is_a_contrast_with_the_errors_of_its_arms():
    rng = np.random.default_rng(8)
    tables = {arm: rng.normal(size=(3, 20)) for arm in LEVELS}
    one = found_in(tables)["main", ("dpo.beta",), ("0.5",)].estimate
    arms = ["critique-0.5", "average-0.5", "critique-0.1", "average-0.1"]
    wanted = contrast([tables[arm] for arm in arms], [0.5, 0.5, -0.5, -0.5])
    assert one[:6] == pytest.approx(wanted[:6])


def test_a_missing_value_of_an_arm_that_is_not_in_an_effect_costs_it_nothing():
    tables = {arm: mean + NOISE for arm, mean in MEANS.items()}
    tables["critique-0.5"] = np.where(np.arange(20) == 3, np.nan, tables["critique-0.5"])
    found = found_in(tables)
    assert found["main", ("dpo.beta",), ("0.01",)].estimate.left_out == 0
    assert found["main", ("dpo.beta",), ("0.5",)].estimate.left_out == 1


def test_three_factors_interact_in_pairs_averaged_over_the_third():
    levels = {f"{a}{b}{c}": {"A": a, "B": b, "C": c} for a in "01" for b in "01" for c in "01"}
    # A and B interact by 2 where C is 0 and by 4 where C is 1
    tables = {arm: NOISE + 2 * (1 + (one["C"] == "1")) * (one["A"] == one["B"] == "1") for arm, one in levels.items()}
    found = {one.factors: one.estimate.value for one in effects(tables, levels, dict.fromkeys("ABC", "0"))}
    assert found == pytest.approx({("A",): 1.5, ("B",): 1.5, ("C",): 0.5, ("A", "B"): 3, ("A", "C"): 1, ("B", "C"): 1})


def test_a_combination_without_an_arm_is_named():
    levels = {arm: has for arm, has in LEVELS.items() if arm != "average-0.5"}
    with pytest.raises(UserError, match=r"selection=average, dpo.beta=0.5, and there are 0"):
        effects(dict.fromkeys(levels, NOISE), levels, REFERENCE)


def test_an_unknown_reference_lists_the_levels():
    with pytest.raises(UserError, match=r"no level '0.2'(.|\n)*0.1, 0.01, 0.5"):
        effects(dict.fromkeys(LEVELS, NOISE), LEVELS, {**REFERENCE, "dpo.beta": "0.2"})
