"""The keys of what users have on their disks: they stay, so that nothing is made or paid for twice."""

from __future__ import annotations

import importlib.metadata

import pytest

from notus_exp.config.schema import Config, FileData
from notus_exp.evaluation.catalogue import chosen, judged
from notus_exp.run.plan import Node, Sources, make_plan
from notus_exp.run.record import run_id
from support.configs import composed
from support.known_keys import CONFIGS, KEYS, RUNS, VERSIONS


@pytest.fixture(autouse=True)
def fixed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: VERSIONS.get(name) or real(name))


def fixed_sources(config: Config) -> Sources:
    """Return sources whose digests are words: what a run reads does not matter here."""
    files = {
        f"{spec.name}.{setting}": f"{spec.name}-{setting}"
        for spec in chosen(config.evaluation)
        for setting in spec.files
        if getattr(getattr(config.evaluation, spec.name), setting) is not None
    }
    if judged(config.evaluation):
        files |= {
            f"judge.{name}": f"judge-{name}" for name in ("template", "path") if getattr(config.judge, name, None)
        }
        files |= {"judge.model": "judge-model"} if config.judge.name == "reward_model" else {}
    return Sources(
        "data-digest" if isinstance(config.data, FileData) else None,
        ["contamination"] * len(config.filters.contamination.files),
        None if config.model.kind == "tiny_random" else "model-digest",
        files,
        {},
    )


def planned(name: str) -> tuple[Config, list[Node]]:
    config = composed(*CONFIGS[name])
    return config, make_plan(config, fixed_sources(config))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_keys_of_what_was_made_before_stay(name: str) -> None:
    config, nodes = planned(name)
    assert {node.name: node.key[:16] for node in nodes} == KEYS[name]
    assert run_id(config, {"selection": config.selection.name}, nodes) == RUNS[name]
