"""What made a stage stays with it: later attempts, on other machines too, add to what is known and replace nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Stage
from notus_exp.contracts.format import sealed
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.run_file import AttemptRecord, RunFile, made_with, read_run_file
from notus_exp.disk.artifacts import MAKERS, ArtifactStore
from notus_exp.disk.files import CONFIG_YAML, MANIFEST, RUN_JSON
from notus_exp.errors import UserError
from notus_exp.run import surroundings
from notus_exp.run.execution import Job, execute
from notus_exp.run.nodes import STAGES, Node, StageInfo
from notus_exp.run.record import RunRecord
from support.configs import composed

KEY = "ab" * 32
NODE = Node("policy", Stage.policy, {}, {}, {}, KEY, {})
HERE: dict[str, Any] = {"hardware": {"profile": "here"}, "versions": {"torch": "2"}, "git_commit": "abc"}
THERE: dict[str, Any] = {"hardware": {"profile": "there"}, "versions": {"torch": "3"}, "git_commit": "def"}


# ------------------------------------------------------------------------------------------------------------ manifests
@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def wanted(made_with: dict[str, Any] | None = HERE) -> Manifest:
    return Manifest("policy", KEY, {}, {}, {}, provenance=[made_with] if made_with else [])  # type: ignore[list-item]


def work(out: Path) -> dict[str, Any]:
    (out / "weights").write_text("0.5")
    return {}


def test_an_artifact_keeps_what_made_it_whoever_finds_it_later(store: ArtifactStore) -> None:
    made, _ = store.build(wanted(), work, resumable=True)
    path = store.path("policy", KEY) / MANIFEST
    before = path.read_bytes()
    found, built = store.build(wanted(THERE), work, resumable=True)
    [one] = found.provenance
    assert (built, path.read_bytes()) == (False, before)
    assert {key: one[key] for key in HERE} == HERE  # type: ignore[literal-required]
    assert one["seconds"] == made.seconds
    assert one["started"].endswith("+00:00")


@pytest.mark.parametrize("killed", [True, False])
def test_attempts_of_which_the_last_one_goes_on_with_the_others_work_are_all_told(
    store: ArtifactStore, killed: bool
) -> None:
    def fail(out: Path) -> dict[str, Any]:
        (out / "half").write_text("half")
        raise UserError("no")

    with pytest.raises(UserError):
        store.build(wanted(), fail, resumable=True)
    noted = store.partial("policy", KEY) / MAKERS
    if killed:  # as kill -9 leaves it, in the midst of noting
        content = json.loads(noted.read_text())
        noted.write_text(json.dumps([content[0] | {"seconds": None}]))
        noted.with_name(f".{MAKERS}.123").write_text("[")
    manifest, _ = store.build(wanted(THERE), work, resumable=True)
    first, last = manifest.provenance
    assert (first["hardware"], last["hardware"]) == (HERE["hardware"], THERE["hardware"])
    assert (first["seconds"] is None) == killed
    assert last["seconds"] == manifest.seconds
    assert {*manifest.files} == {"events.jsonl", "half", "weights"}, "the note is no part of the artifact"
    assert not [path for path in store.path("policy", KEY).iterdir() if MAKERS in path.name]


def test_what_is_made_in_an_empty_folder_was_made_by_the_last_attempt_alone(store: ArtifactStore) -> None:
    partial = store.partial("policy", KEY)
    partial.mkdir(parents=True)
    (partial / MAKERS).write_text(json.dumps([HERE | {"started": "then", "seconds": None}]))
    manifest, _ = store.build(wanted(THERE), work, resumable=False)
    assert [one["hardware"] for one in manifest.provenance] == [THERE["hardware"]]


def test_a_manifest_from_before_is_read_as_not_recorded_and_stays_as_it_is(store: ArtifactStore) -> None:
    store.build(wanted(), work, resumable=True)
    path = store.path("policy", KEY) / MANIFEST
    content = json.loads(path.read_text())
    del content["provenance"]
    path.write_text(json.dumps(sealed(content | {"format": 2})))
    before = path.read_bytes()
    found, built = store.build(wanted(THERE), work, resumable=True)
    assert (built, found.provenance) == (False, [])
    assert store.check(wanted(THERE)).damage is None
    assert path.read_bytes() == before


def job(tmp_path: Path, store: ArtifactStore, command: list[str]) -> Job:
    config = composed("experiment=smoke")
    return Job([NODE], store.root, tmp_path, tmp_path / "events", config.hardware, {}, config.generation, config.judge,
               tmp_path / "ledger", command=command)  # fmt: skip


def test_a_stage_is_given_the_machine_libraries_and_command_of_its_run(
    tmp_path: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job.json"
    job(tmp_path, store, ["experiment=smoke", "seed=1"]).write(path)
    given = Job.read(path)

    class Module:
        @staticmethod
        def run(settings: Any, inputs: dict[str, Path], out: Path, context: Any) -> dict[str, Any]:
            return work(out)

    monkeypatch.setattr("notus_exp.run.execution.STAGES", dict.fromkeys(STAGES, StageInfo("x", 1, False, False, dict)))
    monkeypatch.setattr("notus_exp.run.execution.from_json", lambda kind, content: content)
    monkeypatch.setattr("notus_exp.run.execution.importlib.import_module", lambda name: Module)
    execute(NODE, given)
    [one] = read_manifest(store.path("policy", KEY) / MANIFEST).provenance
    assert one["command"] == ["experiment=smoke", "seed=1"]
    assert (one["hardware"]["profile"], one["hardware"]["device"], one["hardware"]["processes"]) == ("cpu", "cpu", 1)
    assert one["hardware"].keys() >= {"machine", "system", "python", "cpus", "cuda_devices"}
    assert one["versions"].keys() == {*surroundings.RECORDED_VERSIONS}
    assert one["seconds"] is not None


@pytest.mark.parametrize(
    ("profile", "devices", "said"),
    [("gpu", 0, "cuda, which the machine has not"), ("gpu", 2, "cuda"), ("cpu", 0, "cpu"), ("cpu", 2, "cpu")],
)
def test_a_device_that_the_machine_has_not_is_not_said_to_have_made_anything(
    monkeypatch: pytest.MonkeyPatch, profile: str, devices: int, said: str
) -> None:
    monkeypatch.setattr(surroundings, "describe", lambda: {"cuda_devices": devices})
    hardware = composed("experiment=smoke", f"hardware={profile}").hardware
    assert surroundings.surroundings(hardware, [])["hardware"]["device"] == said


def test_a_command_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-secret-value")
    given = ["notus", "judge.base_url=https://me:pass-word@host/v1", "x=planted-secret-value", "seed=1"]
    monkeypatch.setattr("sys.argv", given)
    said = surroundings.given_command()
    assert said[-1] == "seed=1"
    assert "pass-word" not in str(said)
    assert "planted-secret-value" not in str(said)


# ------------------------------------------------------------------------------------------------------------- run.json
@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the machine is said to be; change it to go to another one."""
    now = dict(HERE)

    def made_with(hardware: Hardware, command: list[str]) -> dict[str, Any]:
        return {"command": command, **now}

    monkeypatch.setattr("notus_exp.run.record.surroundings", made_with)
    return now


def attempt(folder: Path, *, profile: str = "cpu", made: bool, seconds: float = 4.0) -> RunFile:
    config = composed("experiment=smoke", f"hardware.name={profile}")
    folder.mkdir(exist_ok=True)
    record = RunRecord(config, {"hardware": profile}, "mine", folder, ArtifactStore(folder), [NODE])
    record.add(NODE, Manifest("policy", KEY, {}, {}, {}, seconds=seconds), reused=not made)
    record.finish("finished")
    return read_run_file(folder / RUN_JSON)


def without_times(one: AttemptRecord) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key not in ("started", "finished")}


def test_a_repeated_command_on_another_machine_adds_an_attempt_and_replaces_nothing(
    tmp_path: Path, machine: dict[str, Any]
) -> None:
    first = attempt(tmp_path, made=True)
    machine |= THERE
    again = attempt(tmp_path, profile="elsewhere", made=False)
    assert again["attempts"][0] == first["attempts"][0]
    kept = ("config", "choices", "costs", "metrics")
    assert {key: again[key] for key in kept} == {key: first[key] for key in kept}  # type: ignore[literal-required]
    assert "elsewhere" not in (tmp_path / CONFIG_YAML).read_text()
    assert not {"hardware", "versions", "git_commit", "command"} & again.keys(), "attempts and manifests have them"
    told = without_times(again["attempts"][1])
    assert told.pop("command") == first["attempts"][0]["command"]
    assert told == {"status": "finished", "error": None, "made": [], "device_seconds": 0.0, **THERE}


def made(seconds: float, started: str | None = None) -> Manifest:
    """A reference that computed 96 log-probs."""
    facts = {"computed": 96, "tokens": 18502, "found": 4, "needed": 100}
    told: Any = [{"started": started, "seconds": seconds}] if started else []
    return Manifest("reference", KEY, {}, {}, {}, facts=facts, seconds=seconds, provenance=told)


def reference(folder: Path, manifest: Manifest | None, *, reused: bool, ends: str = "finished") -> RunFile:
    """An attempt of a run of this one node that is given what lies there; with None it ends before it comes to it."""
    node = Node("reference", Stage.reference, {}, {}, {}, KEY, {})
    config = composed("experiment=smoke")
    folder.mkdir(exist_ok=True)
    record = RunRecord(config, {}, "mine", folder, ArtifactStore(folder), [node])
    if manifest:
        record.add(node, manifest, reused=reused)
    record.finish(ends, None if ends == "finished" else "no")
    return read_run_file(folder / RUN_JSON)


@pytest.fixture
def clock(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a minute later."""
    minutes = iter(range(60))
    monkeypatch.setattr("notus_exp.run.record._now", lambda: f"2027-01-01T00:{next(minutes):02}:00+00:00")


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("told", [None, "2027-01-01T00:00:30+00:00"])
def test_what_a_run_made_and_when_is_told_alike_after_an_attempt_that_found_all_made(
    tmp_path: Path, told: str | None
) -> None:
    first = reference(tmp_path, made(15.5, told), reused=False)
    again = reference(tmp_path, made(15.5, told), reused=True)
    assert {key: value for key, value in again.items() if key not in ("attempts", "seal")} == {
        key: value for key, value in first.items() if key not in ("attempts", "seal")
    }
    assert (first["started"], first["finished"]) == ("2027-01-01T00:00:00+00:00", "2027-01-01T00:01:00+00:00")
    stage = again["stages"]["reference"]
    assert (stage["reused"], stage["seconds"], stage["facts"]["computed"]) == (False, 15.5, 96)
    assert [(one["made"], one["started"][14:16]) for one in again["attempts"]] == [(["reference"], "00"), ([], "02")]


@pytest.mark.usefixtures("clock")
def test_what_another_run_made_anew_since_is_not_this_runs(tmp_path: Path) -> None:
    reference(tmp_path, made(15.5, "2027-01-01T00:00:30+00:00"), reused=False)
    stage = reference(tmp_path, made(20.0, "2027-01-01T00:01:30+00:00"), reused=True)["stages"]["reference"]
    assert (stage["reused"], stage["seconds"], stage["seconds_when_made"]) == (True, 0.0, 20.0)
    assert (stage["facts"]["computed"], stage["facts"]["found"]) == (0, 100)


@pytest.mark.usefixtures("clock")
def test_a_record_that_told_of_the_last_attempt_alone_is_mended_by_the_next_one(tmp_path: Path) -> None:
    content = reference(tmp_path, made(15.5), reused=False)
    facts = {"computed": 0, "tokens": 0, "found": 100, "needed": 100}
    content["stages"]["reference"] |= {"reused": True, "seconds": 0.0, "facts": facts}
    (tmp_path / RUN_JSON).write_text(json.dumps(sealed(content | {"started": "2028", "finished": "2028"})))
    again = reference(tmp_path, made(15.5), reused=True)
    stage = again["stages"]["reference"]
    assert (stage["reused"], stage["seconds"], stage["facts"]["computed"]) == (False, 15.5, 96)
    assert again["started"] == "2027-01-01T00:00:00+00:00"


@pytest.mark.usefixtures("clock")
def test_an_attempt_that_ends_early_takes_away_nothing_that_was_recorded(tmp_path: Path) -> None:
    first = reference(tmp_path, made(15.5), reused=False)
    again = reference(tmp_path, None, reused=True, ends="failed")
    assert (again["status"], again["error"]) == ("failed", "no")
    for key in ("stages", "costs", "started", "finished"):
        assert again[key] == first[key]  # type: ignore[literal-required]
    assert reference(tmp_path, made(15.5), reused=True)["costs"] == first["costs"]


@pytest.mark.usefixtures("clock")
def test_a_run_that_made_nothing_was_made_when_it_first_found_all(tmp_path: Path) -> None:
    reference(tmp_path, None, reused=True, ends="failed")
    first = reference(tmp_path, made(15.5), reused=True)
    again = reference(tmp_path, made(15.5), reused=True)
    for one in (first, again):
        assert (one["started"][14:16], (one["finished"] or "")[14:16]) == ("02", "03")
    assert again["stages"]["reference"]["facts"]["computed"] == 0


def test_what_a_run_was_made_with_is_that_of_the_attempt_that_made_something_last(
    tmp_path: Path, machine: dict[str, Any]
) -> None:
    attempt(tmp_path, made=True)
    machine |= THERE
    found = made_with(attempt(tmp_path, made=False))
    assert {key: found[key] for key in HERE} == HERE  # type: ignore[literal-required]
    old: RunFile = {"status": "finished", "attempts": [{"status": "finished", "made": ["policy"]}], **HERE}  # type: ignore[typeddict-item]
    assert made_with(old) == HERE, "as files said it before attempts did"
    assert made_with({"status": "running"}) == {}


def test_an_attempt_that_makes_something_says_what_it_was_given(tmp_path: Path, machine: dict[str, Any]) -> None:
    attempt(tmp_path, made=True)
    machine |= THERE
    again = attempt(tmp_path, profile="elsewhere", made=True, seconds=6.0)
    assert (again["config"]["hardware"]["name"], again["choices"]) == ("elsewhere", {"hardware": "elsewhere"})
    assert "elsewhere" in (tmp_path / CONFIG_YAML).read_text()
    assert again["costs"]["device_seconds"] == 10.0
    assert [one["hardware"] for one in again["attempts"]] == [HERE["hardware"], THERE["hardware"]]


def test_what_a_run_of_before_said_of_its_machine_goes_to_its_last_attempt(
    tmp_path: Path, machine: dict[str, Any]
) -> None:
    before = attempt(tmp_path, made=True)
    earlier = without_times(before["attempts"][0]) | {"started": "2026-01-01"}
    for key in ("command", *HERE):
        earlier.pop(key)
    content = before | {"attempts": [earlier, earlier | {"made": []}], "command": ["seed=0"], **HERE}
    (tmp_path / RUN_JSON).write_text(json.dumps(sealed(content)))
    machine |= THERE
    first, last, own = attempt(tmp_path, made=False)["attempts"]
    assert first == earlier, "nobody knows where it ran"
    assert last == earlier | {"made": [], "command": ["seed=0"], **HERE}
    assert own["hardware"] == THERE["hardware"]
