"""What is known of the evaluation `verifiable`."""

from __future__ import annotations

from notus_exp.config.schema import Config, EvaluationSplit
from notus_exp.evaluation.kit.description import MINIMIZE, SHARE, EvaluationSpec, Metric

_ENOUGH = 100
"""Prompts after which every kind of constraint has come first in some prompt for certain."""


def _kinds(config: Config, family: str) -> list[str]:
    """Return the kinds of constraint that some prompt has for certain (all, from 14 prompts on)."""
    from notus_exp.feedback.simulated.draws import UNSEEN, VALIDATION_SEED  # numpy: not for every plan
    from notus_exp.feedback.simulated.prompts import first_kind

    settings = config.evaluation.verifiable
    assert settings is not None
    tuning = config.evaluation_split is EvaluationSplit.validation
    seed = settings.seed + (VALIDATION_SEED if tuning else 0)
    return sorted({first_kind(seed, UNSEEN, index) for index in range(min(settings.prompts, _ENOUGH))})


SPEC = EvaluationSpec(
    name="verifiable",
    leads=("strict",),
    held_out=True,
    answers=True,
    chosen_by=("prompts",),
    measured_from={"answers": "generations_verifiable"},
    members=_kinds,
    metrics=(
        Metric("strict", meaning="share of prompts", span=SHARE, headline=True),
        Metric("share", meaning="share of constraints", span=SHARE),
        Metric("kind/", meaning="share of prompts", span=SHARE, of_some_prompts=True),
        Metric("words", "words", least=0.0, direction=None, digits=2),
        Metric("characters", "characters", least=0.0, direction=None, digits=2),
        Metric("tokens", "tokens", least=0.0, ends_at="max_new_tokens", direction=None, digits=2, headline=True),
        Metric("repetition", meaning="share of 3-grams", span=SHARE, direction=MINIMIZE),
        Metric("repeat", "words", least=0.0, direction=MINIMIZE, digits=2),
        Metric("truncated", meaning="share of prompts", span=SHARE, direction=MINIMIZE, headline=True),
        Metric("degenerate", meaning="share of prompts", span=SHARE, direction=MINIMIZE, headline=True),
        Metric("kl", "nats", least=0.0, direction=None, digits=2, headline=True, needs="kl_prompts"),
        Metric("kl_per_token", "nats a token", least=0.0, direction=None, needs="kl_prompts"),
    ),
)
