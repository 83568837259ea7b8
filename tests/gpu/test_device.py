"""What only a CUDA device can show; on other machines these are skipped. `pytest -m gpu` runs them."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from notus_exp.config.hardware_settings import Device
from notus_exp.config.training_settings import Precision
from notus_exp.generation.decoding import Decoding, EncodedQuestion, generate
from notus_exp.machine import devices
from notus_exp.machine.cuda import cuda_devices
from support.places import ROOT
from support.recipes import LORA, machine, recipe
from support.trainings import FULL, make_artifacts, step_events, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
PRECISIONS = [Precision.float32, Precision.bfloat16, Precision.float16]


def gpu(**changes):
    return machine(name="gpu", device=Device.cuda, precisions=PRECISIONS, **changes)


@pytest.fixture(scope="module")
def artifacts(tiny_model_folder, tmp_path_factory):
    return make_artifacts(tiny_model_folder, tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("lora", [LORA, FULL], ids=["lora", "full"])
def test_a_training_in_float32_has_the_losses_of_the_cpu(artifacts, tmp_path, lora):
    asked = recipe(lora=lora, epochs=2.0)
    facts = train(artifacts, tmp_path / "gpu", asked, gpu())
    train(artifacts, tmp_path / "cpu", asked, machine())
    assert step_events(tmp_path / "gpu") == pytest.approx(step_events(tmp_path / "cpu"), abs=1e-3)
    assert facts["device"] == torch.cuda.get_device_name(0)
    assert 0 < facts["peak_memory_bytes"] <= torch.cuda.get_device_properties(0).total_memory


@pytest.mark.parametrize("lora", [LORA, FULL], ids=["lora", "full"])
def test_a_training_in_bfloat16_starts_near_ln_2_and_learns(artifacts, tmp_path, lora):
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("the device computes no bfloat16")
    train(artifacts, tmp_path, recipe(lora=lora, epochs=6.0, precision=Precision.bfloat16), gpu())
    losses = step_events(tmp_path)
    # the reference log-probs of these artifacts are exact, so this is the error of bfloat16 itself
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < losses[0]


def test_a_micro_batch_moves_no_loss(artifacts, tmp_path):
    asked = recipe(global_batch_size=8)
    train(artifacts, tmp_path / "one", asked, gpu(micro_batch_size=8))
    train(artifacts, tmp_path / "two", asked, gpu(micro_batch_size=2, activation_checkpointing=True))
    assert step_events(tmp_path / "two") == pytest.approx(step_events(tmp_path / "one"), abs=1e-4)


def test_answers_are_those_of_the_cpu_and_sampled_ones_do_not_depend_on_the_batch(tiny_model_folder):
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()
    texts = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    greedy = [EncodedQuestion(f"{n:016x}", ids) for n, ids in enumerate(texts)]
    sampled = [question._replace(temperature=1.0) for question in greedy]
    decoding = Decoding(12, 1, "sampling", [266], 264)
    here = generate(model, greedy, decoding, "float32")
    model = model.cuda()
    assert generate(model, greedy, decoding, "float32") == here
    alone = [generate(model, [question], decoding, "float32")[0] for question in sampled]
    assert generate(model, sampled, decoding, "float32") == alone


def test_a_lease_shows_its_device_alone():
    assert cuda_devices() == torch.cuda.device_count()
    with devices.leased(1, devices.visible_devices(), lambda: None) as lease:
        told = subprocess.run(
            [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
            env={**os.environ, "PYTHONPATH": str(ROOT), **lease.environment()},
            capture_output=True,
            text=True,
            check=True,
        )
    assert told.stdout.strip() == "1"
