"""annotator.json of an artifact `annotations`: what one annotator said, where it leans, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from notus_exp.contracts.format import DamagedFileError, check_shape, read_object
from notus_exp.contracts.measured import MeasuredValue

FORMAT = 1


class Leaning(MeasuredValue):
    """A share with its 95 % interval over prompts; None where nothing tells it.

    Attributes:
        n: Prompts behind it.
    """

    n: int


class SelfPreference(TypedDict):
    """What an annotator makes of completions that its own model wrote.

    Attributes:
        model: The model.
        won: Share of comparisons with a completion of another model that its own wins; a tie counts a half.
        beside: The labelling that it is compared with: `gold` or `average`.
        excess: How much more often it wins than by that labelling.
    """

    model: str
    won: Leaning
    beside: str
    excess: Leaning


class AnnotatorFile(TypedDict):
    """The file; numbers have six decimals.

    Attributes:
        format: Version of this file.
        name: The annotator's.
        judge: Who judged: the option of the group, and the model where one is named.
        asked_for: "rating", "pairs", "score", "together" or "critique".
        verdicts: Asked for.
        failed: Of them, those that hold none.
        not_applicable: Of them, those by which no rating applies; files of earlier versions lack it.
        types: How often each type of the rubric is named, the most frequent first; likewise.
        reasons: Why they failed, the most frequent first, with their numbers; of several the first ten.
        not_asked: Completions without a text, which nobody is asked about.
        with_value: Completions that have a value.
        first_preferred: Of pairs: share of the verdicts with a winner in which the answer shown first wins; of
            completions rated together, of two with different ratings how often the one shown earlier has the higher;
            a half without a lean.
        contradicting: Of pairs: share of the comparisons with two verdicts that name different winners in the two
            orders, which makes a tie.
        longer_preferred: Share of decided comparisons of two completions of different length in which the longer wins.
        self_preference: None where its model wrote no completion.
        tokens: Read and written, of cached replies too; None where nobody tells.
        usd: At the config's prices, of cached replies too; None without prices.
    """

    format: int
    name: str
    judge: dict[str, str]
    asked_for: str
    verdicts: int
    failed: int
    not_applicable: NotRequired[int]
    types: NotRequired[dict[str, int]]
    reasons: dict[str, int]
    not_asked: int
    with_value: int
    first_preferred: Leaning | None
    contradicting: Leaning | None
    longer_preferred: Leaning
    self_preference: SelfPreference | None
    tokens: int | None
    usd: float | None


def read_annotator(path: Path) -> AnnotatorFile:
    """Return the content of an annotator.json.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It cannot be read.
        NewerFormatError: It is of a newer version.
    """
    try:
        content: Any = read_object(path, FORMAT)
        check_shape(content, AnnotatorFile)
    except ValueError as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", f"delete {path.parent} and run again") from error
    return cast(AnnotatorFile, content)
