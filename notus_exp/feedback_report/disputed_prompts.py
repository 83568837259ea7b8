"""The prompts on whose completions those who rated disagree most, to be read side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from notus_exp.curation.annotator_report import GOLD
from notus_exp.curation.comparisons import TIE, outcomes
from notus_exp.curation.scores import AVERAGE
from notus_exp.disk.files import ANNOTATIONS
from notus_exp.disk.hashing import uniform
from notus_exp.feedback.prompt_turns import CONTEXT, as_read
from notus_exp.feedback_report.feedback_tables import FeedbackTables
from notus_exp.reporting.tables import number
from notus_exp.reporting.texts import cut, label

MOST_PROMPTS_SHOWN = 10
MOST_ANSWERS = 6
"""Of a prompt, side by side."""
PROMPT_CHARS, RESPONSE_CHARS, SAID_CHARS, NAME_CHARS = 600, 500, 300, 60
RATIONALE = "rationale"
"""Column of annotations.parquet with an annotator's words; tables of before have none."""


class DisputedAnswer(NamedTuple):
    """A completion: its number, who wrote it by which principle, its text, each labelling's value, what raters said."""

    completion: int
    model: str
    principle: str
    text: str
    values: list[tuple[str, str]]
    said: list[tuple[str, str]]


class DisputedPrompt(NamedTuple):
    """A prompt with its completions, those beyond `MOST_ANSWERS` counted.

    Attributes:
        row: Number of the record.
        source: Where it is from.
        prompt: Its text, all turns of it.
        disputed: How far labellings name different winners: of every two completions 4 p (1 - p), p the share of those
            that decide which prefer the second one, in the mean; 0 where they agree, 1 where they are half and half.
        answers: The completions.
        more: How many are not shown.
    """

    row: int
    source: str
    prompt: str
    disputed: float
    answers: list[DisputedAnswer]
    more: int


def disputed_prompts(tables: FeedbackTables) -> list[DisputedPrompt]:
    """Return the compared prompts that are disputed most, equals in the order of a hash of their ids; all texts cut."""
    rows = _most_disputed(tables)
    if not rows:
        return []
    columns = ["row", "completion", "instruction", "source", "model", "principle", "response", "critique"]
    table = pl.scan_parquet(tables.path, glob=False)
    columns += [CONTEXT] if CONTEXT in table.collect_schema().names() else []
    texts = table.select(columns).filter(pl.col("row").is_in([*rows])).collect()
    said = {one.told["name"]: _said(one.source.folder, [*rows]) for one in tables.annotations}
    places = {key: place for place, key in enumerate(tables.completions.select("row", "completion").iter_rows())}
    found = []
    for row, share in rows.items():
        answers = texts.filter(pl.col("row") == row).sort("completion").to_dicts()
        first = answers[0]
        turns = [*(first.get(CONTEXT) or ()), {"role": "user", "content": first["instruction"]}]
        shown = [_answer(tables, one, places[row, one["completion"]], said) for one in answers[:MOST_ANSWERS]]
        source = label(first["source"], NAME_CHARS)
        more = len(answers) - len(shown)
        found.append(DisputedPrompt(row, source, as_read(turns, PROMPT_CHARS), share, shown, more))
    return found


def _most_disputed(tables: FeedbackTables) -> dict[int, float]:
    """Return the rows of the most disputed prompts with how far they are, the most disputed first."""
    pairs = tables.compared
    decide, other = np.zeros(len(pairs.one)), np.zeros(len(pairs.one))
    for name, values in tables.labellings.items():
        if name not in (GOLD, AVERAGE):  # what others say together is nobody's word beside theirs
            won = outcomes(pairs, values)
            decided = (won != TIE) & ~np.isnan(won)
            decide += decided
            other += np.where(decided, won, 0.0)
    share = np.divide(other, decide, out=np.zeros_like(other), where=decide > 0)
    apart = pl.DataFrame({"place": pairs.one, "group": pairs.group, "apart": 4 * share * (1 - share)})
    by_prompt = apart.group_by("group").agg(pl.col("place").min(), pl.col("apart").mean()).filter(pl.col("apart") > 0)
    whose = tables.completions.select("row", "prompt_id")[by_prompt["place"].to_list()]
    ordered = by_prompt.hstack(whose).with_columns(pl.col("apart").round(6))
    drawn = pl.Series("drawn", uniform(ordered["prompt_id"], 0, "disputed"), dtype=pl.Float64)
    ordered = ordered.with_columns(drawn).sort("apart", "drawn", "row", descending=[True, False, False])
    return dict(ordered.select("row", "apart").head(MOST_PROMPTS_SHOWN).iter_rows())


def _said(folder: Path, rows: list[int]) -> dict[tuple[int, int], str]:
    """Return (row, completion) -> an annotator's words; nothing where it wrote down none."""
    table = pl.scan_parquet(folder / ANNOTATIONS, glob=False)
    if RATIONALE not in table.collect_schema().names():
        return {}
    some = table.select("row", "completion", RATIONALE).filter(pl.col("row").is_in(rows)).collect()
    return {(row, completion): text for row, completion, text in some.iter_rows() if text}


def _answer(
    tables: FeedbackTables, answer: dict[str, Any], place: int, said: dict[str, dict[tuple[int, int], str]]
) -> DisputedAnswer:
    values = ((name, float(values[place])) for name, values in tables.labellings.items())
    words = {name: texts.get((answer["row"], answer["completion"]), "") for name, texts in said.items()}
    if answer["critique"] and answer["critique"] not in words.values():
        words = {"critique": answer["critique"], **words}
    return DisputedAnswer(
        answer["completion"],
        label(answer["model"], NAME_CHARS),
        label(answer["principle"], NAME_CHARS),
        cut(answer["response"], RESPONSE_CHARS),
        [(name, "–" if np.isnan(value) else number(value, 2)) for name, value in values],
        [(name, cut(text, SAID_CHARS)) for name, text in words.items() if text],
    )
