"""The stage `columns`: planned where an expression names a column of it, keyed by what that column is made of."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from hydra.errors import HydraException
from rich.console import Console

from notus_exp.config.explaining import explain
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import ScoreItem
from notus_exp.disk.events import EventWriter
from notus_exp.errors import UserError
from notus_exp.run.execution import execute
from notus_exp.run.nodes import Node
from notus_exp.run.pipeline import Run
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.scoring import make_columns
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ColumnsSettings
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.expressions import choosing_by
from support.recipes import machine

SMOKE = "experiment=smoke"
composed_once = cache(composed)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text("row,completion,score,other\n0,0,1.5,3\n0,1,2.5,4\n9,9,0,0\n")
    return path


def config_of(path: Path, expression: str = "", until: str = "evaluation") -> Config:
    items = [ScoreItem("armorm", str(path)), ScoreItem("other", str(path), "other")]
    config = composed_once(SMOKE, *choosing_by("average"))
    selection = replace(config.selection, score=expression or "average")
    return replace(config, scores=items, selection=selection, until=Stage[until])


def planned(config: Config) -> dict[str, Node]:
    return {node.name: node for node in make_plan(config, resolve(config))}


def test_a_column_that_nothing_names_is_not_made(scores: Path) -> None:
    bare = planned(composed_once(SMOKE, *choosing_by("average")))
    nodes = planned(config_of(scores))
    assert {name: node.key for name, node in nodes.items()} == {name: node.key for name, node in bare.items()}


def test_scores_by_the_rows_of_a_mix_must_be_meant(scores: Path, tmp_path: Path) -> None:
    data = tmp_path / "rated.csv"
    data.write_text("prompt,response,quality\nName a fruit.,Fig.,3\nName a fruit.,Stone.,1\n")
    mixed = composed(
        "data=mix", f"data.sources=[{{data: rated, path: '{data}', aspects: [quality], overall_column: null}}]"
    )
    config = replace(config_of(scores, "armorm", "pairs"), data=mixed.data)
    with pytest.raises(UserError, match="data=mix numbers the rows of all"):
        resolve(config)
    assert resolve(replace(config, scores=[ScoreItem("armorm", str(scores), by="row")])).score_digests


def test_a_way_that_the_file_tells_itself_is_the_same_column(scores: Path) -> None:
    config = config_of(scores, "armorm", "columns")
    key = planned(config)["columns"].key
    assert planned(replace(config, scores=[ScoreItem("armorm", str(scores), by="row")]))["columns"].key == key
    scores.write_text("row,completion,digest,score\n0,0,f,1.5\n")
    ways = [planned(replace(config, scores=[ScoreItem("armorm", str(scores), by=by)])) for by in ("row", "digest")]
    assert ways[0]["columns"].key != ways[1]["columns"].key


def test_the_columns_that_an_expression_names_are_made_before_the_pairs(scores: Path) -> None:
    nodes = planned(config_of(scores, "armorm - 2 * helpfulness", "pairs"))
    assert list(nodes) == ["feedback", "columns", "pairs"]
    assert nodes["pairs"].inputs == {"feedback": nodes["feedback"].key, "columns": nodes["columns"].key}
    assert list(nodes["columns"].settings["joined"]) == ["armorm"]
    assert list(planned(config_of(scores, "armorm", "columns"))) == ["feedback", "columns"]


def test_the_content_of_the_file_and_the_column_are_in_the_key(scores: Path) -> None:
    def key(expression: str = "armorm") -> str:
        return planned(config_of(scores, expression))["columns"].key

    before = key()
    assert key("2 * armorm + helpfulness") == before
    assert key("other") != before
    assert key("armorm + other") != before
    moved = scores.rename(scores.with_name("elsewhere.csv"))
    assert planned(config_of(moved, "armorm"))["columns"].key == before
    moved.write_text(moved.read_text().replace("1.5", "1.6"))
    assert planned(config_of(moved, "armorm"))["columns"].key != before


def test_until_columns_needs_a_column_to_make(scores: Path) -> None:
    with pytest.raises(UserError, match="until=columns, and no expression names a column to make"):
        composed(SMOKE, "until=columns")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("name: Armo", "scores[0].name=Armo cannot stand"),
        ("name: helpfulness", "another column"),
        ("name: words", "another column"),
        ("name: chosen_a", "begins as"),
        ("name: a, by: rows", "scores[0].by=rows is not an option"),
    ],
)
def test_an_item_that_cannot_be_used_is_refused(scores: Path, item: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        composed(SMOKE, f"scores=[{{path: '{scores}', {item}}}]")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("[{name: a}]", "scores[0] does not say where its scores come from", "add path: FILE"),
        ("[{path: a}]", "scores[0].name must be given", "add name: NAME to that item"),
        ("[{path: a, name: a, colum: b}]", "unknown key 'colum' in scores", "did you mean 'column'?"),
        ("[a]", "scores holds what is no item of it", "path: VALUE"),
        ("[{name: a, path: [b]}]", "scores: path is given what it cannot take", "path: VALUE"),
        ("a", "scores=a is no list", ""),
    ],
)
def test_an_item_that_is_not_written_as_one_is_explained(given: str, said: str, hint: str) -> None:
    try:
        composed(SMOKE, f"scores={given}")
    except (UserError, HydraException) as raised:
        error = raised if isinstance(raised, UserError) else explain(raised, [f"scores={given}"])
    assert error.message == said
    assert hint in error.hint


def test_a_file_that_is_not_there_or_has_not_the_column_is_told_before_anything_runs(scores: Path) -> None:
    with pytest.raises(UserError, match=r"scores.armorm: there is no file"):
        resolve(config_of(scores.with_name("none.csv"), "armorm"))
    scores.write_text("row,completion,overall\n0,0,1\n")
    with pytest.raises(UserError, match="no column 'score'"):
        resolve(config_of(scores, "armorm"))


def context(folder: Path, hardware: Hardware, **sources: str) -> Context:
    told = EventWriter("columns", folder / "events.jsonl")
    return Context(told, hardware, folder, {f"scores.{name}": [path] for name, path in sources.items()})


def test_the_stage_writes_one_column_a_name_and_counts(
    tmp_path: Path, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    completions = table(prompt("A?", completion("a"), completion("b")), prompt("B?", completion("c")))
    completions.write_parquet(tmp_path / "completions.parquet")
    of_file = {"file": "digest", "by": None}
    settings = ColumnsSettings({"other": {**of_file, "column": "other"}, "armorm": {**of_file, "column": "score"}})
    places = context(tmp_path, machine(), armorm=str(scores), other=str(scores))
    facts = make_columns.run(settings, {"feedback": tmp_path}, tmp_path, places)
    made = pl.read_parquet(tmp_path / "columns.parquet")
    assert made.schema == {"row": pl.Int64, "completion": pl.Int64, "armorm": pl.Float64, "other": pl.Float64}
    assert made.rows() == [(0, 0, 1.5, 3.0), (0, 1, 2.5, 4.0), (1, 0, None, None)]
    assert (facts["prompts"], facts["completions"]) == (2, 3)
    assert (facts["armorm/with_score"], facts["armorm/without_score"], facts["other/unmatched"]) == (2, 1, 1)
    assert "armorm: 2 of 3 completions have a score; 1 of no completion here" in capsys.readouterr().err


def test_a_run_chooses_by_a_joined_score(tmp_path: Path) -> None:
    rows = [(row, place, (7 * row + 3 * place) % 5) for row in range(30) for place in range(4)]
    path = tmp_path / "scores.jsonl"
    path.write_text(
        "".join(f'{{"row": {row}, "completion": {place}, "score": {score}}}\n' for row, place, score in rows)
    )
    items, output = f"scores=[{{path: '{path}', name: armorm}}]", f"output_dir={tmp_path}/outputs"
    config = composed(SMOKE, items, output, *choosing_by("armorm"), "data.prompts=30", "until=pairs")
    run = Run(config, {"selection": "expression"}, Console(quiet=True))
    run.folder.mkdir(parents=True)
    for node in run.nodes:
        execute(node, run.job([node]))
    pairs = pl.read_parquet(run.store.path("pairs", run.nodes[-1].key) / "pairs.parquet")
    by_place = {(row, place): float(score) for row, place, score in rows}
    best = {row: max(score for one, _, score in rows if one == row) for row in range(30)}
    assert pairs.height > 20
    for row, chosen, score in pairs.select("row", "chosen_completion", "chosen_score").iter_rows():
        assert score == by_place[row, chosen] == best[row]
