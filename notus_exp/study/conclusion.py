"""What a study leaves for its readers: comparison.json, comparison.csv and report.html.

In the study's folder lies what was planned: its metric, baseline and margin. Where another was chosen the comparison is
a look afterwards: it lies in a folder of its own in `comparisons/`, and replaces nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from notus_exp.comparison.analysis import analyse
from notus_exp.comparison.tidy import tidy
from notus_exp.contracts.comparison_file import FORMAT, LOOKS, ComparedStudy, ComparisonFile, read_comparison
from notus_exp.contracts.format import DamagedFileError, refuse_newer, sealed
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.hashing import digest
from notus_exp.disk.json_files import write_json
from notus_exp.disk.outputs import (
    COMPARISON_CSV,
    COMPARISON_JSON,
    NOT_STARTED,
    REPORT_HTML,
    STUDY_JSON,
    read_run,
    read_study,
)
from notus_exp.errors import UserError

_UNUSABLE = re.compile(r"[^\w.,=+-]+")
"""What stands in no name of a look."""
_LONGEST = 80
"""Characters of a look's name, where it is not given."""


def write_outcome(
    folder: Path,
    *,
    out: Path | None = None,
    name: str | None = None,
    baseline: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
) -> ComparisonFile:
    """Compare a study's arms, or say what a search's trials are worth, and write the three files.

    Args:
        folder: outputs/studies/<name>.
        out: Folder for the files, made where it is missing; None: as `place_of`.
        name: Of a look afterwards; None: made of what was chosen.
        baseline: As in `analysis.analyse`; a search has none.
        metric: As in `analysis.analyse`; a search has none to choose.
        margin: As in `analysis.analyse`; a search has none.

    Returns:
        The comparison.

    Raises:
        UserError: As `analysis.analyse`; a search was asked for an arm, metric or margin; a look would go over what was
            planned, or over one that asked something else; or a run has no record any more of which the comparison that
            would be written over has a result. Nothing is written then.
        NewerFormatError: There is a comparison.json of a newer version, which would be written over.
    """
    from notus_exp.study.report import write_report  # imports matplotlib and Jinja2

    refuse_newer((out or folder) / COMPARISON_JSON, FORMAT)
    study = read_study(folder, check_seal=False)  # `analyse` checks it
    if study["kind"] == "search":
        from notus_exp.study.search.search_comparison import search_comparison  # imports Optuna

        _refuse_choice(study, {"baseline": baseline, "metric": metric, "margin": margin})
        comparison = search_comparison(folder, study)
    else:
        comparison = analyse(folder, baseline=baseline, metric=metric, margin=margin)
    place = out or place_of(folder, comparison["study"], name)
    if comparison["study"]["chosen_afterwards"] and (place / STUDY_JSON).exists():
        raise UserError(
            f"{place} holds what a study planned, which a look afterwards does not replace",
            f"leave it out: the files go to {place_of(folder, comparison['study'], name)}",
        )
    refuse_newer(place / COMPARISON_JSON, FORMAT)
    _refuse_another(place, folder, comparison["study"], "--output" if out else "--name")
    _refuse_lost(place, folder, study)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / COMPARISON_JSON, sealed(comparison))
    tidy(comparison).write_csv(place / COMPARISON_CSV)
    write_report(folder, comparison, place / REPORT_HTML)
    return comparison


def place_of(folder: Path, compared: ComparedStudy, name: str | None = None) -> Path:
    """Return where the files of a comparison go: the study's folder, or of a look afterwards `comparisons/<name>`.

    Args:
        folder: outputs/studies/<name>.
        compared: The comparison's `study`.
        name: Of the look; None: made of what was chosen, such as `baseline=average,margin=0.05`.

    Raises:
        UserError: The name is no folder's, or there is nothing to name: all is as the study planned it.
    """
    chosen = compared["chosen_afterwards"]
    if name is not None and (not name.strip(".") or _UNUSABLE.search(name)):
        raise UserError(f"--name {name} is no name of a folder", "use letters, digits and . , = + - _")
    if chosen:
        return folder / LOOKS / (name or _name_of(compared))
    if name is not None:
        raise UserError(
            f"--name {name} names a look afterwards, and this is what the study planned",
            "leave it out, or choose another --baseline, --metric or --margin",
        )
    return folder


def _name_of(compared: ComparedStudy) -> str:
    """Return a name for a look: what was chosen, with a hash where that is no folder's name as it is."""
    values = {"baseline": compared["baseline"], "metric": compared["metric"], "margin": compared["margin"]}
    text = ",".join(f"{key}={values[key]}" for key in compared["chosen_afterwards"])
    plain = _UNUSABLE.sub("_", text)
    return plain if plain == text and len(text) <= _LONGEST else f"{plain[:_LONGEST]}-{digest(text)[:8]}"


def _refuse_choice(study: StudyFile, chosen: dict[str, object]) -> None:
    for key, value in chosen.items():
        if value is not None:
            raise UserError(
                f"--{key} {value} does nothing: '{study['name']}' is a search, which compares no arms", "leave it out"
            )


def _refuse_another(place: Path, folder: Path, asked: ComparedStudy, option: str) -> None:
    """Refuse to write over a comparison that asked something else; what the study planned lies in its own folder."""
    if place.resolve() == folder.resolve():
        return
    try:
        there = read_comparison(place / COMPARISON_JSON).get("study", {})
    except (FileNotFoundError, DamagedFileError):
        return
    questions: list[dict[str, object]] = [
        {"study": one.get("name"), **{key: one.get(key) for key in ("metric", "baseline", "margin")}}
        for one in (there, asked)
    ]
    before, now = (
        " ".join(f"{key}={question[key]}" for key in question if questions[0][key] != questions[1][key])
        for question in questions
    )
    if before:
        raise UserError(
            f"{place} holds a comparison with {before}, and this one has {now}: it would replace that one",
            f"give another {option}, or none, or delete the folder",
        )


def _refuse_lost(place: Path, folder: Path, study: StudyFile) -> None:
    """Refuse to write over a comparison with one that lacks a run, as its record is gone."""
    try:
        before = read_comparison(place / COMPARISON_JSON)
    except (FileNotFoundError, DamagedFileError):
        return
    for row in before.get("arms", []):
        now = study["arms"].get(row["arm"])
        for seed in map(str, row.get("seeds", [])):
            run = row.get("runs", {}).get(seed)
            if now is None or run is None or now["runs"].get(seed) != run:
                continue
            if read_run(folder, run)["status"] == NOT_STARTED:
                raise UserError(
                    f"run {run} (arm '{row['arm']}', seed {seed}) has no {RUN_JSON} any more, and"
                    f" {place / COMPARISON_JSON} was made with it",
                    f"give the study's command again: it makes the run anew; or delete {COMPARISON_JSON} to compare"
                    " without it",
                )
