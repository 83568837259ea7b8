"""What the shell offers when TAB is pressed: real options, keys and values, nothing that the command refuses."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from notus_exp.config import completing
from notus_exp.config import loading as configuration
from support.places import ROOT

BASH = shutil.which("bash")
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb"}


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    configuration.register()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (
            "selection=",
            ["average", "critique", "expression", "per_aspect", "random", "reversed", "weighted"],
        ),
        ("-m seed=0 selection=critique,av", ["critique,average"]),
        ("'evaluation=[preferences,ver", ["[preferences,verifiable"]),
        ("dpo.precision=", ["float32", "bfloat16", "float16"]),
        ("hardware.activation_checkpointing=", ["false", "true"]),
        ("study=cur", ["curation"]),
        ("until=p", ["pairs", "policy"]),
    ],
)
def test_values_are_those_that_the_setting_can_have(typed: str, offered: list[str]) -> None:
    key = typed.split(" ")[-1].strip("'").partition("=")[0]
    assert completing.candidates(f"python -m notus_exp {typed}") == [f"{key}={value}" for value in offered]


def test_keys_are_those_of_the_options_that_are_chosen_before() -> None:
    assert completing.candidates("notus-exp dpo.lora.") == [
        "dpo.lora.alpha=", "dpo.lora.dropout=", "dpo.lora.quantisation=", "dpo.lora.r=", "dpo.lora.target_modules="
    ]  # fmt: skip
    assert "data.response_column=" in completing.candidates("python -m notus_exp data=rated data.")
    assert "data.response_column=" not in completing.candidates("python -m notus_exp data.")
    assert {"data=", "data.", "seed=", "study="} <= {*completing.candidates("python -m notus_exp ")}


def test_nothing_is_offered_that_the_command_refuses() -> None:
    assert completing.candidates("python -m notus_exp hydra") == []
    offered = completing.candidates("python -m notus_exp study.")
    assert "study.metric=" in offered and not {"study.arm=", "study.trial="} & {*offered}


def test_flags_and_what_they_take_are_offered() -> None:
    assert completing.candidates("python -m notus_exp --ver") == ["--verbose", "--version"]
    assert completing.candidates("python -m notus_exp --cfg ") == ["job", "hydra", "all"]


def test_options_and_files_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "safe.yaml").touch()
    assert "experiment=safe" in completing.candidates(f"notus-exp --config-dir {tmp_path}/mine experiment=")
    assert completing.candidates(f"notus-exp data=rated data.path={tmp_path}/m") == [f"data.path={tmp_path}/mine/"]
    assert completing.candidates(f"notus-exp --config-dir {tmp_path}/m") == [f"{tmp_path}/mine/"]


def test_a_line_that_cannot_be_composed_yet_is_completed_all_the_same() -> None:
    assert completing.candidates("python -m notus_exp dpo=none_such dpo.bet") == ["dpo.beta="]


def test_the_command_prints_candidates_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "notus_exp", "-sc", "query=bash"],
        env={**ENVIRONMENT, "COMP_LINE": "python -m notus_exp rejected="},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    offered = ["expression", "lowest", "random", "second_best"]
    assert done.stdout.split("\n") == [*(f"rejected={option}" for option in offered), ""]
    assert done.stderr == ""


class Shell:
    """A terminal with bash in it, which was told how to complete our command."""

    def __init__(self) -> None:
        assert BASH
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            os.chdir(ROOT)
            os.execve(BASH, [BASH, "--norc", "--noprofile", "-i"], ENVIRONMENT)
        self.shows('eval "$(python -m notus_exp -sc install=bash)"; echo in""stalled\n', "installed")

    def shows(self, keys: str, wanted: str) -> bool:
        """Press keys, and say whether the terminal comes to show something."""
        os.write(self._terminal, keys.encode())
        shown, end = "", time.monotonic() + 60
        while wanted not in shown and time.monotonic() < end:
            if select.select([self._terminal], [], [], 0.5)[0]:
                shown += os.read(self._terminal, 65536).decode(errors="replace")
        return wanted in shown

    def end(self) -> None:
        os.close(self._terminal)
        os.waitpid(self.process, 0)


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_completes_our_command_and_files_for_others() -> None:
    shell, clear = Shell(), "\x15"
    try:
        assert shell.shows("python -m notus_exp selection=aver\t", "selection=average")
        assert shell.shows(f"{clear}python -m notus_exp dpo.learning_\t", "dpo.learning_rate=")
        assert shell.shows(f"{clear}python -m notus_exp.compare pyproj\t", "notus_exp.compare pyproject.toml")
    finally:
        shell.end()
