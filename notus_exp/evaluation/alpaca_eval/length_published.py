"""AlpacaEval's length-controlled win rate, by its published procedure (Dubois et al. 2024, arXiv:2404.04475).

Beside the model's verdicts stand those on the gamed baseline: verbose and concise answers of the baseline model against
its own. They have no intercept, since they are of the same model, and so pin what length and difficulty are worth.
Each row comes twice, won with weight y and lost with weight 1 - y, times 1 for the model's rows and 0.2 / 2 for the two
gamed sets. An L1-penalised logistic regression (liblinear) is fitted, its penalty chosen by 5-fold cross-validation,
both copies of a row in one fold, scored by the weighted log loss. It predicts at equal length, over all prompts of the
model.

Two things differ: difficulty is joined by the prompt (AlpacaEval joins it by the row's position, which is wrong where
rows are missing), and the interval is a bootstrap over prompts of the refit (AlpacaEval's standard error leaves the
coefficients' uncertainty out) at the weakest of the ten penalties. A penalty draws all resamples towards 50 %; where
the strongest is chosen all are 50 %. In 36 simulated studies of 60 prompts the interval of refits at the chosen penalty
left out the truth 10 times, at the weakest 4 times, and with the penalty chosen anew in each resample, at 60 times the
cost, 5 times; of 120 prompts the weakest left it out once in 48 studies, and on 805 prompts all are alike. The interval
is widened to hold the estimate, which the penalty may draw out of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.length_control import (
    PUBLISHED,
    RESAMPLES,
    Floats,
    LengthControlled,
    Weights,
    control_rows,
    length_feature,
    nothing,
    percentiles,
    predict_length_controlled,
    spread,
)
from notus_exp.inference.estimates import Estimate
from notus_exp.reporting.texts import many

GAMED_SETS = 2
"""Gamed sets that the procedure has: a verbose and a concise one."""

_GAMED_WEIGHT = 0.2 / GAMED_SETS
_HOW: dict[str, Any] = {"l1_ratio": 1, "solver": "liblinear", "fit_intercept": False, "random_state": 123}
_FOLDS = 5
_PENALTIES = np.logspace(-4, 4, 10)
"""Values of C, which is the inverse of the penalty, as scikit-learn's `Cs=10` has them."""


def length_controlled(
    table: pl.DataFrame,
    difficulty: pl.DataFrame,
    gamed: pl.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LengthControlled:
    """Fit AlpacaEval's length-controlled win rate.

    Args:
        table: One row a prompt: `prompt_id, preference` and the texts `reference, model`.
        difficulty: `prompt_id, difficulty`, of the model's and the gamed rows' prompts.
        gamed: Of the gamed baseline, two rows a prompt: `prompt_id, points` (share of a win in [0, 1], null where there
            is no verdict) and `std_delta_len` (characters of the reference less the gamed answer, by their standard
            deviation), as `gamed_rows.read_gamed` returns them.
        resamples: Bootstrap resamples.
        seed: Of the resampling.

    Raises:
        UserError: A prompt of the model has no gamed rows, or a gamed row no difficulty: they are of other prompts.
    """
    rows = control_rows(table, difficulty)
    pinned = _pinned(gamed, difficulty, rows.prompts)
    judged = ~np.isnan(rows.points)
    if not judged.any():
        return nothing(PUBLISHED, 0, rows.left_out, separated=False)
    prompts = sorted({*pinned["prompt_id"], *rows.prompts})
    place = {prompt: number for number, prompt in enumerate(prompts)}
    owner = np.array([place[prompt] for prompt in [*pinned["prompt_id"], *rows.prompts]])
    y = np.concatenate([pinned["points"].to_numpy(), rows.points])
    weight = np.concatenate([np.full(pinned.height, _GAMED_WEIGHT), np.ones(judged.size)])
    used = ~np.isnan(y)

    def design(counts: Floats) -> Floats:
        # the gamed rows first, and lengths as AlpacaEval counts them: the reference's less the model's
        lengths = -length_feature(rows.dlen, spread(rows.dlen, counts[owner[pinned.height :]]))
        own = np.column_stack([lengths, rows.difficulty, np.ones_like(lengths)])
        theirs = (np.tanh(pinned["std_delta_len"].to_numpy()), pinned["difficulty"].to_numpy(), np.zeros(pinned.height))
        return np.concatenate([np.column_stack(theirs), own])

    once = np.ones(len(prompts))
    weights = _named(_cross_validated(design(once)[used], y[used], weight[used]))
    rng, rates = np.random.default_rng(seed), []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(len(prompts), size=len(prompts)), minlength=len(prompts)).astype(np.float64)
        drawn = _named(_fit(design(counts)[used], y[used], (weight * counts[owner])[used]))
        own = counts[owner[pinned.height :]]
        if own.sum():
            rates.append(float(100 * own @ expit(drawn.psi * rows.difficulty + drawn.b) / own.sum()))
    low, high, error = percentiles(np.array(rates), resamples)
    rate = predict_length_controlled(weights, rows.difficulty)
    estimate = Estimate(rate, min(low, rate), max(high, rate), int(judged.sum()))
    return LengthControlled(
        PUBLISHED, estimate, error, weights, False, None, *rows.left_out, resamples, resamples - len(rates)
    )


def _pinned(gamed: pl.DataFrame, difficulty: pl.DataFrame, prompts: list[str]) -> pl.DataFrame:
    """Return the gamed rows with their difficulty, in their order."""
    known = gamed.select("prompt_id", pl.col("points").cast(pl.Float64).fill_null(float("nan")), "std_delta_len").join(
        difficulty.select("prompt_id", "difficulty"), on="prompt_id", how="left", maintain_order="left"
    )
    finite = pl.all_horizontal(pl.col("difficulty", "std_delta_len").is_finite().fill_null(value=False))
    lost = known.filter(~finite)
    if lost.height:
        raise UserError(
            f"--gamed: prompt {lost['prompt_id'][0]} has no difficulty or no length ({lost.height} such rows)",
            "give the difficulties and the answers of all prompts of the gamed baseline",
        )
    foreign = sorted({*prompts} - {*known["prompt_id"]})
    if foreign:
        raise UserError(
            f"--gamed: {many(len(foreign), 'prompt has', 'prompts have')} no verdicts on the gamed "
            f"baseline, such as {foreign[0]}",
            "give the gamed rows of the set of prompts that the model answered",
        )
    return known


def _doubled(y: Floats, weight: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return labels, shares and weights of the rows taken twice: won with the share y, lost with 1 - y."""
    labels = np.repeat([1, 0], y.size)
    return labels, np.concatenate([y, 1 - y]), np.concatenate([weight, weight])


def _fit(design: Floats, y: Floats, weight: Floats) -> Floats:
    """Return the coefficients at the weakest penalty."""
    from sklearn.linear_model import LogisticRegression  # a second, which only this procedure needs

    labels, shares, times = _doubled(y, weight)
    model = LogisticRegression(C=_PENALTIES[-1], **_HOW)
    fitted: Floats = model.fit(np.tile(design, (2, 1)), labels, sample_weight=shares * times).coef_[0]
    return fitted


def _cross_validated(design: Floats, y: Floats, weight: Floats) -> Floats:
    """Return the coefficients at the best of the ten penalties."""
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    labels, shares, times = _doubled(y, weight)
    how = {key: value for key, value in _HOW.items() if key != "l1_ratio"}
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(_log_likelihood, response_method="predict_proba")
        model = LogisticRegressionCV(
            Cs=_PENALTIES,
            cv=GroupKFold(_FOLDS),
            scoring=scorer.set_score_request(share=True, times=True),
            l1_ratios=(1,),
            use_legacy_attributes=False,
            **how,
        ).set_fit_request(sample_weight=True)
        model.fit(
            np.tile(design, (2, 1)),
            labels,
            sample_weight=shares * times,
            groups=np.tile(np.arange(y.size), 2),
            share=shares,
            times=times,
        )
    coefficients: Floats = model.coef_[0]
    return coefficients


def _log_likelihood(y_true: NDArray[np.int64], y_pred: Floats, share: Floats, times: Floats) -> float:
    """Return the mean weighted log-likelihood of shares of wins, of rows that come twice."""
    y = np.where(y_true == 1, share, 1 - share)
    kept = np.clip(y_pred, 1e-15, 1 - 1e-15)
    return float(np.mean(times * (y * np.log(kept) + (1 - y) * np.log(1 - kept))))


def _named(coefficients: Floats) -> Weights:
    theta, psi, b = (float(one) for one in coefficients)
    return Weights(-theta, psi, b)
