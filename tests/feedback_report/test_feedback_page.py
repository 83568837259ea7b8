"""feedback.html: its numbers by hand on small tables, hostile texts, its size, and where a run writes it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import ANNOTATIONS, ANNOTATOR_JSON, COLUMNS, COMPLETIONS, FEEDBACK_HTML
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError
from notus_exp.feedback_report import feedback_tables, of_run
from notus_exp.feedback_report.costs_by_pair import cost_rows
from notus_exp.feedback_report.disputed_prompts import disputed_prompts
from notus_exp.feedback_report.feedback_page import feedback_page
from notus_exp.feedback_report.feedback_tables import AnnotatorSource, FeedbackTables, ReportedFeedback, read_feedback
from notus_exp.feedback_report.of_run import write_report
from notus_exp.feedback_report.overall_against_mean import against_mean
from notus_exp.feedback_report.rater_agreement import agreements, by_aspect
from notus_exp.feedback_report.rater_leanings import leaning_rows
from notus_exp.feedback_report.rating_spread import spread_tables
from notus_exp.feedback_report.who_wrote import cross_table, writer_rows
from notus_exp.run.pipeline import Run
from notus_exp.runs import main as runs
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.pages import Page

SHARE = {"value": 0.75, "low": 0.5, "high": 0.9, "n": 2}
TOLD: dict[str, Any] = {
    "format": 1, "name": "helpful", "judge": {"name": "openai", "model": "m"}, "asked_for": "rating", "verdicts": 5,
    "failed": 1, "reasons": {}, "not_asked": 0, "with_value": 4, "first_preferred": None, "contradicting": None,
    "longer_preferred": SHARE, "self_preference": {"model": "m", "won": SHARE, "beside": "average", "excess": SHARE},
    "tokens": 10, "usd": 0.5,
}  # fmt: skip
ROWS = table(
    prompt(
        "A?",
        completion("one", 1, 1, overall=10, model="a", principle="honesty"),
        completion("three33", 2, 4, overall=2, model="b", principle="helpfulness"),
        completion("two22", 3, 2, overall=3, model="a", principle="honesty"),
    ),
    prompt("B?", completion("four", 5, 5, overall=9, model="b"), completion("fivefive", 1, None, overall=1, model="c")),
)
ASPECTS = ["helpfulness", "honesty"]


def write(folder: Path, frame: pl.DataFrame, *annotators: AnnotatorSource, pairs: int | None = 2) -> ReportedFeedback:
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / COMPLETIONS)
    return ReportedFeedback(folder, annotators, 2.0, 4.0, pairs)


def annotator(
    folder: Path,
    values: Sequence[float | None],
    name: str = "helpful",
    about: str = "helpfulness",
    made: bool = False,
    frame: pl.DataFrame = ROWS,
    **told: Any,
) -> AnnotatorSource:
    """An annotator with a value of each completion."""
    folder.mkdir(parents=True)
    (folder / ANNOTATOR_JSON).write_text(json.dumps({**TOLD, "name": name, **told}))
    own = frame.select("row", "completion")
    own.with_columns(pl.Series(name, values, dtype=pl.Float64)).write_parquet(folder / COLUMNS)
    own.with_columns(rationale=pl.lit("so <i>said</i> I")).write_parquet(folder / ANNOTATIONS)
    return AnnotatorSource(folder, about, made)


@pytest.fixture
def tables(tmp_path: Path) -> FeedbackTables:
    """The feedback of `ROWS` with an annotator that orders the first prompt against its first aspect."""
    return read_feedback(write(tmp_path / "feedback", ROWS, annotator(tmp_path / "h", [30.0, 20.0, 10.0, 9.0, 7.0])))


def test_completions_are_counted_by_model_and_principle_with_what_they_are_rated(tables: FeedbackTables) -> None:
    rows = writer_rows(tables, "model")
    assert [(row.name, row.completions, row.average["n"]) for row in rows] == [("a", 2, 1), ("b", 2, 2), ("c", 1, 1)]
    assert rows[1].average["value"] == 4.0  # 3 and 5, of two prompts: 4 +- 12.7 * 1
    assert rows[1].average["low"] == pytest.approx(4 - 12.706, abs=1e-3)
    assert (rows[0].average["low"], rows[0].critique["value"], rows[0].chars) == (None, 6.5, 4.0)
    crossed = cross_table(tables)
    assert crossed is not None
    assert set(crossed.principles) == {"(unknown)", "honesty", "helpfulness"}
    assert dict(crossed.rows)["a"][crossed.principles.index("honesty")] == 2
    assert sum(sum(numbers) for _, numbers in crossed.rows) == 5


def test_ratings_are_distributed_over_the_values_of_their_scale(tables: FeedbackTables) -> None:
    found = {row.name: (one.columns, row) for one in spread_tables(tables) for row in one.rows}
    columns, row = found["helpfulness"]
    assert columns == ["1", "2", "3", "4", "5"]
    assert row.shares == [0.4, 0.2, 0.2, 0.0, 0.2]
    assert (row.known, row.missing, found["honesty"][1].missing) == (5, 0, 1)
    assert found["critique"][0] == [str(one) for one in range(1, 11)]
    assert found["average"][0] == ["1", "2.5", "3", "5"], "halves are values of their own"


def test_of_an_aspect_with_several_raters_alpha_is_told_and_of_one_alone_that_it_is(tables: FeedbackTables) -> None:
    found = {one.aspect: one for one in by_aspect(tables)}
    assert found["helpfulness"].raters == ["feedback", "helpful"]
    # ranks -1 0 1 against 1 0 -1, and twice 0.5 -0.5: n = 10, W = 2 (2^2 + 2^2), S = 0, Q = 4 + 1
    alpha = found["helpfulness"].alpha
    assert alpha is not None
    assert alpha["value"] == pytest.approx(1 - (16 / 10) / (2 * 10 * 5 / (10 * 9)), abs=1e-6)
    assert alpha["n"] == 2
    assert (found["honesty"].raters, found["honesty"].alpha) == (["feedback"], None)


def test_who_made_the_ratings_is_nobody_beside_them(tmp_path: Path) -> None:
    own = annotator(tmp_path / "own", ROWS["rating_helpfulness"].to_list(), made=True)
    tables = read_feedback(write(tmp_path / "feedback", ROWS, own))
    assert {one.aspect: one.raters for one in by_aspect(tables)}["helpfulness"] == ["feedback"]
    assert "helpful" not in tables.labellings
    assert [row.name for row in cost_rows(tables, [], 2)] == ["helpful"], "and is paid all the same"


def test_every_two_labellings_are_compared_once(tables: FeedbackTables) -> None:
    found = agreements(tables)
    assert found.names == ["average", "critique", "helpful", *ASPECTS]
    assert [len(cells) for cells in found.cells] == [0, 1, 2, 3, 4]


def test_leanings_are_of_decided_comparisons(tables: FeedbackTables) -> None:
    rows = {row.name: row for row in leaning_rows(tables)}
    own = rows["helpfulness"]  # A: the later wins three times; B: the first does
    assert (own.decided, own.first["value"]) == (4, 0.25)
    assert own.longer["value"] == 0.5  # A: two22 over one, three33 over one, two22 over three33; B: four over fivefive
    assert rows["honesty"].decided == 3, "what is missing decides nothing"


def test_overall_scores_far_above_the_mean_of_their_own_ratings_are_counted(tables: FeedbackTables) -> None:
    found = against_mean(tables, 2.0, 4.0)
    assert found is not None
    # (10 - 1) / 9 - (1 - 1) / 4 = 1; 9 goes with 5, and 1 with 1
    assert (found.both, found.far, found.far_share["value"]) == (5, 1, 0.2)
    assert found.scales == ((1.0, 10.0), (1.0, 5.0))
    assert found.tens == {"contradicted": 1, "ambiguous": 0, "supported": 0}
    assert [(row.score, row.ratings["value"]) for row in found.rows] == [
        ("1", 1.0), ("2", 3.0), ("3", 2.5), ("9", 5.0), ("10", 1.0),
    ]  # fmt: skip
    # averages 1, 3, 2.5 against 10, 2, 3: no comparison of A alike; B: alike
    assert found.same["value"] == 0.25


def test_values_beyond_the_usual_scales_are_placed_between_the_least_and_the_largest(tmp_path: Path) -> None:
    frame = ROWS.with_columns(pl.col("overall_score") * 10)
    found = against_mean(read_feedback(write(tmp_path / "feedback", frame)), 2.0, 4.0)
    assert found is not None and found.scales[0] == (10.0, 100.0) and found.far == 1


def test_disputed_prompts_stand_side_by_side_the_most_disputed_first(tables: FeedbackTables) -> None:
    found = disputed_prompts(tables)
    assert [one.prompt for one in found] == ["A?"], "on B all say the same"
    # one and three33: honesty, helpfulness against critique, helpful: 1; one and two22 likewise: 1;
    # three33 and two22: helpfulness, critique against honesty, helpful: 1
    assert found[0].disputed == 1.0
    answer = found[0].answers[0]
    assert (answer.text, answer.model, dict(answer.values)["critique"]) == ("one", "a", "10.00")
    assert answer.said == [("helpful", "so <i>said</i> I")]


def test_of_many_completions_some_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    many = [completion(f"text {place}", place, -place) for place in range(9)]
    [found] = disputed_prompts(read_feedback(write(tmp_path / "feedback", table(prompt("Q?", *many)))))
    assert (len(found.answers), found.more) == (6, 3)


def test_costs_are_told_by_pair_and_what_is_not_known_of_a_part_not_of_the_whole(tmp_path: Path) -> None:
    values = [1.0] * 5
    sources = [annotator(tmp_path / "a", values, "a"), annotator(tmp_path / "b", values, "b", usd=None, tokens=5)]
    tables = read_feedback(write(tmp_path / "feedback", ROWS, *sources))
    rows = {row.name: row for row in cost_rows(tables, [], 2)}
    assert (rows["a"].per_pair, rows["b"].per_pair) == (0.25, None)
    assert (rows["together"].usd, rows["together"].tokens, rows["together"].asked) == (None, 15, 10)
    assert cost_rows(tables, [], None)[0].per_pair is None


def test_the_page_is_whole_and_says_all_of_it(tmp_path: Path) -> None:
    page = Page(feedback_page(write(tmp_path / "f", ROWS, annotator(tmp_path / "h", [30.0, 20.0, 10.0, 9.0, 7.0]))))
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [value for _, name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
    assert list(page.texts)[1:] == [
        "verdict",
        "writers",
        "ratings",
        "agreement",
        "leanings",
        "overall",
        "disputed",
        "costs",
    ]
    assert "5 completions of 2 prompts by 3 models, rated on 2 aspects and by 1 annotator." in page.texts["verdict"]
    assert "In 1 of 5 completions (20.0" in page.texts["overall"]
    assert "helpfulness feedback, helpful −0.44" in page.texts["agreement"]
    assert "honesty feedback one rater alone" in page.texts["agreement"]
    assert "helpful rates 5 1 10 0.5000 0.2500" in page.texts["costs"]
    assert "75.0 [50.0 to 90.0]" in page.texts["leanings"]


def test_feedback_without_ratings_or_annotators_has_a_page(tmp_path: Path) -> None:
    bare = table(prompt("A?", completion("one"), completion("two")), aspects=[])
    page = Page(feedback_page(write(tmp_path / "f", bare, pairs=None)))
    assert page.wrong == []
    assert "No completion has a rating." in page.texts["ratings"]
    assert not {"overall", "costs"} & page.texts.keys()


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[2J\u202e&\"'"
    frame = table(
        prompt(
            evil,
            *(completion(f"{evil}{n}", n, 3 - n, overall=n + 1, model=f"{evil}{n}", principle=evil) for n in range(3)),
            source=evil,
        )
    ).with_columns(critique=pl.lit(evil))
    html = feedback_page(
        write(tmp_path / "f", frame, annotator(tmp_path / "h", [1, 2, 3], frame=frame, judge={"name": evil}))
    )
    page = Page(html)
    assert page.wrong == [] and "script" not in page.tags
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", html)
    assert "alert(1)" in page.texts["disputed"] and "alert(1)" in page.texts["writers"]


def test_the_page_stays_small_however_much_feedback_there_is(tmp_path: Path) -> None:
    count = 150
    frame = table(
        *(
            prompt(
                f"{number} " + "<&>" * 2000,
                *(
                    completion(
                        "<&>" * 2000 + str(n),
                        n,
                        (n * number) % 5,
                        overall=n,
                        model="m" * 3000 + str(number),
                        principle=f"{'p' * 900}{number}",
                    )
                    for n in range(4)
                ),
                source="s" * 5000,
            )
            for number in range(count)
        )
    ).with_columns(critique=pl.lit("<&>" * 3000))
    html = feedback_page(write(tmp_path / "f", frame))
    assert len(html) < 300_000
    assert f"({count - 19} others)" in html


def test_of_many_prompts_a_fixed_sample_is_compared_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_tables, "MOST_PROMPTS", 3)
    frame = table(*(prompt(f"{n}?", completion("a", 1, 2), completion("bb", 2, 1)) for n in range(8)))
    tables = read_feedback(write(tmp_path / "f", frame))
    assert tables.sampled and len(tables.compared.one) == 3
    again = read_feedback(write(tmp_path / "g", frame.reverse().sort("row", "completion")))
    assert again.compared.one.tolist() == tables.compared.one.tolist()
    assert writer_rows(tables, "model")[0].completions == 8
    assert "fixed sample" in feedback_page(write(tmp_path / "f", frame))


# --------------------------------------------------------------------------------------------------------------- a run
@pytest.fixture
def a_run(tmp_path: Path) -> Callable[..., Path]:
    """Make outputs with a run: its feedback, two annotators, one of whom made its ratings, and its pairs."""

    def make(**changes: Any) -> Path:
        store = ArtifactStore(tmp_path / "outputs/artifacts")
        stages = {}
        values = ROWS["rating_helpfulness"].to_list()

        def build(
            node: str, stage: str, settings: dict[str, Any], inputs: dict[str, str], fill: Any, **facts: Any
        ) -> str:
            key = digest(node)
            manifest = Manifest(stage, key, settings, inputs, {})
            store.build(manifest, lambda out: fill(out) or facts, resumable=False)
            path = str(store.path(stage, key))
            stages[node] = {"key": key, "path": path, "facts": facts, "inputs": inputs, "reused": False}
            stages[node] |= {"seconds": 1.0, "seconds_when_made": 1.0}
            return key

        def said(name: str) -> Any:
            def fill(out: Path) -> None:
                annotator(out / "x", values, name)
                for path in (out / "x").iterdir():
                    path.rename(out / path.name)
                (out / "x").rmdir()

            return fill

        def whole(out: Path) -> None:
            ROWS.write_parquet(out / COMPLETIONS)

        rubric = {"name": "maker", "rubric": "helpfulness"}
        maker = build("annotations_maker", "annotations", rubric, {"feedback": "9" * 64}, said("maker"))
        feedback = build("feedback", "feedback", {}, {"annotations_maker": maker}, whole)
        rubric = {"name": "other", "rubric": "helpfulness"}
        build("annotations_other", "annotations", rubric, {"feedback": feedback}, said("other"))
        build("pairs", "pairs", {}, {"feedback": feedback}, lambda out: None, pairs_out=4)
        content = {"run_id": "mine", "status": "finished", "metrics": {}, "stages": stages}
        content |= {"config": {"repair": {"low_mean": 2.0, "high_mean": 4.0}}, **changes}
        folder = tmp_path / "outputs/runs/mine"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(content))
        return folder

    return make


def test_a_run_says_of_whom_its_ratings_are_and_what_a_pair_cost(
    a_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_run()
    monkeypatch.chdir(folder.parent.parent.parent)
    assert runs(["feedback", "mine"]) == 0
    assert capsys.readouterr().out.strip() == "feedback: outputs/runs/mine/feedback.html"
    page = Page((folder / FEEDBACK_HTML).read_text(encoding="utf-8"))
    assert "helpfulness feedback, other 1.00" in page.texts["agreement"], "the maker is not beside its own ratings"
    assert "together 10 2 20 1.0000 0.2500" in page.texts["costs"]
    assert runs(["show", "mine"]) == 0
    assert "outputs/runs/mine/feedback.html" in capsys.readouterr().out


def test_a_run_without_feedback_or_with_a_damaged_one_has_no_page_and_says_why(a_run: Callable[..., Path]) -> None:
    folder = a_run()
    path = next(folder.parent.parent.glob(f"artifacts/feedback-*/{COMPLETIONS}"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    record = json.loads((folder / "run.json").read_text())
    with pytest.raises(UserError, match="is not what was written"):
        write_report(folder, record)
    with pytest.raises(UserError, match="has no feedback: it is failed"):
        write_report(folder, {"status": "failed"})
    assert not (folder / FEEDBACK_HTML).exists()


def _until_feedback(folder: Path, said: io.StringIO) -> Run:
    config = composed("experiment=smoke", "until=feedback", "data.prompts=20", f"output_dir={folder}", "tracking=none")
    return Run(config, {"selection": "average"}, Console(file=said, width=400))


def test_a_run_writes_the_report_once_and_ends_well_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    first = _until_feedback(tmp_path, said)
    with monkeypatch.context() as full:
        full.setattr(
            of_run, "feedback_page", lambda sources: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        first.execute()
    page = first.folder / FEEDBACK_HTML
    assert not page.exists()
    assert "feedback.html is not written: " in said.getvalue() and "No space left" in said.getvalue()
    assert json.loads((first.folder / "run.json").read_text())["status"] == "finished"
    _until_feedback(tmp_path, said).execute()
    assert f"feedback: {page}" in said.getvalue()
    html = Page(page.read_text(encoding="utf-8"))
    assert "rated on 4 aspects" in html.texts["verdict"] and "gold" in html.texts["agreement"]
    page.write_text("as it was")
    _until_feedback(tmp_path, said).execute()
    assert page.read_text() == "as it was", "nothing that it tells of was made"


def test_writers_that_were_asked_here_are_counted_with_what_they_were_paid(a_run: Callable[..., Path]) -> None:
    folder = a_run()
    record = json.loads((folder / "run.json").read_text())
    endpoint = {"answers": 8, "refused": 1, "prompt_tokens": 70, "completion_tokens": 30, "cost": 3.0}
    for name, facts in (("big", endpoint), ("here", {"answers": 4, "tokens": 9})):
        record["stages"][f"responses_{name}"] = {"key": name, "path": f"x/{name}", "facts": facts}
    page = Page(write_report(folder, record).read_text(encoding="utf-8"))
    assert "big answers 8 1 100 3.0000 0.7500" in page.texts["costs"]
    assert "here answers 4 0 – 0.0000 0.0000" in page.texts["costs"]
    assert "together 22 3 – 4.0000 1.0000" in page.texts["costs"]
    assert "USD for each pair 1.0000" in page.texts["verdict"]
