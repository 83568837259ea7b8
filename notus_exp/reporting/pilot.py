"""The variances of a finished study's contrasts, from its comparison.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

from scipy import stats

from notus_exp.contracts.comparison_file import (
    ComparisonFile,
    ContrastRow,
    family_of,
    not_a_comparison,
    read_comparison,
)
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.run_file import read_run_file
from notus_exp.contracts.study_file import read_study_file
from notus_exp.disk.files import RUN_JSON
from notus_exp.disk.outputs import COMPARISON_JSON, STUDY_JSON, study_meant
from notus_exp.errors import UserError, did_you_mean, nearest
from notus_exp.inference.crossed import Components
from notus_exp.inference.estimates import CONFIDENCE


class Pilot(NamedTuple):
    """A contrast of a study: what it compared, how much it measured, its variances (NaN where it could not tell).

    `differing` counts the prompts on which its sides are not the same in every seed; None where the study's
    comparison.json is of before that was counted.
    """

    metric: str
    arm: str
    reference: str
    prompts: int
    seeds: int
    variances: Components
    differing: int | None = None

    @property
    def differing_share(self) -> float | None:
        """The share of its prompts that differ; None where that is not known."""
        return None if self.differing is None or not self.prompts else self.differing / self.prompts


UNGIVEN = Components(math.nan, math.nan, math.nan)
"""Variances of which none is given."""


class SeedBound(NamedTuple):
    """How large a variance between seeds may be that a pilot of so many seeds measured.

    Attributes:
        variance: One-sided 95 % upper bound, in the squared unit of the metric.
        seeds: K of the pilot, at least 2.
    """

    variance: float
    seeds: int

    def words(self, measured: float) -> str:
        """Say the measured deviation of a variance, and how large it may be."""
        return f"{math.sqrt(measured):.3g}, and with 95 % confidence no more than {math.sqrt(self.variance):.3g}"


def read_pilot(
    folder: Path, *, metric: str | None = None, arm: str | None = None, reference: str | None = None
) -> list[Pilot]:
    """Return a study's contrasts: those of its family, or of the metric and arms that are named.

    Args:
        folder: outputs/studies/NAME, whose comparison.json is the planned one; or a folder in its comparisons/.
        metric: Its contrasts instead of the family's; None for the family, the primary contrasts.
        arm: Only contrasts of this arm.
        reference: Only contrasts with this reference.

    Raises:
        UserError: There is no comparison, it is unreadable or of a newer version, or it has no such contrast.
    """
    comparison = _read(folder)
    contrasts = comparison["contrasts"]
    chosen = _family(comparison) if metric is None else [one for one in contrasts if one["metric"] == metric]
    if not chosen and metric is not None:
        raise UserError(
            f"the study {folder} has no contrast of the metric '{metric}'",
            nearest(metric, {str(one["metric"]) for one in contrasts}),
        )
    sides: list[tuple[Literal["arm", "reference"], str | None]] = [("arm", arm), ("reference", reference)]
    for key, wanted in sides:
        known = {str(one[key]) for one in chosen}
        if wanted is not None and wanted not in known:
            raise UserError(f"the study {folder} has no contrast with {key} '{wanted}'", did_you_mean(wanted, known))
        chosen = [one for one in chosen if wanted in (None, one[key])]
    if not chosen:
        raise UserError(f"the study {folder} has no contrast of a primary metric", "name one with --metric")
    return [pilot_of(one) for one in chosen]


def largest_setting(folder: Path, evaluation: str, setting: str) -> float | None:
    """Return the largest value of a setting of an evaluation in the runs of a pilot.

    Args:
        folder: outputs/studies/NAME, or a folder in its comparisons/.
        evaluation: The evaluation.
        setting: Its setting, a number.

    Returns:
        None where a run is not there, as its study was moved without it, or says nothing of the setting.
    """
    study = next((place for place in (folder, folder.parent.parent) if (place / STUDY_JSON).is_file()), None)
    if study is None:
        return None
    try:
        arms = read_study_file(study / STUDY_JSON)["arms"].values()
        places = {study.parent.parent / "runs" / run / RUN_JSON for arm in arms for run in arm["runs"].values()}
        values = [read_run_file(place)["config"]["evaluation"][evaluation][setting] for place in places]
    except (OSError, UserError, DamagedFileError, KeyError, TypeError):
        return None
    return max(values) if values and all(isinstance(value, int | float) for value in values) else None


def family_size(folder: Path) -> int:
    """Return how many contrasts a study's family has, whose p values Holm corrects; at least 1.

    Raises:
        UserError: There is no comparison, or it is unreadable or of a newer version.
    """
    return max(1, len(_family(_read(folder))))


def completed(pilot: Pilot, given: Components) -> Components:
    """Return a pilot's variances, with those that are given (not NaN) in their place.

    A pilot of one seed knows prompt and residual only together. Without a given residual all of it counts as the
    prompts' own, which more seeds do not lessen: they will see more than is said, not less.

    Raises:
        UserError: The pilot has one seed, or one prompt, and what it cannot tell is not given.
    """
    prompt, seed, residual = (
        measured if math.isnan(other) else other for measured, other in zip(pilot.variances, given, strict=True)
    )
    name = f"{pilot.metric}: {pilot.arm} minus {pilot.reference}"
    if math.isnan(seed):
        raise UserError(
            f"{name}: the pilot's seeds are {pilot.seeds}, which cannot tell the variance between seeds",
            "give --seed-sd, or a pilot of 2 seeds or more (better 5)",
        )
    if math.isnan(prompt):
        raise UserError(f"{name}: the pilot's prompts are {pilot.prompts}, too few", "give --prompt-sd, --residual-sd")
    if pilot.seeds == 1 and math.isnan(given.prompt):
        residual = 0.0 if math.isnan(residual) else min(residual, prompt)
        prompt -= residual
    return Components(prompt, seed, 0.0 if math.isnan(residual) else residual)


def seed_bound(pilot: Pilot, given: Components) -> SeedBound | None:
    """Return the upper bound of a pilot's seed variance; None where that variance is given or there is but one seed.

    MS_seed is distributed as (n sigma_seed^2 + sigma_e^2) chi2(K - 1) / (K - 1), so that in 95 of 100 pilots

        sigma_seed^2 <= ((K - 1) MS_seed / q - sigma_e^2) / n,    q the 5 % quantile of chi2(K - 1),

    with MS_residual for sigma_e^2, which has (n - 1) times the degrees and counts as known. MS_seed is rebuilt from the
    components as n seed + residual: where the estimate was cut to 0 that is MS_residual, which is no less than the
    MS_seed that was measured, so that the bound is rather too wide. It takes the seeds' effects for normal. Two seeds
    multiply MS_seed by 254, three by 19.5, five by 5.6, ten by 2.7.
    """
    measured = pilot.variances
    if pilot.seeds < 2 or math.isnan(measured.seed) or not math.isnan(given.seed):
        return None
    degrees = pilot.seeds - 1
    factor = degrees / float(stats.chi2.ppf(1 - CONFIDENCE, degrees))
    expected = factor * (pilot.prompts * measured.seed + measured.residual)
    return SeedBound((expected - measured.residual) / pilot.prompts, pilot.seeds)


def _family(comparison: ComparisonFile) -> list[ContrastRow]:
    """Return the primary contrasts, or of a look afterwards, which was asked for by its folder, those of its family."""
    primary = [one for one in comparison["contrasts"] if one["primary"]]
    return primary or (family_of(comparison) if "study" in comparison else [])


def _read(folder: Path) -> ComparisonFile:
    path = folder / COMPARISON_JSON
    if not path.is_file():
        written = f"python -m notus_exp.compare {folder} writes it, or name another"
        is_study = (folder / STUDY_JSON).is_file()
        raise UserError(f"the pilot {folder} has no {COMPARISON_JSON}", written if is_study else study_meant(folder))
    comparison = read_comparison(path)
    try:
        for one in comparison["contrasts"]:
            pilot_of(one), one["primary"]
        chosen = comparison["study"].get("chosen_afterwards") if "study" in comparison else None
    except (ValueError, KeyError, TypeError) as error:
        raise not_a_comparison(path, error) from error
    if chosen and (folder / STUDY_JSON).exists():  # an earlier version wrote a look in the place of what was planned
        raise UserError(
            f"{path} rests on another {' and '.join(chosen)} than the study named",
            f"python -m notus_exp.compare {folder} writes the planned one anew",
        )
    return comparison


def pilot_of(one: ContrastRow) -> Pilot:
    """Return what a contrast of comparison.json says as a pilot."""
    variances = (one["components"][name] for name in ("prompt", "seed", "residual"))
    known = Components(*(math.nan if value is None else float(value) for value in variances))
    sizes = int(one["prompts"]), int(one["seeds"])
    return Pilot(one["metric"], one["arm"], one["reference"], *sizes, known, one.get("differing"))
