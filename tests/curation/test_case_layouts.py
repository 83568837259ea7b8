"""Each layout of the small inputs reads by a preset's name or a mapping of few lines, with the pairs that are right."""

from __future__ import annotations

import polars as pl
import pytest

from notus_exp.config.data_settings import FileData, Mapped, Pairs, Rated
from notus_exp.curation.pairs import curate
from notus_exp.feedback import binarised, mapped, rated
from notus_exp.feedback.data_files import resolve_files
from notus_exp.feedback.records import read_files
from notus_exp.feedback.table import Parsed, build
from support.configs import composed
from support.curation_tables import settings
from support.places import CASES

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the small inputs are not beside the checkout")

KTO = ["data=mapped", "data.mapping.completions=[{text: completion, score: label}]"]
CONTRADICTING = [
    "data=mapped",
    "data.mapping.completions=[{text: chosen, side: chosen, score: sc}, {text: rejected, side: rejected, score: sr}]",
]


def reading(name: str, *overrides: str) -> tuple[FileData, Parsed]:
    place = CASES / name if (CASES / name).is_dir() else CASES / f"{name}.jsonl"
    data = composed(f"data.path={place}", "selection=critique", *overrides).data
    assert isinstance(data, FileData)
    records = read_files(resolve_files(str(place), data.hub_split), lambda share: None)
    if isinstance(data, Mapped):
        return data, mapped.read(data, records)
    assert isinstance(data, Pairs | Rated)
    return data, binarised.read(data, records) if isinstance(data, Pairs) else rated.read(data, records)


def completions(name: str, *overrides: str) -> pl.DataFrame:
    data, parsed = reading(name, *overrides)
    assert parsed.malformed == []
    return build(parsed.rows, data.aspects)


GOOD, BAD = (
    "One thing about {} is that people have cared about it for a very long time.",
    "I do not know anything about",
)
TOPICS = ["tea", "bread", "rivers", "maps", "clocks", "boats", "bees", "glass", "wool", "stars", "salt", "trees"]
HELLO = [("user", "Hello!"), ("assistant", "Hello, what can I do for you?")]
PIRATE = [("system", "Answer like a pirate.")]


@pytest.mark.parametrize(
    ("name", "overrides", "before"),
    [
        ("implicit_prompt", ["data=trl"], []),
        ("multi_turn", ["data=trl"], HELLO),
        ("system_turn", ["data=trl"], PIRATE),
        ("single_message_dict", ["data=trl"], []),
        ("plain_pairs", ["data=trl"], []),
        ("labels_clean", ["data=trl"], []),
        ("saved_one", ["data=trl"], []),
        ("system_column", ["data=orca_pairs"], PIRATE),
        ("sharegpt", ["data=sharegpt"], []),
        ("generations_ratings", ["data=distilabel"], []),
        ("ranked_answers", ["data=nectar"], []),
        ("better_response_id", ["data=safe_rlhf"], []),
        ("kto", KTO, []),
    ],
)
def test_a_layout_gives_twelve_pairs_with_the_prompt_and_the_sides_that_are_right(
    name: str, overrides: list[str], before: list[tuple[str, str]]
) -> None:
    table = completions(name, *overrides)
    pairs = curate(table, settings("critique", "lowest", aspects=[])).pairs
    said = [[(turn["role"], turn["content"]) for turn in turns] for turns in pairs["prompt"].to_list()]
    assert said == [[*before, ("user", f"Tell me one thing about {topic}.")] for topic in TOPICS]
    assert table.height == (36 if name == "generations_ratings" else 24)
    for pair, topic in zip(pairs.iter_rows(named=True), TOPICS, strict=True):
        assert pair["chosen"][-1]["content"].startswith(GOOD.format(topic))
        assert pair["rejected"][-1]["content"].startswith(BAD)


def test_what_the_data_says_of_completions_is_read_with_them() -> None:
    rated_three = completions("generations_ratings", "data=distilabel")
    assert rated_three["model"].to_list() == ["m-a", "m-b", "m-c"] * 12
    assert rated_three["overall_score"].to_list() == [4.0, 1.0, 5.0] * 12
    ranked = completions("ranked_answers", "data=nectar")
    assert ranked.select("model", "overall_score").rows() == [("m-a", -1.0), ("m-b", -2.0)] * 12
    judged = completions("better_response_id", "data=safe_rlhf")
    assert judged.select("overall_score", "rating_helpful", "rating_safer").rows() == [(0, 0, 1), (1, 1, 0)] * 12
    assert completions("kto", *KTO)["overall_score"].to_list() == [1.0, 0.0] * 12
    scored = completions("implicit_prompt", "data=h4_ultrafeedback")
    assert scored["overall_score"].to_list() == [8.5, 5.0] * 12


@pytest.mark.parametrize(("split", "rows"), [("test", 3), ("train", 9)])
def test_a_split_of_a_folder_is_read_by_a_preset(split: str, rows: int) -> None:
    assert completions("hub_clone", "data=trl", f"data.hub_split={split}")["row"].n_unique() == rows


@pytest.mark.parametrize(
    "name",
    [
        *("plain_pairs", "labels_clean", "labels_turned", "differ_late", "whitespace_only", "end_marks"),
        *("text_repeats_prompt", "trailing_newline", "beyond_positions", "system_turn"),
    ],
)
def test_pairs_are_the_same_by_the_preset_as_by_their_own_reader(name: str) -> None:
    one, other = (reading(name, f"data={data}")[1] for data in ("trl", "pairs"))
    assert one.rows == other.rows
    assert one.malformed == other.malformed == []


def test_scores_that_contradict_their_sides_are_counted_by_a_mapping_too() -> None:
    columns = ["data.chosen_score_column=sc", "data.rejected_score_column=sr"]
    one, other = reading("contradicting", *CONTRADICTING)[1], reading("contradicting", "data=pairs", *columns)[1]
    assert one.rows == other.rows
    assert other.facts.items() <= one.facts.items()
    assert (one.facts["contradicting_scores"], one.facts["tied_scores"]) == (3, 3)


def test_rated_rows_are_the_same_by_the_preset_as_by_their_own_reader() -> None:
    one, other = (completions("nan_scores", f"data={data}") for data in ("helpsteer2", "rated"))
    assert one.equals(other)
    assert one["rating_correctness"].null_count() == 24
    for data in ("helpsteer2", "rated"):
        [row] = reading("overflow", f"data={data}")[1].malformed
        assert (row.line, row.rule) == (5, "unusable_number")
