"""The names of a run's metrics, known from its config before anything runs. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from notus_exp.config.schema import Config, Data, EvaluationSplit, Rated, Simulated

PREFERENCE_MEASURES = ("accuracy", "margin", "correlation", "likelihood_accuracy")
VERIFIABLE_MEASURES = (
    *("strict", "share", "truncated", "degenerate"),
    *("words", "characters", "tokens", "repetition", "repeat"),
)
DIVERGENCE_MEASURES = ("kl", "kl_per_token")
ALPACA_EVAL_MEASURES = ("win_rate", "discrete_win_rate", "characters")
MT_BENCH_MEASURES = ("score", "turn_1", "turn_2", "coverage", "category/")
IFEVAL_MEASURES = ("prompt_strict", "prompt_loose", "inst_strict", "inst_loose", "kind/")
TRAINING_MEASURES = (
    *("loss", "accuracy", "margin", "rewards_chosen", "rewards_rejected"),
    *("logps_chosen", "logps_rejected"),
)


def known_metrics(config: Config) -> list[str]:
    """Return the names of the policy's metrics that evaluation will report, sorted.

    They are those without `base/` and `difference/`. A name that ends in `/` stands for all that begin so: which there
    are is only known from a file of questions, or from the benchmarks themselves. A metric that the data turns out not
    to have (no score under a labelling, too many failed verdicts) is not reported after all.
    """
    makers: dict[str, Callable[[Config], list[str]]] = {
        "preferences": _preferences,
        "verifiable": _verifiable,
        "alpaca_eval": _alpaca_eval,
        "mt_bench": lambda config: list(MT_BENCH_MEASURES),
        "ifeval": lambda config: list(IFEVAL_MEASURES),
        "lm_eval": lambda config: [""],
    }
    chosen = [spec.name for spec in fields(config.evaluation) if getattr(config.evaluation, spec.name) is not None]
    return sorted(f"{name}/{measure}" for name in chosen for measure in makers[name](config))


def training_metrics() -> list[str]:
    """Return the names of the validation metrics in the policy stage's events, as `policy/validation/accuracy`."""
    return [f"policy/validation/{measure}" for measure in TRAINING_MEASURES]


def is_known(name: str, known: Sequence[str]) -> bool:
    """Tell whether a metric is among those of `known_metrics`, or begins like one of them that ends in `/`."""
    return any(name.startswith(one) and name != one if one.endswith("/") else name == one for one in known)


def labellings(data: Data) -> list[str]:
    """Return the labellings under which this data lets policies be compared, as its config describes it."""
    scored = data.overall_column is not None if isinstance(data, Rated) else True
    critique = ["critique"] if scored else []
    repaired = ["critique_repaired"] if scored and data.aspects else []
    ratings = ["average", *data.aspects] if data.aspects else []
    latent = ["latent"] if isinstance(data, Simulated) else []
    agreed = ["agreed"] if len([*critique, *ratings]) > 1 else []
    return [*critique, *repaired, *ratings, *latent, *agreed]


def _preferences(config: Config) -> list[str]:
    return [
        f"{measure}/{labelling}"
        for measure in PREFERENCE_MEASURES
        for labelling in labellings(config.data)
        if (measure, labelling) != ("correlation", "agreed")
    ]


def _verifiable(config: Config) -> list[str]:
    """Return the measures, and those of the kinds of constraint that some prompt has for certain (all, from 14 on)."""
    from notus_exp.feedback.simulated.draws import UNSEEN
    from notus_exp.feedback.simulated.prompts import first_kind
    from notus_exp.generation.questions import VALIDATION_SEED

    settings = config.evaluation.verifiable
    assert settings is not None
    tuning = config.evaluation_split is EvaluationSplit.validation
    seed = settings.seed + (VALIDATION_SEED if tuning else 0)
    kinds = sorted({first_kind(seed, UNSEEN, index) for index in range(min(settings.prompts, 100))})
    divergence = DIVERGENCE_MEASURES if settings.kl_prompts else ()
    return [*VERIFIABLE_MEASURES, *divergence, *(f"kind/{kind}" for kind in kinds)]


def _alpaca_eval(config: Config) -> list[str]:
    settings = config.evaluation.alpaca_eval
    assert settings is not None
    controlled = ["length_controlled_win_rate"] if settings.difficulty else []
    return [*ALPACA_EVAL_MEASURES, *controlled]
