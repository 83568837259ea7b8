"""What a search is about: the metric that its findings are tested by, and those beside it."""

from __future__ import annotations

from collections.abc import Iterable

from notus_exp.config.schema import Stage


def tested_metric(objectives: Iterable[str], asked: str) -> str:
    """Return the metric by which a study tests what a search found: what was searched for.

    It is the metric that was asked for where that is an objective, else the first objective that an evaluation
    measures: the training's metrics are compared by no study.

    Args:
        objectives: Names of the search's, in its order.
        asked: `study.metric`, which stands where there is no such objective.
    """
    names = list(objectives)
    measured = [name for name in names if not name.startswith(f"{Stage.policy.name}/")]
    return asked if asked in names or not measured else measured[0]


def searched_metrics(objectives: Iterable[str], constraints: Iterable[str], asked: str) -> list[str]:
    """Return the metrics that a search is about, each once: that of `tested_metric` first.

    Args:
        objectives: Names of the search's, in its order.
        constraints: Names of the metrics that it bounds.
        asked: `study.metric`.
    """
    names = list(objectives)
    return list(dict.fromkeys([tested_metric(names, asked), *names, *constraints]))
