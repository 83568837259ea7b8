"""What is known of the evaluation `preferences`."""

from __future__ import annotations

from notus_exp.config.data_settings import Data, MadeFeedback, Simulated, has_overall
from notus_exp.config.made_settings import writers_of
from notus_exp.config.mix_sources import parts
from notus_exp.config.schema import Config
from notus_exp.evaluation.kit.description import SHARE, EvaluationSpec, Metric

LATENT = "latent"
"""Labelling by the true quality of simulated completions."""
AGREED = "agreed"
"""Labelling by the pairs that all others but the true quality and the repaired critique order alike."""
CRITIQUE_REPAIRED = "critique_repaired"
"""Labelling by the overall score after the published repair, whatever the run itself repairs."""


def expected_labellings(data: Data) -> list[str]:
    """Return the labellings under which this data lets policies be compared, as its config describes it."""
    read = [data] if isinstance(data, MadeFeedback) else [*parts(data).values()]
    scored = any(has_overall(one) for one in read)
    critique = ["critique"] if scored else []
    repaired = [CRITIQUE_REPAIRED] if scored and data.aspects else []
    ratings = ["average", *data.aspects] if data.aspects else []
    latent = [LATENT] if all(map(_is_simulated, read)) else []
    agreed = [AGREED] if len([*critique, *ratings]) > 1 else []
    return [*critique, *repaired, *ratings, *latent, *agreed]


def _is_simulated(data: Data) -> bool:
    """Say whether the true quality of all completions is known."""
    if isinstance(data, MadeFeedback):
        return all(writer.simulated is not None for writer in writers_of(data).values())
    return isinstance(data, Simulated)


def _members(config: Config, family: str) -> list[str]:
    return [name for name in expected_labellings(config.data) if (family, name) != ("correlation/", AGREED)]


_ORDERED = "share of pairs ordered rightly"

SPEC = EvaluationSpec(
    name="preferences",
    leads=("accuracy/average", "accuracy/critique"),
    held_out=True,
    measured_from={"scored": "reference_scored"},
    labelled=True,
    of_data=True,
    members=_members,
    metrics=(
        Metric(
            "accuracy/",
            meaning=_ORDERED,
            span=SHARE,
            headline=("average", "critique", CRITIQUE_REPAIRED, AGREED, LATENT),
            by_construction=0.5,  # the implicit reward of a base model is 0 everywhere, and a tie counts half
        ),
        Metric("margin/", "reward units", by_construction=0.0),
        Metric("correlation/", meaning="Kendall's tau-b", span=(-1.0, 1.0)),
        Metric("likelihood_accuracy/", meaning=_ORDERED, span=SHARE, headline=("average", "critique")),
    ),
)
