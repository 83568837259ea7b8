"""Takes the pictures of docs/pictures: a study, a search and a curation at three widths, light and dark.

    make pictures

runs study=acceptance and study=beta_search, reusing what is finished, and then this script on what they left.
It needs Chromium. Those of study=claims, which takes hours, are taken with --claims where it was run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from browser import SCHEMES, WIDTHS, Browser

from notus_exp.disk.files import CURATION_HTML
from notus_exp.disk.outputs import REPORT_HTML, artifact, read_study, runs_of

PAGES = ("study", "search", "curation")
CLAIMS = "claims"
"""A page of a study that `make pictures` does not run."""
MOST_HIGH = 1400
"""Pixels of a page that a picture shows."""


def names(page: str) -> dict[str, tuple[int, str]]:
    """Return the file of each picture of a page, and for which width and scheme it is."""
    return {f"{page}-{width}-{scheme}.png": (width, scheme) for width in WIDTHS for scheme in SCHEMES}


def take(browser: Browser, pages: Mapping[str, Path], out: Path) -> list[Path]:
    """Write the pictures of pages, by what they are called, and return the files."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for page, path in pages.items():
        for name, (width, scheme) in names(page).items():
            browser.open(path, width, scheme)
            (out / name).write_bytes(browser.picture(MOST_HIGH))
            written.append(out / name)
    return written


def curation_of(study: Path) -> Path:
    """Return the curation.html of a study's first run."""
    runs = [run for by_seed in runs_of(study, read_study(study)).values() for run in by_seed.values()]
    return artifact(study, runs[0], "pairs") / CURATION_HTML


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a finished study of arms")
    parser.add_argument("search", type=Path, help="folder of a finished search")
    parser.add_argument("--curation", type=Path, help="a curation.html; else that of the study's first run")
    parser.add_argument("--claims", type=Path, help="folder of a finished study=claims or study=claims_probed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/pictures")
    given = parser.parse_args()
    curation = given.curation or curation_of(given.study)
    found = dict(zip(PAGES, (given.study / REPORT_HTML, given.search / REPORT_HTML, curation), strict=True))
    found |= {CLAIMS: given.claims / REPORT_HTML} if given.claims else {}
    with Browser() as browser:
        for path in take(browser, found, given.out):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
