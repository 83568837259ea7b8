"""What a plan may take: from what lies there and was made on this machine, from a measurement, or not known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.schema import Config, Stage
from notus_exp.contracts.manifest import manifest_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.json_files import write_json
from notus_exp.run import amounts, measured_machine
from notus_exp.run.amounts import Known
from notus_exp.run.assumed_machine import assumed
from notus_exp.run.calibration import FACTOR, Calibration, Cost
from notus_exp.run.forecast import Forecast, Wanted, elsewhere
from notus_exp.run.nodes import STAGES, Node
from notus_exp.run.plan import make_plan
from notus_exp.run.recorded import here
from support.configs import composed
from support.expressions import choosing_by
from support.plans import fixed_sources

SMOKE = ("experiment=smoke", "hardware=cpu", "evaluation=[preferences,verifiable]")
FACTS: dict[Stage, dict[str, Any]] = {
    Stage.responses: {"prompts": 2000},
    Stage.feedback: {"prompts": 2000, "completions": 8000},
    Stage.annotations: {"prompts": 2000, "completions": 8000},
    Stage.columns: {"prompts": 2000, "completions": 8000},
    Stage.pairs: {"prompts_in": 2000, "split/train": 32, "split/validation": 100},
    Stage.base_model: {"parameters": 91136},
    Stage.sft: {"steps": 4, "validation_conversations": 0, "conversations": 40},
    Stage.reference: {"needed": 64, "computed": 64},
    Stage.policy: {"steps": 8, "validation_pairs": 16},
    Stage.generations: {"prompts": 16},
    Stage.likelihoods: {"completions": 64, "answers": 4},
    Stage.evaluation: {},
}
SECONDS = {Stage.responses: 50, Stage.feedback: 2, Stage.annotations: 100, Stage.columns: 4, Stage.pairs: 3,
           Stage.base_model: 10, Stage.sft: 20, Stage.reference: 6, Stage.policy: 40, Stage.generations: 5,
           Stage.likelihoods: 7,
           Stage.evaluation: 1}  # fmt: skip
composed_once = cache(composed)
MEASURED = Calibration(6.0, Cost(0.1, 4e-10), Cost(0.01, 1e-10), Cost(0.001, 5e-10))


def config_of(folder: Path, *overrides: str) -> Config:
    return replace(composed_once(*SMOKE, "until=config", *overrides), output_dir=str(folder))


def nodes_of(config: Config) -> list[Node]:
    return make_plan(config, fixed_sources(config))


def record(config: Config, *, hardware: Mapping[str, Any] | None = None, attempts: int = 1, slower: float = 1) -> None:
    """Lay down manifests of a whole run as if each stage had taken SECONDS; nothing says where with `hardware={}`."""
    told = here(config.hardware) if hardware is None else hardware
    store = ArtifactStore(Path(config.output_dir) / "artifacts")
    for place, node in enumerate(nodes_of(config)):
        manifest = node.wanted
        manifest.facts, manifest.seconds = FACTS[node.stage], SECONDS[node.stage] * slower
        started = f"2026-01-01T{place:02}:00:00+00:00"
        if told:
            one: Any = {
                "started": started,
                "seconds": manifest.seconds,
                "hardware": {key: value for key, value in told.items() if value is not None},
            }
            manifest.provenance = [one] * attempts
        path = store.path(node.stage.name, node.key) / MANIFEST
        path.parent.mkdir(parents=True)
        write_json(path, manifest_file(manifest))


def forecast_of(config: Config, *, several: bool = False) -> tuple[Forecast, list[Node], list[str]]:
    """Return the forecast of what a config would make, those nodes, and what was said on the way."""
    nodes, said = nodes_of(config), list[str]()
    store = ArtifactStore(Path(config.output_dir) / "artifacts")
    missing = [node for node in nodes if not store.find(node.wanted)]
    wanted = Wanted(config, {node.key: node for node in nodes}, missing)
    return Forecast(wanted, several=several, say=said.append), missing, said


def seconds_of(forecast: Forecast, nodes: list[Node]) -> dict[str, float]:
    told = {node.name: forecast.of(node).expected for node in nodes}
    return {name: one.seconds for name, one in told.items() if one}


def words(config: Config) -> str:
    forecast, missing, _ = forecast_of(config)
    return forecast.in_words(missing)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that no test measures."""

    def refuse(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("the machine was measured")

    monkeypatch.setattr(measured_machine, "measure", refuse)


# ------------------------------------------------------------------------------------------------------------- recorded
def test_a_plan_with_no_records_is_not_known_and_says_what_measures(tmp_path: Path, unmeasured: None) -> None:
    found = words(config_of(tmp_path))
    assert found.startswith("not known: nothing like it was made on this machine")
    assert "calibrate=always" in found


def test_another_seed_takes_what_the_first_one_took(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path))
    forecast, missing, _ = forecast_of(config_of(tmp_path, "seed=1"))
    found = seconds_of(forecast, missing)
    assert "feedback" not in found and "base_model" not in found, "they are there"
    assert found["policy"] == pytest.approx(40, rel=0.01)
    assert found["generations_verifiable"] == pytest.approx(5)
    assert found["likelihoods"] == pytest.approx(7)
    said = forecast.in_words(missing)
    assert "artifacts took on this machine" in said
    assert "measurement" not in said and "not known" not in said


def test_columns_take_what_those_of_other_prompts_took_for_each_prompt(tmp_path: Path, unmeasured: None) -> None:
    def scored(*overrides: str) -> Config:
        item = "scores=[{path: s.csv, name: armorm}]"
        return config_of(tmp_path, item, *choosing_by("armorm"), *overrides)

    record(scored("data.prompts=2000"))
    forecast, missing, _ = forecast_of(scored("data.prompts=6000"))
    assert seconds_of(forecast, missing)["columns"] == pytest.approx(12)


def test_log_probs_of_everything_are_those_of_all_completions_and_training_finds_them(tmp_path: Path) -> None:
    named = config_of(tmp_path, *choosing_by("ref_logp + tokens"), "data.prompts=1000")
    keep_measurement(named)
    forecast, missing, _ = forecast_of(named)
    found = seconds_of(forecast, missing)
    alone = config_of(tmp_path, "data.prompts=1000")
    trained, others, _ = forecast_of(alone)
    assert found["columns_tokens"] == pytest.approx(6 + 1000 * 2e-3)
    references = ("reference", "reference_scored", "reference_columns")
    whole = sum(found[name] for name in references)
    assert whole > 3 * sum(seconds_of(trained, others)[name] for name in references[:2])
    assert [found[name] for name in references] == pytest.approx([whole / 3] * 3), "one worker computes all"


def test_twice_the_pairs_and_epochs_are_four_times_the_work(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path, "dpo.evaluations=0"))
    more = config_of(tmp_path, "dpo.evaluations=0", "filters.max_pairs=64", "dpo.epochs=2")
    forecast, missing, _ = forecast_of(more)
    [policy] = [node for node in missing if node.stage is Stage.policy]
    expected = forecast.of(policy).expected
    assert expected is not None
    assert expected.seconds == pytest.approx(160)
    assert expected.low < 40, "what part of 40 seconds was fixed is not known from one record"


SFT = ("sft=chosen", "sft.evaluations=0")


def test_a_supervised_training_takes_what_its_conversations_take(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path, *SFT))
    forecast, missing, _ = forecast_of(config_of(tmp_path, *SFT, "sft.epochs=3", "sft.learning_rate=1e-3"))
    found = seconds_of(forecast, missing)
    assert found["sft"] == pytest.approx(60)
    assert found["policy"] == pytest.approx(40), "of another model of the same size"
    assert found["reference"] >= 6, "whose log-probs nobody has yet"


def test_conversations_of_the_hub_are_as_many_as_the_config_expects(tmp_path: Path) -> None:
    chats = (
        "sft=chat",
        "sft.hub_id=a/b",
        "sft.evaluations=0",
        "sft.validation=0",
        "sft.lora.r=0",
        "sft.max_length=300",
    )
    config = config_of(tmp_path, *chats, "sft.max_length=300", "sft.expected_conversations=800")
    keep_measurement(config)
    forecast, missing, _ = forecast_of(config)
    # 800 conversations of a third of 300 tokens, in passes of 8: 100 calls, and 91136 parameters for each token
    expected = 6 + 100 * 0.1 + 800 * 100 * 91136 * 4e-10
    assert seconds_of(forecast, missing)["sft"] == pytest.approx(expected, rel=0.01)
    unknown, others, _ = forecast_of(config_of(tmp_path, *chats))
    assert "sft" not in seconds_of(unknown, others)


def test_answers_are_in_proportion_to_prompts_and_tokens(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path))
    more = config_of(tmp_path, "evaluation.verifiable.prompts=32", "evaluation.verifiable.max_new_tokens=96")
    forecast, missing, _ = forecast_of(more)
    assert seconds_of(forecast, missing)["generations_verifiable_base"] == pytest.approx(20)


def test_a_number_given_in_words_adds_up_the_stages(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path))
    forecast, missing, _ = forecast_of(config_of(tmp_path, "seed=1"))
    whole = sum(seconds_of(forecast, missing).values())
    assert forecast.in_words(missing).startswith(f"about {whole:.0f} s (")
    assert forecast.in_words([]) == "nothing is left to make"
    ten = forecast.in_words(missing, {node.key: 60 for node in missing})
    assert ten.startswith(f"about {whole:.0f} min (")


@pytest.mark.parametrize(
    "change",
    [{"processor": "Another"}, {"cpus": 1024}, {"device": "cuda"}, {"processes": 8}, {"cuda_names": "NVIDIA X"}],
)
def test_what_was_made_on_another_machine_tells_nothing(
    tmp_path: Path, unmeasured: None, change: dict[str, Any]
) -> None:
    config = config_of(tmp_path)
    record(config, hardware=here(config.hardware) | change)
    assert words(config_of(tmp_path, "seed=1")).startswith("not known")


def test_what_does_not_say_where_it_was_made_tells_nothing(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path), hardware={})
    assert words(config_of(tmp_path, "seed=1")).startswith("not known")


def test_seconds_of_an_artifact_that_was_gone_on_with_are_not_believed(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path), attempts=2)
    assert words(config_of(tmp_path, "seed=1")).startswith("not known")


@pytest.mark.parametrize(
    ("override", "unlike"),
    [
        ("model=smollm2_135m", "policy"),
        ("dpo.lora.r=0", "policy"),
        ("dpo.max_length=256 dpo.max_prompt_length=128", "reference"),
        ("dpo.precision=bfloat16", "likelihoods"),
    ],
)
def test_what_differs_in_more_than_amount_is_not_compared(
    tmp_path: Path, unmeasured: None, override: str, unlike: str
) -> None:
    record(config_of(tmp_path))
    forecast, missing, _ = forecast_of(config_of(tmp_path, *override.split()))
    assert unlike not in seconds_of(forecast, missing)
    assert unlike in forecast.in_words(missing)


def test_log_probs_that_several_nodes_share_are_counted_once(tmp_path: Path) -> None:
    both = [nodes_of(config_of(tmp_path, f"seed={seed}")) for seed in (0, 1)]
    nodes = {node.key: node for one in both for node in one}
    known = Known(lambda stage, key: nodes.get(key), lambda stage, key: None)
    one, other = ([node for node in run if node.name == "reference"] for run in both)
    alone = amounts.union(one, [], known)
    # 32 pairs to train on and 16 to validate on, both of 2 completions; of a prompt's 4 one node needs a half
    assert alone == 2 * (32 + 16)
    assert amounts.union([*one, *other], [], known) == pytest.approx(1.5 * alone)
    assert amounts.union(other, one, known) == pytest.approx(0.5 * alone)
    [scored] = [node for node in both[0] if node.name == "reference_scored"]
    assert amounts.union([*one, scored], [], known) == alone + 16 * 4


def test_damaged_manifests_are_left_out(tmp_path: Path, unmeasured: None) -> None:
    record(config_of(tmp_path))
    for path in tmp_path.glob("artifacts/policy-*/manifest.json"):
        path.write_text("{")
    assert words(config_of(tmp_path, "seed=1")).startswith("policy not known; the rest about ")


# ---------------------------------------------------------------------------------------------------- another's machine
FULL = ("dpo.global_batch_size=64", "dpo.precision=bfloat16", "dpo.lora.r=0", "dpo.evaluations=0", "seed=1")


def test_a_profile_of_another_machine_is_forecast_from_its_device_and_not_from_this_one(
    tmp_path: Path, unmeasured: None
) -> None:
    record(config_of(tmp_path))
    many = config_of(tmp_path, "hardware=a100_8x40gb", "calibrate=always", *FULL)
    forecast, missing, _ = forecast_of(many)
    second = 8 * 312e12 * 0.4
    # 32 pairs of two texts of 512 / 3 tokens each, the forward pass twice
    flops = 64 * 512 / 3 * 91136 * 6 * 4 / 3
    assert seconds_of(forecast, missing)["policy"] == pytest.approx(60 / 8 + flops / second)
    said = forecast.in_words(missing)
    assert "took on this machine" not in said
    assert "assuming 8 x A100 40GB at 40% of 312 TFLOP/s" in said
    assert "nothing for moving what is offloaded" in said
    assert said.endswith("hardware=a100_8x40gb is another machine's (8 processes)")


def test_answers_of_another_machine_are_bound_by_reading_the_weights() -> None:
    config = composed_once(*SMOKE, "hardware=h100_8", *FULL)
    machine = assumed(config.hardware, "bfloat16", 7_000_000_000)
    assert machine is not None
    assert machine.calibration.decode.call == pytest.approx(14e9 / (3350e9 * 0.5))


def test_how_many_prompts_a_hub_has_is_told_by_its_option_and_of_other_files_by_nothing(
    tmp_path: Path, unmeasured: None
) -> None:
    hub = ("data=ultrafeedback", "hardware=h100_8", *FULL)
    forecast, missing, _ = forecast_of(config_of(tmp_path, *hub))
    pairs = next(node for node in missing if node.stage is Stage.pairs)
    counted = amounts.planned(pairs, forecast.known)
    assert counted == 63_967
    own = tmp_path / "own.jsonl"
    own.write_text("{}")
    forecast, missing, _ = forecast_of(config_of(tmp_path, *hub, f"data.path={own}"))
    pairs = next(node for node in missing if node.stage is Stage.pairs)
    assert amounts.planned(pairs, forecast.known) == 1.0, "not known"


def test_a_profile_that_names_no_device_is_not_forecast(
    tmp_path: Path, unmeasured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(config_of(tmp_path))
    nameless = config_of(tmp_path, "hardware=a100_8x40gb", "hardware.device_name=null", *FULL)
    assert words(nameless) == "not known: hardware=a100_8x40gb is another machine's (8 processes)"
    monkeypatch.setattr("notus_exp.run.forecast.cuda_devices", lambda: 0)
    assert elsewhere(config_of(tmp_path, "hardware=gpu").hardware).startswith("this machine has not the CUDA device of")
    assert elsewhere(config_of(tmp_path).hardware) == ""
    two = config_of(tmp_path, "hardware.launch=ddp", "hardware.processes=2", "calibrate=always", "seed=1")
    assert words(two) == "not known: nothing like it was made by 2 processes on this machine"


def test_a_model_that_does_not_fit_is_not_forecast(
    tmp_path: Path, unmeasured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notus_exp.run.forecast.os.sysconf", lambda name: 2**16)  # 4 GiB
    found = words(config_of(tmp_path, "model=zephyr_7b_sft", "calibrate=always"))
    assert "7,241,732,096 parameters in float32 do not fit into this machine's memory" in found


# ------------------------------------------------------------------------------------------------------------- measured
def keep_measurement(config: Config) -> None:
    machine = measured_machine.measured_for(here(config.hardware), config.hardware, config.dpo.precision.name)
    content = {"imports": MEASURED.imports, "train": MEASURED.train, "score": MEASURED.score, "decode": MEASURED.decode}
    path = Path(config.output_dir) / "cache" / measured_machine.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {measured_machine.digest(machine): content})


def test_what_a_measurement_says_by_hand(tmp_path: Path, unmeasured: None) -> None:
    config = config_of(tmp_path, "dpo.evaluations=0", "dpo.lora.r=0", "calibrate=always")
    keep_measurement(config)
    forecast, missing, said = forecast_of(config)
    found = seconds_of(forecast, missing)
    # 32 pairs in micro-batches of 8, two texts of 512 / 3 tokens each, 91136 parameters
    assert found["policy"] == pytest.approx(6 + 4 * 0.1 + 64 * 512 / 3 * 91136 * 4e-10)
    # 16 prompts in one batch, 48 tokens each
    assert found["generations_verifiable"] == pytest.approx(48 * 0.001 + 16 * 48 * 91136 * 5e-10)
    assert found["base_model"] == pytest.approx(6, abs=0.1)
    told = forecast.of(next(node for node in missing if node.stage is Stage.policy)).expected
    assert told is not None and told.high == pytest.approx(told.seconds * FACTOR)
    assert "a measurement of this machine doing nothing else" in forecast.in_words(missing)
    assert f"within a factor of about {FACTOR:g}" in forecast.in_words(missing)
    assert said == []


def test_kto_scores_what_makes_its_reference_point_and_sft_alone_needs_no_reference(
    tmp_path: Path, unmeasured: None
) -> None:
    usual = ("dpo.evaluations=0", "dpo.lora.r=0", "calibrate=always")
    config = config_of(tmp_path, *usual, "dpo.algorithm=kto", "dpo.loss_type=[]", "dpo.batching=random")
    keep_measurement(config)
    forecast, missing, _ = forecast_of(config)
    texts = 64 * 512 / 3 * 91136
    assert seconds_of(forecast, missing)["policy"] == pytest.approx(
        6 + 4 * 0.1 + texts * 4e-10 + 4 * 0.01 + texts * 1e-10
    )
    forecast, missing, _ = forecast_of(config_of(tmp_path, *usual, "dpo.loss_type=[sft]"))
    found = seconds_of(forecast, missing)
    assert "reference" not in found
    assert found["policy"] == pytest.approx(6 + 4 * 0.1 + texts * 4e-10)


def test_a_busy_machine_is_said_beside_its_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.forecast.os.cpu_count", lambda: 2)
    keep_measurement(config_of(tmp_path))
    monkeypatch.setattr("notus_exp.run.forecast.os.getloadavg", lambda: (7.6, 0.0, 0.0))
    assert "(it is busy now: 8 at work on 2 cores, which makes it longer)" in words(config_of(tmp_path))
    monkeypatch.setattr("notus_exp.run.forecast.os.getloadavg", lambda: (1.9, 9.0, 9.0))
    assert "busy" not in words(config_of(tmp_path))


def test_what_was_recorded_goes_before_what_was_measured(tmp_path: Path, unmeasured: None) -> None:
    config = config_of(tmp_path)
    record(config)
    keep_measurement(config)
    forecast, missing, _ = forecast_of(config_of(tmp_path, "seed=1", "dpo.lora.r=0"))
    sources = {node.name: forecast.of(node).source for node in missing}
    assert sources["policy"] == "measured"
    assert sources["pairs"] == "recorded"
    assert "(policy)" in forecast.in_words(missing)


@pytest.mark.parametrize("content", ["{", "[]", '{"%s": {"imports": "x"}}', '{"%s": {"imports": -1}}', '{"%s": 3}'])
def test_a_damaged_measurement_is_said_in_a_line_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    config = config_of(tmp_path, "calibrate=always")
    keep_measurement(config)
    path = tmp_path / "cache" / measured_machine.FILE
    [key] = json.loads(path.read_text())
    path.write_text(content.replace("%s", key))

    def process(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        told = {"imports": 1.0, "train": [0.1, 1e-9], "score": [0.1, 1e-9], "decode": [0.1, 1e-9]}
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(told)}\n", "")

    monkeypatch.setattr("notus_exp.run.measured_machine.subprocess.run", process)
    forecast, missing, said = forecast_of(config)
    assert [line.partition(" ")[0] for line in said] == [str(path), "measuring"]
    assert "measurement of this machine" in forecast.in_words(missing)
    assert forecast_of(config)[2] == [], "it is kept"
    assert json.loads(path.read_text())[key]["imports"] == 1.0


def test_a_measurement_that_fails_is_said_and_nothing_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(command: list[str], **settings: Any) -> None:
        raise subprocess.CalledProcessError(1, command, "", "Traceback\nRuntimeError: no such device\n")

    monkeypatch.setattr("notus_exp.run.measured_machine.subprocess.run", process)
    forecast, missing, said = forecast_of(config_of(tmp_path, "calibrate=always"))
    assert said[1:] == ["this machine could not be measured: RuntimeError: no such device"]
    assert forecast.in_words(missing).startswith("not known")


@pytest.mark.parametrize(
    ("calibrate", "several", "measures"),
    [("studies", True, True), ("studies", False, False), ("always", False, True), ("never", True, False)],
)
def test_who_measures_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibrate: str, several: bool, measures: bool
) -> None:
    asked = list[Path]()
    monkeypatch.setattr(measured_machine, "measure", lambda cache, *rest: asked.append(cache))
    forecast_of(config_of(tmp_path, f"calibrate={calibrate}"), several=several)
    assert asked == [tmp_path / "cache"] * measures


def test_a_study_that_runs_measures_nothing_unless_asked(tmp_path: Path, unmeasured: None) -> None:
    forecast_of(composed(*SMOKE, f"output_dir={tmp_path}"), several=True)


def test_a_judges_time_is_not_guessed(tmp_path: Path, unmeasured: None) -> None:
    judged = ("evaluation=[alpaca_eval]", "evaluation.alpaca_eval.prompts=x.json", "judge=openai")
    config = config_of(tmp_path, *judged, "judge.base_url=http://127.0.0.1:9/v1", "judge.model=m")
    keep_measurement(config)
    forecast, missing, _ = forecast_of(config)
    assert not {"judgments_alpaca_eval", "judgments_alpaca_eval_base"} & seconds_of(forecast, missing).keys()
    assert "judgments not known" in forecast.in_words(missing)


def test_forecasts_import_nothing_heavy() -> None:
    code = (
        "import sys; import notus_exp.run.forecast; print([m for m in ('torch', 'polars', 'trl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_stage_has_facts_here() -> None:
    assert {*STAGES} - {*FACTS} == {Stage.benchmarks, Stage.judgments}
