"""Which run is handed over: what is named, what a study's verdict calls best, and never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from notus_exp.errors import UserError
from notus_exp.exporting.chosen_run import chosen_run
from support.readable_studies import compared
from support.study_folders import ACCURACY, TOKENS, crossed, edit, run_json, write, write_study


def study(root: Path, metric: str = ACCURACY, seeds: Sequence[int] = (0, 1, 2), **effects: float) -> Path:
    """A compared study of arms with these effects; the first is the baseline."""
    planted: dict[str, dict[int, dict[str, Any]]] = {
        arm: {seed: {metric: values} for seed, values in crossed(60, list(seeds), effect=effect, arm=place).items()}
        for place, (arm, effect) in enumerate(effects.items())
    }
    folder = write_study(root, planted, metric=metric)
    compared(folder)
    return folder


def test_a_run_is_found_by_its_folder_its_id_or_a_part_of_it(tmp_path: Path) -> None:
    folder = study(tmp_path, one=0.0, other=0.0)
    outputs = folder.parent.parent
    for text in ("one-s1", "ne-s1", str(outputs / "runs/one-s1")):
        found = chosen_run(text, outputs)
        assert (found.run.run_id, found.study, found.arm) == ("one-s1", None, None)
    for given in ({"arm": "one"}, {"seed": 1}):
        with pytest.raises(UserError, match="goes with a study, and 'one-s1' is not one"):
            chosen_run("one-s1", outputs, **given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="there is no run 'three'"):
        chosen_run("three", outputs)


def test_of_a_study_the_arm_that_alone_is_better_is_taken_with_its_lowest_finished_seed(tmp_path: Path) -> None:
    folder = study(tmp_path, seeds=range(5), base=0.0, same=0.0, better=0.3)
    edit(run_json(folder, "better-s0"), lambda content: content.update(status="failed", error="out of memory"))
    compared(folder)
    for text in (str(folder), "planted"):
        found = chosen_run(text, folder.parent.parent)
        assert (found.arm, found.seed, found.run.run_id) == ("better", 1, "better-s1")
        assert found.why == f"alone better than the baseline 'base' in {ACCURACY}"


def test_a_metric_of_which_neither_way_is_better_calls_no_arm_the_best(tmp_path: Path) -> None:
    folder = study(tmp_path, TOKENS, base=0.0, longer=0.3)
    with pytest.raises(UserError, match="calls no arm the best one"):
        chosen_run("planted", folder.parent.parent)


def test_the_baseline_is_taken_where_every_other_arm_is_worse(tmp_path: Path) -> None:
    folder = study(tmp_path, base=0.3, worse=0.0, bad=-0.1)
    found = chosen_run("planted", folder.parent.parent)
    assert (found.arm, found.seed) == ("base", 0)
    assert "every other arm is worse" in found.why


def test_where_the_verdict_tells_no_arm_apart_the_arms_are_named(tmp_path: Path) -> None:
    folder = study(tmp_path / "alike", base=0.0, same=0.0)
    with pytest.raises(UserError, match="no arm is shown to be better than the baseline 'base'") as refused:
        chosen_run("planted", folder.parent.parent)
    assert refused.value.hint == "give --arm: base, same"
    folder = study(tmp_path / "several", base=0.0, one=0.3, two=0.35)
    with pytest.raises(UserError, match=r"one, two are better than the baseline 'base'.*not compared with each other"):
        chosen_run("planted", folder.parent.parent)
    found = chosen_run("planted", folder.parent.parent, arm="two", seed=2)
    assert (found.run.run_id, found.why) == ("two-s2", "named by --arm")


def test_an_arm_or_a_seed_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    folder = study(tmp_path, base=0.0, same=0.0)
    outputs = folder.parent.parent
    with pytest.raises(UserError, match="has no arm 'sane'") as refused:
        chosen_run("planted", outputs, arm="sane")
    assert refused.value.hint == "did you mean 'same'?"
    with pytest.raises(UserError, match="arm 'same' of study 'planted' has no seed 9"):
        chosen_run("planted", outputs, arm="same", seed=9)
    for seed in (0, 1, 2):
        edit(run_json(folder, f"same-s{seed}"), lambda content: content.update(status="failed"))
    with pytest.raises(UserError, match="no run of arm 'same' of study 'planted' is finished"):
        chosen_run("planted", outputs, arm="same")


def test_a_comparison_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    folder = study(tmp_path, base=0.0, better=0.3)
    (folder / "comparison.json").unlink()
    with pytest.raises(UserError, match=r"has no comparison\.json"):
        chosen_run("planted", folder.parent.parent)
    assert chosen_run("planted", folder.parent.parent, arm="better").arm == "better"


def test_a_search_is_no_study_of_arms(tmp_path: Path) -> None:
    content = {"name": "tries", "kind": "search", "metric": ACCURACY, "baseline": None, "margin": None, "seeds": [0]}
    search = {"storage_file": "optuna.db", "objectives": {}, "constraints": {}, "parameters": {}}
    write(tmp_path / "outputs/studies/tries/study.json", {**content, "arms": {}, "search": search})
    with pytest.raises(UserError, match="'tries' is a search"):
        chosen_run("tries", tmp_path / "outputs")
