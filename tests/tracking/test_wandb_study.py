"""The W&B run of a whole study, read back from its offline file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from notus_exp.tracking import track_study
from support.offline_runs import TRACKING, own_places, read_runs  # noqa: F401  (a fixture)

STUDY = {
    "name": "which_score",
    "kind": "arms",
    "command": ["-m", "study.search.storage=postgresql://me:pass-word@host/db"],
    "metric": "verifiable/strict",
    "baseline": "critique",
    "seeds": [0, 1, 2],
    "arms": {"critique": {"overrides": ["selection=critique"], "runs": {"0": "critique-tiny-s0-1"}}},
}


def estimate(value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "prompts": 64, "seeds": 3, "left_out": 0, "components": {}}


def contrast(arm: str, reference: str, *, primary: bool, **changes: Any) -> dict[str, Any]:
    content = {"metric": "verifiable/strict", "primary": primary, "arm": arm, "reference": reference, "value": 0.1}
    content |= {"low": 0.02, "high": 0.18, "standard_error": 0.03, "seed_share": 0.4, "p": 0.02, "holm": 0.04}
    content |= {"holm_low": 0.01, "holm_high": 0.19}
    content |= {"benjamini_hochberg": 0.03, "prompts": 64, "seeds": 3, "left_out": 0, "verdict": "higher"}
    return content | {"words": f"{arm} is higher than {reference}"} | changes


COMPARISON = {
    "study": {"name": "which_score", "kind": "arms", "metric": "verifiable/strict"},
    "arms": [
        {"arm": "critique", "metrics": {"verifiable/strict": estimate(0.5, 0.4, 0.6)}},
        {"arm": "average", "metrics": {"verifiable/strict": estimate(0.6, 0.5, 0.7)}},
    ],
    "base": {"metrics": {"verifiable/strict": estimate(0.0, None, None)}},
    "contrasts": [
        contrast("average", "critique", primary=True),
        contrast("average", "base model", primary=False, holm=None, benjamini_hochberg=None, low=None, high=None),
    ],
    "verdict": "average is better than critique.",
}
PAGE = "<!doctype html><html><body>Vergleich: größer</body></html>"


def test_the_study_is_a_run_beside_those_of_its_arms(tmp_path: Path) -> None:
    track_study(TRACKING, STUDY, COMPARISON, tmp_path, pytest.fail)
    (found,) = read_runs(tmp_path)
    assert (found.run.display_name, found.run.run_group, found.run.job_type) == ("which_score", "which_score", "study")
    assert set(found.run.tags) == {"study=which_score", "mine"}
    assert {name: found.config[name] for name in STUDY if name != "command"} == {
        name: value for name, value in STUDY.items() if name != "command"
    }
    assert b"pass-word" not in found.path.read_bytes()
    assert found.exit_code == 0


def test_the_summary_holds_the_primary_contrasts_and_the_verdict(tmp_path: Path) -> None:
    track_study(TRACKING, STUDY, COMPARISON, tmp_path, pytest.fail)
    summary = read_runs(tmp_path)[0].summary
    name = "contrast/average vs critique"
    expected = {name: 0.1, f"{name}/low": 0.02, f"{name}/high": 0.18, f"{name}/p": 0.02, f"{name}/holm": 0.04}
    expected |= {f"{name}/holm_low": 0.01, f"{name}/holm_high": 0.19}
    expected |= {f"{name}/verdict": "higher", f"{name}/words": "average is higher than critique"}
    expected |= {"verdict": "average is better than critique.", "metric": "verifiable/strict"}
    assert {key: summary[key] for key in expected} == expected
    assert "contrast/average vs base model" not in summary, "exploratory"


def test_tables_hold_every_contrast_and_every_arm_with_the_base_model(tmp_path: Path) -> None:
    track_study(TRACKING, STUDY, COMPARISON, tmp_path, pytest.fail)
    found = read_runs(tmp_path)[0]
    contrasts = found.table("contrasts")
    rows = [dict(zip(contrasts["columns"], row, strict=True)) for row in contrasts["data"]]
    assert [(row["arm"], row["reference"], row["primary"]) for row in rows] == [
        ("average", "critique", True),
        ("average", "base model", False),
    ]
    assert (rows[0]["low"], rows[0]["high"], rows[1]["low"], rows[1]["holm"]) == (0.02, 0.18, None, None)
    arms = found.table("arms")
    assert arms["columns"] == ["arm", "metric", "value", "low", "high", "prompts", "seeds"]
    assert arms["data"] == [
        ["critique", "verifiable/strict", 0.5, 0.4, 0.6, 64, 3],
        ["average", "verifiable/strict", 0.6, 0.5, 0.7, 64, 3],
        ["base model", "verifiable/strict", 0.0, None, None, 64, 3],
    ]


def test_a_table_holds_what_the_arms_train_on(tmp_path: Path) -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "prompts": 90}
    agreed = {**share, "decided": 90, "ties": 6, "unscored": 4}
    arm = {"arm": "average", "pairs": 100, "prompts": 90, "agreement": {"honesty": agreed}}
    arm |= dict.fromkeys(("common", "same_side", "same_chosen", "longer", "length", "length_difference"), share)
    about = {**COMPARISON["study"], "baseline": "critique"}
    content = {**COMPARISON, "study": about, "curations": {"seed": 0, "arms": [arm], "common": [[1.0]]}}
    track_study(TRACKING, STUDY, content, tmp_path, pytest.fail)
    found = read_runs(tmp_path)[0].table("curations")
    assert found["columns"] == ["arm", "reference", "measure", "value", "low", "high", "prompts"]
    assert found["data"][0] == ["average", None, "pairs", 100.0, None, None, 90]
    assert ["average", None, "agreement/honesty", 0.5, 0.4, 0.6, 90] in found["data"]
    assert ["average", "critique", "pairs in common", 0.5, 0.4, 0.6, 90] in found["data"]


def test_the_report_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(PAGE, encoding="utf-8")
    track_study(TRACKING, STUDY, COMPARISON, tmp_path, pytest.fail)
    assert read_runs(tmp_path)[0].media("report").read_text(encoding="utf-8") == PAGE


def test_a_study_without_a_finished_run_is_tracked_with_its_verdict(tmp_path: Path) -> None:
    empty = COMPARISON | {"arms": [], "base": {"metrics": {}}, "contrasts": [], "verdict": "No run finished."}
    track_study(TRACKING, STUDY, empty, tmp_path, pytest.fail)
    (found,) = read_runs(tmp_path)
    assert found.summary["verdict"] == "No run finished."
    assert found.exit_code == 0


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    track_study(dataclasses.replace(TRACKING, name="none"), STUDY, COMPARISON, tmp_path, pytest.fail)
    assert not list(tmp_path.iterdir())
