"""Values that are allowed and hardly meant are asked about, by key and value."""

from __future__ import annotations

import pytest

from notus_exp.config.doubts import doubts, margin_doubts
from support.configs import composed


@pytest.mark.parametrize("overrides", [[], ["experiment=smoke"], ["experiment=notus_7b_v1"]])
def test_nothing_is_asked_about_what_is_shipped(overrides: list[str]) -> None:
    assert doubts(composed(*overrides), {}) == []


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        ("dpo.learning_rate=1e3", "dpo.learning_rate=1000 is above what DPO is trained with (1e-08 to 0.01)"),
        ("dpo.beta=1e-5", "dpo.beta=1e-05 is below what DPO is trained with (0.001 to 10)"),
        ("data.prompts=3", "data.prompts=3 leaves about 0.3 test prompts (split.test=0.1)"),
        (
            "evaluation.verifiable.prompts=2 evaluation.verifiable.kl_prompts=0",
            "evaluation.verifiable.prompts=2 are too few",
        ),
        ("dpo.epochs=100", "dpo.epochs=100 passes over the pairs"),
        ("dpo.warmup=1000", "dpo.warmup=1000 steps are no fewer than those of the training (about 80)"),
        ("dpo.warmup=9 filters.max_pairs=32", "dpo.warmup=9 steps are no fewer than those of the training (about 8)"),
        ("dpo.warmup=5 dpo.max_steps=5", "dpo.warmup=5 steps are no fewer than those of the training (about 5)"),
        ("filters.max_pairs=4 dpo.warmup=0", "filters.max_pairs=4 leaves too few pairs"),
        ("filters.min_chars=100000", "filters.min_chars=100000 leaves out every answer"),
        (
            "dpo.global_batch_size=4096 filters.max_pairs=32",
            "dpo.global_batch_size=4096 is more than all training pairs (at most 32)",
        ),
        ("scores=[{path:s.csv,name:armorm}]", "scores[0] is given, and no expression names its column"),
        ("data.rating_noise=50", "data.rating_noise=50 is more than the whole scale of 4"),
        ("evaluation.verifiable.max_new_tokens=1", "evaluation.verifiable.max_new_tokens=1 cuts nearly every answer"),
    ],
)
def test_what_is_hardly_meant_is_asked(overrides: str, begin: str) -> None:
    (question,) = doubts(composed(*overrides.split()), {})
    assert question.startswith(begin)
    assert question.endswith("is it meant?")


def test_scores_that_another_run_of_the_study_names_are_meant() -> None:
    given = composed("scores=[{path:s.csv,name:armorm}]")
    assert doubts(given, {}, used={"armorm"}) == []
    assert len(doubts(given, {}, used={"other"})) == 1


def test_only_what_a_run_reaches_is_asked_about() -> None:
    assert doubts(composed("dpo.learning_rate=1e3", "data.prompts=3", "until=pairs"), {}) == []


def test_a_margin_that_is_a_large_part_of_the_span_is_asked_about() -> None:
    (question,) = margin_doubts(0.3, "verifiable/strict", 1.0)
    assert question.startswith("the margin of 0.3 is 30 % of all that verifiable/strict can differ by (1)")
    assert margin_doubts(0.25, "verifiable/strict", 1.0) == margin_doubts(None, "verifiable/strict", 1.0) == []
    assert margin_doubts(300, "verifiable/tokens", None) == [], "nothing bounds it"


def test_steps_are_not_guessed_where_the_data_alone_knows_its_pairs() -> None:
    unknown = ("data=rated", "data.path=x.jsonl", "filters=none", "dpo.warmup=1000", "dpo.global_batch_size=4096")
    assert doubts(composed(*unknown), {}) == []
