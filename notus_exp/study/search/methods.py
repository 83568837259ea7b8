"""Optuna's samplers and pruners as the config names them."""

from __future__ import annotations

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from notus_exp.config.study_settings import Search

REDUCTION = 3
"""Of ASHA and Hyperband: one in so many trials goes on to the next rung (eta of Li et al. 2018, arXiv 1810.05934)."""


def make_sampler(search: Search, asked: int) -> BaseSampler:
    """Return the sampler for the next trial.

    Args:
        search: Names the sampler and its seed.
        asked: How many trials there are already: it moves the seed, so that a search that is taken up again, or that
            several processes work on, does not draw the same random start twice.
    """
    seed = int(np.random.SeedSequence([search.seed, asked]).generate_state(1)[0])
    if search.sampler == "tpe":
        return TPESampler(seed=seed)
    return RandomSampler(seed=seed)  # a grid's values are fixed in advance, so nothing is drawn for it


def make_pruner(search: Search, evaluations: int) -> BasePruner:
    """Return the pruner. Its resource is a number of evaluations during the training, counted from 1.

    Args:
        search: Names it.
        evaluations: How many evaluations a training has.
    """
    if search.pruner == "median":
        return MedianPruner()
    if search.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(evaluations, 1), reduction_factor=REDUCTION)
    return NopPruner()
