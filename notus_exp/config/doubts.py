"""Questions about values that are allowed and hardly meant: a run asks them and goes on."""

from __future__ import annotations

from notus_exp.config.data_settings import Simulated
from notus_exp.config.schema import Config, Stage, reaches

RATES = (1e-8, 1e-2)
"""Peak learning rates with which DPO is trained, from all weights of large models to adapters of small ones."""
BETAS = (1e-3, 10.0)
"""Strengths of the pull to the reference that are met with."""
LARGE_MARGIN = 0.25
"""Share of a metric's span beyond which a margin is hardly a difference that would not matter."""
FEW_PROMPTS = 10
"""Held-out prompts below which an interval tells next to nothing."""


def doubts(config: Config) -> list[str]:
    """Return what is asked about a config's values, each in a sentence that names the key."""
    return [*_training(config), *_sizes(config)]


def margin_doubts(margin: float | None, metric: str, width: float | None) -> list[str]:
    """Return what is asked about a study's margin.

    Args:
        margin: In the metric's unit; None where none was named.
        metric: The primary metric.
        width: How far two of its values can lie apart; None where nothing bounds them.
    """
    if margin is None or width is None or margin <= LARGE_MARGIN * width:
        return []
    return [
        f"the margin of {margin:g} is {100 * margin / width:.0f} % of all that {metric} can differ by ({width:g}), and "
        "less is called equivalent: is it meant?"
    ]


def _training(config: Config) -> list[str]:
    if not reaches(config.until, Stage.policy):
        return []
    dpo = config.dpo
    asked = (("learning_rate", dpo.learning_rate, RATES), ("beta", dpo.beta, BETAS))
    return [
        f"dpo.{name}={value:g} is {'above' if value > most else 'below'} what DPO is trained with "
        f"({least:g} to {most:g}): is it meant?"
        for name, value, (least, most) in asked
        if not least <= value <= most
    ]


def _sizes(config: Config) -> list[str]:
    evaluation, found = config.evaluation, []
    split = config.evaluation_split.name
    share = getattr(config.split, split)
    if isinstance(config.data, Simulated) and evaluation.preferences and reaches(config.until, Stage.evaluation):
        held_out = config.data.prompts * share
        if held_out < FEW_PROMPTS:
            found.append(
                f"data.prompts={config.data.prompts} leaves about {held_out:.2g} {split} prompts "
                f"(split.{split}={share:g}), on which no difference can be shown: is it meant?"
            )
    answered = evaluation.verifiable.prompts if evaluation.verifiable else FEW_PROMPTS
    if answered < FEW_PROMPTS and reaches(config.until, Stage.evaluation):
        found.append(f"evaluation.verifiable.prompts={answered} are too few to show a difference: is it meant?")
    return found
