"""The command of `generation=served`: split into words, its places filled, never read by a shell.

A place is a name in braces. It is filled within a word after the splitting, so that a path with spaces stays one word,
and other braces, such as those of JSON, are left as they are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath

from notus_exp.config.generation_settings import ServedGeneration
from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.errors import UserError, did_you_mean, names_secret

PLACES = {
    "model": "the folder of the model's weights and tokenizer",
    "adapter": "the folder of the policy's adapter, in generation.adapter alone",
    "rank": "the adapter's rank, rounded up to a power of two, at least 8",
    "port": "a free port of this machine",
    "precision": "dpo.precision",
    "device": "cpu or cuda",
    "devices": "how many devices of this machine the run holds",
}
"""What may stand in braces -> what it is filled with."""
LEAST_RANK = 8
"""Engines keep room for adapters of powers of two, and seldom of less."""
_PLACE = re.compile(r"\{([A-Za-z_]+)\}")
_OF_A_SHELL = re.compile(r"[|&;<>]+|\d?>.*|.*;")
_OF_A_HOME = re.compile(r"(\S*=)?~[\w.-]*(/\S*)?|\S*\$\{?[A-Za-z_]\S*")
_SECRET = re.compile(r"--?(?:[\w-]*api[-_]?key|[\w-]*token|[\w-]*password|[\w-]*secret)(?:=.*)?")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")
_NAMED = ("model",)
"""What may stand in the name under which a model is asked for."""


def words(text: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of a part of the command, with the places filled for which there are values."""
    return [fill(word, values) for word in shlex.split(text)]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the places filled for which there are values."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)


def command_words(served: ServedGeneration, values: Mapping[str, str]) -> list[str]:
    """Return the whole command; its part for an adapter is there where `values` has one."""
    adapter = served.adapter if "adapter" in values else None
    return [word for part in (served.command, adapter or "", served.options) for word in words(part, values)]


def room(rank: int) -> int:
    """Return the rank that an engine is told to keep room for: a power of two, at least `LEAST_RANK`."""
    found = LEAST_RANK
    while found < rank:
        found *= 2
    return found


def devices_here(hardware: Hardware) -> int:
    """Return how many devices of its own machine a run holds, on which the server works; 1 on the CPU."""
    return 1 if hardware.device is Device.cpu else hardware.processes // hardware.nodes


def spelt(text: str) -> str:
    """Return a command as keys hold it: spaces between words do not matter, nor the folder that its program lies in."""
    first, *rest = shlex.split(text)
    return shlex.join([PurePath(first).name, *rest])


def check_served_command(served: ServedGeneration) -> None:
    """Check a command and what goes with it, without starting anything.

    Raises:
        UserError: Naming the key and the remedy.
    """
    for key in ("command", "adapter", "options"):
        _check_words(f"generation.{key}", getattr(served, key) or "", adapter=key == "adapter")
    if not served.command.strip():
        raise UserError(
            "generation.command is empty", "give the command that starts the server, or choose generation=vllm"
        )
    first = shlex.split(served.command)[0]
    if _ASSIGNED.match(first):
        raise UserError(
            f"generation.command begins with {first}, which only a shell would take for a variable",
            f"export it before the run, or begin with the program env: env {first} ...",
        )
    if "{port}" not in served.command:
        raise UserError(
            "generation.command has no {port}, and the run chooses a free one",
            "write it where the program takes its port, such as --port {port}",
        )
    if served.adapter is not None and "{adapter}" not in served.adapter:
        raise UserError(
            "generation.adapter has no {adapter}, so nothing says which adapter is served",
            "write it where the program takes the adapter's folder, or set generation.adapter=null for a server that"
            " takes none: the policy is then served merged",
        )
    for key in ("base_model", "policy_model"):
        _check_places(f"generation.{key}", getattr(served, key), _NAMED)
    if "{model}" not in served.command + served.base_model:
        raise UserError(
            "generation.command has no {model}, so nothing says which weights are served",
            "write it where the program takes the model's folder; or into generation.base_model and policy_model where"
            " the server loads what it is asked for",
        )
    if not served.health.startswith("/"):
        raise UserError(f"generation.health={served.health} is no path of the server", "begin it with /, as in /health")
    taken = {"model", "messages", "seed", "temperature", "max_tokens", "max_completion_tokens", "stream", "n"}
    if both := sorted(taken & set(served.body)):
        raise UserError(
            f"generation.body sets {', '.join(both)}, which other settings say or an answer needs otherwise",
            "leave it out of generation.body",
        )


def _check_words(key: str, text: str, *, adapter: bool) -> None:
    try:
        found = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{key} cannot be split into words: {error}", "check its quotes") from None
    _check_places(key, text, [name for name in PLACES if adapter or name not in ("adapter", "rank")])
    for word in found:
        if _OF_A_SHELL.fullmatch(word):
            raise UserError(
                f"{key} has {word!r}, which only a shell understands, and none reads it",
                "give one program and its arguments; put more into a script of yours",
            )
        if _OF_A_HOME.fullmatch(word):
            raise UserError(
                f"{key} has {word!r}, in whose place only a shell would put a folder or a variable", "write it out"
            )
        name, is_given, _ = word.partition("=")
        if _SECRET.fullmatch(word) or (is_given and names_secret(name.lstrip("-"))):
            raise UserError(
                f"{key} has {word.partition('=')[0]}, whose value would be written down with the config",
                "leave it out: the server listens on this machine alone and is asked without a key",
            )


def _check_places(key: str, text: str, known: object) -> None:
    assert isinstance(known, list | tuple)
    for name in _PLACE.findall(text):
        if name not in known:
            hint = f"{{{name}}} belongs into generation.adapter" if name in PLACES else did_you_mean(name, known)
            raise UserError(f"{key} has {{{name}}}, which is filled with nothing there", hint)
