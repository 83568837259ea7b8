"""Curation: the completions table and its settings in, preference pairs and a count per rule out.

pairs.parquet of the artifact `pairs` has one row a pair, sorted by row, columns in this order:

    prompt_id, row, source              as in the completions table (feedback/table.py)
    split                               train, validation or test
    prompt, chosen, rejected            lists of structs {role, content}, TRL's conversational format; the prompt is the
                                        user's message, after the system message where the data has one as part of a
                                        conversation, and the earlier turns
    chosen_score, rejected_score        the strategy's, in score points (Float64)
    margin                              chosen minus rejected score; negative where selection.labels exchanged the sides
    chosen_model, rejected_model        who wrote them, "" where unknown
    chosen_completion, rejected_completion   their indices within the record

Its columns stand in the order of `PAIR_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from notus_exp.config.curation_settings import PairChoice
from notus_exp.contracts.curation_file import CurationCounts
from notus_exp.curation.columns import check_aspects, needed
from notus_exp.curation.counts import Counted, count, explain_no_pairs
from notus_exp.curation.expressions import named_columns
from notus_exp.curation.filters import Candidates, apply_filters, leave_out_repeats
from notus_exp.curation.labels import relabel
from notus_exp.curation.rejection import choose
from notus_exp.curation.repair import repair_scores
from notus_exp.curation.scores import Score, labelled, selected
from notus_exp.curation.split import assign, moved_to_train
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import messages, prompt_columns, prompt_turns
from notus_exp.stages.settings import PairsSettings


class Curated(NamedTuple):
    """The pairs and the counts that add up (see counts.py)."""

    pairs: pl.DataFrame
    counts: CurationCounts


class Attempt(NamedTuple):
    """What one strategy makes of the candidates.

    Attributes:
        prompts: One row a prompt with a scored completion: `rejection.choose`'s columns, `margin` and the final `rule`.
        scored: `group` of each completion that had a score and was no repeat.
        dropped: Completions without a score, and repeated responses.
        missing: Completions without a score by the cause of it.
    """

    prompts: pl.DataFrame
    scored: pl.Series
    dropped: dict[str, int]
    missing: dict[str, int]


def curate(completions: pl.DataFrame, spec: PairsSettings, contamination: Sequence[str] = ()) -> Curated:
    """Make preference pairs.

    A prompt's pair depends on that prompt's completions and the settings alone. Three rules look across prompts:
    `duplicate_prompts` (the row whose content has the smallest digest stays), `max_pairs` (the training prompts with
    the smallest draw of `split.seed`, or the largest margin) and the split of a table without any training prompt.

    Args:
        completions: The completions table. `latent_*` and unknown columns are not read.
        spec: The settings; `contamination_digests` is not used here, the texts come in `contamination`.
        contamination: Benchmark prompts to keep out.

    Raises:
        UserError: For settings that the table cannot serve, or when no pair is left (naming the rules).
    """
    table = completions.select(pl.col(needed(completions.columns)))
    table = table.with_columns(pl.col(pl.Float64).fill_nan(None))
    check_aspects(table.columns, spec.aspects)
    score = selected(spec.selection, spec.aspects)
    others = [labelled(name, spec.aspects) for name in spec.filters.valid_under]
    candidates = apply_filters(table, spec.filters, contamination, named_columns(spec))
    attempt = attempt_pairs(candidates, score, spec)
    prompts = _charge(candidates, attempt, spec)
    for other in others:
        pairs = attempt_pairs(candidates, other, spec).prompts.filter(pl.col("rule").is_null())
        prompts = _mark(prompts, ~pl.col("group").is_in(pairs["group"].implode()), "not_valid_under")
    if spec.filters.max_pairs is not None:
        prompts = _cap(prompts, spec.filters.max_pairs, spec.filters.max_pairs_by, spec.split.seed)
    counts = count(
        Counted(
            prompts,
            table.height,
            {**candidates.dropped, **attempt.dropped},
            attempt.scored,
            moved_to_train(prompts["folded_id"], spec.split) if (prompts["split"] == "train").all() else 0,
            attempt.missing if spec.selection.score is not None else None,
        ),
        repair_scores(table, spec.aspects, spec.repair).counts,
    )
    if not counts["pairs_out"]:
        raise UserError(*explain_no_pairs(counts))
    pairs = prompts.filter(pl.col("rule").is_null())
    pairs = relabel(pairs, pairs["prompt_id"], spec.selection.labels, spec.seed)
    return Curated(_assemble(table, pairs), counts)


def attempt_pairs(
    candidates: Candidates, score: Score, spec: PairsSettings, min_margin: float | None = None
) -> Attempt:
    """Make the pairs of one strategy from the candidates.

    Args:
        candidates: What the filters left, overall scores not yet repaired.
        score: The strategy's score.
        spec: Repair, rejection, ties, seed and the rules on pairs.
        min_margin: Least margin; None takes that of the settings.
    """
    repaired = repair_scores(candidates.completions, spec.aspects, spec.repair).completions
    values = score(repaired)
    scored = repaired.select("group", "at", "completion", "same", score=values.values)
    scored = scored.filter(pl.col("score").is_not_null())
    kept = leave_out_repeats(scored) if spec.filters.duplicate_responses else scored
    another = spec.filters.identical_pairs
    chosen = choose(kept, candidates.texts, spec.selection.ties, spec.rejected, spec.seed, another_text=another)
    chosen = chosen.with_columns(margin=pl.col("chosen_score") - pl.col("rejected_score"))
    if spec.filters.identical_pairs:
        chosen = _mark(chosen, pl.col("chosen_same") == pl.col("rejected_same"), "identical_pair")
    least = spec.filters.min_margin if min_margin is None else min_margin
    chosen = _mark(chosen, pl.col("margin") < least, "below_min_margin")
    dropped = {"no_score": repaired.height - scored.height, "duplicate_response": scored.height - kept.height}
    return Attempt(chosen, kept["group"], dropped, values.missing)


def _charge(candidates: Candidates, attempt: Attempt, spec: PairsSettings) -> pl.DataFrame:
    """Return every prompt of the table with its split, its pair if it has one, and the rule that took it if not."""
    prompts = candidates.prompts.with_columns(split=assign(candidates.prompts["folded_id"], spec.split))
    prompts = prompts.join(attempt.prompts.rename({"rule": "pair_rule"}), on="group", how="left", maintain_order="left")
    unscored = pl.when(pl.col("chosen").is_null()).then(pl.lit("fewer_than_two_scored"))
    return prompts.with_columns(rule=pl.coalesce("rule", "pair_rule", unscored)).drop("pair_rule")


def _mark(prompts: pl.DataFrame, taken: pl.Expr, rule: str) -> pl.DataFrame:
    """Charge the prompts that no earlier rule took to this one."""
    free = pl.col("rule").is_null() & taken.fill_null(False)
    return prompts.with_columns(rule=pl.when(free).then(pl.lit(rule)).otherwise("rule"))


def _cap(prompts: pl.DataFrame, most: int, by: PairChoice, seed: int) -> pl.DataFrame:
    """Leave out training pairs beyond `most`."""
    train = prompts.filter(pl.col("rule").is_null() & (pl.col("split") == "train"))
    train = train.with_columns(draw=pl.Series(uniform(train["prompt_id"], seed, "max_pairs"), dtype=pl.Float64))
    first = [-pl.col("margin")] if by is PairChoice.largest_margin else []
    train = train.sort(*first, "draw", "row", "prompt_id")
    return _mark(prompts, pl.col("group").is_in(train["group"].slice(most).implode()), "above_max_pairs")


def _assemble(table: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Gather texts, models and indices of the chosen and rejected completions."""
    both = ["response", "model", "completion"]
    chosen = table.select(pl.col(*both, *prompt_columns(table.columns)).gather(prompts["chosen"]))
    rejected = table.select(pl.col(both).gather(prompts["rejected"]))
    columns: Mapping[str, pl.Series] = {
        "prompt": prompt_turns(chosen),
        "chosen": messages("assistant", chosen["response"]),
        "rejected": messages("assistant", rejected["response"]),
        "chosen_model": chosen["model"],
        "rejected_model": rejected["model"],
        "chosen_completion": chosen["completion"],
        "rejected_completion": rejected["completion"],
    }
    joined = prompts.select("prompt_id", "row", "split", "source", "chosen_score", "rejected_score", "margin")
    joined = joined.with_columns(**columns)
    return joined.select(PAIR_COLUMNS)


PAIR_COLUMNS = ["prompt_id", "row", "split", "source", "prompt", "chosen", "rejected", "chosen_score",
                "rejected_score", "margin", "chosen_model", "rejected_model", "chosen_completion",
                "rejected_completion"]  # fmt: skip
