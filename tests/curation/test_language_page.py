"""The examples of docs/language.md: each is an option of one's own that composes and makes pairs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from notus_exp.config.expression_checks import joined_columns
from notus_exp.config.vocabulary import WRITTEN
from notus_exp.curation.columns import NAMED
from notus_exp.curation.pairs import curate
from notus_exp.run.plan import make_plan
from notus_exp.stages.settings import PairsSettings, from_json
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.places import ROOT
from support.plans import fixed_sources

PAGE = (ROOT / "docs/language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


def rated(aspects: list[str]) -> pl.DataFrame:
    """300 prompts of four completions, rated from 1 to 5, and a joined score."""
    draw = np.random.default_rng(3)
    answers = [
        [
            completion(
                " ".join([f"word{number}"] * int(draw.integers(8, 30))),
                *map(float, draw.integers(1, 6, len(aspects))),
                overall=float(draw.integers(1, 11)),
            )
            for number in range(4)
        ]
        for _ in range(300)
    ]
    rows = table(*(prompt(f"p{number}", *four) for number, four in enumerate(answers)), aspects=aspects)
    return rows.with_columns(pl.Series(NAMED + "armorm", draw.normal(size=rows.height)))


def test_there_are_ten_examples_and_every_word_is_on_the_page() -> None:
    assert len(EXAMPLES) == 10
    assert [word for word in WRITTEN if word not in PAGE] == []


@pytest.mark.parametrize("number", range(10))
def test_an_example_composes_and_makes_pairs(number: int, tmp_path: Path) -> None:
    (tmp_path / "curation").mkdir()
    (tmp_path / "curation/mine.yaml").write_text(EXAMPLES[number], encoding="utf-8")
    config = composed("curation=mine", "filters.max_pairs=null", own=tmp_path)
    node = next(node for node in make_plan(config, fixed_sources(config)) if node.name == "pairs")
    spec = from_json(PairsSettings, node.settings)
    assert spec.columns == joined_columns(config)
    assert (number == 0) == (spec.columns == ["armorm"])
    curated = curate(rated(config.data.aspects), spec)
    assert curated.pairs.height >= 5
    assert (curated.pairs["margin"] > 0).all()
