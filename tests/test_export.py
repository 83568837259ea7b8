"""The command `python -m notus_exp.export`: what it refuses, what it says, and that a folder is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from notus_exp.export import main
from notus_exp.exporting import handing_over
from support.exported_runs import RUN, made_run

Asked = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "outputs"
    made_run(folder)
    return folder


@pytest.fixture
def door(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asked:
    """Give the command in an empty folder; return exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main([RUN, "--output-dir", str(outputs), *arguments])
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return ask


def test_an_export_is_told_in_words_and_as_json(door: Asked, tmp_path: Path) -> None:
    code, out, err = door("--to", "out", "--format", "trl")
    assert (code, err) == (0, "")
    assert f"{RUN} is in out, as trl" in out
    assert "the run has no policy, since it is finished: its data alone is handed over" in " ".join(out.split())
    code, out, err = door("--to", "again", "--format", "trl", "--json")
    found = json.loads(out)
    assert (found["run"], found["format"], found["rows"]) == (RUN, "trl", {"train": 4, "validation": 1, "test": 1})
    assert (found["policy"], found["pushed"], found["study"]) == (None, [], None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "new", "--format", "tlr"], "did you mean 'trl'?"),
        (["--to", "new"], "--format must be given"),
        (["--format", "trl"], "--to must be given"),
        (["--to", "new", "--format", "trl", "--public"], "--public goes with --push"),
        (["--to", "new", "--format", "trl", "--data-only", "--merge"], "--data-only leaves the policy out"),
        (["--to", "new", "--format", "axolotl", "--merge"], "--merge does not go with --format axolotl"),
        (["--to", "new", "--format", "trl", "--merge"], f"--merge: run {RUN} has no policy: it is finished"),
        (["--to", "new", "--format", "trl", "--base", "hub:a/b@main"], "names no model at a commit of the hub"),
        (["--to", "new", "--format", "trl", "--push", "me/x"], "--push me/x names no repository"),
        (["--to", "new", "--format", "trl", "--arm", "x"], "--arm goes with a study"),
        (["--to", "new", "--format", "openbmb"], "1 prompts of this run have earlier turns"),
        (["--to", "new", "--format", "axolotl"], "give --base hub:ORG/NAME@COMMIT"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    arguments: list[str], said: str, door: Asked, tmp_path: Path
) -> None:
    code, out, err = door(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(door: Asked, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("kept", "file"):
        code, _, err = door("--to", name, "--format", "trl")
        assert (code, f"--to {name} is there already" in err) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "kept").iterdir()) == []


def test_where_writing_fails_no_half_of_it_is_left(
    door: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(handing_over, "data_card", fails)
    code, _, err = door("--to", "out", "--format", "trl")
    assert (code, "No space left on device" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_appeared_meanwhile_is_left_as_it_is(
    door: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object) -> str:
        (tmp_path / "out").mkdir()
        return ""

    monkeypatch.setattr(handing_over, "data_card", meanwhile)
    code, _, err = door("--to", "out", "--format", "trl")
    assert (code, "was made meanwhile" in err) == (2, True)
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_an_artifact_that_was_changed_is_not_handed_over(door: Asked, outputs: Path, tmp_path: Path) -> None:
    path = outputs / "artifacts/feedback-feedback/manifest.json"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("ultrafeedback", "ultrafeedbacc"))
        code, _, err = door("--to", "out", "--format", "openbmb")
        assert (code, "is not what was written" in err) == (2, True)
    finally:
        path.write_text(kept)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_holds_the_card_and_the_data(door: Asked, tmp_path: Path) -> None:
    assert door("--to", "deep/out", "--format", "parquet")[0] == 0
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "deep/out/README.md",
        *(f"deep/out/data/{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")),
    ]
    assert pl.read_parquet(tmp_path / "deep/out/data/train-00000-of-00001.parquet").height == 4


def test_a_full_disk_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(request: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handing_over, "export", full)
    assert main(["mine", "--to", str(tmp_path / "x"), "--format", "trl"]) == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "give another --to FOLDER" in told
    assert "Traceback" not in told
