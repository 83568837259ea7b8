"""How long the trials of a search may take: as if each were like one of the first values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notus_exp.config.study_settings import Study
from notus_exp.run.forecast import Forecast, Wanted
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run


def expected_of_search(study: Study, trials: int, probes: Sequence[Run], say: Callable[[str], None]) -> str:
    """Return in words what so many trials take one after the other.

    Args:
        study: The settings.
        trials: How many are still to be run.
        probes: Plans of single runs: that of the first values, then of other values, and of the next seed if any.
        say: Shows a line to the user.
    """
    first, *others = probes
    moved = moved_nodes(first.nodes, [other.nodes for other in others])
    runs = trials * len(study.seeds)
    missing = [node for node in first.nodes if node.name in moved or not first.store.find(node.wanted)]
    forecast = Forecast(Wanted(first.config, {node.key: node for node in first.nodes}, missing), several=True, say=say)
    return forecast.in_words(missing, {node.key: runs for node in missing if node.name in moved})


def moved_nodes(nodes: Sequence[Node], others: Sequence[Sequence[Node]]) -> set[str]:
    """Return the names of the nodes that another value, or another seed, makes anew."""
    keys = [{node.name: node.key for node in other} for other in others]
    return {node.name for node in nodes if any(other.get(node.name) != node.key for other in keys)}
