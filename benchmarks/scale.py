"""What grows, and how: rows of feedback simulated and curated, and studies of many runs planned, resumed and compared.

    python benchmarks/scale.py                          # both tables; hours on a busy machine, 8 GB of disk
    python benchmarks/scale.py --only data --prompts 64000,256000,1000000
    python benchmarks/scale.py --only studies --runs 9,99,999
    python benchmarks/scale.py --only studies --runs 9,99 --keep FOLDER      # studies made there are taken as they lie

Every measurement is a command in a process of its own: seconds on the clock, seconds of all cores, and peak memory. On
a machine that others use the seconds of cores are what can be compared. What takes less than a minute is measured three
times, and the median is shown. The exponent is that of the growth in seconds of cores from the size before: 1 is
linear.

The data are `data=simulated`, four completions a prompt, simulated to `until=feedback` and then curated to
`until=pairs`, which writes curation.html too.

A study is a grid of selections and betas with three seeds each, of 500 prompts in both evaluations. Its first run is a
real one with a tiny random model; the others are copies with moved values (`scale_studies.py`). `plan` shows the plan
of such a study of which nothing is there. `resume` is the study's command again when all is finished: it plans, checks
what lies there, finds nothing to do, compares and writes the report. `compare` is `notus_exp.compare`, which does the
last two, and `report` writes the page from comparison.json.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
QUICK, REPEATS = 60.0, 3
"""Seconds below which a measurement is repeated, and how often it is made then."""
OF_STUDIES = (
    "experiment=smoke",
    "hardware=cpu",
    "calibrate=never",
    "tracking=none",
    "data.prompts=4000",
    "filters.max_pairs=1000",
    "dpo.max_steps=40",
    "evaluation.preferences.max_prompts=500",
    "evaluation.verifiable.prompts=500",
)
"""What all runs of a study have in common."""
SELECTIONS, SEEDS = ("average", "critique", "random"), (0, 1, 2)
FEWEST = len(SELECTIONS) * len(SEEDS)
"""Runs of the smallest study."""
NAME = "many"
REPORT = """
import sys
from pathlib import Path
from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.study.report import write_report
folder = Path(sys.argv[1])
write_report(folder, read_comparison(folder / "comparison.json"), folder / "report.html")
"""


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        seconds: On the clock.
        cores: Seconds of all cores, those of its own processes among them.
        mib: Peak memory of the largest process.
        times: How often it was measured.
    """

    seconds: float
    cores: float
    mib: float
    times: int = 1


def arguments(output: Path, runs: int) -> list[str]:
    """Return the command line of a study of so many runs.

    Args:
        output: output_dir.
        runs: At least `FEWEST`; rounded down to a multiple of it.
    """
    betas = ",".join(f"{0.01 + 0.001 * number:.3f}" for number in range(runs // FEWEST))
    varied = [f"selection={','.join(SELECTIONS)}", f"dpo.beta={betas}", f"seed={','.join(map(str, SEEDS))}"]
    return ["-m", *OF_STUDIES, *varied, f"study.name={NAME}", f"output_dir={output}"]


def once(command: Sequence[str]) -> Cost:
    """Run a command of Python's to its end; stop where it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            told = log.read()[-2000:].decode(errors="replace")
            raise SystemExit(f"{' '.join(command)[:300]} ended with {process.returncode}:\n{told}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measured(command: Sequence[str], before: Callable[[], None] = lambda: None) -> Cost:
    """Measure a command, three times where it is quick.

    Args:
        command: Python's arguments.
        before: Puts things as they were before each time.
    """
    before()
    costs = [once(command)]
    while costs[0].seconds < QUICK and len(costs) < REPEATS:
        before()
        costs.append(once(command))
    middle = [statistics.median(getattr(cost, name) for cost in costs) for name in ("seconds", "cores", "mib")]
    return Cost(*middle, len(costs))


class Table:
    """A table that is printed as it grows.

    Args:
        first: What its rows are of.
        work: What is measured, a group of columns each.
    """

    def __init__(self, first: str, work: Sequence[str]) -> None:
        self._work, self._before = work, (0, dict[str, Cost]())
        columns = [f"{one}: s | of cores | MiB | exponent" for one in work]
        print(f"\n| {first} | {' | '.join(columns)} |", flush=True)
        print(f"|---:|{'---:|' * 4 * len(work)}", flush=True)

    def row(self, size: int, costs: dict[str, Cost], beside: str = "") -> None:
        """Print a row; a measurement that was made once is marked with *."""
        size_before, before = self._before
        cells = []
        for one in self._work:
            cost = costs[one]
            grown = "–"
            if one in before:
                grown = f"{math.log(cost.cores / before[one].cores) / math.log(size / size_before):.2f}"
            mark = "" if cost.times > 1 else "*"
            cells.append(f"{cost.seconds:.1f}{mark} | {cost.cores:.1f} | {cost.mib:,.0f} | {grown}")
        print(f"| {size:,} | {' | '.join(cells)} |{beside}", flush=True)
        self._before = (size, costs)


def rows_of_data(sizes: Sequence[int], folder: Path) -> None:
    """Print what simulating and curating cost at each number of prompts."""
    table = Table("prompts x 4", ("simulate", "curate"))
    for prompts in sizes:
        output = folder / f"data-{prompts}"
        given = ["-m", "notus_exp", "data=simulated", f"data.prompts={prompts}", "tracking=none", "calibrate=never"]
        given += [f"output_dir={output}"]

        def remove(pattern: str, output: Path = output) -> None:
            for path in [*output.glob(f"artifacts/{pattern}-*"), *output.glob("runs/*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

        costs = {
            "simulate": measured([*given, "until=feedback"], lambda: remove("feedback")),
            "curate": measured([*given, "until=pairs"], lambda: remove("pairs")),
        }
        table.row(prompts, costs)
        shutil.rmtree(output)


def rows_of_studies(sizes: Sequence[int], folder: Path) -> None:
    """Print what planning, resuming, comparing and reporting cost at each number of runs."""
    table = Table("runs", ("plan", "resume", "compare", "report"))
    for runs in sizes:
        output = folder / f"study-{runs}"
        place = output / "studies" / NAME
        once([str(ROOT / "benchmarks/scale_studies.py"), str(output), str(runs)])
        nothing = folder / "nothing"
        costs = {
            "plan": measured(["-m", "notus_exp", *arguments(nothing, runs), "until=config"]),
            "resume": measured(["-m", "notus_exp", *arguments(output, runs)]),
            "compare": measured(["-m", "notus_exp.compare", str(place)]),
            "report": measured(["-c", REPORT, str(place)]),
        }
        sizes_of = ((place / name).stat().st_size / 1e6 for name in ("report.html", "comparison.json"))
        report, comparison = (f"{size:.1f} MB" for size in sizes_of)
        table.row(runs // FEWEST * FEWEST, costs, f" report.html {report}, comparison.json {comparison}")


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["data", "studies"], help="one of the two tables")
    parser.add_argument("--prompts", default="64000,256000,1000000", help="numbers of prompts")
    parser.add_argument("--runs", default="9,99,999", help="numbers of runs")
    parser.add_argument("--keep", type=Path, help="a folder for everything that is made; else it is removed")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "numpy", "hydra-core"))
    print(f"python {sys.version.split()[0]}, {packages}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep.absolute() if options.keep else Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if options.only != "studies":
            rows_of_data([int(size) for size in options.prompts.split(",")], folder)
        if options.only != "data":
            rows_of_studies([int(size) for size in options.runs.split(",")], folder)
    print(f"\nload {os.getloadavg()[0]:.1f} at the end; * measured once")


if __name__ == "__main__":
    main()
