"""TRL's settings of DPO: each combination works in our trainer, or is refused before anything is made."""

import math
from itertools import product

import polars as pl
import pytest
import torch
from trl import DPOTrainer

from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.training_settings import F_DIVERGENCES, LOSSES, SMOOTHED_LOSSES
from notus_exp.errors import UserError
from notus_exp.training.joined_pairs import discount_tails
from support.recipes import recipe
from support.trainings import FEW_PAIRS, make_pair_trainer


def refused(**changes):
    try:
        check_dpo(recipe(**changes))
    except UserError:
        return True
    return False


def smoothing(loss):
    return 0.1 if loss in SMOOTHED_LOSSES else 0.0


@pytest.fixture(scope="module")
def made(tiny_model_folder, tmp_path_factory):
    """One trainer whose settings a test changes as its constructor would set them; it computes what WPO reads."""
    return make_pair_trainer(tiny_model_folder, tmp_path_factory.mktemp("trainer"), use_weighting=True)


@pytest.fixture
def asked(made):
    def ask(losses, **settings):
        given = {"f_divergence_type": "reverse_kl", "ld_alpha": None, "use_weighting": False, **settings}
        made.loss_types, made.loss_weights = losses, [1.0] * len(losses)
        made.label_smoothing = smoothing(losses[0])
        for name, value in given.items():
            setattr(made, name, value)
        return made

    return ask


def pass_of(made):
    return made.data_collator(FEW_PAIRS)


def loss_and_gradient(made):
    made.model.zero_grad()
    loss = made.compute_loss(made.model, pass_of(made))
    loss.backward()
    return loss.item(), sum(p.grad.abs().sum().item() for p in made.model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("loss", "weighting"), list(product(LOSSES, [True, False])))
def test_each_loss_is_weighed_by_wpo_or_refused(asked, loss, weighting):
    settings = {"loss_type": [loss], "use_weighting": weighting, "label_smoothing": smoothing(loss)}
    if refused(**settings):
        assert weighting
        assert loss in ("aot", "aot_unpaired", "hinge", "sft")
        return
    value, moved = loss_and_gradient(asked([loss], use_weighting=weighting))
    assert math.isfinite(value)
    assert moved > 0


def test_the_refused_hinge_would_fail_in_trl(asked):
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss_and_gradient(asked(["hinge"], use_weighting=True))


@pytest.mark.parametrize(("loss", "divergence"), list(product(LOSSES, F_DIVERGENCES[1:])))
def test_each_loss_takes_another_divergence_or_is_refused_as_trl_refuses_it(made, asked, loss, divergence):
    settings = {"loss_type": [loss], "f_divergence_type": divergence, "label_smoothing": smoothing(loss)}
    kinds = {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop"}  # trl/trainer/dpo_trainer.py
    assert refused(**settings) == (loss not in kinds), "sft alone reads no reference"
    if loss in kinds:
        value, moved = loss_and_gradient(asked([loss], f_divergence_type=divergence))
        assert math.isfinite(value)
        assert moved > 0


def test_wpo_weighs_what_compares_and_leaves_sft_as_it_is(asked):
    alone, _ = loss_and_gradient(asked(["sft"]))
    plain, _ = loss_and_gradient(asked(["sigmoid"]))
    weighted, _ = loss_and_gradient(asked(["sigmoid"], use_weighting=True))
    both, _ = loss_and_gradient(asked(["sigmoid", "sft"], use_weighting=True))
    assert weighted < plain, "a weight is a product of mean probabilities, below 1"
    assert both == pytest.approx(weighted + alone, rel=1e-6)


def test_settings_give_trls_own_loss(asked):
    """The unchanged trainer's loss of the same pass; it takes no sft beside WPO."""
    settings = {"f_divergence_type": "js_divergence", "ld_alpha": 0.3, "use_weighting": True}
    ours = asked(["sigmoid", "robust"], **settings)
    expected = DPOTrainer._compute_loss(ours, ours.model, dict(pass_of(ours)), False)
    assert ours.compute_loss(ours.model, pass_of(ours)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_reference_counts_a_tail_as_trl_counts_the_policys(asked):
    """A model is its own reference: each log-ratio is zero, so the loss is log 2, whatever the tails count."""
    made = asked(["sigmoid"], ld_alpha=0.3)

    def logps(items):
        found = []
        for prompt, completion in items:
            with torch.no_grad():
                scores = made.model(torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(-1)
            found.append(sum(scores[len(prompt) + at - 1, token].item() for at, token in enumerate(completion)))
        return found

    rows = pl.DataFrame(
        [
            {
                **{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")},
                **{
                    f"ref_{side}_logps": logps([(row["prompt_ids"], row[f"{side}_ids"])])[0]
                    for side in ("chosen", "rejected")
                },
            }
            for row in FEW_PAIRS
        ]
    )
    counted = discount_tails(rows, 0.3, logps)
    loss = made.compute_loss(made.model, made.data_collator(counted.to_dicts()))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)
    plain = made.compute_loss(made.model, made.data_collator(rows.to_dicts()))
    assert plain.item() != pytest.approx(math.log(2), abs=1e-3)
    assert discount_tails(rows, 1.0, logps)["ref_chosen_logps"].to_list() == pytest.approx(
        rows["ref_chosen_logps"].to_list()
    )
