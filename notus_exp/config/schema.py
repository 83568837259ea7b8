"""The configuration as dataclasses: one per group, with its types, ranges and cross-field checks.

Values live in conf/ (each key with a comment); this file says what is allowed. A field without a default is given by
its YAML file. `bounded` attaches a range that `check` enforces, `in_key=False` says that no key holds the setting (see
notus_exp/config/ranges.py). Nothing here imports a heavy library.
"""

# mypy: disable-error-code="misc"
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

from notus_exp.config.ranges import PLACE, bounded, named_file, one_of, place, unbounded
from notus_exp.config.study_settings import Study

# Option names, enum members and dispatch keys are the same words (Hydra shows members in its messages).
Stage = Enum("Stage", ["config", "feedback", "pairs", "base_model", "reference", "policy", "generations",
                       "likelihoods", "benchmarks", "judgments", "evaluation"])  # fmt: skip


def reaches(until: Stage, stage: Stage) -> bool:
    """Say whether a run that stops after `until` has a stage; `until=config` plans all of them."""
    return until is Stage.config or stage.value <= until.value


TopTies = Enum("TopTies", ["hash", "first", "drop"])
Precision = Enum("Precision", ["float32", "bfloat16", "float16"])
Ambiguous = Enum("Ambiguous", ["drop", "keep"])
RepeatedPrompts = Enum("RepeatedPrompts", ["strip", "keep"])
PairChoice = Enum("PairChoice", ["random", "largest_margin"])
LongPrompts = Enum("LongPrompts", ["drop", "cut"])
SpecialTokens = Enum("SpecialTokens", ["keep", "drop", "error"])
Device = Enum("Device", ["cpu", "cuda"])
Launch = Enum("Launch", ["plain", "accelerate"])
EvaluationSplit = Enum("EvaluationSplit", ["test", "validation"])

LOSSES = ("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
          "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm")  # fmt: skip
"""Every loss_type that TRL 1.16 computes; anything else passes its config and fails, or is ignored, later."""
SMOOTHED_LOSSES = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
"""The losses that read label_smoothing; the others ignore it silently."""
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "rmsprop", "adafactor", "sgd")
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names under which endpoints take the limit on a reply's tokens."""
THINKING = ("none", "strip")
ATTENTION = ("eager", "sdpa", "flash_attention_2")

MOST = 10**9
"""Counts of rows and characters beyond it would not fit the integers that tables hold."""


# ---------------------------------------------------------------------------------------------------------------- data
@dataclass
class Data:
    """What every source of feedback has."""

    name: str
    aspects: list[str]
    max_bad_rows: int = bounded(least=0)


@dataclass
class FileData(Data):
    """Feedback read from local files or from a dataset on the hub: exactly one of `path` and `hub_id`."""

    path: Optional[str] = place()  # a digest of the files stands for it, and the commit for `revision`
    hub_id: Optional[str] = unbounded(unless="path")
    hub_split: str = unbounded(unless="path")
    revision: str = unbounded(in_key=False)
    repeated_prompts: RepeatedPrompts  # in every key: how files are read has changed in other ways together with it


@dataclass
class UltraFeedback(FileData):
    """OpenBMB's layout: one row a prompt with its completions and annotations."""


@dataclass
class Rated(FileData):
    """One row per rated completion; the rating columns are `aspects`."""

    prompt_column: str
    response_column: str
    model_column: Optional[str]
    source_column: Optional[str]
    overall_column: Optional[str]
    critique_column: Optional[str]


@dataclass
class Pairs(FileData):
    """Already binarised rows: prompt, chosen, rejected."""

    prompt_column: str
    chosen_column: str
    rejected_column: str
    chosen_score_column: Optional[str]
    rejected_score_column: Optional[str]
    source_column: Optional[str]


SIMULATED_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
"""What the simulated annotators rate."""


@dataclass
class Simulated(Data):
    """A world whose true quality is known; see notus_exp/feedback/simulated/."""

    seed: int = bounded(least=0)
    prompts: int = bounded(least=1, most=5_000_000)
    min_constraints: int = bounded(least=1, most=3)
    max_constraints: int = bounded(least=1, most=3)
    skills: dict[str, float]
    rating_noise: float = bounded(least=0)
    overall_noise: float = bounded(least=0)
    missing_rate: float = bounded(least=0, most=1)
    overall_missing_rate: float = bounded(least=0, most=1)
    inverted_score_rate: float = bounded(least=0, most=1)


# ------------------------------------------------------------------------------------------------------------ curation
@dataclass
class Repair:
    """What is done about overall scores that are known to be wrong."""

    name: str
    low_mean: float
    high_mean: float
    ambiguous: Ambiguous


@dataclass
class Selection:
    """The score that orders the completions of a prompt; the highest is chosen."""

    name: str
    aspect: Optional[str]
    weights: dict[str, float]
    ties: TopTies


@dataclass
class Rejected:
    """Which worse completion becomes the rejected one."""

    name: str
    strictly_worse: bool
    ties: TopTies


@dataclass
class Contamination:
    """Prompts that overlap with benchmark prompts."""

    files: list[str] = place()  # their digests stand for them
    field: Optional[str]
    ngram: int = bounded(least=1)
    max_overlap: float = bounded(least=0, most=1)


@dataclass
class Filters:
    """Which prompts, completions and pairs are left out; each rule's drops are counted."""

    min_margin: float = bounded(least=0)
    min_chars: int = bounded(least=0, most=MOST)
    max_chars: Optional[int] = bounded(least=1, most=MOST)
    duplicate_prompts: bool
    duplicate_responses: bool
    identical_pairs: bool
    empty_responses: bool
    exclude_sources: list[str]
    contamination: Contamination
    valid_under: list[str]
    max_pairs: Optional[int] = bounded(least=1, most=MOST)
    max_pairs_by: PairChoice


@dataclass
class Split:
    """Shares of the prompts held out, by a hash of the folded prompt."""

    seed: int = bounded(least=0)
    validation: float = bounded(least=0, below=1)
    test: float = bounded(least=0, below=1)


# ------------------------------------------------------------------------------------------------------------ training
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


@dataclass
class Lora:
    """Low-rank adapters; `r: 0` trains all weights."""

    r: int = bounded(least=0)
    alpha: float = bounded(above=0)
    dropout: float = bounded(least=0, below=1)
    target_modules: list[str]


@dataclass
class DPO:
    """The training recipe: what changes the result, never how the hardware runs it."""

    beta: float = bounded(above=0)
    loss_type: list[str] = one_of(*LOSSES)
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


@dataclass
class Hardware:
    """How a recipe is run: never part of what it computes."""

    name: str = unbounded(in_key=False)
    device: Device = unbounded(in_key=False)
    micro_batch_size: int = bounded(least=1, in_key=False)
    scoring_batch_size: int = bounded(least=1, in_key=False)
    generation_batch_size: int = bounded(least=1, in_key=False)
    attention: str = one_of(*ATTENTION, in_key=False)
    activation_checkpointing: bool = unbounded(in_key=False)
    precisions: list[Precision] = unbounded(in_key=False)
    launch: Launch = unbounded(in_key=False)
    processes: int = bounded(least=1, in_key=False)
    zero_stage: Optional[int] = bounded(least=0, most=3, in_key=False)
    offload: bool = unbounded(in_key=False)


# ---------------------------------------------------------------------------------------------------------- evaluation
@dataclass
class PreferencesEvaluation:
    """Score every completion of held-out prompts and compare the implicit reward with each labelling."""

    name: str
    max_prompts: Optional[int] = bounded(least=2)


@dataclass
class VerifiableEvaluation:
    """Generate answers to unseen constraint prompts and check them by program."""

    name: str
    prompts: int = bounded(least=2, most=100_000)
    seed: int = bounded(least=0)
    max_new_tokens: int = bounded(least=1)
    temperature: float = bounded(least=0)
    kl_prompts: int = bounded(least=0)


@dataclass
class Answering:
    """How the prompts of an evaluation are answered."""

    name: str
    seed: int = bounded(least=0)
    max_new_tokens: int = bounded(least=1)
    temperature: float = bounded(least=0)


@dataclass
class AlpacaEvalEvaluation(Answering):
    """Answers against reference answers, judged in both orders."""

    prompts: str = place()
    max_prompts: Optional[int] = bounded(least=2)
    difficulty: Optional[str] = place()
    leaderboard: Optional[str] = place()
    resamples: int = bounded(least=100)


@dataclass
class MTBenchEvaluation(Answering):
    """Two turns, each graded by a judge."""

    questions: str = place()
    references: Optional[str] = place()
    judge_prompts: Optional[str] = place()
    max_prompts: Optional[int] = bounded(least=2)
    temperatures: dict[str, float] = bounded(least=0)


@dataclass
class IFEvalEvaluation(Answering):
    """Instructions that IFEval's own checkers verify."""

    prompts: str = place()
    max_prompts: Optional[int] = bounded(least=2)
    exclude: list[int]


@dataclass
class LMEvalEvaluation:
    """Academic benchmarks through lm-evaluation-harness."""

    name: str
    tasks: list[str]
    include_path: Optional[str] = place()
    num_fewshot: Optional[int] = bounded(least=0)
    limit: Optional[int] = bounded(least=1)
    chat_template: bool
    seed: int = bounded(least=0)


@dataclass
class Evaluation:
    """The chosen evaluations (`evaluation=[preferences,verifiable]`); one that was not chosen is null.

    Choosing one sets its `name`; an overlay may set other keys of one that is not chosen, which changes nothing.
    """

    preferences: Optional[PreferencesEvaluation] = None
    verifiable: Optional[VerifiableEvaluation] = None
    alpaca_eval: Optional[AlpacaEvalEvaluation] = None
    mt_bench: Optional[MTBenchEvaluation] = None
    ifeval: Optional[IFEvalEvaluation] = None
    lm_eval: Optional[LMEvalEvaluation] = None


@dataclass
class Generation:
    """Who answers the prompts: the models themselves in this run's process."""

    name: str = unbounded(in_key=False)


@dataclass
class EndpointGeneration(Generation):
    """An OpenAI-compatible endpoint that serves base model and policy."""

    base_url: str = unbounded(in_key=False)
    api_key_env: str = unbounded(in_key=False)
    base_model: str
    policy_model: str
    concurrency: int = bounded(least=1, in_key=False)
    timeout: float = bounded(above=0, in_key=False)
    max_retries: int = bounded(least=0, in_key=False)
    max_wait: float = bounded(least=0, in_key=False)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, since="max_tokens")
    temperature: Optional[str] = one_of("evaluation", since="evaluation")
    seed: Optional[str] = one_of("evaluation", since="evaluation")
    thinking: str = one_of(*THINKING, since="none")


@dataclass
class Judge:
    """Who compares or rates answers: what every judge has; see notus_exp/judging/."""

    name: str
    model: str
    max_failure_rate: float = bounded(least=0, most=1, in_key=False)


@dataclass
class ChatJudge(Judge):
    """A judge that is asked in words and answers in words: what it is asked, how often, and what that may cost."""

    snapshot: Optional[str]
    parser: str = one_of("ranking", "logprobs", "letters")
    template: Optional[str] = named_file()
    both_orders: bool
    temperature: Optional[float] = bounded(least=0)
    max_tokens: int = bounded(least=1)
    seed: Optional[int] = bounded(least=0)
    concurrency: int = bounded(least=1, most=1_000, in_key=False)
    requests_per_minute: Optional[float] = bounded(above=0, in_key=False)
    offline: bool = unbounded(in_key=False)
    input_price: Optional[float] = bounded(least=0, in_key=False)
    output_price: Optional[float] = bounded(least=0, in_key=False)
    budget: Optional[float] = bounded(above=0, in_key=False)


@dataclass
class OpenAIJudge(ChatJudge):
    """A chat model behind an OpenAI-compatible endpoint."""

    top_logprobs: int = bounded(least=2, most=20)
    base_url: Optional[str] = unbounded(in_key=False)
    api_key_env: str = unbounded(in_key=False)
    timeout: float = bounded(above=0, in_key=False)
    max_retries: int = bounded(least=0, most=100, in_key=False)
    max_wait: float = bounded(least=0, in_key=False)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, since="max_tokens")
    thinking: str = one_of(*THINKING, since="none")
    ask_again: int = bounded(least=0, most=100, since=0)


@dataclass
class MockJudge(ChatJudge):
    """Verdicts by a hash of the prompt, which mean nothing."""


@dataclass
class ReplayJudge(Judge):
    """Verdicts stored in a file, `path`.

    `model` is the model whose answers were rated: MT-Bench's file holds the judgments of many, and only those of this
    one are read. AlpacaEval's annotations.json holds the verdicts on one model, and `model` is not looked at. In the
    files that an evaluation writes it is the annotator's name, as any judge's `model` is, where it is given.
    """

    path: str = named_file()


@dataclass
class RewardModelJudge(Judge):
    """A local sequence-classification model with one output: `model` is its folder or its id on the hub.

    A digest of its weights stands for `model` and `revision` in keys.
    """

    model: str = place(empty=True)
    revision: str = unbounded(in_key=False)
    max_length: int = bounded(least=8)
    template_date: Optional[str] = unbounded(since=None, default=None)


@dataclass
class Tracking:
    """Where metrics are sent while a run goes on; never part of what it computes."""

    name: str = one_of("wandb", "none", in_key=False)
    project: str = unbounded(in_key=False)
    entity: Optional[str] = unbounded(in_key=False)
    group: Optional[str] = unbounded(in_key=False)
    tags: list[str] = unbounded(in_key=False)
    mode: str = one_of("auto", "online", "offline", in_key=False)
    artifacts: list[str] = one_of("pairs", "model", in_key=False)


@dataclass
class Config:
    """The whole configuration of one run."""

    seed: int = bounded(least=0, most=2**32 - 1)
    until: Stage = unbounded(in_key=False)
    output_dir: str = place()
    split: Split
    evaluation_split: EvaluationSplit
    data: Data
    repair: Repair
    selection: Selection
    rejected: Rejected
    filters: Filters
    model: Model
    dpo: DPO
    hardware: Hardware
    generation: Generation
    judge: Judge
    tracking: Tracking
    study: Study = unbounded(in_key=False)
    evaluation: Evaluation = field(default_factory=Evaluation)


GENERATION_SCHEMAS: dict[str, type[Generation]] = {"transformers": Generation, "openai": EndpointGeneration}
DATA_SCHEMAS: dict[str, type[Data]] = {
    "ultrafeedback": UltraFeedback,
    "rated": Rated,
    "pairs": Pairs,
    "simulated": Simulated,
}
JUDGE_SCHEMAS: dict[str, type[Judge]] = {
    "openai": OpenAIJudge,
    "reward_model": RewardModelJudge,
    "replay": ReplayJudge,
    "mock": MockJudge,
}
ALTERNATIVES: dict[str, Mapping[str, type[Data | Generation | Judge]]] = {
    "data": DATA_SCHEMAS,
    "generation": GENERATION_SCHEMAS,
    "judge": JUDGE_SCHEMAS,
}
"""Group -> option -> what it reads, of the groups whose options read different settings."""


def takes(key: str, kind: type) -> bool:
    """Say whether the setting of a dotted key takes a list, a text (`str`) or whatever type, by any option."""
    return kind in known_types().get(key, ())


def known_types(kind: Any = Config, path: str = "") -> dict[str, set[Any]]:
    """Return the types of every setting by its dotted key, over all options of each group."""
    known: dict[str, set[Any]] = {}
    for name, hint in get_type_hints(kind).items():
        types = (
            {get_origin(one) or one for one in (hint, *get_args(hint))}
            if get_origin(hint) is Union
            else {get_origin(hint) or hint}
        )
        known.setdefault(f"{path}{name}", set()).update(types)
        options = ALTERNATIVES.get(f"{path}{name}")
        for child in options.values() if options else filter(is_dataclass, types):
            for key, of in known_types(child, f"{path}{name}.").items():
                known.setdefault(key, set()).update(of)
    return known


def known_settings(kind: Any = Config, path: str = "") -> dict[str, Field[Any]]:
    """Return every setting by its dotted key, over all options of each group.

    Where several options have a setting, the field is that of one of them which names a place, if any does.
    """
    known: dict[str, Field[Any]] = {}
    hints = get_type_hints(kind)
    for spec in fields(kind):
        known[f"{path}{spec.name}"] = spec
        inner = [hint for hint in (hints[spec.name], *get_args(hints[spec.name])) if is_dataclass(hint)]
        options = ALTERNATIVES.get(f"{path}{spec.name}")
        for child in options.values() if options else inner:
            for key, setting in known_settings(child, f"{path}{spec.name}.").items():
                if key not in known or setting.metadata.get(PLACE):
                    known[key] = setting
    return known
