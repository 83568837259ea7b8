"""W&B runs, read back from their offline files."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.events import Event
from notus_exp.disk.files import CURATION_HTML, CURATION_JSON, MODEL, PAIRS
from notus_exp.tracking import Ending, Membership, NoTracker, open_tracker
from notus_exp.tracking.products import log_products
from notus_exp.tracking.tracker import of_trial
from support.offline_runs import TRACKING, OfflineRun, own_places, read_run, read_runs  # noqa: F401  (a fixture)

CONFIG = {"dpo": {"beta": 0.1, "lora": {"r": 8}}, "seed": 3, "data": {"aspects": ["a", "b"]}}
MEMBER = Membership("which_score", "average", 3)
METRICS = {"verifiable/strict": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 64}}
SAMPLES = [{"instruction": "Name a colour.", "base": "Yes.", "policy": "Red."}]
DONE = Ending("finished", METRICS, SAMPLES, {})


def track(
    folder: Path,
    ending: Ending = DONE,
    events: list[Event] | None = None,
    member: Membership | None = MEMBER,
    tags: list[str] | None = None,
    config: dict[str, Any] = CONFIG,
    **changes: Any,
) -> OfflineRun:
    """Track one run in this process and read it back."""
    folder.mkdir(exist_ok=True)
    tracking = dataclasses.replace(TRACKING, **changes)
    tracker = open_tracker(tracking, "run-id", tags or ["selection=average"], config, folder, pytest.fail, member)
    for event in events or []:
        tracker.log(event)
    tracker.finish(ending)
    (found,) = read_runs(folder)
    return found


def stages(
    root: Path, pairs: str = "pairs-0011223344556677", policy: str = "policy-8899aabbccddeeff"
) -> dict[str, Any]:
    """Write what the stages pairs and policy leave, and return run.json's lines about them."""
    (root / pairs).mkdir(parents=True, exist_ok=True)
    (root / policy / MODEL / "parts").mkdir(parents=True, exist_ok=True)
    (root / pairs / PAIRS).write_bytes(b"pairs")
    (root / pairs / CURATION_JSON).write_text(json.dumps({"counts": {"pairs_out": 2}}))
    (root / pairs / CURATION_HTML).write_text("<p>report</p>")
    (root / pairs / "events.jsonl").write_text("")
    (root / policy / MODEL / "weights.safetensors").write_bytes(b"weights")
    (root / policy / MODEL / "parts" / "config.json").write_text("{}")
    (root / policy / "checkpoint").write_bytes(b"not the model")
    return {
        "pairs": {"key": "00112233" * 8, "path": str(root / pairs), "inputs": {"feedback": "ff"}},
        "policy": {"key": "8899aabb" * 8, "path": str(root / policy), "inputs": {"base_model": "bb", "pairs": "00"}},
    }


def named(row: dict[str, Any]) -> dict[str, Any]:
    """What a row of a summary or of the history holds, without what W&B adds."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


def test_a_run_of_a_study_is_filed_under_study_arm_and_seed(tmp_path: Path) -> None:
    found = track(tmp_path)
    assert found.run.run_group == "which_score"
    assert found.run.display_name == "average-s3"
    assert found.run.job_type == "run"
    assert set(found.run.tags) == {"selection=average", "study=which_score", "arm=average", "mine"}
    assert found.run.project == "notus-exp"


def test_a_single_run_has_its_own_name_and_no_group(tmp_path: Path) -> None:
    found = track(tmp_path, member=None)
    assert (found.run.display_name, found.run.run_group) == ("run-id", "")
    assert set(found.run.tags) == {"selection=average", "mine"}


def test_a_group_that_was_asked_for_goes_before_the_study(tmp_path: Path) -> None:
    assert track(tmp_path, group="other").run.run_group == "other"


def test_the_config_stays_nested(tmp_path: Path) -> None:
    config = track(tmp_path).config
    assert {name: config[name] for name in CONFIG} == CONFIG


def test_each_stage_has_a_step_axis_of_its_own(tmp_path: Path) -> None:
    events = [
        Event(0.0, "policy", 10, {"train/loss": 0.7}),
        Event(1.0, "reference", 1, {"tokens": 5.0}),
        Event(2.0, "policy", 20, {"train/loss": 0.6, "validation/accuracy": 0.55}),
    ]
    found = track(tmp_path, events=events)
    assert found.curve("policy/train/loss") == [(10, 0.7), (20, 0.6)]
    assert found.curve("policy/validation/accuracy") == [(20, 0.55)]
    assert found.curve("reference/tokens") == [(1, 5.0)]
    assert found.axes["policy/*"] == "policy/step"
    assert found.axes["reference/*"] == "reference/step"


def test_the_metrics_of_several_rounds_are_curves_over_the_rounds(tmp_path: Path) -> None:
    rounds: Any = [
        {"round": n, "metrics": {"verifiable/strict": {**METRICS["verifiable/strict"], "value": n / 4}}} for n in (1, 2)
    ]
    found = track(tmp_path, DONE._replace(rounds=rounds))
    assert found.history_of("rounds/verifiable/strict", "rounds/round") == [(1, 0.25), (2, 0.5)]
    assert found.axes["rounds/*"] == "rounds/round"
    assert "rounds/verifiable/strict" not in named(found.summary), "the last round's is there by its plain name"


def test_the_summary_holds_each_metric_with_its_interval(tmp_path: Path) -> None:
    unknown = {"verifiable/kl": {"value": 1.5, "low": None, "high": None, "n": 1}}
    found = track(tmp_path, Ending("finished", METRICS | unknown, [], {}))
    expected = {"verifiable/strict": 0.5, "detail/verifiable/strict/low": 0.4, "detail/verifiable/strict/high": 0.6}
    expected |= {"detail/verifiable/strict/n": 64, "verifiable/kl": 1.5, "detail/verifiable/kl/low": None}
    expected |= {"detail/verifiable/kl/high": None, "detail/verifiable/kl/n": 1, "status": "finished"}
    assert named(found.summary) == expected
    assert found.exit_code == 0


def test_headline_metrics_lead_and_all_others_share_a_prefix(tmp_path: Path) -> None:
    estimate = METRICS["verifiable/strict"]
    names = ("verifiable/strict", "base/verifiable/strict", "difference/verifiable/strict", "verifiable/kind/json")
    found = track(tmp_path, Ending("finished", dict.fromkeys(names, estimate), [], {}))
    plain = [name for name in named(found.summary) if not name.startswith("detail/")]
    assert plain == ["status", "verifiable/strict"]
    assert found.summary["detail/difference/verifiable/strict"] == 0.5
    assert len(named(found.summary)) == 1 + 4 * 4


def test_what_the_study_asks_for_leads_too(tmp_path: Path) -> None:
    metrics = {"verifiable/kind/json": METRICS["verifiable/strict"]}
    member = MEMBER._replace(metrics=("verifiable/kind/json", "verifiable/strict"))
    assert track(tmp_path, Ending("finished", metrics, [], {}), member=member).summary["verifiable/kind/json"] == 0.5


def test_headline_metrics_are_in_the_history_so_that_panels_appear(tmp_path: Path) -> None:
    metrics = METRICS | {"verifiable/kl": {"value": None, "low": None, "high": None, "n": 0}}
    metrics |= {"verifiable/words": METRICS["verifiable/strict"]}
    found = track(tmp_path, Ending("finished", metrics, [], {}))
    (row,) = [named(row) for row in found.history]
    assert row == {"verifiable/strict": 0.5}


def test_values_of_validation_and_of_test_prompts_never_share_a_name(tmp_path: Path) -> None:
    estimate = METRICS["verifiable/strict"]
    names = ("verifiable/strict", "verifiable/words", "base/verifiable/strict", "preferences/accuracy/average")
    found = {}
    for split in ("test", "validation"):
        ending = Ending("finished", dict.fromkeys(names, estimate), [], {})
        run = track(tmp_path / split, ending, config=CONFIG | {"evaluation_split": split})
        found[split] = {name for row in (run.summary, *run.history) for name in named(row)} - {"status"}
    assert not found["test"] & found["validation"]
    assert {"validation/verifiable/strict", "detail/validation/base/verifiable/strict"} <= found["validation"]


def test_prompts_that_are_no_split_have_one_name(tmp_path: Path) -> None:
    metrics = {"mt_bench/score": METRICS["verifiable/strict"]}
    found = track(tmp_path, Ending("finished", metrics, [], {}), config=CONFIG | {"evaluation_split": "validation"})
    assert found.summary["mt_bench/score"] == 0.5


@pytest.mark.parametrize("status", ["failed", "interrupted", "pruned"])
def test_a_run_that_did_not_finish_says_how_it_ended(tmp_path: Path, status: str) -> None:
    found = track(tmp_path / "run", Ending(status, METRICS, [], stages(tmp_path / "artifacts")))
    assert found.exit_code == 1
    assert (found.summary["status"], found.summary["detail/verifiable/strict"]) == (status, 0.5)
    assert "verifiable/strict" not in found.summary, "no comparison counts it"
    assert not found.artifacts, "a model is sent only of a run that is whole"


def test_samples_are_a_table(tmp_path: Path) -> None:
    content = track(tmp_path).table("samples")
    assert content["columns"] == ["instruction", "base", "policy"]
    assert content["data"] == [["Name a colour.", "Yes.", "Red."]]


def test_pairs_and_model_are_artifacts_named_by_arm_and_role(tmp_path: Path) -> None:
    found = track(tmp_path / "run", Ending("finished", {}, [], stages(tmp_path / "artifacts")))
    pairs, model = (found.artifacts[f"which_score.average.{role}"] for role in ("pairs", "model"))
    assert (pairs.type, model.type) == ("pairs", "model")
    assert found.artifact_files(pairs.name) == {PAIRS, CURATION_JSON, CURATION_HTML}
    assert set(pairs.aliases) == {"latest", "s3", "0011223344556677"}
    assert set(model.aliases) == {"latest", "s3", "8899aabbccddeeff"}
    assert json.loads(pairs.metadata)["curation"] == {"counts": {"pairs_out": 2}, "notes": []}
    lineage = json.loads(model.metadata)
    assert lineage["pairs"] == "pairs-0011223344556677"
    assert lineage["inputs"] == {"base_model": "bb", "pairs": "00"}
    assert lineage["key"] == "8899aabb" * 8


def test_an_offline_run_declares_its_pairs_an_input(tmp_path: Path) -> None:
    found = track(tmp_path / "run", Ending("finished", {}, [], stages(tmp_path / "artifacts"))).artifacts
    used = {name.rpartition(".")[2]: artifact.use_after_commit for name, artifact in found.items()}
    assert used == {"pairs": True, "model": False}


def test_weights_are_sent_where_they_are_asked_for(tmp_path: Path) -> None:
    files = {}
    for wanted in ("model", "weights"):
        ending = Ending("finished", {}, [], stages(tmp_path / "artifacts"))
        found = track(tmp_path / wanted, ending, artifacts=[wanted])
        files[wanted] = found.artifact_files("which_score.average.model")
    assert files["model"] == {"parts/config.json", "model.json"}
    assert files["weights"] == files["model"] | {"weights.safetensors"}


def test_models_without_their_weights_are_versions_of_their_own(tmp_path: Path) -> None:
    both = []
    for seed, policy in enumerate(("policy-aaaaaaaaaaaaaaaa", "policy-bbbbbbbbbbbbbbbb")):
        made = stages(tmp_path / "artifacts", policy=policy)
        ending = Ending("finished", {}, [], made | {"policy": made["policy"] | {"key": policy}})
        both.append(track(tmp_path / str(seed), ending, member=MEMBER._replace(seed=seed)).artifacts)
    assert both[0].keys() == both[1].keys(), "one name, whose versions W&B counts"
    assert len({found["which_score.average.model"].digest for found in both}) == 2
    assert len({found["which_score.average.pairs"].digest for found in both}) == 1, "W&B stores equal content once"


@pytest.mark.parametrize(
    ("members", "owner", "aliases"),
    [
        ([of_trial("hunt", number, 0, ()) for number in (0, 1)], "hunt", ["trial_0-s0", "trial_1-s0"]),
        (
            [Membership("beta", "average", 1000, candidate=f"dpo.beta={beta}") for beta in ("0.1", "1")],
            "beta.average.tuning",
            ["dpo.beta_0.1-s1000", "dpo.beta_1-s1000"],
        ),
    ],
)
def test_what_is_tried_with_the_same_pairs_keeps_them_once(
    tmp_path: Path, members: list[Membership], owner: str, aliases: list[str]
) -> None:
    both = [
        track(
            tmp_path / str(number), Ending("finished", {}, [], stages(tmp_path / "artifacts")), member=member
        ).artifacts
        for number, member in enumerate(members)
    ]
    for found, alias in zip(both, aliases, strict=True):
        assert found.keys() == {f"{owner}.pairs", f"{owner}.model"}
        assert alias in found[f"{owner}.pairs"].aliases
    assert len({found[f"{owner}.pairs"].digest for found in both}) == 1


def test_arms_whose_names_wandb_refuses_have_artifacts_of_their_own(tmp_path: Path) -> None:
    names = set()
    for number, arm in enumerate(("dpo.beta=0.1", "dpo.beta:0.1", "x" * 300)):
        ending = Ending("finished", {}, [], stages(tmp_path / "artifacts"))
        names |= track(tmp_path / str(number), ending, member=Membership("beta", arm, 0)).artifacts.keys()
    assert len(names) == 6


def test_a_single_run_names_its_artifacts_by_what_it_chose(tmp_path: Path) -> None:
    tracker = open_tracker(TRACKING, "average-tiny-s0-0123456789", [], CONFIG, tmp_path, pytest.fail)
    tracker.finish(Ending("finished", {}, [], stages(tmp_path / "artifacts")))
    assert read_runs(tmp_path)[0].artifacts.keys() == {"average-tiny.pairs", "average-tiny.model"}


@pytest.mark.parametrize(("wanted", "kinds"), [([], set()), (["pairs"], {"pairs"}), (["model"], {"model"})])
def test_artifacts_can_be_switched_off(tmp_path: Path, wanted: list[str], kinds: set[str]) -> None:
    ending = Ending("finished", {}, [], stages(tmp_path / "artifacts"))
    found = track(tmp_path / "run", ending, artifacts=wanted)
    assert {artifact.type for artifact in found.artifacts.values()} == kinds


def test_a_run_that_stopped_early_sends_what_it_made(tmp_path: Path) -> None:
    made = {"pairs": stages(tmp_path / "artifacts")["pairs"]}
    found = track(tmp_path / "run", Ending("finished", {}, [], made))
    assert {artifact.type for artifact in found.artifacts.values()} == {"pairs"}


class OnlineRun:
    """Stands for a run with a server: notes what is logged and used, in order."""

    offline = False

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[str, str]] = []
        self.dir = str(folder / "files")

    def log_artifact(self, artifact: Any, aliases: list[str]) -> Any:
        self.calls.append(("output", artifact.type))
        artifact.wait = lambda: artifact
        return artifact

    def use_artifact(self, artifact: Any) -> Any:
        self.calls.append(("input", artifact.type))
        return artifact


def test_online_the_pairs_are_also_the_input_of_the_model(tmp_path: Path) -> None:
    run = OnlineRun(tmp_path)
    log_products(run, stages(tmp_path), ["pairs", "model"], "which_score.average", "s3")
    assert run.calls == [("output", "pairs"), ("input", "pairs"), ("output", "model")]


def test_runs_of_one_process_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "fixed")
    monkeypatch.setenv("WANDB_RESUME", "must")
    monkeypatch.setenv("WANDB_NAME", "of the environment")
    before = dict(os.environ)
    first = track(tmp_path / "1", DONE, [Event(0.0, "policy", 1, {"train/loss": 0.5})])
    assert dict(os.environ) == before
    other = Ending("failed", {"mt_bench/score": {"value": 7.0, "low": 6.5, "high": 7.5, "n": 80}}, [], {})
    events = [Event(0.0, "benchmarks", 1, {"done": 1.0})]
    second = track(tmp_path / "2", other, events, Membership("another", "b", 0), ["x=y"], {"new": 1}, group="g")
    assert dict(os.environ) == before
    assert first.run.run_id != second.run.run_id
    assert (second.run.run_group, second.run.display_name) == ("g", "b-s0")
    assert "dpo" not in second.config
    assert second.axes.keys() == {"benchmarks/step", "benchmarks/*"}
    assert not [name for name in second.summary if name.startswith(("policy", "verifiable", "samples"))]
    assert first.axes.keys() == {"policy/step", "policy/*"}
    assert not [name for name in first.summary if name.startswith(("mt_bench", "benchmarks"))]
    assert (first.exit_code, second.exit_code) == (0, 1)
    assert [row["_step"] for row in second.history] == [0], "counted from 0 again"


def test_a_run_that_was_never_closed_is_not_continued_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    lost = open_tracker(TRACKING, "lost", [], {}, tmp_path / "lost", pytest.fail)
    found = track(tmp_path / "next")
    lost.finish(DONE)
    assert found.run.display_name == "average-s3"
    assert found.run.run_id != read_runs(tmp_path / "lost")[0].run.run_id


def test_long_arms_and_tags_are_cut_to_what_wandb_takes(tmp_path: Path) -> None:
    arm = "x" * 200
    found = track(tmp_path, member=Membership("long", arm, 12), tags=["filters=" + "y" * 100])
    assert found.run.display_name.endswith("…-s12")
    assert len(found.run.display_name) == 128
    assert all(len(tag) <= 64 for tag in found.run.tags)


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("k" * 40, "db-pass-word", "argument-pass-word")
    monkeypatch.setenv("WANDB_API_KEY", secrets[0])
    monkeypatch.setattr(sys, "argv", ["run", f"judge.base_url=https://me:{secrets[2]}@host"])
    track(tmp_path, config={"study": {"storage": f"postgresql://me:{secrets[1]}@host/db"}})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert not [secret for secret in secrets if secret.encode() in path.read_bytes()], path


def test_a_newer_curation_is_warned_of_by_name_and_the_run_is_closed(tmp_path: Path) -> None:
    made = stages(tmp_path)
    path = Path(made["pairs"]["path"]) / CURATION_JSON
    path.write_text(json.dumps({"format": 7, "counts": {}}))
    warnings: list[str] = []
    tracker = open_tracker(TRACKING, "run-id", [], CONFIG, tmp_path, warnings.append)
    tracker.finish(DONE._replace(stages=made))
    assert len(warnings) == 1
    assert f"{path} has format 7" in warnings[0]
    assert read_runs(tmp_path)[0].exit_code == 0


def test_a_missing_file_is_warned_of_and_the_run_is_closed(tmp_path: Path) -> None:
    lines = stages(tmp_path / "artifacts")
    (tmp_path / "artifacts" / "pairs-0011223344556677" / PAIRS).unlink()
    warnings: list[str] = []
    tracker = open_tracker(TRACKING, "run-id", [], CONFIG, tmp_path, warnings.append)
    tracker.finish(Ending("finished", METRICS, [], lines))
    (found,) = read_runs(tmp_path)
    assert found.exit_code == 0
    assert found.summary["verifiable/strict"] == 0.5
    assert len(warnings) == 1
    assert PAIRS in warnings[0]


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    tracker = open_tracker(dataclasses.replace(TRACKING, name="none"), "x", [], CONFIG, tmp_path, pytest.fail)
    assert isinstance(tracker, NoTracker)
    tracker.log(Event(0.0, "policy", 1, {}))
    tracker.finish(DONE)
    assert not list(tmp_path.iterdir())


def test_the_reader_of_these_tests_joins_records_that_span_blocks(tmp_path: Path) -> None:
    long = "".join(chr(97 + i % 26) for i in range(100_000))
    found = track(tmp_path, config={"long": long})
    assert found.config["long"] == long
    assert read_run(found.path).summary["status"] == "finished", "records after it are read as well"


def test_last_values_of_curves_are_details_but_for_what_a_search_asks_for(tmp_path: Path) -> None:
    events = [Event(0.0, "policy", step, {"train/loss": 1.0 / step, "validation/loss": 2.0 / step}) for step in (1, 2)]
    member = MEMBER._replace(metrics=("policy/validation/loss",))
    found = named(track(tmp_path, Ending("finished", {}, [], {}), events, member).summary)
    assert found == {"status": "finished", "detail/policy/train/loss": 0.5, "policy/validation/loss": 1.0}
