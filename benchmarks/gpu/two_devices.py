"""LoRA and all weights of SmolLM2-135M on one device and on two, launched in each way: the same losses?

    python benchmarks/gpu/two_devices.py FOLDER [--rehearse]

Only where there are two devices; on a machine with one there is nothing to measure.
"""

from __future__ import annotations

import importlib.util

from measuring import GB, ONCE, Options, artifact, framework, number, options, steps, write

COLUMNS = ["training", "launch", "processes", "seconds a step", "peak, GB", "last loss", "largest gap to one process"]
SECONDS = 3600


def main() -> None:
    """Measure each launch that is installed."""
    given = options()
    rows: list[list[str]] = []
    for training in ("lora", "full"):
        first: list[float] = []
        for launch in ("plain", "ddp", "fsdp2", "deepspeed"):
            rows.append(measured(training, launch, first, given))
    words = ["Global batches of 16 pairs in float32, micro-batches of 4; `plain` is one process."]
    write(given, "two_devices", "Two devices", COLUMNS, rows, words)


def measured(training: str, launch: str, first: list[float], given: Options) -> list[str]:
    """Return the row of one launch; the losses of one process are put into `first`."""
    processes = "1" if launch == "plain" else "2"
    if launch == "deepspeed" and not importlib.util.find_spec("deepspeed"):
        return [training, launch, processes, "not tried: not installed", "", "", ""]
    name = f"two-{training}-{launch}"
    overrides = [
        *given.pick(["experiment=smoke"], ["model=smollm2_135m"]),
        *(f"dpo={training}", "dpo.precision=float32", "until=policy", "filters.max_pairs=64", *ONCE),
        *("dpo.global_batch_size=16", "dpo.epochs=1", *(["dpo.lora.dropout=0"] if training == "lora" else [])),
        *("dpo.max_length=512", "dpo.max_prompt_length=384", "hardware.activation_checkpointing=false"),
        *("hardware.micro_batch_size=4", f"hardware.launch={launch}", f"hardware.processes={processes}"),
        *(["hardware.zero_stage=3"] if launch == "deepspeed" else []),
    ]
    # a launch is in no key: in one output folder the policy of another would be reused
    done = framework(name, overrides, given, SECONDS, launch)
    if done.failure:
        return [training, launch, processes, f"failed: {done.failure}", "", "", ""]
    policy, manifest = artifact(name, "policy", given)
    found = steps(policy)
    losses = [step["loss"] for step in found]
    if not first:
        first += losses
    gap = max(abs(one - other) for one, other in zip(losses, first, strict=True))
    seconds = sum(step["seconds"] for step in found[1:]) / max(len(found) - 1, 1)
    peak = number(manifest["facts"]["peak_memory_bytes"] / GB)
    return [training, launch, processes, number(seconds), peak, f"{losses[-1]:.5f}", f"{gap:.1e}"]


if __name__ == "__main__":
    main()
