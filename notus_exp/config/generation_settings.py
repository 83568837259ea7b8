"""The settings of the group `generation`: who answers, in this process, at an endpoint, or by a server of the run."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from notus_exp.config.ranges import bounded, one_of, unbounded

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""The two names under which endpoints take the limit on a reply's tokens."""
THINKING = ("none", "strip")


@dataclass
class Generation:
    """Who answers the prompts: the models themselves in this run's process."""

    name: str = unbounded(in_key=False)


@dataclass
class AskedGeneration(Generation):
    """An OpenAI-compatible server answers: how it is asked."""

    concurrency: int = bounded(least=1, in_key=False)
    timeout: float = bounded(above=0, in_key=False)
    max_retries: int = bounded(least=0, in_key=False)
    max_wait: float = bounded(least=0, in_key=False)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, since="max_tokens")
    temperature: Optional[str] = one_of("evaluation", since="evaluation")
    thinking: str = one_of(*THINKING, since="none")


@dataclass
class EndpointGeneration(AskedGeneration):
    """An endpoint that serves base model and policy already."""

    base_url: str = unbounded(in_key=False)
    api_key_env: str = unbounded(in_key=False)
    base_model: str
    policy_model: str
    seed: Optional[str] = one_of("evaluation", since="evaluation")


@dataclass
class ServedGeneration(AskedGeneration):
    """A server that the run starts on its devices, asks, and ends."""

    command: str
    adapter: Optional[str]
    options: str = unbounded(in_key=False)
    base_model: str = unbounded(in_key=False)
    policy_model: str = unbounded(in_key=False)
    health: str = unbounded(in_key=False)
    start_timeout: float = bounded(above=0, in_key=False)
    version: Optional[str]
    seed: Optional[str] = one_of("prompt")
    body: dict[str, Any]


GENERATION_SCHEMAS: dict[str, type[Generation]] = {
    "transformers": Generation,
    "openai": EndpointGeneration,
    **dict.fromkeys(("served", "vllm", "sglang", "transformers_serve"), ServedGeneration),
}
