"""A model of Mistral-7B's shape with random weights: 20 steps of LoRA and of all weights, and its answers.

    python benchmarks/gpu/seven_b.py FOLDER [--rehearse]

Its metrics mean nothing; what it takes does not depend on the weights.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from measuring import GB, ONCE, SHORT, Options, artifact, framework, number, options, plan, run, steps, write

STEPS, BATCH = 20, 16
SECONDS = 3600
OUTPUTS = "seven_b-outputs"
COLUMNS = ["training", "steps", "tokens/s", "MFU", "peak, GB", "the planner said", "loss 0", "last loss"]


def main() -> None:
    """Write the model, train it both ways, let it answer."""
    given = options()
    model = given.folder / "mistral-shape"
    script = str(Path(__file__).with_name("random_mistral.py"))
    size = ["--tiny"] if given.rehearse else []
    made = run([script, str(model), *size], given.folder / "random_mistral.log", SECONDS)
    if made.failure:
        raise SystemExit(f"the model could not be written: {made.failure}")
    parameters = json.loads((model / "parameters.json").read_text(encoding="utf-8"))
    rows = [trained(way, overrides, model, given) for way, overrides in ways(given).items()]
    words = [
        f"Random weights of Mistral-7B's shape ({parameters:,} parameters), {given.pick(4, BATCH)} pairs a step; "
        "tokens/s and MFU as the training tells them (of the device's peak in bfloat16; what activation checkpointing "
        "computes twice is not counted).",
        answered(model, given),
    ]
    write(given, "seven_b", "A model of Mistral-7B's shape", COLUMNS, rows, words)


def ways(given: Options) -> dict[str, list[str]]:
    """Return what is trained -> its overrides, the most frugal of all weights last."""
    if given.rehearse:
        return {"LoRA": ["dpo=lora"], "all weights": ["dpo=full"]}
    return {
        "LoRA, r 64": ["dpo=lora"],
        "all weights, float32 masters": ["dpo=full"],
        "all weights, bfloat16 throughout": ["dpo=full", "dpo.master_weights=same"],
        "all weights, bfloat16, 8-bit AdamW": ["dpo=full", "dpo.master_weights=same", "dpo.optimizer=adamw_bnb_8bit"],
    }


def common(model: Path, given: Options) -> list[str]:
    """Return the overrides of all runs."""
    return [
        *("experiment=smoke", "model=local", f"model.path={model}", "selection=average"),
        *("dpo.max_length=512", "dpo.max_prompt_length=384", "dpo.learning_rate=5.0e-7"),
        *("dpo.precision=bfloat16", f"hardware.micro_batch_size={given.pick(2, 4)}"),
    ]


def trained(way: str, overrides: list[str], model: Path, given: Options) -> list[str]:
    """Return the row of one training."""
    name = "seven_b-" + "".join(letter if letter.isalnum() else "-" for letter in way)
    batch, most = given.pick(4, BATCH), given.pick(3, STEPS)
    asked = [
        *(*common(model, given), *overrides, "until=policy", f"filters.max_pairs={batch * most}"),
        *(f"dpo.global_batch_size={batch}", "dpo.epochs=1", *ONCE),
    ]
    told = plan(name, asked, given, OUTPUTS) or "–"
    done = framework(name, asked, given, SECONDS, OUTPUTS)
    try:
        if done.failure:
            refused = re.match(r"error: stage \w+ needs [\d.]+ GB of memory", done.failure)
            what = "not begun, as planned" if refused else "failed"
            return [way, f"{what}: {done.failure.removeprefix('error: ')}", "", "", "", told, "", ""]
        return figures(way, told, *artifact(name, "policy", given))
    finally:  # with its checkpoint it is tens of GB, and nothing reads it again
        for folder in (given.folder / OUTPUTS / "artifacts").glob("policy-*"):
            if folder.is_dir():
                shutil.rmtree(folder)


def figures(way: str, told: str, policy: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the row of a training that came to its end."""
    found, facts = steps(policy), manifest["facts"]
    speeds = facts["throughput"]
    mfu = speeds["mfu"]
    share = "–" if mfu is None else f"{100 * mfu:.0f} %"
    return [
        *(
            way,
            str(len(found)),
            number(speeds["tokens_per_second"]),
            share,
            number(facts["peak_memory_bytes"] / GB),
            told,
        ),
        *(f"{found[0]['loss']:.5f}", f"{found[-1]['loss']:.5f}"),
    ]


def answered(model: Path, given: Options) -> str:
    """Say how many tokens a second the base model writes in the run's own process."""
    asked = [
        *(*common(model, given), "dpo=lora", "until=generations", "evaluation=[verifiable]"),
        *("evaluation.verifiable.kl_prompts=0", f"evaluation.verifiable.prompts={given.pick(4, 128)}"),
        *(f"evaluation.verifiable.max_new_tokens={given.pick(8, 128)}", *SHORT),
    ]
    done = framework("seven_b-answers", asked, given, SECONDS, OUTPUTS)
    if done.failure:
        return f"Answers in the run's own process: failed: {done.failure}."
    _, manifest = artifact("seven_b-answers", "generations_verifiable_base", given)
    facts = manifest["facts"]
    speed = number(facts["tokens"] / facts["seconds"])
    return (
        f"Answers of the base model in the run's own process: {speed} tokens/s, with loading"
        f" ({facts['answers']} prompts, {facts['tokens']:,} tokens)."
    )


if __name__ == "__main__":
    main()
