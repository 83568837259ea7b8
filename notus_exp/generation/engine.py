"""The server of `generation=served`: which weights it is given, starting it, and what it says of itself."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.generation_settings import ServedGeneration
from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.config.served_command import command_words, devices_here, fill, room
from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.machine.servers import ServerCommand
from notus_exp.models.pretrained import ADAPTER_CONFIG, PolicyFolders, load_model, policy_folders
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings

VERSION_PATHS = ("/version", "/server_info", "/get_server_info")
"""Where engines tell their version: vLLM's, SGLang's, and SGLang's older one."""
UNKNOWN = "unknown version"


class Started(NamedTuple):
    """A server that is ready.

    Attributes:
        address: Its base URL.
        model: The name under which the model is asked for.
        engine: Program and version.
        ended: Returns how it ended, or None while it runs.
    """

    address: str
    model: str
    engine: str
    ended: Callable[[], UserError | None]


class Engine:
    """How one model is served: an engine is started, or the running one is found, when `start` is called.

    Args:
        settings: Of the answers.
        inputs: Artifacts `base_model` and, for a policy's answers, `policy`.
        out: Folder of the stage, where a merged model lies meanwhile.
        context: The generation's settings, servers, hardware.
    """

    def __init__(self, settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context) -> None:
        assert isinstance(context.generation, ServedGeneration), "the plan says who answers"
        self._served, self._settings, self._out, self._context = context.generation, settings, out, context
        self._folders = policy_folders(inputs["base_model"], inputs.get("policy"))
        self._policy = "policy" in inputs

    def start(self) -> Started:
        """Return the server that serves the model, ready to be asked.

        Raises:
            UserError: There is no such program, it does not get ready, or another version answers than is wanted.
        """
        served, context = self._served, self._context
        folders = self._folders
        if folders.adapter is not None and served.adapter is None:
            folders = PolicyFolders(merged(folders, self._out / files.MERGED, context.hardware), None)
        values = places(folders.base, self._settings.precision, context.hardware)
        name = fill(served.base_model if folders.adapter is None else served.policy_model, values)
        beside = folders.adapter or (None if self._policy else self._adapter_beside())
        if beside is not None and served.adapter is not None:
            values |= {"adapter": str(beside), "rank": str(room_for(beside))}
        wanted = ServerCommand(
            tuple(command_words(served, values)), served.health, served.start_timeout, "generation.command"
        )
        assert context.servers is not None, "the worker has servers"
        if context.servers.running(wanted) is None:
            context.servers.end()  # before memory is looked at, and before a merged model that it serves goes
            leave_the_device()
            context.events.say(f"{self._settings.evaluation}: starting {wanted.arguments[0]} (log: {files.SERVER_LOG})")
        server = context.servers.started(wanted, lambda: context.events.progress(0, 1))
        version = server.told(VERSION_PATHS, "version")
        if served.version is not None and version != served.version:
            raise UserError(
                f"generation.version={served.version} is wanted, and the server that generation.command starts is of "
                f"{version or UNKNOWN}",
                "install that version, or give the other one, which makes the answers anew",
            )
        return Started(f"{server.address}/v1", name, f"{program(wanted)} {version or UNKNOWN}", server.ended)

    def _adapter_beside(self) -> Path | None:
        """Return the adapter that the base model's server is to have too, since this job asks it next."""
        base = self._folders.base
        found = {policy_folders(base.parent, policy).adapter for policy in self._context.policies}
        return found.pop() if len(found) == 1 else None


def places(model: Path, precision: str, hardware: Hardware) -> dict[str, str]:
    """Return what the command's places are filled with, but for the port and an adapter."""
    return {
        "model": str(model),
        "precision": precision,
        "device": hardware.device.name,
        "devices": str(devices_here(hardware)),
    }


def room_for(adapter: Path) -> int:
    """Return the rank that is kept room for, of an adapter's highest."""
    told = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return room(max([told["r"], *(told.get("rank_pattern") or {}).values()]))


def merged(folders: PolicyFolders, folder: Path, hardware: Hardware) -> Path:
    """Write a policy's weights with its adapter merged, in float32, computed on the CPU; return the folder.

    What is whole is there already: a folder that is being written has another name.
    """
    if folder.exists():
        return folder
    from notus_exp.models.pretrained import load_tokenizer

    model = load_model(folders.base, folders.adapter, "float32", replace(hardware, device=Device.cpu))
    part = folder.with_name(f"{folder.name}.part")
    model.merge_and_unload().save_pretrained(part)
    load_tokenizer(folders.base).save_pretrained(part)
    return part.rename(folder)


def leave_the_device() -> None:
    """Give back what this process caches of the devices' memory, which the server needs."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def program(wanted: ServerCommand) -> str:
    """Return the program's name, for `python -m MODULE` the module's."""
    name, *rest = wanted.arguments
    module = rest[1] if len(rest) > 1 and rest[0] == "-m" else name
    return Path(module).name
