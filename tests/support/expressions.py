"""Configs in which an expression names columns."""

from __future__ import annotations

from notus_exp.config.schema import Config, Stage


def naming(config: Config, expression: str, until: str | None = None) -> Config:
    """Return the config with this expression for the score of completions, and with another last stage."""
    config.selection.score = expression  # type: ignore[attr-defined]
    if until:
        config.until = Stage[until]
    return config
