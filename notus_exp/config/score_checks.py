"""Whether the items of `scores` say what they must, and their names can stand in an expression."""

from __future__ import annotations

import re

from notus_exp.config.columns import column_names, made_columns
from notus_exp.config.expression_checks import named_columns
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import KEYS, ScoreItem
from notus_exp.errors import UserError, did_you_mean


def check_scores(config: Config) -> None:
    """Check each item of `scores`, and that something is made where a run ends with the stage `columns`.

    Raises:
        UserError: Naming the item, its value and the remedy.
    """
    names = column_names(config)
    for place, score in enumerate(config.scores):
        _check_name(f"scores[{place}].name", score.name, names)
        _check_file(f"scores[{place}]", score)
    if config.until is Stage.columns and not {*named_columns(config)} & {*made_columns(config)}:
        raise UserError(
            "until=columns, and no expression names a column to make",
            "use until=feedback, or name one of `scores` in an expression",
        )


def _check_name(key: str, name: str, names: list[str]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{key}={name} cannot stand in an expression", "use small letters, digits and _, beginning with a letter"
        )
    if names.count(name) > 1:
        raise UserError(f"{key}={name} is the name of another column too", "give each score a name of its own")
    if name.startswith(("chosen_", "rejected_")):
        raise UserError(
            f"{key}={name} begins as a column of a pair's side does", "choose a name without chosen_ or rejected_"
        )


def _check_file(key: str, score: ScoreItem) -> None:
    if score.path is None:
        raise UserError(f"{key} says nothing of where '{score.name}' comes from", "add path: FILE to it")
    if score.by is not None and score.by not in KEYS:
        raise UserError(f"{key}.by={score.by} is not an option", did_you_mean(score.by, KEYS))
