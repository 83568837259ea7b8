"""The small inputs with known right answers, read and curated as a run does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.config.curation_settings import Split
from notus_exp.curation import make_pairs
from notus_exp.curation.counts import flat
from notus_exp.curation.pairs import curate
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS, CURATION_HTML, CURATION_JSON, MANIFEST, QUARANTINE
from notus_exp.errors import UserError
from notus_exp.feedback import completions
from notus_exp.run.data_notes import data_notes
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings, keyed
from support.configs import composed
from support.curation_tables import settings
from support.places import CASES

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the small inputs are not beside the checkout")


class Curated:
    """What the stages `feedback` and `pairs` make of a case under the shipped options."""

    def __init__(self, folder: Path, name: str, *overrides: str, data: str = "pairs", split: Split | None = None):
        chosen = ("experiment=smoke", "selection=critique", f"data={data}", f"data.path={CASES / name}.jsonl")
        config = composed(*chosen, *overrides)
        self.feedback = folder / "feedback"
        self.feedback.mkdir()
        events = EventWriter("x", folder / "events.jsonl", folder / "followed.jsonl")
        self.context = context = Context(events, config.hardware, folder, {"data": [str(CASES / f"{name}.jsonl")]})
        read = FeedbackSettings(keyed(config.data), "digest")
        self.facts: dict[str, Any] = completions.run(read, {}, self.feedback, context)
        manifest = {"format": 1, "stage": "feedback", "key": "k", "slice": {}, "inputs": {}, "versions": {}}
        manifest |= {"facts": self.facts, "seconds": 0.0, "files": {}}
        (self.feedback / MANIFEST).write_text(json.dumps(manifest))
        self.settings = settings("critique", "random", aspects=config.data.aspects, split=split)
        self.settings.filters = config.filters
        self.pairs, self.counts = curate(pl.read_parquet(self.feedback / COMPLETIONS), self.settings)
        self.reading = make_pairs.how_read(self.feedback)
        self.notes = data_notes(self.facts, flat(self.counts))


def of(pairs: pl.DataFrame, role: str) -> list[str]:
    return [messages[-1]["content"] for messages in pairs[role]]


def test_plain_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    made = Curated(tmp_path, "plain_pairs")
    rows = [json.loads(line) for line in (CASES / "plain_pairs.jsonl").read_text().splitlines()]
    assert made.pairs.height == 12
    for role in ("prompt", "chosen", "rejected"):
        assert of(made.pairs, role) == [row[role] for row in rows]
    assert made.notes == []


def test_a_prompt_that_each_answer_repeats_is_stripped_and_counted(tmp_path: Path) -> None:
    made = Curated(tmp_path, "text_repeats_prompt")
    rows = [json.loads(line) for line in (CASES / "text_repeats_prompt.jsonl").read_text().splitlines()]
    for role in ("chosen", "rejected"):
        assert of(made.pairs, role) == [row[role].removeprefix(f"{row['prompt']}\n") for row in rows]
    assert made.reading["stripped/repeated_prompt"] == 24
    assert made.notes == [
        "24 responses began with the prompt: stripped to the answer alone; data.repeated_prompts=keep leaves them"
    ]


def test_answers_are_kept_as_they_are_where_that_is_asked_for(tmp_path: Path) -> None:
    made = Curated(tmp_path, "text_repeats_prompt", "data.repeated_prompts=keep")
    assert all(text.startswith("Tell me one thing") for text in of(made.pairs, "chosen"))
    assert made.notes == [
        "24 responses began with the prompt: kept as they are; data.repeated_prompts=strip takes the answer alone"
    ]


def test_twins_with_a_trailing_newline_are_one_prompt(tmp_path: Path) -> None:
    made = Curated(tmp_path, "trailing_newline", "filters.max_pairs=null", split=Split(0, 0.1, 0.2))
    assert made.pairs.height == 60
    assert made.counts["prompts_dropped"]["duplicate_prompt"] == 60


def test_no_twin_of_a_training_prompt_is_held_out(tmp_path: Path) -> None:
    everything = ("filters.duplicate_prompts=false", "filters.max_pairs=null")
    made = Curated(tmp_path, "trailing_newline", *everything, split=Split(0, 0.1, 0.2))
    splits: dict[str, set[str]] = {}
    for text, split in zip(of(made.pairs, "prompt"), made.pairs["split"], strict=True):
        splits.setdefault(text.strip(), set()).add(split)
    assert (made.pairs.height, len(splits)) == (120, 60)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "test"} <= {name for found in splits.values() for name in found}


def test_nan_is_a_missing_rating(tmp_path: Path) -> None:
    made = Curated(tmp_path, "nan_scores", data="rated")
    assert made.facts["na_ratings/correctness"] == 24
    assert (made.facts["na_ratings/helpfulness"], made.facts["bad_rows"]) == (0, 0)
    assert (made.pairs["chosen_score"].to_list(), made.pairs["rejected_score"].to_list()) == ([4.0] * 12, [1.0] * 12)


def test_a_rating_that_cannot_be_computed_with_is_an_error_or_set_aside(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"overflow\.jsonl:5: helpfulness is 1e\+308, which is not a usable number"):
        Curated(tmp_path, "overflow", data="rated")
    (tmp_path / "again").mkdir()
    made = Curated(tmp_path / "again", "overflow", "data.max_bad_rows=1", data="rated")
    [row] = [json.loads(line) for line in (made.feedback / QUARANTINE).read_text().splitlines()]
    assert (row["line"], row["rule"]) == (5, "unusable_number")
    assert made.reading == {"records": 10, "bad_rows": 1, "quarantined/unusable_number": 1}
    [note] = made.notes
    assert note.startswith("1 record of 10 set aside: 1 by unusable_number (not a usable number)")


@pytest.mark.parametrize("name", ["labels_clean", "labels_turned"])
def test_labels_say_which_side_is_chosen(tmp_path: Path, name: str) -> None:
    made = Curated(tmp_path, name)
    rows = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text().splitlines()]
    assert of(made.pairs, "chosen") == [row["chosen"] for row in rows]


def test_scores_decide_over_the_named_sides_and_contradictions_and_ties_are_told(tmp_path: Path) -> None:
    made = Curated(tmp_path, "contradicting", "data.chosen_score_column=sc", "data.rejected_score_column=sr")
    rows = [json.loads(line) for line in (CASES / "contradicting.jsonl").read_text().splitlines()]
    untied = [row for row in rows if row["sc"] != row["sr"]]
    assert len(untied) == 9
    expected = [row["chosen"] if row["sc"] > row["sr"] else row["rejected"] for row in untied]
    assert of(made.pairs, "chosen") == expected
    assert made.counts["prompts_dropped"]["nothing_worse"] == 3
    assert made.notes == [
        "of 12 pairs 3 have scores that contradict the named sides, and 3 equal scores: "
        "the scores decide, not the sides"
    ]
    (tmp_path / "pairs").mkdir()
    make_pairs.run(made.settings, {"feedback": made.feedback}, tmp_path / "pairs", made.context)
    written = json.loads((tmp_path / "pairs" / CURATION_JSON).read_text(encoding="utf-8"))
    assert written["reading"] == {"records": 12, "bad_rows": 0, "contradicting_scores": 3, "tied_scores": 3}
    page = (tmp_path / "pairs" / CURATION_HTML).read_text(encoding="utf-8")
    assert '>contradicting scores</th><td class="n">3</td>' in page
