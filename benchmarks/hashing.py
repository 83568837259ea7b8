"""What hashing artifacts costs: beside the work of a finished run, and for a second arm over the same large base model.

    python benchmarks/hashing.py --outputs outputs          # a finished run or study, such as the default one
    python benchmarks/hashing.py --gigabytes 5              # size of the made-up base model

The first figure reads every file of every artifact again, as `artifacts verify` does, and prints the time as a share of
the seconds that making those artifacts took: an upper bound of what hashing while writing added, since each file is
hashed once. The second makes an artifact of random bytes and looks at it as two arms of a study do; it counts the bytes
that each of them read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk import artifacts
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.inventory import verify

MOST_SHARE = 0.03


def main() -> int:
    """Measure and print; return 1 where hashing costs too much or a second look reads anything."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--outputs", type=Path, metavar="FOLDER", help="of a finished run")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the made-up base model")
    options = parser.parse_args()
    bad = False
    if options.outputs:
        share = _share(options.outputs)
        bad = share > MOST_SHARE
    return 1 if _two_arms(options.gigabytes) or bad else 0


def _share(outputs: Path) -> float:
    made = sum(read_manifest(path).seconds for path in outputs.glob(f"artifacts/*/{MANIFEST}"))
    start = time.perf_counter()
    found = verify(outputs)
    seconds = time.perf_counter() - start
    size = sum(one.size for one in found)
    print(
        f"{len(found)} artifacts, {size / 1e6:.0f} MB: hashed in {seconds:.2f} s; making them took {made:.0f} s; "
        f"ratio {seconds / made:.4f} (at most {MOST_SHARE})"
    )
    return seconds / made


def _two_arms(gigabytes: float) -> bool:
    read: list[int] = []
    content_hash = artifacts.content_hash

    def counted(path: Path) -> str:
        read.append(path.stat().st_size)
        return content_hash(path)

    artifacts.content_hash = counted
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        wanted = Manifest("base_model", "0" * 64, {}, {}, {})
        written = time.perf_counter()
        store.build(wanted, lambda out: _write(out, gigabytes), resumable=False)
        written = time.perf_counter() - written
        figures = [("made", written, sum(read))]
        for arm in ("first arm", "second arm"):
            read.clear()
            start = time.perf_counter()
            store.check(Manifest("base_model", "0" * 64, {}, {}, {}))
            figures.append((arm, time.perf_counter() - start, sum(read)))
        os.utime(store.path("base_model", "0" * 64) / "weights")
        read.clear()
        start = time.perf_counter()
        store.check(Manifest("base_model", "0" * 64, {}, {}, {}))
        figures.append(("after something touched it", time.perf_counter() - start, sum(read)))
    for what, seconds, size in figures:
        print(f"{what}: {seconds:.3f} s, {size / 1e9:.2f} GB hashed")
    return any(size for _, _, size in figures[1:3])


def _write(out: Path, gigabytes: float) -> dict[str, Any]:
    block = os.urandom(1 << 24)
    with (out / "weights").open("wb") as stream:
        for _ in range(int(gigabytes * 1e9 / len(block))):
            stream.write(block)
    return {}


if __name__ == "__main__":
    sys.exit(main())
