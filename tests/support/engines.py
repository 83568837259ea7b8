"""The fake engine as a command, and settings of `generation=served` that start it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from notus_exp.config.generation_settings import ServedGeneration

SCRIPT = Path(__file__).with_name("fake_engine.py")
COMMAND = f"'{sys.executable}' '{SCRIPT}' --port {{port}} --model {{model}}"


def served(command: str = COMMAND, **changes: Any) -> ServedGeneration:
    """Settings that start the fake engine."""
    made = ServedGeneration(
        name="served", concurrency=2, timeout=5.0, max_retries=1, max_wait=5.0, token_limit_parameter="max_tokens",
        temperature="evaluation", thinking="none", command=command, adapter="--adapter {adapter}", options="",
        base_model="base", policy_model="policy", health="/health", start_timeout=20.0, version=None, seed="prompt",
        body={},
    )  # fmt: skip
    return replace(made, **changes)
