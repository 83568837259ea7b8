"""Small completions tables and settings for the tests of curation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from notus_exp.config.curation_settings import (
    Ambiguous,
    Contamination,
    Filters,
    PairChoice,
    PairLabels,
    PairRule,
    Rejected,
    Repair,
    Selection,
    Split,
    TopTies,
)
from notus_exp.disk.hashing import prompt_id
from notus_exp.feedback.prompt_turns import TURNS
from notus_exp.stages.settings import PairsSettings

ASPECTS = ["helpfulness", "honesty"]


def completion(response: str, *ratings: float | None, overall: float | None = None, **other: Any) -> dict[str, Any]:
    """One completion: its text, its ratings in the order of the aspects, its overall score."""
    return {"response": response, "ratings": ratings, "overall_score": overall, **other}


def prompt(instruction: str, *completions: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"instruction": instruction, "completions": completions, **other}


def table(*prompts: dict[str, Any], aspects: list[str] = ASPECTS) -> pl.DataFrame:
    """The completions table of these prompts; `row` is their number, `context` their earlier (role, content)."""
    rows: list[dict[str, Any]] = []
    conversations = any(record.get("context") for record in prompts)
    for row, record in enumerate(prompts):
        for index, answer in enumerate(record["completions"]):
            ratings = dict(zip(aspects, answer["ratings"], strict=False))
            rows.append(
                {
                    "prompt_id": prompt_id(record["instruction"], record.get("context", ())),
                    "row": record.get("row", row),
                    "source": record.get("source", "made"),
                    "instruction": record["instruction"],
                    "completion": answer.get("index", index),
                    "model": answer.get("model", f"model-{index}"),
                    "principle": answer.get("principle", record.get("principle", "")),
                    "system_prompt": record.get("system_prompt", ""),
                    "response": answer["response"],
                    **{f"rating_{aspect}": ratings.get(aspect) for aspect in aspects},
                    "overall_score": answer["overall_score"],
                    "critique": "",
                    **({"context": _turns(record.get("context", ()))} if conversations else {}),
                }
            )
    floats = {f"rating_{aspect}": pl.Float64 for aspect in aspects} | {"overall_score": pl.Float64}
    kinds = floats | ({"context": TURNS} if conversations else {})
    return pl.DataFrame(rows, schema_overrides=kinds, infer_schema_length=None)


def _turns(context: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in context]


NO_FILTERS = Filters(
    min_margin=0.0,
    min_chars=0,
    max_chars=None,
    duplicate_prompts=False,
    duplicate_responses=False,
    identical_pairs=False,
    empty_responses=False,
    exclude_sources=[],
    contamination=Contamination([], None, 3, 0.5),
    valid_under=[],
    max_pairs=None,
    max_pairs_by=PairChoice.random,
)


def settings(
    selection: str = "average",
    rejected: str = "lowest",
    *,
    aspects: list[str] = ASPECTS,
    aspect: str | None = None,
    weights: dict[str, float] | None = None,
    ties: TopTies = TopTies.hash,
    labels: PairLabels = PairLabels.kept,
    score: str | None = None,
    place: str = "highest",
    rejected_score: str | None = None,
    rejected_place: str | None = None,
    per_prompt: str = "1",
    weight: str | None = None,
    rejected_ties: TopTies = TopTies.hash,
    strictly_worse: bool = True,
    repair: str = "none",
    ambiguous: Ambiguous = Ambiguous.drop,
    split: Split | None = None,
    seed: int = 0,
    **filters: Any,
) -> PairsSettings:
    """Settings without any filter but those given."""
    return PairsSettings(
        aspects=aspects,
        repair=Repair(repair, 2.0, 4.0, ambiguous),
        selection=Selection(selection, aspect, weights or {}, ties, labels, score, place),
        rejected=Rejected(rejected, strictly_worse, rejected_ties, rejected_score, rejected_place),
        filters=replace(NO_FILTERS, **filters),
        contamination_digests=[],
        split=split or Split(0, 0.0, 0.0),
        seed=seed,
        pairs=PairRule(per_prompt, weight),
    )


def texts(pairs: pl.DataFrame) -> list[tuple[str, str]]:
    """(chosen, rejected) text of each pair."""
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in pairs.iter_rows(named=True)]


def world(prompts: int, seed: int) -> pl.DataFrame:
    """A prompt that always gives a pair, then some of one to five completions with ties, gaps and repeated texts."""
    draw = np.random.default_rng(seed)
    sure = prompt(
        f"sure {seed}", completion("good", 3, 3, overall=2), completion("bad", 1, 1, overall=1), source="good"
    )
    return table(
        sure,
        *(
            prompt(
                f"prompt {seed} {number}",
                *(
                    completion(
                        "" if draw.random() < 0.05 else f"text {draw.integers(6)}",
                        *(None if draw.random() < 0.1 else float(draw.integers(1, 4)) for _ in ASPECTS),
                        overall=None if draw.random() < 0.1 else float(draw.choice([1, 2, 10])),
                    )
                    for _ in range(draw.integers(1, 6))
                ),
                source=str(draw.choice(["good", "bad"])),
            )
            for number in range(prompts)
        ),
    )
