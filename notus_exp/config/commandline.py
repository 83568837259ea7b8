"""What the command line must not say: checked before Hydra acts on it, which imports what its own config names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from notus_exp.config.endpoint_checks import check_address
from notus_exp.errors import UserError, first_line

LAUNCHER = ("hydra/launcher", "hydra.launcher.")
"""The only part of Hydra's own configuration that is the user's."""
CODE_KEY = "_target_"
"""The key by which a config of Hydra names code to import."""
CONFIG_DIR = ("--config-dir", "-cd")
MULTIRUN = ("-m", "--multirun")
ELSEWHERE = ("--config-path", "-cp", "--config-name", "-cn")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments by which a configuration could name code, or move files that the pipeline alone makes.

    Args:
        arguments: The command line without the program's name.

    Raises:
        UserError: For an override of `hydra` other than the launcher, for `_target_` anywhere, for another primary
            config, and for a folder of own configs (`--config-dir`) whose files do either.
    """
    for position, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in ELSEWHERE:
            hint = "add own options with --config-dir FOLDER (FOLDER/experiment/NAME.yaml is experiment=NAME)"
            raise UserError(f"{flag} would replace the whole configuration", hint)
        if flag in CONFIG_DIR:
            _check_folder(Path(value or "".join(arguments[position + 1 : position + 2])))
        elif not argument.startswith("-"):
            _check_secret(argument)
            _check_override(argument)


def _check_secret(argument: str) -> None:
    """Refuse a password in an endpoint's address before anybody shows the command line or the config."""
    setting, _, value = argument.lstrip("+").partition("=")
    if setting.endswith(".base_url") and "@" in value:
        check_address(setting, value.strip("'\""))


def names_study(arguments: Sequence[str]) -> bool:
    """Say whether a command line runs a study by its name, which `-m` need not be given for."""
    flags = {argument for argument in arguments if argument.startswith("-")}
    asked = any(re.match(r"\+?study=(?!null$)", argument) for argument in arguments)
    return asked and not flags & {
        *MULTIRUN,
        "--cfg",
        "-c",
        "--help",
        "-h",
        "--hydra-help",
        "--info",
        "-i",
        "--run",
        "-r",
    }


def check_overrides(overrides: Iterable[str], evaluations: Sequence[str], lora: bool) -> None:
    """Refuse overrides that would do nothing.

    Args:
        overrides: Those of the task, as given.
        evaluations: The chosen evaluations.
        lora: Whether an adapter is trained.

    Raises:
        UserError: Naming the key and what works instead.
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if value.strip() == "{}":  # Hydra merges it into the mapping that is there
            raise UserError(f"{key}={{}} does not empty {key}", f"take an entry away with ~{key}.NAME")
        section = re.match(r"evaluation\.(\w+)", key)
        if key.endswith(".name") and key.count(".") == 2:
            raise UserError(f"{key} cannot be set: it names the option", "choose with 'evaluation=[NAME,...]'")
        if section and section.group(1) not in evaluations:
            wanted = ",".join([*evaluations, section.group(1)])
            raise UserError(f"{key} is set, but {section.group(0)} is not chosen", f"add it: 'evaluation=[{wanted}]'")
        if key.startswith("dpo.lora.") and key != "dpo.lora.r" and not lora:
            raise UserError(f"{key} is set, but dpo.lora.r=0 trains all weights", "use dpo=lora, or set dpo.lora.r")


def _check_override(argument: str) -> None:
    key = argument.lstrip("+~").partition("=")[0]
    if CODE_KEY in argument:
        raise UserError(f"'{argument}': a config never names code to import ({CODE_KEY})")
    if re.match(r"hydra\b", key) and not key.startswith(LAUNCHER):
        raise UserError(f"'{key}' is not a setting of notus_exp", f"of Hydra's own, only {LAUNCHER[0]} can be chosen")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"--config-dir {folder} is not a folder")
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml")):
        try:
            content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as YAML: {first_line(error)}") from error
        placed = re.search(r"@package\s+hydra\b", path.read_text(encoding="utf-8"))
        if placed or any(_touches_hydra(word) for word in _words(content)):
            raise UserError(f"{path} sets Hydra's own configuration or names code", f"leave out hydra and {CODE_KEY}")


def _words(node: Any, in_defaults: bool = False) -> Iterator[str]:
    """Yield every key of a config, and every entry of its defaults lists."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _words(value, in_defaults or key == "defaults")
    elif isinstance(node, list):
        for item in node:
            yield from _words(item, in_defaults)
    elif in_defaults:
        yield str(node)


def _touches_hydra(word: str) -> bool:
    name = word.removeprefix("override ").strip().lstrip("/")
    return name == CODE_KEY or (re.match(r"hydra\b", name) is not None and not name.startswith(LAUNCHER))
