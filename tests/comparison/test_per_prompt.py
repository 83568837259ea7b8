import json
import math

import numpy as np
import polars as pl
import pytest

from notus_exp.comparison.per_prompt import metrics_by_prompt, run_values, seed_table
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import manifest_file, read_manifest
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.hashing import content_hash
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError
from support.study_folders import ACCURACY, STRICT, TOKENS, edit, prompt, run_json, write_study


@pytest.fixture
def study(tmp_path):
    values = {ACCURACY: [1.0, None, 0.25], STRICT: [True, False, None], TOKENS: [5, 7, 9]}
    return write_study(tmp_path, {"a": {0: values}}, base={ACCURACY: [0.5, 0.5, None], TOKENS: [1, 2, 3]})


def read(study, run="a-s0"):
    return run_values(study, json.loads(run_json(study, run).read_text()))


@pytest.fixture
def evaluated(study):
    """Put a table of another evaluation into the run, and name its metrics in run.json; return its values."""

    def put(file: str, table: pl.DataFrame, *metrics: str):
        table.write_parquet(study.parent.parent / "artifacts/evaluation-evaluation-a-s0" / file)
        edit(run_json(study, "a-s0"), lambda run: run.update(metrics=dict.fromkeys(metrics)))
        return read(study)

    return put


def numbers(column):
    return {key: None if math.isnan(value) else value for key, value in column.items()}


def test_values_of_policy_and_base_by_prompt(study):
    values = read(study)
    assert sorted(values.metrics()) == sorted([ACCURACY, STRICT, TOKENS])
    assert numbers(values.column(ACCURACY)) == {prompt(0): 1, prompt(1): None, prompt(2): 0.25}
    assert numbers(values.column(ACCURACY, base=True)) == {prompt(0): 0.5, prompt(1): 0.5, prompt(2): None}
    assert numbers(values.column(STRICT)) == {prompt(0): 1, prompt(1): 0, prompt(2): None}
    assert numbers(values.column(TOKENS, base=True)) == {prompt(0): 1, prompt(1): 2, prompt(2): 3}
    assert values.column("verifiable/kl") == {}


def test_records_of_one_prompt_are_averaged(evaluated):
    table = pl.DataFrame(
        {"prompt_id": ["p", "p", "q"], "row": [0, 4, 1], "completions": [4, 4, 4], "accuracy/average": [1.0, 0.5, None]}
    )
    values = evaluated("preferences.parquet", table, ACCURACY)
    assert numbers(values.column(ACCURACY)) == {"p": 0.75, "q": None}


def test_a_metric_that_the_run_refused_to_report_is_not_there(study):
    edit(run_json(study, "a-s0"), lambda run: run["metrics"].pop(STRICT))
    assert STRICT not in read(study).metrics()
    assert metrics_by_prompt(study, json.loads(run_json(study, "a-s0").read_text())) == [ACCURACY, TOKENS]


def test_preferences_become_points_and_answers_have_lengths(study, evaluated):
    for node, answers in (("generations_alpaca_eval", ["four", "a"]), ("generations_alpaca_eval_base", ["", "bb"])):
        folder = study.parent.parent / "artifacts" / node
        folder.mkdir()
        pl.DataFrame({"prompt_id": ["p", "q"], "response": answers}).write_parquet(folder / "generations.parquet")
        edit(
            run_json(study, "a-s0"),
            lambda run, node=node: run["stages"].update({node: {"path": f"/x/{node}", "key": "k"}}),
        )
    table = pl.DataFrame({"prompt_id": ["p", "q"], "preference": [1.75, 0.0], "preference/base": [1.0, None]})
    names = ("alpaca_eval/win_rate", "alpaca_eval/discrete_win_rate", "alpaca_eval/characters")
    values = evaluated("alpaca_eval.parquet", table, *names, "alpaca_eval/length_controlled_win_rate")
    assert values.metrics() == list(names)
    assert numbers(values.column(names[0])) == {"p": 75, "q": 50}
    assert numbers(values.column(names[0], base=True)) == {"p": 0, "q": None}
    assert numbers(values.column(names[1])) == {"p": 100, "q": 50}
    assert numbers(values.column(names[2], base=True)) == {"p": 0, "q": 2}


def test_a_question_without_a_rating_on_one_turn_has_a_turn_but_no_score(evaluated):
    rows = {
        "prompt_id": ["p", "p", "q", "q"],
        "turn": [1, 2, 1, 2],
        "category": ["math", "math", "writing", "writing"],
        "score": [4.0, 8.0, 7.0, None],
        "score/base": [2.0, 2.0, 1.0, 3.0],
    }
    names = ("mt_bench/score", "mt_bench/turn_1", "mt_bench/turn_2", "mt_bench/category/math", "mt_bench/coverage")
    values = evaluated("mt_bench.parquet", pl.DataFrame(rows), *names)
    assert numbers(values.column("mt_bench/score")) == {"p": 6, "q": None}
    assert numbers(values.column("mt_bench/turn_1")) == {"p": 4, "q": 7}
    assert numbers(values.column("mt_bench/category/math")) == {"p": 6}
    assert numbers(values.column("mt_bench/score", base=True)) == {"p": 2, "q": 2}
    assert "mt_bench/coverage" not in values.metrics()


def test_followed_instructions_average_to_the_share_of_all_instructions(evaluated):
    rows = {
        "prompt_id": ["p", "q", "r"],
        "key": [1, 2, 3],
        "instructions": [["a:x", "a:y", "a:x"], ["a:y"], ["a:x"]],
        "strict": [[True, True, False], [False], None],
        "loose": [[True, True, True], [True], None],
        "empty": [False, False, None],
    }
    table = pl.DataFrame(rows).with_columns(pl.col("strict", "loose", "empty").name.suffix("/base"))
    names = ("ifeval/prompt_strict", "ifeval/inst_strict", "ifeval/kind/a:x/strict", "ifeval/prompt_loose")
    values = evaluated("ifeval.parquet", table, *names)
    assert numbers(values.column("ifeval/prompt_strict")) == {"p": 0, "q": 0, "r": None}
    assert numbers(values.column("ifeval/prompt_loose")) == {"p": 1, "q": 1, "r": None}
    instructions = numbers(values.column("ifeval/inst_strict"))  # 2 of 4 are followed, 2 a prompt on average
    assert instructions == {"p": 1, "q": 0, "r": None}
    assert values.most("ifeval/inst_strict") == 1.5  # p has three, though no answer follows all of them
    assert values.most("ifeval/prompt_strict") is None
    assert sorted(values.metrics()) == sorted(names)
    assert numbers(values.column("ifeval/kind/a:x/strict")) == {"p": 0.5}  # q has none of this kind, r no answer


def test_only_harness_metrics_that_are_means_have_values_by_question(study, evaluated):
    content = {
        "results": {
            task: {metric: {"value": value, "stderr": None, "n": 2} for metric, value in metrics.items()}
            for task, metrics in {"t": {"acc": 0.5, "f1": 0.9}, "u": {"acc": 1.0}}.items()
        },
        "questions": {"t": {"acc": {"0": 1.0, "1": 0.0}, "f1": {"0": 1.0, "1": 0.0}}, "u": {"acc": {"0": 1.0}}},
    }
    names = ("lm_eval/t/acc", "lm_eval/t/f1", "lm_eval/u/acc")
    for node in ("benchmarks", "benchmarks_base"):
        folder = study.parent.parent / "artifacts" / node
        folder.mkdir()
        (folder / "benchmarks.json").write_text(json.dumps(content))
        edit(
            run_json(study, "a-s0"),
            lambda run, node=node: run["stages"].update({node: {"path": f"/x/{node}", "key": "k"}}),
        )
    edit(run_json(study, "a-s0"), lambda run: run.update(metrics=dict.fromkeys(names)))
    values = read(study)
    assert values.metrics() == ["lm_eval/t/acc", "lm_eval/u/acc"]
    assert values.column("lm_eval/u/acc") == {"u/0": 1}  # and none of the other task's questions
    assert values.column("lm_eval/t/acc", base=True) == {"t/0": 1, "t/1": 0}


def test_a_missing_table_of_a_finished_run_is_an_error_with_a_remedy(study):
    (study.parent.parent / "artifacts/evaluation-evaluation-a-s0/preferences.parquet").unlink()
    with pytest.raises(UserError, match="run a-s0 is finished, but its values of preferences are missing"):
        read(study)


def test_a_table_has_one_row_a_seed_and_gaps_where_a_prompt_is_missing():
    table = seed_table([{"p": 1.0, "q": 2.0}, {"q": 3.0}], ["q", "p", "z"])
    np.testing.assert_array_equal(table, [[2, 1, np.nan], [3, np.nan, np.nan]])
    assert seed_table([], ["q"]).shape == (0, 1)


def test_damaged_values_are_named_and_not_compared(study):
    folder = study.parent.parent / "artifacts" / "evaluation-evaluation-a-s0"
    made = read_manifest(folder / MANIFEST)
    files = [path for path in folder.iterdir() if path.name != MANIFEST]
    made.files = {path.name: path.stat().st_size for path in files}
    made.hashes = {path.name: content_hash(path) for path in files}
    write_json(folder / MANIFEST, manifest_file(made))
    read(study)
    damaged = folder / "preferences.parquet"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"preferences\.parquet is not what was written"):
        read(study)
    edit(run_json(study, "a-s0"), lambda run: run["stages"]["evaluation"].update(key="another"))
    with pytest.raises(DamagedFileError, match="its key is not the run's"):
        read(study)
