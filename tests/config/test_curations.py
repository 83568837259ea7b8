"""The overlays of conf/curation: each is a whole rule, whatever stands beside it on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from notus_exp.config import completing
from notus_exp.config import loading as configuration
from notus_exp.errors import UserError
from notus_exp.study.launching.definition import define
from support.configs import composed, composed_by_hydra

CURATIONS = sorted(path.stem for path in (configuration.conf_dir() / "curation").glob("*.yaml"))
OF_RULE = ("repair", "selection", "rejected", "pairs")
PROBE = "scores=[{runs: [a, b]}]"
"""A column that one rule needs, and that costs the others nothing."""


@pytest.mark.parametrize("name", CURATIONS)
def test_a_rule_is_the_same_over_a_recipe_that_sets_its_groups_otherwise(name: str) -> None:
    alone, over = composed(f"curation={name}", PROBE), composed("experiment=zephyr_7b_beta", f"curation={name}", PROBE)
    assert [getattr(over, group) for group in OF_RULE] == [getattr(alone, group) for group in OF_RULE]
    assert over.model.name == "zephyr_7b_sft" and over.filters.exclude_sources == [], "all else is the recipe's"
    assert over.filters.max_pairs is None and alone.filters.max_pairs == 320, "how many pairs, too"


@pytest.mark.parametrize("name", CURATIONS)
def test_a_rule_names_who_published_it_or_what_it_controls(name: str) -> None:
    text = (configuration.conf_dir() / "curation" / f"{name}.yaml").read_text(encoding="utf-8")
    head = text.partition("defaults:")[0].replace("\n# ", " ")
    assert "arXiv " in head or "issue " in head or "argilla-io/" in head or "A control" in head


def test_what_is_given_on_the_command_line_goes_over_a_rule() -> None:
    config = composed("curation=max_min", "selection=critique", "rejected.strictly_worse=false")
    assert (config.selection.name, config.rejected.name) == ("critique", "lowest")
    assert not config.rejected.strictly_worse


def test_the_wrong_10s_stay_in_zephyrs_rule_and_are_repaired_in_the_other() -> None:
    plain, repaired = composed("curation=zephyr"), composed("curation=zephyr_repaired")
    assert (plain.repair.name, repaired.repair.name) == ("none", "openbmb")
    assert plain.selection == repaired.selection and plain.rejected == repaired.rejected
    assert not plain.rejected.strictly_worse


def test_rules_are_swept_to_an_arm_each() -> None:
    settings = composed_by_hydra("curation=notus").study
    overrides = OverridesParser.create().parse_overrides(["curation=notus,max_min", "seed=0,1"])
    defined = define(configuration.load(composed_by_hydra()).study, overrides)
    assert settings.arms == {}
    assert {arm.name: arm.overrides for arm in defined.arms} == {
        "notus": ["curation=notus"],
        "max_min": ["curation=max_min"],
    }


def test_a_rule_of_ones_own_is_found_and_may_be_made_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "curation").mkdir()
    text = "# @package _global_\ndefaults:\n  - max_min\n  - _self_\nselection:\n  ties: drop\n"
    (tmp_path / "curation/mine.yaml").write_text(text, encoding="utf-8")
    config = composed("experiment=smoke", "curation=mine", own=tmp_path)
    assert (config.rejected.name, config.selection.ties.name, config.model.name) == ("lowest", "drop", "tiny_random")
    configuration.register()
    assert "curation=mine" in completing.candidates(f"notus-exp --config-dir {tmp_path} curation=m")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("curation=notuss", "curation=notuss is not an option\n  did you mean 'notus'?"),
        ("curation=[notus,zephyr]", "is a list, and curation takes one option"),
        ("curaton=notus", "unknown key 'curaton'\n  did you mean 'curation'?"),
        ("curation={a:1}", "curation={a:1} is no name of an option"),
        ("+curation=notus", "on the command line write curation=notus once, without +"),
        ("curation=easiest", "did you mean that of probes? name their runs: 'scores=[{runs: [A, B]}]'"),
    ],
)
def test_a_wrong_rule_is_one_clear_error(given: str, said: str) -> None:
    with pytest.raises(Exception) as caught:  # Hydra's own, which the command explains
        composed(given)
    ours = caught.value if isinstance(caught.value, UserError) else configuration.explain(caught.value, [given])
    assert said in str(ours)
