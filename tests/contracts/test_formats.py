"""The five JSON files that others read: their format, what is refused by name, what counts as damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notus_exp.compare import main as compare
from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.contracts.curation_file import read_curation
from notus_exp.contracts.format import DamagedFileError, NewerFormatError, refuse_newer
from notus_exp.contracts.format import sealed as with_seal
from notus_exp.contracts.manifest import Manifest, manifest_file, read_manifest
from notus_exp.contracts.run_file import FORMAT, read_metrics, read_run_file
from notus_exp.contracts.samples_file import read_samples
from notus_exp.contracts.study_file import read_study_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST, RUN_JSON
from notus_exp.disk.json_files import write_json
from notus_exp.disk.outputs import COMPARISON_JSON, STUDY_JSON, read_run
from notus_exp.errors import UserError
from notus_exp.power import main as power
from notus_exp.reporting.pilot import read_pilot
from notus_exp.run.record import RunRecord
from notus_exp.study.conclusion import write_outcome
from notus_exp.study.launching.definition import Arm, Definition
from notus_exp.study.launching.study_json import check_same, replaced
from support.configs import composed
from support.study_folders import ACCURACY, crossed, edit, manifest, run_json, sealed, write_study

KEY = "ab" * 32
MADE = Manifest("pairs", KEY, {"seed": 1}, {"feedback": "f"}, {"torch": "2"}, {"rows": 3}, 1.5, {"data.txt": 7})
LATER = ("format", "hashes", "hashed", "contents", "seal", "provenance")
Reader = Callable[[Path], Any]
READERS: list[tuple[Reader, dict[str, Any]]] = [
    (read_manifest, {name: value for name, value in manifest_file(MADE).items() if name not in LATER}),
    (read_curation, {"settings": {}, "counts": {"pairs_out": 1}}),
    (read_run_file, {"status": "running", "attempts": [{"status": "running"}]}),
    (read_study_file, {"name": "mine", "kind": "arms", "metric": "m", "seeds": [0], "arms": {}}),
    (read_comparison, {"contrasts": []}),
]
each_file = pytest.mark.parametrize(("read", "content"), READERS, ids=lambda one: getattr(one, "__name__", ""))
REFUSED = f"has format 7, and this version of notus-exp reads up to {FORMAT}"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(9, [0, 1], arm=place).items()}
        for place, arm in enumerate(("critique", "average"))
    }
    return write_study(tmp_path, arms)


def newer(path: Path) -> bytes:
    """Give a file a later version; return its bytes."""
    edit(
        path,
        lambda content: content.update(sealed(content | {"format": 7}) if path.name == MANIFEST else {"format": 7}),
    )
    return path.read_bytes()


def definition(*arms: str) -> Definition:
    return Definition(composed("study.name=planted").study, "arms", [], [Arm(arm, []) for arm in arms], None)


# -------------------------------------------------------------------------------------------------------------- readers
@each_file
def test_a_file_without_a_format_is_of_version_1(read: Reader, content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, content)
    before = read(path)
    write_json(path, {"format": 1, **content})
    after = read(path)
    assert before == after if isinstance(after, Manifest) else {"format": 1, **before} == after


@pytest.mark.parametrize(("read", "content"), READERS[1:], ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("version", [3, 7, 0, -1, "2", None, True, [1]])
def test_another_version_is_refused_by_name_and_not_called_damaged(
    read: Reader, content: dict[str, Any], version: object, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"format": version, **content})
    with pytest.raises(NewerFormatError) as error:
        read(path)
    newest = 1 if read is read_curation else FORMAT
    words = f"{path} has format {json.dumps(version)}, and this version of notus-exp reads up to {newest}"
    assert error.value.message == words
    assert error.value.hint == "update notus-exp"


STUDY = {"name": "mine", "kind": "arms", "metric": "m", "seeds": [0]}
ARM = {"overrides": [], "levels": {}, "tuned": {}, "runs": {}}
FINISHED = {"status": "finished", "config": {}, "stages": {}, "metrics": {}}


@each_file
@pytest.mark.parametrize("text", [b"", b"{half", b"[" * 100_000, b"[1]", b'"text"', b"3", b"null", b'{"name": "\xff"}'])
def test_damage_is_one_clear_error_that_names_the_file(
    read: Reader, content: dict[str, Any], text: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as error:
        read(path)
    assert str(path) in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_run_file, {"status": "failed", "attempts": None}, "'attempts' is of type NoneType, not list"),
        (read_run_file, {"status": "failed", "attempts": [{}]}, "no 'status'"),
        (read_run_file, {"status": "failed", "stages": []}, "'stages' is of type list, not dict"),
        (read_run_file, {}, "no 'status'"),
        (read_study_file, {"name": "mine", "kind": "arms", "metric": "m", "seeds": [0]}, "no 'arms'"),
        (read_study_file, {**STUDY, "arms": []}, "'arms' is of type list, not dict"),
        (read_study_file, {**STUDY, "arms": {"a": 3}}, "of type int where an object belongs"),
        (read_study_file, {**STUDY, "arms": {"a": {"runs": []}}}, "'runs' is of type list, not dict"),
        (read_study_file, {**STUDY, "arms": {"a": {**ARM, "runs": {"zero": "r"}}}}, "arm 'a' has the seed 'zero'"),
        (read_study_file, {**STUDY, "arms": {"a": {**ARM, "runs": {"0": 3}}}}, "'runs', '0' is of type int, not str"),
        (read_study_file, {**STUDY, "arms": {"a": {"overrides": []}}}, "arm 'a' has no 'levels'"),
        (read_study_file, {**STUDY, "arms": {}, "seeds": ["0"]}, "'seeds', number 1 is of type str, not int"),
        (read_study_file, {**STUDY, "arms": {}, "margin": "x"}, "'margin' is of type str, not float"),
        (read_study_file, {**STUDY, "arms": {}, "search": {}}, "its 'search' has no 'storage_file'"),
        (read_study_file, {**STUDY, "arms": {}, "tuning": {"a": [{}]}}, "candidate for arm 'a' has no 'values'"),
        (read_run_file, FINISHED | {"stages": {"pairs": {}}}, "stage 'pairs' has no 'key'"),
        (read_run_file, FINISHED | {"stages": {"pairs": 3}}, "'stages', 'pairs' is of type int"),
        (read_run_file, FINISHED | {"metrics": {"m": {}}}, "metric 'm' has no 'value'"),
        (read_run_file, FINISHED | {"metrics": {"m": {"value": "0.5"}}}, "'value' is of type str, not float"),
        (read_run_file, FINISHED | {"metrics": {"m": {"value": True}}}, "'value' is of type bool, not float"),
        (read_run_file, FINISHED | {"costs": {}}, "its 'costs' has no 'device_seconds'"),
        (read_run_file, {"status": "finished"}, "no 'config'"),
        (read_comparison, {"contrasts": [{"arm": 3}]}, "'contrasts', number 1, 'arm' is of type int, not str"),
        (read_comparison, {}, "no 'contrasts'"),
        (read_curation, {"counts": 3}, "'counts' is of type int, not dict"),
    ],
)
def test_what_readers_rely_on_is_checked(read: Reader, content: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, content)
    with pytest.raises(DamagedFileError, match=said):
        read(path)


@pytest.mark.parametrize("change", [{"files": None}, {"unknown": 1}, {"slice": []}, {"inputs": "x"}])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_manifest_of_other_content_is_damaged(change: dict[str, Any], version: int, tmp_path: Path) -> None:
    content = manifest_file(MADE) | change
    if version == 1:
        content = {name: value for name, value in content.items() if name not in LATER}
    write_json(tmp_path / MANIFEST, content if version == 1 else sealed({**content, "format": version}))
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_manifest(tmp_path / MANIFEST)


@pytest.mark.parametrize("version", [4, 7, 0, -1, "2", None, True, [1]])
def test_a_manifest_of_another_version_is_refused_by_name_and_not_called_damaged(
    version: object, tmp_path: Path
) -> None:
    write_json(tmp_path / MANIFEST, sealed({**manifest_file(MADE), "format": version}))
    with pytest.raises(NewerFormatError, match="and this version of notus-exp reads up to 3"):
        read_manifest(tmp_path / MANIFEST)


def test_a_change_of_any_byte_of_a_manifest_is_damage(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST
    write_json(path, manifest_file(MADE))
    whole = path.read_bytes()
    blank = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_manifest(path) == MADE
            blank += 1  # such as another white space between two keys
        except DamagedFileError:
            pass
    assert blank < sum(whole.count(one) for one in b" \n")


@pytest.mark.parametrize("later", LATER[1:])
def test_a_manifest_of_version_1_has_nothing_of_version_2(later: str, tmp_path: Path) -> None:
    content = {name: value for name, value in manifest_file(MADE).items() if name not in LATER or name == later}
    write_json(tmp_path / MANIFEST, content)
    with pytest.raises(DamagedFileError, match=f"has '{later}', which version 1 has not"):
        read_manifest(tmp_path / MANIFEST)


def test_a_change_of_any_byte_of_a_sealed_record_is_damage_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / RUN_JSON
    metrics = {"m": {"value": 0.52, "low": None, "high": None}}
    write_json(path, with_seal({"format": 1, **FINISHED, "metrics": metrics}))
    whole, content = path.read_bytes(), read_run_file(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = read_run_file(path)
        except (DamagedFileError, NewerFormatError):
            continue
        assert found == content or "seal" in found or "seal" not in json.loads(path.read_bytes())


SEALED: list[tuple[Reader, dict[str, Any]]] = [
    (read_run_file, {**FINISHED, "run_id": "mine", "artifacts": []}),
    *READERS[3:],
]


@pytest.mark.parametrize(("read", "content"), SEALED, ids=lambda one: getattr(one, "__name__", ""))
def test_a_record_since_all_have_a_seal_is_damaged_without_it_and_one_of_before_is_read(
    read: Reader, content: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    whole = with_seal({"format": 2, **content})
    write_json(path, whole)
    read(path)
    write_json(path, {name: value for name, value in whole.items() if name != "seal"})
    with pytest.raises(DamagedFileError, match="its seal was taken out"):
        read(path)
    for version in ({}, {"format": 1}):
        for before in ({**version, **content}, with_seal({**version, **content})):
            write_json(path, before)
            read(path)


@pytest.mark.parametrize("key", ["run_id", "artifacts", "stages"])
def test_a_record_says_what_its_run_refers_to(key: str, tmp_path: Path) -> None:
    content = {"format": 2, "status": "failed", "run_id": "mine", "artifacts": [], "stages": {}}
    write_json(tmp_path / RUN_JSON, with_seal(content))
    read_run_file(tmp_path / RUN_JSON)
    del content[key]
    write_json(tmp_path / RUN_JSON, with_seal(content))
    with pytest.raises(DamagedFileError, match=f"no '{key}'"):
        read_run_file(tmp_path / RUN_JSON)


@pytest.mark.parametrize("text", ["{half", "[3]", '[{"prompt_id": "a"}]', '[{"prompt_id": 3}]', "\ud800"])
def test_damaged_samples_and_metrics_are_named(text: str, tmp_path: Path) -> None:
    for read, name in ((read_samples, "samples.json"), (read_metrics, "metrics.json")):
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(DamagedFileError, match=name):
            read(tmp_path / name)


def test_what_is_missing_or_damaged_may_be_written_and_what_is_newer_may_not(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    refuse_newer(path, FORMAT)
    path.write_text("{half")
    refuse_newer(path, FORMAT)
    write_json(path, {"format": 7})
    with pytest.raises(NewerFormatError, match=REFUSED):
        refuse_newer(path, FORMAT)


# ------------------------------------------------------------------------------------------------------------ manifests
def test_a_manifest_comes_back_whole_and_calls_its_settings_slice_on_the_disk(tmp_path: Path) -> None:
    write_json(tmp_path / MANIFEST, manifest_file(MADE))
    assert read_manifest(tmp_path / MANIFEST) == MADE
    content = json.loads((tmp_path / MANIFEST).read_text())
    assert list(content)[:2] == ["format", "slice"]
    assert content["slice"] == MADE.settings
    assert "settings" not in content


def built(store: ArtifactStore) -> Path:
    wanted = Manifest("pairs", KEY, {"seed": 1}, {}, {})
    store.build(wanted, lambda out: {"bytes": (out / "data.txt").write_text("content")}, resumable=False)
    return store.path("pairs", KEY)


def never(out: Path) -> dict[str, Any]:
    raise AssertionError(f"{out} is made although the artifact is there")


def test_an_artifact_from_before_there_was_a_format_is_reused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    folder = built(store)
    edit(folder / MANIFEST, lambda content: [content.pop(name) for name in LATER])
    manifest, made = store.build(Manifest("pairs", KEY, {"seed": 1}, {}, {}), never, resumable=False)
    assert not made
    assert (manifest.settings, manifest.facts) == ({"seed": 1}, {"bytes": 7})


def test_an_artifact_of_a_newer_version_is_neither_used_nor_made_anew(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    path = built(store) / MANIFEST
    before = newer(path)
    with pytest.raises(NewerFormatError, match="reads up to 3"):
        store.find(Manifest("pairs", KEY, {"seed": 1}, {}, {}))
    with pytest.raises(NewerFormatError, match="reads up to 3"):
        store.build(Manifest("pairs", KEY, {"seed": 1}, {}, {}), never, resumable=False)
    assert path.read_bytes() == before


# ----------------------------------------------------------------------------------------------------------------- runs
def record(folder: Path) -> RunRecord:
    return RunRecord(composed("experiment=smoke"), {}, "run", folder, ArtifactStore(folder))


def test_a_newer_record_of_a_run_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / RUN_JSON
    write_json(path, {"format": 7, "state": "of another kind"})
    before = path.read_bytes()
    with pytest.raises(NewerFormatError, match=REFUSED):
        record(tmp_path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [RUN_JSON]


@pytest.mark.parametrize(
    "text", [b"{half", b"[]", b'{"status": "failed", "attempts": null}', b'{"status": "\xff"}', b'{"attempts": [3]}']
)
def test_a_damaged_record_of_a_run_is_written_anew(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / RUN_JSON
    path.write_bytes(text)
    record(tmp_path)
    content = json.loads(path.read_text())
    assert next(iter(content)) == "format"
    assert content["format"] == FORMAT
    assert [attempt["status"] for attempt in content["attempts"]] == ["running"]


def test_attempts_from_before_there_was_a_format_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / RUN_JSON, {"status": "running", "attempts": [{"status": "running", "made": ["pairs"]}]})
    record(tmp_path)
    first, _ = json.loads((tmp_path / RUN_JSON).read_text())["attempts"]
    assert first == {"status": "killed", "made": ["pairs"]}


@pytest.mark.parametrize("text", [b"{half", b"[]", b'{"status": "finished", "attempts": null}', b"\xff"])
def test_a_damaged_run_of_a_study_has_failed(study: Path, text: bytes) -> None:
    run_json(study, "average-s1").write_bytes(text)
    found = read_run(study, "average-s1")
    assert found == {"status": "failed", "error": "run.json is damaged; the study's command writes it again"}


def outcome(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_damaged_and_exchanged_runs_end_a_comparison_and_leave_the_one_that_is_there(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare([str(study)]) == 0
    before = outcome(study)
    assert {"comparison.json", "comparison.csv", "report.html"} < {*before}
    path = run_json(study, "average-s1")
    whole = path.read_bytes()
    for text in (b"{half", b"[]", b'{"status": "finished", "attempts": null}', b"\xff"):
        path.write_bytes(text)
        capsys.readouterr()
        assert compare([str(study)]) == 2
        said = capsys.readouterr().err
        assert f"run average-s1 has no usable record: {path} cannot be read" in said
        assert "give the study's command again" in said
    path.write_bytes(whole)
    one, other = (run_json(study, f"{arm}-s0").parent for arm in ("average", "critique"))
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)
    assert compare([str(study)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"run critique-s0 has the record of another one: {run_json(study, 'critique-s0')} was written by" in said
    assert "by the run average-s0" in said
    assert outcome(study) == before
    error = "run.json is of another run; the study's command writes it again"
    assert read_run(study, "average-s0") == {"status": "failed", "error": error}


def test_a_comparison_is_not_written_over_by_one_that_lacks_a_run_whose_record_is_gone(study: Path) -> None:
    edit(study / STUDY_JSON, lambda content: content["arms"]["average"]["runs"].update({"2": "average-s2"}))
    write_outcome(study)  # a run that was not started yet is no reason
    before = outcome(study)
    run_json(study, "average-s1").unlink()
    with pytest.raises(UserError, match=r"run average-s1 \(arm 'average', seed 1\) has no run\.json any more"):
        write_outcome(study)
    assert outcome(study) == before
    (study / COMPARISON_JSON).unlink()
    write_outcome(study)


def test_a_run_of_a_tuning_whose_record_is_damaged_ends_a_comparison(study: Path) -> None:
    tried = {"values": {}, "runs": {"7": "tried"}, "value": None, "low": None, "high": None, "reason": None}
    edit(study / STUDY_JSON, lambda content: content.update(tuning={"average": [tried]}))
    (study.parent.parent / "runs" / "tried").mkdir()
    run_json(study, "tried").write_text("{half")  # perhaps it was tuned on test prompts
    with pytest.raises(DamagedFileError, match="run tried has no usable record"):
        write_outcome(study)


def test_the_attempts_of_another_run_are_not_those_of_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt = {"status": "finished", "made": ["pairs"]}
    write_json(tmp_path / RUN_JSON, {"run_id": "another", "status": "failed", "attempts": [attempt]})
    record(tmp_path)
    assert len(json.loads((tmp_path / RUN_JSON).read_text())["attempts"]) == 1
    assert "was written by another run, another; it is set aside as run.json.damaged-1" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- studies
def test_a_newer_study_is_refused_by_all_that_would_write_over_it(study: Path) -> None:
    before = newer(study / STUDY_JSON)
    for refused in (lambda: check_same(definition("critique"), study), lambda: replaced([], study)):
        with pytest.raises(NewerFormatError, match=REFUSED):
            refused()
    assert (study / STUDY_JSON).read_bytes() == before


def test_a_newer_comparison_or_run_ends_a_study_before_it_begins(study: Path) -> None:
    write_json(study / COMPARISON_JSON, {"format": 7})
    with pytest.raises(NewerFormatError, match=REFUSED):
        check_same(definition("critique"), study)
    (study / COMPARISON_JSON).unlink()
    newer(run_json(study, "critique-s0"))
    with pytest.raises(NewerFormatError, match=REFUSED):
        check_same(definition("critique"), study)


def test_a_damaged_study_may_be_begun_anew(study: Path) -> None:
    for text in ("{half", "[]"):
        (study / STUDY_JSON).write_text(text)
        check_same(definition("critique"), study)
        assert replaced([], study) == 0


@pytest.mark.parametrize("of", ["study", "run", "manifest", "comparison"])
def test_the_command_compare_refuses_what_is_newer_and_leaves_it(
    study: Path, of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare([str(study)]) == 0
    written = (study / COMPARISON_JSON).read_bytes()
    path = {
        "study": study / STUDY_JSON,
        "run": run_json(study, "average-s0"),
        "manifest": manifest(study, "average-s0", "evaluation"),
        "comparison": study / COMPARISON_JSON,
    }[of]
    before = newer(path)
    capsys.readouterr()
    assert compare([str(study)]) == 2
    said = capsys.readouterr().err
    assert f"{path} {REFUSED.removesuffix(str(FORMAT))}" in said
    assert "update notus-exp" in said
    assert "Traceback" not in said
    assert path.read_bytes() == before
    assert of == "comparison" or (study / COMPARISON_JSON).read_bytes() == written


def test_a_comparison_says_its_format(study: Path) -> None:
    comparison = write_outcome(study)
    assert comparison["format"] == FORMAT
    assert read_comparison(study / COMPARISON_JSON) == comparison


def test_a_pilot_of_a_newer_version_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_outcome(study)
    edit(study / COMPARISON_JSON, lambda content: content.pop("format"))
    assert [one.arm for one in read_pilot(study)] == ["average"], "without a format it is of version 1"
    newer(study / COMPARISON_JSON)
    with pytest.raises(UserError, match=REFUSED):
        read_pilot(study)
    assert power(["--pilot", str(study)]) == 2
    assert REFUSED in capsys.readouterr().err


def test_a_metric_of_an_older_run_goes_by_the_name_that_it_has_now(tmp_path: Path) -> None:
    old = "alpaca_eval/length_controlled_win_rate"  # never was AlpacaEval's estimator
    metrics = {old: {"value": 1.0}, f"base/{old}": {"value": 2.0}, "alpaca_eval/win_rate": {"value": 3.0}}
    write_json(tmp_path / RUN_JSON, {"status": "finished", "config": {}, "stages": {}, "metrics": metrics})
    now = "alpaca_eval/length_adjusted_win_rate"
    assert read_run_file(tmp_path / RUN_JSON)["metrics"] == {
        now: {"value": 1.0},
        f"base/{now}": {"value": 2.0},
        "alpaca_eval/win_rate": {"value": 3.0},
    }


@pytest.mark.parametrize(("zero_stage", "launch"), [(None, "ddp"), (3, "deepspeed")])
def test_the_launch_of_an_older_run_goes_by_the_name_that_it_has_now(
    zero_stage: int | None, launch: str, tmp_path: Path
) -> None:
    hardware = {"launch": "accelerate", "zero_stage": zero_stage}
    write_json(tmp_path / RUN_JSON, {"status": "running", "config": {"hardware": hardware}})
    assert read_run_file(tmp_path / RUN_JSON)["config"]["hardware"]["launch"] == launch


def test_a_damaged_record_names_the_command_that_writes_it_again_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DamagedFileError) as error:
        read_study_file(tmp_path / "study.json")
    assert error.value.hint.startswith(
        "the command that runs the study writes it again (python -m notus_exp study=NAME)"
    )
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DamagedFileError) as error:
        read_run_file(tmp_path / "run.json")
    assert error.value.hint == "the command of the run writes it again"
