"""Every command of README and docs is tried: now, in a slow test, or not, and then the reason is listed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.desk import STORED, lay, plant_measurement, plant_study
from support.documented import AS_IT_STANDS, BENCHMARK, SLOW, UNPLANNED, UNTRIED, why_untried
from support.markdown import PAGES, commands
from support.places import REPLAY, ROOT

FOUND = {command.text: command for page in PAGES for command in commands(page)}
LISTED = [*AS_IT_STANDS, *SLOW, *why_untried()]
FROM_AN_OUTER_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"}  # `make test ARGS=...` is one
REASONS = ("GPU", "hub", "cluster", "account", "installs", "a server", "is what runs", "is tried", "draws", "hours")

# One process for all: most of a command's time is its imports. Each is the door's own main() with its own arguments.
DRIVER = """
import importlib, io, json, sys

def give(module, arguments):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    kept, sys.stdout, sys.stderr = (sys.stdout, sys.stderr, sys.argv), out, err
    sys.argv = [module, *arguments]
    try:
        door = importlib.import_module(module)
        code = door.main() or 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout, sys.stderr, sys.argv = kept
    return [code, *(one.buffer.getvalue().decode() for one in (out, err))]

print(json.dumps([give(*one) for one in json.load(sys.stdin)]))
"""


def argv(command: str) -> tuple[str, list[str]]:
    """Return the module that a command runs and its arguments; `make run` is what the Makefile makes of it."""
    words = shlex.split(command)
    if words[0] == "make":
        dry = subprocess.run(
            ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", *words[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            env={name: value for name, value in os.environ.items() if name not in FROM_AN_OUTER_MAKE},
        )
        words = shlex.split(dry.stdout.splitlines()[-1])
    assert Path(words[0]).name == "python" and words[1] == "-m", command
    module = words[2] if words[2] != "notus_exp" else "notus_exp.__main__"
    return module, words[3:]


def planned(command: str) -> tuple[str, list[str]]:
    """Return the command that shows the plan of a run."""
    module, arguments = argv(command)
    return module, [*(one for one in arguments if not one.startswith("until=")), "output_dir=plans", "until=config"]


def has_plan(command: str) -> bool:
    """Return whether a command is a run that can be planned in a moment: studies take seconds, all but README's."""
    study = re.search(r" -m (?!notus_exp)|study=", command) and "rated.jsonl" not in command
    return bool(re.match(r"python -m notus_exp |make run", command)) and not study and not UNPLANNED.search(command)


PLANS = [one for one in [*SLOW, *why_untried()] if has_plan(one)]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each command that is given as it stands, and of each plan."""
    folder = lay(tmp_path_factory.mktemp("desk"))
    plant_study(folder)
    plant_measurement(folder)
    asked = [argv(one) for one in AS_IT_STANDS] + [planned(one) for one in PLANS]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(asked),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip([*AS_IT_STANDS, *PLANS], json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_every_command_of_the_pages_is_listed() -> None:
    unlisted = [one for one in FOUND.values() if one.text not in LISTED and not BENCHMARK.fullmatch(one.text)]
    places = [f"{one.page}:{one.number}: {one.text}" for one in unlisted]
    assert places == [], "list them in tests/support/documented.py"


def test_nothing_is_listed_twice_or_that_no_page_has() -> None:
    assert sorted({*LISTED}) == sorted(LISTED)
    assert [one for one in LISTED if one not in FOUND] == []


def test_what_is_not_tried_has_one_of_the_few_reasons() -> None:
    assert [reason for reason in UNTRIED if not reason.startswith(REASONS)] == []


@pytest.mark.parametrize("command", AS_IT_STANDS)
def test_a_command_ends_well_as_it_stands(command: str, given: dict[str, Any]) -> None:
    if any(name in command for name in STORED) and not REPLAY.exists():
        pytest.skip("the published verdicts are not beside the checkout")
    code, out, err = given[command]
    assert code == 0, err[-2000:]
    assert out.strip()
    assert "Traceback" not in err


@pytest.mark.parametrize("command", AS_IT_STANDS)
def test_what_was_asked_for_is_on_standard_output_and_nothing_stands_beside_it(
    command: str, given: dict[str, Any]
) -> None:
    if any(name in command for name in STORED) and not REPLAY.exists():
        pytest.skip("the published verdicts are not beside the checkout")
    _, out, err = given[command]
    slow = re.compile(r"[a-z ]+: \d+ (s|min)(, \d+%)?|measuring this machine once for the forecast, .*")
    assert [line for line in err.splitlines() if not slow.fullmatch(line)] == []
    if "until=config" in command:
        *plan, folder = out.splitlines()
        assert plan and Path(folder).parts[-3:-1] in [("outputs", "runs"), ("outputs", "studies")]


@pytest.mark.parametrize("command", PLANS)
def test_the_plan_of_a_longer_command_is_made(command: str, given: dict[str, Any]) -> None:
    code, out, err = given[command]
    assert code == 0, err[-2000:]
    assert Path(out.splitlines()[-1]).parts[-3:-1] in [("plans", "runs"), ("plans", "studies")]


def test_benchmarks_of_the_pages_exist_and_have_the_options_that_are_given() -> None:
    named = [found for one in FOUND if (found := BENCHMARK.fullmatch(one))]
    assert len(named) > 8
    for found in named:
        source = (ROOT / found[1]).read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", found[2]):
            assert f'"{option}"' in source, found[0]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("slow_desk"))


@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW)
def test_a_longer_command_ends_well(command: str, desk: Path) -> None:
    """In the order of the list, in one folder: later commands look at what earlier ones left."""
    module, arguments = argv(command)
    smoke = _runs_of_one_feedback(desk) or ["none yet"]
    names = {"RUN": smoke[0], "A": smoke[0], "B": smoke[-1], "OTHER": smoke[-1], "STUDY": "outputs/studies/mine"}
    instead = {one.partition("=")[0] for one in SLOW[command]}
    arguments = [names.get(one, one) for one in arguments if one.partition("=")[0] not in instead]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, *SLOW[command]],
        cwd=desk,
        capture_output=True,
        text=True,
        timeout=3600,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


def _runs_of_one_feedback(desk: Path) -> list[str]:
    """Return the runs of the tiny model of whose feedback there are the most."""
    by_feedback: dict[str, list[str]] = {}
    for path in sorted(desk.glob("outputs/runs/*tiny_random*/run.json")):
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        by_feedback.setdefault(stages.get("feedback", {}).get("key", ""), []).append(path.parent.name)
    return max(by_feedback.values(), key=len, default=[])
