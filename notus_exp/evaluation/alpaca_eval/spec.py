"""What is known of the evaluation `alpaca_eval`."""

from __future__ import annotations

from notus_exp.evaluation.kit.description import PERCENT, EvaluationSpec, Metric

NOT_LENGTH_CONTROLLED = (
    "fitted on the model's own rows alone: not AlpacaEval's length-controlled win rate, from which it was 1.5 points"
    " off in the mean and 13 at most over 58 models; the gamed baseline's rows make it that (score alpaca_eval --gamed)"
)
"""What stands beside every length-adjusted win rate."""

_RATE = Metric("", "points", meaning="% of prompts won", digits=2)

SPEC = EvaluationSpec(
    name="alpaca_eval",
    version=2,
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
        _RATE._replace(
            name="length_adjusted_win_rate", headline=True, needs="difficulty", caution=NOT_LENGTH_CONTROLLED
        ),
        Metric("characters", "characters", least=0.0, direction=None, digits=2, headline=True),
    ),
)
