"""The rules that users had before they were written in the language make the same pairs of real data, to the bit."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import polars as pl
import pytest

from notus_exp.config.curation_settings import TopTies
from notus_exp.curation.pairs import curate
from notus_exp.disk.hashing import digest
from support.curation_tables import completion, prompt, settings, table
from support.places import REPLAY

HELPSTEER = REPLAY / "helpsteer/helpsteer_500.jsonl"
ASPECTS = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
OPTIONS: dict[str, dict[str, Any]] = {
    "per_aspect": {"aspect": "helpfulness"},
    "weighted": {"weights": {"helpfulness": 0.3, "coherence": 0.1, "verbosity": 0.7}},
}
PAIRS = {
    "average lowest": "2283b183a4432243",
    "average random": "7af962c20df1746f",
    "average second_best": "6c0438fd640fbbf7",
    "critique lowest": "f70e0b8b68782a57",
    "critique random": "304ad2390e151a8c",
    "critique second_best": "c770be61b1beaee6",
    "per_aspect lowest": "215397b65be85fde",
    "per_aspect random": "d679a8d1655ef950",
    "per_aspect second_best": "a82d7d7861f7e514",
    "weighted lowest": "ac5a90ae2e995d68",
    "weighted random": "5f805b8a4c155bba",
    "weighted second_best": "eab191344a817942",
}
"""Selection and rejection -> digest over the three policies for ties, by the commit before the language."""


@cache
def rated() -> pl.DataFrame:
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for line in HELPSTEER.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        ratings = (float(row[aspect]) for aspect in ASPECTS)
        overall = float(row["helpfulness"] + row["correctness"] + 2)
        by_prompt.setdefault(row["prompt"], []).append(completion(row["response"], *ratings, overall=overall))
    return table(*(prompt(text, *answers) for text, answers in by_prompt.items()), aspects=ASPECTS)


@pytest.mark.skipif(not HELPSTEER.exists(), reason="../shared/replay is absent")
@pytest.mark.parametrize("rules", PAIRS)
def test_the_rules_of_before_make_the_same_pairs(rules: str) -> None:
    selection, rejected = rules.split()
    found = []
    for ties in (TopTies.hash, TopTies.first, TopTies.drop):
        spec = settings(
            selection,
            rejected,
            aspects=ASPECTS,
            ties=ties,
            rejected_ties=ties if rejected != "random" else TopTies.hash,
            identical_pairs=True,
            repair="openbmb",
            seed=3,
            **OPTIONS.get(selection, {}),
        )
        found.append(digest(curate(rated(), spec).pairs.to_dicts())[:16])
    assert digest(found)[:16] == PAIRS[rules]
