"""One run as data: its metrics, their values by prompt, its pairs, answers and training curves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from notus_exp.comparison.per_prompt import run_values
from notus_exp.config.commandline import single_run
from notus_exp.contracts.provenance import Provenance, made_in_words
from notus_exp.contracts.rounds_of_run import number_of_rounds, of_round
from notus_exp.contracts.run_file import RunFile, StageRecord, read_run_file
from notus_exp.disk import events
from notus_exp.disk.files import EVENTS, GENERATIONS, PAIRS, RUN_JSON
from notus_exp.disk.outputs import artifact, manifest_of
from notus_exp.errors import UserError
from notus_exp.evaluation.kit.entrance import BASE
from notus_exp.evaluation.metrics import metric_of

FrameColumns = dict[str, type[pl.DataType]]
"""Column -> its type."""

ESTIMATE: FrameColumns = {**dict.fromkeys(("value", "low", "high"), pl.Float64), "n": pl.Int64}
METRICS_COLUMNS: FrameColumns = {"side": pl.String, "metric": pl.String, **ESTIMATE}
BY_PROMPT_COLUMNS: FrameColumns = {"metric": pl.String, "prompt_id": pl.String, "value": pl.Float64, "base": pl.Float64}
STAGES_COLUMNS: FrameColumns = {
    "node": pl.String,
    "artifact": pl.String,
    "reused": pl.Boolean,
    "seconds": pl.Float64,
    "seconds_when_made": pl.Float64,
    "folder": pl.String,
    **dict.fromkeys(("made", "started", "profile", "device", "git_commit", "command"), pl.String),
}
PAIRS_COLUMNS: FrameColumns = {
    **{"prompt_id": pl.String, "row": pl.Int64, "split": pl.String, "source": pl.String},
    **dict.fromkeys(("system", "context", "prompt", "chosen", "rejected"), pl.String),
    **dict.fromkeys(("chosen_score", "rejected_score", "margin"), pl.Float64),
    **dict.fromkeys(("chosen_model", "rejected_model"), pl.String),
}
ANSWERS_COLUMNS: FrameColumns = {
    **{"evaluation": pl.String, "prompt_id": pl.String, "turn": pl.Int64, "instruction": pl.String},
    **dict.fromkeys(("response", "base"), pl.String),
}
HISTORY_COLUMNS: FrameColumns = {"stage": pl.String, "step": pl.Int64, "metric": pl.String, "value": pl.Float64}

_RUNS = Path("outputs/runs")
_ANSWERS, _OF_BASE = "generations_", "_base"
"""What the names of the nodes that answer begin with, and what those of the base model end with."""


@dataclass(frozen=True)
class RunData:
    """A run as data. A frame is read when it is first asked for, and is empty where the run did not get so far.

    Attributes:
        folder: outputs/runs/<run id>.
        record: Content of run.json; of a run that has not begun the `status` alone, and perhaps the `error`.
    """

    folder: Path
    record: RunFile = field(repr=False)

    @property
    def run_id(self) -> str:
        """The run's name, and its folder's."""
        return self.folder.name

    @property
    def status(self) -> str:
        """`finished`, `running`, `failed`, `interrupted`, `pruned`, or `not started`."""
        return self.record["status"]

    @property
    def rounds(self) -> int:
        """How many rounds the run has."""
        return number_of_rounds(self.record)

    def round(self, number: int) -> RunData:
        """Return the run as if the round of that number, from 1, were all of it; the run itself is its last round.

        Raises:
            UserError: It has no such round.
        """
        if not 1 <= number <= self.rounds:
            raise UserError(f"run {self.run_id} has {self.rounds} round(s), and no round {number}")
        return replace(self, record=of_round(self.record, number))

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """The metrics of run.json, a row per (side, metric).

        Returns:
            `side` (`policy`, `base`, or `difference` of the two, paired by prompt), `metric`, `value, low, high` (95 %)
            in the metric's unit, null where the data cannot tell, and `n`, what it is a mean of.
        """
        rows = []
        for name, estimate in self.record.get("metrics", {}).items():
            side, _, metric = name.partition("/")
            if side not in ("base", "difference"):
                side, metric = "policy", name
            rows.append({"side": side, "metric": metric, **{key: estimate.get(key) for key in ESTIMATE}})
        return pl.DataFrame(rows, schema=METRICS_COLUMNS)

    @cached_property
    def by_prompt(self) -> pl.DataFrame:
        """The values by prompt of every metric that has any, a row per (metric, prompt).

        They are what comparisons pair: a prompt has one value a metric, several turns or records being averaged
        (`comparison.per_prompt`).

        Returns:
            `metric`, `prompt_id`, `value` and `base`, the untuned model's; null where missing.

        Raises:
            UserError: A file of the run is missing, or is not what was written.
        """
        if self.status != "finished":
            return pl.DataFrame(schema=BY_PROMPT_COLUMNS)
        values = run_values(self.folder, self.record)
        found = []
        for table in values.tables.values():
            for metric in (name for name in values.metrics() if name in table.columns):
                base = pl.col(BASE + metric) if BASE + metric in table.columns else pl.lit(None, pl.Float64)
                of_one = table.select(
                    pl.lit(metric).alias("metric"),
                    "prompt_id",
                    value=pl.col(metric).fill_nan(None),
                    base=base.fill_nan(None),
                )
                found.append(of_one.drop_nulls("value") if metric_of(metric).of_some_prompts else of_one)
        return pl.concat([pl.DataFrame(schema=BY_PROMPT_COLUMNS), *found])

    @cached_property
    def stages(self) -> pl.DataFrame:
        """What the run consists of, a row a node in the order in which they were finished.

        Returns:
            `node`, `artifact` (the folder's name), `reused`, `seconds` that this run took for it, `seconds_when_made`,
            `folder`, where it lies now; and what made it, whichever run that was: `made` in words ("not recorded" where
            its manifest is from before that was noted, or gone), and of the attempt that finished it when it
            `started`, the hardware's `profile` and `device`, the `git_commit` and the `command`; null where not known.
            `provenance` has all of it.
        """
        rows = [
            {
                "node": node,
                "artifact": Path(stage["path"]).name,
                **{key: stage.get(key) for key in ("reused", "seconds", "seconds_when_made")},
                "folder": str(self.artifacts / Path(stage["path"]).name),
                **_made(self.provenance[node]),
            }
            for node, stage in self._stages.items()
        ]
        return pl.DataFrame(rows, schema=STAGES_COLUMNS)

    @cached_property
    def provenance(self) -> dict[str, list[Provenance]]:
        """Node -> the attempts that made its artifact, the one that finished it last, as its manifest says.

        Each has the command, hardware, versions of libraries, commit, start and seconds. None where the manifest is
        from before that was noted, or gone: what this run was started with says nothing of what others made.
        """
        found = {node: manifest_of(self.folder, self.record, node) for node in self._stages}
        return {node: manifest.provenance if manifest else [] for node, manifest in found.items()}

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """The preference pairs, a row a pair; pairs.parquet in the artifact's folder holds them as messages.

        Returns:
            `prompt_id`, `row`, `split`, `source`, the texts `system` (null without one), `context` (the turns before
            the user's message, each after its role; null without any), `prompt` (the user's message), `chosen` and
            `rejected`, their scores and the `margin` in score points, and who wrote them.

        Raises:
            UserError: The file is not what was written, or is gone.
        """
        table = self._table("pairs", PAIRS)
        if table is None:
            return pl.DataFrame(schema=PAIRS_COLUMNS)
        first = pl.col("prompt").list.first()
        begins = first.struct.field("role") == "system"
        system = pl.when(begins).then(first.struct.field("content"))
        before = pl.col("prompt").list.slice(begins.cast(pl.Int64), pl.col("prompt").list.len() - 1 - begins)
        said = pl.format("[{}] {}", *(pl.element().struct.field(name) for name in ("role", "content")))
        context = pl.when(before.list.len() > 0).then(before.list.eval(said).list.join("\n\n"))
        texts = [
            pl.col(role).list.last().struct.field("content").alias(role) for role in ("prompt", "chosen", "rejected")
        ]
        return table.with_columns(system.alias("system"), context.alias("context"), *texts).select(
            pl.col(name).cast(kind) for name, kind in PAIRS_COLUMNS.items()
        )

    @cached_property
    def answers(self) -> pl.DataFrame:
        """What policy and base model answered, a row per (evaluation, prompt, turn).

        Returns:
            `evaluation`, `prompt_id`, `turn` (from 1), `instruction`, `response`, and `base`, the untuned model's.

        Raises:
            UserError: As `pairs`.
        """
        on = ["prompt_id", "turn"]
        found = []
        for node in self._stages:
            if not node.startswith(_ANSWERS) or node.endswith(_OF_BASE):
                continue
            own, base = self._table(node, GENERATIONS), self._table(node + _OF_BASE, GENERATIONS)
            assert own is not None
            beside = own.select(on).clear() if base is None else base.select(*on, base="response")
            joined = own.join(beside, on=on, how="left", maintain_order="left")
            joined = joined.with_columns(evaluation=pl.lit(node.removeprefix(_ANSWERS)))
            if base is None:
                joined = joined.with_columns(base=pl.lit(None, pl.String))
            found.append(joined.select(pl.col(name).cast(kind) for name, kind in ANSWERS_COLUMNS.items()))
        return pl.concat([pl.DataFrame(schema=ANSWERS_COLUMNS), *found])

    @cached_property
    def history(self) -> pl.DataFrame:
        """What the stages measured on their way, such as the training's loss, a row per (stage, step, metric).

        Returns:
            `stage`, `step` (as that stage counts), `metric` and `value`.

        Raises:
            UserError: As `pairs`.
        """
        rows = [
            {"stage": node, "step": event.step, "metric": name, "value": float(value)}
            for node in self._stages
            if (path := self._there(node) / EVENTS).is_file()  # those of before may have measured nothing
            for event in events.read(path)
            for name, value in event.metrics.items()
        ]
        return pl.DataFrame(rows, schema=HISTORY_COLUMNS)

    @property
    def artifacts(self) -> Path:
        """The folder of all artifacts, wherever the outputs were moved to."""
        return self.folder.absolute().parent.parent / "artifacts"

    @property
    def _stages(self) -> dict[str, StageRecord]:
        return self.record.get("stages", {})

    def _there(self, node: str) -> Path:
        """Return the folder of the run's artifact.

        Raises:
            UserError: It is not what was written, or is gone.
        """
        place = artifact(self.folder, self.record, node)
        if not place.is_dir():
            raise self._gone(place)
        return place

    def _gone(self, path: Path) -> UserError:
        return UserError(f"{path} is gone", f"the command of run {self.run_id} makes it anew")

    def _table(self, node: str, file: str) -> pl.DataFrame | None:
        """Return a file of the run's artifact; None where the run has no such node.

        Raises:
            UserError: It is gone.
        """
        if node not in self._stages:
            return None
        path = self._there(node) / file
        if not path.is_file():
            raise self._gone(path)
        return pl.read_parquet(path, glob=False)


def _made(attempts: Sequence[Provenance]) -> dict[str, str | None]:
    """Return the cells of `RunData.stages` that tell of what made an artifact."""
    last: Provenance = attempts[-1] if attempts else {}
    hardware = last.get("hardware", {})
    return {
        "made": made_in_words(attempts),
        "started": last.get("started"),
        **{key: str(hardware[key]) if key in hardware else None for key in ("profile", "device")},
        "git_commit": last.get("git_commit"),
        "command": shlex.join(["python", "-m", "notus_exp", *single_run(last["command"])])
        if "command" in last
        else None,
    }


def _alone(command: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "notus_exp", *single_run(command)])


def load_run(folder: str | Path) -> RunData:
    """Return a run as data.

    Args:
        folder: outputs/runs/<run id>, which the command prints as its last line.

    Raises:
        UserError: It is no run's folder, or its run.json is damaged or of a newer version.
    """
    place = Path(folder).expanduser()
    if not (place / RUN_JSON).is_file():
        meant = _RUNS / place.name
        found = (meant / RUN_JSON).is_file()
        hint = f"did you mean '{meant}'?" if found else f"give a run's folder, such as {_RUNS / 'NAME'}"
        raise UserError(f"{place} is not a run: it has no {RUN_JSON}", hint)
    return RunData(place, read_run_file(place / RUN_JSON))


def of_run(run: RunData, frame: pl.DataFrame, *, arm: str, seed: int) -> pl.DataFrame:
    """Return a frame with whose it is before its columns: `arm`, `seed`, `run_id`."""
    who = [pl.lit(arm).alias("arm"), pl.lit(seed, pl.Int64).alias("seed"), pl.lit(run.run_id).alias("run_id")]
    return frame.select(*who, pl.all())


def stacked(frames: Iterator[pl.DataFrame], columns: FrameColumns) -> pl.DataFrame:
    """Return frames of `of_run` below one another; an empty one with these columns where there are none."""
    whose: FrameColumns = {"arm": pl.String, "seed": pl.Int64, "run_id": pl.String}
    return pl.concat([pl.DataFrame(schema={**whose, **columns}), *frames])
