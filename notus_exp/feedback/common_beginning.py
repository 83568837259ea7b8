"""A prompt that is the common beginning of texts: TRL's implicit prompt of its standard (not conversational) format."""

from __future__ import annotations

import re
from collections.abc import Sequence

from notus_exp.feedback.repeats import transcript
from notus_exp.feedback.table import RowError

_LAST_SPACE = re.compile(r"(?s:.*)\s")


def common_beginning(texts: Sequence[str], named: str) -> str:
    """Return what texts have in common, up to the first word that they do not; each text goes on with its answer.

    Where the first different character begins a word it is the prompt that `trl.data_utils.extract_prompt` (TRL 1.16)
    finds: the one space before it is the answers'. TRL cuts there within a word too; here the word goes to the answers.

    Args:
        texts: At least two, each a prompt and an answer.
        named: The fields, for the message.

    Raises:
        RowError: They have no beginning in common, one is the beginning of the other, so that it does not show where
            its answer begins, or they are transcripts.
    """
    if any(transcript(text, "") for text in texts):
        raise RowError(f"{named} are transcripts: data.mapping.speakers says how turns are marked, as in data=hh_rlhf")
    differs = (number for number, signs in enumerate(zip(*texts, strict=False)) if len(set(signs)) > 1)
    end = next(differs, min(map(len, texts)))
    shared = texts[0][:end]
    if any(len(text) == end for text in texts):
        raise RowError(f"{named}: one is the beginning of the other, so that it is not known where the answers begin")
    if not all(text[end].isspace() for text in texts):
        before = _LAST_SPACE.match(shared)
        end = before.end() if before else 0
    prompt = shared[: end - 1] if shared[:end].endswith(" ") else shared[:end]
    if not prompt.strip():
        raise RowError(f"there is no prompt: {named} are texts, and do not begin with the same words")
    return prompt
