"""Two hundred random kills over the smoke pipeline: does a run that was killed end as one that was not?

    python benchmarks/kills.py --work /tmp/kills                # about an hour and a half on two idle cores
    python benchmarks/kills.py --work /tmp/kills --part 1/2     # half of them; another process takes 2/2

A kill is drawn over the stages, not over time alone, which would nearly always hit the longest: trial i is for stage
i modulo their number. Its folder is a copy of a finished one from which the artifacts of that stage and of all after
it are taken away (for stages up to the reference the store of log-probs too). The command is started, killed with -9
at a random moment of that stage, as long as it took undisturbed, and given again. What there is then must be what the
undisturbed run left, as `alike.py` compares. The exit code is 1 where it is not. The script goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from alike import differences
from trials import ENVIRONMENT, SAME, Journal, run, verdict

ASKED = ["experiment=smoke", "tracking=none"]


def main() -> int:
    """Run the trials and print their table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="kept, so that the script goes on")
    parser.add_argument("--kills", type=int, default=200, help="how many")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="which of N parts of them")
    options = parser.parse_args()
    work: Path = options.work
    stages = _undisturbed(work)
    names = list(stages)
    trials = [f"{number}:{names[number % len(names)]}" for number in range(options.kills)]
    part, parts = map(int, options.part.split("/"))
    journal = Journal(work / f"journal-{part}-of-{parts}.jsonl")
    for trial in journal.missing(trials[part - 1 :: parts]):
        journal.note(trial, **_try(work, trial, stages, part))
        print(f"{journal.done[trial]['verdict']:<16} {trial}", flush=True)
    return _report(work)


def _undisturbed(work: Path) -> dict[str, dict[str, Any]]:
    """Make the undisturbed run where it is missing; return what run.json says of its stages."""
    whole = work / "whole"
    if not (whole / "made").exists():
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir(parents=True)
        ended = run(whole, ASKED)
        if ended.code:
            sys.exit(f"the run itself failed:\n{ended.said}")
        (whole / "made").touch()
    [path] = whole.glob("outputs/runs/*/run.json")
    stages: dict[str, dict[str, Any]] = json.loads(path.read_text())["stages"]
    return stages


def _try(work: Path, trial: str, stages: dict[str, dict[str, Any]], part: int) -> dict[str, Any]:
    stage = trial.split(":")[1]
    names = list(stages)
    whole, folder = work / "whole", work / f"trial-{part}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole / "outputs", folder / "outputs")
    for name in names[names.index(stage) :]:
        shutil.rmtree(folder / "outputs/artifacts" / Path(stages[name]["path"]).name)
    if names.index(stage) <= names.index("reference"):  # which computes for both, and both are taken away
        shutil.rmtree(folder / "outputs/cache", ignore_errors=True)
    draw = random.Random(trial)
    killed = _kill(folder, stage, draw.random() * stages[stage]["seconds_when_made"])
    ended = run(folder, ASKED)
    of_run = [Path(one["path"]).name for one in stages.values()]
    found = differences(whole / "outputs", folder / "outputs", of_run)
    result = verdict(ended, found)
    return {
        "verdict": result if ended.code == 0 else f"failed: {ended.said[-300:]}",
        "killed": killed,
        "found": found[:5],
    }


def _kill(folder: Path, stage: str, delay: float) -> bool:
    """Start the run, wait for a stage and then so many seconds, and kill it; say whether it was still going on."""
    [events] = folder.glob("outputs/runs/*/events.jsonl")
    events.write_text("")
    process = subprocess.Popen(
        [sys.executable, "-m", "notus_exp", *ASKED],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    mark = f'"stage": "{stage}", "step": 0, "metrics": {{"started": 1.0}}'
    while process.poll() is None and mark not in events.read_text():
        time.sleep(0.005)
    time.sleep(delay)
    going_on = process.poll() is None
    process.kill()
    process.wait()
    return going_on


def _report(work: Path) -> int:
    done = [one for path in sorted(work.glob("journal-*.jsonl")) for one in Journal(path).done.values()]
    counts: dict[str, Counter[str]] = {}
    for one in done:
        row = counts.setdefault(one["trial"].split(":")[1], Counter())
        row["kills"] += 1
        row["before it ended"] += one["killed"]
        row["equal"] += one["verdict"] == SAME
    print(f"\n{len(done)} kills, {sum(row['equal'] for row in counts.values())} equal results")
    print("| stage | kills | of them before the run ended | equal results |\n|---|---|---|---|")
    for stage, row in counts.items():
        print(f"| {stage} | {row['kills']} | {row['before it ended']} | {row['equal']} |")
    bad = [one for one in done if one["verdict"] != SAME]
    for one in bad:
        print(f"{one['verdict']}: {one['trial']}: {one['found']}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
