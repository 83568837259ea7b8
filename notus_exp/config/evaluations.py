"""Which evaluations need what. Imports nothing heavy: the parent plans with it."""

from __future__ import annotations

ANSWERING = ("verifiable", "alpaca_eval", "mt_bench", "ifeval")
"""The evaluations whose prompts a model answers."""
HELD_OUT = ("preferences", "verifiable")
"""The evaluations that have validation prompts beside the test prompts; those of the others are fixed."""
JUDGED = ("alpaca_eval", "mt_bench")
"""The evaluations whose answers a judge rates."""
