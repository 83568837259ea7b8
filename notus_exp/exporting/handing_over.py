"""An export: a new folder with the data, its card, the policy or a trainer's config; and where asked, on the hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.exporting import axolotl, hub_push, llama_factory
from notus_exp.exporting.chosen_run import ChosenRun, chosen_run
from notus_exp.exporting.data_card import data_card
from notus_exp.exporting.handed_weights import (
    HUB,
    HandedWeights,
    HubBase,
    check_weights_to_hand,
    hand_weights,
    parsed_base,
)
from notus_exp.exporting.layouts import LAYOUTS, SplitTables, for_trainers
from notus_exp.exporting.nested import nested
from notus_exp.exporting.policy_card import policy_card
from notus_exp.exporting.scored_pairs import completions_of, scored_pairs
from notus_exp.exporting.trainer_recipe import TrainerRecipe, trainer_recipe
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.tables import Report, Table

CARD, DATA, POLICY = "README.md", "data", "model"
"""What an export's folder holds: its card, the data, and the policy."""
NESTED = "openbmb"
TRAINERS = ("axolotl", "llama_factory")


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for; the attributes are the options of `python -m notus_exp.export`."""

    what: str
    to: Path
    form: str
    outputs: Path
    arm: str | None = None
    seed: int | None = None
    data_only: bool = False
    merge: bool = False
    base: str | None = None
    push: str | None = None
    public: bool = False
    round: int | None = None


class _Exported(NamedTuple):
    """The data as it was written: split -> file below the export's folder and its rows; and what to know of it."""

    files: dict[str, tuple[str, int]]
    notes: list[str]


def export(request: ExportRequest) -> Report:
    """Hand a run over, in a folder that appears when all of it is written.

    Raises:
        UserError: The folder is there already, options do not go together, the run is not found or lacks what is asked
            for, the layout or trainer cannot hold it, or the hub refuses; nothing is left behind but in the last case
            the folder, which is whole.
    """
    _check(request)
    base = parsed_base(request.base) if request.base is not None else None
    chosen = chosen_run(request.what, request.outputs, request.arm, request.seed)
    rounds = _of_rounds(chosen.run, request.round)
    if request.round is not None:
        chosen = chosen._replace(run=chosen.run.round(request.round))
    if "pairs" not in chosen.run.record.get("stages", {}) and request.form != NESTED:
        raise UserError(
            f"run {chosen.run.run_id} has no pairs: it is {chosen.run.status}", "name a run that got so far"
        )
    weighs = _with_weights(request, chosen, base)
    part = _new_folder(request.to)
    try:
        written = _data(request, chosen, base, part)
        handed = _policy(request, chosen, base, part) if weighs else None
        text = data_card(chosen, request.form, written.files, [*rounds, *written.notes])
        (part / CARD).write_text(text, encoding="utf-8")
        _publish(part, request.to)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    pushed = _pushed(request, handed)
    return _report(request, chosen, written, handed, pushed)


def _of_rounds(run: RunData, asked: int | None) -> list[str]:
    """Return what a reader of a card must know of a run of several rounds, in a sentence."""
    rounds = run.rounds
    if rounds == 1:
        return []
    number = asked or rounds
    first = "what later rounds were trained on is not here"
    later = "its policy was trained on the pairs of the rounds before too, which --round hands over"
    told = run.record["config"]["rounds"]
    begun = ", ".join(f"{name}={told[name]}" for name in ("start", "reference", "writers", "prompts"))
    return [f"this is round {number} of {rounds} (rounds: {begun}): {first if number == 1 else later}"]


def _check(request: ExportRequest) -> None:
    """Refuse what does not go together, and a folder that is there, before anything is read."""
    if request.public and request.push is None:
        raise UserError("--public goes with --push", "leave it out, or add --push hub:NAME")
    if request.form in TRAINERS and (request.merge or request.data_only):
        given = "--merge" if request.merge else "--data-only"
        raise UserError(
            f"{given} does not go with --format {request.form}: it trains from the base and holds no policy",
            "leave it out; another format hands the policy over",
        )
    if request.data_only and (request.merge or request.base is not None):
        given = "--merge" if request.merge else "--base"
        raise UserError(f"--data-only leaves the policy out, which {given} is about", "give one of them")
    if os.path.lexists(request.to):
        raise UserError(f"--to {request.to} is there already", "name a folder that is not: nothing is overwritten")
    if request.push is not None:
        hub_push.repository(request.push)
        hub_push.token()


def _with_weights(request: ExportRequest, chosen: ChosenRun, base: HubBase | None) -> bool:
    """Say whether the policy is handed over, which must load elsewhere; a run without one hands its data over."""
    if request.data_only or request.form in TRAINERS:
        return False
    if "policy" not in chosen.run.record.get("stages", {}):
        if request.merge or base:
            given = "--merge" if request.merge else "--base"
            raise UserError(
                f"{given}: run {chosen.run.run_id} has no policy: it is {chosen.run.status}", "leave it out"
            )
        return False
    check_weights_to_hand(chosen.run, merge=request.merge, base=base)
    return True


def _new_folder(to: Path) -> Path:
    """Make the folder in which an export is made, beside the one that it becomes."""
    part = to.absolute().with_name(f".{to.name}.{os.getpid()}.partial")
    shutil.rmtree(part, ignore_errors=True)  # of a process of this number that was killed
    part.mkdir(parents=True)
    return part


def _publish(part: Path, to: Path) -> None:
    if os.path.lexists(to):
        raise UserError(f"--to {to} was made meanwhile", "name a folder that is not there")
    part.rename(to)


def _data(request: ExportRequest, chosen: ChosenRun, base: HubBase | None, folder: Path) -> _Exported:
    if request.form == NESTED:
        return _nested(chosen, folder)
    pairs = scored_pairs(chosen.run)
    if request.form in TRAINERS:
        return _for_trainer(request.form, chosen, base, pairs, folder)
    files = _tables(LAYOUTS[request.form](pairs), folder, pl.DataFrame.write_parquet, "{}-00000-of-00001.parquet")
    return _Exported(files, _negative_margins(pairs))


def _nested(chosen: ChosenRun, folder: Path) -> _Exported:
    made = nested(completions_of(chosen.run))
    files = _tables({"train": made.records}, folder, pl.DataFrame.write_ndjson, "{}-00000-of-00001.jsonl")
    notes = ["these are all completions of the run's feedback, before its rules made pairs of them"]
    if made.renumbered:
        notes.append("records and completions are numbered anew, from 0: in the run's feedback their numbers have gaps")
    if made.left_out:
        notes.append(f"the layout has no place for {', '.join(made.left_out)}: --format parquet holds it, of pairs")
    return _Exported(files, notes)


def _for_trainer(form: str, chosen: ChosenRun, base: HubBase | None, pairs: pl.DataFrame, folder: Path) -> _Exported:
    system = chosen.run.record.get("config", {}).get("model", {}).get("system_prompt")
    tables = for_trainers(pairs, system)
    recipe: TrainerRecipe = trainer_recipe(chosen.run, base, tables["train"].height if "train" in tables else 0)
    files = _tables(tables, folder, pl.DataFrame.write_ndjson, "{}.jsonl")
    paths = {split: path for split, (path, _) in files.items()}
    if form == "axolotl":
        (folder / axolotl.FILE).write_text(axolotl.config(recipe, paths), encoding="utf-8")
        notes = axolotl.differences(recipe)
    else:
        (folder / llama_factory.FILE).write_text(llama_factory.config(recipe, paths), encoding="utf-8")
        (folder / llama_factory.DATASETS).write_text(llama_factory.datasets(paths), encoding="utf-8")
        notes = llama_factory.differences(recipe)
    tests = pairs.filter(pl.col("split") == "test").height
    return _Exported(
        files, [*notes, *([f"the {tests} test pairs are left out: no training may see them"] if tests else [])]
    )


def _tables(
    tables: SplitTables, folder: Path, write: Callable[[pl.DataFrame, Any], Any], name: str
) -> dict[str, tuple[str, int]]:
    """Write a file a split; return split -> its path below the folder, and its rows."""
    (folder / DATA).mkdir()
    files = {}
    for split, table in tables.items():
        path = f"{DATA}/{name.format(split)}"
        write(table, folder / path)
        files[split] = (path, table.height)
    return files


def _negative_margins(pairs: pl.DataFrame) -> list[str]:
    """Say of pairs whose sides the labels of the run exchanged, or tied, that their scores say otherwise."""
    turned = pairs.filter(pl.col("chosen_score") <= pl.col("rejected_score")).height if "margin" in pairs.columns else 0
    if not turned:
        return []
    return [f"the scores of {turned} pairs do not call the chosen one better: go by the sides, not by the scores"]


def _policy(request: ExportRequest, chosen: ChosenRun, base: HubBase | None, folder: Path) -> HandedWeights:
    handed = hand_weights(chosen.run, folder / POLICY, merge=request.merge, base=base)
    (folder / POLICY / CARD).write_text(policy_card(chosen, handed), encoding="utf-8")
    return handed


def _pushed(request: ExportRequest, handed: HandedWeights | None) -> list[hub_push.Pushed]:
    if request.push is None:
        return []
    found = {path.relative_to(request.to): path for path in sorted(request.to.rglob("*")) if path.is_file()}
    data = {str(place): path for place, path in found.items() if place.parts[0] != POLICY}
    model = {str(Path(*place.parts[1:])): path for place, path in found.items() if place.parts[0] == POLICY}
    kinds = {"dataset": data} | ({"model": model} if handed else {})
    try:
        return hub_push.push(kinds, hub_push.repository(request.push), public=request.public)
    except UserError as error:
        hint = f"{error.hint}; {request.to} is whole: remove it before you give the command again"
        raise UserError(error.message, hint) from error


def _report(
    request: ExportRequest,
    chosen: ChosenRun,
    written: _Exported,
    handed: HandedWeights | None,
    pushed: list[hub_push.Pushed],
) -> Report:
    run = chosen.run
    whose = f" (arm {chosen.arm}, seed {chosen.seed}: {chosen.why})" if chosen.study else ""
    rows = [[split, str(count), path] for split, (path, count) in written.files.items()]
    sentences = [f"{run.run_id}{whose} is in {request.to}, as {request.form}", *written.notes]
    if handed is None and not request.data_only and request.form not in TRAINERS:
        sentences.append(f"the run has no policy, since it is {run.status}: its data alone is handed over")
    if handed:
        of = f", whose base is {HUB}{handed.base.id}@{handed.base.commit}" if handed.base else ""
        sentences += [f"its policy is in {request.to / POLICY}: {handed.kind}{of}", *handed.notes]
    for one in pushed:
        seen = "private" if one.private else "public"
        sentences.append(f"{one.kind}, {seen}, at {one.commit[:12]}: {one.url}")
    data = {
        "run": run.run_id,
        "study": chosen.study.name if chosen.study else None,
        "arm": chosen.arm,
        "seed": chosen.seed,
        "folder": str(request.to),
        "format": request.form,
        "rows": {split: count for split, (_, count) in written.files.items()},
        "notes": written.notes,
        "policy": None if handed is None else {"kind": handed.kind, "base": handed.base, "notes": handed.notes},
        "pushed": pushed,
    }
    return Report(data, [Table("", ["split", "rows", "file"], rows, ["file"])], sentences)
