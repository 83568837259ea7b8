"""Weights of pairs: a weight of 2 is a row given twice, whatever the loss; what is logged stays plain."""

import polars as pl
import pytest
import torch

from notus_exp.config.algorithms import COUPLED, check_weights
from notus_exp.config.training_settings import LOSSES
from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.training.joined_pairs import effective_pairs, weighed
from support.recipes import recipe
from support.trainings import FEW_PAIRS, N_TRAIN, N_VALIDATION, make_pair_trainer, step_events, train


@pytest.fixture(scope="module")
def pair_trainer(tiny_model_folder, tmp_path_factory):
    return make_pair_trainer(tiny_model_folder, tmp_path_factory.mktemp("trainer"))


def examples(weights):
    mean = sum(weights) / len(weights)
    return [row | {"weight": weight / mean} for row, weight in zip(FEW_PAIRS, weights, strict=True)]


def without_weights(rows):
    return [{name: value for name, value in row.items() if name != "weight"} for row in rows]


def gradient(made, losses, rows, micro):
    """The gradient of one global batch of these rows, in passes of `micro` pairs."""
    made.loss_types, made.loss_weights = losses, [1.0, 0.5][: len(losses)]
    passes = [made.data_collator(rows[start : start + micro]) for start in range(0, len(rows), micro)]
    whole = made._get_num_items_in_batch(passes, torch.device("cpu"))
    made.model.zero_grad()
    for inputs in passes:
        made.compute_loss(made.model, inputs, num_items_in_batch=whole).backward()
    return torch.cat([p.grad.flatten() for p in made.model.parameters() if p.grad is not None]).clone()


def close(found, expected):
    return (found - expected).norm() <= 1e-6 * expected.norm()


SUMS = [["sigmoid"], ["sigmoid", "sft"], ["ipo"], ["nca_pair"], ["sft", "apo_zero"], ["sft"], ["discopop"]]


@pytest.mark.parametrize("losses", SUMS, ids="+".join)
@pytest.mark.parametrize("micro", [3, 2, 1])
def test_a_weight_of_two_is_the_row_given_twice(pair_trainer, losses, micro):
    rows = examples([2.0, 1.0, 1.0])
    expected = gradient(pair_trainer, losses, without_weights([rows[0], *rows]), 4)
    assert close(gradient(pair_trainer, losses, rows, micro), expected)
    assert not close(gradient(pair_trainer, losses, without_weights(rows), micro), expected), "the weight moves it"


@pytest.mark.parametrize("micro", [3, 1])
def test_a_weight_of_nothing_is_the_row_left_out(pair_trainer, micro):
    rows, losses = examples([1.0, 1.0, 0.0]), ["sigmoid", "sft"]
    assert close(
        gradient(pair_trainer, losses, rows, micro), gradient(pair_trainer, losses, without_weights(rows[:2]), 2)
    )
    nothing = [row | {"weight": 0.0} for row in rows]
    assert not gradient(pair_trainer, losses, nothing, micro).any(), "a batch may hold no other pairs"


def with_weights(artifacts, root, given):
    """Return the artifacts with the first training pairs alone, each with a weight."""
    pairs = pl.read_parquet(artifacts["pairs"] / files.PAIRS)
    kept = pl.concat([pairs.filter(split="train").head(len(given)), pairs.filter(split="validation")])
    root.mkdir()
    kept.with_columns(weight=pl.Series([*map(float, given), *[1.0] * N_VALIDATION])).write_parquet(root / files.PAIRS)
    return artifacts | {"pairs": root}


def test_weights_move_the_gradient_and_no_logged_value_of_the_step(artifacts, tmp_path):
    asked = recipe(global_batch_size=3, loss_type=["sigmoid", "sft"], evaluations=1, max_steps=1)
    for name, given in (("weighed", [2, 1, 1]), ("plain", [1, 1, 1])):
        facts = train(with_weights(artifacts, tmp_path / f"{name}-in", given), tmp_path / name, asked)
        assert facts["effective_pairs"] == pytest.approx(16 / 6 if name == "weighed" else 3, abs=1e-3)
    for logged in ("train/loss", "train/preference_loss", "train/margin", "train/logps_chosen"):
        assert step_events(tmp_path / "weighed", logged) == pytest.approx(step_events(tmp_path / "plain", logged))
    both = [step_events(tmp_path / name, "validation/loss") for name in ("weighed", "plain")]
    assert both[0] != both[1], "the next model is another one"


def test_weights_are_of_mean_one_over_the_pairs_that_are_left():
    rows = weighed(pl.DataFrame({"weight": [3.0, 1.0]}), recipe())
    assert rows["weight"].to_list() == [1.5, 0.5]
    assert effective_pairs(rows) == {"effective_pairs": 1.6}
    assert effective_pairs(weighed(pl.DataFrame({"n": [1]}), recipe())) == {}


@pytest.mark.parametrize("given", [[1.0, None], [1.0, -0.5], [1.0, float("nan")], [0.0, 0.0]])
def test_a_weight_that_is_no_number_of_zero_or_more_is_refused(given):
    with pytest.raises(UserError, match="weights are not all numbers of 0 or more"):
        weighed(pl.DataFrame({"weight": given}), recipe())


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_that_couple_pairs_refuse_weights(loss):
    asked = recipe(loss_type=[loss])
    if loss not in COUPLED:
        check_weights(asked)
        return
    with pytest.raises(UserError, match=f"cannot weigh pairs: {loss} is no sum over them"):
        check_weights(asked)
    with pytest.raises(UserError, match="cannot weigh pairs"):
        weighed(pl.DataFrame({"weight": [1.0] * N_TRAIN}), asked)
