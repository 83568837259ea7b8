"""The comparison of a search: what it says of its values, and of the prompts that its trials were measured on."""

import csv
import json

import pytest

from notus_exp.compare import main
from notus_exp.comparison.tidy import tidy
from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.contracts.format import sealed
from notus_exp.disk.outputs import read_study
from notus_exp.study.search import search_comparison as searches
from notus_exp.study.search.summary import summary
from support.report_folders import importance, trial
from support.report_folders import searched as searched_summary
from support.searches import search
from support.study_folders import ACCURACY, STRICT, TOKENS, write_run, write_study


@pytest.fixture
def searched(monkeypatch):
    """Stand in for the summary of a search, whose trials have these runs."""

    def stand_in(*runs):
        found = {
            "trials": [{"runs": {"0": run}} for run in runs],
            "said": ["Of this worth."],
            "objectives": {STRICT: 1},
        }
        monkeypatch.setattr(searches, "summary", lambda folder: found)

    return stand_in


def test_a_search_has_no_arms_and_says_what_its_values_are_worth(tmp_path, searched):
    folder = write_study(tmp_path, {}, kind="search")
    searched("gone")
    comparison = searches.search_comparison(folder, read_study(folder))
    assert (comparison["arms"], comparison["contrasts"], comparison["warnings"]) == ([], [], [])
    assert comparison["verdict"].startswith("Of this worth. This study is a search")


@pytest.mark.parametrize(("split", "warnings"), [("test", 1), ("validation", 0)])
def test_a_search_on_test_prompts_leaves_none_to_confirm_it_on(tmp_path, searched, split, warnings):
    folder = write_study(tmp_path, {}, kind="search")
    write_run(folder.parent.parent, "trial-0", {ACCURACY: [0.5, 0.6]}, base={}, split=split)
    searched("trial-0", "gone")
    comparison = searches.search_comparison(folder, read_study(folder))
    assert comparison["study"]["evaluation_split"] == split
    assert len(comparison["warnings"]) == warnings


def test_the_command_compare_says_what_a_search_is_worth(tmp_path, capsys):
    folder = tmp_path / "outputs/studies/mine"
    search(folder)
    assert main([str(folder)]) == 0
    assert "This study is a search" in " ".join(capsys.readouterr().out.split())
    comparison = json.loads((folder / "comparison.json").read_text())
    assert (comparison["study"]["kind"], comparison["arms"]) == ("search", [])
    found = comparison["search"]
    assert [(one["number"], one["values"]) for one in found["trials"]] == [
        (one["number"], one["values"]) for one in summary(folder)["trials"]
    ]
    assert (found["best"], found["importances"]) == (summary(folder)["best"], {})
    rows = list(csv.DictReader((folder / "comparison.csv").open()))
    values = {
        (f"trial_{one['number']}", name, str(one["values"][name])) for one in found["trials"] for name in [ACCURACY]
    }
    assert {(row["arm"], row["metric"], row["value"]) for row in rows if row["table"] == "trial"} == values
    assert "best so far" in (folder / "report.html").read_text()


def test_a_comparison_of_before_is_read_without_what_its_search_found(tmp_path):
    folder = tmp_path / "outputs/studies/mine"
    search(folder)
    main([str(folder)])
    path = folder / "comparison.json"
    before = json.loads(path.read_text())
    assert read_comparison(path)["search"] == before["search"]
    del before["search"], before["seal"]
    path.write_text(json.dumps(sealed(before)))
    assert "search" not in read_comparison(path)


def test_the_tidy_table_of_a_search_has_trials_differences_and_importances():
    metric = STRICT
    best = trial(0, values={metric: 0.7}, constraints={TOKENS: 40.0}, seeds=2)
    best["intervals"] = {metric: {"value": 0.7, "low": 0.6, "high": 0.8, "prompts": 16}}
    other = trial(1, values={metric: 0.5}, seeds=2)
    other["differences"] = {metric: {"value": -0.2, "low": -0.3, "high": -0.1, "prompts": 16}}
    shares = {"dpo.beta": importance(0.8, 0.3, 1.0, 0.01), "fixed": importance(None, None, None, None)}
    found = searched_summary(trials=[best, other, trial(2, "pruned")], best=[0], importances={metric: shares})
    content = {"study": {"metric": metric}, "arms": [], "base": {"metrics": {}}, "contrasts": [], "effects": []}
    rows = tidy({**content, "search": found}).select(
        "table", "arm", "reference", "metric", "value", "low", "high", "holm", "prompts", "seeds", "verdict"
    )
    assert rows.rows() == [
        ("trial", "trial_0", None, TOKENS, 40.0, None, None, None, None, 2, "complete"),
        ("trial", "trial_0", None, metric, 0.7, 0.6, 0.8, None, 16, 2, "complete"),
        ("trial", "trial_1", None, metric, 0.5, None, None, None, None, 2, "complete"),
        ("difference", "trial_1", "trial_0", metric, -0.2, -0.3, -0.1, None, 16, 2, None),
        ("importance", "dpo.beta", None, metric, 0.8, 0.3, 1.0, 0.01, None, None, "matters"),
        ("importance", "fixed", None, metric, None, None, None, None, None, None, "cannot tell"),
    ]
