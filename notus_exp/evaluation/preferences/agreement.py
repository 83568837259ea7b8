"""Does the policy's implicit reward order the completions of a prompt as each labelling does?

Every completion of the scored prompts has a log-prob under the policy and under the reference, which is the base model.
The implicit reward of DPO is

    r(x, y) = beta * (log pi(y | x) - log pi_ref(y | x))        (Rafailov et al. 2023, "Direct Preference Optimization")

and a labelling (the average rating, the critique score as the data has it or after the published repair, one aspect,
and on simulated data the true quality) says which of two completions is better. No labelling depends on how the
policy's own pairs were curated: all arms of a study are measured by the same labels. A unit is a record, (prompt_id,
row): completions of one record were rated together. Its
measures, over its pairs of completions that the labelling orders strictly:

    accuracy             share of the pairs whose better completion has the higher reward; an equal reward counts half
    margin               mean of r(better) - r(worse), in reward units (beta times nats)
    correlation          Kendall's tau-b of reward and score over the record's completions
    likelihood_accuracy  the accuracy of log pi(y | x) / tokens in the reward's place

The base model's reward is 0 everywhere, so its accuracy is 0.5 and its margin 0 by construction. That is why an equal
reward counts half: under a strict comparison the base would score 0, and any policy, a random one too, would seem to
beat it. In likelihood_accuracy the base is a competitor of its own, with log pi_ref / tokens.

The labelling "agreed" takes the pairs that all labellings but the true quality and the repaired critique order strictly
and alike. The repaired critique has no vote because it is the critique once more: wherever it differs, at a wrong 10,
the pair would only be lost, and which pairs are agreed on would hang on the thresholds of a repair.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_settings import Ambiguous, Repair
from notus_exp.curation.columns import OVERALL, mean_rating
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import AVERAGE, CRITIQUE, labelling_scores
from notus_exp.errors import UserError
from notus_exp.evaluation.preferences.spec import AGREED, CRITIQUE_REPAIRED, LATENT, SPEC
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference

PUBLISHED_REPAIR = Repair(name="openbmb", low_mean=2.0, high_mean=4.0, ambiguous=Ambiguous.drop)
"""OpenBMB's repair as conf/repair/openbmb.yaml has it; an ambiguous 10 gives no label."""
_NO_VOTE = (LATENT, CRITIQUE_REPAIRED)

_RECORD = ["prompt_id", "row"]
_COMPLETION = [*_RECORD, "completion"]
_METRICS = {metric.name: metric for metric in SPEC.metrics}


class Agreement(NamedTuple):
    """Measures of every record.

    Attributes:
        records: A row per (prompt_id, row) with `completions` (how many were scored) and for each labelling L:
            `pairs/L` (strictly ordered pairs) and the measures `accuracy/L`, `margin/L`, `likelihood_accuracy/L`, with
            prefix `base/` for the base, and `correlation/L` (not for "agreed" nor the base). Null: not defined there.
        labellings: Those that the data has, "agreed" last, where there are at least two to agree.
    """

    records: pl.DataFrame
    labellings: list[str]


def agree(likelihoods: pl.DataFrame, completions: pl.DataFrame, *, aspects: list[str], beta: float) -> Agreement:
    """Measure the policy and the base on every record of `likelihoods`.

    Args:
        likelihoods: `prompt_id, row, completion, logp, ref_logp` (nats), `tokens` of the scored completions.
        completions: The feedback table, which holds at least those completions.
        aspects: Ratings that are labellings of their own and make up the average.
        beta: Strength of the pull to the reference that the policy was trained with.

    Raises:
        UserError: A log-prob is not finite, or an aspect has the name of a labelling.
    """
    _check(likelihoods, aspects)
    scored = completions.join(likelihoods.select(_COMPLETION), on=_COMPLETION, how="semi")
    scores = _scores(scored, aspects)
    present = [name for name in scores.columns[len(_COMPLETION) :] if scores[name].null_count() < scores.height]
    signals = _signals(likelihoods, beta)
    table = signals.join(scores.select(*_COMPLETION, *present), on=_COMPLETION, how="inner", validate="1:1")
    if table.height != likelihoods.height:
        raise ValueError("likelihoods and feedback come from different data: not every scored completion is there")
    return measure(table, present)


def measure(table: pl.DataFrame, scored_by: list[str]) -> Agreement:
    """Reduce completions to records.

    Args:
        table: `prompt_id, row, completion`, the signals `reward`, `base_reward`, `likelihood`, `base_likelihood`, and
            one Float64 column per labelling, null where it gives no score.
        scored_by: The labellings' columns.
    """
    pairs, names = _ordered_pairs(table, scored_by)
    by_record = pairs.group_by(_RECORD).agg(expr for name in names for expr in _measures(name))
    counts = table.group_by(_RECORD).agg(completions=pl.len())
    return Agreement(counts.join(by_record, on=_RECORD, how="left").sort(_RECORD), names)


def estimates(agreement: Agreement) -> dict[str, Estimate]:
    """Return the mean of each measure over the records, clustered by prompt.

    Names: `preferences/<measure>/<labelling>` for the policy, the same after `base/` for the base and after
    `difference/` for policy minus base on the same records. What the base has by construction has no uncertainty.
    """
    records = agreement.records
    columns = [f"{measured}{name}" for measured in _METRICS for name in agreement.labellings]
    found: dict[str, Estimate] = {}
    for column in columns:
        if column in records.columns:
            found |= _column_estimates(records, column)
    return found


def left_out(agreement: Agreement) -> dict[str, int]:
    """Count records without a measure: fewer than two completions, nothing ordered, or a rank without variation."""
    records = agreement.records
    counts = {
        "preference_records": records.height,
        "records_without_a_pair": int((records["completions"] < 2).sum()),
    }
    for name in agreement.labellings:
        counts[f"records_unordered/{name}"] = int((records[f"pairs/{name}"].fill_null(0) == 0).sum())
        if name != AGREED:
            counts[f"records_without_correlation/{name}"] = records[f"correlation/{name}"].null_count()
    return counts


def _check(likelihoods: pl.DataFrame, aspects: list[str]) -> None:
    for name in (LATENT, AGREED, CRITIQUE_REPAIRED):
        if name in aspects:
            raise UserError(
                f"data.aspects: '{name}' is the name of a labelling of its own", "rename that rating column in the data"
            )
    finite = pl.col("logp").is_finite() & pl.col("ref_logp").is_finite()
    broken = likelihoods.filter(~finite.fill_null(False))
    if broken.height:
        raise UserError(
            f"{broken.height} of {likelihoods.height} log-probs of scored completions are not finite "
            f"(the first: prompt {broken['prompt_id'][0]}, completion {broken['completion'][0]})",
            "the training has probably diverged: lower dpo.learning_rate or set dpo.precision=float32",
        )


def _scores(scored: pl.DataFrame, aspects: list[str]) -> pl.DataFrame:
    """Return the completions' scores under every labelling, a column each; all null where the data cannot tell."""
    scores = labelling_scores(scored, aspects)
    rated = scored.select(mean_rating(aspects).is_not_null().any()).item()
    repaired = repair_scores(scored, aspects, PUBLISHED_REPAIR).completions[OVERALL].fill_nan(None)
    silent = pl.lit(None, pl.Float64)  # without any rating a repair could only guess
    scores = scores.with_columns((repaired if rated else silent).alias(CRITIQUE_REPAIRED))
    if "latent_quality" in scored.columns:
        scores = scores.with_columns(scored["latent_quality"].alias(LATENT))
    latent = [LATENT] if LATENT in scores.columns else []
    return scores.select(*_COMPLETION, CRITIQUE, CRITIQUE_REPAIRED, AVERAGE, *aspects, *latent)


def _signals(likelihoods: pl.DataFrame, beta: float) -> pl.DataFrame:
    per_token = pl.when(pl.col("tokens") > 0).then(1.0 / pl.col("tokens"))
    return likelihoods.select(
        *_COMPLETION,
        reward=beta * (pl.col("logp") - pl.col("ref_logp")),
        base_reward=pl.lit(0.0),
        likelihood=pl.col("logp") * per_token,
        base_likelihood=pl.col("ref_logp") * per_token,
    )


def _ordered_pairs(table: pl.DataFrame, scored_by: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Return each unordered pair of a record's completions once, and the names of its orders.

    Columns: the signals' differences, first minus second completion, and for each labelling its order: 1 where the
    first is better, -1 where the second is, 0 for a tie, null where a score is missing (for "agreed": or no agreement).
    """
    signals = ["reward", "base_reward", "likelihood", "base_likelihood"]
    pairs = (
        table.lazy()
        .join(table.lazy(), on=_RECORD, how="inner", suffix="_second")
        .filter(pl.col("completion") < pl.col("completion_second"))
        .select(
            *_RECORD,
            *[pl.col(name) - pl.col(f"{name}_second") for name in signals],
            *[(pl.col(name) - pl.col(f"{name}_second")).sign().alias(f"order/{name}") for name in scored_by],
        )
    )
    judges = [name for name in scored_by if name not in _NO_VOTE]
    if len(judges) < 2:
        return pairs.collect(), scored_by
    first = pl.col(f"order/{judges[0]}")
    alike = pl.all_horizontal((pl.col(f"order/{name}") == first).fill_null(False) for name in judges) & (first != 0)
    return pairs.with_columns(pl.when(alike).then(first).alias(f"order/{AGREED}")).collect(), [*scored_by, AGREED]


def _measures(name: str) -> list[pl.Expr]:
    order = pl.col(f"order/{name}")
    strict = order != 0

    def accuracy(signal: str) -> pl.Expr:
        return ((order * pl.col(signal).sign() + 1) / 2).filter(strict).mean()

    def margin(signal: str) -> pl.Expr:
        return (order * pl.col(signal)).filter(strict).mean()

    found = [
        strict.sum().cast(pl.Int64).alias(f"pairs/{name}"),
        accuracy("reward").alias(f"accuracy/{name}"),
        accuracy("base_reward").alias(f"base/accuracy/{name}"),
        margin("reward").alias(f"margin/{name}"),
        margin("base_reward").alias(f"base/margin/{name}"),
        accuracy("likelihood").alias(f"likelihood_accuracy/{name}"),
        accuracy("base_likelihood").alias(f"base/likelihood_accuracy/{name}"),
    ]
    return found if name == AGREED else [*found, _tau(order).alias(f"correlation/{name}")]


def _tau(order: pl.Expr) -> pl.Expr:
    """Return Kendall's tau-b of reward and score from the pairs: concordant minus discordant over sqrt(n_s * n_r).

    n_s and n_r count the pairs not tied in the score and in the reward (Kendall 1945, Biometrika 33(3)); null where
    either is 0, that is where the score or the reward does not vary.
    """
    reward = pl.col("reward").sign().filter(order.is_not_null())
    product = (order * pl.col("reward").sign()).sum()
    untied = (order != 0).sum() * (reward != 0).sum()
    return pl.when(untied > 0).then(product / untied.sqrt())


def _column_estimates(records: pl.DataFrame, column: str) -> dict[str, Estimate]:
    """Return the estimates of one measure under one labelling: the policy's and, where it has them, the base's."""
    prompts, values = records["prompt_id"].to_list(), records[column].to_list()
    measured = column.split("/")[0]
    metric = _METRICS[f"{measured}/"]
    known = metric.by_construction
    policy = mean_estimate(values, clusters=prompts, span=metric.span)
    if f"base/{column}" not in records.columns:
        return {f"preferences/{column}": policy}
    base_values = records[f"base/{column}"].to_list()
    base = mean_estimate(base_values, clusters=prompts, span=metric.span)
    if known is not None and base.n:
        base = Estimate(known, known, known, base.n)
    reach = metric.difference_span(base=True)
    return {
        f"preferences/{column}": policy,
        f"base/preferences/{column}": base,
        f"difference/preferences/{column}": paired_difference(values, base_values, clusters=prompts, span=reach),
    }
