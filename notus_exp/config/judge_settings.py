"""The settings of the group `judge`: one dataclass for each kind of judge."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.generation_settings import THINKING, TOKEN_LIMITS
from notus_exp.config.ranges import bounded, named_file, one_of, place, unbounded


@dataclass
class Judge:
    """Who compares or rates answers: what every judge has; see notus_exp/judging/."""

    name: str
    model: str
    max_failure_rate: float = bounded(least=0, most=1, in_key=False)


@dataclass
class ChatJudge(Judge):
    """A judge that is asked in words and answers in words: what it is asked, how often, and what that may cost."""

    snapshot: Optional[str]
    parser: str = one_of("ranking", "logprobs", "letters")
    template: Optional[str] = named_file()
    both_orders: bool
    temperature: Optional[float] = bounded(least=0)
    max_tokens: int = bounded(least=1)
    seed: Optional[int] = bounded(least=0)
    concurrency: int = bounded(least=1, most=1_000, in_key=False)
    requests_per_minute: Optional[float] = bounded(above=0, in_key=False)
    offline: bool = unbounded(in_key=False)
    input_price: Optional[float] = bounded(least=0, in_key=False)
    output_price: Optional[float] = bounded(least=0, in_key=False)
    budget: Optional[float] = bounded(above=0, in_key=False)


@dataclass
class OpenAIJudge(ChatJudge):
    """A chat model behind an OpenAI-compatible endpoint."""

    top_logprobs: int = bounded(least=2, most=20)
    base_url: Optional[str] = unbounded(in_key=False)
    api_key_env: str = unbounded(in_key=False)
    timeout: float = bounded(above=0, in_key=False)
    max_retries: int = bounded(least=0, most=100, in_key=False)
    max_wait: float = bounded(least=0, in_key=False)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, since="max_tokens")
    thinking: str = one_of(*THINKING, since="none")
    ask_again: int = bounded(least=0, most=100, since=0)
    response_format: str = one_of("none", "json_schema", since="none", default="none")


VERDICTS_BY = ("hash", "constraints")
"""What the mock judges by."""


@dataclass
class MockJudge(ChatJudge):
    """Verdicts by a hash of the prompt, which mean nothing, or by how many stated constraints are kept."""

    verdicts_by: str = one_of(*VERDICTS_BY, since="hash", default="hash")


@dataclass
class ReplayJudge(Judge):
    """Verdicts stored in a file, `path`.

    `model` is the model whose answers were rated: MT-Bench's file holds the judgments of many, and only those of this
    one are read. AlpacaEval's annotations.json holds the verdicts on one model, and `model` is not looked at. In the
    files that an evaluation writes it is the annotator's name, as any judge's `model` is, where it is given.
    """

    path: str = named_file()


@dataclass
class RewardModelJudge(Judge):
    """A local sequence-classification model with one output: `model` is its folder or its id on the hub.

    A digest of its weights stands for `model` and `revision` in keys.
    """

    model: str = place(empty=True)
    revision: str = unbounded(in_key=False)
    max_length: int = bounded(least=8)
    template_date: Optional[str] = unbounded(since=None, default=None)


JUDGE_SCHEMAS: dict[str, type[Judge]] = {
    "openai": OpenAIJudge,
    "reward_model": RewardModelJudge,
    "replay": ReplayJudge,
    "mock": MockJudge,
}
