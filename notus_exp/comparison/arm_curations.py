"""What the arms of a study train on: how many pairs, what they share with the baseline's, lengths, agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from notus_exp.comparison.pair_sets import SIDES, by_record, hashed
from notus_exp.contracts.curations_of_arms import ArmCuration, CurationEstimate, CurationsTable, PairAgreement
from notus_exp.contracts.run_file import RunFile, RunsBySeed
from notus_exp.curation.scores import labelling_scores
from notus_exp.disk.files import COMPLETIONS, PAIRS
from notus_exp.disk.outputs import artifact
from notus_exp.evaluation.preferences.spec import LATENT
from notus_exp.feedback.table import LATENT_QUALITY
from notus_exp.inference.estimates import Estimate, difference_of_means, mean_estimate, share_estimate

MOST_CROSSED = 50
"""Arms up to which each two are compared; of more each is compared with the baseline alone."""
_TRAIN = "train"
_PLACE = ["row", *(f"{side}_completion" for side in SIDES)]
"""Columns by which a pair is found in the feedback; files of before have none."""
_SAME = ["prompt_id", "first", "second"]
"""What two pairs have in common that are the same but for their sides."""


def curations(folder: Path, runs: RunsBySeed, baseline: str) -> CurationsTable | None:
    """Return what the arms train on, of the lowest seed that all of them have; None where none or no pairs are there.

    Args:
        folder: outputs/studies/<name>.
        runs: Arm -> seed -> run.json of the finished runs.
        baseline: The arm that the others are compared with.
    """
    having = {arm: {seed for seed, run in by_seed.items() if "pairs" in run["stages"]} for arm, by_seed in runs.items()}
    having = {arm: seeds for arm, seeds in having.items() if seeds}
    shared = set.intersection(*having.values()) if having else set()
    if not shared or baseline not in having:
        return None
    seed, read = min(shared), _Read(folder)
    found = {arm: read.pairs(runs[arm][seed]) for arm in having}
    pairs = {arm: table for arm, table in found.items() if table is not None}
    if baseline not in pairs:
        return None
    made: dict[tuple[str, str | None], ArmCuration] = {}  # arms that differ in the training alone have one
    for arm, table in pairs.items():
        own = _keys(runs[arm][seed])
        if own not in made:
            made[own] = _arm(arm, table, pairs[baseline], read.scores(runs[arm][seed], table))
    return {
        "seed": seed,
        "arms": [{**made[_keys(runs[arm][seed])], "arm": arm} for arm in pairs],
        "common": _in_common_of_all(list(pairs.values())) if len(pairs) <= MOST_CROSSED else [],
    }


def _keys(run: RunFile) -> tuple[str, str | None]:
    """Return what decides what a run trains on: its pairs, and the feedback whose labellings score them."""
    stages = run["stages"]
    return stages["pairs"]["path"], stages["feedback"]["path"] if "feedback" in stages else None


@dataclass
class _Read:
    """Reads each artifact once: arms share feedback, and often pairs.

    Attributes:
        folder: outputs/studies/<name>.
        known: Path of an artifact -> its table.
    """

    folder: Path
    known: dict[Path, pl.DataFrame | None] = field(default_factory=dict)

    def pairs(self, run: RunFile) -> pl.DataFrame | None:
        """Return the training pairs of a run, a hash in each text's place; None where the artifact is gone."""
        path = artifact(self.folder, run, "pairs") / PAIRS
        if path not in self.known:
            self.known[path] = _training(path) if path.is_file() else None
        return self.known[path]

    def scores(self, run: RunFile, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return what each labelling gives both sides of each pair: `chosen/NAME` and `rejected/NAME`."""
        feedback = self._feedback(run)
        if feedback is None or not {*_PLACE} <= {*pairs.columns}:
            return pl.DataFrame()
        names = [name for name in feedback.columns if name not in ("row", "completion")]
        sides = [
            pairs.select("row", completion=f"{side}_completion")
            .join(feedback, on=["row", "completion"], how="left", maintain_order="left", validate="m:1")
            .select(pl.col(names).name.prefix(f"{side}/"))
            for side in SIDES
        ]
        return pl.concat(sides, how="horizontal")

    def _feedback(self, run: RunFile) -> pl.DataFrame | None:
        """Return each completion's score under each labelling that has any; None where the feedback is gone."""
        if "feedback" not in run["stages"]:
            return None
        path = artifact(self.folder, run, "feedback") / COMPLETIONS
        if path not in self.known:
            aspects = run.get("config", {}).get("data", {}).get("aspects", [])
            self.known[path] = _labelled(path, aspects) if path.is_file() else None
        return self.known[path]


def _training(path: Path) -> pl.DataFrame:
    columns = [name for name in pl.scan_parquet(path, glob=False).collect_schema() if name in _PLACE]
    table = pl.read_parquet(path, columns=["prompt_id", "split", *SIDES, *columns], glob=False)
    pairs = hashed(table.filter(pl.col("split") == _TRAIN))
    return pairs.with_columns(first=pl.min_horizontal(SIDES), second=pl.max_horizontal(SIDES))


def _labelled(path: Path, aspects: list[str]) -> pl.DataFrame:
    read = [name for name in pl.scan_parquet(path, glob=False).collect_schema() if _is_score(name)]
    table = pl.read_parquet(path, columns=["prompt_id", "row", "completion", *read], glob=False)
    scores = labelling_scores(table, aspects).drop("prompt_id")
    if LATENT_QUALITY in read:
        scores = scores.with_columns(table[LATENT_QUALITY].alias(LATENT))
    return scores.select(column for column in scores if column.null_count() < scores.height)


def _is_score(column: str) -> bool:
    return column in ("overall_score", LATENT_QUALITY) or column.startswith("rating_")


def _arm(arm: str, own: pl.DataFrame, base: pl.DataFrame, scores: pl.DataFrame) -> ArmCuration:
    common = _in_common(own, base)
    both = own.filter(common)
    chosen_too = base.select(*_SAME, "chosen").unique()
    same_side = _in_common(both, chosen_too, [*_SAME, "chosen"])
    prompts = by_record(own, ["prompt_id"]).join(by_record(base, ["prompt_id"]), on="prompt_id", maintain_order="left")
    lengths = [own[f"{side}_chars"] for side in SIDES]
    labellings = [name.removeprefix("chosen/") for name in scores.columns if name.startswith("chosen/")]
    return {
        "arm": arm,
        "pairs": own.height,
        "prompts": own["prompt_id"].n_unique(),
        "common": _share(own, common),
        "same_side": _share(both, same_side),
        "same_chosen": _share(prompts, prompts.select(pl.col("chosen") == pl.col("chosen_right")).to_series()),
        "longer": _mean(own, lengths[0] - lengths[1]),
        "length": _mean(own, lengths[0]),
        "length_difference": _json(
            difference_of_means(
                lengths[0].to_numpy(),
                base["chosen_chars"].to_numpy(),
                a_clusters=own["prompt_id"].to_list(),
                b_clusters=base["prompt_id"].to_list(),
            )
        ),
        "agreement": {name: _agreement(own, scores, name) for name in labellings},
    }


def _agreement(own: pl.DataFrame, scores: pl.DataFrame, name: str) -> PairAgreement:
    margin = scores[f"chosen/{name}"] - scores[f"rejected/{name}"]
    margin = margin.fill_nan(None)
    decided = (margin != 0).fill_null(False)
    found = _share(own.filter(decided), margin.filter(decided) > 0)
    unscored = margin.null_count()
    return {
        **found,
        "decided": int(decided.sum()),
        "ties": own.height - int(decided.sum()) - unscored,
        "unscored": unscored,
    }


def _in_common(own: pl.DataFrame, other: pl.DataFrame, key: list[str] | None = None) -> pl.Series:
    """Return for each pair whether another table has it too."""
    key = key or _SAME
    there = other.select(key).unique().with_columns(there=pl.lit(True))
    return own.select(key).join(there, on=key, how="left", maintain_order="left")["there"].fill_null(False)


def _in_common_of_all(tables: list[pl.DataFrame]) -> list[list[float]]:
    """Return for each two tables the share of the first one's pairs that the other has too; 0 of an empty one."""
    return [[_share(one, _in_common(one, other))["value"] or 0.0 for other in tables] for one in tables]


def _share(rows: pl.DataFrame, hits: pl.Series) -> CurationEstimate:
    """Return a share of rows: Wilson's interval where each is of a prompt of its own, else one clustered by prompt."""
    if rows["prompt_id"].n_unique() == rows.height:
        return _json(share_estimate(int(hits.sum()), rows.height))
    return _json(mean_estimate(hits.cast(pl.Float64).to_numpy(), clusters=rows["prompt_id"].to_list(), span=(0.0, 1.0)))


def _mean(rows: pl.DataFrame, values: pl.Series) -> CurationEstimate:
    return _json(mean_estimate(values.to_numpy(), clusters=rows["prompt_id"].to_list()))


def _json(estimate: Estimate) -> CurationEstimate:
    found: Mapping[str, float] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    value, low, high = (None if math.isnan(number) else number for number in found.values())
    return {"value": value, "low": low, "high": high, "prompts": estimate.n}
