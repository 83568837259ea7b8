"""The benchmark of a study's cost: both sides do the same work, the scripts and the sums of times are right."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest

from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.curation.pairs import curate
from notus_exp.curation.split import held_out_prompts
from notus_exp.disk.hashing import prompt_id
from notus_exp.feedback.simulated import simulate
from notus_exp.stages.settings import PairsSettings
from support.configs import composed
from support.places import ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import sweep  # noqa: E402
import sweep_data  # noqa: E402
import sweep_work  # noqa: E402

WORLD, PAIRS, TEST_PROMPTS = 200, 30, 7


@pytest.fixture(scope="module")
def completions():
    return simulate(composed("data=simulated", f"data.prompts={WORLD}").data)


@pytest.fixture(scope="module")
def rows(completions, tmp_path_factory):
    """The exported feedback as the scripts load it."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("feedback")
    file = sweep_data.export(completions, folder / "feedback.jsonl")
    return datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "cache"))


def spec(selection):
    config = composed(f"selection={selection}", f"filters.max_pairs={PAIRS}")
    return PairsSettings(
        config.data.aspects, config.repair, config.selection, config.rejected, config.filters, [], config.split, 0
    )


def of_train(pairs):
    return pairs.filter(pl.col("split") == "train")


# ------------------------------------------------------------------------------------------------------ the same work
@pytest.mark.parametrize("selection", ["critique", "average"])
def test_script_and_framework_make_pairs_of_the_same_prompts_with_equally_good_chosen_responses(
    selection, completions, rows
):
    import plain_trl

    curated = plain_trl.curate(rows, {"selection": selection, "seed": 0, "system": ""})
    mine = plain_trl.of_split(curated, "train", PAIRS)
    scores = {
        (row["instruction"], one["response"]): plain_trl.score(one, selection)
        for row in rows
        for one in row["completions"]
    }
    chosen = {row["instruction"]: scores[row["instruction"], row["chosen"][0]["content"]] for row in mine}
    framework = of_train(curate(completions, spec(selection)).pairs)
    expected = {row["prompt"][0]["content"]: row["chosen_score"] for row in framework.iter_rows(named=True)}
    assert chosen == pytest.approx(expected)
    assert len(expected) == PAIRS
    for row in mine:
        assert scores[row["instruction"], row["rejected"][0]["content"]] < chosen[row["instruction"]]


def test_the_first_test_rows_of_the_file_are_the_prompts_that_the_framework_scores(completions, rows):
    import plain_trl

    mine = [prompt_id(row["instruction"]) for row in plain_trl.of_split(rows, "test", TEST_PROMPTS)]
    assert mine == held_out_prompts(completions, spec("average").split, "test", TEST_PROMPTS)


def test_a_side_that_did_less_is_refused():
    sizes = sweep_data.Sizes(4, 1, 1, 2)
    counts = {"pairs": 4, "answers": 2, "steps": 1}
    full = {"counts": counts, "base_logp": -10.0}
    sweep.check_same_work([full], [full | {"base_logp": -10.0004}], sizes)
    with pytest.raises(AssertionError, match="same work"):
        sweep.check_same_work([full], [full | {"counts": counts | {"steps": 2}}], sizes)
    with pytest.raises(AssertionError, match="log-prob"):
        sweep.check_same_work([full], [full | {"base_logp": -10.1}], sizes)


# -------------------------------------------------------------------------------------------------------- the scripts
def test_a_scripts_log_probs_are_the_sums_over_the_completions_tokens(tiny_model_folder):
    import plain_trl
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval()
    items = [([5, 6, 7, 8, 9], 2), ([3, 4], 1), ([10, 11, 12, 13, 14, 15, 16], 6)]
    expected = []
    for ids, start in items:
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(sum(logps[place - 1, ids[place]].item() for place in range(start, len(ids))))
    assert plain_trl.log_probs(model, items) == pytest.approx(expected, abs=1e-4)


def test_a_scripts_accuracy_is_a_mean_over_prompts_in_which_equal_rewards_count_half():
    import plain_trl

    def row(*overall):
        return {"completions": [{"overall_score": score} for score in overall]}

    first, second, third = row(1.0, 2.0, 3.0), row(5.0, 4.0), row(7.0, 7.0)
    rewards = [0.1, 0.3, 0.2, 0.5, 0.5, 0.0, 1.0]
    # 1 < 2 and 1 < 3 are right and 2 < 3 is wrong: 2/3; equal rewards: 1/2; the third prompt orders nothing
    assert plain_trl.accuracy([first, second, third], rewards, "critique") == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_script_averages_the_ratings_that_are_there():
    import plain_trl

    def rated(*ratings):
        return {"annotations": {str(place): {"Rating": rating} for place, rating in enumerate(ratings)}}

    assert plain_trl.score(rated("5", "N/A", "2"), "average") == 3.5
    assert plain_trl.score(rated("N/A"), "average") is None


# --------------------------------------------------------------------------------------------------------------- time
def test_imports_are_the_sum_of_each_modules_own_time():
    text = "import time: self [us] | cumulative | imported package\nimport time:   100000 |     100000 |   inner\n"
    text += "a warning\nimport time:   250000 |     350000 | outer\n"
    assert sweep_work.import_seconds(text) == pytest.approx(0.35)


def test_a_stages_time_is_free_of_its_workers_imports_and_log_probs_are_shared_out_by_tokens(tmp_path):
    scored = {"preferences": {"max_prompts": 3}}
    made = [
        ("feedback", 1.0, {}, {}, {}),
        ("pairs", 2.0, {}, {}, {}),
        ("base_model", 50.0, {}, {}, {}),
        ("reference", 25.0, {"preferences": None}, {"tokens": 300}, {}),
        ("reference", 0.0, scored, {"tokens": 100}, {}),
        ("policy", 30.0, {}, {}, {}),
        ("generations", 7.0, {}, {}, {"base_model": "k"}),
        ("generations", 6.0, {}, {}, {"base_model": "k", "policy": "k"}),
        ("likelihoods", 4.0, {}, {}, {}),
        ("evaluation", 0.5, {}, {}, {}),
    ]
    for number, (stage, seconds, settings, facts, inputs) in enumerate(made):
        folder = tmp_path / "artifacts" / f"{stage}-{number}"
        folder.mkdir(parents=True)
        manifest = Manifest(stage, str(number), settings, inputs, {}, facts, seconds)
        (folder / "manifest.json").write_text(json.dumps(manifest_file(manifest)))
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "job.json").write_text(json.dumps({"nodes": [{"stage": "reference"}, {"stage": "policy"}]}))
    (run / "worker.log").write_text("import time:   5000000 |    5000000 | torch\n")
    assert sweep_work.framework_work(tmp_path) == pytest.approx(
        {"reference": 15.0, "base": 5.0 + 7.0, "training": 30.0, "policy": 10.5, "curation": 3.0}
    )


def test_a_bound_that_is_missed_is_said(capsys):
    assert sweep.verdict("x", 0.7, 0.75)
    assert not sweep.verdict("x", 0.76, 0.75)
    assert "0.760 (at most 0.75: NO)" in capsys.readouterr().out


def test_the_settings_of_a_script_are_those_of_the_run(tmp_path):
    config = composed("model=smollm2_135m")
    from notus_exp.stages.settings import to_json

    material = sweep_data.Material(tmp_path / "f", tmp_path / "q", tmp_path / "m", to_json(config))
    settings = sweep.script_settings(material, sweep_data.Sizes(8, 2, 3, 3), "average", 0.3, tmp_path)
    assert settings["recipe"] == to_json(config.dpo)
    assert (settings["system"], settings["max_new_tokens"]) == ("", config.evaluation.verifiable.max_new_tokens)
    assert (settings["selection"], settings["beta"], settings["pairs"]) == ("average", 0.3, 8)


@pytest.mark.slow
def test_the_benchmark_runs_to_its_verdict_with_a_tiny_model(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "sweep.py"), "--model=tiny", "--pairs=8", "--test-prompts=4"]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run([*command, "--only=single"], capture_output=True, text=True, env=environment)
    assert done.returncode in (0, 1), done.stderr
    assert "8 pairs" in done.stdout
    assert "time after imports, run / script:" in done.stdout
