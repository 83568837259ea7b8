"""A report of more arms than anybody tells apart: all contrasts with the baseline, and all else of some arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.outputs import read_study, runs_of
from notus_exp.study.report import write_report
from notus_exp.study.report.material import MOST_SHOWN, Material
from notus_exp.study.report.palette import looks
from support.report_folders import METRIC, StudyFolder, comparison, estimate, trained_on

MANY = [f"arm{number:03}" for number in range(MOST_SHOWN + 16)]


def of_many(arms: list[str]) -> dict[str, Any]:
    """A comparison in which the value of an arm is its place, the baseline's in the middle."""
    content = comparison(arms)
    for place, row in enumerate(content["arms"]):
        row["metrics"] = {**row["metrics"], METRIC: estimate(0.3 + place / 100 if place else 0.5, 0.1, 0.9)}
    content["curations"] = trained_on(**{arm: {} for arm in arms}) | {"common": []}
    return content


def material(tmp_path: Path, arms: list[str]) -> Material:
    folder = StudyFolder(tmp_path, arms, (0,)).write()
    study: Any = read_study(folder)
    content: Any = of_many(arms)
    return Material(folder, study, content, runs_of(folder, study), looks(arms))


def test_the_baseline_and_the_extremes_are_shown(tmp_path: Path) -> None:
    found = material(tmp_path, MANY)
    highest, lowest = MANY[-MOST_SHOWN // 2 :], MANY[1 : MOST_SHOWN // 2]
    assert found.shown == [MANY[0], *lowest, *highest]
    assert found.fewer.startswith(f"{MOST_SHOWN} of {len(MANY)} arms are shown here: the baseline, and those with")


def test_of_few_arms_all_are_shown_and_nothing_is_said(tmp_path: Path) -> None:
    found = material(tmp_path, MANY[:MOST_SHOWN])
    assert found.shown == MANY[:MOST_SHOWN]
    assert found.fewer == ""
    assert found.of_shown() is found


def test_an_arm_without_the_metric_is_no_extreme(tmp_path: Path) -> None:
    found = material(tmp_path, MANY)
    for row in found.comparison["arms"][-3:]:
        row["metrics"] = {}
    assert not {*MANY[-3:]} & {*found.shown}
    assert len(found.shown) == MOST_SHOWN


def test_what_is_left_of_the_shown_fits_together(tmp_path: Path) -> None:
    few = material(tmp_path, MANY).of_shown()
    kept = {*few.arms}
    assert {row["arm"] for row in few.comparison["contrasts"]} == kept
    labelled, trained = few.comparison["trained_by_evaluated"], few.comparison["curations"]
    assert labelled is not None
    assert trained is not None
    assert labelled["rows"] == [row["arm"] for row in trained["arms"]] == few.arms
    assert len(labelled["cells"]) == len(labelled["rows"])
    assert labelled["cells"][-1][1]["value"] == pytest.approx(0.6 + (len(MANY) - 1) / 100)
    assert {*few.runs} == {*few.study["arms"]} == kept


def test_the_page_has_every_contrast_with_the_baseline_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, MANY, (0,)).write()
    content: Any = of_many(MANY)
    write_report(folder, content, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sections = {part.partition('"')[0]: part for part in page.split('<section id="')[1:]}
    left_out = MANY[20]  # neither high nor low
    assert (
        f"{left_out}</span> − {MANY[0]}" in sections["contrasts"] or f"{left_out} − {MANY[0]}" in sections["contrasts"]
    )
    for name in ("metrics", "matrix", "lineage"):
        assert left_out not in sections[name], name
        assert MANY[-1] in sections[name], name
        assert f"{MOST_SHOWN} of {len(MANY)} arms are shown here" in sections[name], name
    assert f"of all else {MOST_SHOWN} of {len(MANY)} arms are shown" in sections["contrasts"]
    assert left_out in sections["cost"]
