"""Curation: the completions table and its settings in, preference pairs and a count per rule out.

pairs.parquet of the artifact `pairs` has one row a pair, sorted by row and then by the indices of its two completions,
columns in this order:

    prompt_id, row, source              as in the completions table (feedback/table.py)
    split                               train, validation or test
    prompt, chosen, rejected            lists of structs {role, content}, TRL's conversational format; the prompt is the
                                        user's message, after the system message where the data has one as part of a
                                        conversation, and the earlier turns
    chosen_score, rejected_score        the strategy's, in score points (Float64)
    margin                              chosen minus rejected score; negative where selection.labels exchanged the sides
    chosen_model, rejected_model        who wrote them, "" where unknown
    chosen_completion, rejected_completion   their indices within the record
    weight                              in the loss (Float64, mean 1 over the training pairs); where pairs.weight is set

Its columns stand in the order of `PAIR_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_checks import ALL_WORSE
from notus_exp.config.curation_settings import PairRule
from notus_exp.config.places import place_of
from notus_exp.contracts.curation_file import CurationCounts
from notus_exp.curation.columns import check_aspects, needed
from notus_exp.curation.counts import Counted, count, explain_no_pairs, rules_of
from notus_exp.curation.expressions import named_columns, of_pairs
from notus_exp.curation.filters import Candidates, apply_filters, leave_out_repeats
from notus_exp.curation.formulas import FormulaValues
from notus_exp.curation.labels import relabel
from notus_exp.curation.rejection import HIGHEST, Rules, choose
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import ScoreRule, formula, labelled, selected
from notus_exp.curation.split import assign, fold_of, moved_to_train
from notus_exp.curation.training_pairs import WEIGHT, beyond_most, beyond_share, weights
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import messages, prompt_columns, prompt_turns
from notus_exp.stages.settings import PairsSettings


class Curated(NamedTuple):
    """The pairs and the counts that add up (see counts.py)."""

    pairs: pl.DataFrame
    counts: CurationCounts


class Decided(NamedTuple):
    """Which pairs there are, before their texts are gathered.

    Attributes:
        table: The completions, as curation reads them.
        pairs: A row a pair, in the order of pairs.parquet: `chosen, rejected` (positions in the table) and what a pair
            has beside its texts.
        counts: The counts that add up.
    """

    table: pl.DataFrame
    pairs: pl.DataFrame
    counts: CurationCounts


class Attempt(NamedTuple):
    """What one strategy makes of the candidates.

    Attributes:
        pairs: A row a pair, and one of each prompt with a scored completion and no pair: `rejection.choose`'s columns,
            `margin` and the final `rule`.
        completions: The candidates with their `score`, null where missing.
        scored: `group` of each completion that had a score and was no repeat.
        dropped: Completions without a score, and repeated responses.
        missing: Setting of an expression -> cause -> completions that it gave no number.
    """

    pairs: pl.DataFrame
    completions: pl.DataFrame
    scored: pl.Series
    dropped: dict[str, int]
    missing: dict[str, dict[str, int]]


def curate(completions: pl.DataFrame, spec: PairsSettings, contamination: Sequence[str] = ()) -> Curated:
    """Make preference pairs, their texts included; see `decide`."""
    decided = decide(completions, spec, contamination)
    return Curated(assemble(decided.table, decided.pairs), decided.counts)


def decide(completions: pl.DataFrame, spec: PairsSettings, contamination: Sequence[str] = ()) -> Decided:
    """Decide which pairs there are.

    A prompt's pairs depend on that prompt's completions and the settings alone. Four rules look across prompts:
    `duplicate_prompts` (the row whose content has the smallest digest stays), `keep` (a share of the training pairs),
    `max_pairs` (the training pairs with the smallest draw of `split.seed`, or the largest margin) and the split of a
    table without any training prompt. `pairs.weight` is scaled by its mean over the training pairs.

    Args:
        completions: The completions table, with a column `column:NAME` of each that is joined to it. `latent_*` and
            unknown columns are not read.
        spec: The settings; `contamination_digests` is not used here, the texts come in `contamination`.
        contamination: Benchmark prompts to keep out.

    Raises:
        UserError: For settings that the table cannot serve, or when no pair is left (naming the rules).
    """
    table = completions.select(pl.col(needed(completions.columns)))
    table = table.with_columns(pl.col(pl.Float64).fill_nan(None))
    check_aspects(table.columns, spec.aspects)
    others = [labelled(name, spec.aspects) for name in spec.filters.valid_under]
    candidates = apply_filters(table, spec.filters, contamination, named_columns(spec))
    if spec.part and (moved := moved_to_train(candidates.prompts["folded_id"], spec.split)):
        raise UserError(
            f"no prompt of this round is left to train on: all {moved} that have answers are held out",
            "look at why others have none, or give more prompts, fewer rounds, or rounds.prompts=same",
        )
    attempt = attempt_pairs(candidates, selected(spec.selection, spec.aspects), spec)
    pairs = _charge(candidates, attempt, spec)
    for other in others:
        under = attempt_pairs(candidates, other, plainly(spec)).pairs.filter(pl.col("rule").is_null())
        pairs = _mark(pairs, ~pl.col("group").is_in(under["group"].implode()), "not_valid_under")
    pairs, missing = _filter_pairs(pairs, attempt, spec)
    counts = count(
        Counted(
            pairs,
            table.height,
            {**candidates.dropped, **attempt.dropped},
            attempt.scored,
            moved_to_train(candidates.prompts["folded_id"], spec.split) if (pairs["split"] == "train").all() else 0,
            {**attempt.missing, **missing},
        ),
        repair_scores(table, spec.aspects, spec.repair).counts,
        rules_of(spec.filters, spec.split),
    )
    if not counts["pairs_out"]:
        raise UserError(*explain_no_pairs(counts))
    made = pairs.filter(pl.col("rule").is_null())
    if spec.pairs.weight is not None:
        values = of_pairs("pairs.weight", spec.pairs.weight, made, attempt.completions, spec.aspects)
        made = made.with_columns(weight=weights(made, values))
    made = relabel(made, made["prompt_id"], spec.selection.labels, spec.seed)
    if spec.pairs.per_prompt != "1":
        sides = [table["completion"].gather(made[side]).alias(f"_{side}") for side in ("chosen", "rejected")]
        made = made.with_columns(sides).sort("row", "prompt_id", "_chosen", "_rejected").drop("_chosen", "_rejected")
    return Decided(table, made, counts)


def plainly(spec: PairsSettings) -> PairsSettings:
    """Return the settings under which another strategy's pairs are made: of each prompt the best, and one pair."""
    return replace(spec, pairs=PairRule(), selection=replace(spec.selection, place=HIGHEST.kind))


def attempt_pairs(
    candidates: Candidates, score: ScoreRule, spec: PairsSettings, min_margin: float | None = None
) -> Attempt:
    """Make the pairs of one strategy from the candidates.

    Args:
        candidates: What the filters left, overall scores not yet repaired.
        score: The strategy's score.
        spec: Repair, places, rejection, ties, seed and the rules on pairs that look at one strategy alone.
        min_margin: Least margin; None takes that of the settings.
    """
    repaired = repair_scores(candidates.completions, spec.aspects, spec.repair).completions
    values = score(repaired)
    missing = {} if spec.selection.score is None else {"selection.score": values.missing}
    completions = repaired.with_columns(score=values.values)
    columns = ["group", "at", "completion", "same", "score"]
    if spec.rejected.score is not None:
        order = formula(spec.rejected.score, spec.aspects, "rejected.score")(repaired)
        completions, missing = (
            completions.with_columns(order=order.values),
            {**missing, "rejected.score": order.missing},
        )
        columns.append("order")
    written = spec.selection.score is not None or spec.rejected.score is not None
    known = completions.filter(pl.col("score").is_not_null())
    scored = known.select(columns)
    kept = scored
    if spec.filters.duplicate_responses:
        kept = leave_out_repeats(known, best=True).select(columns) if written else leave_out_repeats(scored)
    several = spec.pairs.per_prompt
    rules = Rules(
        spec.selection.ties,
        spec.rejected,
        spec.seed,
        place_of(spec.selection.place, "selection.place"),
        spec.filters.identical_pairs,
        None if several == ALL_WORSE else int(several),
    )
    pairs = choose(kept, candidates.texts, rules)
    pairs = pairs.with_columns(margin=pl.col("chosen_score") - pl.col("rejected_score"))
    if spec.filters.identical_pairs:
        pairs = _mark(pairs, pl.col("chosen_same") == pl.col("rejected_same"), "identical_pair")
    least = spec.filters.min_margin if min_margin is None else min_margin
    pairs = _mark(pairs, pl.col("margin").abs() < least, "below_min_margin")
    dropped = {"no_score": repaired.height - scored.height, "duplicate_response": scored.height - kept.height}
    return Attempt(pairs, completions, kept["group"], dropped, missing)


def _charge(candidates: Candidates, attempt: Attempt, spec: PairsSettings) -> pl.DataFrame:
    """Return each pair, and each prompt without one, with its split, a `number` and the rule that took it."""
    prompts = candidates.prompts.with_columns(split=assign(candidates.prompts["folded_id"], spec.split))
    pairs = prompts.join(
        attempt.pairs.rename({"rule": "pair_rule"}), on="group", how="left", maintain_order="left_right"
    )
    unscored = pl.when(pl.col("chosen").is_null()).then(pl.lit("fewer_than_two_scored"))
    pairs = pairs.with_columns(rule=pl.coalesce("rule", "pair_rule", unscored)).drop("pair_rule")
    return pairs.with_row_index("number")


def _mark(pairs: pl.DataFrame, taken: pl.Expr, rule: str) -> pl.DataFrame:
    """Charge the pairs that no earlier rule took to this one."""
    free = pl.col("rule").is_null() & taken.fill_null(False)
    return pairs.with_columns(rule=pl.when(free).then(pl.lit(rule)).otherwise("rule"))


def _filter_pairs(
    pairs: pl.DataFrame, attempt: Attempt, spec: PairsSettings
) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Leave out training pairs of other folds, pairs by a condition, training pairs by a share and a number.

    Returns:
        The pairs, and which values of expressions are missing.
    """
    filters, seed = spec.filters, spec.split.seed
    missing: dict[str, dict[str, int]] = {}

    def values(key: str, text: str, free: pl.DataFrame) -> FormulaValues:
        found = of_pairs(key, text, free, attempt.completions, spec.aspects)
        missing[key] = found.missing
        return found

    def left() -> pl.DataFrame:
        return pairs.filter(pl.col("rule").is_null())

    def taken(numbers: pl.Series) -> pl.Expr:
        return pl.col("number").is_in(numbers.implode())

    if spec.split.fold is not None:
        own = fold_of(pairs["folded_id"], spec.split) == spec.split.fold
        pairs = _mark(pairs, (pl.col("split") == "train") & ~pl.lit(own), "other_fold")
    if filters.where is not None:
        free = left()
        holds = values("filters.where", filters.where, free).values
        pairs = _mark(pairs, taken(free["number"].filter(holds.is_null())), "where_missing")
        pairs = _mark(pairs, taken(free["number"].filter(~holds)), "where_false")
    if filters.keep.by is not None:
        free = left()
        beyond = beyond_share(free, values("filters.keep.by", filters.keep.by, free), filters.keep, seed)
        pairs = _mark(pairs, taken(beyond), "not_kept")
    if filters.max_pairs is not None:
        pairs = _mark(
            pairs, taken(beyond_most(left(), filters.max_pairs, filters.max_pairs_by, seed)), "above_max_pairs"
        )
    return pairs, missing


def described(table: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return pairs as `assemble` does, with the lengths of their responses in characters in place of all texts."""
    columns = {
        f"{side}_{name}": table[name].gather(pairs[side])
        for name in ("model", "completion")
        for side in ("chosen", "rejected")
    }
    chars = table["response"].str.len_chars()
    lengths = {f"{side}_chars": chars.gather(pairs[side]) for side in ("chosen", "rejected")}
    texts = ("prompt", "chosen", "rejected")
    kept = [name for name in pair_columns(pairs) if name not in texts]
    return pairs.with_columns(**columns).select(kept).with_columns(**lengths)


def assemble(table: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Gather texts, models and indices of the chosen and rejected completions."""
    both = ["response", "model", "completion"]
    chosen = table.select(pl.col(*both, *prompt_columns(table.columns)).gather(pairs["chosen"]))
    rejected = table.select(pl.col(both).gather(pairs["rejected"]))
    columns: Mapping[str, pl.Series] = {
        "prompt": prompt_turns(chosen),
        "chosen": messages("assistant", chosen["response"]),
        "rejected": messages("assistant", rejected["response"]),
        "chosen_model": chosen["model"],
        "rejected_model": rejected["model"],
        "chosen_completion": chosen["completion"],
        "rejected_completion": rejected["completion"],
    }
    return pairs.with_columns(**columns).select(*pair_columns(pairs))


def pair_columns(pairs: pl.DataFrame) -> list[str]:
    """Return the columns of pairs.parquet, behind them the weight where `pairs.weight` is set."""
    return [*PAIR_COLUMNS, *([WEIGHT] if WEIGHT in pairs.columns else [])]


PAIR_COLUMNS = ["prompt_id", "row", "split", "source", "prompt", "chosen", "rejected", "chosen_score",
                "rejected_score", "margin", "chosen_model", "rejected_model", "chosen_completion",
                "rejected_completion"]  # fmt: skip
