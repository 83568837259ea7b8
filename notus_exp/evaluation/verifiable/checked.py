"""Does the policy follow constraints that a program can check, on prompts it has not seen?

Base and policy answer the same prompts. Each answer is measured alone, by the same code:

    strict          all constraints of the prompt are followed
    share           share of the prompt's constraints that are followed
    kind/<kind>     the constraints of this kind are followed; null where the prompt has none
    words           words of the answer, as `notus_exp.feedback.simulated.constraints` counts them
    characters      characters, white space around the answer apart
    tokens          generated tokens; null where an endpoint does not tell
    repetition      share of the word 3-grams that occurred before in the answer
    repeat          words covered by the longest run of a block said over and over
    truncated       the answer reached the token limit
    degenerate      see `notus_exp.evaluation.verifiable.degeneration`; `degeneration` holds the reason

and for the policy, on the first prompts only,

    kl              divergence KL(policy || reference) summed over the answer's tokens, in nats
    kl_per_token    the same by token
"""

from __future__ import annotations

import polars as pl

from notus_exp.disk.hashing import uniform
from notus_exp.evaluation.kit.description import Metric
from notus_exp.evaluation.verifiable.degeneration import degeneration, longest_repeat, repetition
from notus_exp.evaluation.verifiable.spec import SPEC
from notus_exp.feedback.simulated.constraints import Constraint, follows, from_json, words
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference, share_estimate

_SAMPLES = 12
_METRICS = {metric.name: metric for metric in SPEC.metrics}
_DIVERGENCE = [metric.name for metric in SPEC.metrics if metric.needs]
"""What the policy alone has."""


def measure(generations: pl.DataFrame, divergence: pl.DataFrame | None = None) -> pl.DataFrame:
    """Measure each answer.

    Args:
        generations: `prompt_id, constraints (JSON), response, tokens, truncated`.
        divergence: `prompt_id, kl (nats), tokens` of some of the answers, or None.

    Returns:
        `prompt_id`, the columns listed above (`kind/...` sorted; `kl` and `kl_per_token` only with `divergence`), one
        row an answer in the order given.

    Raises:
        UserError: A constraint is unknown or malformed.
    """
    rows = [_measure_one(row) for row in generations.iter_rows(named=True)]
    kinds = sorted({name for row in rows for name in row if name.startswith("kind/")})
    table = pl.DataFrame(rows, schema={**_SCHEMA, **dict.fromkeys(kinds, pl.Boolean)}, orient="row")
    if divergence is None:
        return table
    tokens = pl.col("tokens")
    per_token = pl.when(tokens > 0).then(pl.col("kl") / tokens)
    return table.join(
        divergence.select("prompt_id", "kl", kl_per_token=per_token), on="prompt_id", how="left", maintain_order="left"
    )


def pair(policy: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    """Put the measures of both next to each other: one row a prompt, sorted, the base's columns with `base/`."""
    renamed = base.rename({name: f"base/{name}" for name in base.columns if name != "prompt_id"})
    return policy.join(renamed, on="prompt_id", how="full", coalesce=True, validate="1:1").sort("prompt_id")


def estimates(paired: pl.DataFrame) -> dict[str, Estimate]:
    """Return each metric: shares of prompts with Wilson intervals, means and paired differences with t intervals.

    Names: `verifiable/<measure>` for the policy, the same after `base/` for the base, and after `difference/` for
    policy minus base over the prompts that both answered.
    """
    kinds = [name for name in paired.columns if name.startswith("kind/")]
    found: dict[str, Estimate] = {}
    plain = [name for name, metric in _METRICS.items() if not metric.is_family and not metric.needs]
    for name in [*plain, *kinds]:
        for prefix in ("", "base/"):
            found[f"{prefix}verifiable/{name}"] = _estimate(paired[f"{prefix}{name}"], name)
        reach = _metric(name).difference_span()
        found[f"difference/verifiable/{name}"] = paired_difference(
            _floats(paired[name]), _floats(paired[f"base/{name}"]), span=reach
        )
    for name in _DIVERGENCE:
        if name in paired.columns:
            found[f"verifiable/{name}"] = mean_estimate(_floats(paired[name]))
    return found


def left_out(paired: pl.DataFrame) -> dict[str, int]:
    """Count the prompts answered and those that one side lacks, and the reasons of the policy's degenerate answers."""
    counts = {
        "verifiable_prompts": paired.height,
        "prompts_without_policy_answer": paired["characters"].null_count(),
        "prompts_without_base_answer": paired["base/characters"].null_count(),
    }
    for side, prefix in (("policy", ""), ("base", "base/")):
        reasons = paired[f"{prefix}degeneration"].drop_nulls().value_counts().sort(f"{prefix}degeneration")
        counts |= {f"{side}_degenerate_{reason}": count for reason, count in reasons.iter_rows() if reason}
    return counts


def notes(paired: pl.DataFrame) -> list[str]:
    """Say of how many answers the tokens are not known."""
    unknown = {
        side: int(
            paired.select(
                (pl.col(f"{prefix}characters").is_not_null() & pl.col(f"{prefix}tokens").is_null()).sum()
            ).item()
        )
        for side, prefix in (("policy", ""), ("base model", "base/"))
    }
    return [
        f"verifiable/tokens leaves out {count} of {paired.height} answers of the {side}: the endpoint did not tell how"
        " many tokens they have (usage)"
        for side, count in unknown.items()
        if count
    ]


def samples(policy: pl.DataFrame, base: pl.DataFrame) -> list[dict[str, str]]:
    """Return up to 12 prompts with both answers and what each follows, always the same ones for the same prompts.

    Args:
        policy: `prompt_id, instruction, constraints, response` of the policy's generations.
        base: The same of the base's.
    """
    columns = ["prompt_id", "instruction", "constraints", "response"]
    both = policy.select(columns).join(base.select("prompt_id", base_response="response"), on="prompt_id")
    draws = pl.Series("draw", uniform(both["prompt_id"], 0, "samples"))
    chosen = both.with_columns(draws).sort("draw").head(_SAMPLES)
    return [_sample(row) for row in chosen.iter_rows(named=True)]


_SCHEMA: dict[str, type[pl.DataType]] = {
    "prompt_id": pl.String,
    "strict": pl.Boolean,
    "share": pl.Float64,
    "words": pl.Int64,
    "characters": pl.Int64,
    "tokens": pl.Int64,
    "repetition": pl.Float64,
    "repeat": pl.Int64,
    "truncated": pl.Boolean,
    "degenerate": pl.Boolean,
    "degeneration": pl.String,
}


def _measure_one(row: dict[str, object]) -> dict[str, object]:
    constraints, response = from_json(str(row["constraints"])), str(row["response"])
    verdicts = [(constraint.kind, follows(constraint, response)) for constraint in constraints]
    lowered = [word.lower() for word in words(response)]
    reason = degeneration(response, constraints)
    kinds: dict[str, bool] = {}
    for kind, followed in verdicts:
        kinds[f"kind/{kind}"] = kinds.get(f"kind/{kind}", True) and followed
    return {
        "prompt_id": row["prompt_id"],
        "strict": all(followed for _, followed in verdicts) if verdicts else None,
        "share": sum(followed for _, followed in verdicts) / len(verdicts) if verdicts else None,
        "words": len(lowered),
        "characters": len(response.strip()),
        "tokens": row["tokens"] if row["tokens"] or not response else None,  # 0 once stood for what nobody told
        "repetition": repetition(lowered),
        "repeat": longest_repeat(lowered),
        "truncated": row["truncated"],
        "degenerate": bool(reason),
        "degeneration": reason,
        **kinds,
    }


def _estimate(column: pl.Series, name: str) -> Estimate:
    if column.dtype not in (pl.Boolean, pl.Null):
        return mean_estimate(_floats(column), span=_metric(name).span)
    present = column.drop_nulls()
    return share_estimate(int(present.sum()), present.len())


def _floats(column: pl.Series) -> list[float | None]:
    return column.cast(pl.Float64).to_list()


def _sample(row: dict[str, str]) -> dict[str, str]:
    constraints = from_json(row["constraints"])
    return {
        "prompt_id": row["prompt_id"],
        "instruction": row["instruction"],
        "constraints": ", ".join(_describe(constraint) for constraint in constraints),
        "base": row["base_response"],
        "base_follows": _followed(constraints, row["base_response"]),
        "policy": row["response"],
        "policy_follows": _followed(constraints, row["response"]),
    }


def _describe(constraint: Constraint) -> str:
    params = ", ".join(f"{name}={value}" for name, value in constraint.params.items())
    return f"{constraint.kind}({params})" if params else constraint.kind


def _followed(constraints: list[Constraint], response: str) -> str:
    return ", ".join(constraint.kind for constraint in constraints if follows(constraint, response)) or "none"


def _metric(name: str) -> Metric:
    return _METRICS["kind/" if name.startswith("kind/") else name]
