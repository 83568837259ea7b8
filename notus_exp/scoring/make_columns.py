"""Stage `columns`: what completions are scored by beside their ratings, one Float64 column a name.

columns.parquet has one row a completion, ordered as the completions table:

    row, completion    as there (Int64)
    <name>             Float64, one a column that the settings name, in the order of the names; null where missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.column_names import REFERENCE, TOKENS
from notus_exp.config.curation_settings import Split
from notus_exp.disk import files
from notus_exp.disk.files import COLUMNS, COMPLETIONS
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.reporting.texts import many
from notus_exp.scoring.contradictions import check_agreement, compared_columns, texts_compared
from notus_exp.scoring.probe_scores import Overlap, ProbeRewards, ScoringPolicy, probe_rewards, read_prompts
from notus_exp.scoring.score_files import JoinedScores, join_scores, read_scores, texts_needed
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ColumnsSettings

ID = ["row", "completion"]


def run(settings: ColumnsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write columns.parquet.

    Args:
        settings: Which columns, and what they are made of.
        inputs: `feedback`; `base_model` where tokens are counted; `tokens` and `reference` where columns are taken from
            them: another artifact of this stage, and the log-probs of all completions; of each policy of a probe
            `likelihoods_NAME_i`, of all completions, and `pairs_NAME_i`, those it was trained on.
        out: Folder of the artifact.
        context: `sources["scores.NAME"]` holds the path of a file of scores.

    Returns:
        Facts: prompts, completions, and of each column NAME/with_score and NAME/without_score (completions); of one
        that comes from a file the other counts of `JoinedScores` too, of a probe NAME/prompts_trained_on, those that
        none of its policies may score, and NAME/prompts_by/N, those that N score, where that differs.

    Raises:
        UserError: A file of scores cannot be read, or does not go with the feedback; a probe was trained on prompts
            that it is to score.
    """
    place = inputs["feedback"] / COMPLETIONS
    table = pl.read_parquet(place, columns=["prompt_id", *ID], glob=False)
    facts: dict[str, Any] = {"prompts": table["prompt_id"].n_unique(), "completions": table.height}
    columns = table.select(ID)
    if settings.counted:
        from notus_exp.scoring.token_counts import count_tokens  # loads a tokenizer: in the worker alone

        columns = _beside(columns, count_tokens(settings.counted, inputs, context), [TOKENS])
    for name, how in settings.joined.items():
        joined = _joined(name, how, place, Path(context.sources[f"scores.{name}"][0]))
        columns = columns.with_columns(joined.values.alias(name))
        facts |= {f"{name}/{count}": number for count, number in joined.counts.items()}
        context.events.say(_told(name, joined.counts))
    if TOKENS in settings.taken:
        columns = _beside(columns, pl.read_parquet(inputs["tokens"] / COLUMNS, glob=False), [TOKENS])
    if names := [name for name in REFERENCE if name in settings.taken]:
        columns = _beside(columns, _log_probs(inputs["reference"] / files.REFERENCE), names)
    for name, how in settings.probes.items():
        found = _rewards(name, how, inputs)
        facts[f"{name}/prompts_trained_on"] = found.trained_on
        if len(found.scored_by) > 1:
            facts |= {f"{name}/prompts_by/{runs}": prompts for runs, prompts in found.scored_by.items()}
            by = ", ".join(f"{many(prompts, 'prompt')} by {runs}" for runs, prompts in found.scored_by.items())
            context.events.say(f"{name}: means over different numbers of runs ({by}), and those over more spread less")
        columns = _beside(columns, found.rewards.rename({"reward": name}), [name])
    for name in columns.columns[len(ID) :]:
        missing = columns[name].null_count()
        facts |= {f"{name}/with_score": columns.height - missing, f"{name}/without_score": missing}
    columns.select(*ID, *sorted(columns.columns[len(ID) :])).write_parquet(out / COLUMNS)
    context.events.progress(1, 1)
    return facts


def _rewards(name: str, how: Mapping[str, Any], inputs: Mapping[str, Path]) -> ProbeRewards:
    texts = read_prompts(inputs["feedback"])
    folds = [Split(one["seed"], 0.0, 0.0, one["folds"], one["fold"]) for one in how.get("folds", [])]
    policies = [
        ScoringPolicy(
            inputs[f"likelihoods_{name}_{number}"] / files.LIKELIHOODS,
            inputs[f"pairs_{name}_{number}"] / files.PAIRS,
            beta,
            folds[number] if folds else None,
        )
        for number, beta in enumerate(how["betas"])
    ]
    return probe_rewards(texts, policies, Overlap(how["exclude"], how["in_sample"]), name)


def _beside(columns: pl.DataFrame, made: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return columns.join(made.select(*ID, *names), on=ID, how="left", maintain_order="left")


def _log_probs(path: Path) -> pl.DataFrame:
    """Return the columns of `REFERENCE`, in nats; those per token are null of a response without tokens."""
    table = pl.read_parquet(path, columns=[*ID, "completion_ids", "ref_logp"], glob=False)
    tokens = pl.col("completion_ids").list.len()
    return table.select(*ID, "ref_logp", ref_logp_per_token=pl.when(tokens > 0).then(pl.col("ref_logp") / tokens))


def _joined(name: str, how: Mapping[str, Any], place: Path, path: Path) -> JoinedScores:
    key = f"scores.{name}"
    scores = read_scores(path, how["column"], how["by"], key)
    by = scores.columns[:-1]
    compared = compared_columns(path, by, key)
    texts = [*texts_needed(by), *texts_compared(compared)]
    known = pl.scan_parquet(place, glob=False).collect_schema().names()
    context = [CONTEXT] if texts and CONTEXT in known else []
    table = pl.read_parquet(place, columns=["prompt_id", *ID, *texts, *context], glob=False)
    if compared:
        check_agreement(table, path, by, compared, key)
    return join_scores(table, scores, key)


def _told(name: str, counts: Mapping[str, int]) -> str:
    """Say how many completions a column has scores of, and what of its file was left out."""
    whole = counts["with_score"] + counts["without_score"]
    left_out = {
        "unmatched": "of no completion here",
        "double": "said twice",
        "missing": "without a usable number",
    }
    rest = [f"{counts[count]} {what}" for count, what in left_out.items() if counts[count]]
    if several := counts.get("several_turns"):
        rest.append(f"{several} are of prompts of several turns, which a digest alone can name, not their texts")
    if unclear := counts["unclear"]:
        rest.append(f"{many(unclear, 'completion shares its', 'completions share their')} prompt's id and number")
    return f"{name}: {counts['with_score']} of {whole} completions have a score" + "".join(f"; {one}" for one in rest)
