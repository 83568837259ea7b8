"""Arms that are one, and arms that only what comes later tells apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from notus_exp.config import loading as configuration
from notus_exp.errors import UserError
from notus_exp.run.pipeline import Run
from notus_exp.study.launching.alike import check_alike
from notus_exp.study.launching.planned import Planned
from support.configs import composed

STRICT = "verifiable/strict"
RECIPES = sorted(path.stem for path in (configuration.conf_dir() / "dpo").glob("*.yaml"))


def planned(folder: Path, arm: str, *overrides: str) -> Planned:
    config = composed("experiment=smoke", "model=tiny_random", f"output_dir={folder}", *overrides)
    return Planned(arm, 0, [], Run(config, {"selection": "arm"}, Console(quiet=True)))


def test_arms_that_differ_in_what_comes_after_the_last_stage_are_not_the_same(tmp_path: Path) -> None:
    arms = [planned(tmp_path, arm, f"curation={arm}", "until=pairs") for arm in ("notus", "sft_on_chosen")]
    assert arms[0].run.id == arms[1].run.id, "they share the run"
    check_alike(arms, STRICT)


@pytest.mark.parametrize("until", ["pairs", "config"])
def test_arms_that_differ_in_nothing_are_one_error(tmp_path: Path, until: str) -> None:
    given = ("+study.arms={notus:[],twin:[]}", f"until={until}")
    arms = [planned(tmp_path, "notus", *given), planned(tmp_path, "twin", *given)]
    with pytest.raises(UserError) as raised:
        check_alike(arms, STRICT)
    assert "arms 'notus' and 'twin' are the same" in raised.value.message
    assert raised.value.hint == "leave one of them out: ~study.arms.twin"


@pytest.mark.parametrize("recipe", RECIPES)
def test_sft_on_chosen_stands_beside_arms_of_any_algorithm(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.config.bitsandbytes_checks.require_bitsandbytes", lambda needed_by: None)
    dpo = composed("curation=sft_on_chosen", f"dpo={recipe}").dpo
    assert (dpo.algorithm, dpo.loss_type, dpo.loss_weights) == ("dpo", ["sft"], None)
