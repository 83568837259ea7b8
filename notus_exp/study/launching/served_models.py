"""What endpoints stand for in the runs of a study: one served model cannot be the policies of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.config.made_settings import every_annotator
from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.run.pipeline import Run


class _Stand(NamedTuple):
    """A served model that answers for a model of a run: its setting and name, what that one is, and its key."""

    setting: str
    served: str
    role: str
    key: str


def check_served(runs: Mapping[str, Run]) -> None:
    """Refuse, before anything is made, runs of which one served model stands in for several, or that ask elsewhere.

    Args:
        runs: What each is called -> its plan.

    Raises:
        UserError: Naming two of them, the setting and the remedy.
    """
    _check_addresses(runs)
    owners: dict[tuple[str, str], tuple[str, str]] = {}
    for name, run in runs.items():
        for stand in _stands(run):
            owner, key = owners.setdefault((stand.setting, stand.served), (name, stand.key))
            if key != stand.key:
                raise UserError(
                    f"{owner} and {name} have different {stand.role}, and one served model would answer for both: "
                    f"{stand.setting}={stand.served}",
                    f"serve each under a name of its own and give it by {stand.setting} in each arm, or by what "
                    f"differs, such as {stand.setting}='beta-${{dpo.beta}}-seed-${{seed}}'; until=policy makes them",
                )


def _stands(run: Run) -> Iterator[_Stand]:
    if not isinstance(run.config.generation, EndpointGeneration):
        return
    for node in run.nodes:
        if node.stage is Stage.generations:
            served = str(node.settings["endpoint_model"])
            if "policy" in node.inputs:
                yield _Stand("generation.policy_model", served, "policies", node.inputs["policy"])
            else:
                yield _Stand("generation.base_model", served, "base models", node.inputs["base_model"])


def _check_addresses(runs: Mapping[str, Run]) -> None:
    """Refuse runs that ask different endpoints: what they share is made once, by whichever comes first."""
    first: dict[str, tuple[str, str | None]] = {}
    for name, run in runs.items():
        for setting, address in _addresses(run):
            owner, known = first.setdefault(setting, (name, address))
            if known != address:
                raise UserError(
                    f"{setting} is {_shown(known)} in {owner} and {_shown(address)} in {name}: answers or verdicts that"
                    " both need are asked once, so they would be mixed",
                    f"give {setting} on the command line for all arms; several servers can be reached behind one"
                    " address by a proxy of yours",
                )


def _addresses(run: Run) -> Iterator[tuple[str, str | None]]:
    stages = {node.stage for node in run.nodes}
    judge, generation = run.config.judge, run.config.generation
    if isinstance(generation, EndpointGeneration) and Stage.generations in stages:
        yield "generation.base_url", generation.base_url.rstrip("/")
    if isinstance(judge, OpenAIJudge) and Stage.judgments in stages:
        yield "judge.base_url", judge.base_url.rstrip("/") if judge.base_url is not None else None
    asked = {node.settings["name"] for node in run.nodes if node.stage is Stage.annotations}
    for one in every_annotator(run.config.data, run.config.annotators).values():
        if isinstance(one.judge, OpenAIJudge) and one.name in asked:
            address = one.judge.base_url
            yield f"{one.key}.base_url", address.rstrip("/") if address is not None else None


def _shown(address: str | None) -> str:
    return "null" if address is None else address
