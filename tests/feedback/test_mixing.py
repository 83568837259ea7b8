"""Several sources in one table: shares, names, rows, what is counted, and what enters the key."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.curation.make_pairs import by_corpus
from notus_exp.curation.pairs import curate
from notus_exp.disk.json_lines import read_lines
from notus_exp.errors import UserError
from notus_exp.feedback import data_files
from notus_exp.feedback.mixing import MixPart, counted, mix, quotas
from notus_exp.feedback.table import Row, build
from support.curation_tables import settings
from support.feedback_stage import Feedback, asked, made, planned
from support.places import CASES

COMMIT = "c" * 40


def read(corpus: str, weight: float | None, texts: Sequence[str], aspect: str = "x", extra: int = 0) -> MixPart:
    """Return a source with one completion a prompt; `extra` records of it were malformed."""
    rows = [Row(number, 0, prompt, "answer", ratings=(1.0,)) for number, prompt in enumerate(texts)]
    return MixPart(corpus, weight, build(rows, [aspect]), {"records": len(rows) + extra, "bad_rows": extra})


def prompts(corpus: str, number: int) -> list[str]:
    return [f"{corpus} {one}" for one in range(number)]


def taken(table: pl.DataFrame, corpus: str) -> set[str]:
    return set(table.filter(pl.col("corpus") == corpus)["instruction"])


@pytest.mark.parametrize(
    ("sizes", "weights", "most", "expected"),
    [
        ([700, 300], [0.7, 0.3], None, [700, 300]),  # 0.7 of 1000 exactly, in decimals
        ([1000, 100], [0.5, 0.5], None, [100, 100]),
        ([1000, 100], [3, 1], None, [300, 100]),
        ([10, 10, 10], [1, 1, 1], 10, [4, 3, 3]),
        ([40, 12, 3], [0.5, 0.3, 0.2], None, [8, 4, 3]),  # 15 prompts: 7.5, 4.5, 3
        ([5, 9], [None, None], None, [5, 9]),
    ],
)
def test_weights_are_shares_of_the_prompts(
    sizes: list[int], weights: list[float | None], most: int | None, expected: list[int]
) -> None:
    sources = [read(f"c{number}", weight, ["a"]) for number, weight in enumerate(weights)]
    assert quotas(sizes, sources, most) == expected


def test_a_source_with_too_few_prompts_is_an_error_that_names_the_most_there_can_be() -> None:
    sources = [read("a", 0.7, ["x"]), read("b", 0.3, ["x"])]
    with pytest.raises(UserError, match=r"b is to give 300 of 1,000 prompts \(weight 0.3\), and has 200") as error:
        quotas([1000, 200], sources, 1000)
    assert "data.prompts=666 is the most" in error.value.hint
    with pytest.raises(UserError, match="b is to give 0 of 2 prompts"):
        quotas([100, 100], [read("a", 0.9, ["x"]), read("b", 0.1, ["x"])], 2)


def test_what_is_taken_of_a_source_is_nested_and_moved_by_no_other_source() -> None:
    one, other = read("a", 1, prompts("a", 200)), read("b", 1, prompts("b", 200))
    few, many = (mix([one, other], ["x"], most, 0) for most in (40, 200))
    assert len(taken(few, "a")) == 20 and taken(few, "a") < taken(many, "a")
    third = mix([read("b", 1, prompts("c", 150)), read("z", 1, prompts("z", 99)), one], ["x"], 60, 0)
    assert taken(third, "a") == taken(few, "a")
    backwards = read("a", 1, prompts("a", 200)[::-1])
    assert taken(mix([backwards, other], ["x"], 40, 0), "a") == taken(few, "a")
    assert taken(mix([one, other], ["x"], 40, 1), "a") != taken(few, "a")


def test_rows_go_on_from_source_to_source_and_ratings_that_one_lacks_are_null() -> None:
    table = mix([read("a", None, ["p", "q"], "x", extra=1), read("b", None, ["p"], "y")], ["x", "y"], None, 0)
    assert table.select("row", "corpus", "rating_x", "rating_y").rows() == [
        (0, "a", 1.0, None),
        (1, "a", 1.0, None),
        (3, "b", None, 1.0),
    ]


def test_lists_that_one_source_lacks_are_empty() -> None:
    first = read("a", None, ["p", "r"])
    turns = pl.Series("context", [[{"role": "user", "content": "before"}]])
    second = read("b", None, ["q"])
    second = second._replace(table=second.table.with_columns(turns))
    assert mix([first, second], ["x"], None, 0)["context"].to_list() == [[], [], turns.to_list()[0]]


RATED = "prompt,response,helpfulness,correctness,coherence\n{}"
SIMULATED = "{data: simulated, corpus: world, prompts: 20, weight: 0.5}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rows = "".join(f"ask {one},good,4,4,\nask {one},bad,0,1,2\n" for one in range(10))
    (tmp_path / "r.csv").write_text(RATED.format(rows), encoding="utf-8")
    pairs: list[Any] = [{"prompt": f"ask {one}\n", "chosen": "good", "rejected": "bad"} for one in (8, 9, 10, 11)]
    lines = [json.dumps(pair) for pair in pairs]
    (tmp_path / "p.jsonl").write_text("\n".join([*lines[:2], "{", *lines[2:]]) + "\n", encoding="utf-8")
    return tmp_path


def mixed(files: Path, *overrides: str, weights: Sequence[float] | None = None, bad: int = 1) -> Feedback:
    shares = [f", weight: {weight}" for weight in weights] if weights else ["", ""]
    one = f"{{data: rated, path: {files}/r.csv{shares[0]}}}"
    other = f"{{data: pairs, path: {files}/p.jsonl, corpus: labelled, max_bad_rows: {bad}{shares[1]}}}"
    return made(files / "made", "data=mix", f"data.sources=[{one}, {other}]", *overrides)


def test_a_mix_counts_what_it_read_and_took_of_each_source(files: Path) -> None:
    feedback = mixed(files)
    assert feedback.facts == {
        "records": 25, "bad_rows": 1, "quarantined/unreadable": 1, "contradicting_scores": 0, "tied_scores": 0,
        "scored_pairs": 4, "prompts_in_several": 2,  # ask 8 and ask 9, up to white space
        "corpus_records/rated": 20, "corpus_bad_rows/rated": 0, "corpus_prompts_read/rated": 10,
        "corpus_prompts/rated": 10, "corpus_completions/rated": 20,
        "corpus_records/labelled": 5, "corpus_bad_rows/labelled": 1, "corpus_prompts_read/labelled": 4,
        "corpus_prompts/labelled": 4, "corpus_completions/labelled": 8,
        "prompts": 14, "completions": 28, "models": 1, "sources": 1, "missing_overall": 0,
        "na_ratings/helpfulness": 8, "na_ratings/correctness": 8, "na_ratings/coherence": 18,
    }  # fmt: skip
    assert feedback.table.group_by("corpus", maintain_order=True).len().rows() == [("rated", 20), ("labelled", 8)]
    assert feedback.table["row"].n_unique() == 14
    (bad,) = read_lines(feedback.out / "quarantine.jsonl")
    assert (bad["file"], bad["line"]) == ("labelled/p.jsonl", 3)


def test_weights_take_a_share_of_each_source(files: Path) -> None:
    feedback = mixed(files, weights=(0.5, 0.5))
    assert (feedback.facts["corpus_prompts/rated"], feedback.facts["corpus_prompts/labelled"]) == (4, 4)
    assert feedback.facts["corpus_prompts_read/rated"] == 10
    assert mixed(files, "data.prompts=4", weights=(3, 1)).table["prompt_id"].n_unique() == 4


def test_each_source_has_its_own_limit_of_malformed_rows(files: Path) -> None:
    with pytest.raises(UserError, match=re.escape("1 malformed row, data.sources.1.max_bad_rows is 0: labelled/")):
        mixed(files, bad=0)
    assert len(list(read_lines(files / "made/out/quarantine.jsonl"))) == 1


def test_an_error_of_a_reader_names_the_source(files: Path) -> None:
    sources = f"{SIMULATED}, {{data: rated, path: {files}/r.csv, response_column: answer, weight: 0.5}}"
    with pytest.raises(UserError, match=re.escape("data.sources.1.response_column='answer'")):
        made(files, "data=mix", f"data.sources=[{sources}]")
    with pytest.raises(UserError, match=re.escape("data.sources.0.path: there is no file or folder")):
        planned(asked("data=mix", f"data.sources=[{{data: rated, path: {files}/nowhere.csv}}]"))


def test_a_simulated_world_is_a_source_and_its_truth_is_kept_where_all_have_one(files: Path) -> None:
    both = made(files, "data=mix", f"data.sources=[{SIMULATED}, {{data: rated, path: {files}/r.csv, weight: 0.5}}]")
    assert both.table["corpus"].to_list()[0] == "world" and "latent_quality" not in both.table.columns
    assert both.facts["corpus_prompts/world"] == both.facts["corpus_prompts/rated"] == 10
    alone = made(files, "data=mix", "data.sources=[{data: simulated, prompts: 3}]")
    assert alone.table.columns[-2:] == ["corpus", "latent_quality"]
    world = made(files, "data=simulated", "data.prompts=3").table
    assert alone.table.drop("corpus").equals(world)


def test_the_key_holds_the_content_of_every_source_and_the_commits_of_the_hub(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = {"main": COMMIT, "v2": "d" * 40}
    monkeypatch.setattr(data_files, "hub_commit", lambda name, revision, kind: commits[revision])
    local, hub = f"{{data: rated, path: {files}/r.csv, weight: 1}}", "{data: pairs, hub_id: a/b, weight: 1}"
    config = asked("data=mix", f"data.sources=[{local}, {hub}]")
    one, other = config.data.sources  # type: ignore[attr-defined]

    def key() -> str:
        node, _ = planned(config)
        assert node.settings["source_digests"][1] == commits[other.data.revision]
        return node.key

    keys = [key()]
    one.data.path = str((files / "r.csv").rename(files / "elsewhere.csv"))
    assert key() == keys[0]
    other.data.revision = "v2"
    keys.append(key())
    other.weight = 2.0
    keys.append(key())
    with (files / "elsewhere.csv").open("a", encoding="utf-8") as stream:
        stream.write("more,x,1,1,1\n")
    keys.append(key())
    assert len({*keys}) == 4


def test_a_source_on_the_hub_is_read_at_its_commit(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(data_files, "hub_commit", lambda *asked: COMMIT)
    told: dict[str, Any] = {}

    def load_dataset(hub_id: str, **settings: Any) -> Any:
        told.update(settings, hub_id=hub_id)
        return datasets.Dataset.from_list([{"prompt": "p", "chosen": "a", "rejected": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    sources = f"{{data: rated, path: {files}/r.csv}}, {{data: pairs, hub_id: a/b, hub_split: x}}"
    facts = made(files, "data=mix", f"data.sources=[{sources}]").facts
    assert told == {"hub_id": "a/b", "split": "x", "revision": COMMIT}
    assert facts["corpus_prompts/pairs"] == 1


def test_a_source_may_have_any_layout_by_a_mapping(files: Path) -> None:
    rows = [{"q": f"ask {one}", "answers": ["x", "y"], "marks": [2, 1]} for one in range(3)]
    (files / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    mapping = "{prompt: q, completions: [{text: 'answers.*', score: 'marks.*'}]}"
    sources = f"{{data: rated, path: {files}/r.csv}}, {{data: mapped, path: {files}/m.jsonl, mapping: {mapping}}}"
    feedback = made(files, "data=mix", f"data.sources=[{sources}]")
    assert taken(feedback.table, "mapped") == {"ask 0", "ask 1", "ask 2"}
    assert feedback.facts["prompts_in_several"] == 3
    with pytest.raises(UserError, match=re.escape("data.sources.0.mapping.promt")):
        asked("data=mix", "data.sources=[{data: mapped, path: x, mapping: {promt: q}}]")
    with pytest.raises(UserError, match=re.escape("data.sources.0.mapping.completions")):
        asked("data=mix", "data.sources=[{data: mapped, path: x}]")


def test_the_split_goes_by_the_prompt_whatever_its_source(files: Path) -> None:
    table = mixed(files).table
    spec = settings("critique", "lowest", aspects=["helpfulness", "correctness", "coherence"])
    spec.filters.duplicate_prompts = False
    pairs, counts = curate(table, spec)
    by_prompt = pairs.with_columns(pl.col("prompt_id").replace_strict(folded_of(table)))
    assert by_prompt.group_by("prompt_id").agg(pl.col("split").n_unique())["split"].to_list() == [1] * 12
    assert counts["pairs_out"] == 14
    assert by_corpus(table, pairs) == {"corpus_pairs/labelled": 4, "corpus_pairs/rated": 10}
    assert by_corpus(table.drop("corpus"), pairs) == {}
    spec.filters.duplicate_prompts = True
    assert curate(table, spec)[1]["prompts_dropped"]["duplicate_prompt"] == 2


def system_turn(corpus: str, system: str, principle: str, text: str = "ask", **other: Any) -> MixPart:
    """Return a source of one prompt whose system prompt is a turn of the conversation, or is not."""
    rows = [
        Row(0, number, text, answer, principle=principle, system_prompt=system, ratings=(2.0 - number,), **other)
        for number, answer in enumerate(("good", "bad"))
    ]
    return MixPart(corpus, None, build(rows, ["x"]), {"records": 1, "bad_rows": 0})


TURNS = (("user", "Hi."), ("assistant", "Hello."))


@pytest.mark.parametrize(
    ("other", "several"),
    [
        (system_turn("b", "", ""), 0),
        (system_turn("b", "Be long.", "conversation"), 0),
        (system_turn("b", "Be brief.", "conversation"), 1),
        (system_turn("b", "Be brief.", "conversation", text=" ask\n"), 1),
        (system_turn("b", "Be brief.", "conversation", context=TURNS), 0),
    ],
)
def test_the_prompts_counted_in_several_sources_are_those_that_are_taken_once(other: MixPart, several: int) -> None:
    sources = [system_turn("a", "Be brief.", "conversation"), other]
    table = mix(sources, ["x"], None, 0)
    spec = settings("average", aspects=["x"])
    spec.filters.duplicate_prompts = True
    assert counted(sources, table)["prompts_in_several"] == several
    assert curate(table, spec)[1]["prompts_dropped"].get("duplicate_prompt", 0) == several


def test_turns_that_differ_in_white_space_alone_are_the_same_prompt_in_the_count_too() -> None:
    spaced = tuple((role, f" {text}\n") for role, text in TURNS)
    sources = [system_turn("a", "", "", context=TURNS), system_turn("b", "", "", context=spaced)]
    assert counted(sources, mix(sources, ["x"], None, 0))["prompts_in_several"] == 1


def answered(corpus: str, best: str, aspect: str = "x") -> MixPart:
    """Return a source of twenty prompts, each with an answer of its own and a worse one."""
    rows = [
        Row(number, place, f"ask {number}", text, ratings=(2.0 - place,))
        for number in range(20)
        for place, text in enumerate((f"{best} {number}", "bad"))
    ]
    return MixPart(corpus, None, build(rows, [aspect]), {"records": 20, "bad_rows": 0})


def test_which_of_two_duplicates_stays_is_moved_by_no_name_no_order_and_no_other_source() -> None:
    def stay(*sources: MixPart, aspects: Sequence[str] = ("x",)) -> set[str]:
        spec = settings("average", aspects=[*aspects])
        spec.filters.duplicate_prompts = True
        return set(curate(mix(sources, aspects, None, 0), spec)[0]["chosen"].list.last().struct.field("content"))

    found = stay(answered("a", "one"), answered("b", "two"))
    assert {text.split()[0] for text in found} == {"one", "two"} and len(found) == 20
    for names in (("b", "a"), ("A", "b"), ("z", "other")):
        assert stay(answered(names[0], "one"), answered(names[1], "two")) == found
    assert stay(answered("b", "two"), answered("a", "one")) == found
    third = read("c", None, ["another"], "y")
    assert stay(answered("a", "one"), answered("b", "two"), third, aspects=("x", "y")) == found
    assert stay(third, answered("a", "one"), answered("b", "two"), aspects=("y", "x")) == found


def test_of_duplicates_that_are_the_same_in_all_that_of_the_first_source_stays() -> None:
    spec = settings("average", aspects=["x"])
    spec.filters.duplicate_prompts = True
    for names in (("a", "b"), ("b", "a")):
        pairs, _ = curate(mix([answered(name, "one") for name in names], ["x"], None, 0), spec)
        assert pairs["row"].max() == 19


def folded_of(table: pl.DataFrame) -> dict[str, str]:
    return {one: text.strip() for one, text in table.select("prompt_id", "instruction").unique().iter_rows()}


@pytest.mark.skipif(not CASES.exists(), reason="the cases do not lie beside the checkout")
def test_prompts_of_several_turns_and_saved_datasets_go_together(tmp_path: Path) -> None:
    several, saved = f"{{data: trl, path: {CASES}/multi_turn.jsonl}}", f"{{data: pairs, path: {CASES}/saved_one}}"
    feedback = made(tmp_path, "data=mix", f"data.sources=[{saved}, {several}]")
    turns = feedback.table.group_by("corpus").agg(pl.col("context").list.len().unique())
    assert dict(turns.iter_rows()) == {"pairs": [0], "trl": [2]}
    assert (feedback.facts["multi_turn_prompts"], feedback.facts["prompts"]) == (12, 24)


def test_data_that_is_no_mix_has_no_corpus_and_no_digests_of_sources(files: Path) -> None:
    alone = made(files, "data=rated", f"data.path={files}/r.csv")
    assert "corpus" not in alone.table.columns and "source_digests" not in alone.node.settings
