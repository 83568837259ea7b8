"""Rubrics: what answers are rated by, as our own files and those of users say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from notus_exp.config.annotator_settings import RUBRICS
from notus_exp.config.own_files import check_file, problem_of
from notus_exp.errors import UserError, did_you_mean

FOLDER_OF_RUBRICS = Path(__file__).parent / "templates" / "rubrics" / "together"
OVERALL = "overall"
"""What a critique goes by where no rubric is given."""
MOST_CHARACTERS = 20_000
"""Of a rubric's file: it is sent with each question."""
_KEYS = ("criterion", "types", "not_applicable")
_EXAMPLE = "write a YAML file with 'criterion: |' and the text below it, and if wanted 'types:' and 'not_applicable:'"


@dataclass(frozen=True)
class Rubric:
    """What answers are rated by.

    Attributes:
        criterion: The question that a rating answers, with what its numbers mean.
        types: Names that a judge lists with a rating -> what they mean; {} for none.
        not_applicable: When "N/A" is given in place of a rating; "" for never.
    """

    criterion: str
    types: dict[str, str] = field(default_factory=dict)
    not_applicable: str = ""


def rubric_of(named: str | None) -> Rubric:
    """Return a rubric.

    Args:
        named: One of our own, or the local path of a user's file; None for `OVERALL`.

    Raises:
        UserError: The file cannot be read, or is no rubric; it names the file and what is wrong.
    """
    own = named is None or named in RUBRICS
    path = FOLDER_OF_RUBRICS / f"{named or OVERALL}.yaml" if own else Path(named or "")
    try:
        if path.stat().st_size > MOST_CHARACTERS:
            raise UserError(
                f"judge.rubric={path} is longer than {MOST_CHARACTERS:,} bytes", "it is sent with each question"
            )
        check_file(path)
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # refuses a key that stands twice
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"judge.rubric={path} cannot be read as YAML: {problem_of(error)}", _EXAMPLE) from error
    return _rubric(content, path)


def _rubric(content: Any, path: Path) -> Rubric:
    if not isinstance(content, dict) or not content:
        raise UserError(f"judge.rubric={path} is no mapping", _EXAMPLE)
    if unknown := [key for key in content if key not in _KEYS]:
        raise UserError(f"judge.rubric={path} has the unknown key '{unknown[0]}'", did_you_mean(str(unknown[0]), _KEYS))
    criterion, never = content.get("criterion"), content.get("not_applicable") or ""
    if not (isinstance(criterion, str) and criterion.strip()):
        raise UserError(f"judge.rubric={path}: criterion must be a text, and is {criterion!r}", _EXAMPLE)
    if not isinstance(never, str):
        raise UserError(f"judge.rubric={path}: not_applicable={never} is no text", "say when a rating does not apply")
    types = content.get("types") or {}
    texts = isinstance(types, dict) and all(
        isinstance(word, str) and word.strip() for pair in types.items() for word in pair
    )
    if not texts:
        raise UserError(
            f"judge.rubric={path}: types is no mapping of names to what they mean", "write NAME: MEANING lines"
        )
    return Rubric(criterion.strip(), types, never.strip())
