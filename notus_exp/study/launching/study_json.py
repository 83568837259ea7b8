"""study.json while a study runs: what it consists of, its runs, and the reasons of those that left no record."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from notus_exp.contracts.comparison_file import FORMAT as COMPARISON_FORMAT
from notus_exp.contracts.format import DamagedFileError, refuse_newer, sealed
from notus_exp.contracts.study_file import FORMAT, StudyFile, read_study_file
from notus_exp.disk.aside import set_aside
from notus_exp.disk.credentials import without_credentials
from notus_exp.disk.database import to_stderr
from notus_exp.disk.json_files import write_json
from notus_exp.disk.outputs import COMPARISON_JSON, STUDY_JSON, read_run
from notus_exp.errors import UserError
from notus_exp.study.launching.definition import ALONE, Definition, results
from notus_exp.study.launching.fixed_plan import count_results, keep_plan, refuse_another_plan
from notus_exp.study.launching.planned import Planned

_ANOTHER_NAME = "give another study.name=NAME"


def describe(definition: Definition) -> StudyFile:
    """Return what study.json says of a study before any of its runs."""
    settings = definition.settings
    common = [override for override in definition.common if not override.lstrip("+").startswith("study.")]
    return {
        "format": FORMAT,
        "name": definition.name,
        "kind": definition.kind,
        "command": without_credentials(sys.argv[1:]),
        "metric": settings.metric,
        "baseline": settings.baseline,
        "margin": settings.margin,
        "seeds": settings.seeds,
        "factors": definition.factors,
        "arms": {
            arm.name: {
                "overrides": without_credentials([*common, *arm.overrides]),
                "levels": arm.levels,
                "tuned": {},
                "runs": {},
            }
            for arm in definition.arms
        },
        "tuning": None,
        "unplanned": {},
    }


def check_same(definition: Definition, folder: Path) -> None:
    """Refuse a study whose name belongs to another one with results: of another kind, or with other arms or plan.

    Arms and seeds may be added. An arm of which no run has finished may be mended, or dropped, under its name, and a
    seed of which none has dropped.

    Raises:
        UserError: Naming what the study has that this command would replace.
        NewerFormatError: Its study.json, comparison.json or a run.json is of a newer version.
    """
    refuse_newer(folder / COMPARISON_JSON, COMPARISON_FORMAT)
    before = _before(folder)
    if before is None:
        return
    if before["kind"] != definition.kind and "search" in (before["kind"], definition.kind):
        raise UserError(f"the study '{definition.name}' exists and is of kind {before['kind']}", _ANOTHER_NAME)
    described = describe(definition)
    now = described["arms"]
    finished = {
        arm: [seed for seed, run in known["runs"].items() if read_run(folder, run)["status"] == "finished"]
        for arm, known in before["arms"].items()
    }
    _refuse_dropped_arms(definition, before, [arm for arm, seeds in finished.items() if seeds and arm not in now])
    for arm, seeds in finished.items():
        if not seeds:
            continue
        then = before["arms"][arm]["overrides"]
        if results(then) != results(now[arm]["overrides"]):
            raise UserError(
                f"the study '{definition.name}' exists, and its arm '{arm}' is another:"
                f" {_apart(results(then), results(now[arm]['overrides']))}",
                _ANOTHER_NAME,
            )
        if dropped := [seed for seed in seeds if int(seed) not in described["seeds"]]:
            raise UserError(
                f"the study '{definition.name}' has finished runs with seed {', '.join(dropped)}, which this command"
                " would drop from it",
                f"{_ANOTHER_NAME}, or name those seeds too",
            )
    if definition.kind != "search":
        refuse_another_plan(before, described, folder)


def _refuse_dropped_arms(definition: Definition, before: StudyFile, dropped: Sequence[str]) -> None:
    """Refuse to drop arms; where other settings are varied than before, its arms have other names, so say that."""
    if not dropped:
        return
    factors = before["factors"] or {}
    varied = _varied(factors, before["arms"])
    varies = _varied(definition.factors or {}, [arm.name for arm in definition.arms])
    named = f"{'an arm' if len(dropped) == 1 else 'the arms'} {', '.join(repr(arm) for arm in dropped)}"
    if varied == varies:
        remedy = f"name {'that arm' if len(dropped) == 1 else 'those arms'} too"
        because = ""
    else:
        swept = " ".join(f"{key}={','.join(values)}" for key, values in factors.items())
        remedy = f"vary the same again: {swept}" if swept else ""
        because = f": it varies {varied}, and this command {varies}"
    raise UserError(
        f"the study '{definition.name}' exists with {named}, which this command would drop from it{because}",
        f"{_ANOTHER_NAME}, or {remedy}" if remedy else _ANOTHER_NAME,
    )


def _varied(factors: Mapping[str, Sequence[str]], arms: Iterable[str]) -> str:
    """Say what sets a study's arms apart."""
    return " and ".join(factors) or ("only seeds" if [*arms] == [ALONE] else "what its arms name")


def _apart(then: Sequence[str], now: Sequence[str]) -> str:
    """Say what sets two lists of overrides apart."""
    gone = [override for override in then if override not in now]
    new = [override for override in now if override not in then]
    parts = [f"it had {' '.join(gone)}"] if gone else []
    parts += [f"this command {'gives' if gone else 'adds'} {' '.join(new)}"] if new else []
    return ", and ".join(parts) or f"the same settings in another order, {' '.join(then)}"


def note_plan(study: StudyFile, folder: Path) -> list[str]:
    """Note when the primary contrasts were named and what this command adds; return what the user is told of it."""
    return keep_plan(study, _before(folder), folder)


def replaced(planned: Sequence[Planned], folder: Path) -> int:
    """Count finished runs of the same arms and seeds in the study that are of other content: data, code, libraries."""
    before = _before(folder)
    arms = before["arms"] if before else {}
    known = {(arm, int(seed)): run for arm, spec in arms.items() for seed, run in spec["runs"].items()}
    changed = [known[one.arm, one.seed] for one in planned if known.get((one.arm, one.seed), one.run.id) != one.run.id]
    return sum(read_run(folder, run)["status"] == "finished" for run in changed)


def note_runs(study: StudyFile, planned: Sequence[Planned], folder: Path) -> None:
    """Write down which run belongs to each arm and seed, and how many had results when the plan was made."""
    for one in planned:
        study["arms"][one.arm]["runs"][str(one.seed)] = one.run.id
    if study["plan"]["results"] is None:
        study["plan"]["results"] = count_results(study, folder)


def note_failures(study: StudyFile, planned: Sequence[Planned], reasons: Mapping[str, str], folder: Path) -> None:
    """Keep the reasons of runs that left no record of their own, such as one whose launcher died.

    Args:
        study: The content of study.json.
        planned: The runs.
        reasons: Run id -> why it did not finish.
        folder: The study's.
    """
    for one in planned:
        recorded = read_run(folder, one.run.id)["status"] in ("finished", "failed", "pruned", "interrupted")
        if one.run.id in reasons and not recorded:
            study["unplanned"].setdefault(one.arm, {})[str(one.seed)] = reasons[one.run.id]


def write(folder: Path, study: StudyFile) -> None:
    """Write study.json; one that is damaged is set aside before.

    Raises:
        UserError: Another command wrote another plan meanwhile, and there are results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / STUDY_JSON
    try:
        before = read_study_file(path)
        if study["kind"] != "search":
            refuse_another_plan(before, study, folder)
    except FileNotFoundError:
        pass
    except DamagedFileError as error:
        to_stderr(f"{error.message}; it is set aside as {set_aside(path).name} and written anew")
    write_json(path, sealed(study))


def _before(folder: Path) -> StudyFile | None:
    """Return what an earlier command left of the study; None where there is nothing, or nothing that can be read."""
    try:
        return read_study_file(folder / STUDY_JSON)
    except (FileNotFoundError, DamagedFileError):
        return None
