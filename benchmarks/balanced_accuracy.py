"""Whether implicit rewards know more of the true quality than which answer the base model finds likelier.

    python benchmarks/balanced_accuracy.py outputs/studies/claims_probed

An implicit reward is a change of a log-prob, and a training that learns nothing of the labels changes least what was
likely already: where the better answer is mostly the likelier one, such a policy orders fewer than half of the pairs.
Printed are the arms' accuracy, and the mean of those among the pairs of which the base model finds the better answer
likelier and those of which it does not: 0.5 for what follows the base model alone, whichever way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import polars as pl

from notus_exp.contracts.run_file import RunFile
from notus_exp.disk.outputs import artifact, read_study, runs_of
from notus_exp.inference.crossed import crossed_mean

ROW = ["row", "completion"]
TRUE_QUALITY = "latent_quality"


def ordered_pairs(study: Path, run: RunFile) -> pl.DataFrame:
    """Return prompt_id, likelier (of the better answer, for the base model) and right (1, 0.5, 0) of each pair."""
    scored = pl.read_parquet(artifact(study, run, "likelihoods") / "likelihoods.parquet")
    truth = pl.read_parquet(artifact(study, run, "feedback") / "completions.parquet").select(*ROW, TRUE_QUALITY)
    each = scored.join(truth, on=ROW).with_columns(reward=pl.col("logp") - pl.col("ref_logp"))
    pairs = each.join(each, on="prompt_id", suffix="_of_worse").filter(
        pl.col(TRUE_QUALITY) > pl.col(f"{TRUE_QUALITY}_of_worse")
    )
    margin = (pl.col("reward") - pl.col("reward_of_worse")).round(9)
    return pairs.select(
        "prompt_id",
        likelier=pl.col("ref_logp") > pl.col("ref_logp_of_worse"),
        right=(margin.sign() + 1) / 2,
    ).sort("prompt_id")


def by_prompt(pairs: pl.DataFrame, *, balanced: bool) -> pl.Series:
    """Return a value a prompt whose mean is the accuracy, or that of both kinds of pairs with one weight each."""
    if not balanced:
        return pairs.group_by("prompt_id", maintain_order=True).agg(pl.col("right").mean())["right"]
    prompts = pairs["prompt_id"].n_unique()
    share = prompts / (2 * pl.len().over("likelier"))
    weighed = pairs.with_columns(part=pl.col("right") * share)
    return weighed.group_by("prompt_id", maintain_order=True).agg(pl.col("part").sum())["part"]


def main() -> int:
    """Print both accuracies of every arm of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a study on simulated feedback")
    folder = parser.parse_args().study
    print("arm                   seeds  accuracy                 balanced")
    for arm, runs in runs_of(folder, read_study(folder)).items():
        tables = [ordered_pairs(folder, run) for run in runs.values() if run["status"] == "finished"]
        shown = []
        for balanced in (False, True):
            values = np.array([by_prompt(table, balanced=balanced).to_numpy() for table in tables])
            one = crossed_mean(values)
            shown.append(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]")
        print(f"{arm:<22}{len(tables):<7}{shown[0]:<25}{shown[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
