"""`score ifeval`: which instructions of IFEval stored answers follow."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from notus_exp.disk.hashing import prompt_id
from notus_exp.evaluation.ifeval import checking as ifeval
from notus_exp.reporting.tables import Report, Table, span


def report(responses: Path, prompts: Path, exclude: Collection[int]) -> Report:
    """Check stored answers.

    nltk's tables are also looked for in a folder nltk_data beside the prompts.

    Args:
        responses: JSON lines with `prompt, response`.
        prompts: JSON lines with `key, prompt, instruction_id_list, kwargs`.
        exclude: Keys of prompts to leave out.

    Raises:
        UserError: A file cannot be used, an instruction or a key is unknown, or nltk's tables are missing.
    """
    asked, answers = ifeval.read_prompts(prompts), ifeval.read_responses(responses)
    tables = prompts.parent / "nltk_data"
    kept = ifeval.without(asked, exclude)
    measured = ifeval.measure(kept, answers, nltk_data=tables if tables.is_dir() else None)
    counts, shares = ifeval.counts(measured), ifeval.estimates(measured)
    left_out = {
        "prompts_excluded": len(asked) - len(kept),
        **ifeval.left_out(measured),
        "answers_to_other_prompts": len(answers.keys() - {prompt_id(prompt.text) for prompt in asked}),
    }
    found = Report({"counts": counts, "estimates": shares, "left_out": left_out})
    rows = [
        (
            name,
            f"{followed} of {n}",
            f"{100 * followed / n:.2f} %" if n else "-",
            span(100 * shares[f"ifeval/{name}"].low, 100 * shares[f"ifeval/{name}"].high),
        )
        for name, (followed, n) in counts.items()
    ]
    found.tables.append(Table("IFEval", ["", "followed", "share", "95 % interval, %"], rows))
    found.sentences = [f"{name.replace('_', ' ')}: {count}" for name, count in left_out.items()]
    return found
