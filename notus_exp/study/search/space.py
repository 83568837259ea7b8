"""The space of a search: parameters read from the config, suggested to a trial, enumerated, written as overrides."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notus_exp.config.commandline import quoted
from notus_exp.config.study_settings import FIXED
from notus_exp.errors import UserError, did_you_mean
from notus_exp.study.launching.definition import written

if TYPE_CHECKING:
    from optuna.trial import Trial

FIELDS = ("choices", "low", "high", "log", "step", "integer", "when")
MOST_COMBINATIONS = 10_000
"""Of a grid: more would be no plan but an oversight."""
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_WORDS = {"true", "false", "null", "nan", "inf"}
"""Texts that Hydra reads as something else unless they are quoted."""

Label = str | int | float | bool | None
"""How a value is known to Optuna: a number, a word, or for a list its override's text."""


@dataclass(frozen=True)
class Parameter:
    """One setting that a search varies: a choice, or a range.

    Attributes:
        key: The setting or group.
        texts: Label -> right side of the override, of a choice; empty for a range.
        low: Lower end of a range, included.
        high: Upper end, included.
        log: Whether it is searched on a logarithmic scale.
        step: Distance of the values of a range that has only some; None for all.
        integer: Whether only whole numbers are tried.
        when: Other parameter -> labels with which this one exists; it has to be among them for each.
    """

    key: str
    texts: dict[Label, str]
    low: float
    high: float
    log: bool
    step: float | None
    integer: bool
    when: dict[str, list[Label]]

    @property
    def first(self) -> Label:
        """The first choice, or the lower end."""
        return next(iter(self.texts)) if self.texts else self.low

    def active(self, params: Mapping[str, Label]) -> bool:
        """Say whether the parameter exists beside these values of others."""
        return all(key in params and params[key] in labels for key, labels in self.when.items())

    def suggest(self, trial: Trial) -> Label:
        """Ask a trial for a value."""
        if self.texts:
            label: Label = trial.suggest_categorical(self.key, list(self.texts))
            return label
        if self.integer:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)

    def values(self) -> list[Label]:
        """Return every value of a choice or of a range with steps.

        Raises:
            UserError: A range without steps has no end of values.
        """
        if self.texts:
            return list(self.texts)
        step = 1 if self.integer and self.step is None else self.step
        if step is None:
            raise UserError(
                f"study.search.parameters: sampler=grid cannot try all of '{self.key}', a range without step",
                "give it a step or choices, or use study.search.sampler=random",
            )
        values = [self.low + step * place for place in range(round((self.high - self.low) / step) + 1)]
        return [int(value) for value in values] if self.integer else [float(f"{value:.12g}") for value in values]

    def text(self, label: Label) -> str:
        """Return the right side of the override for a value."""
        return self.texts[label] if self.texts else written(label)


@dataclass(frozen=True)
class Space:
    """All parameters of a search.

    Attributes:
        parameters: Those that others depend on before these.
        order: Their keys as the file has them.
    """

    parameters: list[Parameter]
    order: list[str]

    def suggest(self, trial: Trial) -> dict[str, Label]:
        """Ask a trial for a value of every parameter that exists beside the values of the others."""
        params: dict[str, Label] = {}
        for parameter in self.parameters:
            if parameter.active(params):
                params[parameter.key] = parameter.suggest(trial)
        return params

    def probe(self, fixed: Mapping[str, Label]) -> dict[str, Label]:
        """Return first values of all parameters, but those given, and those of others that let the given ones exist."""
        wanted = dict(fixed)
        for parameter in reversed(self.parameters):  # users before what they depend on
            if parameter.key in wanted:
                wanted |= {key: labels[0] for key, labels in parameter.when.items() if key not in wanted}
        params: dict[str, Label] = {}
        for parameter in self.parameters:
            if parameter.active(params):
                params[parameter.key] = wanted.get(parameter.key, parameter.first)
        return params

    def combinations(self) -> list[dict[str, Label]]:
        """Return every combination of values, conditions kept, for a grid.

        Raises:
            UserError: They have no end, or are too many to be meant.
        """
        for parameter in self.parameters:
            parameter.values()
        found = list(itertools.islice(self._combine({}, self.parameters), MOST_COMBINATIONS + 1))
        if len(found) > MOST_COMBINATIONS:
            raise UserError(
                f"study.search.parameters has more than {MOST_COMBINATIONS} combinations for sampler=grid",
                "give fewer values, or use study.search.sampler=random",
            )
        return found

    def _combine(self, params: dict[str, Label], rest: Sequence[Parameter]) -> Iterator[dict[str, Label]]:
        if not rest:
            yield params
            return
        for value in rest[0].values() if rest[0].active(params) else [None]:
            more = {**params, rest[0].key: value} if rest[0].active(params) else params
            yield from self._combine(more, rest[1:])

    def overrides(self, params: Mapping[str, Label]) -> list[str]:
        """Return a trial's values as overrides, in the order of the file."""
        by_key = {parameter.key: parameter for parameter in self.parameters}
        return [f"{key}={by_key[key].text(params[key])}" for key in self.order if key in params]


# -------------------------------------------------------------------------------------------------------------- reading
def read_space(parameters: Mapping[str, Any], common: Sequence[str]) -> Space:
    """Return the space that `study.search.parameters` describes.

    Args:
        parameters: Key -> its fields.
        common: Overrides of every run, none of which may set a parameter.

    Raises:
        UserError: Naming the key and what is wrong with it.
    """
    given = {override.lstrip("+~").partition("=")[0]: override for override in common}
    found: dict[str, Parameter] = {}
    for key, fields in parameters.items():
        if key.split(".")[0] in (*FIXED, "hydra"):
            raise _wrong(key, "is the same in all trials, so it cannot be searched", "seeds are in study.seeds")
        if key in given:
            raise UserError(
                f"'{given[key]}' is given for every run, but the search varies '{key}'", "leave it out on one side"
            )
        found[key] = _read_parameter(key, fields)
    for parameter in found.values():
        _check_conditions(parameter, found)
    return Space(_sorted(found), list(found))


def _read_parameter(key: str, fields: Any) -> Parameter:
    if not isinstance(fields, Mapping):
        raise _wrong(key, f"is {fields!r}", "write {choices: [...]} or {low: X, high: Y}")
    for name in fields:
        if name not in FIELDS:
            raise _wrong(key, f"has an unknown field '{name}'", did_you_mean(str(name), FIELDS))
    when = fields.get("when") or {}
    if not isinstance(when, Mapping):
        raise _wrong(key, f"has when: {when!r}", "write when: {OTHER: VALUE} or when: {OTHER: [VALUES]}")
    conditions = {
        str(other): [_label(key, one) for one in (values if isinstance(values, list) else [values])]
        for other, values in when.items()
    }
    if "choices" not in fields:
        return _read_range(key, fields, conditions)
    beside = [name for name in fields if name not in ("choices", "when")]
    if beside:
        raise _wrong(key, f"has choices, and {', '.join(beside)} of a range", "give one of the two")
    return Parameter(key, _read_choices(key, fields["choices"]), 0, 0, False, None, False, conditions)


def _read_choices(key: str, choices: Any) -> dict[Label, str]:
    if not isinstance(choices, list) or not choices:
        raise _wrong(key, f"has choices: {choices!r}", "write a list of values, such as choices: [a, b]")
    texts: dict[Label, str] = {}
    for choice in choices:
        label = _label(key, choice)
        if label in texts:
            raise _wrong(key, f"names {choice!r} twice among its choices", "give each value once")
        texts[label] = _text(choice)
    return texts


def _read_range(key: str, fields: Mapping[str, Any], when: dict[str, list[Label]]) -> Parameter:
    if "low" not in fields or "high" not in fields:
        raise _wrong(key, "has neither choices nor both low and high", "write {choices: [...]} or {low: X, high: Y}")
    log, integer = (_flag(key, name, fields.get(name)) for name in ("log", "integer"))
    low, high = (_number(key, name, fields[name]) for name in ("low", "high"))
    step = None if fields.get("step") is None else _number(key, "step", fields["step"])
    if low > high:
        raise _wrong(key, f"has low={low:g} above high={high:g}", "exchange them")
    if log and low <= 0:
        raise _wrong(key, f"has low={low:g}, but log: true needs a low above 0", "raise low, or leave log out")
    if log and step is not None:
        raise _wrong(key, f"has both log: true and step={step:g}", "leave one of them out")
    if step is not None and step <= 0:
        raise _wrong(key, f"has step={step:g}", "it must be above 0")
    if integer and any(number != int(number) for number in (low, high, step or 1)):
        raise _wrong(key, "has integer: true, but low, high or step is no whole number", "give whole numbers")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-8:
        raise _wrong(key, f"has step={step:g}, with which low={low:g} does not reach high={high:g}", "adjust one")
    if integer:
        low, high = int(low), int(high)
    return Parameter(key, {}, low, high, log, step, integer, when)


def _label(key: str, value: Any) -> Label:
    """Return how Optuna is to know a value, which must be a scalar; the text stands for a list of scalars."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(key, f"has the value {value}", "give finite numbers")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(one is None or isinstance(one, str | int | float) for one in value):
        return _text(value)
    raise _wrong(key, f"has the value {value!r}", "a value is a number, a word, or a list of these")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_text(one) for one in value) + "]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else quoted(value)
    return written(value)


def _number(key: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(key, f"has {name}={value!r}, which is no number", "write it as 0.1 or 5.0e-7")
    return value


def _flag(key: str, name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _wrong(key, f"has {name}={value!r}", "write true or false")
    return bool(value)


def _check_conditions(parameter: Parameter, known: Mapping[str, Parameter]) -> None:
    for other, labels in parameter.when.items():
        if other not in known:
            raise _wrong(parameter.key, f"depends on '{other}', which is no parameter", did_you_mean(other, known))
        choices = known[other].texts
        if not choices:
            raise _wrong(parameter.key, f"depends on '{other}', which is a range", "a condition needs choices")
        strange = [label for label in labels if label not in choices]
        if strange or not labels:
            texts = ", ".join(choices.values())
            raise _wrong(parameter.key, f"depends on {other}={strange[0] if strange else []}", f"it has {texts}")


def _sorted(known: Mapping[str, Parameter]) -> list[Parameter]:
    """Return the parameters with those that others depend on first."""
    done: dict[str, Parameter] = {}
    while len(done) < len(known):
        ready = [one for key, one in known.items() if key not in done and all(other in done for other in one.when)]
        if not ready:
            circle = ", ".join(key for key in known if key not in done)
            raise UserError(f"study.search.parameters: {circle} depend on each other", "take a `when` away")
        done |= {one.key: one for one in ready}
    return list(done.values())


def _wrong(key: str, what: str, hint: str) -> UserError:
    return UserError(f"study.search.parameters: '{key}' {what}", hint)
