"""A mean of ratings on different scales says that it is the widest one's choice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from notus_exp.curation.make_pairs import run
from notus_exp.curation.pairs import curate
from notus_exp.curation.spreads import spread_notes
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS, CURATION_HTML, CURATION_JSON
from notus_exp.stages.context import Context
from support.configs import composed
from support.curation_tables import completion, prompt, settings, table


def rated(narrow: float, wide: float = 8.0) -> pl.DataFrame:
    """Three prompts of two responses; helpfulness spreads by `narrow`, honesty by `wide` the other way."""
    answers = [completion("a", 1 + narrow, 0.0), completion("b", 1.0, wide), completion("c", None, None)]
    return table(*(prompt(f"p{number}", *answers) for number in range(3)))


def notes(frame: pl.DataFrame, **changes: object) -> list[str]:
    spec = replace(settings(), **changes)
    return spread_notes(frame, spec, curate(frame, spec).pairs)


def test_spreads_more_than_fivefold_apart_are_said_with_what_they_do() -> None:
    # two responses apart by x have the standard deviation x / sqrt(2)
    [said] = notes(rated(0.02))
    assert "selection=average takes the mean of ratings whose spreads within a prompt differ more than 5-fold" in said
    assert "helpfulness 0.0141, honesty 5.66" in said
    assert "the response with the highest honesty is chosen in 100 % of the pairs" in said


@pytest.mark.parametrize(("narrow", "said"), [(1.7, 0), (1.5, 1), (0.0, 1), (7.0, 0)])
def test_up_to_fivefold_is_not_remarked_on(narrow: float, said: int) -> None:
    assert len(notes(rated(narrow))) == said


def test_between_prompts_nothing_counts_and_a_selection_without_a_mean_has_no_note() -> None:
    answers = [[completion("a", 100.0 * n + 1, 1.0), completion("b", 100.0 * n, 0.0)] for n in (1, 2)]
    frame = table(*(prompt(f"p{number}", *both) for number, both in enumerate(answers)))
    assert notes(frame) == []
    assert notes(rated(0.02), selection=replace(settings().selection, name="per_aspect", aspect="honesty")) == []


def test_weights_can_make_spreads_alike() -> None:
    weighted = replace(settings().selection, name="weighted", weights={"helpfulness": 1.0, "honesty": 0.01})
    assert notes(rated(0.1), selection=weighted) == []
    [said] = notes(rated(0.1), selection=replace(weighted, weights={"helpfulness": 1.0, "honesty": 1.0}))
    assert "times their weights" in said


def test_the_note_stands_in_the_file_the_page_and_the_facts(tmp_path: Path) -> None:
    (tmp_path / "feedback").mkdir()
    (tmp_path / "out").mkdir()
    rated(0.02).write_parquet(tmp_path / "feedback" / COMPLETIONS)
    context = Context(EventWriter("pairs", tmp_path / "events.jsonl"), composed().hardware, tmp_path)
    facts = run(settings(), {"feedback": tmp_path / "feedback"}, tmp_path / "out", context)
    [said] = json.loads((tmp_path / "out" / CURATION_JSON).read_text())["notes"]
    assert facts["notes"] == [said]
    page = (tmp_path / "out" / CURATION_HTML).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert said in page
