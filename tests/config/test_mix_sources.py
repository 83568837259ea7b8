"""The sources of a mix are options of the group `data`, composed and checked as the group would be."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from notus_exp.config.data_settings import Mix, Pairs, Rated
from notus_exp.config.explaining import explain
from notus_exp.config.mix_sources import check_parts, expand, sources_told, told_of
from notus_exp.errors import UserError
from notus_exp.evaluation.preferences.spec import expected_labellings
from notus_exp.stages.settings import to_json
from support.configs import composed, composed_by_hydra


def mix(sources: str, *overrides: str, own: Path | None = None) -> Mix:
    data = composed("data=mix", f"data.sources=[{sources}]", *overrides, own=own).data
    assert isinstance(data, Mix)
    return data


@pytest.fixture(scope="module")
def options() -> dict[str, DictConfig]:
    """The options of the group, each composed once."""
    return {name: composed_by_hydra(f"data={name}").data for name in ("rated", "pairs", "simulated")}


def expanded(sources: str, options: dict[str, DictConfig]) -> Mix:
    """Return the mix of sources, without composing a whole config for it."""

    def option(name: str) -> DictConfig:
        found = copy.deepcopy(options[name])
        found._set_parent(None)
        return found

    given = OmegaConf.create(f"[{sources}]")
    node: DictConfig = OmegaConf.structured(Mix("mix", [], 0, [], None, 0))
    node.sources = given
    expand(node, [*options, "mix"], option)
    found = OmegaConf.to_object(node)
    assert isinstance(found, Mix)
    check_parts(found)
    return found


def test_a_source_has_the_settings_of_its_option_but_for_those_that_are_given() -> None:
    found = mix("{data: rated, path: a.csv, aspects: [x, helpfulness], weight: 2}, {data: pairs, path: b, weight: 1}")
    rated, pairs = found.sources
    alone = composed("data=rated", "data.path=a.csv", "data.aspects=[x,helpfulness]").data
    assert (rated.corpus, rated.weight, rated.data) == ("rated", 2.0, alone)
    assert isinstance(rated.data, Rated) and isinstance(pairs.data, Pairs)
    assert pairs.data == composed("data=pairs", "selection=critique", "data.path=b").data


def test_the_aspects_of_a_mix_are_those_of_all_sources_in_their_order() -> None:
    found = mix("{data: rated, aspects: [b, a]}, {data: rated, corpus: other, aspects: [c, a]}")
    assert found.aspects == ["b", "a", "c"]
    assert mix("{data: rated, aspects: [b]}", "data.aspects=[b]").aspects == ["b"], "as a recorded config has them"


def test_mappings_and_simulated_worlds_are_taken_as_given() -> None:
    (source,) = mix("{data: simulated, corpus: world, prompts: 3, skills: {a: 0.1, b: 0.9}}").sources
    assert to_json(source)["data"]["skills"] == {"a": 0.1, "b": 0.9}
    assert source.data.prompts == 3


def test_an_option_of_the_users_own_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = "defaults:\n  - /rated_schema@_here_\n  - rated\n  - _self_\nname: rated\nprompt_column: question\n"
    (tmp_path / "data" / "mine.yaml").write_text(text, encoding="utf-8")
    (source,) = mix("{data: mine, path: x}", own=tmp_path).sources
    assert (source.corpus, source.data.prompt_column) == ("mine", "question")


def test_the_home_folder_is_expanded_in_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert mix("{data: rated, path: '~/b.csv'}").sources[0].data.path == "/somebody/b.csv"


def test_a_source_on_the_hub_reads_the_split_of_its_option() -> None:
    rated, pairs = mix("{data: rated}, {data: pairs}").sources
    assert (rated.data.hub_split, pairs.data.hub_split) == ("train", "train_prefs")


def test_a_plan_tells_of_each_source() -> None:
    found = mix("{data: rated, weight: 1, path: ., hub_split: test}, {data: pairs, weight: 2, revision: v}")
    assert sources_told(found) == [
        "source rated: weight 1, data=rated, ., split test",
        "source pairs: weight 2, data=pairs, HuggingFaceH4/ultrafeedback_binarized at v, split train_prefs",
    ]
    assert sources_told(mix("{data: simulated}")) == ["source simulated: all of it, data=simulated"]
    assert sources_told(found.sources[0].data) == []


def test_what_was_chosen_of_the_other_groups_stays() -> None:
    config = composed_by_hydra("data=mix", "data.sources=[{data: rated}]", "evaluation=[verifiable]", "seed=3")
    assert config.seed == 3 and [name for name in config.evaluation if config.evaluation[name]] == ["verifiable"]


def test_a_mix_is_compared_under_what_any_source_is_labelled_with() -> None:
    assert "latent" in expected_labellings(mix("{data: simulated}"))
    both = expected_labellings(mix("{data: simulated}, {data: rated, overall_column: null, aspects: [x]}"))
    assert {"critique", "average", "x", "honesty"} <= {*both} and "latent" not in both


@pytest.mark.parametrize(
    ("sources", "said", "remedy"),
    [
        ("", "data=mix has no sources", "write 'data.sources=[{data: ultrafeedback"),
        ("3", "data.sources.0 is no mapping", "write"),
        ("{path: x}", "data.sources.0 does not say which data it is", "one of "),
        ("{data: ratd}", "data.sources.0: data=ratd is no option", "did you mean 'rated'?"),
        ("{data: mix}", "data.sources.0: data=mix is no option", "known:"),
        ("{data: rated, pth: x}", "data.sources.0 has no setting 'pth' (data=rated)", "did you mean 'path'?"),
        ("{data: rated, name: x}", "data.sources.0.name=x cannot be set", "data: NAME"),
        ("{data: rated, max_bad_rows: many}", "data.sources.0.max_bad_rows=many is no whole number", "WHOLE_NUMBER"),
        ("{data: rated, max_bad_rows: -1}", "data.sources.0.max_bad_rows=-1 is out of range", ""),
        ("{data: rated, repeated_prompts: kep}", "data.sources.0.repeated_prompts=kep is not an", "'keep'"),
        ("{data: rated, path: https://x.y/z}", "data.sources.0.path is an address", ""),
        ("{data: rated, path: x, hub_id: a/b}", "data.sources.0.hub_id=a/b is set, but its path=x is read", ""),
        ("{data: rated, path: x, hub_split: a}", "data.sources.0.hub_split=a is set, but its path=x is read", ""),
        ("{data: simulated, skills: {a: x}}", "data.sources.0.skills.a=x is no number", ""),
        (
            "{data: simulated}, {data: simulated}",
            "data.sources.1: data.sources.0 has the corpus 'sim",
            "corpus: NAME",
        ),
        ("{data: rated, corpus: a/b}", "data.sources.0.corpus='a/b' is no name", "letters"),
        ("{data: rated, weight: 1}, {data: pairs}", "data.sources: pairs has no weight", "or none"),
        ("{data: rated, weight: 0}", "data.sources.0.weight=0.0 is out of range", ""),
        ("{data: rated, weight: much}", "data.sources.0.weight=much is no number", ""),
    ],
)
def test_what_a_mix_must_not_say_is_refused_with_its_key(
    sources: str, said: str, remedy: str, options: dict[str, DictConfig]
) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as error:
        expanded(sources, options)
    assert remedy in error.value.hint


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("{data: rated, hub_id: null}", "data.sources.0.path and data.sources.0.hub_id are both null"),
        ("{data: simulated, min_constraints: 3}", "data.sources.0.min_constraints=3 is more than"),
    ],
)
def test_what_does_not_go_together_in_a_source_is_refused_with_its_key(sources: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        mix(sources)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.prompts=3", "data.prompts=3 is read with weights alone"),
        ("data.max_bad_rows=3", "data.max_bad_rows=3 is of no source"),
        ("data.aspects=[a]", "is set beside those of the sources"),
    ],
)
def test_what_belongs_to_the_sources_is_not_the_mixs(override: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        mix("{data: rated}", override)


def test_sources_without_a_mix_name_the_option_that_reads_them() -> None:
    with pytest.raises(ConfigCompositionException) as error:
        composed("data=rated", "data.sources=[{data: rated}]")
    assert explain(error.value).hint == "choose what reads it too: data=mix"


def test_only_settings_are_renamed_in_an_error_of_a_source() -> None:
    with pytest.raises(UserError) as error, told_of("data.sources.1"):
        raise UserError("data.path: there is no 'data.jsonl' in /x/data.path", "set data.max_bad_rows=1")
    assert error.value.message == "data.sources.1.path: there is no 'data.jsonl' in /x/data.path"
    assert error.value.hint == "set data.sources.1.max_bad_rows=1"
    with pytest.raises(UserError, match=r"^data\.sources\.0: it is empty"), told_of("data.sources.0"):
        raise UserError("it is empty")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with an experiment of the user's own: a mix in YAML."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "blend.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: mix\n  - _self_\ndata:\n  sources:\n"
        "    - {data: simulated, weight: 0.5}\n    - data: rated\n      path: r.csv\n      weight: 0.5\n",
        encoding="utf-8",
    )
    return tmp_path


def test_a_setting_of_a_source_is_changed_and_given_on_the_command_line(own: Path) -> None:
    found = composed("experiment=blend", "data.sources.0.weight=0.3", "data.sources.1.max_bad_rows=3", own=own).data
    assert isinstance(found, Mix)
    assert [(source.weight, source.data.max_bad_rows) for source in found.sources] == [(0.3, 0), (0.5, 3)]


@pytest.mark.parametrize("override", ["data.sources.2.weight=1", "data.sources.x.weight=1", "~data.sources.0"])
def test_a_source_that_there_is_not_is_no_key(override: str, own: Path) -> None:
    said = re.escape(
        f"{override.lstrip('~').partition('=')[0]} is no setting of a source: there are those of numbers 0"
    )
    with pytest.raises(UserError, match=said):
        composed("experiment=blend", override, own=own)
    with pytest.raises(UserError, match="is no setting of a source: there is none"):
        composed("data=rated", override)
