"""Stage `reference`: the base model's log-prob of every completion that a run needs, each computed only once ever.

The store below the stage (`store.py`) keeps them by base model, precision and token ids: another strategy, beta,
loss or seed finds what an earlier run computed. A run has two nodes of this stage: `reference`, which the policy is
trained with, and `reference_scored`, which is the same for all policies of a study; and where an expression of curation
names a log-prob `reference_columns`, over everything. `fill` computes together what
several nodes miss, in batches that this union alone fixes; the time is the first node's, and a log-prob that several
nodes need counts as `computed` at the first of them and as `found` at the others.

reference.parquet has one row for each (prompt_id, row, completion):

    prompt_id, row, completion    as in the completions table (feedback/table.py)
    prompt_ids, completion_ids    token ids, after cutting (List(Int64))
    ref_logp                      log-prob of the completion after its prompt, in nats (Float64)
    use                           train, validation or test; "" where all completions are asked for
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.curation.split import held_out_prompts
from notus_exp.disk import files
from notus_exp.disk.hashing import uniform
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import prompt_columns
from notus_exp.machine.team import conducts, worked_together
from notus_exp.models.capabilities import check_fit, model_length
from notus_exp.models.encoding import Encoded, Limits
from notus_exp.models.logprobs import Progress, require_finite, tokens_of
from notus_exp.models.pretrained import load_model, pick_device
from notus_exp.models.scorer import PackingPlan, Scorer
from notus_exp.models.store import TeamStore, completion_key, team_store
from notus_exp.models.token_checks import check_pairs
from notus_exp.models.tokens import Tokenised, tokenise
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ReferenceSettings

STORE = "reference.sqlite"
ID = ["prompt_id", "row", "completion"]
ANY_USE = ""
"""`use` of a completion that is not scored for a split alone."""

SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String(),
        "row": pl.Int64(),
        "completion": pl.Int64(),
        "prompt_ids": pl.List(pl.Int64),
        "completion_ids": pl.List(pl.Int64),
        "ref_logp": pl.Float64(),
        "use": pl.String(),
    }
)


class Work(NamedTuple):
    """What one base model is to compute in one precision: store key -> token ids."""

    base_model: Path
    precision: str
    missing: dict[str, Encoded]


def run(settings: ReferenceSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write `reference.parquet`: token ids and reference log-prob (nats) of each completion that the settings ask for.

    Every batch is in the store before the next begins, and batches are functions of what is missing (`Scorer.plan`): a
    killed run goes on with the batches that it had before it. Of several processes each computes a batch at a time, and
    all of those are stored together; the batches are those of one process.

    Args:
        settings: What is needed, and how it is tokenised and computed.
        inputs: Artifacts `feedback`, `base_model` and, for the completions of pairs, `pairs`.
        out: Folder of the artifact.
        context: Device, batch size and the store's folder; what `fill` has just computed counts as computed here.

    Returns:
        Facts: needed (completions) = found + computed (log-probs) + same_tokens (share one of these),
        prompts_too_long, prompts_cut, completions_truncated, holding_length (tokens within which nine of ten are
        whole), model_length (tokens that the model reads, where it says so), system_turns_hidden, prompts_altered,
        completions_altered, texts_with_special_tokens (completions), of pairs those of `PairCounts`, tokens (that were
        computed).

    Raises:
        UserError: The model cannot meet the settings (`capabilities.check_fit`), no training pair is left
            (`token_checks.check_pairs`), no prompt to score is within the limits, or a log-prob is not finite.
    """
    base_model = inputs["base_model"]
    tokenised, counted = encode(settings, inputs, context)
    keys = [completion_key(base_model.name, settings.precision, *item) for item in tokenised.encoded]
    unique = dict(zip(keys, tokenised.encoded, strict=True))
    with _opened(context) as store:
        missing = _missing(unique, store)
        _compute([Work(base_model, settings.precision, missing)], store, context)
        logps = store.get_many(unique)  # read back: where another process was first, its value holds for both
    if conducts(context.team):
        table(tokenised, [logps[key] for key in keys]).write_parquet(out / files.REFERENCE)
    computed = {key: tokens_of(item) for key, item in missing.items()}
    computed |= {key: context.filled.pop(key) for key in unique if key in context.filled}
    return {
        "found": len(unique) - len(computed),
        "computed": len(computed),
        "same_tokens": len(keys) - len(unique),
        **counted,
        "tokens": sum(computed.values()),
    }


def encode(settings: ReferenceSettings, inputs: dict[str, Path], context: Context) -> tuple[Tokenised, dict[str, int]]:
    """Return the completions that a node needs as tokens, and what was counted of them; arguments and errors of `run`.

    A training without a reference reads its pairs through this too: the same tokens, limits and refusals.
    """
    folder = inputs["base_model"] / files.MODEL
    _check_model(settings, inputs, context)
    tokenised = tokenise(_wanted(settings, inputs), settings, folder)
    counts = _check_tokens(tokenised, settings, inputs, context)
    return tokenised, {
        "needed": len(tokenised.rows),
        "prompts_too_long": tokenised.prompts_too_long,
        "prompts_cut": tokenised.prompts_cut,
        "completions_truncated": sum(tokenised.truncated),
        "holding_length": tokenised.holding_length,
        **({"model_length": reads} if (reads := model_length(folder)) else {}),
        "system_turns_hidden": tokenised.system_turns_hidden,
        "prompts_altered": tokenised.prompts_altered,
        "completions_altered": sum(tokenised.altered),
        "texts_with_special_tokens": sum(tokenised.marked),
        **counts,
    }


def base_logps(base_model: Path, precision: str, items: Sequence[Encoded], context: Context) -> list[float]:
    """Return the base model's log-prob (nats) of each text, from the store where it is there, else computed and stored.

    For texts that no completion is, which a training alone needs: a part of one, or one after another prompt.

    Args:
        base_model: Its artifact.
        precision: As in `ReferenceSettings`.
        items: Token ids of prompt and text.
        context: Device, batch size, the store's folder, and where progress is shown.

    Raises:
        UserError: A log-prob is not finite.
    """
    keys = [completion_key(base_model.name, precision, *item) for item in items]
    unique = dict(zip(keys, items, strict=True))
    with _opened(context) as store:
        _compute([Work(base_model, precision, _missing(unique, store))], store, context)
        logps = store.get_many(unique)
    return [logps[key] for key in keys]


def table(tokenised: Tokenised, logps: Sequence[float | None]) -> pl.DataFrame:
    """Return the rows of reference.parquet; a training without a reference has None for each log-prob (nats)."""
    prompt_id, row, completion, use = zip(*tokenised.rows, strict=True)
    columns = {
        "prompt_id": prompt_id,
        "row": row,
        "completion": completion,
        "prompt_ids": [item.prompt_ids for item in tokenised.encoded],
        "completion_ids": [item.completion_ids for item in tokenised.encoded],
        "ref_logp": logps,
        "use": use,
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def fill(requests: Sequence[tuple[ReferenceSettings, dict[str, Path]]], context: Context) -> dict[str, int]:
    """Compute the union of what several nodes miss; each of them then finds everything.

    The batches are those of the union, by (tokens, key): the order of the requests, and which of them is made first,
    moves no bit. Each base model and precision is one pass over its own union. Nothing is computed for a request that
    `run` would refuse: it is left to it, as long as there is another to train.

    Args:
        requests: Settings and inputs of each node, as `run` takes them.
        context: Device, batch size, the store's folder, and where progress is shown.

    Returns:
        Store key -> tokens (prompt and completion) of each log-prob that was computed.

    Raises:
        UserError: A log-prob is not finite, or each request that is to be trained would be refused.
    """
    unions: dict[tuple[Path, str], dict[str, Encoded]] = {}
    refused: list[UserError] = []
    with _opened(context) as store:
        for alike in _alike(requests):
            settings, inputs = alike[0]
            base_model = inputs["base_model"]
            encoded = _accepted(alike, context, refused)
            unique = {completion_key(base_model.name, settings.precision, *item): item for item in encoded}
            unions.setdefault((base_model, settings.precision), {}).update(_missing(unique, store))
        if refused and len(refused) == sum(_trains(settings) for settings, _ in requests):
            raise refused[0]
        _compute([Work(*place, missing) for place, missing in unions.items()], store, context)
    return {key: tokens_of(item) for missing in unions.values() for key, item in missing.items()}


def trained_completions(pairs: pl.DataFrame, settings: ReferenceSettings) -> pl.DataFrame:
    """Return the completions of the training and validation pairs, each once.

    Args:
        pairs: pairs.parquet.
        settings: `max_validation_pairs` takes the first by a hash of the prompt id.

    Returns:
        Columns prompt_id, row, completion, use (train or validation), in a fixed order.
    """
    validation = pairs.filter(pl.col("split") == "validation")
    place = uniform(validation["prompt_id"], settings.split.seed, "validation_pairs")
    sides = ("chosen_completion", "rejected_completion")
    validation = validation.with_columns(pl.Series("_place", place)).sort("_place", "prompt_id", "row", *sides)
    if settings.max_validation_pairs is not None:
        validation = validation.head(settings.max_validation_pairs)
    used = pl.concat([pairs.filter(pl.col("split") == "train"), validation.drop("_place")])
    both = [
        used.select("prompt_id", "row", pl.col(f"{side}_completion").alias("completion"), pl.col("split").alias("use"))
        for side in ("chosen", "rejected")
    ]
    return pl.concat(both).unique(ID, keep="first", maintain_order=True).sort("use", *ID)


def scored_completions(completions: pl.DataFrame, settings: ReferenceSettings) -> pl.DataFrame:
    """Return all completions of the prompts that `evaluation.preferences` scores.

    Args:
        completions: The completions table (only `prompt_id, row, completion` are read).
        settings: `preferences` and the split that is scored.

    Returns:
        Columns prompt_id, row, completion, use (the scored split), in a fixed order.
    """
    assert settings.preferences is not None
    assert settings.scored_split is not None
    ids = held_out_prompts(completions, settings.split, settings.scored_split, settings.preferences.max_prompts)
    scored = completions.filter(pl.col("prompt_id").is_in(ids))
    return scored.select(*ID, use=pl.lit(settings.scored_split)).sort(*ID)


def texts_of(feedback: Path) -> pl.DataFrame:
    """Return the completions table as far as `tokenise` reads it, but for `use`."""
    path = feedback / files.COMPLETIONS
    present = pl.scan_parquet(path, glob=False).collect_schema().names()
    return pl.read_parquet(path, columns=[*ID, *prompt_columns(present), "response"], glob=False)


def _wanted(settings: ReferenceSettings, inputs: dict[str, Path]) -> pl.DataFrame:
    """The needed completions with their texts."""
    completions = texts_of(inputs["feedback"])
    if settings.everything:
        return completions.with_columns(use=pl.lit(ANY_USE)).sort(*ID)
    if settings.preferences:
        needed = scored_completions(completions, settings)
    else:
        needed = trained_completions(pl.read_parquet(inputs["pairs"] / files.PAIRS, glob=False), settings)
    wanted = needed.join(completions, on=ID, how="left", maintain_order="left")
    if wanted["response"].null_count():
        lost = wanted.filter(pl.col("response").is_null()).row(0)[:3]
        raise ValueError(f"the pair of prompt, row, completion {lost} has no completion in {files.COMPLETIONS}")
    return wanted


def _check_model(settings: ReferenceSettings, inputs: dict[str, Path], context: Context) -> None:
    folder = inputs["base_model"] / files.MODEL
    check_fit(folder, context.requirements, settings.max_length, settings.system_prompt, settings.template_date)


def _check_tokens(
    tokenised: Tokenised, settings: ReferenceSettings, inputs: dict[str, Path], context: Context
) -> dict[str, int]:
    """Refuse what cannot be trained or scored; return counts of pairs, where there are pairs."""
    if settings.preferences and not tokenised.rows:
        raise UserError(
            f"evaluation.preferences has no {settings.scored_split} prompt: none is in that split, or all are too long",
            f"raise split.{settings.scored_split} or dpo.max_prompt_length, add prompts, or leave preferences out of "
            "`evaluation`",
        )
    if settings.everything and not tokenised.rows:
        raise UserError(
            f"all prompts are too long for dpo.max_length={settings.max_length}", "raise it, or dpo.max_prompt_length"
        )
    if not _trains(settings):
        return {}
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS, glob=False)
    reads = model_length(inputs["base_model"] / files.MODEL)
    return check_pairs(tokenised, pairs, settings, context.requirements, reads)._asdict()


def _accepted(
    alike: list[tuple[ReferenceSettings, dict[str, Path]]], context: Context, refused: list[UserError]
) -> list[Encoded]:
    """Return what requests that are tokenised alike need; add the errors of those to be trained to `refused`."""
    settings, inputs = alike[0]
    try:
        _check_model(settings, inputs, context)
    except UserError as error:
        refused += [error for asked, _ in alike if _trains(asked)]
        return []
    wanted = [_wanted(*request) for request in alike]
    union = pl.concat(wanted).unique(ID, keep="first", maintain_order=True)
    tokenised = tokenise(union, settings, inputs["base_model"] / files.MODEL)
    encoded: list[Encoded] = []
    for request, own in zip(alike, map(tokenised.only, wanted), strict=True):
        try:
            _check_tokens(own, *request, context)
        except UserError as error:
            refused += [error] if _trains(request[0]) else []
        else:
            encoded += own.encoded
    return encoded


def _trains(settings: ReferenceSettings) -> bool:
    return settings.preferences is None and not settings.everything


def _alike(
    requests: Iterable[tuple[ReferenceSettings, dict[str, Path]]],
) -> list[list[tuple[ReferenceSettings, dict[str, Path]]]]:
    """Group requests that read the same feedback and tokenise it alike, so that shared completions are read once."""
    groups: dict[tuple[Any, ...], list[tuple[ReferenceSettings, dict[str, Path]]]] = {}
    for settings, inputs in requests:
        limits = Limits(settings.max_length, settings.max_prompt_length, settings.long_prompts)
        template = (settings.system_prompt, settings.template_date)
        alike = (inputs["feedback"], inputs["base_model"], settings.precision, template, limits)
        groups.setdefault(alike, []).append((settings, inputs))
    return list(groups.values())


def _missing(unique: dict[str, Encoded], store: TeamStore) -> dict[str, Encoded]:
    found = store.get_many(unique)
    return {key: item for key, item in unique.items() if key not in found}


def _compute(work: list[Work], store: TeamStore, context: Context) -> None:
    """Compute and store what is missing, one base model and precision after the other."""
    progress = Progress(context, sum(tokens_of(item) for one in work for item in one.missing.values()))
    for one in work:
        if one.missing:
            _compute_one(one, store, progress, context)


def _compute_one(work: Work, store: TeamStore, progress: Progress, context: Context) -> None:
    device = pick_device(context.hardware, work.precision)
    model = load_model(work.base_model / files.MODEL, None, work.precision, context.hardware)
    scorer = Scorer(model, work.precision, device)
    keys, encoded = list(work.missing), list(work.missing.values())
    size = context.hardware.scoring_batch_size
    plan = PackingPlan(*context.team.broadcast(lambda: list[Any](scorer.plan(encoded, keys, size))))

    def score(batch: list[int]) -> list[float]:
        return scorer.logps([encoded[i] for i in batch], shared=plan.shared)

    for dealt, results in worked_together(context.team, plan.batches, score):
        found = {
            keys[i]: logp
            for batch, logps in zip(dealt, results, strict=True)
            for i, logp in zip(batch, logps, strict=True)
        }
        require_finite([*found.values()], "the base model", work.precision)
        store.put_many(found)
        progress.add(sum(tokens_of(encoded[i]) for batch in dealt for i in batch))


def _opened(context: Context) -> AbstractContextManager[TeamStore]:
    return team_store(context.cache / STORE, context.events.say, context.team)
