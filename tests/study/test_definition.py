"""What a study consists of: arms, grids, seeds and names, from config and command line; and each mistake in them."""

from __future__ import annotations

import copy
import functools
import math
import re
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from notus_exp.config import loading as configuration
from notus_exp.config.commandline import quoted
from notus_exp.config.ranges import check
from notus_exp.config.study_settings import Study
from notus_exp.contracts.study_file import cell_name
from notus_exp.errors import UserError
from notus_exp.evaluation.metrics import is_known, known_metrics
from notus_exp.study.launching.definition import Definition, define, results, written

PARSER = OverridesParser.create()


@functools.cache
def composed(*overrides: str) -> DictConfig:
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def settings(**changes: Any) -> Study:
    """The section `study` as conf/config.yaml has it, with these changes."""
    section = copy.deepcopy(composed().study)
    OmegaConf.set_struct(section, False)
    for key, value in changes.items():
        OmegaConf.update(section, key.replace("__", "."), value, merge=False)
    study = OmegaConf.to_object(section)
    assert isinstance(study, Study)
    return study


def defined(*overrides: str, **changes: Any) -> Definition:
    return define(settings(**changes), PARSER.parse_overrides(list(overrides)))


# ------------------------------------------------------------------------------------------------------- arms and grids
def test_named_arms_keep_their_order_and_overrides() -> None:
    study = defined("data.prompts=300", arms={"b": ["selection=critique"], "a": []})
    assert study.kind == "arms"
    assert [(arm.name, arm.overrides, arm.levels) for arm in study.arms] == [
        ("b", ["selection=critique"], {}),
        ("a", [], {}),
    ]
    assert study.common == ["data.prompts=300"]
    assert study.settings.baseline == "b", "the first, where none is named"
    assert study.factors is None


def test_one_swept_group_gives_an_arm_for_each_option_by_its_name() -> None:
    study = defined("selection=critique,average", "seed=0,1", "dpo.beta=0.3")
    assert [(arm.name, arm.overrides) for arm in study.arms] == [
        ("critique", ["selection=critique"]),
        ("average", ["selection=average"]),
    ]
    assert (study.kind, study.settings.seeds, study.common) == ("grid", [0, 1], ["dpo.beta=0.3"])


def test_several_factors_give_every_combination_with_its_levels() -> None:
    study = defined("selection=critique,average", "dpo.beta=0.05,0.1")
    assert [arm.name for arm in study.arms] == [
        "critique,beta=0.05",
        "critique,beta=0.1",
        "average,beta=0.05",
        "average,beta=0.1",
    ]
    assert study.arms[1].overrides == ["selection=critique", "dpo.beta=0.1"]
    assert study.arms[1].levels == {"selection": "critique", "dpo.beta": "0.1"}
    assert study.factors == {"selection": ["critique", "average"], "dpo.beta": ["0.05", "0.1"]}


def test_settings_with_the_same_last_word_are_named_in_full() -> None:
    study = defined("data.seed=1,2", "evaluation.verifiable.seed=3,4")
    assert study.arms[0].name == "data.seed=1,evaluation.verifiable.seed=3"


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("data.prompts=range(100,400,100)", ["prompts=100", "prompts=200", "prompts=300"]),
        (
            "filters.valid_under=[critique],[critique,average]",
            ["valid_under=[critique]", "valid_under=[critique,average]"],
        ),
    ],
)
def test_ranges_and_lists_can_be_swept(override: str, names: list[str]) -> None:
    assert [arm.name for arm in defined(override).arms] == names


def test_a_grid_of_a_file_is_the_same_as_one_of_the_command_line() -> None:
    filed = defined(grid={"selection": ["critique", "average"], "dpo.learning_rate": [5e-7, 1e-6]})
    typed = defined("selection=critique,average", "dpo.learning_rate=5.0e-07,1.0e-06")
    assert filed.arms[0].name == "critique,learning_rate=5.0e-07"
    for study in (filed, typed):
        assert [float(arm.levels["dpo.learning_rate"]) for arm in study.arms] == [5e-7, 1e-6, 5e-7, 1e-6]
        assert [arm.levels["selection"] for arm in study.arms] == ["critique", "critique", "average", "average"]


def test_a_text_of_a_grid_file_that_looks_like_something_else_stays_that_text() -> None:
    study = defined(grid={"data.path": ["a,b.jsonl", "0.10"]})
    parsed = [PARSER.parse_override(arm.overrides[0]) for arm in study.arms]
    assert [one.value() for one in parsed] == ["a,b.jsonl", "0.10"]


def test_only_seeds_swept_is_a_study_of_one_arm() -> None:
    study = defined("seed=3,4,5", "selection=critique")
    assert [(arm.name, arm.overrides) for arm in study.arms] == [("all", [])]
    assert (study.settings.seeds, study.common) == ([3, 4, 5], ["selection=critique"])


# ---------------------------------------------------------------------------------------------------------------- seeds
@pytest.mark.parametrize(
    ("overrides", "changes", "expected"),
    [
        ([], {}, [0, 1, 2]),
        ([], {"seeds": [7]}, [7]),
        (["seed=4"], {"seeds": [7]}, [4]),
        (["seed=4,5"], {"seeds": [7]}, [4, 5]),
        (["seed=range(0,3)"], {"seeds": [7]}, [0, 1, 2]),
    ],
)
def test_seeds_of_the_command_replace_those_of_the_file(
    overrides: list[str], changes: dict[str, Any], expected: list[int]
) -> None:
    study = defined("selection=critique,average", *overrides, **changes)
    assert study.settings.seeds == expected
    assert not any("seed" in override for override in study.common)


# ---------------------------------------------------------------------------------------------------------------- names
SEARCHED: dict[str, Any] = {"search__parameters": {"dpo.beta": {"low": 0.01, "high": 1.0}}}
OTHER = "verifiable/tokens"


@pytest.mark.parametrize(
    ("objectives", "overrides", "metric"),
    [
        ({OTHER: "minimize"}, [], OTHER),
        ({"policy/validation/accuracy": "maximize", OTHER: "minimize"}, [], OTHER),
        ({OTHER: "minimize", "verifiable/strict": "maximize"}, ["study.metric=verifiable/strict"], "verifiable/strict"),
        ({"policy/validation/accuracy": "maximize"}, [], settings().metric),
    ],
)
def test_the_metric_of_a_search_is_what_it_searches_for(
    objectives: dict[str, str], overrides: list[str], metric: str
) -> None:
    asked = {"metric": "verifiable/strict"} if overrides else {}
    found = defined(*overrides, search__objectives=objectives, **SEARCHED, **asked)
    assert found.settings.metric == metric


def test_another_metric_than_a_search_has_is_refused() -> None:
    asked = {"search__objectives": {OTHER: "minimize"}, "metric": "verifiable/strict"}
    with pytest.raises(UserError, match=r"a search's metric is its objective, verifiable/tokens"):
        defined("study.metric=verifiable/strict", **SEARCHED, **asked)


def test_a_name_is_made_of_what_the_runs_compute() -> None:
    sweep = ["selection=critique,average"]
    name = defined(*sweep).name
    assert re.fullmatch(r"grid-[0-9a-f]{8}", name)
    same = [
        "until=config",
        "tracking=none",
        "calibrate=always",
        "hardware.micro_batch_size=2",
        "study.max_hours=2",
        "seed=0,1",
        "output_dir=x",
    ]
    assert [defined(*sweep, one).name for one in same] == [name] * len(same)
    others = ["dpo.beta=0.3", "study.tune=[dpo.beta]", "data.prompts=100"]
    assert len({name, *(defined(*sweep, one).name for one in others)}) == 4


def test_what_only_says_how_is_no_result() -> None:
    means = [
        "until=policy",
        "output_dir=x",
        "tracking=none",
        "tracking.mode=offline",
        "hardware=cpu",
        "hydra/launcher=ray",
    ]
    assert results([*means, "dpo.beta=1", "++split.test=0.2", "~data.x"]) == [
        "dpo.beta=1",
        "++split.test=0.2",
        "~data.x",
    ]


# --------------------------------------------------------------------------------------------------------------- errors
ARMS = {"arms": {"a": [], "b": ["dpo.beta=0.3"]}}


@pytest.mark.parametrize(
    ("overrides", "changes", "words"),
    [
        ([], {}, "nothing to vary.*-m KEY=A,B"),
        (["seed=4"], {}, "nothing to vary"),
        ([], ARMS | {"grid": {"dpo.beta": [1, 2]}}, "arms and grid"),
        ([], ARMS | {"search__parameters": {"dpo.beta": {"low": 1, "high": 2}}}, "arms and search"),
        (["dpo.beta=1,2"], ARMS, "'dpo.beta' is swept.*but the study names what it varies"),
        (["dpo.beta=1,2"], {"grid": {"selection": ["critique"]}}, "'dpo.beta' is swept"),
        (["split.seed=1,2"], {}, "'split.seed' is the same in all arms"),
        (["+study.margin=1,2"], {}, "study.margin' is the same in all arms"),
        (["study.seeds=0,1"], {}, r"'study.seeds' is the same in all arms[^\n]*\n  write seed=0,1$"),
        (["study.seeds=0,1"], ARMS, r"\n  write seed=0,1$"),
        (["study.tuning.seeds=7,8"], {}, r"\n  write 'study.tuning.seeds=\[7,8\]'$"),
        (["until=policy,evaluation"], {}, "'until' is the same"),
        (["dpo.beta=interval(0.1,1)"], {}, "has no list of values.*Optuna"),
        (["dpo.beta=1,2,1"], {}, "dpo.beta=1,2,1 names a value twice"),
        ([], {"grid": {"dpo.beta": []}}, "dpo.beta has no values"),
        (["seed=1,1"], ARMS, r"seeds are \[1, 1\].*each seed once"),
        (["seed=1,x"], ARMS, "seed=1,x are not all whole numbers"),
        ([], ARMS | {"seeds": []}, r"seeds are \[\]"),
        (["seed=1,2", "study.seeds=[1,2]"], ARMS, "seed=1,2 and study.seeds are both given"),
        ([], {"arms": {"a": ["selection"]}}, "'selection' of arm 'a' is no override.*KEY=VALUE"),
        ([], {"arms": {"a": ["seed=3"]}}, "arm 'a' sets 'seed'.*study.seeds"),
        ([], {"arms": {"a": ["+study.margin=3"]}}, "arm 'a' sets 'study.margin'"),
        ([], {"arms": {"a": ["hydra/launcher=basic"]}}, "arm 'a' sets 'hydra/launcher'"),
        ([], {"arms": {"a": ["hydra.job_logging.x=y"]}}, "'hydra.job_logging.x' is not a setting"),
        ([], {"arms": {"a": ["+data._target_=os.system"]}}, "never names code"),
        ([], {"grid": {"hydra.launcher.x": [1, 2]}}, "sets 'hydra.launcher.x'"),
        (["dpo.beta=0.1"], ARMS, "'dpo.beta=0.1' is given for every run, but arm 'b' sets 'dpo.beta=0.3'"),
        (["selection=critique"], {"grid": {"selection": ["average"]}}, "'selection=critique' is given for every run"),
        ([], {"arms": {"base model": []}}, "'base model' cannot be the name of an arm"),
        ([], {"arms": {"a\nb": []}}, "cannot be the name of an arm"),
        ([], ARMS | {"name": "a/b"}, "study.name='a/b' cannot be a folder"),
        ([], ARMS | {"name": "-x"}, "study.name='-x' cannot be a folder"),
        ([], ARMS | {"baseline": "c"}, "study.baseline='c' is no arm of this study"),
        ([], ARMS | {"arm": "a"}, "study.arm and study.trial are set by the study itself"),
        (
            [],
            ARMS | {"tune": ["dpo.epochs"]},
            r"'dpo.epochs', but it has no candidates.*study.tuning.values=\{dpo.epochs",
        ),
        ([], ARMS | {"tune": ["dpo.beta"]}, "arm 'b' sets 'dpo.beta', which study.tune tunes"),
        ([], ARMS | {"tune": ["hydra.launcher.x"]}, "study.tune: 'hydra.launcher.x' is the same in all runs"),
        ([], ARMS | {"tune": ["dpo.learning_rate"], "seeds": [1000]}, "seeds of their own"),
        ([], ARMS | {"tune": ["dpo.learning_rate"], "tuning__seeds": []}, "seeds of their own, at least one"),
        (
            [],
            {"search__parameters": {"dpo.beta": {"low": 1, "high": 2}}, "tune": ["dpo.beta"]},
            "study.tune is for arms.*search's parameters",
        ),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(overrides: list[str], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        defined(*overrides, **changes)
    assert re.search(words, str(raised.value), re.S), str(raised.value)


# ------------------------------------------------------------------------------------------------------ shipped studies
NEEDS = {"claims_probed": ["scores=[{runs: [A, B]}]"]}
"""What a study's file says that its command must give."""


@pytest.mark.parametrize("name", sorted(path.stem for path in configuration.sweeps_dir().glob("study/*.yaml")))
def test_every_shipped_study_is_valid_and_so_is_each_of_its_arms(name: str) -> None:
    section = composed(f"study={name}").study
    configuration.reject_unknown_keys(section, "study.")
    settings = OmegaConf.to_object(section)
    assert isinstance(settings, Study)
    check(settings, "study.")
    study = define(settings, PARSER.parse_overrides([f"study={name}"]))
    assert study.name == name, "a folder of the same name"
    assert study.arms or study.kind == "search"
    for arm in study.arms:
        config = configuration.load(copy.deepcopy(composed(f"study={name}", *NEEDS.get(name, []), *arm.overrides)))
        assert is_known(settings.metric, known_metrics(config))


# --------------------------------------------------------------------------------------------------- written and quoted
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.text("ab0.,:='\"\\ ${}[]()~+-#\n\té", max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), TEXTS, AWKWARD)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def read_back(right_side: str) -> Any:
    """What a config holds after an override, interpolations resolved."""
    override = PARSER.parse_override(f"key={right_side}")
    assert not override.is_sweep_override(), right_side
    return OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True)["key"]  # type: ignore[index,call-overload]


@given(VALUES)
@example(5e-07)
@example(1e22)
@example(["a,b", "it's", "\\'", "${key}", "1", "null", ""])
def test_what_is_written_is_read_back_by_hydra_as_the_same_value(value: Any) -> None:
    found = read_back(written(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_stay_floats(value: float) -> None:
    assert repr(read_back(written(value))) == repr(value)


@given(st.floats(min_value=1e-12, max_value=1e-3))
def test_small_numbers_are_numbers_in_yaml_too(value: float) -> None:
    loaded = OmegaConf.create(f"key: {written(value)}").key  # a study's file is YAML
    assert loaded == value
    assert isinstance(loaded, float)


@given(st.one_of(TEXTS, AWKWARD))
@example("\\${key}")
@example("ends in \\")
@example("ends in a line\\\n")
def test_a_quoted_text_is_read_back_as_itself(text: str) -> None:
    assert read_back(quoted(text)) == text


@pytest.mark.parametrize("text", ["critique", "0.1.2", "a/b-c.jsonl", "verifiable/strict"])
def test_plain_words_are_written_without_quotes(text: str) -> None:
    assert written(text) == text


def test_an_arm_of_so_many_rounds_is_called_so() -> None:
    assert cell_name({"rounds.number": "2", "dpo.beta": "0.1"}) == "rounds=2,beta=0.1"
