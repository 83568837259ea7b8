"""What is known of the evaluation `lm_eval`."""

from __future__ import annotations

from notus_exp.evaluation.kit.description import EvaluationSpec, Metric

SPEC = EvaluationSpec(
    name="lm_eval",
    version=2,  # what cannot be computed with is left out, and said
    files=("include_path",),
    folders=("include_path",),
    measured_from={"questions": "benchmarks"},
    metrics=(
        Metric("", headline=True, direction=None, of_some_prompts=True),
    ),  # units and directions are the tasks' own
)
