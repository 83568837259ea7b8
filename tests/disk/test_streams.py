"""What libraries print never reaches the terminal or a pipe: it is in the run's file, and our own words are not."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from notus_exp.disk import streams
from support.pipelines import ENVIRONMENT
from support.places import ROOT

NOISE = """
import ctypes, logging, os, subprocess, sys, warnings
def noise(which):
    warnings.warn(f"warned in {which}")
    logging.getLogger("library").warning(f"logged in {which}")
    print(f"printed in {which}")
    os.write(2, f"written in {which}\\n".encode())
    subprocess.run([sys.executable, "-c", f"import sys; print('a child in {which}', file=sys.stderr)"])
"""
KINDS = ("warned", "logged", "printed", "written", "a child")
EARLY = """
import logging
logging.getLogger("early").addHandler(logging.StreamHandler())
"""


def _process(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip


def test_a_runs_terminal_has_our_words_alone_and_its_log_the_libraries(tmp_path: Path) -> None:
    code = f"""{EARLY}{NOISE}

from notus_exp import __main__ as door
from notus_exp.feedback import completions
run = completions.run
def loud(*given):
    noise("a stage")
    __import__("logging").getLogger("early").warning("early handler in a stage")
    return run(*given)
completions.run = loud
door.streams.for_good()
noise("the beginning")
import tempfile
kept = tempfile.TemporaryDirectory()  # warns when the interpreter ends
class Late:
    def __del__(self, write=os.write):
        write(2, b"late\\n")
        raise RuntimeError("later still")
late = Late()
door.main()
"""
    done = _process(code, "experiment=smoke", "until=feedback", "tracking=none", "-v", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.removesuffix("\n"))
    assert folder.is_dir()
    known = ("[feedback] ", "Stages", "stage ", "feedback ", "feedback: ", "what libraries said: ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(known)] == []
    log = (folder / "libraries.log").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"{kind} in a stage" in log and f"{kind} in the beginning" in log, log
    assert "early handler in a stage" in log
    assert f"what libraries said: {folder.relative_to(tmp_path)}/libraries.log" in done.stderr


def test_a_worker_that_warns_leaves_it_in_its_log(tmp_path: Path) -> None:
    code = f"""{NOISE}
from pathlib import Path
from notus_exp.disk import streams
from notus_exp.run.worker import run_worker
streams.for_good()
worker = [sys.executable, "-c", {NOISE + 'noise("the worker")'!r}]
with streams.kept_in(Path("ours.log")):
    print(run_worker(worker, Path("worker.log")), file=streams.out())
"""
    done = _process(code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")
    log = (tmp_path / "worker.log").read_text(encoding="utf-8")
    assert all(f"{kind} in the worker" in log for kind in KINDS), log
    assert not (tmp_path / "ours.log").exists(), (tmp_path / "ours.log").read_text()  # such as of a pipe left open


def test_a_door_that_cannot_do_what_it_is_asked_says_so_and_nothing_else(tmp_path: Path) -> None:
    asked = {
        "compare": ["none"],
        "power": ["--pilot", "none"],
        "runs": ["show", "none"],
        "artifacts": ["list"],
        "score": ["ifeval", "none", "none"],
        "track": ["none"],
    }
    code = f"""{NOISE}
import importlib
from notus_exp.disk import streams
streams.for_good()
for door, asked in {asked}.items():
    noise(door)
    print("door", door, file=streams.err())
    assert importlib.import_module(f"notus_exp.{{door}}").main(asked) == 2
"""
    done = _process(code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    told = dict(one.split("\n", 1) for one in done.stderr.split("door ") if one)
    assert {*told} == {*asked}
    for words in told.values():
        assert words.startswith("error: ") and len(words.splitlines()) <= 2, words


def test_an_unexpected_error_shows_what_libraries_said_before_it(tmp_path: Path) -> None:
    code = f"""{NOISE}
from notus_exp import __main__ as door
def broken(*given):
    noise("a run")
    raise RuntimeError("broken")
door.task = broken
door.streams.for_good()
door.main()
"""
    done = _process(code, "experiment=smoke", cwd=tmp_path)
    assert done.returncode == 1
    assert "logged in a run" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1] == "RuntimeError: broken"


def test_streams_of_a_caller_stay_his(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr
    with streams.apart():
        with streams.apart():
            print("noise")
        print("ours", file=streams.out())
        print("ours", file=streams.err())
        with streams.kept_in(tmp_path / "kept.log"):
            print("more", file=sys.stderr)
        with streams.kept_in(tmp_path / "empty.log"):
            pass
        with streams.kept_in(tmp_path / "later" / "late.log"):
            print("late")
            (tmp_path / "later").mkdir()
        assert streams.said() == ""
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("ours\n", "ours\n")
    assert (tmp_path / "kept.log").read_text() == "noise\nmore\n"
    assert not (tmp_path / "empty.log").exists()
    assert (tmp_path / "later" / "late.log").read_text() == "late\n"


def test_a_result_of_any_size_goes_out_whole(tmp_path: Path) -> None:
    code = """
from notus_exp.disk import streams
streams.for_good()
print("x" * 3_000_000, file=streams.out())
"""
    assert len(_process(code, cwd=tmp_path).stdout) == 3_000_001


def test_json_of_a_door_is_all_of_standard_output(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "artifacts").mkdir(parents=True)
    code = f"""{NOISE}
from notus_exp import artifacts
from notus_exp.disk import streams
streams.for_good()
noise("a door")
artifacts.main(["list", "--json"])
"""
    done = _process(code, cwd=tmp_path)
    assert json.loads(done.stdout) == {"artifacts": []}
    assert done.stderr == ""


def test_a_full_disk_is_no_fault_of_a_library_that_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    with streams.apart():
        assert streams._apart
        monkeypatch.setattr(streams._apart, "file", Full())
        print("warning")
