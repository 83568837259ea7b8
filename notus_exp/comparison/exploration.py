"""What else the runs show, all of it exploratory: single factors of a grid, head-to-head strengths, labellings."""

from __future__ import annotations

import numpy as np

from notus_exp.comparison.aligned import Measured
from notus_exp.comparison.contrasts import estimate_of
from notus_exp.comparison.request import Request
from notus_exp.contracts.comparison_file import EffectRow, LabellingMatrix, StrengthRow, StrengthsTable
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.errors import UserError
from notus_exp.inference.bradley_terry import fit_strengths
from notus_exp.inference.factorial import Effect, effects
from notus_exp.inference.games import PairedGames, games_of_values

LABELLED = "preferences/accuracy/"
"""What the metrics of the accuracy by labelling begin with."""


def factor_effects(asked: Request, measured: Measured) -> tuple[list[EffectRow], list[str]]:
    """Return the main effects and interactions of a grid in the primary metric, or why there are none."""
    if asked.study["kind"] != "grid" or not measured.metrics():
        return [], []
    seeds = measured.seeds(asked.metric, *asked.runs)
    if not seeds:
        return [], ["no seed is finished in every arm of the grid, so it has no main effects and interactions"]
    tables = {arm: measured.table(asked.metric, arm, seeds) for arm in asked.runs}
    levels = {arm: asked.study["arms"][arm]["levels"] for arm in asked.runs}
    try:
        found = effects(tables, levels, levels[asked.baseline])
    except UserError as error:
        return [], [f"no main effects and interactions: {error.message}"]
    return [_effect_row(asked.metric, effect) for effect in found], []


def _effect_row(metric: str, effect: Effect) -> EffectRow:
    estimate = effect.estimate
    return {
        "metric": metric,
        "kind": effect.kind,
        "factors": list(effect.factors),
        "levels": list(effect.levels),
        "reference": list(effect.reference),
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "seed_share": estimate.seed_share,
        "prompts": estimate.prompts,
        "seeds": estimate.seeds,
        "left_out": estimate.left_out,
    }


def strengths(asked: Request, measured: Measured) -> StrengthsTable | None:
    """Return Bradley-Terry strengths of the arms; without strengths where they cannot be fitted, with the reason."""
    if len(asked.runs) < 2 or not measured.metrics():
        return None
    games = _games(asked, measured)
    note = (
        f"Exploratory. A game is one prompt under one seed, played by two arms; the higher {asked.metric} wins, an"
        " equal one is a tie, half a win each. Errors are clustered by prompt and do not cover seed variance."
    )
    try:
        found = fit_strengths(games, asked.baseline)
    except UserError as error:
        return {
            "metric": asked.metric,
            "strengths": [],
            "games": games.total,
            "ties": games.ties,
            "note": error.message,
        }
    rows: list[StrengthRow] = [
        {"name": one.name, "value": one.value, "low": one.low, "high": one.high} for one in found.strengths
    ]
    return {"metric": asked.metric, "strengths": rows, "games": found.games, "ties": found.ties, "note": note}


def _games(asked: Request, measured: Measured) -> PairedGames:
    """Let each two arms play on every prompt and common seed."""
    metric = asked.metric
    own = {arm: measured.seeds(metric, arm) for arm in asked.runs}
    seeds = sorted({seed for found in own.values() for seed in found})
    values = np.full((len(own), len(seeds), len(measured.prompts(metric))), np.nan)
    for place, (arm, found) in enumerate(own.items()):
        values[place, [seeds.index(seed) for seed in found]] = measured.table(metric, arm, found)
    return games_of_values(list(own), values)


def trained_by_evaluated(measured: Measured) -> LabellingMatrix | None:
    """Return the accuracy of each arm's implicit reward under each labelling."""
    columns = [name for name in measured.metrics() if name.startswith(LABELLED)]
    if not columns:
        return None
    cells: list[list[MeasuredValue]] = []
    for arm in measured.runs:
        tables = [measured.table(name, arm, measured.seeds(name, arm)) for name in columns]
        found = [estimate_of(table, span=(0.0, 1.0)) for table in tables]
        cells.append([{"value": cell.value, "low": cell.low, "high": cell.high} for cell in found])
    return {
        "rows": list(measured.runs),
        "columns": [name.removeprefix(LABELLED) for name in columns],
        "cells": cells,
    }
