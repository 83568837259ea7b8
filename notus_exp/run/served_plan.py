"""What `until=config` shows of a server of the run's own: the commands that would be started."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence

from notus_exp.config.generation_settings import ServedGeneration
from notus_exp.config.schema import Config, Stage
from notus_exp.config.served_command import command_words, devices_here, room
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MODEL
from notus_exp.machine.servers import search_path
from notus_exp.reporting.console import shorten
from notus_exp.run.nodes import Node


def served_lines(config: Config, missing: Sequence[Node], store: ArtifactStore) -> list[str]:
    """Return a line for each command that nodes without an artifact would have started, in their order.

    Args:
        config: The config.
        missing: Those nodes, of any stage.
        store: Where the models will lie.
    """
    served, answering = config.generation, [node for node in missing if node.stage is Stage.generations]
    if not isinstance(served, ServedGeneration) or not answering:
        return []
    lora = config.dpo.lora.r > 0
    policies = [node.inputs["policy"] for node in answering if "policy" in node.inputs]
    commands: dict[str, None] = {}
    for node in answering:
        base = shorten(store.path(node.uses["base_model"], node.inputs["base_model"]) / MODEL)
        policy = [shorten(store.path(Stage.policy.name, key) / MODEL) for key in policies]
        merged = "policy" in node.inputs and not (lora and served.adapter)
        values = {
            "model": base if not merged else "MERGED" if lora else policy[0],
            "precision": config.dpo.precision.name,
            "device": config.hardware.device.name,
            "devices": str(devices_here(config.hardware)),
        }
        if lora and served.adapter and policy:
            values |= {"adapter": policy[0], "rank": str(room(config.dpo.lora.r))}
        commands[shlex.join(command_words(served, values))] = None
    program = shlex.split(served.command)[0]
    absent = "" if shutil.which(program, path=search_path()) else f" ({program} is not on this machine)"
    return [f"server: {command}{absent}" for command in commands]
