"""`transformers serve`, a real server of the OpenAI protocol, started on a free port of the loopback for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notus_exp.config.generation_settings import ServedGeneration
from notus_exp.config.served_command import command_words
from notus_exp.machine.servers import ServerCommand, Servers
from support.configs import composed

SECONDS = 240.0
"""Within which it must be ready."""


def require_serving() -> None:
    """Skip where what it needs is not installed."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="transformers serve needs the extra transformers[serving]")


@contextmanager
def transformers_serve(log: Path) -> Iterator[str]:
    """Serve whatever folder of a model is asked for, as `generation=transformers_serve` does; end it with the block.

    Args:
        log: File that what it prints is added to.

    Yields:
        Its base URL.
    """
    settings = composed("generation=transformers_serve", "evaluation.verifiable.kl_prompts=0").generation
    assert isinstance(settings, ServedGeneration)
    words = command_words(settings, {"precision": "float32", "device": "cpu"})
    wanted = ServerCommand(tuple(words), settings.health, SECONDS, "generation.command")
    with Servers(log) as servers:
        yield f"{servers.started(wanted, lambda: None).address}/v1"
