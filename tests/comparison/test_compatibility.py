import json
import math

import polars as pl
import pytest

from notus_exp.comparison.analysis import analyse
from notus_exp.contracts.comparison_file import family_of
from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.errors import UserError
from support.study_folders import ACCURACY, STRICT, crossed, edit, manifest, run_json, write, write_run, write_study


@pytest.fixture
def study(tmp_path):
    """Two arms, two seeds, both evaluations."""
    arms = {}
    for place, arm in enumerate(("critique", "average")):
        values = crossed(12, [0, 1], arm=place)
        arms[arm] = {seed: {ACCURACY: row, STRICT: row > 0.5} for seed, row in values.items()}
    return write_study(tmp_path, arms)


def refused(study, **asked):
    with pytest.raises(UserError) as error:
        analyse(study, **asked)
    return str(error.value)


def test_runs_that_were_evaluated_alike_are_compared_without_a_warning(study):
    comparison = analyse(study)
    assert comparison["warnings"] == []
    assert comparison["protocol"]["feedback"] == "feedback-feedback"
    assert comparison["protocol"]["evaluations"]["verifiable"]["settings"]["max_new_tokens"] == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: run["stages"]["feedback"].update(key="other"), 'feedback is "feedback-feedback" in'),
        (lambda run: run["config"]["split"].update(test=0.5), "split.test is 0.2 in"),
        (lambda run: run["config"].update(evaluation_split="validation"), 'evaluation_split is "test" in'),
    ],
)
def test_runs_of_other_data_split_or_held_out_part_are_refused(study, change, said):
    edit(run_json(study, "average-s1"), change)
    message = refused(study)
    assert f"{said} arm 'critique', seed 0 and" in message
    assert "in arm 'average', seed 1" in message


def test_folds_of_the_training_prompts_hold_out_nothing_so_older_runs_and_arms_with_folds_are_compared(study):
    """Runs from before the setting have none: what decides who is held out must be alike, and nothing else."""
    before = analyse(study)["contrasts"]
    for run, folds in {"average-s0": {"folds": None, "fold": None}, "average-s1": {"folds": 2, "fold": 1}}.items():
        edit(run_json(study, run), lambda it, folds=folds: it["config"]["split"].update(folds))
    assert analyse(study)["contrasts"] == before


def test_other_data_is_told_by_its_setting_rather_than_by_a_key(study):
    def other(run):
        run["stages"]["feedback"]["key"] = "other"
        run["config"]["data"]["seed"] = 7

    edit(run_json(study, "average-s0"), other)
    assert "data.seed is 0 in arm 'critique', seed 0 and 7 in arm 'average', seed 0" in refused(study)


def other_data(study):
    """Give the arm `average` data of its own, whose labellings are others."""
    for run in ("average-s0", "average-s1"):
        edit(run_json(study, run), lambda it: it["stages"]["feedback"].update(key="other"))
        edit(run_json(study, run), lambda it: it["config"]["data"].update(seed=7))
        edit(run_json(study, run), lambda it: it["stages"]["evaluation"]["facts"].update(labellings=["critique"]))


def test_arms_of_different_data_are_compared_on_prompts_that_are_not_of_the_data(study):
    other_data(study)
    comparison = analyse(study, metric=STRICT)
    assert {row["metric"] for row in comparison["contrasts"]} == {STRICT}
    assert list(comparison["protocol"]["evaluations"]) == ["verifiable"]
    assert comparison["protocol"]["feedback"] is None
    assert comparison["trained_by_evaluated"] is None
    [apart] = [warning for warning in comparison["warnings"] if warning.startswith("preferences")]
    assert "its prompts being held out of each run's own data: data.seed is 0 in arm 'critique', seed 0 and 7" in apart
    message = refused(study, metric=ACCURACY)
    assert message.startswith(
        f"runs of different data are not compared on {ACCURACY}, whose prompts are held out of them"
    )
    assert "verifiable" in message.splitlines()[1]


def test_what_an_arms_own_data_keep_it_from_being_asked_is_left_out_of_all_arms_and_said(study):
    other_data(study)
    for run in ("average-s0", "average-s1"):
        place = study.parent.parent / f"artifacts/evaluation-evaluation-{run}/verifiable.parquet"
        table = pl.read_parquet(place)
        table.with_columns(prompt_id=pl.Series(["another", *table["prompt_id"][1:]])).write_parquet(place)
    comparison = analyse(study, metric=STRICT)
    assert "verifiable: 2 of 13 prompts were not asked in every run" in " ".join(comparison["warnings"])
    assert not any("do not agree" in warning for warning in comparison["warnings"])
    assert [arm["metrics"][STRICT]["prompts"] for arm in comparison["arms"]] == [11, 11]
    [row] = family_of(comparison)
    assert (row["prompts"], row["left_out"]) == (11, 0)


def test_a_run_of_before_evaluation_split_counts_as_test(study):
    edit(run_json(study, "average-s0"), lambda run: run["config"].pop("evaluation_split"))
    assert analyse(study)["study"]["evaluation_split"] == "test"


@pytest.mark.parametrize(
    ("node", "change", "said"),
    [
        ("reference_scored", {"max_length": 256}, "preferences.scored.max_length is 512"),
        ("evaluation", {"aspects": ["helpfulness"]}, 'preferences.aspects is ["honesty"]'),
    ],
)
def test_another_way_to_the_primary_metric_is_refused(study, node, change, said):
    edit(manifest(study, "average-s1", node), lambda content: content["slice"].update(change))
    message = refused(study)
    assert message.startswith(f"{ACCURACY} was not measured in one way: {said} in arm 'critique', seed 0")
    assert "--metric" in message


def test_another_evaluation_in_two_ways_is_kept_apart_and_said(study):
    edit(manifest(study, "average-s1", "generations_verifiable"), lambda it: it["slice"].update(max_new_tokens=128))
    comparison = analyse(study)
    assert {row["metric"] for row in comparison["contrasts"]} == {ACCURACY}
    assert all(STRICT not in arm["metrics"] for arm in comparison["arms"])
    assert list(comparison["protocol"]["evaluations"]) == ["preferences"]
    [warning] = comparison["warnings"]
    assert "verifiable was not measured in one way and is kept out" in warning
    assert (
        "verifiable.answers.max_new_tokens is 64 in arm 'critique', seed 0 and 128 in arm 'average', seed 1" in warning
    )
    assert "max_new_tokens is 64" in refused(study, metric=STRICT)


def test_what_an_arm_may_choose_is_not_looked_at(study):
    edit(manifest(study, "average-s0", "evaluation"), lambda content: content["slice"].update(beta=0.3))
    edit(run_json(study, "average-s0"), lambda run: run["config"]["dpo"].update(beta=0.3))
    edit(manifest(study, "average-s0", "generations_verifiable"), lambda it: it["slice"].update(endpoint_model="x"))
    assert analyse(study)["warnings"] == []


def test_other_library_versions_and_precisions_are_only_a_warning(study):
    def with_torch(version):
        return lambda content: content.update(provenance=[{"versions": {"torch": version, "wandb": version}}])

    for run, version in (("critique-s0", "2"), ("critique-s1", "2"), ("average-s0", "3"), ("average-s1", "2")):
        edit(manifest(study, run, "evaluation"), with_torch(version))
        edit(manifest(study, run, "reference_scored"), with_torch("1"))
    edit(run_json(study, "average-s0"), lambda run: run["config"]["dpo"].update(precision="bfloat16"))
    versions, precision = analyse(study)["warnings"]
    assert versions == "the runs were made with different versions of torch: 2, 3"
    assert "dpo.precision: bfloat16, float32" in precision


def test_a_machine_that_found_all_made_is_not_taken_for_the_one_that_made_it(study):
    edit(run_json(study, "average-s0"), lambda run: run.update(versions={"torch": "9"}, hardware={"profile": "gpu"}))
    assert analyse(study)["warnings"] == []


def test_of_stages_from_before_it_was_noted_the_versions_in_their_keys_are_compared(study):
    for run in ("critique-s0", "average-s0"):
        edit(manifest(study, run, "reference_scored"), lambda it, run=run: it["versions"].update(trl=run[:1]))
    assert analyse(study)["warnings"] == ["the runs were made with different versions of trl: a, c"]


@pytest.fixture
def judged(study):
    """Let every run have alpaca_eval, judged by the snapshots given by run, and its win rate as the primary metric."""

    def make(snapshots):
        prompts = [f"p{number}" for number in range(4)]
        for run in ("critique-s0", "critique-s1", "average-s0", "average-s1"):
            artifacts = study.parent.parent / "artifacts"
            for node in ("generations_alpaca_eval", "judgments_alpaca_eval"):
                for side in ("", "_base"):
                    folder = artifacts / f"{node}{side}-{run}"
                    settings = {"judge": {"name": "openai", "model": "gpt"}, "files": {}}
                    made = Manifest(node.partition("_")[0], "k", settings, {}, {})
                    write(folder / "manifest.json", manifest_file(made))
                    names = snapshots.get(run, ["v1"]) if not side else ["v1"]
                    pl.DataFrame({"prompt_id": prompts, "response": ["a"] * 4}).write_parquet(
                        folder / "generations.parquet"
                    )
                    pl.DataFrame({"snapshot": [*names, ""]}).write_parquet(folder / "judgments.parquet")
                    place = {f"{node}{side}": {"path": f"/x/{node}{side}-{run}", "key": "k", "facts": {}}}
                    edit(run_json(study, run), lambda it, place=place: it["stages"].update(place))
            table = pl.DataFrame(
                {"prompt_id": prompts, "preference": [1.0, 2, 1, 2], "preference/base": [1.0, 1, 1, 2]}
            )
            table.write_parquet(artifacts / f"evaluation-evaluation-{run}/alpaca_eval.parquet")
            edit(manifest(study, run, "evaluation"), lambda it: it["slice"].update(alpaca_eval={"name": "alpaca_eval"}))
            edit(run_json(study, run), lambda it: it["metrics"].update({"alpaca_eval/win_rate": {"value": 50.0}}))
        return study

    return make


def test_the_judge_and_its_snapshot_stand_in_the_protocol(judged):
    comparison = analyse(judged({}), metric="alpaca_eval/win_rate")
    assert comparison["protocol"]["judge"] == {"name": "openai", "model": "gpt", "files": {}, "snapshots": ["v1"]}


def test_verdicts_of_two_snapshots_of_a_judge_are_not_mixed(judged):
    study = judged({"average-s1": ["v2"]})
    message = refused(study, metric="alpaca_eval/win_rate")
    assert 'alpaca_eval.judge.snapshots is ["v1"] in arm' in message
    assert "alpaca_eval was not measured in one way" in analyse(study)["warnings"][0]


def test_snapshots_of_a_judge_that_are_mixed_alike_in_every_run_are_refused_too(judged):
    study = judged({f"{arm}-s{seed}": ["v1", "v2"] for arm in ("critique", "average") for seed in (0, 1)})
    said = "judged by several snapshots of the judge in arm 'critique', seed 0: v1, v2"
    assert said in refused(study, metric="alpaca_eval/win_rate")
    [warning] = analyse(study)["warnings"]
    assert warning.startswith("alpaca_eval was not measured in one way and is kept out of this comparison")
    assert said in warning


def tuned(study, run, split, metrics=(ACCURACY,)):
    """Say that the arm `average` was tuned by a run, and write that run."""
    values = {metric: [0.5, 0.6] for metric in metrics}
    write_run(study.parent.parent, run, values, base={}, split=split)
    runs = {"1000": run, "1001": "never started"}
    one = {"values": {"dpo.beta": "0.03"}, "runs": runs, "value": 0.7, "low": None, "high": None, "reason": None}
    edit(study / "study.json", lambda content: content.update(tuning={"average": [one]}))


def test_scores_on_test_prompts_that_tuning_saw_are_refused(study):
    tuned(study, "tune", "test")
    assert "'average' was tuned on test prompts (run tune has evaluation_split=test)" in refused(study)


def test_tuning_on_validation_prompts_is_fine(study):
    tuned(study, "tune", "validation")
    assert analyse(study)["warnings"] == []


def test_tuning_on_an_evaluation_without_validation_prompts_is_refused(judged):
    study = judged({})
    tuned(study, "tune", "validation")
    edit(run_json(study, "tune"), lambda run: run["metrics"].update({"alpaca_eval/win_rate": {"value": 50.0}}))
    message = refused(study, metric="alpaca_eval/win_rate")
    assert "'average' was tuned on the prompts of alpaca_eval/win_rate" in message
    assert analyse(study)["warnings"] == []  # another metric than the one tuned on such prompts


def test_a_comparison_on_validation_prompts_says_what_they_are_for(tmp_path):
    arms = {arm: {0: {ACCURACY: crossed(9, [0], arm=place)[0]}} for place, arm in enumerate("ab")}
    comparison = analyse(write_study(tmp_path, arms, split="validation"))
    assert "These are validation prompts, which are there for tuning" in comparison["verdict"]


def test_an_artifact_that_is_gone_is_an_error_with_a_remedy(study):
    manifest(study, "average-s1", "reference_scored").unlink()
    assert "run average-s1 is finished, but its artifact reference-reference_scored-average-s1 is gone" in refused(
        study
    )


def test_no_protocol_difference_shows_a_path(study):
    assert str(study.parent) not in json.dumps(analyse(study))


def served(study, model, address="http://one:1/v1"):
    """Have every run answered by an endpoint's model, whose name each arm and seed gives."""
    for arm in ("critique", "average"):
        for seed in (0, 1):

            def change(run, arm=arm, seed=seed):
                where = address if isinstance(address, str) else address(arm)
                run["config"]["generation"] = {"name": "openai", "base_url": where, "policy_model": model(arm, seed)}
                run["stages"]["policy"] = {"key": f"{arm}-{seed}", "path": "x", "facts": {}}

            edit(run_json(study, f"{arm}-s{seed}"), change)


def test_one_served_model_for_several_policies_is_said(study):
    served(study, lambda arm, seed: f"{arm}-{seed}")
    assert analyse(study)["warnings"] == []
    served(study, lambda arm, seed: "p")
    [said] = analyse(study)["warnings"]
    assert said.startswith("generation.policy_model=p answered for different policies, such as those of arm 'critique'")


def test_different_endpoints_are_said(study):
    served(study, lambda arm, seed: f"{arm}-{seed}", lambda arm: f"http://{arm}:1/v1")
    [said] = analyse(study)["warnings"]
    assert said == (
        "the runs asked different endpoints (generation.base_url: http://average:1/v1, http://critique:1/v1)"
    )


def test_engines_of_several_versions_are_said_and_one_server_a_run_is_no_stand_in(study):
    def answered(versions):
        for arm, version in versions.items():
            for seed in (0, 1):

                def change(run, arm=arm, seed=seed, version=version):
                    run["config"]["generation"] = {"name": "vllm", "policy_model": "policy"}
                    run["stages"]["policy"] = {"key": f"{arm}-{seed}", "path": "x", "facts": {}}
                    run["stages"]["generations_verifiable"]["facts"] = {"engines": {f"vllm {version}": 4}}

                edit(run_json(study, f"{arm}-s{seed}"), change)

    answered({"critique": "0.32.0", "average": "0.32.0"})
    assert analyse(study)["warnings"] == []
    answered({"critique": "0.32.0", "average": "0.33.0"})
    [said] = analyse(study)["warnings"]
    assert said.startswith("the answers were given by different engines (vllm 0.32.0, vllm 0.33.0)")


def test_tokens_that_nobody_told_are_null_in_a_comparison(tmp_path):
    arms = {arm: {seed: {STRICT: [True, False, True] * 4, "verifiable/tokens": [math.nan] * 12} for seed in (0, 1)}
            for arm in ("one", "two")}  # fmt: skip
    comparison = analyse(write_study(tmp_path, arms), metric=STRICT)
    assert [arm["metrics"]["verifiable/tokens"]["prompts"] for arm in comparison["arms"]] == [0, 0]
    assert all(arm["metrics"]["verifiable/tokens"]["value"] != 0 for arm in comparison["arms"])
