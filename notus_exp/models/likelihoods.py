"""Stage `likelihoods`: the policy's log-probs of scored completions, and its divergence on its own answers.

likelihoods.parquet has one row a completion of `reference_scored`:

    prompt_id, row, completion    as in the completions table (feedback/table.py)
    logp                          the policy's log-prob of the completion after its prompt, in nats (Float64)
    ref_logp                      the base model's
    tokens                        tokens of the completion, after cutting

and divergence.parquet one row an answer of the policy: `prompt_id`, `kl` (nats, summed over the answer's tokens) and
`tokens` (of the answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it

from notus_exp.disk import files
from notus_exp.machine.team import conducts, worked_together
from notus_exp.models.encoding import Encoded
from notus_exp.models.logprobs import Progress, batches, require_finite, tokens_of
from notus_exp.models.pretrained import load_policy, pick_device, policy_folders
from notus_exp.models.reference import SCHEMA
from notus_exp.models.scorer import CHUNK_NUMBERS, PackingPlan, Scorer, parts
from notus_exp.stages.context import Context
from notus_exp.stages.settings import LikelihoodsSettings

LIKELIHOODS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String,
        "row": pl.Int64,
        "completion": pl.Int64,
        "logp": pl.Float64,
        "ref_logp": pl.Float64,
        "tokens": pl.Int64,
    }
)
DIVERGENCE_SCHEMA = pl.Schema({"prompt_id": pl.String, "kl": pl.Float64, "tokens": pl.Int64})

DIVERGENCE_NUMBERS = CHUNK_NUMBERS // 8
"""Logits of either model that are held at once, in float64 and several times over."""


def run(settings: LikelihoodsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write `likelihoods.parquet` and `divergence.parquet`.

    The first holds the policy's log-prob (nats) of each completion of `reference_scored`; without that input it has no
    rows. The second holds, for the first `kl_prompts` answers of the policy, the sum over the answer's tokens of
    KL(policy || reference); with `kl_prompts=0` it has no rows.

    Args:
        settings: On how many answers the divergence is measured, and the precision.
        inputs: Artifacts `base_model`, `policy`, where preferences are evaluated `reference_scored`, and with
            `kl_prompts` the policy's `generations`.
        out: Folder of the artifact.
        context: Device and batch size.

    Returns:
        Facts: completions (scored), answers (compared), tokens (that went through the policy).

    Raises:
        UserError: A log-prob of the policy is not finite.
    """
    scored = _scored(inputs.get("reference_scored"))
    answers = _answers(inputs["generations"], settings.kl_prompts) if settings.kl_prompts else None
    completions = _encoded(scored, "completion_ids")
    answered = _encoded(answers, "response_ids") if answers is not None else []
    base, adapter = policy_folders(inputs["base_model"], inputs["policy"])
    policy = _load(base, adapter, settings.precision, context)
    progress = Progress(context, sum(map(tokens_of, completions + answered)))
    logps = _logps(policy, completions, context, progress)
    kls = _divergences(policy, inputs["base_model"] / files.MODEL, answered, context, progress)
    if conducts(context.team):
        _write_likelihoods(scored, logps, out / files.LIKELIHOODS)
        ids = answers["prompt_id"].to_list() if answers is not None else []
        lengths = [len(item.completion_ids) for item in answered]
        columns = {"prompt_id": ids, "kl": kls, "tokens": lengths}
        pl.DataFrame(columns, schema=DIVERGENCE_SCHEMA).write_parquet(out / files.DIVERGENCE)
    return {"completions": len(completions), "answers": len(answered), "tokens": progress.done}


def token_divergence(policy_logits: torch.Tensor, reference_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(policy || reference) at each position, over the whole vocabulary.

    KL(p || q) = sum over tokens v of p(v) (log p(v) - log q(v)), in float64.

    Args:
        policy_logits: Shape (tokens, vocabulary).
        reference_logits: The same shape.

    Returns:
        Shape (tokens,), nats.
    """
    log_p = F.log_softmax(policy_logits.double(), dim=-1)
    log_q = F.log_softmax(reference_logits.double(), dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _scored(reference: Path | None) -> pl.DataFrame:
    return SCHEMA.to_frame() if reference is None else pl.read_parquet(reference / files.REFERENCE, glob=False)


def _answers(generations: Path, number: int) -> pl.DataFrame:
    return pl.read_parquet(generations / files.GENERATIONS, glob=False).head(number)


def _encoded(table: pl.DataFrame, ids: str) -> list[Encoded]:
    return [Encoded(prompt, tokens) for prompt, tokens in table.select("prompt_ids", ids).iter_rows()]


def _load(base: Path, adapter: Path | None, precision: str, context: Context) -> Scorer:
    model = load_policy(base, adapter, precision, context.hardware)
    return Scorer(model, precision, pick_device(context.hardware, precision))


def _logps(scorer: Scorer, encoded: list[Encoded], context: Context, progress: Progress) -> list[float]:
    """Return the policy's log-prob of each completion, in the order of `encoded`."""
    keys = _numbered(encoded)
    size = context.hardware.scoring_batch_size
    plan = PackingPlan(*context.team.broadcast(lambda: list[Any](scorer.plan(encoded, keys, size))))

    def score(batch: list[int]) -> list[float]:
        return scorer.logps([encoded[i] for i in batch], shared=plan.shared)

    logps = [0.0] * len(encoded)
    for dealt, results in worked_together(context.team, plan.batches, score):
        for batch, found in zip(dealt, results, strict=True):
            require_finite(found, "the policy", scorer.precision)
            for i, logp in zip(batch, found, strict=True):
                logps[i] = logp
            progress.add(sum(tokens_of(encoded[i]) for i in batch))
    return logps


def _divergences(
    policy: Scorer, base: Path, answers: list[Encoded], context: Context, progress: Progress
) -> list[float]:
    """Return the divergence (nats) summed over each answer; an empty answer has none."""
    if not answers:
        return []
    # Without its adapter a LoRA policy is its reference; merged or trained in full it needs the base model beside it.
    with_adapter = hasattr(policy.model, "disable_adapter")
    reference = policy if with_adapter else _load(base, None, policy.precision, context)
    as_reference = policy.model.disable_adapter if with_adapter else nullcontext

    @torch.inference_mode()
    def diverge(batch: list[int]) -> list[float]:
        items = [answers[i] for i in batch]
        of_policy = policy.predictions(items)
        with as_reference():
            of_reference = reference.predictions(items)
        sums = torch.zeros(len(items), dtype=torch.float64, device=policy.device)
        for part in parts(of_policy, policy.vocabulary, DIVERGENCE_NUMBERS):
            with as_reference():
                theirs = of_reference.logits(of_reference.rows[part])
            ours = of_policy.logits(of_policy.rows[part])
            sums.index_add_(0, of_policy.owners[part], token_divergence(ours, theirs))
        return sums.tolist()

    kls = [0.0] * len(answers)
    planned = [*batches(answers, _numbered(answers), context.hardware.scoring_batch_size)]
    for dealt, results in worked_together(context.team, planned, diverge):
        for batch, found in zip(dealt, results, strict=True):
            for i, kl in zip(batch, found, strict=True):
                kls[i] = kl
            progress.add(sum(tokens_of(answers[i]) for i in batch))
    return kls


def _numbered(items: Sequence[Encoded]) -> list[str]:
    """Return keys by which items of one length keep their order."""
    return [f"{number:09d}" for number in range(len(items))]


def _write_likelihoods(scored: pl.DataFrame, logps: list[float], path: Path) -> None:
    table = scored.with_columns(
        pl.Series("logp", logps, dtype=pl.Float64), tokens=pl.col("completion_ids").list.len().cast(pl.Int64)
    )
    table.select(*LIKELIHOODS_SCHEMA).cast(LIKELIHOODS_SCHEMA).write_parquet(path)
