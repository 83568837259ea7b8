"""How often a search's importances err: `python benchmarks/search_importances.py --searches 100 --trials 12 24`.

Searches of two settings, a choice of two and a range, whose values are known. One search takes about a second.
"""

from __future__ import annotations

import argparse

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from notus_exp.contracts.study_file import MATTERS
from notus_exp.study.search.importances import importances

WORTH = {"nothing": (0.0, 0.0), "choice": (2.0, 0.0), "range": (0.0, 6.0), "both": (2.0, 6.0)}
"""What decides -> worth of the choice, and of a whole range, in standard deviations of the noise."""
BEST = 0.6
"""Where on the range it is best."""


def searched(sampler: BaseSampler, trials: int, decides: str, noise: np.random.Generator) -> optuna.Study:
    """Return a search of so many trials."""
    choice, steep = WORTH[decides]
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        value = choice * trial.suggest_categorical("choice", [0, 1])
        value -= steep * abs(trial.suggest_float("range", 0.0, 1.0) - BEST)
        study.tell(trial, value + float(noise.normal()))
    return study


def main() -> None:
    """Print how often each setting is said to matter."""
    parser = argparse.ArgumentParser(description="How often a search's importances err.")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--trials", type=int, nargs="+", default=[12, 24, 40])
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("decides  trials  choice matters  range matters  interval holds its share")
    for decides in WORTH:
        for trials in options.trials:
            noise, said, holds = np.random.default_rng(trials), {"choice": 0, "range": 0}, []
            for seed in range(options.searches):
                sampler = RandomSampler(seed) if options.sampler == "random" else TPESampler(seed=seed)
                study = searched(sampler, trials, decides, noise)
                rows = importances(study, study.get_trials(), {"value": "maximize"}).rows.get("value", {})
                for name, row in rows.items():
                    said[name] += row["verdict"] == MATTERS
                    if row["value"] is not None and row["low"] is not None and row["high"] is not None:
                        holds.append(row["low"] <= row["value"] <= row["high"])
            shares = "  ".join(f"{said[name] / options.searches:14.2f}" for name in said)
            print(f"{decides:8} {trials:6} {shares}  {np.mean(holds) if holds else float('nan'):14.2f}", flush=True)


if __name__ == "__main__":
    main()
