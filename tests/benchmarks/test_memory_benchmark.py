"""The planner of memory beside measured peaks: a model of 1.16 GB is trained and scored, and the plan holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"
CASES = ["full, float32, checkpointed", "LoRA, float32", "LoRA, float32, checkpointed", "scoring, float32"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
def test_planned_and_measured_are_within_fifteen_percent(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), str(tmp_path), "--cases", *CASES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
    rows = re.findall(r"^\| (.+?) \| [\d.]+ \| .+ \| [\d.]+ \| ([\d.]+) \|$", done.stdout, re.MULTILINE)
    ratios = {name: float(ratio) for name, ratio in rows}
    assert set(ratios) == set(CASES)
    assert all(0.85 <= ratio <= 1.15 for ratio in ratios.values()), ratios
