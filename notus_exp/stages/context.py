"""What a stage function is given beside its settings and inputs, and the type of such a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.generation_settings import Generation
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.judge_settings import Judge
from notus_exp.config.made_settings import Writer
from notus_exp.disk.events import EventWriter
from notus_exp.disk.ledger import Ledger
from notus_exp.machine.servers import Servers
from notus_exp.machine.team import Alone, Team


@dataclass
class Requirements:
    """What a run asks of its model and texts: it refuses, before anything is computed, and changes no result.

    Attributes:
        max_truncated: Share of the training's completions that may lose their end.
        special_tokens: "keep", "drop" or "error", as in `dpo.special_tokens`.
        target_modules: Layers that are to have adapters; [] for none.
        new_tokens: Setting -> tokens that the model is to write after a prompt.
        sft_max_truncated: Share of a supervised training's conversations that may lose their end.
    """

    max_truncated: float = 1.0
    special_tokens: str = "keep"
    target_modules: list[str] = field(default_factory=list)
    new_tokens: dict[str, int] = field(default_factory=dict)
    sft_max_truncated: float = 1.0


@dataclass
class Context:
    """How and where a stage runs: nothing in here may change what it computes.

    Attributes:
        events: Where the stage reports metrics and progress.
        hardware: Batch sizes, device, attention.
        cache: Folder of transactional caches below the stages (the reference store).
        sources: Places that the settings' digests stand for, such as {"data": ["a.jsonl"], "contamination": [...],
            "model": ["folder"]}; local paths only. The data of a mix is by source: {"data/CORPUS": [...]}, and the
            conversations of a supervised training are "sft".
        generation: The endpoint that answers, where one does.
        judge: How the judge is reached and paid.
        ledger: What the run's judges cost.
        filled: Reference log-probs that this job has just computed for several nodes together, and no node has counted
            yet: store key -> tokens.
        requirements: What is refused before anything is computed.
        annotators: How those that rate the feedback are reached and paid, by name.
        team: The processes that make the artifact together; those beside process 0 write nothing.
        servers: Starts the server that answers, where the run has one of its own, and ends it with the worker.
        policies: Artifacts of policies of the same base model that this job asks too.
        writers: How those that answer prompts of `data=made` are reached and paid, by name, in their order.
        budget: USD that making this run's data may cost, counted by the ledger; None for no limit.
    """

    events: EventWriter
    hardware: Hardware
    cache: Path
    sources: dict[str, list[str]] = field(default_factory=dict)
    generation: Generation | None = None
    judge: Judge | None = None
    ledger: Ledger | None = None
    filled: dict[str, int] = field(default_factory=dict)
    requirements: Requirements = field(default_factory=Requirements)
    annotators: dict[str, Annotator] = field(default_factory=dict)
    team: Team = field(default_factory=Alone)
    servers: Servers | None = None
    policies: list[Path] = field(default_factory=list)
    writers: dict[str, Writer] = field(default_factory=dict)
    budget: float | None = None

    def paying(self) -> dict[str, Any]:
        """Return what the run's judgings share: USD spent so far, where to write down what follows, and who is told."""
        spending = {"spent": self.ledger.usd, "on_spent": self.ledger.add} if self.ledger else {}
        return {**spending, "say": self.events.say}
