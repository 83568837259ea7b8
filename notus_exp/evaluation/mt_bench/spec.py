"""What is known of the evaluation `mt_bench`."""

from __future__ import annotations

from notus_exp.evaluation.kit.description import EvaluationSpec, Metric

SCALE = (1.0, 10.0)
"""The least and the largest rating that a judge is asked for."""

# No span: a rating off the scale stays in the mean, as in published scores.
_RATING = Metric("", "points", meaning="rating, 1 to 10", scale=SCALE, digits=2)

SPEC = EvaluationSpec(
    name="mt_bench",
    leads=("score",),
    answers=True,
    judged=True,
    prompts_file="questions",
    chosen_by=("max_prompts",),
    files=("questions", "references", "judge_prompts"),
    measured_from={"answers": "generations_mt_bench"},
    metrics=(
        _RATING._replace(name="score", headline=True),
        _RATING._replace(name="turn_1", headline=True),
        _RATING._replace(name="turn_2", headline=True),
        Metric("coverage", meaning="share of judgments", headline=True),
        _RATING._replace(name="category/", of_some_prompts=True),
    ),
)
