"""Whether the items of `scores` say what they must, and their names can stand in an expression."""

from __future__ import annotations

import re

from notus_exp.config.column_names import SIDES, column_names, made_columns, means_another
from notus_exp.config.expression_checks import named_columns
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import KEYS, ScoreItem, column_of, runs_of_probe
from notus_exp.errors import UserError, did_you_mean


def check_scores(config: Config) -> None:
    """Check each item of `scores`, and that something is made where a run ends with the stage `columns`.

    Raises:
        UserError: Naming the item, its value and the remedy.
    """
    names = column_names(config)
    for place, score in enumerate(config.scores):
        key = f"scores[{place}]"
        if runs_of_probe(score):
            _check_probe(key, score)
        else:
            _check_file(key, score)
        _check_name(f"{key}.name", score, names)
    if config.until is Stage.columns and not {*named_columns(config)} & {*made_columns(config)}:
        raise UserError(
            "until=columns, and no expression names a column to make",
            "use until=feedback, or name one of `scores` in an expression",
        )


def _check_name(key: str, score: ScoreItem, names: list[str]) -> None:
    check_column_name(key, score.name, column_of(score), names)


def check_column_name(key: str, shown: str | None, column: str, names: list[str]) -> None:
    """Check that a name can be that of a column.

    Args:
        key: Its setting.
        shown: The setting's value.
        column: The name.
        names: Those of all columns.

    Raises:
        UserError: Naming the setting, its value and the remedy.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", column):
        raise UserError(
            f"{key}={shown} cannot stand in an expression",
            "use small letters, digits and _, beginning with a letter",
        )
    if names.count(column) > 1 or (means_another(column) and not column.startswith(SIDES)):
        raise UserError(f"{key}: '{column}' is the name of another column too", "give each a name of its own")
    if column.startswith(SIDES):
        raise UserError(
            f"{key}={shown} begins as a column of a pair's side does",
            "choose a name without chosen_ or rejected_",
        )


def _check_file(key: str, score: ScoreItem) -> None:
    if score.path is None:
        raise UserError(
            f"{key} does not say where its scores come from", "add path: FILE to it, or run: RUN for those of a policy"
        )
    if score.name is None:
        raise UserError(f"{key}.name must be given", "add name: NAME to that item, for expressions")
    if score.by is not None and score.by not in KEYS:
        raise UserError(f"{key}.by={score.by} is not an option", did_you_mean(score.by, KEYS))
    for name in ("exclude", "in_sample"):
        if getattr(score, name):
            raise UserError(f"{key}.{name}=true is read with `run` or `runs` alone", "leave it out for a file")


def _check_probe(key: str, score: ScoreItem) -> None:
    for name in ("path", "column", "by"):
        if getattr(score, name) is not None:
            raise UserError(f"{key}.{name}={getattr(score, name)} is read of a file alone", "leave it out for a run")
    if score.run is not None and score.runs:
        raise UserError(f"{key} has run and runs", f"list all of them: runs: [{', '.join([score.run, *score.runs])}]")
    if twice := next((run for run in score.runs if score.runs.count(run) > 1), None):
        raise UserError(f"{key}.runs names {twice} twice", "name each run once")
    if score.exclude and score.in_sample:
        raise UserError(
            f"{key} has exclude=true and in_sample=true",
            "exclude leaves prompts that were trained on without a score, in_sample scores them: choose one",
        )
