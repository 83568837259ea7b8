"""report.html of a study: one page that stands alone, from the comparison and the runs behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from notus_exp.contracts.comparison_file import ComparisonFile
from notus_exp.disk.outputs import read_study, runs_of
from notus_exp.reporting.figures import style
from notus_exp.reporting.looks import line_sign, sign
from notus_exp.reporting.pages import page_templates
from notus_exp.reporting.tables import plain
from notus_exp.study.report.curations import curations
from notus_exp.study.report.differences import bradley_terry, contrasts, effects
from notus_exp.study.report.every_arm import matrix, metrics
from notus_exp.study.report.flips import flips
from notus_exp.study.report.headline import headline
from notus_exp.study.report.learning import learning
from notus_exp.study.report.lineage import lineage
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import about
from notus_exp.study.report.palette import looks
from notus_exp.study.report.quality import cost, length
from notus_exp.study.report.searched import search, search_headline
from notus_exp.study.report.side_by_side import answers

Gatherer = Callable[[Material], Section]

_OF_ARMS: tuple[Gatherer, ...] = (
    contrasts,
    metrics,
    effects,
    bradley_terry,
    length,
    learning,
    cost,
    matrix,
    curations,
    flips,
    answers,
)
"""The sections that tell of arms, in the page's order; a search has none."""
_OF_FEW: tuple[Gatherer, ...] = (metrics, length, learning, matrix, curations, flips, answers, lineage)
"""The sections in which each arm takes room: of many arms they show some."""


def write_report(folder: Path, comparison: ComparisonFile, out: Path) -> None:
    """Write a study's report as one HTML page: no scripts, no requests, every text from the data escaped.

    What the study does not have (an evaluation, a finished run, events) leaves its section out, or the section says so.

    Args:
        folder: outputs/studies/<name>, with study.json; the runs and artifacts are found beside it.
        comparison: comparison.json.
        out: The file to write, report.html.

    Raises:
        UserError: The folder is not a study.
    """
    study = read_study(folder)
    numbers = plain(comparison)
    arms = [row["arm"] for row in numbers["arms"]]
    known = list(dict.fromkeys([*arms, *study["arms"]]))
    material = Material(folder, study, numbers, runs_of(folder, study), looks(known))
    gatherers = (*(_OF_ARMS if arms else ()), search, lineage)
    with style():
        sections = [_gathered(gather, material) for gather in gatherers]
    page = render(material, [section for section in sections if section.content is not None or section.note])
    out.write_text(page, encoding="utf-8", errors="replace")  # a lone surrogate in a prompt cannot be written


def _gathered(gather: Gatherer, material: Material) -> Section:
    if gather not in _OF_FEW:
        return gather(material)
    section = gather(material.of_shown())
    return section if section.content is None else section._replace(fewer=material.fewer)


def render(material: Material, sections: list[Section]) -> str:
    """Return the page of these sections."""
    templates = page_templates(Path(__file__).parent / "templates")
    statuses = [run["status"] for by_seed in material.runs.values() for run in by_seed.values()]
    return templates.get_template("report.html.j2").render(
        study=material.comparison["study"],
        comparison=material.comparison,
        about=about(material.metric),
        headline=search_headline(sections) or headline(material.comparison),
        sections=sections,
        signs={name: sign(look) for name, look in material.looks.items()},
        lines={name: line_sign(look) for name, look in material.looks.items()},
        statuses={status: statuses.count(status) for status in dict.fromkeys(statuses)},
    )
