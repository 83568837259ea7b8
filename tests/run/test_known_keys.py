"""The keys of what users have on their disks: they stay, so that nothing is made or paid for twice."""

from __future__ import annotations

import importlib.metadata

import pytest

from notus_exp.config.schema import Config
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.record import run_id
from support.configs import composed
from support.known_keys import CONFIGS, KEYS, RUNS, VERSIONS
from support.plans import fixed_sources


@pytest.fixture(autouse=True)
def fixed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: VERSIONS.get(name) or real(name))


ORDER, WORLD = "dpo.batching=random", "data.statements=1"
"""In which order pairs were trained on, and how long simulated answers were, before that could be set."""


def planned(name: str) -> tuple[Config, list[Node]]:
    config = composed(*CONFIGS[name], ORDER)
    if config.data.name == "simulated":
        config = composed(*CONFIGS[name], ORDER, WORLD)
    return config, make_plan(config, fixed_sources(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_keys_of_what_was_made_before_stay(name: str) -> None:
    config, nodes = planned(name)
    assert {node.name: node.key[:16] for node in nodes} == KEYS[name]
    assert run_id(config, {"selection": config.selection.name}, nodes) == RUNS[name]
