"""SmolLM2-135M, LoRA and all weights, in bfloat16 and float32: the framework beside a plain TRL script, same losses.

python benchmarks/gpu/smollm2.py FOLDER [--rehearse]
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from measuring import GB, ONCE, Options, artifact, framework, number, options, run, steps, write

FIRST, PAIRS = 1e-3, 64
"""How far the loss before any step may be from ln 2, as a mean over so many pairs: the policy's log-probs come from
TRL's fused head in float32, the reference's from logits in the working precision. Over fewer pairs rounding averages
out less, by the square root of their number."""
APART = {"float32": 1e-3, "bfloat16": 5e-2}
"""How far a step's loss may be from the plain script's; a rehearsal on the CPU found 1e-6 and 4e-3."""
RATES = {"lora": "1.0e-4", "full": "1.0e-5"}
COLUMNS = ["training", "precision", "who", "tokens/s", "peak, GB", "loss 0", "last loss", "largest gap", "as wanted"]
SECONDS = 3600


def main() -> None:
    """Measure all four, each in processes of its own."""
    given = options()
    rows: list[list[str]] = []
    for training in ("lora", "full"):
        for precision in ("bfloat16", "float32"):
            rows += measured(training, precision, given)
    pairs = given.pick(4, PAIRS)
    words = [
        f"Every step is one global batch of all {pairs} training pairs, in micro-batches of "
        f"{given.pick(2, 8)}; tokens without padding, the first step left out of the seconds. The plain script holds "
        "a second model as its reference where all weights are trained, and the framework none: its log-probs "
        f"are computed before. Wanted: loss 0 within {at_first(pairs):g} of ln 2, and each step within "
        f"{APART['float32']:g} (float32) or {APART['bfloat16']:g} (bfloat16) of the script's loss.",
    ]
    write(given, "smollm2", "SmolLM2-135M beside a plain TRL script", COLUMNS, rows, words)


def measured(training: str, precision: str, given: Options) -> list[list[str]]:
    """Return the rows of a training: the framework's, then the script's."""
    name, pairs, micro = f"{training}-{precision}", given.pick(4, PAIRS), given.pick(2, 8)
    overrides = [
        *given.pick(["experiment=smoke"], ["model=smollm2_135m"]),
        *(f"dpo={training}", f"dpo.precision={precision}", "until=policy", f"filters.max_pairs={pairs}"),
        *(f"dpo.global_batch_size={pairs}", f"dpo.epochs={given.pick(3, 10)}", *ONCE),
        *("dpo.max_length=512", "dpo.max_prompt_length=384", f"hardware.micro_batch_size={micro}"),
        *(["dpo.lora.dropout=0"] if training == "lora" else []),
        *(f"dpo.learning_rate={RATES[training]}", "hardware.activation_checkpointing=false"),
    ]
    done = framework(name, overrides, given, SECONDS)
    if done.failure:
        return [failed(training, precision, "framework", done.failure)]
    policy, manifest = artifact(name, "policy", given)
    pairs_file = artifact(name, "pairs", given)[0] / "pairs.parquet"
    model = artifact(name, "base_model", given)[0] / "model"
    ours = steps(policy)
    settings: dict[str, Any] = {
        "recipe": manifest["slice"]["dpo"],
        "precision": precision,
        "model": str(model),
        "pairs": str(pairs_file),
        "folder": str(given.folder / f"{name}-plain"),
        "seed": manifest["slice"]["seed"],
        "system": manifest["slice"]["system_prompt"],
        "micro": micro,
        "activation_checkpointing": False,
        "cpu": given.rehearse,
    }
    file, result = given.folder / f"{name}-plain.settings.json", given.folder / f"{name}-plain.result.json"
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    script = Path(__file__).with_name("plain_dpo.py")
    plain = run([str(script), str(file), str(result)], given.folder / f"{name}-plain.log", SECONDS)
    theirs = json.loads(result.read_text(encoding="utf-8")) if not plain.failure else None
    losses = [step["loss"] for step in ours]
    gap = max(abs(one - other) for one, other in zip(losses, theirs["losses"], strict=True)) if theirs else None
    wanted = abs(losses[0] - math.log(2)) <= at_first(pairs) and (gap is None or gap <= APART[precision])
    tokens = theirs["tokens"] if theirs else None
    rows = [
        [
            *(training, precision, "framework", speed(tokens, [step["seconds"] for step in ours])),
            *(number(manifest["facts"]["peak_memory_bytes"] / GB), f"{losses[0]:.5f}", f"{losses[-1]:.5f}"),
            *(f"{gap:.1e}" if gap is not None else "–", "yes" if wanted else "NO"),
        ]
    ]
    if theirs is None:
        return [*rows, failed(training, precision, "plain TRL", plain.failure)]
    told = [speed(tokens, theirs["seconds"]), number(theirs["peak"] / GB)]
    return [*rows, [training, precision, "plain TRL", *told, *(f"{theirs['losses'][i]:.5f}" for i in (0, -1)), "", ""]]


def at_first(pairs: int) -> float:
    """Return how far the loss before any step may be from ln 2, as a mean over so many pairs."""
    return FIRST * math.sqrt(PAIRS / pairs)


def speed(tokens: int | None, seconds: list[float]) -> str:
    """Return tokens a second of all steps but the first."""
    later = seconds[1:]
    return number(tokens * len(later) / sum(later)) if tokens and later else "–"


def failed(training: str, precision: str, who: str, why: str) -> list[str]:
    """Return the row of what failed."""
    return [training, precision, who, f"failed: {why}", "", "", "", "", "NO"]


if __name__ == "__main__":
    main()
