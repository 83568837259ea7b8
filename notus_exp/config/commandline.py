"""What the command line must not say: checked before Hydra acts on it, which imports what its own config names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from notus_exp.config.data_settings import FileData
from notus_exp.config.endpoint_checks import check_address
from notus_exp.config.judge_settings import RewardModelJudge
from notus_exp.config.misfits import numbered, settings_called
from notus_exp.config.rounds_settings import numbered_rounds
from notus_exp.config.schema import Config, known_settings, takes
from notus_exp.errors import UserError, did_you_mean

OF_PAIRS = ("filters.where", "filters.keep.by", "pairs.weight")
OF_A_SERVER = ("generation.command", "generation.adapter", "generation.options")
EXPRESSIONS = ("selection.score", "rejected.score", "selection.place", "rejected.place", *OF_PAIRS, *OF_A_SERVER)
"""Settings whose spaces and signs Hydra's grammar does not read without quotes: expressions, places, commands."""
LAUNCHER = ("hydra/launcher", "hydra.launcher.")
"""The only part of Hydra's own configuration that is the user's."""
CODE_KEY = "_target_"
"""The key by which a config of Hydra names code to import."""
CONFIG_DIR = ("--config-dir", "-cd")
MULTIRUN = ("-m", "--multirun")
ELSEWHERE = ("--config-path", "-cp", "--config-name", "-cn")
COMPLETION = ("--shell-completion", "-sc")
"""Flags by which a shell asks, and is told how, to complete the command; Hydra's names for it."""
SHOWING = ("--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i", "--version", *COMPLETION)
"""Flags that show something and run nothing."""
QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")
"""Flags of our own, of which Hydra knows nothing."""
ALONE_FLAGS = (*MULTIRUN, *QUIET, *VERBOSE, "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r")
VALUED_FLAGS = (*CONFIG_DIR, "--cfg", "-c", "--package", "-p", *COMPLETION)
OTHER_FLAGS = {
    **dict.fromkeys(("--dry-run", "--dryrun", "--plan", "-n"), "until=config shows the plan and runs nothing"),
    "--resume": "give the same command again: it goes on where it stopped",
    **dict.fromkeys(("--config", "--config-file"), "add own options with --config-dir FOLDER, chosen as GROUP=NAME"),
}
"""A flag as other commands have it -> what does so here."""
INFO = ("--info", "-i")
"""The flag whose value may be left out."""
MOST_MEANT = 3
"""Settings that are shown at most for a flag that there is not."""
VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
VALUES |= {"-c": VALUES["--cfg"], "-i": VALUES["--info"]}
VALUES |= dict.fromkeys(COMPLETION, ("install=bash", "uninstall=bash", "query=bash"))
"""What the flags that show something can show."""


HUB_KEYS = ("data.hub_id", "data.revision", "data.hub_split")
"""Settings of a dataset on the hub; the last is read of a folder too."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments by which a configuration could name code, or move files that the pipeline alone makes.

    Args:
        arguments: The command line without the program's name.

    Raises:
        UserError: For a flag that is not spelt as in the closed list of `split`, and for what `check_override` refuses.
    """
    _, overrides = split(arguments)
    for override in overrides:
        check_override(override)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a command line, each with its value after `=`, and the overrides.

    Hydra's parser takes any unambiguous beginning of a flag, and flags that unpickle a file; so the flags that are
    taken are listed here, and what is not in the list is none.

    Raises:
        UserError: For any other flag, a flag without its value, and a `--config-dir` that is no folder.
    """
    flags, overrides, waiting = list[str](), list[str](), list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        flag, equals, value = argument.partition("=")
        if flag in ELSEWHERE:
            hint = "add own options with --config-dir FOLDER (FOLDER/experiment/NAME.yaml is experiment=NAME)"
            raise UserError(f"{flag} would replace the whole configuration", hint)
        if flag not in (*ALONE_FLAGS, *VALUED_FLAGS, *INFO):
            raise _no_flag(flag, value or next(iter(waiting), ""))
        if not equals and waiting and (flag in VALUED_FLAGS or (flag in INFO and waiting[0] in VALUES[flag])):
            value = waiting.pop(0)
        _check_value(flag, value, given=bool(equals))
        flags.append(f"{flag}={value}" if value else flag)
    return flags, overrides


def _no_flag(flag: str, value: str) -> UserError:
    """Say that there is no such flag, and where a setting is called so, how it is written.

    Args:
        flag: As given, without its value.
        value: What stands behind it, or "".
    """
    if flag in OTHER_FLAGS:
        return UserError(f"{flag} is not a flag of this command", OTHER_FLAGS[flag])
    meant = settings_called(flag.lstrip("-")) if re.match("--?[a-zA-Z]", flag) else []
    if meant and not (len(flag) < 4 and not value):
        value = value if value and not re.match(r"-[a-zA-Z-]|[\w./@+~]+=", value) else "VALUE"
        shown = " or ".join(f"{key}={value}" for key in meant[:MOST_MEANT])
        return UserError(f"{flag} is not a flag of this command: settings are written KEY=VALUE, here {shown}")
    known = [flag for flag in (*ALONE_FLAGS, *VALUED_FLAGS, *INFO) if flag.startswith("--")]
    return UserError(f"{flag} is not a flag of this command", did_you_mean(flag, known))


def check_repeated(overrides: Iterable[str]) -> None:
    """Refuse a key that is given twice, of which Hydra would take the last and pass over the others.

    Entries that are added to a mapping, as by `+study.grid={...}`, come together.

    Raises:
        UserError: Naming both overrides.
    """
    given: dict[str, str] = {}
    for override in overrides:
        key, _, value = numbered_rounds(override.lstrip("+")).partition("=")
        if override.startswith("~") or (override.startswith("+") and value.lstrip().startswith("{")):
            continue
        if key in given:
            listed = f", or '{key}=[A,B]' for both" if key == "evaluation" or takes(key, list) else ""
            hint = f"leave one of them out{listed}; {key}=A,B with -m is an arm of each"
            raise UserError(f"{key} is given twice: {given[key]} and {override}", hint)
        given[key] = override


def check_flags(flags: Sequence[str]) -> None:
    """Refuse flags, split from a command line, that do not go together.

    Raises:
        UserError: Several say what to do, or one goes with another that is not given.
    """
    given = {flag.partition("=")[0] for flag in flags}
    doing = sorted(given & {"--run", "-r", *MULTIRUN, *SHOWING})
    if len(doing) > 1:
        hint = (
            "give one of --run and --multirun, which run something, --cfg, --info, --help, --hydra-help and --version"
        )
        raise UserError(f"{' and '.join(doing)} do not go together", hint)
    if given & {*QUIET} and given & {*VERBOSE}:
        raise UserError("--quiet and --verbose do not go together", "give one of them")
    if "--resolve" in given and not given & {"--cfg", "-c", "--help", "-h"}:
        raise UserError("--resolve goes with --cfg", "add --cfg job")


def without_own(flags: Sequence[str]) -> list[str]:
    """Return the flags, split from a command line, that Hydra knows."""
    return [flag for flag in flags if flag not in (*QUIET, *VERBOSE)]


def completion(flags: Sequence[str]) -> str | None:
    """Return what a shell asks of the flags, split from a command line, such as `query=bash`; None where none does."""
    asked = (flag.partition("=")[2] for flag in flags if flag.partition("=")[0] in COMPLETION)
    return next(asked, None)


def shows(flags: Sequence[str]) -> bool:
    """Say whether one of the flags, split from a command line, shows something, so that nothing runs."""
    return not {flag.partition("=")[0] for flag in flags}.isdisjoint(SHOWING)


def names_study(flags: Sequence[str], overrides: Sequence[str]) -> bool:
    """Say whether a command line, split, runs a study by its name, which `-m` need not be given for."""
    asked = any(re.match(r"\+?study=(?!null$)", override) for override in overrides)
    return asked and not {flag.partition("=")[0] for flag in flags} & {*MULTIRUN, *SHOWING, "--run", "-r"}


def of_study(override: str) -> bool:
    """Say whether an override sets something that only a study reads."""
    return override.lstrip("+~").startswith("study.")


def single_run(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that make a run by itself, of those that it had, perhaps as one of a study."""
    own = [argument for argument in arguments if not of_study(argument)]
    flags = [argument for argument in own if argument.startswith("-")]
    return ["--run", *own] if names_study(flags, own) else own


def quoted(text: str) -> str:
    """Return a text as the right side of an override, whatever it contains: nothing in it is interpolated."""
    literal = re.sub(r"(\\*)\$\{", lambda found: found.group(1) * 2 + r"\${", text)
    escaped = re.sub(r"(\\+)('|\Z)", lambda found: found.group(1) * 2 + found.group(2), literal).replace("'", "\\'")
    return f"'{escaped}'"


def readable(override: str) -> str:
    """Return an override of an expression with quotes around its value, where Hydra cannot read it as it stands."""
    key, equals, value = override.partition("=")
    if key.lstrip("+") not in EXPRESSIONS or not value or value[0] in "'\"":
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return f"{key}{equals}{quoted(value)}"
    return override


def for_shell(key: str, value: str) -> str:
    """Return an override as it is typed, within quotes of the shell."""
    override = f"{key}={value}"
    return shlex.quote(override) if re.search(r"[\"$`\\!]", override) else f'"{override}"'


def check_override(override: str) -> None:
    """Refuse an override that names code, changes Hydra's own configuration or holds a password.

    Raises:
        UserError: For `_target_` anywhere, for a key or a package of `hydra` other than the launcher, for an address
            with a password, and for `~` before a setting, which every run has.
    """
    key, _, value = override.lstrip("+~").partition("=")
    if key.endswith(".base_url") and "@" in value:  # before anybody shows the command line or the config
        check_address(key, value.strip("'\""))
    if override.startswith("~") and key in known_settings():
        raise UserError(f"{key} is a setting and cannot be taken away with ~", f"give it another value: {key}=VALUE")
    if CODE_KEY in override:
        raise UserError(f"'{override}': a config never names code to import ({CODE_KEY})")
    if said := numbered(override):
        raise said
    if touches_hydra(key):
        raise UserError(f"'{key}' is not a setting of notus_exp", f"of Hydra's own, only {LAUNCHER[0]} can be chosen")


def touches_hydra(key: str) -> bool:
    """Say whether a key, a group or a package (`GROUP@PACKAGE`) is Hydra's own, and not the launcher."""
    places = [re.sub(r"^(/|_global_\.)+", "", place.strip()) for place in re.split(r"[@:]", key)]
    return any(re.match(r"hydra\b", place) and not place.startswith(LAUNCHER) for place in places)


def check_overrides(
    overrides: Iterable[str], evaluations: Sequence[str], lora: bool, unasked: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Refuse overrides that would do nothing.

    Args:
        overrides: Those of the task, as given.
        evaluations: The chosen evaluations.
        lora: Whether an adapter is trained.
        unasked: Group that no chosen evaluation asks, such as `judge` -> the evaluations that would.

    Raises:
        UserError: Naming the key and what works instead.
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if value.strip() == "{}":  # would leave the mapping as it is
            raise UserError(f"{key}={{}} does not empty {key}", f"take an entry away with ~{key}.NAME")
        section = re.match(r"evaluation\.(\w+)", key)
        if key.endswith(".name") and key.count(".") == 2:
            raise UserError(f"{key} cannot be set: it names the option", "choose with 'evaluation=[NAME,...]'")
        if section and key == section.group(0) and value == "null":
            hint = f"choose the others: 'evaluation=[{','.join(evaluations)}]'"
            if not evaluations:
                hint = "choose others, or stop with until=policy"
            raise UserError(f"{key}=null: an evaluation is not left out so", hint)
        if section and section.group(1) not in evaluations:
            wanted = ",".join([*evaluations, section.group(1)])
            raise UserError(f"{key} is set, but {section.group(0)} is not chosen", f"add it: 'evaluation=[{wanted}]'")
        askers = (unasked or {}).get(key.partition(".")[0])
        if askers and "." in key:
            added = f"'evaluation=[{','.join([*evaluations, askers[0]])}]'"
            raise UserError(
                f"{key}={value} is set, but no chosen evaluation asks the {key.partition('.')[0]}",
                f"add one of {', '.join(askers)}, such as {added}, or leave {key} out",
            )
        if key.startswith("dpo.lora.") and key != "dpo.lora.r" and not lora:
            raise UserError(f"{key} is set, but dpo.lora.r=0 trains all weights", "use dpo=lora, or set dpo.lora.r")


def check_places(overrides: Iterable[str], config: Config) -> None:
    """Refuse settings of a hub beside a local path, and the other way round: they would be passed over.

    Raises:
        UserError: Naming the setting and what works instead.
    """
    data, model, judge = config.data, config.model, config.judge
    unread: dict[str, str] = {}
    if isinstance(data, FileData) and data.path:
        of_hub = ("data.hub_id", "data.revision") if Path(data.path).is_dir() else HUB_KEYS
        unread |= dict.fromkeys(of_hub, f"data.path={data.path}")
    beside = ("model.path",) if model.kind == "hub" else ("model.hub_id", "model.revision")
    unread |= dict.fromkeys(beside, f"model.kind={model.kind}")
    if isinstance(judge, RewardModelJudge) and Path(judge.model).is_dir():
        unread["judge.revision"] = f"judge.model={judge.model}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key not in unread or value == "null":
            continue
        reader = unread[key].partition("=")[0]
        hint = (
            f"leave {key} out, or leave {reader} out to read the hub" if reader != "model.kind" else f"leave {key} out"
        )
        if chosen := {"model.hub_id": "model=hub", "model.path": "model=local"}.get(key):
            hint = f"choose {chosen} too, or {hint}"
        raise UserError(f"{key}={value} is set, but {unread[key]} is read, without it", hint)


def _check_value(flag: str, value: str, *, given: bool) -> None:
    if flag in ALONE_FLAGS and given:
        raise UserError(f"{flag} takes no value", f"write {flag} alone")
    if flag in VALUED_FLAGS and not value:
        raise UserError(f"{flag} needs a value", f"write {flag} VALUE")
    if flag in VALUES and value and value not in VALUES[flag]:
        verb = "take" if flag in COMPLETION else "show"
        raise UserError(f"{flag} cannot {verb} '{value}'", did_you_mean(value, VALUES[flag]))
    if flag in CONFIG_DIR and not Path(value).is_dir():
        raise UserError(f"--config-dir {value} is not a folder")
