"""A disk that is full ends a run with the reason in run.json, and with nothing half-written beside it."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from notus_exp.config.schema import Config
from notus_exp.contracts.run_file import read_run_file
from notus_exp.disk.files import LEDGER, RUN_JSON, WORKER_ERROR
from notus_exp.disk.full import DISK_HINT, disk_problem
from notus_exp.disk.json_files import write_json
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.feedback import completions
from notus_exp.reporting.commands import answer
from notus_exp.run import record, worker, worker_process
from notus_exp.run.outcome import disk_errors
from notus_exp.run.pipeline import Run
from support.configs import composed


def full(path: object = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def planned(folder: Path, said: io.StringIO) -> Run:
    config: Config = composed(
        "experiment=smoke", "until=feedback", "evaluation=[preferences]", f"output_dir={folder}", "data.prompts=20"
    )
    return Run(config, {"selection": "critique"}, Console(file=said, width=400))


def left_behind(folder: Path) -> list[str]:
    """Files that nobody asked for: temporary ones, halves of artifacts, held room."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return [name for name in found if any(part in name for part in (".partial", f".{RUN_JSON}", "reserve"))]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/etc/passwd", "Not a directory: /etc/passwd"),
        ("/dev/null/x", "Not a directory: /dev/null"),
        ("{here}/file/below/it", "Not a directory: {here}/file"),
        ("{here}/dangling/x", "No such file or directory: {here}/dangling"),
        ("{here}/" + "x" * 300, "File name too long: {here}/xxx"),
        ("{here}/taken", "Not a directory: {here}/taken/artifacts"),
    ],
)
def test_an_output_folder_that_cannot_be_one_is_refused_when_a_run_is_planned(
    given: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "artifacts").touch()
    with pytest.raises(UserError) as caught:
        planned(Path(given.format(here=tmp_path)), io.StringIO())
    assert f" cannot be used: {words.format(here=tmp_path)}" in caught.value.message
    assert caught.value.hint == "give another output_dir=FOLDER"


def test_a_folder_that_cannot_be_made_is_refused_and_one_that_is_there_may_be_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # who runs tests may be allowed everything
    planned(tmp_path, io.StringIO())
    with pytest.raises(UserError, match=f"Permission denied: {tmp_path}"):
        planned(tmp_path / "new", io.StringIO())


def test_json_that_cannot_be_written_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / RUN_JSON
    write_json(path, {"before": 1})
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(full()))
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"after": 2})
    assert [one.name for one in tmp_path.iterdir()] == [RUN_JSON]
    assert json.loads(path.read_text()) == {"before": 1}


def test_a_run_whose_disk_is_full_says_so_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(settings: Any, inputs: Any, out: Path, context: Any) -> Any:
        (out / "half.parquet").write_bytes(b"half")
        raise full(str(out / "half.parquet"))

    monkeypatch.setattr(completions, "run", fill)
    run = planned(tmp_path / "outputs", io.StringIO())
    with pytest.raises(UserError, match="No space left on device") as caught:
        run.execute()
    assert caught.value.hint == DISK_HINT
    found = read_run_file(run.folder / RUN_JSON)
    assert found["status"] == "failed"
    assert "No space left on device" in str(found["error"])
    assert found["attempts"][-1]["status"] == "failed"
    assert left_behind(tmp_path) == []


def test_the_first_failure_is_told_where_it_cannot_even_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> Any:
        monkeypatch.setattr(record, "write_json", lambda *_: (_ for _ in ()).throw(full()))
        raise UserError("what really happened")

    monkeypatch.setattr(completions, "run", fail)
    said = io.StringIO()
    with pytest.raises(UserError, match="what really happened"):
        planned(tmp_path / "outputs", said).execute()
    assert "how the run ended cannot be recorded: [Errno 28] No space left on device" in said.getvalue()


def test_a_run_holds_room_for_its_last_words_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    made = completions.run

    def look(settings: Any, inputs: Any, out: Path, context: Any) -> Any:
        held.append((run.folder / record.RESERVE).stat().st_size)
        return made(settings, inputs, out, context)

    monkeypatch.setattr(completions, "run", look)
    run = planned(tmp_path / "outputs", io.StringIO())
    run.execute()
    assert held == [record.RESERVED_BYTES]
    assert left_behind(tmp_path) == []


def test_a_damaged_record_and_ledger_are_set_aside_and_named_and_the_run_goes_on(tmp_path: Path) -> None:
    run = planned(tmp_path / "outputs", io.StringIO())
    run.execute()
    path = run.folder / RUN_JSON
    whole = path.read_text()
    path.write_text(whole.replace('"status": "finished"', '"status": "finishes"', 1))
    damaged = path.read_bytes()
    ledger = Ledger(run.folder / LEDGER)
    for usd in (0.5, 0.25):
        ledger.add(usd, 10)
    (run.folder / LEDGER).write_text((run.folder / LEDGER).read_text().replace("0.5,", "9.5,", 1))
    said = io.StringIO()
    planned(tmp_path / "outputs", said).execute()
    assert (run.folder / f"{RUN_JSON}.damaged-1").read_bytes() == damaged
    assert "it does not fit its seal; it is set aside as run.json.damaged-1" in said.getvalue()
    assert "lines are damaged, and it is kept as judge_spending.jsonl.damaged-1" in said.getvalue()
    found = read_run_file(path)
    assert (found["status"], len(found["attempts"])) == ("finished", 1)
    assert found["costs"]["judge_tokens"] == 20
    said = io.StringIO()
    planned(tmp_path / "outputs", said).execute()
    assert "aside" not in said.getvalue(), "the second time there is nothing left to mend"
    assert len(read_run_file(path)["attempts"]) == 2


class RustError(Exception):
    """As safetensors raises it."""


def chained(cause: BaseException) -> RuntimeError:
    error = RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 704 vs 598")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (full("there"), "No space left on device: there"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded: below"),
        (RustError("Error while serializing: I/O error: No space left on device (os error 28)"), "os error 28"),
        (chained(full("x.pt")), "No space left on device: x.pt"),
        (OSError(errno.EFBIG, "File too large", "big"), "File too large: big"),
        (ValueError("of another kind"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
    ],
)
def test_every_librarys_error_of_a_full_disk_is_known(error: Exception, says: str | None, tmp_path: Path) -> None:
    found = disk_problem(error, tmp_path)
    assert says is None if found is None else says is not None and says in found


def test_whatever_fails_on_a_disk_without_room_fails_for_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4096))
    error = RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 704 vs 598")
    assert str(disk_problem(error, tmp_path)).startswith(f"the disk is full: below {tmp_path} ([enforce fail")
    assert disk_problem(KeyboardInterrupt(), tmp_path) is None


def test_the_place_that_is_full_is_named_and_not_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = {tmp_path / "runs": 10**9, tmp_path / "artifacts": 300_000, tmp_path: 10**9}
    (tmp_path / "artifacts").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=room[folder]))
    for error in (full(), RustError("No space left on device (os error 28)"), RuntimeError("unexpected pos 704")):
        found = disk_problem(error, tmp_path / "runs", tmp_path / "artifacts")
        assert found is not None
        assert f"below {tmp_path / 'artifacts'}" in found
        assert "runs" not in found


def test_a_worker_that_cannot_write_down_why_it_failed_says_it_by_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "write_json", lambda *_: (_ for _ in ()).throw(full()))
    assert worker_process._tell(tmp_path / "job.json", "no room", "", 1) == worker.DISK
    job: Any = SimpleNamespace(nodes=[], artifacts=tmp_path, places=lambda: [tmp_path])
    error = worker._failure(worker.DISK, job, tmp_path)
    assert f"the disk is full or cannot be written: below {tmp_path}" in error.message
    assert "free some space" in error.hint
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4096))
        assert "the disk is full" in worker._failure(-7, job, tmp_path).message, "a mapped file that finds no room"
    (tmp_path / WORKER_ERROR).write_text('{"message": "no room", "hint": "h"}')
    error = worker._failure(worker.DISK, job, tmp_path)
    assert error.message == "the worker failed: no room"
    assert error.hint == DISK_HINT, "there is no traceback to look at"
    for text in ("{half", "[]", '{"message": "x"}'):
        (tmp_path / WORKER_ERROR).write_text(text)
        assert "the worker ended with code 1" in worker._failure(1, job, tmp_path).message
        assert worker._failure(-9, job, tmp_path).hint.startswith("out of memory?")
        ended = worker._failure(-15, job, tmp_path)
        assert ended.message.endswith("the worker was killed by signal 15")
        assert ended.hint == "finished stages are kept", "nobody ends a process so for want of memory"
        (tmp_path / "made.json").write_text(text)
        assert worker.made(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "let your user read and write it"),
        (errno.EPERM, "let your user read and write it"),
        (errno.ENAMETOOLONG, "give a shorter name"),
        (errno.ENOTDIR, "a file lies where a folder is asked"),
        (errno.ENOSPC, "free some space"),
    ],
)
def test_each_error_of_a_place_has_its_own_remedy(number: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Any:
        raise OSError(number, os.strerror(number), "/x/y")

    with pytest.raises(UserError, match=words), disk_errors("/x"):
        fail()
    assert answer(fail, as_json=False) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {os.strerror(number)}: /x/y\n  ")
    assert words in shown


def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        write_json(tmp_path / "absent" / "comparison.json", {})
    assert error.value.filename == str(tmp_path / "absent" / "comparison.json")
