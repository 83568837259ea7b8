"""What a database keeps of a trial says the same of it as the runs' folders, on a machine that has none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from notus_exp.contracts.format import sealed
from notus_exp.study.search.certainty import difference, trial_intervals
from notus_exp.study.search.kept import keep
from support.study_folders import write_study

STRICT = "verifiable/strict"


def of_arm(number: int, arm: str, seeds: tuple[int, ...]) -> Any:
    runs = {str(seed): f"{arm}-s{seed}" for seed in seeds}
    return {"number": number, "state": "complete", "values": {STRICT: 0.5}, "runs": runs}


def change(path: Path, parts: Any) -> None:
    """Write a run.json anew with other parts."""
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "seal"}
    path.write_text(json.dumps(sealed(content | parts)))


def test_intervals_and_differences_are_those_of_the_runs(tmp_path: Path) -> None:
    rows = {seed: np.random.default_rng(seed).uniform(0, 1, 30) for seed in (0, 1)}
    arms = {"a": {seed: {STRICT: row} for seed, row in rows.items()}}
    arms["b"] = {seed: {STRICT: np.sqrt(row)} for seed, row in rows.items()}
    there = write_study(tmp_path / "there", arms, kind="search")  # type: ignore[arg-type]
    a, b = of_arm(0, "a", (0, 1)), of_arm(1, "b", (0, 1))
    kept = {one["number"]: json.loads(json.dumps(keep(there, one["runs"], [STRICT]))) for one in (a, b)}
    here = tmp_path / "here" / "studies" / "mine"
    here.mkdir(parents=True)
    expected, gap = trial_intervals(there, a), difference(there, a, b, STRICT)
    assert expected
    assert gap is not None
    assert trial_intervals(here, a) == {}
    assert difference(here, a, b, STRICT) is None
    assert trial_intervals(here, a, kept[0]) == expected
    assert difference(here, a, b, STRICT, kept) == gap
    # one of the two trials was made here: each side is read from where it is; a run that was begun here and finished
    # elsewhere, after this machine was lost, is no finished run of here
    shutil.copytree(there.parent.parent, tmp_path / "half")
    half = tmp_path / "half" / "studies" / there.name
    for run in b["runs"].values():
        path = tmp_path / "half" / "runs" / run / "run.json"
        change(path, {"status": "running", "metrics": {}})
    assert difference(half, a, b, STRICT) is None
    assert difference(half, a, b, STRICT, kept) == gap


def test_of_one_seed_the_runs_own_interval_is_kept_and_what_its_judges_cost(tmp_path: Path) -> None:
    folder = write_study(tmp_path, {"a": {0: {STRICT: [0.0, 1.0, 1.0]}}}, kind="search")
    path = folder.parent.parent / "runs" / "a-s0" / "run.json"
    run = json.loads(path.read_text())
    value = run["metrics"][STRICT] | {"low": 0.1, "high": 0.9}
    change(path, {"metrics": {STRICT: value}, "costs": run["costs"] | {"judge_usd": 1.5}})
    one = of_arm(0, "a", (0,))
    kept = keep(folder, one["runs"] | {"1": "not-begun"}, [STRICT, "policy/validation/accuracy"])
    assert kept["usd"] == 1.5
    assert (kept["intervals"]["1"], kept["by_prompt"]["1"]) == ({}, {})
    expected = trial_intervals(folder, one)
    assert (expected[STRICT]["low"], expected[STRICT]["high"]) == (0.1, 0.9)
    nowhere = tmp_path / "elsewhere" / "studies" / "mine"
    nowhere.mkdir(parents=True)
    assert trial_intervals(nowhere, one, kept) == expected
