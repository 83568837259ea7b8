"""Options of a user's own: every group takes one from --config-dir, made of a shipped one with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.config import loading as configuration
from notus_exp.errors import UserError
from support.configs import composed, composed_by_hydra

OWN: dict[str, tuple[str, str, Any]] = {
    "data": ("simulated", "prompts: 77", ("prompts", 77)),
    "repair": ("openbmb", "low_mean: 1.5", ("low_mean", 1.5)),
    "selection": ("expression", "name: mine\nscore: 2 * helpfulness + honesty", ("name", "mine")),
    "rejected": ("expression", "name: mine\nplace: mean_minus(2)", ("place", "mean_minus(2)")),
    "pairs": ("all_worse", "weight: margin", ("weight", "margin")),
    "filters": ("small", "where: margin >= 1", ("where", "margin >= 1")),
    "model": ("tiny_random", "system_prompt: Be brief.", ("system_prompt", "Be brief.")),
    "dpo": ("lora_small", "beta: 0.7", ("beta", 0.7)),
    "sft": ("chosen", "epochs: 2", ("epochs", 2)),
    "hardware": ("cpu", "micro_batch_size: 2", ("micro_batch_size", 2)),
    "generation": ("transformers", "", ("name", "transformers")),
    "judge": ("mock", "seed: 5", ("seed", 5)),
    "tracking": ("none", "tags: [mine]", ("tags", ["mine"])),
}
"""Group -> the shipped option that one's own is made of, its lines, and a setting with the value that it then has."""


def own(folder: Path, group: str, text: str) -> Path:
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / "mine.yaml").write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("group", OWN)
def test_every_group_takes_an_option_of_ones_own(group: str, tmp_path: Path) -> None:
    shipped, lines, (key, value) = OWN[group]
    folder = own(tmp_path, group, f"defaults: [{shipped}, _self_]\n{lines}")
    config = composed(f"{group}=mine", own=folder)
    assert getattr(getattr(config, group), key) == value
    configuration.check_choices(config, {group: "mine"})


def test_the_groups_that_are_no_single_settings_take_one_too(tmp_path: Path) -> None:
    folder = own(tmp_path, "evaluation", "defaults: [verifiable, _self_]\nverifiable: {prompts: 33}")
    verifiable = composed("evaluation=[mine]", own=folder).evaluation.verifiable
    assert verifiable is not None
    assert verifiable.prompts == 33
    own(folder, "experiment", "# @package _global_\ndefaults: [override /selection: critique]\nseed: 5")
    assert composed("experiment=mine", own=folder).seed == 5
    own(folder, "curation", "# @package _global_\ndefaults: [notus, _self_]\nfilters: {where: margin > 1}")
    assert composed("curation=mine", own=folder).filters.where == "margin > 1"


def test_these_are_all_groups() -> None:
    folders = {path.name for path in configuration.conf_dir().iterdir() if path.is_dir()}
    assert folders == {*OWN, "evaluation", "experiment", "curation"}


def test_an_option_of_ones_own_is_named_in_the_run_and_cannot_be_set_by_hand(tmp_path: Path) -> None:
    folder = own(tmp_path, "selection", "defaults: [expression]\nname: mine\nscore: words")
    config = configuration.load(composed_by_hydra("selection=mine", own=folder))
    configuration.check_choices(config, {"selection": "mine"})
    with pytest.raises(UserError, match="cannot be set: it names the option"):
        configuration.check_choices(composed("selection.name=mine", "selection.score=words"), {"selection": "average"})


def test_a_rule_of_ones_own_without_a_rule_is_refused(tmp_path: Path) -> None:
    folder = own(tmp_path, "selection", "defaults: [expression]\nname: mine")
    with pytest.raises(UserError, match=r"selection\.name=mine is not an option"):
        composed("selection=mine", own=folder)
    with pytest.raises(UserError, match=r"no column 'helpfulnes'\n.*did you mean 'helpfulness'"):
        composed("selection=mine", "selection.score=helpfulnes", own=folder)
