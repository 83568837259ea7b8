"""The settings of the group `generation`: who answers, in this process or at an endpoint."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.ranges import bounded, one_of, unbounded

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names under which endpoints take the limit on a reply's tokens."""
THINKING = ("none", "strip")


@dataclass
class Generation:
    """Who answers the prompts: the models themselves in this run's process."""

    name: str = unbounded(in_key=False)


@dataclass
class EndpointGeneration(Generation):
    """An OpenAI-compatible endpoint that serves base model and policy."""

    base_url: str = unbounded(in_key=False)
    api_key_env: str = unbounded(in_key=False)
    base_model: str
    policy_model: str
    concurrency: int = bounded(least=1, in_key=False)
    timeout: float = bounded(above=0, in_key=False)
    max_retries: int = bounded(least=0, in_key=False)
    max_wait: float = bounded(least=0, in_key=False)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, since="max_tokens")
    temperature: Optional[str] = one_of("evaluation", since="evaluation")
    seed: Optional[str] = one_of("evaluation", since="evaluation")
    thinking: str = one_of(*THINKING, since="none")


GENERATION_SCHEMAS: dict[str, type[Generation]] = {"transformers": Generation, "openai": EndpointGeneration}
