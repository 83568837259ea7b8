"""The pairs of a run with everything that is known of their two completions, and the completions themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from notus_exp.comparison.pair_sets import SIDES
from notus_exp.disk.files import COLUMNS, COMPLETIONS, PAIRS
from notus_exp.disk.outputs import artifact
from notus_exp.errors import UserError
from notus_exp.feedback.table import CORPUS, LATENT_QUALITY
from notus_exp.frames.run_data import RunData
from notus_exp.stages.settings import ANNOTATED

COLUMN = "column_"
"""Begins, behind the side, the name of a score that an annotator or a file of scores gave."""
_ID = ["row", "completion"]
_OF_COMPLETIONS = ("principle", "system_prompt", "overall_score", "critique", LATENT_QUALITY)
_RATING = "rating_"


def place_of_artifact(run: RunData, node: str) -> Path:
    """Return the folder of a run's artifact, its content checked.

    Raises:
        UserError: The run did not get so far, or the artifact is gone or not what was written.
    """
    if node not in run.record.get("stages", {}):
        raise UserError(
            f"run {run.run_id} has no {node}: it is {run.status}",
            "name a run that got so far",
        )
    found = artifact(run.folder, run.record, node)
    if not found.is_dir():
        raise UserError(f"{found} is gone", f"the command of run {run.run_id} makes it anew")
    return found


def completions_of(run: RunData) -> pl.DataFrame:
    """Return the completions table of a run (`feedback/table.py` says what is in it).

    Raises:
        UserError: As `place_of_artifact`.
    """
    return _read(place_of_artifact(run, "feedback") / COMPLETIONS)


def scored_pairs(run: RunData) -> pl.DataFrame:
    """Return the pairs of a run with all scores, in the order of pairs.parquet.

    Returns:
        The columns of pairs.parquet (`curation/pairs.py`); `corpus` of a mix; and of each side `SIDE_rating_ASPECT`,
        `SIDE_overall_score`, `SIDE_critique`, `SIDE_principle`, `SIDE_system_prompt`, of simulated data
        `SIDE_latent_quality`, and `SIDE_column_NAME` of each annotator and joined score that the run made. Pairs of
        versions that did not note their completions have those of pairs.parquet alone.

    Raises:
        UserError: As `place_of_artifact`.
    """
    pairs = _read(place_of_artifact(run, "pairs") / PAIRS)
    if any(f"{side}_completion" not in pairs.columns for side in SIDES):
        return pairs
    completions = completions_of(run)
    if CORPUS in completions.columns:
        rows = completions.select("row", CORPUS).unique()
        pairs = pairs.join(rows, on="row", how="left", maintain_order="left", validate="m:1")
    known = [name for name in completions.columns if name in _OF_COMPLETIONS or name.startswith(_RATING)]
    told = completions.select(*_ID, *known)
    for table in _columns(run):
        named = {name: COLUMN + name for name in table.columns if name not in _ID}
        told = told.join(table.rename(named), on=_ID, how="left", maintain_order="left", validate="1:1")
    for side in SIDES:
        of_side = told.rename({name: f"{side}_{name}" for name in told.columns if name != "row"})
        by = ["row", f"{side}_completion"]
        pairs = pairs.join(of_side, on=by, how="left", maintain_order="left", validate="m:1")
    return pairs


def _columns(run: RunData) -> Iterator[pl.DataFrame]:
    """Yield the tables of scores that a run made of its completions, an annotator's or those that were joined."""
    seen: set[str] = set(_ID)
    for node in run.record["stages"]:
        if node == "columns" or node.startswith(ANNOTATED):
            table = _read(place_of_artifact(run, node) / COLUMNS)
            kept = [name for name in table.columns if name not in seen]
            seen.update(kept)
            yield table.select(*_ID, *kept)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} is gone", "the command of its run makes it anew")
    return pl.read_parquet(path, glob=False)
