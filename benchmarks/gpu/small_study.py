"""One small study from start to end: two selections, two seeds, and the comparison.

python benchmarks/gpu/small_study.py FOLDER [--rehearse]
"""

from __future__ import annotations

import json

from measuring import framework, number, options, write

SECONDS = 3600


def main() -> None:
    """Run it, and give it again: nothing may be made anew."""
    given = options()
    overrides = [
        *("-m", "experiment=smoke", "selection=critique,average", "seed=0,1", "study.name=accepted"),
        *given.pick([], ["model=smollm2_135m", "dpo.precision=bfloat16", "filters.max_pairs=64"]),
    ]
    rows = []
    for name in ("study", "study-again"):
        done = framework(name, overrides, given, SECONDS)
        end = f"failed: {done.failure}" if done.failure else "done"
        rows.append([name.replace("-", " "), number(done.seconds), end])
    compared = given.folder / "outputs" / "studies" / "accepted" / "comparison.json"
    words = ["The second time everything is there, and the comparison is made of it."]
    if compared.is_file():
        told = json.loads(compared.read_text(encoding="utf-8"))
        words.append(f"It compared {len(told.get('arms', []))} arms.")
    write(given, "small_study", "One small study", ["what", "seconds", "end"], rows, words)


if __name__ == "__main__":
    main()
