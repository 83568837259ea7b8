"""The tests that need a CUDA device: `python benchmarks/gpu/gpu_tests.py FOLDER [--rehearse]`, which skips them."""

from __future__ import annotations

import re

from measuring import ROOT, number, options, reason, run, write

SECONDS = 1800


def main() -> None:
    """Run them and count."""
    given = options()
    log = given.folder / "pytest.log"
    done = run(["-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "gpu")], log, SECONDS)
    text = log.read_text(encoding="utf-8")
    counted = {
        word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", text.splitlines()[-1])
    }
    rows = [[*(str(counted.get(word, 0)) for word in ("passed", "failed", "skipped")), number(done.seconds)]]
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", text, re.MULTILINE)
    words = [f"failed: {one[:300]}" for one in failed] or ([f"failed: {reason(log)}"] if done.failure else [])
    write(given, "gpu_tests", "Tests that need a device", ["passed", "failed", "skipped", "seconds"], rows, words)


if __name__ == "__main__":
    main()
