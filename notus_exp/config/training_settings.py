"""The settings of the groups `model` and `dpo`: what is trained, and by which recipe."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Optional

from notus_exp.config.ranges import bounded, one_of, place, unbounded

Precision = Enum("Precision", ["float32", "bfloat16", "float16"])
LongPrompts = Enum("LongPrompts", ["drop", "cut"])
SpecialTokens = Enum("SpecialTokens", ["keep", "drop", "error"])
LOSSES = ("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
          "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm")  # fmt: skip
"""Every loss_type that TRL 1.16 computes; anything else passes its config and fails, or is ignored, later."""
SMOOTHED_LOSSES = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
"""The losses that read label_smoothing; the others ignore it silently."""
ALGORITHMS = ("dpo", "kto", "cpo", "simpo", "orpo")
NOT_LOSSES = {name: f"write dpo={name}, or dpo.algorithm={name} 'dpo.loss_type=[]'" for name in ALGORITHMS}
"""What to write for an algorithm that is given as a loss of DPO."""
F_DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
MasterWeights = Enum("MasterWeights", ["float32", "same"])
BNB_OPTIMIZERS = ("adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "rmsprop_bnb_8bit")
"""Optimisers of bitsandbytes, by transformers' names: a state of 8 bits, or one that a GPU pages out to the machine."""
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "rmsprop", "adafactor", "sgd", *BNB_OPTIMIZERS)
QUANTISATIONS = ("none", "int8", "nf4")
"""How LoRA's frozen base is held: as it is computed; in 8 bits (Dettmers et al. 2022, arXiv 2208.07339); in the 4 bits
of NF4, its scales quantised too, as QLoRA has it (Dettmers et al. 2023, arXiv 2305.14314)."""
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")


@dataclass
class Model:
    """The base model, which is also the reference."""

    name: str = unbounded(in_key=False)  # the evaluation's own setting: its files say it
    kind: str = one_of("gguf_wheel", "hub", "local", "tiny_random")
    hub_id: Optional[str]
    revision: str = unbounded(in_key=False)  # a digest stands for the weights, wherever they are
    path: Optional[str] = place()
    system_prompt: Optional[str] = unbounded(in_key=False)  # a setting of each stage that reads it
    template_date: Optional[str] = unbounded(in_key=False, default=None)  # likewise
    parameters: Optional[int] = bounded(least=1, in_key=False, default=None)  # for forecasts alone
    shape: Optional[dict[str, Any]] = unbounded(in_key=False, default_factory=dict)  # of config.json, where not at hand
    chat_template: Optional[str] = unbounded(since=None, default=None)  # in the place of the model's own, or of none


@dataclass
class Lora:
    """Low-rank adapters; `r: 0` trains all weights. `quantisation` is of the frozen base."""

    r: int = bounded(least=0)
    alpha: float = bounded(above=0)
    dropout: float = bounded(least=0, below=1)
    target_modules: list[str]
    quantisation: str = one_of(*QUANTISATIONS, since="none", default="none")


@dataclass
class DPO:
    """The training recipe: what changes the result, never how the hardware runs it."""

    beta: float = bounded(above=0)
    loss_type: list[str] = one_of(*LOSSES, hints=NOT_LOSSES)
    loss_weights: Optional[list[float]] = bounded(least=0)
    label_smoothing: float = bounded(least=0, below=0.5)
    learning_rate: float = bounded(above=0)
    lr_scheduler: str = one_of(*SCHEDULERS)
    warmup: float = bounded(least=0)
    optimizer: str = one_of(*OPTIMIZERS)
    weight_decay: float = bounded(least=0)
    max_grad_norm: float = bounded(above=0)
    epochs: float = bounded(above=0)
    max_steps: Optional[int] = bounded(least=1)
    global_batch_size: int = bounded(least=1)
    precision: Precision
    max_length: int = bounded(least=8)
    max_prompt_length: Optional[int] = bounded(least=4)
    long_prompts: LongPrompts
    evaluations: int = bounded(least=0)
    max_validation_pairs: Optional[int] = bounded(least=1)
    checkpoints: int = bounded(least=1)
    lora: Lora
    special_tokens: SpecialTokens = unbounded(since=SpecialTokens.keep, default=SpecialTokens.drop)
    max_truncated: float = bounded(least=0, most=1, in_key=False, default=0.5)  # it refuses, and changes no result
    f_divergence_type: str = one_of(*F_DIVERGENCES, since="reverse_kl", default="reverse_kl")
    f_alpha_divergence_coef: float = unbounded(since=0.5, default=0.5)
    ld_alpha: Optional[float] = bounded(least=0, most=1, since=None, default=None)
    discopop_tau: float = bounded(above=0, since=0.05, default=0.05)
    use_weighting: bool = unbounded(since=False, default=False)
    algorithm: str = one_of(*ALGORITHMS, since="dpo", default="dpo")
    kto_desirable_weight: float = bounded(above=0, since=1.0, default=1.0)
    kto_undesirable_weight: float = bounded(above=0, since=1.0, default=1.0)
    gamma_beta_ratio: float = bounded(least=0, since=0.5, default=0.5)
    cpo_alpha: Optional[float] = bounded(least=0, since=None, default=None)
    batching: str = one_of("random", "length", since="random", default="random")
    master_weights: MasterWeights = unbounded(since=MasterWeights.float32, default=MasterWeights.float32)
