"""accept.sh and pack.sh: failures are rows, parts are joined and checked, and a rehearsal runs to its end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.places import ROOT

GPU = ROOT / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))

import bounds  # noqa: E402
import measuring  # noqa: E402
import packing  # noqa: E402
import report  # noqa: E402


def bash(
    script: str, *arguments: str, folder: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    path = (folder or GPU) / script
    return subprocess.run(["bash", str(path), *arguments], capture_output=True, text=True, env=environment)


def test_a_command_that_fails_or_takes_too_long_is_told_with_its_reason(tmp_path: Path) -> None:
    told = "print('some line'); print('error: no such thing | here'); print('  try another'); raise SystemExit(2)"
    assert measuring.run(["-c", told], tmp_path / "a", 30).failure == "error: no such thing / here"
    assert measuring.run(["-c", "print('fine')"], tmp_path / "b", 30).failure == ""
    assert measuring.run(["-c", "import time; time.sleep(30)"], tmp_path / "c", 0.2).failure == "not done within 0.2 s"


def test_steps_are_timed_from_the_event_before_them(tmp_path: Path) -> None:
    events = [(0.0, {"train/loss": 0.7}), (5.0, {"validation/loss": 0.6}), (7.0, {"train/loss": 0.5})]
    lines = [json.dumps({"time": when, "stage": "policy", "step": 1, "metrics": told}) for when, told in events]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    first, second = measuring.steps(tmp_path)
    assert first["loss"] == 0.7
    assert first["seconds"] != first["seconds"]
    assert second == {"loss": 0.5, "seconds": 2.0}


def test_a_measurement_without_a_table_is_a_row(tmp_path: Path) -> None:
    given = measuring.Options(tmp_path, True)
    measuring.write(given, "good", "Good", ["a", "b"], [["1", "2"]], ["Words."])
    assert report.part(tmp_path, "good") == "## Good\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nWords."
    (tmp_path / "bad.log").write_text("Traceback\nValueError: no device\n")
    assert "| bad | failed: ValueError: no device |" in report.part(tmp_path, "bad")


def test_what_is_not_as_wanted_is_no_success(tmp_path: Path) -> None:
    given = measuring.Options(tmp_path, True)
    for name, cell in (("good", "failed: too large"), ("bad", "NO")):
        measuring.write(given, name, "", ["a"], [["yes"], [cell]], [])
    assert [report.as_wanted(tmp_path / f"{name}.json") for name in ("good", "bad", "none")] == [True, False, False]


def test_accept_asks_for_a_device_and_names_the_rehearsal() -> None:
    done = bash("accept.sh", PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "--rehearse FOLDER" in done.stderr
    for python in ("false", "no-such-python"):
        done = bash("accept.sh", PYTHON=python)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"error: {python} cannot import torch" in done.stderr
    assert bash("accept.sh", "--reherse").returncode == 2


def test_parts_are_small_joined_and_checked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "wheels").mkdir(parents=True)
    (source / "wheels" / "a.whl").write_bytes(os.urandom(25_000))
    (tmp_path / "checkout").write_text("x")
    with tarfile.open(source / "notus-exp.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "checkout", "notus-exp/x")
    packing.into_parts(source, tmp_path / "pack", 10_000)
    parts = sorted((tmp_path / "pack").glob("part-*"))
    assert len(parts) >= 3
    assert max(part.stat().st_size for part in parts) <= 10_000
    whole = b"".join(part.read_bytes() for part in parts)
    assert (source / "wheels" / "a.whl").read_bytes() in whole
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"?")
    done = bash("unpack.sh", str(tmp_path / "machine"), folder=tmp_path / "pack")
    assert done.returncode == 1
    assert "a part is damaged or missing" in done.stderr
    assert not (tmp_path / "machine").exists()


def test_what_a_machine_lacks_is_what_this_project_needs_and_it_has_not() -> None:
    packages = packing.lacking("3.12", packing.PRESENT)
    assert {"polars", "polars-runtime-32", "trl", "hydra-core", "pytest", "antlr4-python3-runtime"} <= set(packages)
    assert not {"torch", "transformers", "tokenizers", "numpy", "setuptools"} & set(packages)
    assert "peft" not in packing.lacking("3.12", [*packing.PRESENT, "peft"])


def test_bounds_tell_what_is_too_old_or_absent() -> None:
    assert bounds.unmet(["packaging>=1", "packaging>=9999", "no-such-thing>=1", "x; python_version < '3'"]) == [
        f"packaging>=9999 is wanted, and {bounds.importlib.metadata.version('packaging')} is installed",
        "no-such-thing>=1 is not installed",
    ]


@pytest.mark.slow
def test_a_rehearsal_of_accept_measures_everything_on_the_cpu(tmp_path: Path) -> None:
    done = bash("accept.sh", "--rehearse", str(tmp_path / "page"), WORK=str(tmp_path / "work"))
    page = (tmp_path / "page" / "gpu-rehearsal.md").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + page
    titles = ["Tests that need a device", "SmolLM2-135M beside a plain TRL script", "A model of Mistral-7B's shape"]
    assert [title for title in titles if f"## {title}" not in page] == []
    assert "NO" not in page.split("## Answers")[0]
    assert "failed:" not in page, "as each measurement says it"
    assert re.search(r"\| passed \| failed \| skipped .*\n.*\n\| \d+ \| 0 \|", page), "the tests' own column"


@pytest.mark.slow
def test_a_rehearsal_of_pack_runs_in_a_bare_environment(tmp_path: Path) -> None:
    done = bash("pack.sh", str(tmp_path / "pack"), "--rehearse")
    if "error: no wheel" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip("packages cannot be downloaded here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rehearsed:" in done.stdout
    assert max(part.stat().st_size for part in (tmp_path / "pack").glob("part-*")) <= 60_000_000
