"""Batches of like lengths: the same pairs in each epoch, in an order of the recipe and the seed alone."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.config.algorithms import check_algorithm
from notus_exp.errors import UserError
from notus_exp.training import dpo
from notus_exp.training.batching import POOL, LengthSampler, by_length, pair_lengths
from notus_exp.training.dealing import DealtBatches
from support.recipes import machine, recipe
from support.trainings import make_artifacts, step_events, train


@pytest.fixture(scope="module")
def artifacts(tiny_model_folder, tmp_path_factory):
    return make_artifacts(tiny_model_folder, tmp_path_factory.mktemp("artifacts"))


def slots(lengths, order, batch):
    """Tokens and padding of the global batches of an order."""
    return sum(batch * max(lengths[row] for row in order[i : i + batch]) for i in range(0, len(order), batch))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 90), max_size=230), st.integers(1, 5), st.integers(0, 9))
def test_each_pair_is_in_an_epoch_once_and_only_the_last_batch_is_incomplete(lengths, batch, seed):
    order = by_length(lengths, batch, seed)
    assert sorted(order) == [*range(len(lengths))]
    assert order == by_length(lengths, batch, seed)
    for start in range(0, len(order) - batch, batch):  # a batch's are neighbours by length: sorted
        own = [lengths[row] for row in order[start : start + batch]]
        assert own == sorted(own, reverse=True)


def test_like_lengths_meet_and_an_epoch_is_no_slope():
    lengths = [*range(1, 401)]
    order = by_length(lengths, 4, 0)
    assert slots(lengths, order, 4) < 1.02 * sum(lengths)
    firsts = [lengths[order[i]] for i in range(0, len(order), 4)]
    half = len(firsts) // 2
    assert abs(sum(firsts[:half]) - sum(firsts[half:])) < 0.15 * sum(firsts)
    assert by_length(lengths, 4, 1) != order
    pools = by_length([1] * (POOL * 4 + 3), 4, 0)  # of one length all: as good as shuffled
    assert pools != sorted(pools)


def test_each_epoch_has_another_order_that_a_resumed_training_finds_again():
    sampler = LengthSampler([5, 3, 8, 1, 9, 2, 7], 2, 11)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append([*sampler])
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [*range(len(sampler))]
    sampler.set_epoch(0)
    assert [*sampler] == epochs[0]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("micro", [1, 2])
def test_processes_share_the_global_batches_of_one(processes, micro):
    lengths = [7 * n % 23 for n in range(26)]
    sampler = LengthSampler(lengths, 6, 4)
    dealt = [[*DealtBatches(sampler, 6, micro, 1, processes, rank)] for rank in range(processes)]
    together = [sorted(row for own in passes for row in own) for passes in zip(*dealt, strict=True)]
    per_batch = -(-6 // (micro * processes))
    found = [sorted(itertools.chain(*together[i : i + per_batch])) for i in range(0, len(together), per_batch)]
    order = [*sampler]
    assert found[:4] == [sorted(order[i : i + 6]) for i in range(0, 24, 6)]


def test_a_pair_is_as_long_as_its_longer_side():
    columns = {"prompt_ids": [[1, 2], [3]], "chosen_ids": [[4], [5, 6, 7]], "rejected_ids": [[8, 9], [1]]}
    assert pair_lengths(columns) == [4, 4]


def test_a_training_by_lengths_sees_the_same_pairs_whatever_its_passes(artifacts, tmp_path, monkeypatch):
    seen, make = [], dpo._make_trainer

    def watched(*given):
        trainer = make(*given)
        collate = trainer.data_collator

        def note(rows):
            seen[-1] += [(*row["prompt_ids"], *row["chosen_ids"]) for row in rows]
            return collate(rows)

        trainer.data_collator = note
        return trainer

    monkeypatch.setattr(dpo, "_make_trainer", watched)
    for name, changes, micro in [
        ("random", {}, 4),
        ("length", {"batching": "length"}, 4),
        ("micro", {"batching": "length"}, 1),
    ]:
        seen.append([])
        train(artifacts, tmp_path / name, recipe(epochs=2.0, evaluations=0, **changes), machine(micro_batch_size=micro))
    half = len(seen[0]) // 2
    epochs = [sorted(pairs) for own in seen for pairs in (own[:half], own[half:])]
    assert epochs[0]
    assert all(epoch == epochs[0] for epoch in epochs)
    assert seen[1] != seen[0]
    assert seen[1][:half] != seen[1][half:]
    assert seen[2] == seen[1]
    assert step_events(tmp_path / "micro") == pytest.approx(step_events(tmp_path / "length"), abs=1e-5)


def test_kto_has_an_order_of_its_own():
    asked = recipe(algorithm="kto", loss_type=[], batching="length")
    with pytest.raises(UserError, match=r"dpo.batching=length is not read by dpo.algorithm=kto"):
        check_algorithm(asked)


def test_an_evaluation_keeps_the_order_of_its_pairs(artifacts, tmp_path):
    measured = []
    for batching in ("random", "length"):
        facts = train(artifacts, tmp_path / batching, recipe(epochs=1.0, evaluations=1, batching=batching))
        measured.append(facts["validation/loss"])
    assert measured[0] == pytest.approx(measured[1], abs=0.01)
