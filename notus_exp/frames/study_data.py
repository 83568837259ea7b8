"""A study as data: its runs, their metrics, values by prompt, and the contrasts of its comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.comparison.looking import command_of, moved_on
from notus_exp.comparison.tidy import SCHEMA, tidy
from notus_exp.contracts.comparison_file import LOOKS, ComparisonFile, read_comparison
from notus_exp.contracts.run_file import RunsBySeed
from notus_exp.contracts.study_file import StudyFile
from notus_exp.disk.outputs import COMPARISON_JSON, outputs, read_run, read_study, runs_of
from notus_exp.errors import UserError, did_you_mean
from notus_exp.frames.run_data import BY_PROMPT_COLUMNS, METRICS_COLUMNS, FrameColumns, RunData, of_run, stacked

RUNS_COLUMNS: FrameColumns = {
    **{"arm": pl.String, "seed": pl.Int64, "run_id": pl.String, "status": pl.String, "error": pl.String},
    **dict.fromkeys(("started", "finished"), pl.String),
    **dict.fromkeys(("device_seconds", "judge_usd"), pl.Float64),
}
TRIALS_COLUMNS: FrameColumns = {
    **{"trial": pl.Int64, "state": pl.String, "feasible": pl.Boolean, "seeds": pl.Int64, "best": pl.Boolean},
    "reason": pl.String,
}
_ENDS = ("low", "high")
"""Of the interval of a trial's objective."""
_BOOLEANS = {"true": True, "false": False}
"""How the command line writes them."""


@dataclass(frozen=True)
class StudyData:
    """A study as data. A frame is read when it is first asked for; all have their columns where they have no rows.

    Attributes:
        folder: outputs/studies/<name>.
        record: Content of study.json.
        look: Name of the look afterwards, in comparisons/, whose contrasts are read; None for what was planned.
    """

    folder: Path
    record: StudyFile = field(repr=False)
    look: str | None = None

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record["name"]

    @property
    def metric(self) -> str:
        """The primary metric, which the study named before its runs."""
        return self.record["metric"]

    @property
    def baseline(self) -> str | None:
        """The arm that the others are compared with; None in a search."""
        return self.record["baseline"]

    @property
    def looks(self) -> list[str]:
        """The names of the looks afterwards, which `load_study(folder, look=NAME)` opens."""
        return sorted(path.parent.name for path in (self.folder / LOOKS).glob(f"*/{COMPARISON_JSON}"))

    @cached_property
    def runs(self) -> pl.DataFrame:
        """The study's runs, a row per (arm, seed); of a search an arm is a trial, `trial_0`, `trial_1`, ...

        Returns:
            `arm`, `seed`, `run_id` (null where a run could not be planned), `status`, `error`, `started`, `finished`,
            `device_seconds`, `judge_usd`; of a grid a further column for each setting that it varies, of numbers where
            all its levels are (`null` among them is null), of booleans likewise, else of text.
        """
        of_arms = [arm["levels"] for arm in self.record["arms"].values()]
        factors = {
            name: _typed([*levels, *(one[name] for one in of_arms if name in one)])
            for name, levels in (self.record.get("factors") or {}).items()
        }
        rows = []
        for arm, by_seed in self._runs.items():
            levels = self.record["arms"][arm]["levels"] if arm in self.record["arms"] else {}
            for seed, (run_id, run) in by_seed.items():
                costs: dict[str, Any] = dict(run.record.get("costs", {}))
                rows.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "run_id": run_id,
                        "status": run.status,
                        **{key: run.record.get(key) for key in ("error", "started", "finished")},
                        **{key: costs.get(key) for key in ("device_seconds", "judge_usd")},
                        **{name: typed.get(levels.get(name, "")) for name, typed in factors.items()},
                    }
                )
        kinds = {name: _type_of([*typed.values()]) for name, typed in factors.items()}
        return pl.DataFrame(rows, schema={**RUNS_COLUMNS, **kinds})

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """The metrics of each run, as `RunData.metrics` behind `arm`, `seed` and `run_id`."""
        frames = (of_run(run, run.metrics, arm=arm, seed=seed) for arm, seed, run in self._all())
        return stacked(frames, METRICS_COLUMNS)

    @cached_property
    def by_prompt(self) -> pl.DataFrame:
        """The values by prompt of each finished run, as `RunData.by_prompt` behind `arm`, `seed` and `run_id`.

        Raises:
            UserError: A file of a run is missing, or is not what was written.
        """
        frames = (of_run(run, run.by_prompt, arm=arm, seed=seed) for arm, seed, run in self._all())
        return stacked(frames, BY_PROMPT_COLUMNS)

    @cached_property
    def comparison(self) -> ComparisonFile:
        """Content of comparison.json, which the study wrote at its end, or of that of a look afterwards.

        Raises:
            UserError: There is none, it is not what was planned (though no look was asked for), or a run has finished
                since it was written.
        """
        folder = self.folder if self.look is None else self.folder / LOOKS / self.look
        path = folder / COMPARISON_JSON
        remedy = f"python -m notus_exp.compare {self.folder}{' ...' * (self.look is not None)} writes it"
        if not path.is_file():
            raise UserError(f"{folder} has no {COMPARISON_JSON}", remedy)
        found = read_comparison(path)
        if self.look is None and (chosen := found["study"].get("chosen_afterwards")):
            raise UserError(f"{path} rests on another {' and '.join(chosen)} than the study named", f"{remedy} anew")
        finished = {
            arm: [seed for seed, (_, run) in by_seed.items() if run.status == "finished"]
            for arm, by_seed in self._runs.items()
        }
        if found["study"]["kind"] != "search" and (why := moved_on(found, finished)):
            again = f"{command_of(self.folder, found, self.look)} writes it" if self.look else remedy
            raise UserError(f"{path} {why}", f"{again} anew")
        return found

    @cached_property
    def estimates(self) -> pl.DataFrame:
        """The mean of each arm, and of the `base model`, over prompts and seeds, a row per (arm, metric).

        Returns:
            `arm`, `metric`, `primary` (whether it is the study's metric), `value, low, high` (95 %), `prompts`,
            `seeds`, `left_out`, and the variances between prompts, between seeds, and of the rest.

        Raises:
            UserError: As `comparison`.
        """
        columns = ["arm", "metric", "primary", "value", "low", "high", "prompts", "seeds", "left_out"]
        columns += [name for name in SCHEMA if name.startswith("variance_")]
        return tidy(self.comparison).filter(pl.col("table") == "arm").select(columns)

    @cached_property
    def contrasts(self) -> pl.DataFrame:
        """One model minus another, paired by prompt and seed, a row per (metric, arm, reference).

        Returns:
            The columns of comparison.csv (`contracts.comparison_file.ContrastRow` says what they are), `cautions` as a
            list (empty in files of before there were any) and `words`. `primary` marks those that the study named
            before its runs; the others are exploratory.

        Raises:
            UserError: As `comparison`.
        """
        rows = self.comparison["contrasts"]
        beside = {
            "cautions": pl.Series([row.get("cautions", []) for row in rows], dtype=pl.List(pl.String)),
            "words": pl.Series([row["words"] for row in rows], dtype=pl.String),
        }
        return tidy(self.comparison).filter(pl.col("table") == "contrast").drop("table").with_columns(**beside)

    @cached_property
    def curations(self) -> pl.DataFrame:
        """What each arm trains on, of the seed that `comparison` names, a row per (arm, measure, reference).

        Returns:
            `arm`, `reference` (the baseline where it is measured against its pairs, else null), `measure`,
            `value, low, high` (95 %), `prompts`. Without any row in comparisons of before.

        Raises:
            UserError: As `comparison`.
        """
        columns = ["arm", "reference", "metric", "value", "low", "high", "prompts"]
        found = tidy(self.comparison).filter(pl.col("table") == "curation").select(columns)
        return found.rename({"metric": "measure"})

    @cached_property
    def trials(self) -> pl.DataFrame:
        """The trials of a search, a row a trial; of another study empty.

        Returns:
            `trial`, `state`, `feasible`, `seeds`, `best`, `reason`; a column for each parameter, as it was asked, and
            one for each objective and constrained metric, in its unit, a mean over the seeds; behind them
            `<objective>/low` and `<objective>/high`, its 95 % interval, null where there is none.

        Raises:
            UserError: The search's storage cannot be read.
        """
        if "search" not in self.record:
            return pl.DataFrame(schema=TRIALS_COLUMNS)
        found = self._summary()
        rows = [
            {
                "trial": trial["number"],
                **{key: trial[key] for key in ("state", "feasible", "seeds")},
                "best": trial["number"] in found["best"],
                "reason": trial["reason"],
                **trial["params"],
                **trial["values"],
                **trial["constraints"],
                **{
                    f"{name}/{end}": interval[end]
                    for name, interval in trial.get("intervals", {}).items()
                    for end in _ENDS
                },
            }
            for trial in found["trials"]
        ]
        search = self.record["search"]
        ends = (f"{name}/{end}" for name in search["objectives"] for end in _ENDS)
        numbers = dict.fromkeys((*search["objectives"], *search["constraints"], *ends), pl.Float64)
        parameters = {name: _type_of([row.get(name) for row in rows]) for name in search["parameters"]}
        return pl.DataFrame(rows, schema={**TRIALS_COLUMNS, **parameters, **numbers})

    def run(self, arm: str, seed: int) -> RunData:
        """Return the run of an arm with a seed.

        Raises:
            UserError: The study has no such arm or seed.
        """
        if arm not in self._runs:
            raise UserError(f"study '{self.name}' has no arm '{arm}'", did_you_mean(arm, self._runs))
        if seed not in self._runs[arm]:
            known = ", ".join(map(str, self._runs[arm]))
            raise UserError(f"arm '{arm}' of study '{self.name}' has no seed {seed}", f"it has {known}")
        run_id, run = self._runs[arm][seed]
        if run_id is None:
            why = run.record.get("error") or ""
            raise UserError(f"arm '{arm}' of study '{self.name}' has no run with seed {seed}", why)
        return run

    @cached_property
    def _runs(self) -> dict[str, dict[int, tuple[str | None, RunData]]]:
        """Arm -> seed -> id of the run and the run."""
        places = outputs(self.folder) / "runs"
        found: dict[str, dict[int, tuple[str | None, RunData]]] = {}
        for arm, by_seed in self._records().items():
            named = self._names()[arm]
            found[arm] = {
                seed: (named.get(seed), RunData(places / named.get(seed, ""), record))
                for seed, record in by_seed.items()
            }
        return found

    def _records(self) -> RunsBySeed:
        if "search" not in self.record:
            return runs_of(self.folder, self.record)
        return {
            arm: {seed: read_run(self.folder, run) for seed, run in sorted(by_seed.items())}
            for arm, by_seed in self._names().items()
        }

    def _names(self) -> dict[str, dict[int, str]]:
        """Return arm -> seed -> run id."""
        if "search" in self.record:
            named = {f"trial_{trial['number']}": trial["runs"] for trial in self._summary()["trials"]}
        else:
            named = {arm: spec["runs"] for arm, spec in self.record["arms"].items()}
        return {arm: {int(seed): run for seed, run in by_seed.items()} for arm, by_seed in named.items()}

    def _summary(self) -> Any:
        from notus_exp.study.search.summary import summary  # imports Optuna

        return summary(self.folder)

    def _all(self) -> Iterator[tuple[str, int, RunData]]:
        for arm, by_seed in self._runs.items():
            for seed, (run_id, run) in by_seed.items():
                if run_id is not None:
                    yield arm, seed, run


def load_study(folder: str | Path, look: str | None = None) -> StudyData:
    """Return a study as data.

    Args:
        folder: outputs/studies/<name>.
        look: Name of a folder in its comparisons/, which `python -m notus_exp.compare` wrote with another baseline,
            metric or margin: its estimates and contrasts are given. None: those that were planned.

    Raises:
        UserError: It is no study's folder, its study.json is damaged or of a newer version, or it has no such look.
    """
    place = Path(folder).expanduser()
    study = StudyData(place, read_study(place), look)
    if look is not None and look not in study.looks:
        raise UserError(f"study '{study.name}' has no look '{look}'", did_you_mean(look, study.looks))
    return study


def _typed(levels: Sequence[str]) -> dict[str, Any]:
    """Return each level of a setting, as it was written, with its value: numbers or booleans where all are, else text.

    "null" is None beside those.
    """
    said = [level for level in levels if level != "null"]
    kinds: tuple[Callable[[str], Any], ...] = (_BOOLEANS.__getitem__, int, float)
    for kind in kinds if said else ():
        with suppress(KeyError, ValueError):
            return {**dict.fromkeys(levels), **{level: kind(level) for level in said}}
    return {level: level for level in levels}


def _type_of(values: list[Any]) -> type[pl.DataType]:
    """Return the type of a parameter's column: numbers where all are numbers, else text."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in known):
        return pl.Boolean if all(isinstance(value, bool) for value in known) else pl.String
    return pl.Int64 if known and all(isinstance(value, int) for value in known) else pl.Float64
