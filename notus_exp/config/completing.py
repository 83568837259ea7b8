"""What may stand next on a command line: groups and their options, keys and their values, flags, files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from notus_exp.config.commandline import ALONE_FLAGS, CONFIG_DIR, VALUED_FLAGS, VALUES
from notus_exp.config.folders import conf_dir

_CONFIG = "config"
_NOT_GIVEN = ("hydra", "study.arm", "study.trial")
"""Beginnings of what is there and not the user's to set."""
_BASH = r"""_notus_exp()
{
    local line=${COMP_LINE:0:COMP_POINT} words candidate
    read -ra words <<< "$line"
    local ask=("${words[0]}") cur=${line##*[[:space:]]}
    if [[ ${words[0]##*/} == python* ]]; then
        if [[ ${words[1]} != -m || ${words[2]} != notus_exp || $line == *-m*notus_exp ]]; then
            [[ -n $_notus_exp_before ]] && "$_notus_exp_before" "$@"
            return
        fi
        ask+=(-m notus_exp)
    fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        # bash replaces what stands behind the last "=" alone, unless that no longer parts words
        [[ $COMP_WORDBREAKS == *=* && $cur == *=* ]] && candidate=${candidate#"${cur%"${cur##*=}"}"}
        COMPREPLY+=("$candidate")
    done < <(COMP_LINE=$line "${ask[@]}" -sc query=bash 2> /dev/null)
}
_notus_exp_before=$(complete -p python 2> /dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
[[ $_notus_exp_before == _notus_exp ]] && _notus_exp_before=
complete -o nospace -o default -F _notus_exp python python3 notus-exp"""
_BASH_END = """complete -r python python3 notus-exp
[[ -n $_notus_exp_before ]] && complete -F "$_notus_exp_before" python
unset -f _notus_exp"""


def script(request: str) -> str:
    """Return what a shell evaluates to complete our command from here on, or no longer.

    Args:
        request: `install=bash` or `uninstall=bash`.
    """
    return {"install=bash": _BASH, "uninstall=bash": _BASH_END}[request]


def candidates(line: str) -> list[str]:
    """Return what may take the place of a command line's last word, which is empty where the line ends with a blank.

    Args:
        line: From its beginning, with the interpreter, to the cursor.
    """
    words = line.split()
    word = words.pop() if line and not line[-1].isspace() and words else ""
    word = word.lstrip("'\"")
    given = [each.strip("'\"") for each in _arguments(words)]
    last = given[-1] if given else ""
    if last in VALUES:
        return _beginning(word, VALUES[last])
    if last in CONFIG_DIR:
        return _files(word)
    if word.startswith("-"):
        return _beginning(word, sorted({*ALONE_FLAGS, *VALUED_FLAGS}))
    folders = [following for flag, following in pairwise(given) if flag in CONFIG_DIR]
    folders += [each.partition("=")[2] for each in given if each.partition("=")[0] in CONFIG_DIR]
    overrides = [each for each in given if re.match(r"[+~\w].*=", each)]
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return _Completing(GlobalHydra.instance().config_loader(), overrides, folders).of(word)


class _Completing:
    """Completes a setting.

    Args:
        loader: Hydra's.
        overrides: Those that stand before it.
        folders: Of configuration, the user's own.
    """

    def __init__(self, loader: ConfigLoader, overrides: Sequence[str], folders: Sequence[str]) -> None:
        self._loader, self._overrides, self._folders = loader, list(overrides), [Path(folder) for folder in folders]

    def of(self, word: str) -> list[str]:
        sign = word[:1] if word[:1] in ("+", "~") else ""
        key, equals, typed = word[len(sign) :].partition("=")
        found = self._values(key, typed) if equals else self._keys(key)
        return [f"{sign}{one}" for one in found]

    def _keys(self, key: str) -> list[str]:
        """Return groups and keys that begin so: `group=`, `section.` and `key=`."""
        parent, _, beginning = key.rpartition(".")
        config = self._config()
        section: Any = OmegaConf.select(config, parent) if parent else config
        found = [] if parent else [f"{group}=" for group in self._options("", ObjectType.GROUP)]
        if isinstance(section, DictConfig):
            inner = {str(name): section._get_node(name) for name in section}
            found += [
                f"{name}{'.' if isinstance(node, DictConfig) and len(node) else '='}" for name, node in inner.items()
            ]
        whole = sorted({f"{parent}.{name}" if parent else name for name in found if name.startswith(beginning)})
        return [name for name in whole if not any(re.match(rf"{one}\b", name) for one in _NOT_GIVEN)]

    def _values(self, key: str, typed: str) -> list[str]:
        """Return values of a key: the options of a group, the names of an enumeration; or files; also in a list."""
        begun = re.match(r"(?:.*[\[,])?", typed)
        before = begun[0] if begun else ""
        beginning = typed[len(before) :]
        options = self._options(key, ObjectType.CONFIG)
        if not options:
            section, _, name = key.rpartition(".")
            parent: Any = OmegaConf.select(self._config(), section) if section else self._config()
            kind = OmegaConf.get_type(parent, name) if isinstance(parent, DictConfig) and name in parent else None
            if isinstance(kind, type) and issubclass(kind, Enum):
                options = [one.name for one in kind]
            elif kind is bool:
                options = ["false", "true"]
            elif kind in (str, NoneType, None):
                return [f"{key}={before}{name}" for name in _files(beginning)]
        return [f"{key}={before}{option}" for option in _beginning(beginning, options)]

    def _options(self, group: str, kind: ObjectType) -> list[str]:
        found = self._loader.get_group_options(group, kind, _CONFIG, [])
        if group and kind is ObjectType.CONFIG:
            found += [path.stem for folder in self._folders for path in sorted((folder / group).glob("*.yaml"))]
        return [name for name in dict.fromkeys(found) if not name.startswith(_NOT_GIVEN[0])]

    def _config(self) -> DictConfig:
        """Return the config that the overrides make, or without them where they do not go together yet."""
        config: DictConfig
        try:
            config = self._loader.load_configuration(_CONFIG, self._overrides, RunMode.RUN)
        except Exception:  # whatever is wrong with them, the command itself says it
            config = self._loader.load_configuration(_CONFIG, [], RunMode.RUN)
        return config


def _arguments(words: Sequence[str]) -> list[str]:
    """Return the words behind the command: `notus-exp`, or `python -m notus_exp`."""
    return [*words[3:]] if words[1:2] == ["-m"] else [*words[1:]]


def _beginning(word: str, options: Iterable[str]) -> list[str]:
    return [option for option in options if option.startswith(word)]


def _files(beginning: str) -> list[str]:
    """Return files and folders whose path begins so."""
    folder, name = re.fullmatch(r"(.*/)?([^/]*)", beginning, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    with suppress(OSError):
        inside = sorted(Path(folder or ".").expanduser().iterdir())
        return [f"{folder}{one.name}{'/' * one.is_dir()}" for one in inside if one.name.startswith(name)]
    return []
