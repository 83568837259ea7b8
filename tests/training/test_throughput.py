"""A training's speed, padding and phases: counted by hand; and peaks of devices by their names."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig

from notus_exp.disk import files
from notus_exp.training.throughput import PHASES, REFERENCE_POINT, TRAINED, Meter, flops_per_token, peak_tflops
from support.recipes import machine, recipe
from support.trainings import make_artifacts, train

SIZES = {
    "vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2,
}  # fmt: skip
OWN = tuple(phase for phase in TRAINED if phase != REFERENCE_POINT)
LAYER = 4 * 8 * 8 + 3 * 8 * 16 + 2 * 8
BODY, HEAD = 2 * LAYER + 8, 50 * 8


@pytest.mark.parametrize(
    ("device", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312),
        ("NVIDIA A100-SXM4-40GB", "float32", 19.5),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "float16", 756),
        ("NVIDIA H100 NVL", "bfloat16", 835),
        ("NVIDIA H200", "bfloat16", 989),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
        ("NVIDIA L40S", "bfloat16", 362),
        ("NVIDIA L4", "bfloat16", 121),
        ("NVIDIA A10G", "bfloat16", None),  # not an A10
        ("NVIDIA H1000", "bfloat16", None),
        ("Tesla T4", "bfloat16", None),
        ("cpu", "float32", None),
    ],
)
def test_a_device_has_the_peak_of_its_data_sheet_or_none(device, precision, peak):
    assert peak_tflops(device, precision) == peak


@pytest.mark.parametrize("tied", [True, False])
def test_a_trained_weight_costs_six_and_a_frozen_one_four(tied):
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied))
    attention = 12 * 2 * 8 * 10
    assert flops_per_token(model, 10) == 6 * (BODY + HEAD) + attention
    model.requires_grad_(False)
    model.model.norm.requires_grad_(True)
    assert flops_per_token(model, 10) == 4 * (BODY + HEAD) + 2 * 8 + attention


def test_of_a_mixture_of_experts_nothing_is_claimed():
    class Mixture(torch.nn.Module):
        config = MixtralConfig(**SIZES)

    assert flops_per_token(Mixture(), 10) is None
    assert flops_per_token(torch.nn.Linear(2, 2), 10) is None


def alone(own):
    return own


def metered(*laps):
    """A meter whose clock goes on by so many seconds before each call (name, seconds, logs)."""
    now = [0.0]
    meter = Meter(clock=lambda: now[0])
    for name, seconds, *logs in laps:
        now[0] += seconds
        getattr(meter, name)(None, None, None, **({"logs": logs[0]} if logs else {}))
    return meter


def test_each_second_is_one_phases():
    meter = metered(
        ("on_train_begin", 7.0),  # before it nothing is counted
        ("on_step_begin", 0.5),
        ("on_pre_optimizer_step", 4.0),
        ("on_step_end", 1.0),
        ("on_log", 0.25, {"loss": 1.0}),
        ("on_log", 2.0, {"eval_loss": 1.0}),
        ("on_evaluate", 0.125),
        ("on_save", 3.0),
        ("on_step_begin", 0.5),
        ("on_pre_optimizer_step", 4.0),
        ("on_step_end", 1.0),
        ("on_train_end", 0.75),
    )
    assert meter.spent == {
        "data": 1.0, "forward_backward": 8.0, "optimiser": 2.0, "evaluation": 2.125, "saving": 3.0, "other": 1.0
    }  # fmt: skip
    meter.count(torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]))
    meter.count(torch.tensor([[1, 1], [1, 1]]))
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    assert meter.tokens_per_second == 9 / 11
    other = torch.tensor([[21, 36, 8]])  # another process' tokens, places and texts
    told = meter.told(model, "NVIDIA A100-SXM4-80GB", "bfloat16", lambda own: torch.cat([own, other]))
    assert told["tokens_per_second"] == round((9 + 21) / 11, 1)
    assert told["padding"] == 1 - 30 / 48
    used = (9 + 21) / 11 / 2 * flops_per_token(model, 30 / 12) / 1e12
    assert told["mfu"] == round(used / 312, 4)
    assert told["seconds_by_phase"] == meter.spent
    unknown = meter.told(model, "cpu", "float32", alone)
    assert (unknown["mfu"], unknown["peak_tflops"]) == (None, "unknown peak")


def test_a_meter_that_saw_nothing_says_so():
    told = Meter().told(torch.nn.Linear(2, 2), "cpu", "float32", alone)
    assert [told[name] for name in ("tokens_per_second", "padding", "mfu", "tflops_per_device")] == [None] * 4


def test_a_training_tells_where_its_time_went_and_its_card_does_not(tiny_model_folder, tmp_path):
    artifacts = make_artifacts(tiny_model_folder, tmp_path)
    facts = train(artifacts, tmp_path / "out", recipe(epochs=1.0, checkpoints=1), machine())
    told = facts["throughput"]
    assert json.loads(json.dumps(told)) == told
    assert set(told["seconds_by_phase"]) == set(PHASES)
    assert all(told["seconds_by_phase"][phase] > 0 for phase in (*OWN, "evaluation", "saving"))
    assert sum(told["seconds_by_phase"].values()) <= facts["seconds"]
    trained = sum(told["seconds_by_phase"][phase] for phase in OWN)
    rounded = 3 * 0.0005 / trained  # three phases, each to a millisecond
    assert told["tokens_per_second"] == pytest.approx(facts["tokens"] / trained, rel=0.001 + 1.1 * rounded)
    assert 0 < told["padding"] < 1
    assert told["peak_tflops"] == "unknown peak"
    assert told["mfu"] is None
    assert told["tflops_per_device"] > 0
    assert "throughput" in files.MEASURED
    [card] = [*(tmp_path / "out" / files.MODEL).glob("README.md")]
    assert "tokens_per_second" not in card.read_text()
