"""Overrides by which an expression names columns."""

from __future__ import annotations


def choosing_by(expression: str) -> list[str]:
    """Return the overrides of a config whose selection scores completions so."""
    return ["selection=expression", f'selection.score="{expression}"']
