"""Questions about values that are allowed and hardly meant: a run asks them and goes on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path

from notus_exp.config.data_folders import data_files
from notus_exp.config.data_settings import FileData, Simulated
from notus_exp.config.expression_checks import named_columns
from notus_exp.config.mix_sources import parts
from notus_exp.config.replaced_choices import FOR, RULE, WITH
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.config.score_settings import column_of

RATES = (1e-8, 1e-2)
"""Peak learning rates with which DPO is trained, from all weights of large models to adapters of small ones."""
BETAS = (1e-3, 10.0)
"""Strengths of the pull to the reference that are met with."""
SIMPO_BETA = 1.0
"""Strength below which SimPO, whose rewards are means over tokens, hardly tells answers apart."""
LARGE_MARGIN = 0.25
"""Share of a metric's span beyond which a margin is hardly a difference that would not matter."""
FEW_PROMPTS = 10
"""Held-out prompts below which an interval tells next to nothing."""
MOST_EPOCHS = 20
"""Passes over the pairs, of which published recipes take 1 to 3."""
FEW_PAIRS = 10
"""Training pairs below which nothing is learnt."""
LONG_ANSWER = 10_000
"""Characters that few answers of any data have."""
FEW_TOKENS = 8
"""Tokens within which hardly an answer ends."""
MOST_NAMED = 3
"""Files that are named at most."""
_WITHOUT_RATINGS = f"selection=critique{FOR}selection=average"
SCALES = {"rating_noise": 4, "overall_noise": 9}
"""Noise of the simulated annotators -> from end to end of their scale, 1 to 5 and 1 to 10."""


def doubts(config: Config, choices: Mapping[str, str], used: Collection[str] = ()) -> list[str]:
    """Return what is asked about a config's values, each in a sentence that names the key.

    Args:
        config: Of a run.
        choices: Its option per group.
        used: Columns that expressions of other runs of its study name.
    """
    named = {*named_columns(config), *used}
    asked = [*_files(config), *_rule(config, choices.get(RULE, "")), *_curation(config, named)]
    asked += [*_training(config), *_sizes(config), *_answers(config)]
    return [f"{question}: is it meant?" for question in asked]


def _files(config: Config) -> list[str]:
    """Return what is asked about files that lie beside the data and are not read."""
    found = []
    for key, data in parts(config.data).items():
        place = Path(data.path) if isinstance(data, FileData) and data.path else None
        read, left_out = data_files(place) if place and place.is_dir() else ([], [])
        if left_out:
            names = ", ".join(str(file.relative_to(str(place))) for file in left_out[:MOST_NAMED])
            more = ", ..." if len(left_out) > MOST_NAMED else ""
            found.append(
                f"{key}.path={place} is read without {names}{more}, since it holds {read[0].name} and the like"
            )
    return found


def _rule(config: Config, choice: str) -> list[str]:
    """Return what is asked about a rule that is not taken as it stands; the score of data without ratings is not."""
    name, _, otherwise = choice.partition(WITH)
    if not otherwise or (otherwise == _WITHOUT_RATINGS and not config.data.aspects):
        return []
    return [f"{RULE}={name} is taken with {otherwise}"]


def _curation(config: Config, named: Collection[str]) -> list[str]:
    filters, found = config.filters, list[str]()
    if not reaches(config.until, Stage.pairs):
        return []
    if isinstance(config.data, Simulated):
        noises = ((name, getattr(config.data, name), scale) for name, scale in SCALES.items())
        found += [
            f"data.{name}={noise:g} is more than the whole scale of {scale}"
            for name, noise, scale in noises
            if noise > scale
        ]
    unused = [f"scores[{place}]" for place, score in enumerate(config.scores) if column_of(score) not in named]
    if unused:
        found.append(f"{', '.join(unused)} is given, and no expression names its column")
    if filters.min_chars > LONG_ANSWER:
        found.append(f"filters.min_chars={filters.min_chars} leaves out every answer of fewer characters")
    if filters.max_pairs is not None and filters.max_pairs < FEW_PAIRS:
        found.append(f"filters.max_pairs={filters.max_pairs} leaves too few pairs to learn from")
    return found


def _most_pairs(config: Config) -> float:
    """Return how many training pairs there are at most, as far as the config says."""
    made = math.inf
    if isinstance(config.data, Simulated) and config.pairs.per_prompt == "1":
        made = math.ceil(config.data.prompts * (1 - config.split.validation - config.split.test))
        made = math.ceil(made * config.filters.keep.share)
    return min(made, math.inf if config.filters.max_pairs is None else config.filters.max_pairs)


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
    pairs, found = _most_pairs(config), list[str]()
    steps = dpo.max_steps or pairs * dpo.epochs / dpo.global_batch_size
    if dpo.epochs > MOST_EPOCHS and dpo.max_steps is None:
        found.append(f"dpo.epochs={dpo.epochs:g} passes over the pairs learn them by heart (1 to 3 are usual)")
    if dpo.global_batch_size > pairs >= FEW_PAIRS:
        found.append(f"dpo.global_batch_size={dpo.global_batch_size} is more than all training pairs (at most {pairs})")
    if dpo.warmup >= 1 and dpo.warmup >= steps:
        found.append(
            f"dpo.warmup={dpo.warmup:g} steps are no fewer than those of the training (about {math.ceil(steps)}), "
            "which never reaches its learning rate; below 1 it is a share"
        )
    if dpo.algorithm == "simpo" and dpo.beta < SIMPO_BETA:
        found.append(f"dpo.beta={dpo.beta:g} is far below what SimPO is trained with (2 to 10)")
    asked = (("learning_rate", dpo.learning_rate, RATES), ("beta", dpo.beta, BETAS))
    return found + [
        f"dpo.{name}={value:g} is {'above' if value > most else 'below'} what DPO is trained with "
        f"({least:g} to {most:g})"
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
                f"(split.{split}={share:g}), on which no difference can be shown"
            )
    answered = evaluation.verifiable.prompts if evaluation.verifiable else FEW_PROMPTS
    if answered < FEW_PROMPTS and reaches(config.until, Stage.evaluation):
        found.append(f"evaluation.verifiable.prompts={answered} are too few to show a difference")
    return found


def _answers(config: Config) -> list[str]:
    if not reaches(config.until, Stage.generations):
        return []
    found = []
    for spec in fields(config.evaluation):
        tokens = getattr(getattr(config.evaluation, spec.name), "max_new_tokens", FEW_TOKENS)
        if tokens < FEW_TOKENS:
            found.append(f"evaluation.{spec.name}.max_new_tokens={tokens} cuts nearly every answer off")
    return found
