"""Every file that a finished smoke study leaves, damaged in turn: does a wrong result ever come without a word?

    python benchmarks/damage.py --work /tmp/damage                 # about an hour and a half on two idle cores
    python benchmarks/damage.py --work /tmp/damage --part 1/2      # half of the trials; another process takes 2/2
    python benchmarks/damage.py --work /tmp/damage --only policy   # the trials whose name has this word

A study of two arms (a tiny random model) is made once, and beside it a training that was killed after a checkpoint.
Each trial copies the folder, damages one file of the copy, gives the study's command again, and compares what there
is then with the undisturbed folder: files of artifacts byte by byte (but for times, seconds and attempts: `alike.py`),
the metrics of run.json, and comparison.json. The damages: a flipped bit, a truncation, zeros, and other content of the
same size. A trial ends in the same result, in one clear error (then the command is given again, and must not end in a
traceback either), or it is called SILENT or TRACEBACK, and the exit code is 1. The script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alike import differences
from trials import ENVIRONMENT, ERROR, SAME, SILENT, TRACEBACK, Journal, run, verdict

STUDY = ["-m", "experiment=smoke", "tracking=none", "selection=critique,average", "seed=0", "study.name=hurt"]
TRAINING = ["experiment=smoke", "tracking=none", "until=policy", "seed=5", "dpo.checkpoints=4"]
NOT_DAMAGED = (".lock",)


def flip(content: bytes, draw: random.Random) -> bytes:
    """Turn one bit over."""
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    """Keep the beginning."""
    return content[: draw.randrange(len(content))]


def zeros(content: bytes, draw: random.Random) -> bytes:
    """Zero a block, as a disk that lost it reads."""
    start = draw.randrange(len(content))
    return content[:start] + bytes(len(content[start : start + 4096])) + content[start + 4096 :]


def other(content: bytes, draw: random.Random) -> bytes:
    """Put other content of the same size in its place."""
    return draw.randbytes(len(content))


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {"bit": flip, "cut": cut, "zeros": zeros, "other": other}


def main() -> int:
    """Run the trials and print their table; return the exit code."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    _make(work / "study", STUDY)
    _make_killed(work / "training")
    trials = [trial for trial in _trials(work) if options.only in trial]
    random.Random(0).shuffle(trials)  # so that a part of them has some of every kind
    part, parts = map(int, options.part.split("/"))
    journal = Journal(work / f"journal-{part}-of-{parts}.jsonl")
    for trial in journal.missing(trials[part - 1 :: parts]):
        journal.note(trial, **_try(work, trial, part))
        print(f"{journal.done[trial]['verdict']:<16} {trial}", flush=True)
    return _report(work)


def _make(folder: Path, arguments: list[str]) -> None:
    """Make a finished folder that no trial touches."""
    if (folder / "made").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ended = run(folder, arguments)
    if ended.code:
        sys.exit(f"the study itself failed:\n{ended.said}")
    (folder / "made").touch()


def _make_killed(folder: Path) -> None:
    """Make a training that was killed after two checkpoints, and the same one undisturbed."""
    _make(folder.with_name("trained"), TRAINING)
    if (folder / "made").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "notus_exp", *TRAINING],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if len(list(folder.glob("outputs/artifacts/policy-*.partial/checkpoints/checkpoint-*/complete"))) >= 1:
            steps = [int(path.parent.name.split("-")[1]) for path in folder.glob("**/checkpoint-*/complete")]
            if max(steps) >= 2:
                process.send_signal(signal.SIGKILL)
                break
        time.sleep(0.005)
    process.wait()
    time.sleep(2)  # the worker ends with its parent
    if not list(folder.glob("outputs/artifacts/policy-*.partial/checkpoints/checkpoint-*/complete")):
        sys.exit("the training was over before it could be killed: start the script again")
    (folder / "made").touch()


def _trials(work: Path) -> list[str]:
    """Name the trials, `BASE:FILE:DAMAGE`."""
    files = [("study", path) for path in sorted((work / "study" / "outputs").rglob("*"))]
    files += [("training", path) for path in sorted((work / "training").glob("outputs/artifacts/*.partial/**/*"))]
    wanted = [
        (base, path)
        for base, path in files
        if path.is_file() and path.stat().st_size and path.suffix not in NOT_DAMAGED and not _is_note(path)
    ]
    return [f"{base}:{path.relative_to(work / base)}:{damage}" for base, path in wanted for damage in DAMAGES]


def _is_note(path: Path) -> bool:
    """Say whether a file only helps to look for locks: nothing is read from it."""
    return ".in-use" in path.parts


def _try(work: Path, trial: str, part: int) -> dict[str, Any]:
    base, name, damage = trial.split(":")
    folder = work / f"trial-{part}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / base / "outputs", folder / "outputs", symlinks=True)
    path = folder / name
    content = path.read_bytes()
    damaged = DAMAGES[damage](content, random.Random(trial))
    if damaged == content:
        return {"verdict": SAME, "why": "the damage changed nothing"}
    path.write_bytes(damaged)
    arguments = STUDY if base == "study" else TRAINING
    whole = work / ("study" if base == "study" else "trained")
    ended = run(folder, arguments)
    found = _found(whole, folder)
    result = verdict(ended, found)
    again = ""
    if result == ERROR:
        second = run(folder, arguments)
        again = verdict(second, _found(whole, folder) if second.code == 0 else [])
        result = again if again in (SILENT, TRACEBACK) else ERROR
    said = [line for line in ended.said.splitlines() if path.name in line or "error" in line or "anew" in line]
    return {"verdict": result, "again": again, "found": found[:5], "said": said[:3]}


def _found(whole: Path, folder: Path) -> list[str]:
    """Return in what a folder's results differ from the undisturbed ones."""
    names = [path.name for path in (whole / "outputs/artifacts").iterdir() if path.is_dir() and path.name[0] != "."]
    found = differences(whole / "outputs", folder / "outputs", names)
    for path in sorted((whole / "outputs").glob("runs/*/run.json")):
        one, two = (_json(root / path.relative_to(whole)) for root in (whole, folder))
        if one.get("metrics") != two.get("metrics") or two.get("status") != "finished":
            found.append(f"{path.parent.name}: metrics or status")
    for path in sorted((whole / "outputs").glob("studies/*/comparison.json")):
        if _json(path) != _json(folder / path.relative_to(whole)):
            found.append("comparison.json")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _report(work: Path) -> int:
    done = [one for path in sorted(work.glob("journal-*.jsonl")) for one in Journal(path).done.values()]
    print(f"\n{len(done)} trials")
    kinds: dict[str, Counter[str]] = {}
    for one in done:
        kinds.setdefault(_kind(one["trial"]), Counter())[one["verdict"]] += 1
    columns = [SAME, ERROR, SILENT, TRACEBACK]
    print("| files | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for kind, counts in sorted(kinds.items()):
        print(f"| {kind} | " + " | ".join(str(counts[column]) for column in columns) + " |")
    bad = [one for one in done if one["verdict"] in (SILENT, TRACEBACK)]
    for one in bad:
        print(f"{one['verdict']}: {one['trial']}: {one.get('found')} {one.get('said')}")
    return 1 if bad else 0


def _kind(trial: str) -> str:
    """Return what a trial's file is: the stage of an artifact, or the place and name of another file."""
    base, name, _ = trial.split(":")
    parts = Path(name).parts
    if parts[1] == "artifacts":
        what = "manifest.json" if parts[-1] == "manifest.json" else "files"
        place = "checkpoint" if base == "training" else parts[2].split("-")[0]
        return f"artifacts, {place}: {what}"
    return f"{parts[1]}: {parts[-1]}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="kept, so that the script goes on")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="which of N parts of the trials")
    parser.add_argument("--only", default="", metavar="WORD", help="the trials whose name has this word")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
