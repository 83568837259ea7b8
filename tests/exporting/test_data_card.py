"""The data card says by which rules and at what cost pairs were made, and nothing of the machine or of secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from notus_exp.exporting.cards import for_others, level
from notus_exp.exporting.handing_over import ExportRequest, export
from support.exported_runs import COMMIT, RUN, made_run
from support.readable_studies import compared
from support.study_folders import ACCURACY, crossed, edit, run_json, write_study

SCORED = pl.DataFrame({"row": [0], "completion": [0], "judged": [0.75]})


def exported(outputs: Path, to: Path, what: str = RUN, form: str = "trl", **more: Any) -> str:
    export(ExportRequest(what, to, form, outputs, data_only=True, **more))
    return (to / "README.md").read_text(encoding="utf-8")


def header(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_header_names_each_split_and_its_file(tmp_path: Path) -> None:
    made_run(tmp_path / "outputs")
    text = exported(tmp_path / "outputs", tmp_path / "out", form="h4")
    assert header(text)["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train_prefs", "path": "data/train_prefs-00000-of-00001.parquet"},
                {"split": "test_prefs", "path": "data/test_prefs-00000-of-00001.parquet"},
            ],
        }
    ]
    assert header(text)["size_categories"] == ["n<1K"]
    assert "| train_prefs | data/train_prefs-00000-of-00001.parquet | 4 |" in text
    assert "data=h4_ultrafeedback data.path=FILE" in text


def test_the_card_has_rules_counts_agreement_judges_cost_and_metrics(tmp_path: Path) -> None:
    made_run(tmp_path / "outputs", scores=SCORED)
    lines = exported(tmp_path / "outputs", tmp_path / "out").splitlines()
    for line in (
        "| selection.name | average |",
        "| pairs_out | 6 |",
        "| split.train | 6 |",
        "| data.hub_id | a/set |",
        f"| commit | {COMMIT} |",
        "| annotations_judged | mock | judge-2026-01-01 (7 replies) | verdicts 7 failed 0 cost 0.25 |",
        "| USD of judges | 0.25 |",
        "| tokens that judges read and wrote | 70 |",
        "| verifiable/strict | 0.500 [0.250 to 0.750] | - | - | ",
        "| pairs | pairs |",
    ):
        assert line in lines, line
    assert any(line.startswith("| average | 1.000 |") for line in lines)


def test_no_secret_and_no_place_of_the_machine_is_on_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    made_run(tmp_path / "outputs", scores=SCORED)
    run = tmp_path / "outputs/runs" / RUN / "run.json"
    told = {f"{tmp_path}/judge sk-very-secret-value": 3, "postgresql://me:word@host/db": 1}
    edit(run, lambda content: content["stages"]["annotations_judged"]["facts"].update(snapshots=told))
    text = exported(tmp_path / "outputs", tmp_path / "out")
    assert "judge ***" in text
    for hidden in (str(tmp_path), "very-secret", "word@"):
        assert hidden not in text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("it is in /home/me/work/x.json.", "it is in x.json."),
        ("~/work/x", "x"),
        (r"C:\Users\me\x.json", "x.json"),
        ("https://host/a/b", "https://host/a/b"),
        ("preferences/accuracy/average", "preferences/accuracy/average"),
        ("overall / 2 + honesty /3", "overall / 2 + honesty /3"),
        ("('/home/me/a b', 1)", "('a b', 1)"),
    ],
)
def test_of_a_place_its_last_name_is_left(text: str, left: str) -> None:
    assert for_others({"x": [text]}) == {"x": [left]}


def test_nested_settings_stand_on_one_level() -> None:
    assert level({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_of_a_study_the_verdict_and_its_interval_are_on_the_card(tmp_path: Path) -> None:
    planted = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(60, [0, 1, 2], effect=0.3 * place, arm=place).items()}
        for place, arm in enumerate(("base", "better"))
    }
    folder = write_study(tmp_path, planted)
    compared(folder)
    outputs = folder.parent.parent
    made_run(outputs)
    stages: dict[str, Any] = {}
    edit(outputs / "runs" / RUN / "run.json", lambda content: stages.update(content["stages"]))
    for seed in (0, 1, 2):
        edit(run_json(folder, f"better-s{seed}"), lambda content: content["stages"].update(stages))
    text = exported(outputs, tmp_path / "out", "planted")
    assert "the arm `better` of the study `planted` with the seed 0: alone better than the baseline" in text
    row = next(line for line in text.splitlines() if line.startswith("| better minus base |"))
    assert "| higher |" in row and "60 prompts, 3 seeds" in row
    assert "In preferences/accuracy/average, on 60 test prompts" in text
    (folder / "comparison.json").unlink()
    text = exported(outputs, tmp_path / "again", "planted", arm="better")
    assert "There is none: planted has no comparison.json" in text


def test_scores_that_contradict_the_sides_are_told(tmp_path: Path) -> None:
    made_run(tmp_path / "outputs")
    path = tmp_path / "outputs/artifacts/pairs-pairs/pairs.parquet"
    pl.read_parquet(path).with_columns(chosen_score=pl.col("rejected_score")).write_parquet(path)
    assert "the scores of 6 pairs do not call the chosen one better" in exported(tmp_path / "outputs", tmp_path / "out")
