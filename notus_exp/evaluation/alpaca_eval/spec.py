"""What is known of the evaluation `alpaca_eval`."""

from __future__ import annotations

from notus_exp.evaluation.kit.description import PERCENT, EvaluationSpec, Metric

_RATE = Metric("", "points", meaning="% of prompts won", digits=2)

SPEC = EvaluationSpec(
    name="alpaca_eval",
    leads=("win_rate",),
    answers=True,
    judged=True,
    prompts_file="prompts",
    chosen_by=("prompts", "max_prompts"),
    files=("prompts", "difficulty", "leaderboard"),
    measured_from={"answers": "generations_alpaca_eval"},
    metrics=(
        _RATE._replace(name="win_rate", span=PERCENT, headline=True),
        _RATE._replace(name="discrete_win_rate", span=PERCENT),
        _RATE._replace(name="length_controlled_win_rate", headline=True, needs="difficulty"),
        Metric("characters", "characters", direction=None, digits=2, headline=True),
    ),
)
