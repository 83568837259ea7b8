import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notus_exp.disk import events
from notus_exp.errors import UserError
from notus_exp.feedback.completions import run
from notus_exp.stages.context import Context
from notus_exp.stages.settings import FeedbackSettings
from support.places import ROOT

SPEC = {"name": "ultrafeedback", "aspects": ["helpfulness"], "max_bad_rows": 0}
GOOD = {
    "source": "s",
    "instruction": "ask",
    "completions": [
        {"response": "x", "model": "m", "annotations": {"helpfulness": {"Rating": "5"}}, "overall_score": 8},
        {"response": "y", "model": "n", "annotations": {"helpfulness": {"Rating": "N/A"}}},
    ],
}


def write(file, *rows):
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def run_on(folder, *files, digest="d" * 64, **settings):
    out = folder / "out"
    out.mkdir(exist_ok=True)
    writer = events.EventWriter("feedback", out / "events.jsonl", folder / "followed.jsonl")
    context = Context(writer, None, folder / "cache", {"data": [str(file) for file in files]})
    return run(FeedbackSettings(SPEC | settings, digest), {}, out, context), out


def test_it_writes_the_table_and_counts_what_it_read(tmp_path):
    facts, out = run_on(tmp_path, write(tmp_path / "a.jsonl", GOOD, GOOD | {"instruction": "other", "source": ""}))
    assert facts == {
        "records": 2, "bad_rows": 0, "records_without_completions": 0, "prompts": 2, "completions": 4, "models": 2,
        "sources": 2, "missing_overall": 2, "na_ratings/helpfulness": 2,
    }  # fmt: skip
    table = pl.read_parquet(out / "completions.parquet")
    assert table["rating_helpfulness"].to_list() == [5.0, None, 5.0, None]
    assert not (out / "quarantine.jsonl").exists()


def test_it_reports_progress_and_keeps_its_counts_as_an_event(tmp_path):
    _, out = run_on(tmp_path, write(tmp_path / "a.jsonl", GOOD))
    (kept,) = events.read(out / "events.jsonl")
    assert (kept.step, kept.metrics["completions"]) == (1, 2.0)
    assert any(events.PROGRESS in event.metrics for event in events.read(tmp_path / "followed.jsonl"))


def test_tolerated_malformed_rows_are_in_the_quarantine_file_and_counted(tmp_path):
    bad = GOOD | {"instruction": None}
    facts, out = run_on(tmp_path, write(tmp_path / "a.jsonl", "{", GOOD, bad), max_bad_rows=2)
    assert (facts["records"], facts["bad_rows"], facts["prompts"]) == (3, 2, 1)
    first, second = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert (first["file"], first["line"], first["raw"]) == ("a.jsonl", 1, "{")
    assert (second["line"], second["reason"]) == (3, "instruction is missing")
    assert json.loads(second["raw"]) == bad


def test_too_many_malformed_rows_stop_it_after_all_are_in_the_quarantine_file(tmp_path):
    rows = [GOOD, *["{"] * 5]
    with pytest.raises(UserError, match=r"5 malformed rows, data\.max_bad_rows is 4: a\.jsonl:2: not JSON") as error:
        run_on(tmp_path, write(tmp_path / "a.jsonl", *rows), max_bad_rows=4)
    quarantine = tmp_path / "out" / "quarantine.jsonl"
    assert error.value.message.count("a.jsonl:") == 3
    assert str(quarantine) in error.value.hint and "data.max_bad_rows=5" in error.value.hint
    assert len(quarantine.read_text().splitlines()) == 5
    assert not (tmp_path / "out" / "completions.parquet").exists()


def test_data_of_another_layout_is_told_so(tmp_path):
    with pytest.raises(UserError, match="2 malformed rows") as error:
        run_on(tmp_path, write(tmp_path / "a.jsonl", {"prompt": "p"}, {"prompt": "q"}))
    assert "none fits data=ultrafeedback" in error.value.hint


def test_a_lone_surrogate_reaches_the_quarantine_file_unchanged(tmp_path):
    bad = GOOD | {"instruction": "\ud83d"}
    _, out = run_on(tmp_path, write(tmp_path / "a.jsonl", GOOD, bad), max_bad_rows=1)
    (row,) = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert json.loads(row["raw"])["instruction"] == "\ud83d"


@pytest.mark.parametrize("rows", [["  "], [GOOD | {"completions": []}]])
def test_data_without_any_completion_is_an_error(rows, tmp_path):
    with pytest.raises(UserError, match="no completions"):
        run_on(tmp_path, write(tmp_path / "a.jsonl", *rows))


def test_the_same_content_at_another_place_gives_the_same_bytes(tmp_path):
    made = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        _, out = run_on(tmp_path / place, write(tmp_path / place / f"{place}.jsonl", GOOD))
        made.append((out / "completions.parquet").read_bytes())
    assert made[0] == made[1]


def test_each_reader_is_reached_by_the_name_of_its_option(tmp_path):
    rated = {"prompt_column": "p", "response_column": "r", "overall_column": "helpfulness"}
    facts, _ = run_on(
        tmp_path, write(tmp_path / "r.jsonl", {"p": "ask", "r": "x", "helpfulness": 4}), name="rated", **rated
    )
    assert facts["completions"] == 1
    columns = {"prompt_column": "p", "chosen_column": "c", "rejected_column": "r", "aspects": []}
    facts, out = run_on(
        tmp_path, write(tmp_path / "p.jsonl", {"p": "ask", "c": "x", "r": "y"}), name="pairs", **columns
    )
    assert facts["completions"] == 2 and facts["contradicting_scores"] == 0
    assert pl.read_parquet(out / "completions.parquet")["overall_score"].to_list() == [1.0, 0.0]
    with pytest.raises(UserError, match=r"data\.name is 'ratd'"):
        run_on(tmp_path, name="ratd")


def test_hub_data_is_read_at_the_slices_commit(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = {}
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *args, **kwargs: asked.update(kwargs) or datasets.Dataset.from_list([GOOD])
    )
    facts, _ = run_on(tmp_path, digest="c" * 40, hub_id="openbmb/UltraFeedback", hub_split="train")
    assert facts["completions"] == 2
    assert asked == {"split": "train", "revision": "c" * 40}


def test_simulated_data_is_made_from_its_settings(tmp_path):
    pytest.importorskip("notus_exp.feedback.simulated", reason="the simulated world is not there")
    world = {
        "name": "simulated", "aspects": ["helpfulness", "honesty", "instruction_following", "truthfulness"], "seed": 0,
        "prompts": 5, "min_constraints": 1, "max_constraints": 2, "skills": {"good": 0.9, "weak": 0.2},
        "rating_noise": 0.5, "overall_noise": 1.0, "missing_rate": 0.0, "overall_missing_rate": 0.0,
        "inverted_score_rate": 0.0,
    }  # fmt: skip
    facts, out = run_on(tmp_path, digest=None, **world)
    table = pl.read_parquet(out / "completions.parquet")
    assert facts["prompts"] == facts["records"] == 5
    assert facts["completions"] == table.height == 10
    assert table.columns[-1] == "latent_quality"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flags=st.lists(st.booleans(), min_size=1, max_size=12))
def test_every_record_is_in_the_table_or_in_the_quarantine_file(flags, tmp_path):
    rows = [GOOD | {"instruction": f"ask {index}"} if good else "{" for index, good in enumerate(flags)]
    file = write(tmp_path / "a.jsonl", GOOD, *rows)
    quarantine = tmp_path / "out" / "quarantine.jsonl"
    quarantine.unlink(missing_ok=True)
    facts, out = run_on(tmp_path, file, max_bad_rows=len(flags))
    kept = pl.read_parquet(out / "completions.parquet")["row"].unique().to_list()
    lost = [json.loads(line)["line"] for line in quarantine.read_text().splitlines()] if quarantine.exists() else []
    assert sorted([row + 1 for row in kept] + lost) == list(range(1, len(flags) + 2))
    assert facts["prompts"] + facts["bad_rows"] == facts["records"]


def test_no_reader_of_local_files_loads_a_training_library():
    import subprocess
    import sys

    heavy = "{'torch', 'transformers', 'trl', 'datasets'}"
    code = f"import sys, notus_exp.feedback.completions; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
