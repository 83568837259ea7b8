"""Probes: implicit rewards of policies of other runs, out of fold, and what is refused of them before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from notus_exp.config.curation_settings import Split
from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.format import sealed
from notus_exp.disk import files
from notus_exp.disk.hashing import prompt_id, uniform
from notus_exp.errors import UserError
from notus_exp.run.execution import execute
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.run.probes import check_folds
from notus_exp.scoring.probe_scores import Overlap, ScoringPolicy, probe_rewards
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.expressions import choosing_by

PROMPTS = ("A?", "B?", "C  ?")
COMPLETIONS = table(*(prompt(text, completion("x"), completion("y")) for text in PROMPTS))


# -------------------------------------------------------------------------------------------------------------- rewards
def policy(folder: Path, name: str, trained: list[str], rewards: list[float], beta: float = 1.0) -> ScoringPolicy:
    """A policy that was trained on some prompts, with log-probs that are by so much above the reference's."""
    ids = COMPLETIONS.select("prompt_id", "row", "completion")
    logps = pl.Series("logp", [reward - 5.0 for reward in rewards], dtype=pl.Float64)
    ids.with_columns(logps, ref_logp=-5.0, tokens=1).write_parquet(folder / f"{name}-likelihoods")
    rows = [
        {"prompt_id": prompt_id(text), "split": split, "prompt": [{"role": "user", "content": text}]}
        for split, texts in (("train", trained), ("validation", list(PROMPTS)))
        for text in texts
    ]
    pl.DataFrame(rows).write_parquet(folder / f"{name}-pairs")
    return ScoringPolicy(folder / f"{name}-likelihoods", folder / f"{name}-pairs", beta)


NONE_OVERLAPS = Overlap(exclude=False, in_sample=False)


def rewards_of(policies: list[ScoringPolicy], overlap: Overlap = NONE_OVERLAPS) -> tuple[list[float | None], int]:
    found = probe_rewards(COMPLETIONS, policies, overlap, "probe_reward")
    return found.rewards["reward"].to_list(), found.trained_on


def test_a_prompt_is_scored_by_the_policies_that_were_not_trained_on_it(tmp_path: Path) -> None:
    one = policy(tmp_path, "one", ["A?"], [1, 2, 3, 4, 5, 6], beta=0.5)
    two = policy(tmp_path, "two", ["B?"], [10, 20, 30, 40, 50, 60])
    assert rewards_of([one, two]) == ([10, 20, 1.5, 2, (2.5 + 50) / 2, (3 + 60) / 2], 0)


def test_prompts_are_the_same_once_folded(tmp_path: Path) -> None:
    one = policy(tmp_path, "one", ["C ?"], [1, 2, 3, 4, 5, 6])
    with pytest.raises(UserError, match="trained on 1 of the prompts"):
        rewards_of([one])
    assert rewards_of([one], Overlap(exclude=True, in_sample=False)) == ([1, 2, 3, 4, None, None], 1)


def test_what_every_policy_was_trained_on_is_scored_only_where_that_is_asked_for(tmp_path: Path) -> None:
    one = policy(tmp_path, "one", ["A?", "B?"], [1, 2, 3, 4, 5, 6])
    two = policy(tmp_path, "two", ["B?"], [10, 20, 30, 40, 50, 60])
    with pytest.raises(UserError, match="every run of it was trained on 1 of the prompts"):
        rewards_of([one, two])
    assert rewards_of([one, two], Overlap(exclude=False, in_sample=True)) == ([10, 20, 16.5, 22, 27.5, 33], 1)


def test_a_prompt_of_several_turns_is_another_than_its_last_one(tmp_path: Path) -> None:
    one = policy(tmp_path, "one", ["A?"], [1, 2, 3, 4, 5, 6])
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    contexts = pl.Series(
        "context", [turns] * 2 + [[]] * 4, dtype=pl.List(pl.Struct(dict.fromkeys(turns[0], pl.String)))
    )
    several = COMPLETIONS.with_columns(
        contexts, prompt_id=pl.Series(["f" * 16] * 2 + COMPLETIONS["prompt_id"].to_list()[2:])
    )
    assert probe_rewards(several, [one], NONE_OVERLAPS, "probe_reward").trained_on == 0
    pairs = pl.read_parquet(one.pairs)
    talked = pl.Series(
        "prompt", [[*turns, *prompt] for prompt in pairs["prompt"].to_list()], dtype=pairs.schema["prompt"]
    )
    pairs.with_columns(talked, prompt_id=pl.lit("f" * 16)).write_parquet(one.pairs)
    with pytest.raises(UserError, match="trained on 1 of the prompts"):
        probe_rewards(several, [one], NONE_OVERLAPS, "probe_reward")


def of_fold(fold: int, folds: int = 2, seed: int = 0) -> Split:
    return Split(seed, 0.1, 0.2, folds, fold)


def test_a_policy_of_a_fold_scores_no_prompt_of_it_whether_or_not_it_was_trained_on_it(tmp_path: Path) -> None:
    folded = [prompt_id(text) for text in ("A?", "B?", "C ?")]
    folds = [int(2 * u) for u in uniform(folded, 4, "fold")]
    assert folds == [1, 1, 0]
    one = policy(tmp_path, "one", ["C  ?"], [1, 2, 3, 4, 5, 6])._replace(split=of_fold(0, seed=4))
    two = policy(tmp_path, "two", ["A?"], [10, 20, 30, 40, 50, 60])._replace(split=of_fold(1, seed=4))  # B? was cut
    found = probe_rewards(COMPLETIONS, [one, two], NONE_OVERLAPS, "probe_reward")
    assert found.rewards["reward"].to_list() == [1, 2, 3, 4, 50, 60]
    assert (found.trained_on, found.scored_by) == (0, {1: 3})
    with pytest.raises(UserError, match="was trained on the fold that 2 of the prompts that it is to score are of"):
        rewards_of([two, two])
    assert rewards_of([two], Overlap(exclude=True, in_sample=False)) == ([None] * 4 + [50, 60], 2)
    assert rewards_of([two], Overlap(exclude=False, in_sample=True)) == ([10, 20, 30, 40, 50, 60], 2)


def test_a_reward_that_one_of_the_policies_of_a_fold_lacks_is_no_mean_over_fewer(tmp_path: Path) -> None:
    first = policy(tmp_path, "one", ["C  ?"], [1, 2, 3, 4, 5, 6])._replace(split=of_fold(0, seed=4))
    second = policy(tmp_path, "two", ["C  ?"], [3, 4, 5, 6, 7, 8])._replace(split=of_fold(0, seed=4))
    pl.read_parquet(second.likelihoods)[1:].write_parquet(second.likelihoods)
    found, _ = rewards_of([first, second], Overlap(exclude=True, in_sample=False))
    assert found == [None, 3, 4, 5, None, None]


def test_of_policies_without_folds_it_is_counted_how_many_scored_a_prompt(tmp_path: Path) -> None:
    one = policy(tmp_path, "one", ["A?"], [1, 2, 3, 4, 5, 6])
    two = policy(tmp_path, "two", [], [10, 20, 30, 40, 50, 60])
    assert probe_rewards(COMPLETIONS, [one, two], NONE_OVERLAPS, "probe_reward").scored_by == {1: 1, 2: 2}


@pytest.mark.parametrize("splits", [
    [None, None], [of_fold(0)], [of_fold(0), of_fold(1)], [of_fold(0), of_fold(0)], [of_fold(n, 3) for n in (2, 0, 1)],
    [of_fold(n) for n in (0, 1, 0, 1)],
])  # fmt: skip
def test_runs_that_score_each_prompt_by_equally_many_go_together(splits: list[Split | None]) -> None:
    check_folds("x", {str(number): split for number, split in enumerate(splits)})


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ([of_fold(0, 3), of_fold(1, 3)], "runs 1 of fold 0, 1 of fold 1, 0 of fold 2"),
        ([of_fold(0), of_fold(0), of_fold(1)], "scored by 1 of its runs and others by 2"),
        ([of_fold(0), None], "0 of split.folds=2, split.seed=0; 1 of no fold"),
        ([of_fold(0), of_fold(1, seed=1)], "not trained on folds of one split"),
        ([of_fold(0), of_fold(1, 3)], "not trained on folds of one split"),
    ],
)
def test_runs_that_would_score_prompts_by_different_numbers_are_refused(splits: list[Split | None], said: str) -> None:
    with pytest.raises(UserError, match="scores: x: ") as caught:
        check_folds("x", {str(number): split for number, split in enumerate(splits)})
    assert said in caught.value.message


# ----------------------------------------------------------------------------------------------------------------- runs
DATA = ("experiment=smoke", "model=tiny_random", "data.prompts=24", "evaluation=[]")
CHOICES = {"selection": "expression"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with two runs, `one` and `two`, whose policies are models at random."""
    output = tmp_path_factory.mktemp("probes")
    for seed, name in enumerate(("one", "two")):
        lay(output, name, composed(*DATA, f"output_dir={output}", "until=policy", f"seed={seed}"), seed)
    return output


def lay(output: Path, name: str, config: Config, seed: int) -> None:
    """Make a run up to its base model, and stand-ins of the rest."""
    run = Run(config, {"selection": "average"}, Console(quiet=True))
    makers: dict[Stage, Callable[[Path], dict[str, Any]]] = {
        Stage.reference: lambda out: {"needed": 0, "computed": 0, "found": 0},
        Stage.policy: lambda out: other_weights(out, seed),
    }
    run.folder.mkdir(parents=True)
    for node in run.nodes:
        if node.stage in makers:
            run.store.build(node.wanted, makers[node.stage], resumable=False)
        else:
            execute(node, run.job([node]))
    record(output, name, {node.name: node for node in run.nodes})


def other_weights(out: Path, seed: int) -> dict[str, Any]:
    from notus_exp.models.pretrained import tiny_random

    tiny_random(out / files.MODEL, seed + 1)
    return {"steps": 1, "validation_pairs": 0}


def other_likelihoods(run: Run, first: float, out: Path) -> dict[str, Any]:
    ids = pl.read_parquet(run.store.path("feedback", run.nodes[0].key) / files.COMPLETIONS).select("row", "completion")
    ids.with_columns(logp=first + pl.int_range(pl.len()), ref_logp=0.5).write_parquet(out / files.LIKELIHOODS)
    return {}


def record(output: Path, name: str, nodes: dict[str, Node], status: str = "finished") -> None:
    stages = {one: {"key": node.key, "path": node.folder, "facts": {}} for one, node in nodes.items()}
    content = {"format": 2, "run_id": name, "status": status, "config": {}, "metrics": {}, "artifacts": []}
    folder = output / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files.RUN_JSON).write_text(json.dumps(sealed({**content, "stages": stages})))


def probed(output: Path, item: str, *overrides: str, until: str = "columns") -> Run:
    named = choosing_by("probe_reward")
    config = composed(*DATA, f"output_dir={output}", f"scores=[{{{item}}}]", *named, f"until={until}", *overrides)
    return Run(config, CHOICES, Console(quiet=True))


def test_a_runs_policy_scores_all_completions_but_those_it_was_trained_on(trained: Path) -> None:
    run = probed(trained, "run: one, exclude: true")
    names = ["feedback", "reference_probe_reward_0", "likelihoods_probe_reward_0", "columns"]
    assert [node.name for node in run.nodes] == names
    run.look_ahead()
    for node in run.nodes:
        manifest, _ = execute(node, run.job([node]))
    folders = {node.name: run.store.path(node.stage.name, node.key) for node in run.nodes}
    found = pl.read_parquet(folders["columns"] / files.COLUMNS)
    logps = pl.read_parquet(folders["likelihoods_probe_reward_0"] / files.LIKELIHOODS)
    pairs = pl.read_parquet(run.store.path("pairs", run.sources.probes["probe_reward"][0].pairs) / files.PAIRS)
    train = pairs.filter(pl.col("split") == "train")["prompt_id"]
    both = found.join(logps, on=["row", "completion"], how="left", validate="1:1", maintain_order="left")
    hidden = both["prompt_id"].is_in(train.implode())
    assert 0 < hidden.sum() < hidden.len() == 24 * 4
    assert (both["probe_reward"].is_null() == hidden).all()
    expected = run.config.dpo.beta * (both["logp"] - both["ref_logp"])
    assert both["probe_reward"].filter(~hidden).to_list() == pytest.approx(expected.filter(~hidden).to_list())
    assert (expected != 0).all()
    facts = manifest.facts
    assert facts["probe_reward/prompts_trained_on"] == train.n_unique()
    assert facts["probe_reward/without_score"] == hidden.sum()


def test_training_prompts_of_the_same_feedback_are_refused_before_anything_runs(trained: Path) -> None:
    with pytest.raises(UserError, match=r"probe_reward: run one was trained on \d+ of the prompts") as caught:
        probed(trained, "run: one", until="config")
    assert "split.folds=2" in caught.value.hint
    assert probed(trained, "run: one, in_sample: true").nodes[-1].name == "columns"


def test_of_other_feedback_it_is_refused_as_soon_as_its_prompts_are_there(trained: Path) -> None:
    changed = "data.rating_noise=0.9"  # other ratings of the same prompts
    run = probed(trained, "run: one", changed)
    assert run.nodes[-1].name == "columns"
    run.folder.mkdir(parents=True)
    execute(run.nodes[0], run.job(run.nodes[:1]))
    with pytest.raises(UserError, match=r"run one was trained on \d+ of the prompts"):
        probed(trained, "run: one", changed)
    assert probed(trained, "run: one, exclude: true", changed).nodes[-1].name == "columns"


def test_runs_of_folds_score_each_prompt_by_those_of_the_other_folds(trained: Path) -> None:
    for fold, name in enumerate(("left", "right")):
        own = (f"split.fold={fold}", "split.folds=2", "filters.max_pairs=3", f"seed={fold}")
        lay(trained, name, composed(*DATA, f"output_dir={trained}", "until=policy", *own), fold)
    run = probed(trained, "runs: [left, right]")
    run.folder.mkdir(parents=True)
    made = iter((10.0, 20.0))
    for node in run.nodes:
        if node.stage is Stage.likelihoods:  # a stand-in
            run.store.build(node.wanted, partial(other_likelihoods, run, next(made)), resumable=False)
        elif node.stage is not Stage.reference:
            manifest, _ = execute(node, run.job([node]))
    folders = {node.name: run.store.path(node.stage.name, node.key) for node in run.nodes}
    found = pl.read_parquet(folders["columns"] / files.COLUMNS)
    ids = pl.read_parquet(folders["feedback"] / files.COMPLETIONS, columns=["prompt_id", "row", "completion"])
    rewards = []
    for number in (0, 1):
        one = pl.read_parquet(folders[f"likelihoods_probe_reward_{number}"] / files.LIKELIHOODS)
        one = ids.join(one, on=["row", "completion"], how="left", validate="1:1", maintain_order="left")
        rewards.append((run.config.dpo.beta * (one["logp"] - one["ref_logp"])).to_list())
    of = [probe.split.fold for probe in run.sources.probes["probe_reward"] if probe.split]
    folds = [int(2 * u) for u in uniform(ids["prompt_id"], run.config.split.seed, "fold")]
    assert {*folds} == {0, 1}
    expected = [rewards[of.index(1 - fold)][place] for place, fold in enumerate(folds)]
    assert found["probe_reward"].to_list() == pytest.approx(expected)
    assert manifest.facts["probe_reward/without_score"] == 0 and "probe_reward/prompts_by/1" not in manifest.facts
    hidden = len({one for one, fold in zip(ids["prompt_id"], folds, strict=True) if fold == 0})
    with pytest.raises(UserError) as caught:
        probed(trained, "run: left", until="config")
    assert f"trained on the fold that {hidden} of the prompts" in caught.value.message


def test_the_policies_are_in_the_key_and_their_order_is_not(trained: Path) -> None:
    def key(runs: str) -> str:
        return probed(trained, f"{runs}, in_sample: true").nodes[-1].key

    assert key("runs: [one, two]") == key("runs: [two, one]")
    assert len({key("run: one"), key("run: two"), key("runs: [one, two]")}) == 3


def test_log_probs_that_two_columns_need_are_one_node(trained: Path) -> None:
    named = choosing_by("probe_reward + ref_logp")[1]
    nodes = probed(trained, "runs: [one, two], in_sample: true", named).nodes
    assert len([node for node in nodes if node.stage is Stage.reference]) == 1
    assert len([node for node in nodes if node.stage is Stage.likelihoods]) == 2
    assert len({node.key for node in nodes}) == len(nodes)


def test_a_run_that_is_not_there_or_has_no_policy_is_one_error(trained: Path) -> None:
    with pytest.raises(UserError, match="there is no run 'ona'") as caught:
        probed(trained, "run: ona", until="config")
    assert "one" in caught.value.hint
    record(trained, "begun", {}, status="failed")
    with pytest.raises(UserError, match=r"run begun cannot be a probe: it has no policy \(its status is failed\)"):
        probed(trained, "run: begun", until="config")
    (trained / "runs" / "begun" / files.RUN_JSON).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        probed(trained, "run: begun", until="config")


@pytest.mark.parametrize("stage", ["policy", "base_model", "pairs"])
def test_an_artifact_that_is_damaged_is_named_before_anything_runs(trained: Path, stage: str) -> None:
    run = probed(trained, "run: two, in_sample: true")
    probe = run.sources.probes["probe_reward"][0]
    folder = run.store.path(stage, getattr(probe, stage))
    path = next(path for path in sorted(folder.rglob("*.*")) if path.suffix in (".safetensors", ".parquet"))
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1])
        with pytest.raises(UserError, match="run two cannot be a probe") as caught:
            probed(trained, "run: two, in_sample: true", until="config")
        assert path.name in caught.value.message
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match="its content was changed"):
            run.look_ahead()
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("run: a, path: f.csv", "path=f.csv is read of a file alone"),
        ("run: a, column: c", "column=c is read of a file alone"),
        ("run: a, runs: [b]", "has run and runs"),
        ("runs: [a, a]", "names a twice"),
        ("run: a, exclude: true, in_sample: true", "exclude=true and in_sample=true"),
        ("path: f.csv, name: a, in_sample: true", "in_sample=true is read with `run` or `runs` alone"),
    ],
)
def test_settings_that_an_item_does_not_read_are_refused(item: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        composed(*DATA, f"scores=[{{{item}}}]", "until=config")
    assert said in caught.value.message
