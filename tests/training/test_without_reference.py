"""A recipe that needs no reference: the same tokens, rules and counts, and a training on them."""

import polars as pl
import pytest

from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.models import reference
from notus_exp.stages.context import Requirements
from support.recipes import machine, recipe
from support.trainings import N_TRAIN, N_VALIDATION, context_in, step_events, train, without_reference


def sft_by_hand(artifacts):
    """The mean negative log-prob of a chosen token over all training pairs, from the reference's own log-probs."""
    rows = pl.read_parquet(artifacts["reference"] / files.REFERENCE).filter(use="train", completion=0)
    return -rows["ref_logp"].sum() / rows["completion_ids"].list.len().sum()


def test_without_a_reference_the_tokens_are_those_of_one(artifacts, tmp_path):
    inputs, encoding = without_reference(artifacts, tmp_path)
    tokenised, counted = reference.encode(encoding, inputs, context_in(tmp_path / "out"))
    made = reference.table(tokenised, [None] * len(tokenised.rows))
    expected = pl.read_parquet(artifacts["reference"] / files.REFERENCE)
    columns = ["prompt_id", "row", "completion", "prompt_ids", "completion_ids", "use"]
    assert made.select(columns).sort(columns[:3]).equals(expected.select(columns).sort(columns[:3]))
    assert made["ref_logp"].null_count() == len(made)
    assert counted["prompts_too_long"] == 1


@pytest.mark.parametrize("micro", [16, 3])
def test_sft_alone_trains_on_the_chosen_without_a_reference(artifacts, tmp_path, micro):
    inputs, encoding = without_reference(artifacts, tmp_path)
    asked = recipe(loss_type=["sft"], global_batch_size=12, max_steps=2)
    facts = train(inputs, tmp_path / "out", asked, machine(micro_batch_size=min(micro, 12)), encoding=encoding)
    first, second = step_events(tmp_path / "out")
    assert first == pytest.approx(sft_by_hand(artifacts), rel=1e-5)
    assert second < first
    assert step_events(tmp_path / "out", "train/preference_loss") == pytest.approx([first, second]), "the loss itself"
    assert (facts["pairs_trained"], facts["validation_pairs"]) == (N_TRAIN, N_VALIDATION)
    assert (facts["needed"], facts["prompts_too_long"]) == (2 * (N_TRAIN + N_VALIDATION), 1)
    assert facts["pairs_left_out"] == 1, "its prompt is too long"
    assert not [name for name in facts if "without_reference" in name], "none is asked for"


def test_too_many_lost_ends_are_refused_without_a_reference_too(artifacts, tmp_path):
    inputs, encoding = without_reference(artifacts, tmp_path)
    encoding.max_length, encoding.long_prompts, encoding.max_prompt_length = 40, "cut", 38
    context = context_in(tmp_path / "out")
    context.requirements = Requirements(max_truncated=0.1)
    with pytest.raises(UserError, match=r"lose their end at dpo\.max_length=40"):
        reference.encode(encoding, inputs, context)
