"""What arms train on, beside what the baseline trains on: every number here is computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.tidy import tidy
from notus_exp.contracts.comparison_file import curation_rows
from notus_exp.contracts.curations_of_arms import ArmCuration, CurationsTable
from notus_exp.errors import UserError
from support.study_folders import ACCURACY, edit, run_json, write_completions, write_pairs, write_study

NOTUS = [(0, 0, 1), (1, 0, 2), (2, 0, 1), (3, 0, 1)]
TURNED = [(0, 1, 0), (1, 0, 2), (2, 0, 2), (5, 0, 1)]
ALL_WORSE = [(0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2)]
"""Number of the prompt, chosen and rejected completion; the completions have 10, 6 and 2 characters."""
WILSON_1_OF_2, WILSON_2_OF_3, WILSON_2_OF_4 = (0.09453, 0.90547), (0.20766, 0.93851), (0.15004, 0.84996)
WILSON_2_OF_2, WILSON_3_OF_4 = (0.34238, 1.0), (0.30064, 0.95441)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    arms = ("notus", "turned", "all_worse")
    folder = write_study(tmp_path, {arm: {0: {ACCURACY: [0.2, 0.4, 0.7]}} for arm in arms})
    for arm, pairs in zip(arms, (NOTUS, TURNED, ALL_WORSE), strict=True):
        write_pairs(folder, f"{arm}-s0", pairs)
        edit(run_json(folder, f"{arm}-s0"), lambda run: run["config"]["data"].update(aspects=["honesty"]))
    write_pairs(folder, "turned-s0", [(4, 0, 1)], split="validation")
    write_completions(folder, 6, rating_honesty=[5, 3, 1], overall_score=[2, 8, None], latent_quality=[0.9, 0.9, 0.1])
    return folder


def of(folder: Path, arm: str) -> ArmCuration:
    found = table(folder)
    return next(one for one in found["arms"] if one["arm"] == arm)


def table(folder: Path) -> CurationsTable:
    found = analyse(folder)["curations"]
    assert found is not None
    return found


def span(found: Any) -> tuple[float | None, float | None]:
    return found["low"], found["high"]


def test_pairs_in_common_are_those_with_the_same_prompt_and_texts_on_whichever_side(study: Path) -> None:
    turned = of(study, "turned")
    assert (turned["pairs"], turned["prompts"]) == (4, 4), "validation pairs are trained on by nobody"
    assert turned["common"]["value"] == 0.5, "prompts 0 and 1; of prompt 2 another text is rejected"
    assert span(turned["common"]) == pytest.approx(WILSON_2_OF_4, abs=1e-5)
    assert (turned["same_side"]["value"], turned["same_side"]["prompts"]) == (0.5, 2), "prompt 0 is turned round"
    assert span(turned["same_side"]) == pytest.approx(WILSON_1_OF_2, abs=1e-5)


def test_the_chosen_text_is_compared_over_the_prompts_of_both(study: Path) -> None:
    same = of(study, "turned")["same_chosen"]
    assert same["value"] == pytest.approx(2 / 3) and same["prompts"] == 3, "prompts 1 and 2 of 0, 1 and 2"
    assert span(same) == pytest.approx(WILSON_2_OF_3, abs=1e-5)


def test_lengths_are_means_with_intervals_over_prompts(study: Path) -> None:
    turned = of(study, "turned")
    # chosen minus rejected: -4, 8, 8, 4; variance 32, so the standard error is sqrt(8); t of 3 degrees: 3.182446
    assert turned["longer"]["value"] == 4
    assert span(turned["longer"]) == pytest.approx((4 - 3.182446 * 8**0.5, 4 + 3.182446 * 8**0.5), rel=1e-6)
    # chosen: 6, 10, 10, 10, where the baseline has 10 everywhere: (6 - 9)/4 and three times (10 - 9)/4 by prompt, and 0
    # of prompt 3, which the baseline has alone; five prompts, so sqrt(5/4 * 0.75), t of 4 degrees: 2.776445
    reach = 2.776445 * (5 / 4 * 0.75) ** 0.5
    assert (turned["length"]["value"], turned["length_difference"]["value"]) == (9, -1)
    assert span(turned["length_difference"]) == pytest.approx((-1 - reach, -1 + reach), rel=1e-6)
    assert turned["length_difference"]["prompts"] == 5


def test_a_labelling_agrees_where_it_prefers_the_chosen_side_and_ties_count_apart(study: Path) -> None:
    found = of(study, "turned")["agreement"]
    assert list(found) == ["critique", "average", "honesty", "latent"]
    assert found["honesty"]["value"] == 0.75, "not of the turned one"
    assert span(found["honesty"]) == pytest.approx(WILSON_3_OF_4, abs=1e-5)
    counts = {name: (one["decided"], one["ties"], one["unscored"]) for name, one in found.items()}
    assert counts == {"critique": (2, 0, 2), "average": (4, 0, 0), "honesty": (4, 0, 0), "latent": (2, 2, 0)}
    assert (found["critique"]["value"], found["latent"]["value"]) == (0.5, 1.0)


def test_several_pairs_of_a_prompt_count_as_pairs_and_their_intervals_are_over_prompts(study: Path) -> None:
    found = of(study, "all_worse")
    assert (found["pairs"], found["prompts"]) == (4, 2)
    assert (found["common"]["value"], found["common"]["prompts"]) == (0.5, 2)
    # of either prompt one of two is in common: alike, so at most 1 - 0.05^(1/2) of the prompts differ (see estimates)
    unseen = 1 - 0.05**0.5
    assert span(found["common"]) == pytest.approx((0.5 - unseen / 2, 0.5 + unseen / 2))
    assert (found["same_side"]["value"], found["same_chosen"]["value"]) == (1, 1)
    assert span(found["same_chosen"]) == pytest.approx(WILSON_2_OF_2, abs=1e-5)
    assert found["longer"]["value"] == 6 and span(found["longer"]) == (None, None)


def test_the_baseline_agrees_with_itself_and_each_two_arms_have_a_share(study: Path) -> None:
    own = of(study, "notus")
    assert (own["common"]["value"], own["same_side"]["value"], own["length_difference"]["value"]) == (1, 1, 0)
    # turned and all_worse have in common: prompt 0 with texts 0 and 1, prompt 1 with 0 and 2
    assert table(study)["common"] == [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]]
    assert table(study)["seed"] == 0


def test_they_are_rows_of_the_tidy_table_too(study: Path) -> None:
    comparison = analyse(study)
    rows = tidy(comparison).filter(table="curation", arm="turned")
    of_baseline = rows.filter(reference="notus")
    assert dict(zip(of_baseline["metric"], of_baseline["value"], strict=True)) == pytest.approx(
        {"pairs in common": 0.5, "same side of those": 0.5, "same chosen text": 2 / 3, "chosen characters": -1.0}
    )
    alone = rows.filter(rows["reference"].is_null())
    assert dict(zip(alone["metric"], alone["value"], strict=True)) == pytest.approx(
        {"pairs": 4, "chosen characters": 9, "chosen minus rejected characters": 4, "agreement/critique": 0.5}
        | {"agreement/average": 0.75, "agreement/honesty": 0.75, "agreement/latent": 1}
    )
    assert len(curation_rows(comparison)) == 3 * 11


def test_where_pairs_or_feedback_are_gone_nothing_is_made_up(study: Path) -> None:
    artifacts = study.parent.parent / "artifacts"
    (artifacts / "feedback-feedback/completions.parquet").unlink()
    assert of(study, "turned")["agreement"] == {}
    (artifacts / "pairs-turned-s0/pairs.parquet").unlink()
    assert [one["arm"] for one in table(study)["arms"]] == ["notus", "all_worse"]
    edit(run_json(study, "turned-s0"), lambda run: run["stages"].pop("pairs"))
    assert [one["arm"] for one in table(study)["arms"]] == ["notus", "all_worse"]
    (artifacts / "pairs-notus-s0/pairs.parquet").unlink()
    assert analyse(study)["curations"] is None


def test_another_baseline_is_measured_against(study: Path) -> None:
    found = analyse(study, baseline="turned")["curations"]
    assert found is not None
    assert [one["common"]["value"] for one in found["arms"]] == [0.5, 1, 0.5]
    with pytest.raises(UserError):
        analyse(study, baseline="none such")
