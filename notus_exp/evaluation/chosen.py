"""Which evaluations need what. Imports nothing heavy: the parent plans with it."""

from __future__ import annotations

ANSWERING = ("verifiable", "alpaca_eval", "mt_bench", "ifeval")
"""The evaluations whose prompts a model answers."""
JUDGED = ("alpaca_eval", "mt_bench")
"""The evaluations whose answers a judge rates."""
