"""What a training makes of its machine: tokens a second, share of the device's peak, padding, and where the time went.

Times are the host's: what a GPU computes counts where the host waits for it. They are this attempt's, and process 0's,
which the others wait for at each step; tokens are those of all processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from notus_exp.machine.peaks import peak_of, tflops
from notus_exp.training.sharding import size

PHASES = ("data", "forward_backward", "optimiser", "evaluation", "saving", "other")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
REFERENCE_POINT = "reference_point"
"""The phase of KTO's pass over a batch before it is trained on; of no other training."""
TRAINED = ("data", REFERENCE_POINT, "forward_backward", "optimiser")
"""Phases that a training's speed is measured by."""


def peak_tflops(device: str, precision: str) -> float | None:
    """Return the peak of a device by its name, in 10^12 a second; None where it is not known, as of any CPU.

    Args:
        device: As CUDA names it.
        precision: float32, bfloat16 or float16.
    """
    peak = peak_of(device)
    return tflops(peak, precision) if peak else None


def flops_per_token(model: torch.nn.Module, length: float) -> float | None:
    """Return the multiplications and additions that training on a token needs, forward and backward.

    2 for each weight that the token goes through, 2 more for the gradient of what goes in, and 2 for that of the weight
    where it is trained; of attention 12 for each layer, position and hidden number (Chowdhery et al. 2022, "PaLM",
    appendix B, where all weights are trained: 6 N + 12 L H Q T). What is computed again to save memory is not counted.

    Args:
        model: A transformers model, perhaps with adapters.
        length: Mean tokens of a text.

    Returns:
        None for a mixture of experts, of whose weights a token goes through some alone.
    """
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    layers, hidden = getattr(text, "num_hidden_layers", None), getattr(text, "hidden_size", None)
    if layers is None or hidden is None or any(getattr(text, name, None) for name in _EXPERTS):
        return None
    read = trained = 0
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    tied = bool(getattr(text, "tie_word_embeddings", False))
    for parameter in model.parameters():
        if parameter is embedding and not tied:
            continue  # rows of it are looked up
        read += size(parameter)
        trained += size(parameter) if parameter.requires_grad else 0
    return float(4 * read + 2 * trained + 12 * layers * hidden * length)


class Meter(TrainerCallback):  # type: ignore[misc]
    """Measures a training: what of its time goes where, and what of its passes is padding.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.spent = dict.fromkeys(PHASES, 0.0)
        self.slots = self.texts = 0
        self._tokens: list[torch.Tensor] = []
        self._clock = clock
        self._last: float | None = None

    def count(self, mask: torch.Tensor) -> None:
        """Count a pass by its mask of tokens that are no padding, shape (texts, positions)."""
        self.slots += mask.numel()
        self.texts += len(mask)
        self._tokens = [torch.stack([*self._tokens, mask.sum()]).sum()]  # a number on the device: nobody waits for it

    @property
    def tokens(self) -> int:
        """Return the tokens counted that are no padding, of this process."""
        return int(sum(number.item() for number in self._tokens))

    @property
    def tokens_per_second(self) -> float | None:
        """Return the speed of the training itself, of this process; evaluating and saving is left out."""
        return self.tokens / self._trained if self._trained else None

    @property
    def _trained(self) -> float:
        return sum(self.spent.get(phase, 0.0) for phase in TRAINED)

    def told(
        self, model: torch.nn.Module, device: str, precision: str, gather: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any]:
        """Return what a training's facts say: speeds of all processes together, and this one's seconds by phase.

        Every process calls it.

        Args:
            model: What was trained.
            device: Its name.
            precision: What it computed in.
            gather: Returns what each process gives, one row each.
        """
        counted = gather(torch.tensor([[self.tokens, self.slots, self.texts]], device=self._device))
        processes, (tokens, slots, texts) = len(counted), counted.sum(dim=0).tolist()
        speed = tokens / self._trained if self._trained and tokens else None
        peak = peak_tflops(device, precision)
        needed = flops_per_token(model, tokens / max(1, texts))
        used = speed * needed / processes / 1e12 if speed is not None and needed is not None else None
        return {
            "processes": processes,
            "tokens_per_second": None if speed is None else round(speed, 1),
            "padding": round(1 - tokens / slots, 4) if slots else None,
            "tflops_per_device": None if used is None else round(used, 4),
            "peak_tflops": "unknown peak" if peak is None else peak,
            "mfu": None if used is None or peak is None else round(used / peak, 4),
            "seconds_by_phase": {phase: round(seconds, 3) for phase, seconds in self.spent.items()},
        }

    @property
    def _device(self) -> torch.device | None:
        return self._tokens[0].device if self._tokens else None

    def lap(self, phase: str) -> None:
        """Credit the time since the last call to a phase."""
        now = self._clock()
        if self._last is not None:
            self.spent[phase] = self.spent.get(phase, 0.0) + now - self._last
        self._last = now

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Begin."""
        self.lap("other")

    def on_step_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The passes of a step are at hand."""
        self.lap("data")

    def on_pre_optimizer_step(
        self, args: Arguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """All of a step's passes are made, and their gradient is clipped."""
        self.lap("forward_backward")

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The weights are new."""
        self.lap("optimiser")

    def on_log(
        self, args: Arguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        """Metrics of steps are told, or of an evaluation."""
        self.lap("evaluation" if "eval_loss" in logs else "other")

    def on_evaluate(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """An evaluation is over."""
        self.lap("evaluation")

    def on_save(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint is written."""
        self.lap("saving")

    def on_train_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End."""
        self.lap("other")
