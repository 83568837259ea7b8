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


MADE = (
    "data=made",
    "data.judge={judge: mock}",
    "data.per_prompt=2",
    "data.writers=[{name: own}, {name: weak, simulated: 0.3}]",
    "rounds=2",
)


def test_arms_that_make_their_later_feedback_apart_are_measured_on_that_of_the_first_round(tmp_path: Path) -> None:
    arms = [planned(tmp_path, who, *MADE, f"rounds.writers={who}") for who in ("policy", "base")]
    last = [next(node.key for node in one.run.nodes if node.name == "feedback") for one in arms]
    assert last[0] != last[1]
    check_alike(arms, "preferences/accuracy/average")
    other = planned(tmp_path, "other", *MADE, "rounds.prompts=same")
    with pytest.raises(UserError, match="feedback"):
        check_alike([arms[0], other], "preferences/accuracy/average")


def test_arms_whose_later_rounds_begin_elsewhere_share_a_run_that_stops_before(tmp_path: Path) -> None:
    arms = [planned(tmp_path, start, *MADE, f"rounds.start={start}", "until=pairs") for start in ("previous", "base")]
    assert arms[0].run.id == arms[1].run.id
    check_alike(arms, STRICT)
