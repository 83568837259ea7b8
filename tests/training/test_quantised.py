"""QLoRA: the base in 4 or 8 bits, the same one for the reference, the training and what the policy is scored by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from notus_exp.config.bitsandbytes_checks import check_bitsandbytes, check_shared
from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.hardware_settings import Launch
from notus_exp.config.precisions import WORDS, working_of, working_precision
from notus_exp.config.training_settings import Precision
from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.models.pretrained import load_model, load_policy
from notus_exp.models.scorer import Scorer
from support.recipes import LORA, machine, recipe
from support.trainings import step_events, train, weights

HALF = {"precision": Precision.bfloat16}
TEXTS = [Encoded([1, 2, 3], [4, 5, 6]), Encoded([1, 2, 3], [9, 8])]


def test_a_word_stands_for_precision_and_base() -> None:
    quantised = recipe(lora=replace(LORA, quantisation="nf4"), **HALF)
    assert working_precision(quantised) == "bfloat16-nf4"
    assert working_precision(recipe()) == "float32"
    assert working_of("bfloat16-nf4") == ("bfloat16", "nf4")
    assert working_of("float32") == ("float32", "none")
    assert len(set(WORDS)) == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": replace(LORA, r=0, quantisation="nf4"), **HALF}, r"dpo\.lora\.r=0 trains all weights"),
        ({"lora": replace(LORA, quantisation="nf4")}, r"goes with dpo\.precision=bfloat16"),
    ],
)
def test_what_cannot_be_quantised_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_dpo(recipe(**changes))


def test_a_launch_that_shares_tensors_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    quantised = recipe(lora=replace(LORA, quantisation="nf4"), **HALF)
    check_bitsandbytes(quantised)
    with pytest.raises(UserError, match=r"hardware\.launch=fsdp2"):
        check_shared(quantised, machine(launch=Launch.fsdp2))


@pytest.mark.parametrize("quantisation", ["nf4", "int8"])
def test_a_policy_learns_over_a_quantised_base_and_is_scored_over_it(
    quantisation: str, artifacts: Any, tmp_path: Any
) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra bitsandbytes is not installed")
    given = recipe(lora=replace(LORA, quantisation=quantisation), epochs=2.0, learning_rate=1e-2, **HALF)
    facts = train(artifacts, tmp_path / "out", given, machine())
    losses = step_events(tmp_path / "out")
    assert losses[-1] < losses[0]
    assert facts["trainable_parameters"] < 10_000
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.float32}, "as of any adapter"
    word, cpu = working_precision(given), torch.device("cpu")
    base = artifacts["base_model"] / files.MODEL
    whole, quantised = (load_model(base, None, name, machine()) for name in ("bfloat16", word))
    held = {type(module).__name__ for module in quantised.modules()}
    assert held & {"Linear4bit", "Linear8bitLt"}
    policy = load_policy(base, tmp_path / "out" / files.MODEL, word, machine())
    scores = [Scorer(model, word, cpu).logps(TEXTS, shared=False) for model in (whole, quantised, policy)]
    assert scores[1] == pytest.approx(scores[0], rel=0.2)  # the same model, but for rounding
    assert scores[1] != scores[0]
    assert scores[2] != scores[1]
