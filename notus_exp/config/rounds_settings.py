"""The settings of several rounds, in each of which the policy of the one before answers and is trained further."""

# mypy: disable-error-code="misc"
from __future__ import annotations

import re
from dataclasses import dataclass

from notus_exp.config.ranges import bounded, one_of

MOST = 100
"""Rounds at most."""


@dataclass
class Rounds:
    """How many rounds there are, and what each but the first begins with.

    `previous` is the policy of the round before, `base` the model that the first round began with; `start` is trained
    further, and `reference` is what preferences are learnt against. `prompts` are parts of the training prompts, a
    part a round, or all of them in each. `writers` says who the run's own model among the writers is.
    """

    number: int = bounded(least=1, most=MOST, default=1)
    start: str = one_of("previous", "base", default="previous")
    reference: str = one_of("previous", "base", default="previous")
    prompts: str = one_of("new", "same", default="new")
    writers: str = one_of("policy", "base", default="policy")


def numbered_rounds(override: str) -> str:
    """Return an override with `rounds=N` as the setting that it is; any other as it was."""
    return re.sub(r"^rounds=(?=[^{])", "rounds.number=", override)
