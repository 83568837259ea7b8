"""A training that memory ran out for goes on by half the micro-batch from its checkpoint, and ends as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from notus_exp.training.trainer import PairTrainer
from support.recipes import machine, recipe
from support.trainings import step_events, train, weights


def test_the_end_is_that_of_the_whole_micro_batch(
    artifacts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(global_batch_size=4, checkpoints=3, evaluations=0)
    train(artifacts, tmp_path / "whole", given, machine(micro_batch_size=4))

    full, passes = PairTrainer.training_step, list[int]()

    def short(self: PairTrainer, model: Any, inputs: Any, *others: Any) -> Any:
        passes.append(len(inputs["input_ids"]) // 2)
        if self.state.global_step == 2 and passes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return full(self, model, inputs, *others)

    monkeypatch.setattr(PairTrainer, "training_step", short)
    with pytest.raises(torch.OutOfMemoryError):
        train(artifacts, tmp_path / "short", given, machine(micro_batch_size=4))
    assert passes == [4, 4, 3]  # eleven pairs
    passes.clear()
    train(artifacts, tmp_path / "short", given, machine(micro_batch_size=2))
    assert passes == [2, 1]  # the third step alone
    losses = [step_events(tmp_path / name) for name in ("whole", "short")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "short")
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-4)
