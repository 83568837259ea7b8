"""Tokens a second that SmolLM2-135M writes: in the run's own process, and by each engine that is installed.

python benchmarks/gpu/answers.py FOLDER [--rehearse]
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec

from measuring import SHORT, Options, artifact, framework, number, options, write

from notus_exp.machine.servers import search_path

ENGINES = {"transformers": (), "vllm": ("vllm",), "sglang": ("sglang",), "transformers_serve": ("fastapi", "openai")}
"""Option of `generation` -> the packages that it needs here, or the program of one that lies elsewhere."""
COLUMNS = ["generation", "who", "answers", "tokens", "seconds", "tokens/s"]
SECONDS = 1800


def main() -> None:
    """Answer the same prompts by all of them."""
    given = options()
    rows = [row for option in ENGINES for row in answered(option, given)]
    words = ["Greedy. Seconds are the stage's: loading a model is in each, starting a server in the first."]
    write(given, "answers", "Answers by SmolLM2-135M", COLUMNS, rows, words)


def answered(option: str, given: Options) -> list[list[str]]:
    """Return a row for base model and policy, or one that says why there is none."""
    absent = [name for name in ENGINES[option] if not (shutil.which(name, path=search_path()) or find_spec(name))]
    if absent:
        return [[option, f"not tried: {absent[0]} is not installed", "", "", "", ""]]
    name = f"answers-{option}"
    prompts, most = given.pick((8, 8), (512, 128))
    overrides = [
        *given.pick(["experiment=smoke", "dpo.precision=float32"], ["model=smollm2_135m", "dpo.precision=bfloat16"]),
        *("dpo=lora_small", "until=generations", f"generation={option}", *SHORT),
        *("evaluation=[verifiable]", "evaluation.verifiable.kl_prompts=0"),
        *(f"evaluation.verifiable.prompts={prompts}", f"evaluation.verifiable.max_new_tokens={most}"),
    ]
    done = framework(name, overrides, given, SECONDS)
    if done.failure:
        return [[option, f"failed: {done.failure}", "", "", "", ""]]
    rows = []
    for who, stage in (("base", "generations_verifiable_base"), ("policy", "generations_verifiable")):
        facts = artifact(name, stage, given)[1]["facts"]
        seconds, tokens = facts["seconds"], facts["tokens"]
        speed = tokens / seconds if seconds else None
        rows.append([option, who, str(facts["answers"]), f"{tokens:,}", number(seconds), number(speed)])
    return rows


if __name__ == "__main__":
    main()
