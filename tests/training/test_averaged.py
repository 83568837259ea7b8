"""CPO, SimPO and ORPO on our tokens: TRL's own losses of the same batch, whatever the passes."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from support.recipes import machine, recipe
from support.trainings import FEW_PAIRS, make_pair_trainer, step_events, train, without_reference

RECIPES = {
    "cpo": {"algorithm": "cpo", "beta": 0.1},
    "cpo_alone": {"algorithm": "cpo", "cpo_alpha": 0.0, "beta": 0.2},
    "simpo": {"algorithm": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.8},
    "cpo_simpo": {"algorithm": "simpo", "beta": 2.5, "gamma_beta_ratio": 0.5, "cpo_alpha": 0.25},
    "orpo": {"algorithm": "orpo", "beta": 0.1},
}
BARE = [{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in FEW_PAIRS]


def of_trl(made, asked):
    """TRL's experimental trainer over our model, without the construction that reads texts."""
    kind = ORPOTrainer if asked["algorithm"] == "orpo" else CPOTrainer
    own = kind.__new__(kind)
    usual = {"cpo": 1.0, "simpo": 0.0}.get(asked["algorithm"])
    own.accelerator, own.beta, own.is_encoder_decoder, own.aux_loss_enabled = (
        made.accelerator,
        asked["beta"],
        False,
        False,
    )
    own.pad_token_id = own.padding_value = 0
    own.loss_type = "simpo" if asked["algorithm"] == "simpo" else "sigmoid"
    own.cpo_alpha, own.alpha, own.label_smoothing = asked.get("cpo_alpha", usual), 0.0, 0.0
    own.simpo_gamma = asked.get("gamma_beta_ratio", 0.0) * asked["beta"]
    return own


def batch_of_trl(rows):
    batch = {}
    for side in ("chosen", "rejected"):
        ids = [torch.tensor(row["prompt_ids"] + row[f"{side}_ids"]) for row in rows]
        labels = [torch.tensor([-100] * len(row["prompt_ids"]) + row[f"{side}_ids"]) for row in rows]
        batch[f"{side}_input_ids"] = pad_sequence(ids, batch_first=True, padding_value=0)
        batch[f"{side}_labels"] = pad_sequence(labels, batch_first=True, padding_value=-100)
        batch[f"{side}_attention_mask"] = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True)
    return batch


@pytest.fixture(scope="module", params=RECIPES)
def both(request, tiny_model_folder, tmp_path_factory):
    asked = RECIPES[request.param]
    made = make_pair_trainer(tiny_model_folder, tmp_path_factory.mktemp("trainer"), loss_type=[], **asked)
    made.model.train()
    made.gamma_beta_ratio = asked.get("gamma_beta_ratio", 0.0)
    return made, asked


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()


@pytest.mark.parametrize("micro", [3, 2, 1])
def test_the_loss_and_its_gradient_are_those_of_trls_own_trainer(both, micro):
    made, asked = both
    made.model.zero_grad()
    expected, told = of_trl(made, asked).get_batch_loss_metrics(made.model, batch_of_trl(BARE))
    expected.backward()
    theirs = gradient(made.model)
    made.model.zero_grad()
    made._metrics["train"].clear()
    passes = [made.data_collator(BARE[start : start + micro]) for start in range(0, len(BARE), micro)]
    whole = made._get_num_items_in_batch(passes, torch.device("cpu"))
    losses = [made.compute_loss(made.model, inputs, num_items_in_batch=whole) for inputs in passes]
    sum(losses).backward()
    assert sum(losses).item() == pytest.approx(expected.item(), rel=1e-5)
    assert (gradient(made.model) - theirs).norm() <= 1e-5 * theirs.norm()
    logged, pairs = made._metrics["train"], made._metrics["train"]["pairs"]
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
        mean = sum(value * number for value, number in zip(logged[name], pairs, strict=True)) / len(BARE)
        assert mean == pytest.approx(told[name], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("micro", [3, 1])
def test_a_weight_of_two_is_the_row_given_twice(both, micro):
    made, _ = both
    weighed = [row | {"weight": weight} for row, weight in zip(BARE, (1.5, 0.75, 0.75), strict=True)]
    found = []
    for rows, size in (([BARE[0], *BARE], 4), (weighed, micro)):
        passes = [made.data_collator(rows[start : start + size]) for start in range(0, len(rows), size)]
        whole = made._get_num_items_in_batch(passes, torch.device("cpu"))
        made.model.zero_grad()
        for inputs in passes:
            made.compute_loss(made.model, inputs, num_items_in_batch=whole).backward()
        found.append(gradient(made.model))
    assert (found[1] - found[0]).norm() <= 1e-6 * found[0].norm()


def test_simpo_trains_and_validates_without_a_reference(artifacts, tmp_path):
    inputs, encoding = without_reference(artifacts, tmp_path)
    asked = recipe(loss_type=[], global_batch_size=12, max_steps=2, **RECIPES["cpo_simpo"])
    facts = train(inputs, tmp_path / "out", asked, machine(micro_batch_size=4), encoding=encoding)
    first, second = step_events(tmp_path / "out")
    assert second < first
    [compared] = step_events(tmp_path / "out", "validation/preference_loss")
    assert compared < facts["validation/loss"], "the likelihood's part is told apart"
