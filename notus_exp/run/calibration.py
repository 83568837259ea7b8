"""What stages may take by a measurement of this machine, where nothing like them was made here.

A stage then takes calls x (seconds of a call) + tokens x parameters x (seconds of a parameter and token), both measured
on two small models: a token costs 2 FLOPs a parameter forward and 6 with gradients (Kaplan et al. 2020, "Scaling laws
for neural language models", section 2.1), so what is measured holds for the same kind of work at another size.
How many tokens a text has is not known before it is read: it is taken to fill a third of the most that is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Stage
from notus_exp.run import amounts
from notus_exp.run.amounts import Known
from notus_exp.run.expectation import Expected
from notus_exp.run.nodes import Node

FACTOR = 3.0
"""Within which a forecast from a measurement is taken to hold; see docs/results/forecast.md."""
ADAPTER, FORWARD = 2 / 3, 1 / 3
"""Of a training pass's cost (6 FLOPs): without gradients of frozen weights, and of its forward pass alone."""
UNPACKING = 1e-7
"""Seconds a parameter to dequantise and to write a model, as measured on two CPU cores."""
COUNTING = 2e-3
"""Seconds a prompt of four completions to template and tokenise them, as measured on one CPU core."""
FEW = Expected(2.0, 0.5, 10.0)
"""Seconds of what is done without a model, for up to `FEW_PROMPTS` prompts; docs/results/curation.md."""
FEW_PROMPTS = 10_000


class Cost(NamedTuple):
    """Seconds of a call, whatever the model, and of each parameter and token."""

    call: float
    token: float


class Calibration(NamedTuple):
    """What was measured: seconds until the libraries are loaded, and what three kinds of work cost.

    Attributes:
        imports: Seconds.
        train: Of a pass with the gradients of all weights.
        score: Of a pass without gradients.
        decode: Of one token for each text of a batch.
    """

    imports: float
    train: Cost
    score: Cost
    decode: Cost

    def seconds(
        self, node: Node, known: Known, hardware: Hardware, parameters: int | None, amount: float | None
    ) -> Expected | None:
        """Return what a node may take; None where that depends on what was not measured, such as a judge's time.

        Args:
            node: What is to be made.
            known: Where amounts of work are looked up.
            hardware: The profile, which was measured.
            parameters: Of the base model; None where that is not known.
            amount: Of work, in the unit of `amounts.planned`; None where that is not known.
        """
        match node.stage:
            case Stage.columns if "base_model" in node.inputs:
                seconds = self.imports + COUNTING * (amount or 1.0)
                return Expected(seconds, seconds, seconds).widened(FACTOR)
            case Stage.feedback | Stage.columns | Stage.pairs | Stage.evaluation:
                return FEW.scaled(max(1.0, (amount or 1.0) / FEW_PROMPTS))
            case Stage.judgments if node.settings["judge"]["name"] == "mock":
                return FEW
            case Stage.annotations:
                return None
            case Stage.responses if "base_model" not in node.inputs:
                return FEW if node.settings["skill"] is not None else None
            case _ if parameters is None or amount is None:
                return None
        assert parameters is not None and amount is not None
        taken = self._of_model(node, known, hardware, parameters, amount)
        return None if taken is None else Expected(taken, taken, taken).widened(FACTOR)

    def _of_model(self, node: Node, known: Known, hardware: Hardware, parameters: int, amount: float) -> float | None:
        settings = node.settings
        match node.stage:
            case Stage.base_model if settings["model"]["kind"] in ("tiny_random", "gguf_wheel"):
                return self.imports + UNPACKING * parameters
            case Stage.reference:
                return self.scoring(amount, amounts.tokens(node, known), hardware, parameters)
            case Stage.policy:
                tokens = 2 * amount * amounts.tokens(node, known)
                seconds = self._training(settings["dpo"], amount, tokens, hardware, parameters)
                if settings["dpo"].get("algorithm") == "kto":  # which scores as many responses for its reference point
                    passes = ceil(amount / hardware.micro_batch_size)
                    seconds += passes * self.score.call + tokens * parameters * self.score.token
                return self.imports + seconds
            case Stage.sft:
                tokens = amount * amounts.tokens(node, known)
                return self.imports + self._training(settings["sft"], amount, tokens, hardware, parameters)
            case Stage.generations if settings["endpoint_model"] is None and amounts.prompts_asked(node):
                return self.answering(
                    amounts.prompts_asked(node) or 0, settings["max_new_tokens"], hardware, parameters
                )
            case Stage.responses if (answers := amounts.answers_of(node, known)) is not None:
                return self.imports + self.answering(answers, settings["max_new_tokens"], hardware, parameters)
            case Stage.likelihoods:
                return self.scoring(amount, amounts.tokens(node, known), hardware, parameters)
        return None

    def _training(
        self, recipe: Mapping[str, Any], rows: float, tokens: float, hardware: Hardware, parameters: int
    ) -> float:
        """Return the seconds in which rows of so many tokens together are trained on."""
        passes = ceil(rows / hardware.micro_batch_size)
        once: float = 1.0 if recipe["lora"]["r"] == 0 else ADAPTER
        once += FORWARD if hardware.activation_checkpointing else 0.0  # computed again
        return once * (passes * self.train.call + tokens * parameters * self.train.token)

    def answering(self, prompts: float, steps: int, hardware: Hardware, parameters: int) -> float:
        """Return the seconds in which prompts are answered by so many tokens each."""
        calls = ceil(prompts / hardware.generation_batch_size) * steps
        return calls * self.decode.call + prompts * steps * parameters * self.decode.token

    def scoring(self, texts: float, tokens: float, hardware: Hardware, parameters: int) -> float:
        """Return the seconds in which texts of so many tokens each are scored."""
        calls = ceil(texts / hardware.scoring_batch_size)
        return calls * self.score.call + texts * tokens * parameters * self.score.token
