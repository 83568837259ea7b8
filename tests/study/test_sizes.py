"""Arms that have not equally many training pairs, before any is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from notus_exp.config.schema import Stage
from notus_exp.run.pipeline import Run
from notus_exp.study.launching.planned import Planned
from notus_exp.study.launching.sizes import unlike_sizes
from support.configs import composed

SMALL = ("experiment=smoke", "model=tiny_random", "evaluation=[]", "until=policy")


def planned(folder: Path, arm: str, seed: int, pairs: int | None, *overrides: str) -> Planned:
    """A run whose pairs are made, with so many for training; None: they are not made."""
    config = composed(*SMALL, f"output_dir={folder}", f"seed={seed}", *overrides)
    run = Run(config, {"selection": "arm"}, Console(quiet=True))
    (node,) = [node for node in run.nodes if node.stage is Stage.pairs]
    if pairs is not None and not run.store.find(node.wanted):
        run.store.build(node.wanted, lambda out: {"split/train": pairs}, resumable=False)
    return Planned(arm, seed, [], run)


def test_arms_of_one_size_are_alike(tmp_path: Path) -> None:
    arms = [planned(tmp_path, "a", 0, 40), planned(tmp_path, "b", 0, 40, "rejected=lowest")]
    assert unlike_sizes(arms) is None


def test_unlike_arms_are_one_error_with_the_smallest_and_the_remedy(tmp_path: Path) -> None:
    arms = [planned(tmp_path, "a", 0, 40), planned(tmp_path, "b", 1, 29, "rejected=lowest")]
    found = unlike_sizes(arms)
    assert found is not None
    assert "'b' has the fewest, 29 (seed 1), and 'a' the most, 40" in found.message
    assert found.hint == "filters.max_pairs=29 makes them alike; study.match_size=false compares unlike sizes"


def test_seeds_of_one_arm_count_as_arms_do(tmp_path: Path) -> None:
    arms = [planned(tmp_path, "a", 0, 40), planned(tmp_path, "a", 1, 38)]
    assert "'a' has the fewest, 38 (seed 1)" in str(unlike_sizes(arms))


def test_an_arm_that_is_not_curated_is_passed_over_or_waited_for(tmp_path: Path) -> None:
    arms = [planned(tmp_path, "a", 0, 40), planned(tmp_path, "b", 0, 29, "rejected=lowest")]
    arms.append(planned(tmp_path, "c", 0, None, "rejected=second_best"))
    assert unlike_sizes(arms) is not None
    assert unlike_sizes(arms, complete=True) is None


def test_where_an_arm_caps_itself_the_cap_of_all_is_no_remedy(tmp_path: Path) -> None:
    arms = [planned(tmp_path, "a", 0, 40), planned(tmp_path, "b", 0, 29, "filters.max_pairs=29")]
    found = unlike_sizes(arms)
    assert found is not None
    assert (found.hint or "").startswith("give no arm a filters.max_pairs of its own, and all filters.max_pairs=29;")


@pytest.mark.parametrize("given", [[], ["study.match_size=true"]])
def test_no_key_sees_the_setting(tmp_path: Path, given: list[str]) -> None:
    plain, matched = planned(tmp_path, "a", 0, None), planned(tmp_path, "a", 0, None, *given)
    assert (plain.run.id, [*plain.run.by_key]) == (matched.run.id, [*matched.run.by_key])
