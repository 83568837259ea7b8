"""The study of rules for data without ratings by aspect is planned and curated on such data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict, read_write
from rich.console import Console

from notus_exp.config import loading as configuration
from notus_exp.config.doubts import doubts
from notus_exp.config.schema import Stage
from notus_exp.run.pipeline import Run
from notus_exp.study.launching.alike import check_alike
from notus_exp.study.launching.definition import define
from notus_exp.study.launching.planned import Planned
from notus_exp.study.launching.prepare import prepare
from notus_exp.study.launching.sizes import unlike_sizes
from support.configs import composed, composed_by_hydra

STRICT = "verifiable/strict"


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> list[Planned]:
    """The arms of study=claims_overall on pairs with two scores, which stop with their pairs."""
    folder = tmp_path_factory.mktemp("claims")
    rows = [
        {
            "prompt": f"Tell me fact number {number} about tea.",
            "chosen": f"Fact {number} is that tea is a drink" + " of leaves" * (number % 5),
            "rejected": f"I do not know {number} facts about tea at all",
            "good": 5 + number % 4,
            "bad": number % 5,
        }
        for number in range(60)
    ]
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = [
        *("study=claims_overall", "data=pairs", f"data.path={folder}/pairs.jsonl", f"output_dir={folder}/outputs"),
        *("data.chosen_score_column=good", "data.rejected_score_column=bad"),
        *("model=tiny_random", "hardware=cpu", "filters.max_pairs=6", "until=pairs"),
    ]
    defined = define(composed(*given, "selection=critique").study, OverridesParser.create().parse_overrides([]))
    planned = []
    for arm in defined.arms:
        whole = composed_by_hydra(*given, *arm.overrides, whole=True)
        with read_write(whole), open_dict(whole):
            choices = dict(whole.pop("hydra").runtime.choices)
        planned.append(Planned(arm.name, 0, [], Run(configuration.load(whole), choices, Console(quiet=True))))
    return planned


def test_the_study_for_data_without_ratings_is_planned_to_its_end(arms: list[Planned]) -> None:
    whole = [replace(one.run.config, until=Stage.config) for one in arms]
    runs = [Run(config, one.run.choices, Console(quiet=True)) for config, one in zip(whole, arms, strict=True)]
    check_alike([one._replace(run=run) for one, run in zip(arms, runs, strict=True)], STRICT)
    assert not [question for run in runs for question in doubts(run.config, run.choices) if "curation=" in question]


def test_its_arms_are_curated_to_one_size(arms: list[Planned], tmp_path: Path) -> None:
    check_alike(arms, STRICT)
    some = [one for one in arms if one.arm in ("notus", "largest_margin", "shorter_chosen", "random_labels")]
    prepare([one.run for one in some], tmp_path, Console(quiet=True))
    assert all(one.run.store.find(one.run.nodes[-1].wanted) for one in some)
    assert unlike_sizes(some, complete=True) is None
