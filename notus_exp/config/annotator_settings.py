"""The settings of `annotators`: judges that rate the completions of the feedback, each a column of expressions."""

# mypy: disable-error-code="misc"
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from notus_exp.config.judge_settings import Judge
from notus_exp.config.ranges import one_of, unbounded

RUBRICS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
"""What a completion can be rated by in our own words; each is a text in notus_exp/judging/templates/rubrics."""
RUBRIC_FILE = "rubric"
"""Stands for a rubric that is a user's file: in settings, where its digest is by this name, and in names of sources."""
RUBRIC_SCALE = (1.0, 5.0)
"""The least and the best rating by them."""
CRITIQUE_SCALE = (1.0, 10.0)
"""The least and the best overall score of a critique."""
RATES, CRITIQUES = FORMS = ("rating", "critique")
"""What an annotator writes of a completion: a rating, or feedback in words with an overall score."""


@dataclass
class Annotator:
    """One annotator, composed: as given, any other key of it is a setting of its judge (annotator_items.py).

    A judge that is asked in words rates each completion by a `rubric`, one of `RUBRICS` or a file, or by its
    `template`, whose ratings then lie on `scale`; with `pairs` it compares the completions of a prompt two by two, in
    both orders. With `together` all completions of a prompt are rated in one call; the `form` "critique" is feedback in
    words and an overall score, one call a completion. A reward model scores.
    """

    name: str
    judge: Judge
    rubric: Optional[str] = unbounded(default=None)
    scale: Optional[list[float]] = unbounded(default=None)
    pairs: bool = unbounded(default=False)
    together: bool = unbounded(since=False, default=False)
    form: str = one_of(*FORMS, since=RATES, default=RATES)
    report: bool = unbounded(default=False, in_key=False)
    told_at: Optional[str] = unbounded(default=None, in_key=False)  # where its judge is set, if not in `annotators`

    @property
    def key(self) -> str:
        """Under which its judge is set, for errors."""
        return self.told_at or f"annotators.{self.name}"

    @property
    def rubric_file(self) -> str | None:
        """The place of its rubric where that is a file: a path, or one on the hub."""
        return None if self.rubric is None or self.rubric in RUBRICS else self.rubric

    @property
    def in_json(self) -> bool:
        """Whether it answers in JSON: a rating of each of several completions, or feedback and a score."""
        return self.together or self.form == CRITIQUES

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the best rating."""
        if self.scale:
            return (self.scale[0], self.scale[1])
        return CRITIQUE_SCALE if self.form == CRITIQUES else RUBRIC_SCALE
