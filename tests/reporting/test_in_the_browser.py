"""What a reader sees of report.html, curation.html and feedback.html in a real browser, on any screen and on paper.

Nothing overflows, no text overlaps another, no word is broken, every text has a contrast of 4.5 or more, no label of a
plot is cut or crossed by a line; all folded parts are opened.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import SCHEMES, WIDTHS, Browser, installed
from pictures import CLAIMS, MOST_HIGH, PAGES, names, take

from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import curate
from notus_exp.disk.files import ANNOTATIONS, ANNOTATOR_JSON, COLUMNS, COMPLETIONS
from notus_exp.feedback_report.feedback_page import feedback_page
from notus_exp.feedback_report.feedback_tables import AnnotatorSource, ReportedFeedback
from support.curation_tables import completion, prompt, settings, table
from support.places import ROOT
from support.report_folders import (
    METRIC,
    StudyFolder,
    comparison,
    contrast,
    estimate,
    full,
    importance,
    searched,
    trained_on,
    trial,
    written,
)

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium is installed")
LAYOUT = (ROOT / "tests/support/layout.js").read_text(encoding="utf-8")
TEXT = "Some words that a model may have said about the topic, enough of them to need several lines on a phone."
SHARE = {"value": 0.5234, "low": 0.4123, "high": 0.6345, "n": 24}
TOLD: dict[str, Any] = {
    "format": 1, "name": "helpful", "judge": {"name": "openai", "model": "a-model-of-7b"}, "asked_for": "pairs",
    "verdicts": 144, "failed": 3, "reasons": {}, "not_asked": 0, "with_value": 72, "first_preferred": SHARE,
    "contradicting": SHARE, "longer_preferred": SHARE, "tokens": 123456, "usd": 1.25,
    "self_preference": {"model": "a-model-of-7b-instruct", "won": SHARE, "beside": "average", "excess": SHARE},
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def faults(browser: Browser, page: Path) -> list[str]:
    """What is wrong with a page, by width and scheme, and on paper."""
    found = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.open(page, width, scheme)
            found += [f"{width} {scheme}: {fault}" for fault in browser.ask_page(LAYOUT)]
    browser.open_on_paper(page)
    return found + [f"paper: {fault}" for fault in browser.ask_page(LAYOUT)]


def trained(arms: Sequence[str], labellings: Sequence[str] = ("average", "latent")) -> dict[str, Any]:
    """What arms train on, several pairs a prompt among it, with counts of ties and of missing scores."""
    agreed = {**estimate(0.7432, 0.71, 0.77), "decided": 900, "ties": 112, "unscored": 19}
    longer = {"value": -33.4712, "low": -36.74, "high": -30.2, "prompts": 110}
    own = {"prompts": 110, "longer": longer, "agreement": dict.fromkeys(labellings, agreed)}
    return trained_on(**dict.fromkeys(arms, own))


def study(root: Path) -> Path:
    arms = ("critique", "critique_repaired", "average_of_all_aspects", "average_lowest")
    made = full(root, arms, seeds=(0, 1, 2), text=TEXT)
    made.study["factors"] = {"selection": ["critique", "average"], "dpo.beta": ["0.1", "0.5"]}
    for arm in arms:
        for seed in range(3):
            made.events(arm, seed, [0.1 * step + 0.02 * seed for step in range(50)], "train/margin")
    made.runs[arms[3], 2] |= {"status": "failed", "error": "CUDA out of memory while training the policy " * 4}
    first = {"primary": True, "holm": 0.0246, "benjamini_hochberg": 0.0235, "holm_low": 0.01, "holm_high": 0.1}
    first |= {"equivalence": {"margin": 0.02, "p": 0.71, "equivalent": False}}
    caution = [
        "A few of the 64 prompts carry this difference: with so few, such intervals may miss the truth more often"
    ]
    unlike = [
        contrast(METRIC, arms[1], arms[0], -0.0412, -0.0944, 0.012, **first, cautions=caution),
        contrast(METRIC, arms[2], arms[0], 0.0567, 0.0211, 0.0923, **first),
        contrast(METRIC, arms[3], arms[0], -0.2567, -0.3211, -0.1923, **first),
    ]
    others = [one for one in comparison(arms)["contrasts"] if not one["primary"]]
    effect = {"metric": METRIC, "kind": "main", "factors": ["selection"], "levels": ["average"]}
    effect |= {"reference": ["critique"], "value": 0.03, "low": 0.01, "high": 0.05, "p": 0.002, "seed_share": 0.3}
    strengths = [
        {"name": arm, **estimate(0.2 * place, 0.2 * place - 0.3, 0.2 * place + 0.3)} for place, arm in enumerate(arms)
    ]
    fitted = {"metric": METRIC, "strengths": strengths, "games": 1610, "ties": 12, "note": "Clustered by prompt."}
    warnings = [f"arm 'average_lowest', seed {seed} has no result: CUDA out of memory" for seed in range(4)]
    more: dict[str, Any] = {"effects": [effect], "bradley_terry": fitted, "warnings": warnings}
    more["curations"] = trained(arms)
    content = comparison(arms, contrasts=[*unlike, *others], **more)
    for arm, levels in zip(
        content["arms"], ("critique 0.1", "critique 0.5", "average 0.1", "average 0.5"), strict=True
    ):
        arm["levels"] = dict(zip(made.study["factors"], levels.split(), strict=True))
    written(made.write(), content)
    return made.folder / "report.html"


def one_arm(root: Path) -> Path:
    made = full(root, ("average",))
    written(made.write(), comparison(("average",), contrasts=[]))
    return made.folder / "report.html"


def search(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    trials = [
        trial(
            number,
            params={
                "dpo.beta": 10 ** (-number / 4),
                "selection": ("average", "critique")[number % 2],
                "rejected": "lowest",
            },
            values={METRIC: 0.6 + 0.01 * number},
            constraints={"verifiable/tokens": 40.0 + number},
            feasible=number != 5,
            runs={"0": f"average-tiny_random-s0-2ac0f1f88{number:03d}"},
        )
        for number in range(11)
    ]
    trials[3] |= {"state": "failed", "values": {}, "constraints": {}, "reason": "the loss was not a number at step 12"}
    shares = {
        METRIC: {
            "dpo.beta": importance(0.85, 0.3, 1.0, 0.01),
            "selection": importance(0.15, 0.0, 0.6, 0.4),
            "rejected": importance(None, None, None, None),
        }
    }
    found = searched(trials=trials, best=[10], importances=shares)
    monkeypatch.setattr("notus_exp.study.search.summary.summary", lambda folder: found)
    made = StudyFolder(root)
    made.study |= {"kind": "search", "arms": {}}
    content = comparison(contrasts=[], base={"metrics": {}}, trained_by_evaluated=None)
    content["arms"] = []
    content["study"] |= {"kind": "search", "baseline": None}
    written(made.write(), content)
    return made.folder / "report.html"


def rated() -> pl.DataFrame:
    """Completions of three models to 24 prompts, whose ratings disagree."""
    rows = [
        prompt(
            f"Tell me about topic {number}. {TEXT}",
            completion(f"{TEXT} {number}", 5, 4, overall=3 + number % 2, model="a-model-of-7b-instruct"),
            completion(f"Short, {number}.", 2, 2 + number % 3, overall=8, model="gpt-something"),
            completion(f"Middle {TEXT[: 3 * number]}", 3, 3, overall=5, model="another"),
        )
        for number in range(24)
    ]
    return table(*rows).with_columns(
        latent_quality=pl.int_range(pl.len()) % 7 / 7, source=pl.concat_str(pl.lit("source_"), pl.col("row") % 3)
    )


def curation(root: Path) -> Path:
    frame, page = rated(), root / "curation.html"
    spec = settings(rejected="random")
    page.write_text(render(summarise(frame, spec, curate(frame, spec), (), {"records": 24, "quarantined": 2})))
    return page


def test_a_report_can_be_read_at_every_width_and_in_both_schemes(browser: Browser, tmp_path: Path) -> None:
    assert faults(browser, study(tmp_path)) == []


def test_a_report_of_sixteen_arms_can_be_read(browser: Browser, tmp_path: Path) -> None:
    arms = [f"arm_with_beta_{place}" for place in range(16)]
    made = StudyFolder(tmp_path, arms)
    rows = comparison(arms)["contrasts"]
    for place, row in enumerate(rows):
        row["seeds"] = 2 - place % 2
    cell = estimate(0.5432, 0.52, 0.57)
    labellings = [
        "average",
        "critique",
        "critique_repaired",
        "helpfulness",
        "honesty",
        "instruction_following",
        "truth",
    ]
    matrix = {"rows": arms, "columns": labellings, "cells": [[cell] * len(labellings) for _ in arms]}
    content = comparison(arms, contrasts=rows, trained_by_evaluated=matrix, curations=trained(arms, labellings))
    written(made.write(), content)
    assert faults(browser, made.folder / "report.html") == []


def test_a_report_of_one_arm_can_be_read_and_has_no_table_of_contrasts(browser: Browser, tmp_path: Path) -> None:
    page = one_arm(tmp_path)
    assert faults(browser, page) == []
    assert browser.ask_page("document.querySelectorAll('#contrasts table').length") == 0


def test_a_report_of_a_search_can_be_read(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(browser, search(tmp_path, monkeypatch)) == []


def feedback(root: Path) -> Path:
    """The report on the same completions, by two principles, and an annotator with opinions of its own."""
    frame = rated().with_columns(
        principle=pl.when(pl.col("completion") == 1)
        .then(pl.lit("verbalized_calibration"))
        .otherwise(pl.lit("honesty")),
        critique=pl.lit(TEXT),
    )
    frame.write_parquet(root / COMPLETIONS)
    said = frame.select("row", "completion", helpful=(pl.col("row") * 7 + pl.col("completion") * 3).mod(5) + 1.0)
    said.write_parquet(root / COLUMNS)
    said.with_columns(rationale=pl.lit(TEXT)).write_parquet(root / ANNOTATIONS)
    (root / ANNOTATOR_JSON).write_text(json.dumps(TOLD))
    page = root / "feedback.html"
    own = AnnotatorSource(root, "helpfulness", made_ratings=False)
    page.write_text(feedback_page(ReportedFeedback(root, [own], 2.0, 4.0, 20)), encoding="utf-8")
    return page


def test_a_report_on_the_feedback_can_be_read(browser: Browser, tmp_path: Path) -> None:
    assert faults(browser, feedback(tmp_path)) == []


def test_a_curation_can_be_read(browser: Browser, tmp_path: Path) -> None:
    assert faults(browser, curation(tmp_path)) == []


def test_a_name_without_end_makes_no_page_wider_than_its_screen(browser: Browser, tmp_path: Path) -> None:
    arms = ("critique", "x" * 120)
    made = full(tmp_path, arms)
    written(made.write(), comparison(arms))
    for width in WIDTHS:
        browser.open(made.folder / "report.html", width, "light")
        assert browser.ask_page("document.documentElement.scrollWidth") <= width


def test_the_verdict_and_the_contrasts_are_on_the_first_screen_of_a_laptop(browser: Browser, tmp_path: Path) -> None:
    browser.open(study(tmp_path), 1280, "light")
    bottom = browser.ask_page("document.querySelector('#contrasts tbody').getBoundingClientRect().bottom")
    assert bottom < 900


def test_paper_is_white_and_has_no_contents(browser: Browser, tmp_path: Path) -> None:
    browser.open_on_paper(curation(tmp_path))
    assert browser.ask_page("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.ask_page("document.querySelector('nav').checkVisibility()")


def test_pictures_are_as_wide_as_the_screens_that_they_show(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<meta name=viewport content='width=device-width'><p style='height:3000px'>tall"
    )
    pictures = take(browser, {"page": tmp_path / "page.html"}, tmp_path / "out")
    sizes = [struct.unpack(">II", one.read_bytes()[16:24]) for one in pictures]  # of a PNG's header
    assert sizes == [(width, MOST_HIGH) for width in WIDTHS for _ in SCHEMES]


def test_the_docs_have_every_picture_that_the_command_takes() -> None:
    kept = {path.name for path in (ROOT / "docs/pictures").glob("*.png")}
    assert kept == {name for page in (*PAGES, CLAIMS) for name in names(page)}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<div style='width:2000px'>wide</div>", "the page is"),
        ("<div style='width:9rem'><p style='width:20rem'>words</p></div>", "leaves <div"),
        ("<p>one</p><p style='margin-top:-1.9rem'>two</p>", 'overlap: "one" and "two"'),
        ("<p style='width:2rem; overflow-wrap:anywhere'>unbelievable</p>", 'broken: "unbelievable"'),
        ("<p>it is 0.<wbr>188 here</p>", 'broken: "it is 0.|188 here" may be'),
        ("<p style='color:#999'>pale</p>", "contrast: 2.8"),
        (
            "<div class='wide' style='width:9rem; overflow-x:auto'><table><td>unbelievably_wide_cell</table></div>",
            "cut: a",
        ),
        (
            "<div class=wide style='overflow-x:auto;border:1px solid'><table style='width:1500px'><td>w</table></div>",
            "wide in a frame of",
        ),
        (
            "<figure><svg viewBox='0 0 90 20'><text y='15'>a</text><path d='M0 10H90' stroke='red'/></svg></figure>",
            "crossed",
        ),
        ("<figure><svg viewBox='0 0 90 20'><text x='80' y='15'>label</text></svg></figure>", "leaves its plot"),
    ],
)
def test_each_fault_is_found_where_it_is(browser: Browser, tmp_path: Path, body: str, said: str) -> None:
    page = tmp_path / "page.html"
    head = (
        "<!doctype html><meta name=viewport content='width=device-width'><style>svg{display:block;width:100%}</style>"
    )
    page.write_text(f"{head}<body style='margin:0;background:#fff'><main>{body}</main>")
    browser.open(page, 1280, "light")
    found = browser.ask_page(LAYOUT)
    assert any(said in fault for fault in found), found
