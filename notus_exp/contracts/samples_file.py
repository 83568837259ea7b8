"""samples.json: some answers of the base model and the policy, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict, cast

from notus_exp.contracts.format import DamagedFileError, check_kinds, check_shape


class Sample(TypedDict):
    """A prompt and its two answers.

    Attributes:
        prompt_id: Of the prompt.
        instruction: Its text.
        base: The untuned model's answer, None where it has none.
        policy: The tuned model's, likewise.
    """

    prompt_id: str
    instruction: str
    base: str | None
    policy: str | None


def read_samples(path: Path) -> list[Sample]:
    """Return the content of a samples.json.

    Raises:
        DamagedFileError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check_shape(content, list[Sample])
        for number, sample in enumerate(content, 1):
            check_kinds(sample, {}, required=Sample.__annotations__, where=f"sample {number}")
    except (ValueError, OSError, RecursionError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", f"delete {path.parent} and run again") from error
    return cast(list[Sample], content)
