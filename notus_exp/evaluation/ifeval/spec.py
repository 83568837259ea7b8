"""What is known of the evaluation `ifeval`."""

from __future__ import annotations

from notus_exp.evaluation.kit.description import SHARE, EvaluationSpec, Metric

_FOLLOWED = "share followed"

SPEC = EvaluationSpec(
    name="ifeval",
    leads=("prompt_strict",),
    answers=True,
    prompts_file="prompts",
    chosen_by=("prompts", "max_prompts", "exclude"),
    files=("prompts",),
    rehearsed=True,
    measured_from={"answers": "generations_ifeval"},
    metrics=(
        Metric("prompt_strict", meaning=_FOLLOWED, span=SHARE, headline=True),
        Metric("prompt_loose", meaning=_FOLLOWED, span=SHARE, headline=True),
        # No span: by prompt they are counts over the mean number of instructions; `by_prompt` tells the most of each.
        Metric("inst_strict", meaning=_FOLLOWED, headline=True),
        Metric("inst_loose", meaning=_FOLLOWED, headline=True),
        Metric("kind/", meaning=_FOLLOWED, of_some_prompts=True),
    ),
)
