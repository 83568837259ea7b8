"""Stage `reference`: the base model's log-prob of every completion that a run needs, each computed only once ever.

The store below the stage (`store.py`) keeps them by base model, precision and token ids: another strategy, beta,
loss or seed finds what an earlier run computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp import files
from notus_exp.curation.split import test_prompts
from notus_exp.errors import UserError
from notus_exp.feedback.table import CONVERSATION
from notus_exp.hashing import uniform
from notus_exp.slices import ReferenceSlice
from notus_exp.stage import Context
from notus_exp.training.encoding import Encoded, EncodedPrompt, Limits, Message, complete, fit_prompt
from notus_exp.training.models import load_model, load_tokenizer, pick_device
from notus_exp.training.scoring import Progress, batches, completion_logps, require_finite, tokens_of
from notus_exp.training.store import ReferenceStore, completion_key

__all__ = ["completion_logps", "needed_completions", "run"]

STORE = "reference.sqlite"
ID = ["prompt_id", "row", "completion"]

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


class Tokenised(NamedTuple):
    """The needed completions that are within the limits, and counts of what was cut or left out.

    Attributes:
        rows: (prompt_id, row, completion, use) of each.
        encoded: Their token ids, in the same order.
        prompts_too_long: Prompts left out, with all of their completions.
        prompts_cut: Prompts that lost their beginning.
        completions_truncated: Completions that lost their end.
    """

    rows: list[tuple[str, int, int, str]]
    encoded: list[Encoded]
    prompts_too_long: int
    prompts_cut: int
    completions_truncated: int


def run(slice: ReferenceSlice, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write `reference.parquet`: token ids and reference log-prob (nats) of each completion that the run needs.

    Every batch is in the store before the next begins, and batches follow (tokens, key): a killed run goes on with the
    batches that it had before it.

    Args:
        slice: What is needed, and how it is tokenised and computed.
        inputs: Artifacts `feedback`, `pairs` and `base_model`.
        out: Folder of the artifact.
        context: Device, batch size and the store's folder.

    Returns:
        Facts: needed (completions) = found + computed (log-probs) + same_tokens (share one of these),
        prompts_too_long, prompts_cut, completions_truncated, tokens (that were computed).

    Raises:
        UserError: No training pair is within the limits, or a log-prob is not finite.
    """
    wanted = _wanted(slice, inputs)
    tokenised = _tokenise(wanted, slice, inputs["base_model"] / files.MODEL)
    _require_training(tokenised, slice)
    base_name = inputs["base_model"].name
    keys = [completion_key(base_name, slice.precision, *item) for item in tokenised.encoded]
    unique = dict(zip(keys, tokenised.encoded, strict=True))
    with ReferenceStore(context.cache / STORE) as store:
        found = store.get_many(unique)
        missing = {key: item for key, item in unique.items() if key not in found}
        tokens = _compute(missing, store, slice.precision, inputs["base_model"], context) if missing else 0
        logps = store.get_many(unique)  # read back: where another process was first, its value holds for both
    _write(tokenised, [logps[key] for key in keys], out / files.REFERENCE)
    return {
        "needed": len(keys),
        "found": len(found),
        "computed": len(missing),
        "same_tokens": len(keys) - len(unique),
        "prompts_too_long": tokenised.prompts_too_long,
        "prompts_cut": tokenised.prompts_cut,
        "completions_truncated": tokenised.completions_truncated,
        "tokens": tokens,
    }


def needed_completions(
    pairs: pl.DataFrame, test_ids: list[str], slice: ReferenceSlice, all_ids: pl.DataFrame
) -> pl.DataFrame:
    """Return which completions need a log-prob, each once.

    Args:
        pairs: pairs.parquet.
        test_ids: Prompts of whose completions all are needed.
        slice: `max_validation_pairs` takes the first by a hash of the prompt id.
        all_ids: prompt_id, row, completion of every completion.

    Returns:
        Columns prompt_id, row, completion, use (train, validation or test), in a fixed order.
    """
    validation = pairs.filter(pl.col("split") == "validation")
    place = uniform(validation["prompt_id"], slice.split.seed, "validation_pairs")
    validation = validation.with_columns(pl.Series("_place", place)).sort("_place", "prompt_id", "row")
    if slice.max_validation_pairs is not None:
        validation = validation.head(slice.max_validation_pairs)
    used = pl.concat([pairs.filter(pl.col("split") == "train"), validation.drop("_place")])
    sides = [
        used.select("prompt_id", "row", pl.col(f"{side}_completion").alias("completion"), pl.col("split").alias("use"))
        for side in ("chosen", "rejected")
    ]
    test = all_ids.filter(pl.col("prompt_id").is_in(test_ids)).with_columns(use=pl.lit("test"))
    return pl.concat([*sides, test.select(*ID, "use")]).unique(ID, keep="first", maintain_order=True).sort("use", *ID)


def _wanted(slice: ReferenceSlice, inputs: dict[str, Path]) -> pl.DataFrame:
    """The needed completions with their texts, those of a prompt one after the other."""
    columns = [*ID, "instruction", "principle", "system_prompt", "response"]
    completions = pl.read_parquet(inputs["feedback"] / files.COMPLETIONS)
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS)
    chosen = slice.preferences
    test_ids = test_prompts(completions, slice.split, chosen.max_prompts) if chosen else []
    needed = needed_completions(pairs, test_ids, slice, completions.select(ID))
    wanted = needed.join(completions.select(columns), on=ID, how="left", maintain_order="left")
    if wanted["response"].null_count():
        lost = wanted.filter(pl.col("response").is_null()).row(0)[:3]
        raise ValueError(f"the pair of prompt, row, completion {lost} has no completion in {files.COMPLETIONS}")
    return wanted


def _tokenise(wanted: pl.DataFrame, slice: ReferenceSlice, model_folder: Path) -> Tokenised:
    tokenizer = load_tokenizer(model_folder)
    limits = Limits(slice.max_length, slice.max_prompt_length, slice.long_prompts)
    rows: list[tuple[str, int, int, str]] = []
    encoded: list[Encoded] = []
    fitted: dict[tuple[str, int], EncodedPrompt | None] = {}
    truncated = 0
    for item in wanted.iter_rows(named=True):
        prompt = (item["prompt_id"], item["row"])
        if prompt not in fitted:
            fitted[prompt] = fit_prompt(tokenizer, _messages(item), slice.system_prompt, limits)
        within = fitted[prompt]
        if within is None:
            continue
        completion = complete(tokenizer, within, item["response"], slice.max_length)
        truncated += completion.truncated
        rows.append((*prompt, item["completion"], item["use"]))
        encoded.append(Encoded(within.ids, completion.ids))
    too_long = sum(prompt is None for prompt in fitted.values())
    cut = sum(prompt is not None and prompt.cut for prompt in fitted.values())
    return Tokenised(rows, encoded, too_long, cut, truncated)


def _messages(item: dict[str, Any]) -> list[Message]:
    """The turns of a prompt, as curation writes them into pairs.parquet."""
    user = {"role": "user", "content": item["instruction"]}
    if item["principle"] == CONVERSATION and item["system_prompt"]:
        return [{"role": "system", "content": item["system_prompt"]}, user]
    return [user]


def _require_training(tokenised: Tokenised, slice: ReferenceSlice) -> None:
    if not any(use == "train" for *_, use in tokenised.rows):
        raise UserError(
            f"no training pair is left: all prompts are longer than dpo.max_prompt_length={slice.max_prompt_length} "
            f"tokens, or reach dpo.max_length={slice.max_length}",
            "raise them, or set dpo.long_prompts=cut",
        )


def _compute(
    missing: dict[str, Encoded], store: ReferenceStore, precision: str, base_model: Path, context: Context
) -> int:
    """Compute and store what is missing; return how many tokens went through the model."""
    device = pick_device(context.hardware, precision)
    model = load_model(base_model / files.MODEL, None, precision, context.hardware)
    keys, encoded = list(missing), list(missing.values())
    progress = Progress(context, sum(map(tokens_of, encoded)))
    for batch in batches(encoded, keys, context.hardware.scoring_batch_size):
        items = [encoded[i] for i in batch]
        logps = completion_logps(model, items, precision, device)
        require_finite(logps, "the base model", precision)
        store.put_many({keys[i]: logp for i, logp in zip(batch, logps, strict=True)})
        progress.add(sum(map(tokens_of, items)))
    return progress.done


def _write(tokenised: Tokenised, logps: list[float], path: Path) -> None:
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
    pl.DataFrame(columns, schema=SCHEMA).write_parquet(path)
