"""The parameters of a search: what may be written, what a trial is given, and how it reaches a run."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.errors import UserError
from notus_exp.study.search.space import Space, read_space


def space(**parameters: Any) -> Space:
    return read_space({key.replace("__", "."): fields for key, fields in parameters.items()}, [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("average", "write {choices"),
        ({}, "neither choices nor both low and high"),
        ({"choices": []}, "write a list of values"),
        ({"choices": "average"}, "write a list of values"),
        ({"choices": ["a", "a"]}, "names 'a' twice"),
        ({"choices": [1, True]}, "names True twice"),
        ({"choices": [{"a": 1}]}, "a number, a word, or a list"),
        ({"choices": [float("nan")]}, "finite"),
        ({"choices": ["a"], "log": True}, "log of a range"),
        ({"low": 0.1}, "neither choices nor both"),
        ({"low": 1, "high": 0.1}, "low=1 above high=0.1"),
        ({"low": 0, "high": 1, "log": True}, "needs a low above 0"),
        ({"low": "5e-7", "high": 1}, "5.0e-7"),
        ({"low": True, "high": 1}, "is no number"),
        ({"low": 0, "high": 1, "step": 0}, "above 0"),
        ({"low": 0, "high": 1, "step": 0.3}, "does not reach high=1"),
        ({"low": 0.1, "high": 1, "step": 0.1, "log": True}, "both log: true and step"),
        ({"low": 0.5, "high": 2, "integer": True}, "no whole number"),
        ({"low": 0, "high": 1, "integer": "yes"}, "write true or false"),
        ({"low": 0, "hihg": 1}, "did you mean 'high'?"),
        ({"choices": ["a"], "when": "selection"}, "write when"),
        ({"choices": ["a"], "when": {"other": 1}}, "which is no parameter"),
    ],
)
def test_a_malformed_parameter_is_one_error_that_names_its_key(fields: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(dpo__beta=fields)
    assert "'dpo.beta'" in caught.value.message
    assert message in str(caught.value)


def test_a_condition_needs_a_choice_that_is_there() -> None:
    chosen = {"choices": ["average", "critique"]}
    with pytest.raises(UserError, match="depends on selection=averge"):
        space(selection=chosen, rejected={"choices": ["random"], "when": {"selection": "averge"}})
    with pytest.raises(UserError, match="which is a range"):
        space(dpo__beta={"low": 1, "high": 2}, rejected={"choices": ["random"], "when": {"dpo.beta": 1}})
    with pytest.raises(UserError, match="depends on selection=\\[\\]"):
        space(selection=chosen, rejected={"choices": ["random"], "when": {"selection": []}})


def test_conditions_in_a_circle_are_refused() -> None:
    with pytest.raises(UserError, match="a, b depend on each other"):
        space(a={"choices": [1], "when": {"b": 1}}, b={"choices": [1], "when": {"a": 1}})


@pytest.mark.parametrize("key", ["seed", "evaluation_split", "until", "output_dir", "study.batch", "split.test"])
def test_what_all_trials_share_is_no_parameter(key: str) -> None:
    with pytest.raises(UserError, match="is the same in all trials"):
        read_space({key: {"choices": [1, 2]}}, [])


def test_a_parameter_that_every_run_is_given_is_refused() -> None:
    with pytest.raises(UserError, match=r"'\+dpo.beta=0.1' is given for every run"):
        read_space({"dpo.beta": {"low": 0.1, "high": 1}}, ["model=tiny_random", "+dpo.beta=0.1"])


def test_conditions_may_stand_in_any_order_and_overrides_keep_the_files() -> None:
    made = space(
        rejected={"choices": ["random", "lowest"], "when": {"selection": ["average", "per_aspect"]}},
        dpo__beta={"low": 0.1, "high": 0.1},
        selection={"choices": ["critique", "average", "per_aspect"]},
    )
    trial = optuna.trial.FixedTrial({"selection": "average", "rejected": "lowest", "dpo.beta": 0.1})
    params = made.suggest(trial)  # type: ignore[arg-type]
    assert made.overrides(params) == ["rejected=lowest", "dpo.beta=0.1", "selection=average"]
    without = made.suggest(optuna.trial.FixedTrial({"selection": "critique", "dpo.beta": 0.1}))  # type: ignore[arg-type]
    assert made.overrides(without) == ["dpo.beta=0.1", "selection=critique"]


def test_a_probe_of_a_conditional_value_sets_what_it_depends_on() -> None:
    made = space(
        a={"choices": ["x", "y"]},
        b={"choices": [1, 2], "when": {"a": "y"}},
        c={"choices": ["p", "q"], "when": {"b": 2}},
    )
    assert made.probe({}) == {"a": "x"}
    assert made.probe({"c": "q"}) == {"a": "y", "b": 2, "c": "q"}


def test_a_grid_has_every_combination_that_its_conditions_allow_once() -> None:
    made = space(
        rejected={"choices": ["random", "lowest"], "when": {"selection": "average"}},
        selection={"choices": ["critique", "average"]},
        beta={"low": 0.1, "high": 0.3, "step": 0.1},
        r={"low": 8, "high": 9, "integer": True},
    )
    found = made.combinations()
    assert len(found) == 3 * 2 * (1 + 2)
    assert len({str(sorted(one.items())) for one in found}) == len(found)
    assert {one["beta"] for one in found} == {0.1, 0.2, 0.3}
    assert all(("rejected" in one) == (one["selection"] == "average") for one in found)


def test_a_grid_of_a_range_without_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"'dpo\.beta', a range without step"):
        space(dpo__beta={"low": 0.1, "high": 1.0}).combinations()
    with pytest.raises(UserError, match="more than 10000 combinations"):
        space(seedless={"low": 0, "high": 10**6, "integer": True}).combinations()


def read_back(override: str) -> Any:
    return OverridesParser.create().parse_overrides([override])[0].value()


def unquoted(value: Any) -> Any:
    return getattr(value, "text", value)


def test_small_numbers_are_written_as_hydra_and_yaml_read_them() -> None:
    made = space(lr={"low": 5e-7, "high": 5e-7})
    (override,) = made.overrides({"lr": 5e-7})
    assert override == "lr=5.0e-07"
    assert read_back(override) == 5e-7


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(10**9), 10**9),
        st.booleans(),
        st.none(),
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
        st.lists(st.sampled_from(["preferences", "verifiable", "a b", "true", "1"]), max_size=3),
    )
)
def test_every_choice_reaches_hydra_as_the_same_value(value: Any) -> None:
    made = read_space({"key": {"choices": [value]}}, [])
    (label,) = made.parameters[0].texts
    found = read_back(made.overrides({"key": label})[0])
    plain = [unquoted(one) for one in found] if isinstance(found, list) else unquoted(found)
    assert plain == value
    assert isinstance(plain, type(value))
