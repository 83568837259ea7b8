"""AlpacaEval's prompts with their reference answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.kit.published_files import read_objects, refuse_twice, require


class AlpacaPrompt(NamedTuple):
    """A prompt of AlpacaEval with its reference answer and who wrote that."""

    prompt_id: str
    instruction: str
    reference: str
    reference_name: str
    dataset: str


def read_alpaca_prompts(path: Path) -> list[AlpacaPrompt]:
    """Read AlpacaEval's reference outputs: objects with instruction and output, and generator and dataset where known.

    Raises:
        UserError: The file cannot be read, a text is missing or empty, an instruction comes twice, or the answers are
            of several models, so that a win rate would be against nobody.
    """
    what = "evaluation.alpaca_eval.prompts"
    found = []
    for number, row in enumerate(read_objects(path, ["instruction", "output"], what), start=1):
        place = f"{what}: '{path}' record {number}"
        require(row, "output", "text", place)
        instruction = _filled(row, "instruction", place)
        name, dataset = (str(row.get(key) or default) for key, default in (("generator", "reference"), ("dataset", "")))
        found.append(AlpacaPrompt(prompt_id(instruction), instruction, row["output"], name, dataset))
    refuse_twice([prompt.instruction for prompt in found], what, path)
    if len(names := sorted({prompt.reference_name for prompt in found})) > 1:
        raise UserError(
            f"{what}: '{path}' has reference answers of several models (generator: {', '.join(names[:5])})",
            "write a file for each reference model: a win rate is against one",
        )
    return found


def _filled(row: dict[str, Any], key: str, place: str) -> str:
    require(row, key, "text", place)
    text: str = row[key]
    if not text.strip():
        raise UserError(f"{place}: {key} has no text")
    return text
