"""What is said of arms that trained on unlike numbers of pairs."""

from __future__ import annotations

from typing import Any, cast

import pytest

from notus_exp.comparison.trained_pairs import unlike_pairs
from notus_exp.contracts.run_file import RunFile


def trained(pairs: int | None, most: int | None = 40) -> RunFile:
    stages: dict[str, Any] = {} if pairs is None else {"pairs": {"facts": {"split/train": pairs}}}
    return cast(RunFile, {"stages": stages, "config": {"filters": {"max_pairs": most}}})


@pytest.mark.parametrize(
    "runs",
    [
        {"a": {0: trained(40)}, "b": {0: trained(40)}},
        {"a": {0: trained(40)}, "b": {0: trained(None)}},
        {"a": {0: trained(40, 40)}, "b": {0: trained(29, 29)}},
        {"a": {}},
    ],
    ids=["alike", "no pairs recorded", "told apart by their caps", "no runs"],
)
def test_nothing_is_said_where_sizes_are_alike_or_what_the_study_varies(runs: dict[str, dict[int, RunFile]]) -> None:
    assert unlike_pairs(runs) == []


def test_unlike_sizes_are_one_sentence_with_the_numbers() -> None:
    runs = {"notus": {0: trained(40), 1: trained(40)}, "largest_margin": {0: trained(31), 1: trained(29)}}
    (said,) = unlike_pairs(runs)
    assert said.startswith("the arms trained on 29 (largest_margin) to 40 (notus) pairs, so")
    assert "filters.max_pairs=29" in said


def test_pairs_of_all_rounds_count_and_no_cap_is_advised_where_there_are_several() -> None:
    def run(rounds: int, *pairs: int) -> Any:
        names = [*(f"round{number}_pairs" for number in range(1, rounds)), "pairs"]
        stages = {name: {"facts": {"split/train": count}} for name, count in zip(names, pairs, strict=True)}
        return {"status": "finished", "config": {"rounds": {"number": rounds}}, "stages": stages}

    assert unlike_pairs({"a": {0: run(2, 20, 10)}, "b": {0: run(3, 10, 10, 10)}}) == []
    (said,) = unlike_pairs({"a": {0: run(1, 20)}, "b": {0: run(2, 20, 13)}})
    assert said == "the arms trained on 20 (a) to 33 (b) pairs, so a difference between them may be one of size"
