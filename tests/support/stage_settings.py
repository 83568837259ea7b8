"""The settings of the stage `evaluation`, with nothing chosen but what a test names."""

from typing import Any

from notus_exp.stages.settings import EvaluationSettings


def evaluation_settings(**chosen: Any) -> EvaluationSettings:
    """A settings without any evaluation but those given."""
    nothing = dict.fromkeys(("preferences", "verifiable", "alpaca_eval", "mt_bench", "ifeval", "lm_eval"))
    settings: dict[str, Any] = {
        "aspects": [],
        "beta": 0.1,
        "files": {},
        "max_failure_rate": 0.05,
        "judge": "",
        "model": "tiny",
    }
    return EvaluationSettings(**settings | nothing | chosen)
