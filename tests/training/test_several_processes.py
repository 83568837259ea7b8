"""Several processes train as one does: the same global batches, order and loss, whoever holds what of the model."""

import json

import pytest

from notus_exp.config.hardware_settings import Launch
from support.processes import together
from support.recipes import machine, recipe
from support.trainings import FULL, step_events, train, train_all, weights

DIVISIONS = [1, 2, 8]
"""Pairs of a pass; a global batch is 8."""


def test_x(artifacts, tmp_path):
    asked = recipe(lora=FULL, global_batch_size=8, epochs=2.0, checkpoints=2, optimizer="rmsprop", loss_type=["sigmoid", "sft"])
    one = train(artifacts, tmp_path / "one", asked, machine(micro_batch_size=8))
    wanted = [(tmp_path / f"ddp-{micro}", asked, machine(micro_batch_size=micro, processes=2, launch=Launch.accelerate)) for micro in (1,2,4)]
    facts = together(tmp_path / "group", train_all, artifacts, wanted, timeout=100)
    print(json.dumps(facts, indent=1))
    print(one)
    for name, *_ in wanted:
        for m in ("train/loss", "validation/loss", "train/accuracy", "validation/margin","train/preference_loss"):
            print(name, m, step_events(name, m), step_events(tmp_path / "one", m))
            assert step_events(name, m) == pytest.approx(step_events(tmp_path / "one",m), abs=1e-4)
