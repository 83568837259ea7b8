"""A run belongs to the arm whose settings it was made with, whatever study.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.compare import main as compare
from notus_exp.comparison.analysis import analyse
from notus_exp.contracts.format import sealed
from notus_exp.disk.outputs import STUDY_JSON
from notus_exp.errors import UserError
from support.study_folders import ACCURACY, crossed, edit, run_json, write, write_study

WHOLE = {"dpo": {"beta": 0.1, "lora": {"r": 8}}, "data": {"path": "/somewhere/else/a.jsonl"}, "hub": None}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two arms of two seeds, whose runs say what they were made with."""
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(9, [0, 1], arm=place).items()}
        for place, arm in enumerate(("critique", "average"))
    }
    folder = write_study(tmp_path, arms)
    for arm in arms:
        for seed in (0, 1):
            edit(run_json(folder, f"{arm}-s{seed}"), lambda run, arm=arm: run.update(choices={"selection": arm}))
    return folder


def exchange(content: dict[str, Any]) -> None:
    arms = content["arms"]
    arms["critique"]["runs"], arms["average"]["runs"] = arms["average"]["runs"], arms["critique"]["runs"]


def test_exchanged_runs_of_two_arms_are_named_and_publish_nothing(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyse(study)
    edit(study / STUDY_JSON, exchange)
    assert compare([str(study)]) == 2
    said = capsys.readouterr().err
    assert "names run average-s0 for arm 'critique', seed 0, whose selection is critique" in said
    assert "that run was made with selection=average" in said
    assert not (study / "comparison.json").exists()


def test_a_rule_that_is_not_taken_as_it_stands_is_the_arms_rule(study: Path) -> None:
    edit(study / STUDY_JSON, lambda content: content["arms"]["average"].update(overrides=["curation=notus"]))
    edit(study / STUDY_JSON, lambda content: content["arms"]["critique"].update(overrides=["curation=max_min"]))
    for arm, rule in (("average", "notus"), ("critique", "max_min")):
        for seed in (0, 1):
            said = f"{rule}, with selection=critique in place of selection=average"
            edit(run_json(study, f"{arm}-s{seed}"), lambda run, said=said: run.update(choices={"curation": said}))
    analyse(study)


def test_exchanged_seeds_are_named(study: Path) -> None:
    edit(study / STUDY_JSON, lambda content: content["arms"]["average"].update(runs={"0": "average-s1"}))
    with pytest.raises(UserError, match=r"run average-s1 for arm 'average', seed 0, whose seed is 0, but .* seed=1"):
        analyse(study)


def test_what_study_json_says_wrongly_of_runs_is_named_before_that_it_was_changed(study: Path) -> None:
    content = json.loads((study / STUDY_JSON).read_text())
    write(study / STUDY_JSON, sealed(content))
    analyse(study)
    written = json.loads((study / STUDY_JSON).read_text())
    exchange(written)
    write(study / STUDY_JSON, written)
    with pytest.raises(UserError, match="names run average-s0 for arm 'critique'"):
        analyse(study)
    exchange(written)
    write(study / STUDY_JSON, written)
    analyse(study)
    write(study / STUDY_JSON, written | {"margin": 3.0})
    with pytest.raises(UserError, match="was changed after it was written"):
        analyse(study)


def grid(content: dict[str, Any]) -> None:
    content.update(kind="grid", factors={"selection": ["critique", "average"]})
    for arm, spec in content["arms"].items():
        spec["levels"] = {"selection": arm}


def test_exchanged_entries_of_a_grid_are_named_as_a_name_follows_from_its_levels(study: Path) -> None:
    edit(study / STUDY_JSON, grid)
    analyse(study)
    edit(
        study / STUDY_JSON,
        lambda it: it["arms"].update(critique=it["arms"]["average"], average=it["arms"]["critique"]),
    )
    with pytest.raises(UserError, match=r"study\.json gives arm 'critique' the levels of arm 'average'"):
        analyse(study)


def test_the_levels_of_a_grid_are_compared_with_the_runs_as_well(study: Path) -> None:
    edit(study / STUDY_JSON, grid)
    edit(study / STUDY_JSON, lambda it: it["arms"]["critique"].update(levels={"selection": "margin"}))
    with pytest.raises(UserError, match=r"run critique-s0 for arm 'critique', seed 0, whose selection is margin"):
        analyse(study)


def test_a_study_whose_seal_was_taken_out_is_refused_since_all_have_one(study: Path) -> None:
    content = json.loads((study / STUDY_JSON).read_text())
    write(study / STUDY_JSON, sealed({"format": 2, **content}))
    analyse(study)
    write(study / STUDY_JSON, {"format": 2, **content})
    with pytest.raises(UserError, match="its seal was taken out"):
        analyse(study)


@pytest.mark.parametrize(
    ("override", "contradicts"),
    [
        ("dpo.beta=0.2", True),
        ("dpo.beta=1.0e-1", False),
        ("dpo.lora.r=8", False),
        ("dpo.lora.r=16", True),
        ("++dpo.lora={r:8}", False),
        ("dpo.lora={r:4}", True),
        ("data.path=elsewhere/a.jsonl", False),
        ("data.path=elsewhere/b.jsonl", True),
        ("hub=null", False),
        ("hub=main", True),
        ("selection=critique", False),
        ("dpo.nothing=3", False),
        ("~dpo.beta", False),
        ("dpo.beta=${other}", False),
        ("not an override", False),
    ],
)
def test_only_a_plain_value_that_the_run_has_otherwise_contradicts(
    override: str, contradicts: bool, study: Path
) -> None:
    for seed in (0, 1):
        edit(run_json(study, f"critique-s{seed}"), lambda run: run["config"].update(WHOLE))
    edit(study / STUDY_JSON, lambda content: content["arms"]["critique"]["overrides"].append(override))
    if contradicts:
        with pytest.raises(UserError, match="names run critique-s0 for arm 'critique'"):
            analyse(study)
    else:
        analyse(study)


@pytest.mark.parametrize(
    "override",
    ["study=mine", "hardware=gpu", "hardware.micro_batch_size=2", "evaluation=[verifiable,preferences]", "dpo.beta=9"],
)
def test_what_all_arms_have_tells_none_from_another(override: str, study: Path) -> None:
    def everywhere(content: dict[str, Any]) -> None:
        for arm in content["arms"].values():
            arm["overrides"].append(override)

    choices = {"hardware": "cpu", "evaluation": "preferences,verifiable"}
    config = {"study": {"name": "other"}, "hardware": {"micro_batch_size": 8}}
    for run in ("critique-s0", "critique-s1", "average-s0", "average-s1"):
        edit(run_json(study, run), lambda it: (it["choices"].update(choices), it["config"].update(config)))
    edit(study / STUDY_JSON, everywhere)
    analyse(study)


def test_the_order_of_a_groups_options_is_none_of_their_names(study: Path) -> None:
    for seed in (0, 1):
        edit(run_json(study, f"critique-s{seed}"), lambda it: it["choices"].update(evaluation="preferences,verifiable"))
    chosen = "evaluation=[verifiable,preferences]"
    edit(study / STUDY_JSON, lambda content: content["arms"]["critique"]["overrides"].append(chosen))
    analyse(study)
