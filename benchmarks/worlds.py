"""Does a study find what is true? Three simulated worlds whose truth is known, at two levels.

    python benchmarks/worlds.py                        # both levels; about 20 minutes on two cores
    python benchmarks/worlds.py --level curation       # a minute and a half
    python benchmarks/worlds.py --level model --seeds 0,1,2,3,4

The worlds are the studies sweeps/study/world_*.yaml. At the level of curation both strategies make pairs, and the true
quality, which curation never reads, says of each pair whether the chosen response is truly better than the rejected one
and whether it is truly the best of the prompt's. At the level of models the studies themselves are run, through the
framework's own command, and their comparison.json is read. The same command goes on with studies that were stopped.

Each line compares the average with the critique, paired by prompt, with prompts and seeds as crossed components. Where
neither is better, "not distinguishable" is not enough: the two must be shown equivalent within a margin. The exit code
is 1 where a verdict does not follow the truth.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from hydra import compose, initialize_config_dir

from notus_exp.comparison.per_prompt import seed_table
from notus_exp.comparison.words import verdict_of
from notus_exp.config import loading as configuration
from notus_exp.config.data_settings import Simulated
from notus_exp.config.schema import Config
from notus_exp.contracts.comparison_file import ALIKE, HIGHER, LOWER, ComparisonFile, read_comparison
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.curation.pairs import curate
from notus_exp.curation.scores import AVERAGE, CRITIQUE
from notus_exp.disk.outputs import COMPARISON_JSON
from notus_exp.feedback.simulated import simulate
from notus_exp.inference.crossed import Array, contrast, crossed_mean, within_margin
from notus_exp.inference.multiplicity import adjust
from notus_exp.stages.settings import PairsSettings

Tables = Mapping[str, Array]
"""Arm -> seeds by prompts."""

MEASURES = ("better", "best")
"""Of a chosen response: truly better than the rejected one; of the highest true quality among its prompt's."""
MARGIN = 0.02
"""Difference in a share of prompts that would not matter; the margin of the models is that of their study."""
PROMPTS, WORLD_SEEDS = 10_000, (31, 32, 33)


class World(NamedTuple):
    """A world and what is true in it.

    Attributes:
        study: Its file in sweeps/study/.
        truth: The verdict on the average against the critique that is right.
        why: In words.
    """

    study: str
    truth: str
    why: str


WORLDS = [
    World("world_average", HIGHER, "every overall score of 1 is written as 10"),
    World("world_critique", LOWER, "ratings are noise, the overall score is almost exact"),
    World("world_neither", ALIKE, "noisy ratings beside a less noisy overall score with the defect"),
]


class Measured(NamedTuple):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


class Finding(NamedTuple):
    """What one comparison of the average with the critique said.

    Attributes:
        world: Where.
        sample: Prompts x seeds.
        measure: What was compared.
        critique: Its share.
        average: Its share.
        difference: Average minus critique.
        verdict: As studies say it.
        equivalent: Whether they are shown to differ by less than the margin.
    """

    world: World
    sample: str
    measure: str
    critique: Measured
    average: Measured
    difference: Measured
    verdict: str
    equivalent: bool

    @property
    def follows(self) -> bool:
        """Whether the verdict is the truth, and where neither is better, whether that is shown."""
        return self.verdict == self.world.truth and (self.equivalent or self.world.truth != ALIKE)


# ------------------------------------------------------------------------------------------------------------ curation
def arms(study: str) -> dict[str, Config]:
    """Return the config of each arm of a study."""
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        given = configuration.load(compose("config", overrides=[f"study={study}"])).study.arms
        return {
            arm: configuration.load(compose("config", overrides=[f"study={study}", *overrides]))
            for arm, overrides in given.items()
        }


def truly_chosen(feedback: pl.DataFrame, config: Config, seed: int) -> dict[str, dict[str, float]]:
    """Curate and return for each of `MEASURES` prompt id -> 1 where it holds, else 0; equal qualities are not better.

    Args:
        feedback: Of a simulated world.
        config: Of the arm.
        seed: Moves random rejection.
    """
    spec = PairsSettings(
        config.data.aspects, config.repair, config.selection, config.rejected, config.filters, [], config.split, seed
    )
    key = ["prompt_id", "row"]
    quality = feedback.select(*key, "completion", "latent_quality")
    pairs = curate(feedback, spec).pairs.select(*key, "chosen_completion", "rejected_completion")
    for role in ("chosen", "rejected"):
        of_role = quality.rename({"completion": f"{role}_completion", "latent_quality": role})
        pairs = pairs.join(of_role, on=[*key, f"{role}_completion"], how="left", validate="1:1")
    pairs = pairs.join(quality.group_by(key).agg(highest=pl.col("latent_quality").max()), on=key, how="left")
    held = {"better": pairs["chosen"] > pairs["rejected"], "best": pairs["chosen"] == pairs["highest"]}
    return {
        measure: dict(zip(pairs["prompt_id"], column.cast(pl.Float64), strict=True)) for measure, column in held.items()
    }


def curation(world: World, world_seeds: Sequence[int], prompts: int) -> list[Finding]:
    """Compare both strategies on simulated prompts, with every seed of the study.

    Args:
        world: Which.
        world_seeds: Each makes other prompts, answers and labels; their prompts are put together.
        prompts: For each of these.
    """
    configs = arms(world.study)
    data, seeds = configs[AVERAGE].data, configs[AVERAGE].study.seeds
    assert isinstance(data, Simulated)
    parts: dict[str, list[Tables]] = {measure: [] for measure in MEASURES}
    for world_seed in world_seeds:
        feedback = simulate(replace(data, seed=world_seed, prompts=prompts))
        held = {arm: [truly_chosen(feedback, config, seed) for seed in seeds] for arm, config in configs.items()}
        for measure in MEASURES:
            parts[measure].append(_tables({arm: [row[measure] for row in rows] for arm, rows in held.items()}))
    return _curation_findings(world, {measure: _together(found) for measure, found in parts.items()})


def _tables(held: Mapping[str, Sequence[Mapping[str, float]]]) -> Tables:
    prompts = sorted({prompt for rows in held.values() for row in rows for prompt in row})
    return {arm: seed_table(rows, prompts) for arm, rows in held.items()}


def _together(parts: Sequence[Tables]) -> Tables:
    return {arm: np.concatenate([part[arm] for part in parts], axis=1) for arm in parts[0]}


def _curation_findings(world: World, measures: Mapping[str, Tables]) -> list[Finding]:
    """Judge all measures; Holm's p decides, as two looks at one question would find twice as much by chance."""
    contrasts = {name: contrast([of[AVERAGE], of[CRITIQUE]], [1, -1], span=(-1, 1)) for name, of in measures.items()}
    adjusted = adjust([found.p for found in contrasts.values()])
    findings = []
    for (measure, found), corrected in zip(contrasts.items(), adjusted, strict=True):
        shares = {arm: Measured(*crossed_mean(table, span=(0, 1))[:3]) for arm, table in measures[measure].items()}
        equivalent = within_margin(found, MARGIN).equivalent
        size, verdict = f"{found.prompts:,} x {found.seeds}", verdict_of(found, corrected)
        both = shares[CRITIQUE], shares[AVERAGE], Measured(*found[:3])
        findings.append(Finding(world, size, f"truly {measure}", *both, verdict, equivalent))
    return findings


# -------------------------------------------------------------------------------------------------------------- models
def model(world: World, output_dir: Path, overrides: Sequence[str] = ()) -> Finding:
    """Run the world's study, or what is missing of it, and read what it says.

    Args:
        world: Which.
        output_dir: Folder of artifacts, runs and studies.
        overrides: Further ones of the command, such as `seed=0,1,2,3,4`.
    """
    command = [sys.executable, "-m", "notus_exp", f"study={world.study}", f"output_dir={output_dir}", *overrides]
    # a tiny model gains nothing from threads
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    comparison = read_comparison(output_dir / "studies" / world.study / COMPARISON_JSON)
    return finding_of(world, comparison)


def finding_of(world: World, comparison: ComparisonFile) -> Finding:
    """Return what a study's comparison.json says of the average against the critique in its primary metric."""
    metric = comparison["study"]["metric"]
    rows = {arm["arm"]: arm["metrics"][metric] for arm in comparison["arms"]}
    [row] = [row for row in comparison["contrasts"] if row["primary"] and row["arm"] == AVERAGE]
    return Finding(
        world,
        f"{row['prompts']:,} x {row['seeds']}",
        metric,
        _measured(rows[CRITIQUE]),
        _measured(rows[AVERAGE]),
        _measured(row),
        row["verdict"],
        bool(row["equivalence"] and row["equivalence"]["equivalent"]),
    )


def _measured(row: MeasuredValue) -> Measured:
    return Measured(row["value"], row["low"], row["high"])


# ------------------------------------------------------------------------------------------------------------- command
def show(findings: Iterator[Finding]) -> list[Finding]:
    """Print findings as a table in Markdown, each as soon as it is there."""
    print("| world | prompts x seeds | measure | critique | average | average - critique | verdict | follows |")
    print("|---|---|---|---|---|---|---|---|")
    shown = []
    for found in findings:
        verdict = found.verdict + ", equivalent" * found.equivalent
        cells = [found.world.study, found.sample, found.measure, _cell(found.critique), _cell(found.average)]
        cells += [_cell(found.difference, "+"), verdict, "yes" if found.follows else "NO"]
        print("| " + " | ".join(cells) + " |", flush=True)
        shown.append(found)
    return shown


def _cell(measured: Measured, sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.3f}" for number in measured)
    return f"{value} [{low}, {high}]"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    """Measure what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=["both", "curation", "model"], default="both")
    parser.add_argument(
        "--prompts", type=int, default=PROMPTS, help="prompts of a simulated world at the level of curation"
    )
    parser.add_argument("--worlds", type=_numbers, default=list(WORLD_SEEDS), help="seeds of worlds, likewise")
    parser.add_argument("--seeds", type=_numbers, help="seeds of the models, instead of the studies' own")
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), help="where studies lie")
    options = parser.parse_args()
    start, findings = time.monotonic(), []
    for world in WORLDS:
        print(f"{world.study}: {world.why}; the average is truly {world.truth}.")
    if options.level != "model":
        print(f"\nCuration; margin of equivalence {MARGIN:g}:\n")
        findings += show(found for world in WORLDS for found in curation(world, options.worlds, options.prompts))
    if options.level != "curation":
        overrides = [f"seed={','.join(map(str, options.seeds))}"] if options.seeds else []
        print("\nModels; the margin of equivalence is the studies' own:\n")
        findings += show(model(world, options.output_dir, overrides) for world in WORLDS)
    wrong = sum(not found.follows for found in findings)
    print(f"\n{len(findings)} verdicts, {wrong} against the truth; {time.monotonic() - start:.0f} s.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
