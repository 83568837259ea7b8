"""report.html: it stands alone, escapes what it shows, holds the comparison's numbers, and misses nothing loudly."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from notus_exp.errors import UserError
from notus_exp.study.report import write_report
from support.pages import Page
from support.report_folders import (
    ARMS,
    EVIL,
    METRIC,
    StudyFolder,
    comparison,
    contrast,
    estimate,
    full,
    without_runs,
    written,
)

EVERY = ["contrasts", "metrics", "length", "learning", "cost", "matrix", "flips", "answers", "lineage"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(full(tmp_path_factory.mktemp("full")).write())


def test_verdict_and_warnings_come_before_every_section_and_the_contents_name_them_all(tmp_path: Path) -> None:
    page = written(full(tmp_path).write(), comparison(warnings=["average: seed 1 failed"]))
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert sections == ["verdict", "warnings", *EVERY]
    assert page.texts["verdict"].startswith("average is better than critique: +0.057 (95 % +0.021 to +0.092).")
    assert "average: seed 1 failed" in page.texts["warnings"]
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == [f"#{name}" for name in EVERY]


def test_the_page_loads_nothing_and_names_no_address(page: Page) -> None:
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [one for one in page.attributes if re.search(r"https?:|//", one[2])]
    assert not [one for one in page.attributes if one[1].startswith("on")]
    assert ("meta", "content", "width=device-width, initial-scale=1") in page.attributes


def test_every_plot_says_in_words_what_it_shows(page: Page) -> None:
    plots = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    drawn = [one for one in page.attributes if one[:2] == ("svg", "role")]
    assert len(plots) == len(drawn) == 4 + 4, "contrasts as strips; length, loss, accuracy and cost"
    assert all(plots)
    assert "average − critique +0.057 [+0.021 to +0.092], better" in plots


def test_what_is_only_a_sign_is_hidden_from_those_who_cannot_see_it(page: Page) -> None:
    others = [one for one in page.attributes if one[:2] == ("svg", "aria-hidden")]
    nested = [one for one in page.attributes if one[:2] == ("svg", "overflow")]
    named = [one for one in page.attributes if one[:2] == ("svg", "role")]
    assert page.tags.count("svg") == len(others) + len(nested) + len(named)


def test_what_the_data_says_is_escaped_everywhere(tmp_path: Path) -> None:
    arms = (f"base {EVIL}", f"other {EVIL}")
    made = full(tmp_path, arms, text=EVIL)
    made.runs[arms[0], 0] |= {"status": "failed", "error": EVIL}
    page = written(made.write(), comparison(arms, warnings=[EVIL], verdict=EVIL))
    html = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    shown = " ".join(EVIL.split())
    for section in ("verdict", "warnings", "metrics", "flips", "answers", "lineage"):
        assert shown in page.texts[section], section
    assert page.texts["contrasts"].count(shown) >= 2


def test_control_characters_and_lone_surrogates_do_not_break_the_page(tmp_path: Path) -> None:
    arms = ("critique", "aver\x00age \ud800 \N{GRINNING FACE}")
    made = full(tmp_path, arms, text="bell \x07")
    page = written(made.write(), comparison(arms))
    assert "\x00" not in (made.folder / "report.html").read_text(encoding="utf-8")
    assert "policy says bell \N{SYMBOL FOR BELL}" in page.texts["answers"]


def test_primary_contrasts_show_estimate_interval_and_corrected_verdict(page: Page) -> None:
    text = page.texts["contrasts"]
    assert "average − critique +0.057 +0.021 to +0.092 better 0.0246 not shown (p 0.7100)" in text
    details = text[text.index("Corrections, spread and seeds of the contrasts with critique") :]
    for said in ("p alone 0.0123", "Holm's step +0.011 to +0.103", "Benjamini-Hochberg p 0.0235"):
        assert said in details
    for said in ("over prompts 0.2", "over seeds 0.01", "of the rest 0.1"):
        assert f"deviation {said}" in details, "square roots of the variances 0.04, 0.0001 and 0.01"
    assert "±0.02" in text


def test_a_contrast_is_told_once(page: Page) -> None:
    told = " ".join(page.texts.values())
    assert told.count("+0.021 to +0.092") == 2, "in the verdict, and in the table"
    assert "in words" not in told


def test_cautions_stand_beside_the_verdict(tmp_path: Path) -> None:
    content = comparison(["critique", "average"])
    for row in content["contrasts"]:
        row["cautions"] = [f"few prompts carry {row['metric']}"]
    texts = written(full(tmp_path, ["critique", "average"]).write(), content).texts
    assert texts["verdict"].endswith("few prompts carry preferences/accuracy/average.")
    assert "average − critique +0.057" in texts["contrasts"], "nothing stands between a contrast and its number"
    folded = texts["contrasts"][texts["contrasts"].index("1 exploratory contrast in 1 other metric") :]
    assert "1 of 1 exploratory contrasts: few prompts carry verifiable/strict." in folded


def test_a_caution_of_one_of_several_contrasts_stands_below_their_table(tmp_path: Path) -> None:
    arms = ["critique", "average", "other"]
    content = comparison(arms)
    content["contrasts"][1]["cautions"] = ["a few prompts carry this"]
    texts = written(full(tmp_path, arms).write(), content).texts
    assert "other: a few prompts carry this." in texts["contrasts"]
    assert "a few prompts carry this" not in texts["verdict"]


def test_an_interval_that_seems_to_contradict_its_verdict_stands_with_the_one_that_decides(tmp_path: Path) -> None:
    arms = ["critique", "average", "other"]
    content = comparison(arms)
    content["contrasts"][1] |= {"verdict": "not distinguishable", "holm_low": -0.0107, "holm_high": 0.1241}
    text = written(full(tmp_path, arms).write(), content).texts["contrasts"]
    folded = text[text.index("What it would take to see a difference from") :]
    assert "cannot tell" in folded[: folded.index("Corrections")], "what each that shows none would take"
    assert "other − critique +0.057 +0.021 to +0.092 by Holm −0.011 to +0.124 not distinguishable" in text
    assert "average − critique +0.057 +0.021 to +0.092 better" in text
    assert (
        "the verdicts follow Holm's p, which answers for all 2 contrasts together. Where an interval leaves zero"
        in text
    )
    assert "answers for all" not in written(full(tmp_path / "two").write()).texts["contrasts"]


def test_what_two_arms_show_is_told_once(tmp_path: Path) -> None:
    strengths = [{"name": arm, "value": 0.4 * place, "low": None, "high": None} for place, arm in enumerate(ARMS)]
    fitted = {"metric": METRIC, "strengths": strengths, "games": 16, "ties": 1, "note": ""}
    effect = {"metric": METRIC, "kind": "main", "factors": ["selection"], "levels": ["average"], "p": 0.01}
    effect |= {"reference": ["critique"], "value": 0.0567, "low": 0.0211, "high": 0.0923, "seed_share": 0.3}
    made = full(tmp_path)
    made.study["factors"] = {"selection": ["critique", "average"]}
    texts = written(made.write(), comparison(effects=[effect], bradley_terry=fitted)).texts
    assert not {"effects", "bradley_terry"} & set(texts)


def test_the_accuracy_by_labelling_stands_in_the_matrix_alone(tmp_path: Path) -> None:
    content = comparison()
    for arm in content["arms"]:
        arm["metrics"] = {**arm["metrics"], "preferences/accuracy/critique": estimate(0.5432, 0.52, 0.57)}
    texts = written(full(tmp_path).write(), content).texts
    assert "preferences/accuracy/critique" not in texts["metrics"]
    assert f"{METRIC} (primary)" in texts["metrics"]
    assert "0.543 0.520 to 0.570" in texts["matrix"]


def test_strengths_are_no_verdicts_so_their_markers_are_hollow(tmp_path: Path) -> None:
    arms = ["critique", "average", "other"]
    rows = [{"name": arm, "value": 0.4 * place, "low": 0.3, "high": 0.9} for place, arm in enumerate(arms)]
    fitted = {"metric": METRIC, "strengths": rows, "games": 16, "ties": 1, "note": ""}
    made = full(tmp_path, arms)
    written(made.write(), comparison(arms, bradley_terry=fitted))
    page = (made.folder / "report.html").read_text()
    section = page[page.index('<section id="bradley_terry">') :].partition("</section>")[0]
    drawn = section.split('class="strip"')[1:]
    assert len(drawn) == 3
    assert all('fill="var(--page)"' in one for one in drawn)


def test_more_arms_than_a_laptop_is_wide_go_into_further_tables(tmp_path: Path) -> None:
    arms = [f"arm{place}" for place in range(9)]
    made = StudyFolder(tmp_path, arms)
    text = written(made.write(), comparison(arms)).texts["metrics"]
    assert "metric arm0 2 seeds arm1 2 seeds arm2 2 seeds arm3 2 seeds arm4 2 seeds preferences" in text
    assert "metric arm5 2 seeds arm6 2 seeds arm7 2 seeds arm8 2 seeds base model preferences" in text


def test_the_title_names_the_metric_and_no_line_ends_within_an_interval(tmp_path: Path) -> None:
    made = full(tmp_path)
    written(made.write())
    page = (made.folder / "report.html").read_text()
    title = re.sub("<[^>]+>", "", page[page.index("<h1>") : page.index("</h1>")])
    assert title.split() == ["Study", "mine:", METRIC, "share", "of", "pairs", "ordered", "rightly", "↑"]
    assert "(95\N{NO-BREAK SPACE}% +0.021\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}+0.092)" in page


def test_a_caution_of_all_primary_contrasts_is_said_once_beside_the_verdict(tmp_path: Path) -> None:
    arms = ["critique", "average", "other"]
    content = comparison(arms)
    for row in content["contrasts"]:
        row["cautions"] = ["two seeds tell little"] if row["primary"] else []
    page = written(full(tmp_path, arms).write(), content)
    assert page.texts["verdict"].endswith("two seeds tell little.")
    assert "two seeds tell little" not in page.texts["contrasts"]


def test_exploratory_contrasts_are_said_to_be_so(page: Page) -> None:
    text = page.texts["contrasts"]
    beside = text[text.index("Against the untuned base model (exploratory)") :]
    assert "critique − base model +0.112 +0.081 to +0.143 better 0.0123 alone" in beside
    folded = text[text.index("1 exploratory contrast in 1 other metric") :]
    assert "Nothing corrects for how many there are" in folded
    assert "verifiable/strict share of prompts" in folded
    assert "average − critique −0.034 −0.091 to +0.023 not distinguishable" in folded


def test_the_table_of_arms_has_each_number_beside_its_interval_and_the_base_model(page: Page) -> None:
    text = page.texts["metrics"]
    assert "metric critique 2 seeds average 2 seeds base model" in text, "arms are columns, metrics are rows"
    both = "0.612 0.581 to 0.643 0.612 0.581 to 0.643 0.5 0.5 to 0.5"
    assert f"{METRIC} (primary) share of pairs ordered rightly ↑ {both}" in text
    assert "verifiable/strict share of prompts ↑ 0.250 0.150 to 0.360 0.250 0.150 to 0.360 –" in text
    assert "verifiable/tokens tokens 41.70 35.20 to 48.20 41.70 35.20 to 48.20 77.00 70.00 to 84.00" in text
    assert "verifiable/kind (1)" in text
    assert "0.5 no interval 0.5 no interval –" in text


def test_quality_against_length_has_both_numbers(page: Page) -> None:
    [words] = [one[2] for one in page.attributes if one[1] == "aria-label" and "against verifiable/tokens" in one[2]]
    assert "average 0.612 at 41.70; base model 0.5 at 77.00" in words


def test_costs_count_every_attempt_and_what_reuse_saved(page: Page) -> None:
    assert "average 2 3.3 min 13.3 min 75 %" in page.texts["cost"], "2 x (60 + 40) s of 2 x 400 s"
    assert "all 4 6.7 min 26.7 min 75 %" in page.texts["cost"]
    assert "judge" not in page.texts["cost"].split("Device time is")[1].split(".")[1], "no judge was asked"


def test_the_matrix_marks_the_highest_of_a_column_and_has_intervals(page: Page) -> None:
    text = page.texts["matrix"]
    assert "critique 0.543 0.520 to 0.570 0.600 0.550 to 0.660" in text
    assert "average 0.543 0.520 to 0.570 0.610 0.550 to 0.660" in text
    assert page.tags.count("strong") >= 1


@pytest.mark.parametrize("missing", ["evaluation", "everything"])
def test_a_study_without_results_says_so_in_sentences(tmp_path: Path, missing: str) -> None:
    made = StudyFolder(tmp_path)
    if missing == "everything":
        made.runs = {}
    page = written(made.write(), without_runs())
    assert "There are no two models to contrast." in page.texts["contrasts"]
    assert "No run has been evaluated." in page.texts["metrics"]
    assert "No training of this study left events behind." in page.texts["learning"]
    assert "No evaluation of this study had prompts answered." in page.texts["answers"]
    assert not [one for one in page.attributes if one[:2] == ("svg", "role")], "no plot"
    assert page.texts["verdict"].startswith("No run is finished, so there is nothing to compare.")
    if missing == "everything":
        assert "critique, seed 0: not started" in page.texts["lineage"]
        assert "No run has a record of its costs." in page.texts["cost"]


def test_artifacts_that_are_gone_are_missed_in_sentences(tmp_path: Path) -> None:
    made = full(tmp_path)
    shutil.rmtree(made.outputs / "artifacts")
    page = written(made.write())
    assert "No training of this study left events behind." in page.texts["learning"]
    assert "There are no two arms whose pairs can be compared." in page.texts["flips"]
    assert "No evaluation of this study had prompts answered." in page.texts["answers"]
    assert "pairs00" * 4 in page.texts["lineage"], "their keys are still told"


def test_sections_that_do_not_apply_are_left_out(page: Page) -> None:
    assert not {"effects", "bradley_terry", "search"} & set(page.texts)


def test_an_arm_without_values_leaves_the_others_in_place(tmp_path: Path) -> None:
    content = comparison()
    content["arms"][1] |= {"metrics": {METRIC: estimate(None)}, "seeds": [], "failed": {"0": "diverged"}}
    nan = float("nan")
    content["trained_by_evaluated"]["cells"][1] = [estimate(nan, nan, nan), None]
    content["contrasts"] = [
        contrast(METRIC, "average", "critique", nan, nan, nan, primary=True, verdict="cannot tell", p=nan)
    ]
    made = full(tmp_path)
    page = written(made.write(), content)
    assert "average − critique – no interval cannot tell –" in page.texts["contrasts"]
    same = contrast(METRIC, "average", "critique", 1.0, 0.9, 1.0, primary=True, verdict="cannot tell", p=None)
    same["equivalence"] = {"margin": 0.02, "p": None, "equivalent": False}
    text = written(made.write(), content | {"contrasts": [same]}).texts["contrasts"]
    assert "average − critique +1.000 +0.900 to +1.000 differ alike on every prompt – cannot tell" in text
    assert "critique 2 seeds average 0 seeds, 1 failed" in page.texts["metrics"]
    assert "ordered rightly ↑ 0.612 0.581 to 0.643 – no interval 0.5" in page.texts["metrics"]
    assert "average – no interval –" in page.texts["matrix"]
    [words] = [one[2] for one in page.attributes if one[1] == "aria-label" and "against verifiable/tokens" in one[2]]
    assert "critique 0.612 at 41.70; base model" in words, "average has no place in the plot"


def test_without_length_one_sentence_stands_in_its_section(tmp_path: Path) -> None:
    content = comparison()
    for arm in content["arms"]:
        arm["metrics"] = {METRIC: estimate(0.6, 0.5, 0.7)}
    content["base"] = {"metrics": {}}
    page = written(full(tmp_path).write(), content)
    assert page.texts["length"] == "Quality against length No evaluation of this study measured the length of answers."


def test_effects_of_a_grid_are_drawn_and_listed(tmp_path: Path) -> None:
    arms = ("c1", "c5", "a1", "a5")
    main = {
        "metric": METRIC,
        "kind": "main",
        "factors": ["selection"],
        "levels": ["average"],
        "reference": ["critique"],
    }
    both = {
        "kind": "interaction",
        "factors": ["selection", "dpo.beta"],
        "levels": ["average", "0.5"],
        "reference": ["critique", "0.1"],
    }
    numbers = {"value": 0.0312, "low": 0.0122, "high": 0.0502, "p": 0.0021, "seed_share": 0.3}
    content = comparison(arms, effects=[main | numbers, {"metric": METRIC} | both | numbers | {"low": -0.01}])
    made = StudyFolder(tmp_path, arms)
    made.study["factors"] = {"selection": ["critique", "average"], "dpo.beta": ["0.1", "0.5"]}
    for arm, spec in zip(content["arms"], ("critique 0.1", "critique 0.5", "average 0.1", "average 0.5"), strict=True):
        arm["levels"] = dict(zip(made.study["factors"], spec.split(), strict=True))
    content["arms"][3]["metrics"] = {METRIC: estimate(0.777, 0.766, 0.788)}
    text = written(made.write(), content).texts["effects"]
    assert "selection: average − critique main effect +0.031 +0.012 to +0.050 0.0021" in text
    assert "selection: average − critique × dpo.beta: 0.5 − 0.1 interaction" in text
    assert "average 0.612 0.581 to 0.643 0.777 0.766 to 0.788" in text, "the last row of the grid's table"


def test_strengths_stand_with_their_intervals(tmp_path: Path) -> None:
    rows = [
        {"name": "critique", "value": 0.0, "low": None, "high": None},
        {"name": "average", "value": 0.41, "low": 0.2, "high": 0.62},
    ]
    fitted = {
        "metric": "alpaca_eval/win_rate",
        "strengths": rows,
        "games": 1610,
        "ties": 12,
        "note": "Clustered by prompt.",
    }
    text = written(full(tmp_path).write(), comparison(bradley_terry=fitted)).texts["bradley_terry"]
    assert "1,610 verdicts" in text
    assert "average +0.410 +0.200 to +0.620" in text
    assert "critique 0 the reference" in text
    assert "Clustered by prompt." in text


def test_twelve_runs_make_a_page_of_moderate_size_in_moderate_time(tmp_path: Path) -> None:
    arms = ("critique", "average", "repaired", "aspect")
    made = full(tmp_path, arms, seeds=(0, 1, 2), text="word " * 200)
    for arm in arms:
        for seed in range(3):
            made.events(arm, seed, [1 / (1 + step) for step in range(2000)])
    start = time.monotonic()
    written(made.write(), comparison(arms))
    assert time.monotonic() - start < 10
    assert (made.folder / "report.html").stat().st_size < 3_000_000


def test_a_folder_that_is_no_study_is_an_expected_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.json"):
        write_report(tmp_path, comparison(), tmp_path / "report.html")
