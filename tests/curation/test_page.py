"""The stage's files: pairs, counts, and a page that stands alone and escapes what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.config.curation_settings import Contamination
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.curation import strategies as compare_module
from notus_exp.curation.make_pairs import run
from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import curate
from notus_exp.curation.strategies import agreement, compare_strategies, share, truth
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import COMPLETIONS, CURATION_HTML, CURATION_JSON, PAIRS
from notus_exp.stages.context import Context
from support.curation_tables import ASPECTS, completion, prompt, settings, table
from support.pages import Page

EVIL = "<script>alert(1)</script> $x^2$ & {{ 7 * 7 }}"
HARDWARE = Hardware("cpu", Device.cpu, 1, 1, 1, "eager", False, [], Launch.plain, 1, None, False)


def disagreeing(latent: bool = True) -> pl.DataFrame:
    """Two prompts on which average and critique agree, two on which they differ (one only before the repair)."""
    frame = table(
        prompt(f"agree {EVIL}", completion(f"a {EVIL}", 5, 5, overall=9, model=EVIL), completion("b", 1, 1, overall=2)),
        prompt("agree too", completion("a", 4, 4, overall=8), completion("b", 2, 2, overall=3)),
        prompt("differ", completion("a", 5, 4, overall=3), completion("b", 2, 2, overall=8)),
        prompt("repaired", completion("a", 4, 4, overall=7), completion("b", 1, 1, overall=10)),
    )
    quality = [0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.6, 0.6]  # the critique is right on "differ"; "repaired" is a tie
    return frame.with_columns(latent_quality=pl.Series(quality)) if latent else frame


def test_agreement_counts_the_same_chosen_text_on_common_prompts() -> None:
    comparison = compare_strategies(disagreeing(), settings(), ())
    assert comparison.labels == ["critique", "critique, repair openbmb", "average", *ASPECTS]
    shares, numbers = agreement(comparison)
    assert shares[0][2] == shares[2][0] == 0.5
    assert shares[1][2] == 0.75
    assert [shares[n][n] for n in range(5)] == [1.0] * 5
    assert numbers[0][2] == 4


def test_truth_says_how_often_the_choice_is_right() -> None:
    found = truth(compare_strategies(disagreeing(), settings(), ()))
    assert found["average"]["best"]["value"] == 0.75  # right twice, wrong on "differ", equal on "repaired"
    assert found["average"]["better"]["value"] == 0.5
    assert found["critique"]["best"]["value"] == 1.0
    assert truth(compare_strategies(disagreeing(latent=False), settings(), ())) == {}


def one_wide_of_four(weight: str | None) -> tuple[dict[str, Any], str]:
    """Return the numbers and the page of four pairs with the margins 4, 1, 1 and 1."""
    scores = (5, 2, 2, 2)
    frame = table(*(prompt(f"p{i}", completion("a", n, n), completion("b", 1, 1)) for i, n in enumerate(scores)))
    spec = settings(weight=weight)
    summary = summarise(frame, spec, curate(frame, spec))
    return dict(summary.numbers), render(summary)


def test_the_report_says_how_many_pairs_uneven_weights_leave_and_notes_less_than_half() -> None:
    numbers, page = one_wide_of_four("margin")  # (4 + 1 + 1 + 1)^2 / (16 + 1 + 1 + 1) = 49 / 19
    assert numbers["weights"] == {"training_pairs": 4, "effective": 2.578947, "largest": 2.285714}
    assert not [note for note in numbers["notes"] if "pairs.weight" in note]
    assert "4 training pairs count as so many of one weight</dt><dd>2.6</dd>" in page
    numbers, page = one_wide_of_four("POWER(margin, 2)")  # 19^2 / (256 + 3) = 361 / 259
    assert numbers["weights"]["effective"] == 1.393822
    note = (
        "pairs.weight makes 4 training pairs count as 1.4 of one weight would: "
        "the largest weight is 3.368 times the mean"
    )
    assert numbers["notes"][-1] == note
    assert note in page
    numbers, page = one_wide_of_four(None)
    assert "weights" not in numbers
    assert "of one weight" not in page


def test_a_share_has_a_wilson_interval() -> None:
    found = share(8, 10)
    assert (found["value"], found["n"]) == (0.8, 10)
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert share(0, 0) == {"value": None, "low": None, "high": None, "n": 0}


def test_strategies_without_any_score_are_left_out_and_the_runs_own_is_marked() -> None:
    no_overall = disagreeing().with_columns(overall_score=pl.lit(None, pl.Float64))
    weighted = settings("weighted", weights={"honesty": 1.0})
    comparison = compare_strategies(no_overall, weighted, ())
    assert comparison.labels == ["average", *ASPECTS, "weighted"]
    assert comparison.own == "weighted"
    assert compare_strategies(disagreeing(), settings("critique", repair="drop"), ()).own == "critique, repair drop"
    plain = compare_strategies(disagreeing(), settings("critique", aspects=[]), ())
    assert (plain.labels, plain.own) == (["critique"], "critique")


def test_large_feedback_is_compared_on_a_fixed_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "MOST_PROMPTS", 2)
    comparison = compare_strategies(disagreeing(), settings(), ())
    shuffled = compare_strategies(disagreeing().sample(fraction=1, shuffle=True, seed=1), settings(), ())
    assert comparison.sampled
    assert comparison.choices["prompt_id"].to_list() == shuffled.choices["prompt_id"].to_list()
    assert comparison.choices.height == 2


def test_the_page_stands_alone_and_escapes_the_data() -> None:
    frame = disagreeing()
    html = render(summarise(frame, settings(), curate(frame, settings())))
    page = Page(html)
    assert page.wrong == []
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(page.tags)
    loads = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "xlink:href")]
    assert all(load.startswith("#") for load in loads), "a part of the same plot"
    assert not [one for one in page.attributes if re.search(r"https?:|//", one[2])]
    assert len(page.ids) == len(set(page.ids))
    assert {load.removeprefix("#") for load in loads} <= set(page.ids)
    named = [one for one in page.attributes if one[:2] == ("svg", "aria-label") and one[2]]
    strategies = 3 + len(ASPECTS)
    assert len(named) == 3 + 2 * strategies, "margins, lengths, models; twice a strip for each strategy"
    assert "{{ 7" not in html.replace(EVIL.replace("<", "&lt;").replace(">", "&gt;").replace("&", "&amp;"), "")
    assert "width=device-width" in html


def test_data_in_the_samples_is_shown_escaped() -> None:
    frame = table(prompt(EVIL, completion(EVIL, 5, 5, overall=1, model=EVIL), completion("b", 1, 1, overall=2)))
    html = render(summarise(frame, settings(), curate(frame, settings())))
    assert "<script" not in html
    shown = Page(html).texts["disagree"]
    assert shown.count(EVIL) == 4, "prompt twice, response and model"


def test_control_characters_of_the_data_are_drawn_as_signs() -> None:
    frame = table(prompt("bell \x07", completion("good \x00", 5, 5, overall=1), completion("bad", 1, 1, overall=2)))
    page = render(summarise(frame, settings(), curate(frame, settings())))
    assert "\x07" not in page
    assert "bell \N{SYMBOL FOR BELL}" in page


def test_the_page_begins_with_the_result_and_ends_with_the_settings() -> None:
    frame = disagreeing()
    texts = Page(render(summarise(frame, settings(), curate(frame, settings())))).texts
    names = [name for name in texts if name]
    assert (names[0], names[-1]) == ("verdict", "settings")
    assert texts["verdict"].startswith("4 pairs from 4 prompts: chosen by average, lowest rejected.")
    assert "other strategies choose the same response in 50 to 100 %" in texts["verdict"]


@pytest.mark.parametrize(
    ("rejected", "said"),
    [
        ("random", "The rejected response is one of the others at random: random draws differ from seed to seed."),
        ("lowest", "one was drawn at random; random draws differ from seed to seed."),
    ],
)
def test_what_a_draw_decided_is_said_in_plain_words(rejected: str, said: str) -> None:
    best, worse = completion("a", 5, 5, overall=9), completion("b", 1, 1, overall=2)
    frame = table(prompt("tie", best, worse, completion("c", 1, 1, overall=3)))
    spec = settings(rejected=rejected)
    text = Page(render(summarise(frame, spec, curate(frame, spec)))).texts["funnel"]
    assert said in text
    assert "policies" not in text


def test_samples_are_prompts_on_which_strategies_disagree() -> None:
    frame = disagreeing()
    samples = summarise(frame, settings(), curate(frame, settings())).samples
    assert {sample["prompt"] for sample in samples} == {"differ", "repaired"}
    differ = next(sample for sample in samples if sample["prompt"] == "differ")
    assert {tuple(answer["chosen_by"]) for answer in differ["responses"]} == {
        ("critique", "critique, repair openbmb"),
        ("average", *ASPECTS),
    }
    assert differ["responses"][0]["scores"]["average"] in (4.5, 2.0)


def stage(
    tmp_path: Path, frame: pl.DataFrame, spec: Any, files: list[str] | None = None
) -> tuple[Path, dict[str, Any]]:
    feedback, out = tmp_path / "feedback", tmp_path / "out"
    for folder in (feedback, out):
        folder.mkdir()
    frame.write_parquet(feedback / COMPLETIONS)
    context = Context(EventWriter("pairs", out / "events.jsonl"), HARDWARE, tmp_path, {"contamination": files or []})
    return out, run(spec, {"feedback": feedback}, out, context)


def test_the_stage_writes_pairs_counts_and_page(tmp_path: Path) -> None:
    out, facts = stage(tmp_path, disagreeing(), settings())
    assert pl.read_parquet(out / PAIRS).height == 4
    written = json.loads((out / CURATION_JSON).read_text(encoding="utf-8"))
    assert written["counts"]["pairs_out"] == facts["pairs_out"] == facts["split/train"] == 4
    assert written["settings"]["selection"]["ties"] == "hash"
    assert written["lengths"]["chosen_minus_rejected"]["mean"] == pytest.approx(len(f"a {EVIL}") / 4 - 1 / 4)
    assert {row["name"] for row in written["models"]} == {EVIL, "model-0", "model-1"}
    assert sum(row["chosen_share"] for row in written["models"]) == pytest.approx(1, abs=1e-5)
    assert re.match("<!doctype html>", (out / CURATION_HTML).read_text(encoding="utf-8"))


def test_the_stage_writes_the_same_files_each_time(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out, _ = stage(tmp_path / name, disagreeing(), settings(rejected="random"))
        written.append([(out / file).read_bytes() for file in (PAIRS, CURATION_JSON, CURATION_HTML)])
    assert written[0] == written[1]


def test_the_stage_reads_benchmark_files_from_the_context(tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark.txt"
    benchmark.write_text("agree too\nnothing\n", encoding="utf-8")
    spec = settings(contamination=Contamination(["ignored"], None, 3, 0.5))
    _, facts = stage(tmp_path, disagreeing(), spec, [str(benchmark)])
    assert (facts["prompts_dropped/contaminated"], facts["benchmark_prompts"]) == (1, 2)


def test_the_page_explains_what_it_shows_and_nothing_else() -> None:
    rated = table(prompt("a", completion("good", 5, 5, overall=4), completion("bad answer", 1, 1, overall=2)))
    html = render(summarise(rated, settings(), curate(rated, settings()), (), {"records": 1, "stripped/transcript": 2}))
    texts = Page(html).texts
    assert "of the 1 pairs, the chosen response is the longer one in" in texts["verdict"]
    assert "Stripped are responses" in texts["funnel"]
    assert "Quarantined" not in texts["funnel"]
    assert "Emptied" not in texts["funnel"]
    assert "Overall scores of 10" not in texts["funnel"], "there is none"
    assert "hash" not in texts["agreement"]
    assert "chosen, characters 4.0 0.0 4 4 4 4 4 4 4" in texts["shape"]
    tens = table(prompt("a", completion("good", 5, 5, overall=10), completion("bad", 1, 1, overall=2)))
    assert "Overall scores of 10" in Page(render(summarise(tens, settings(), curate(tens, settings())))).texts["funnel"]
