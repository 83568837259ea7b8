"""The settings of `data=made`: who writes the answers, and whom a judge rates them as.

Nothing here is composed: a `Writer` is made of a mapping by made_items.py, and what goes together is in made_checks.py.
"""

# mypy: disable-error-code="misc"
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from notus_exp.config.annotator_settings import CRITIQUES, Annotator
from notus_exp.config.data_settings import Data, MadeFeedback
from notus_exp.config.generation_settings import THINKING, TOKEN_LIMITS
from notus_exp.config.judge_settings import ChatJudge
from notus_exp.config.ranges import bounded, one_of, unbounded
from notus_exp.config.training_settings import Model

PRINCIPLES = ("helpfulness", "honesty", "truthfulness", "verbalised_calibration")
"""What a writer can be told to heed; the words for each are a text file in notus_exp/making/told."""
NO_PRINCIPLE = "none"
"""Among the weights of principles: nothing is told."""
ANY_SOURCE = "any"
"""Names the weights of prompts whose corpus and source have none of their own."""
OWN_MODEL = "{name: own}"
"""A writer that is the run's own model, as it is written."""
JUDGE = "data.judge"
"""Where the judge of data made here is set."""
OVERALL = "overall"
"""Names the annotator whose critique gives the overall score."""


@dataclass
class Writer:
    """One writer, composed (made_items.py): an endpoint has a `base_url`, a simulated one a skill.

    Every other is a model of this process: the run's own, or `base`. `model` is what the endpoint calls its model.
    """

    name: str
    model: Optional[str] = unbounded(default=None)
    base: Optional[Model] = unbounded(default=None)
    simulated: Optional[float] = bounded(least=0, most=1, default=None)
    temperature: Optional[float] = bounded(least=0, default=1.0)
    max_new_tokens: int = bounded(least=1, default=512)
    seed: Optional[int] = bounded(least=0, default=0)
    base_url: Optional[str] = unbounded(in_key=False, default=None)
    api_key_env: str = unbounded(in_key=False, default="OPENAI_API_KEY")
    input_price: Optional[float] = bounded(least=0, in_key=False, default=None)
    output_price: Optional[float] = bounded(least=0, in_key=False, default=None)
    concurrency: int = bounded(least=1, most=1_000, in_key=False, default=16)
    timeout: float = bounded(above=0, in_key=False, default=600.0)
    max_retries: int = bounded(least=0, most=100, in_key=False, default=6)
    max_wait: float = bounded(least=0, in_key=False, default=600.0)
    token_limit_parameter: str = one_of(*TOKEN_LIMITS, default="max_tokens")
    thinking: str = one_of(*THINKING, default="none")

    @property
    def at_endpoint(self) -> bool:
        """Whether an endpoint answers."""
        return self.base_url is not None

    @property
    def loads_model(self) -> bool:
        """Whether a model of this process answers."""
        return self.base_url is None and self.simulated is None

    @property
    def is_own(self) -> bool:
        """Whether it is the run's own model, which later rounds have trained."""
        return self.loads_model and self.base is None


OF_ENDPOINT = ("api_key_env", "input_price", "output_price", "concurrency", "timeout", "max_retries", "max_wait",
               "token_limit_parameter", "thinking")  # fmt: skip
"""Settings of a writer that only an endpoint reads."""
OF_MODEL = ("temperature", "max_new_tokens")
"""Settings that a simulated writer does not read."""


def writers_of(data: Data) -> dict[str, Writer]:
    """Return the writers of composed data by name, in their order; of other data than made here none."""
    return {writer.name: writer for writer in data.writers} if isinstance(data, MadeFeedback) else {}


def own_writers(data: Data) -> list[str]:
    """Return the names of the writers that are the run's own model."""
    return [one.name for one in writers_of(data).values() if one.is_own]


def annotators_of(data: Data) -> list[Annotator]:
    """Return those that rate what is made here, of other data none.

    For each aspect one rates all answers to a prompt in one call; another one writes critiques with an overall score,
    one call an answer. All are `data.judge`, which spends no more than `data.budget` leaves.
    """
    if not isinstance(data, MadeFeedback):
        return []
    judge = data.judge
    if isinstance(judge, ChatJudge) and data.budget is not None:
        judge = replace(judge, budget=data.budget if judge.budget is None else min(judge.budget, data.budget))
    rating = [
        Annotator(aspect, judge, rubric=data.rubrics.get(aspect, aspect), together=True, told_at=JUDGE)
        for aspect in data.aspects
    ]
    critic = Annotator(OVERALL, judge, rubric=data.rubrics.get(OVERALL), form=CRITIQUES, told_at=JUDGE)
    return [*rating, critic]


def every_annotator(data: Data, annotators: Sequence[Annotator]) -> dict[str, Annotator]:
    """Return by name who rates completions: those of data made here, and the configured ones."""
    return {one.name: one for one in [*annotators_of(data), *annotators]}


def prompts_of(data: Data) -> Data:
    """Return where the prompts of data are from: of data made here the option that gives them, else the data."""
    source: Any = data.prompts if isinstance(data, MadeFeedback) else data
    assert isinstance(source, Data)
    return source
