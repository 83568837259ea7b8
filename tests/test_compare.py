import csv
import json
import math
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from notus_exp.compare import main
from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.external.verdict_tables import VerdictOptions, by_cluster
from notus_exp.external.verdict_tables import report as verdicts_report
from notus_exp.inference.estimates import mean_estimate
from support.pages import Page
from support.places import REPLAY
from support.study_folders import ACCURACY, crossed, write_study

replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")
PREFERENCES = REPLAY / "alpaca_eval/preferences_core.csv"


@pytest.fixture
def compare(capsys):
    """Run the command; return exit code, what it printed, and what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def table(tmp_path):
    """Write a CSV file of columns; return it."""

    def write(name="verdicts.csv", **columns):
        path = tmp_path / name
        pl.DataFrame(columns).write_csv(path)
        return path

    return write


@pytest.fixture
def study(tmp_path):
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(20, [0, 1, 2], effect=effect, arm=place).items()}
        for place, (arm, effect) in enumerate({"critique": 0.0, "average": 0.2}.items())
    }
    return write_study(tmp_path, arms)


def against(data, arm):
    [row] = [row for row in data["contrasts"] if row["arm"] == arm]
    return row


# A study
def test_a_study_is_compared_printed_and_written(compare, study):
    code, out, err = compare(study)
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "'average' is higher (+0." in said
    assert "exploratory contrasts are in comparison.csv" in said
    comparison = json.loads((study / "comparison.json").read_text())
    assert comparison["verdict"] in said
    with (study / "comparison.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["table"] == "contrast" and row["primary"] == "true"]
    assert [float(row["value"]) for row in rows] == [row["value"] for row in comparison["contrasts"] if row["primary"]]
    assert "average" in (study / "report.html").read_text()


def test_the_files_go_where_they_are_asked_to_and_the_same_twice(compare, study, tmp_path):
    for place in ("one", "two"):
        assert compare(study, "--output", tmp_path / place)[0] == 0
    for name in ("comparison.json", "comparison.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not (study / "comparison.json").exists()


def test_json_is_the_comparison(compare, study):
    _, out, _ = compare(study, "--json")
    data = json.loads(out)
    assert data == read_comparison(study / "comparison.json")
    assert data["study"]["chosen_afterwards"] == []
    _, out, _ = compare(study, "--json", "--baseline", "average")
    data = json.loads(out)
    assert data == read_comparison(study / "comparisons/baseline=average/comparison.json")
    assert data["study"]["chosen_afterwards"] == ["baseline"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (["--baseline", "average"], "baseline=average"),
        (["--baseline", "average", "--margin", "0.05"], "baseline=average,margin=0.05"),
        (["--margin", "0.05"], "margin=0.05"),
        (["--margin", "0.05", "--name", "five_points"], "five_points"),
    ],
)
def test_a_look_afterwards_lies_beside_what_was_planned_and_is_exploratory(compare, study, asked, name):
    assert compare(study)[0] == 0
    planned = {file: (study / file).read_bytes() for file in ("comparison.json", "comparison.csv", "report.html")}
    code, out, err = compare(study, *asked)
    assert (code, err) == (0, "")
    assert {file: (study / file).read_bytes() for file in planned} == planned
    place = study / "comparisons" / name
    assert sorted(path.name for path in place.iterdir()) == sorted(planned)
    found = read_comparison(place / "comparison.json")
    assert not any(row["primary"] for row in found["contrasts"])
    assert all(row["words"].endswith("; exploratory") for row in found["contrasts"])
    assert found["contrasts"][0]["holm"] is not None  # its family is corrected all the same
    said = " ".join(out.split())
    assert "(exploratory: a look afterwards)" in said
    assert "Chosen after the runs were made" in said
    assert f"comparisons/{name}/comparison.json" in "".join(out.split())
    page = Page((place / "report.html").read_text()).texts
    assert "only arm" not in " ".join(page.values())
    assert "There is no primary contrast" not in page["contrasts"]
    assert " None " not in page["contrasts"]


def test_a_margin_over_a_quarter_of_the_span_is_asked_about(compare, study):
    code, out, _ = compare(study, "--margin", "0.3")
    assert code == 0
    asked = f"the margin of 0.3 is 30 % of all that {ACCURACY} can differ by (1), and less is called equivalent"
    assert asked in " ".join(out.split())
    assert "can differ by" not in compare(study, "--margin", "0.25")[1]


def test_what_is_named_as_the_study_named_it_is_no_look(compare, study):
    assert compare(study, "--baseline", "critique", "--metric", ACCURACY)[0] == 0
    assert any(row["primary"] for row in read_comparison(study / "comparison.json")["contrasts"])
    assert not (study / "comparisons").exists()


def test_a_looks_name_is_a_folders_and_two_looks_have_two(compare, tmp_path):
    rows = crossed(12, [0, 1])
    arms = {arm: {seed: {ACCURACY: rows[seed]} for seed in (0, 1)} for arm in ("a", "b c", "b_c")}
    folder = write_study(tmp_path, arms)
    for arm in ("b c", "b_c"):
        assert compare(folder, "--baseline", arm)[0] == 0
    plain, hashed = sorted((path.name for path in (folder / "comparisons").iterdir()), key=len)
    assert plain == "baseline=b_c"
    assert re.fullmatch("baseline=b_c-[0-9a-f]{8}", hashed)


@pytest.mark.parametrize("option", ["--name", "--output"])
def test_a_look_is_written_anew_and_never_over_one_that_asked_something_else(compare, study, tmp_path, option):
    place = study / "comparisons/look" if option == "--name" else tmp_path / "look"
    into = [option, "look" if option == "--name" else place]
    assert compare(study, "--margin", "0.05", *into)[0] == 0
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    for other, was, now in (
        (["--margin", "0.06"], "margin=0.05", "margin=0.06"),
        (["--margin", "0.05", "--baseline", "average"], "baseline=critique", "baseline=average"),
    ):
        code, _, err = compare(study, *other, *into)
        assert code == 2
        assert f"holds a comparison with {was}, and this one has {now}" in err
        assert f"give another {option}" in err
    assert {path.name: path.read_bytes() for path in place.iterdir()} == kept
    assert compare(study, "--margin", "0.05", *into)[0] == 0
    assert (place / "comparison.json").read_bytes() == kept["comparison.json"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("planted", "did you mean 'outputs/studies/planted'?"),
        ("plantd", "did you mean 'outputs/studies/planted'?"),
        ("outputs/studies/plante", "did you mean 'outputs/studies/planted'?"),
        ("elsewhere/nothing", "such as outputs/studies/mine"),
    ],
)
def test_the_folder_of_a_study_that_was_meant_is_named(compare, study, monkeypatch, given, meant):
    monkeypatch.chdir(study.parent.parent.parent)
    code, _, err = compare(given)
    assert (code, "is not a study" in err, meant in err) == (2, True, True)


def test_a_search_has_no_arm_or_margin_to_choose(compare, tmp_path):
    folder = write_study(tmp_path, {}, kind="search")
    for option, value in (("--baseline", "a"), ("--metric", ACCURACY), ("--margin", "1.0")):
        code, _, err = compare(folder, option, value)
        assert (code, f"{option} {value} does nothing: 'planted' is a search" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{study}", "--baseline", "averag"], "did you mean 'average'?"),
        (["{study}", "--metric", "speed"], f"did you mean '{ACCURACY}'"),
        (["{study}", "--margin", "3,2"], "a study has one margin"),
        (["{study}", "--margin", "1"], f"--margin=1 covers all that {ACCURACY} can differ by, 1"),
        (["{study}", "--margin", "5"], "name the largest difference that would not matter, such as 0.05"),
        (["{study}", "--kind", "wide"], "--kind goes with --verdicts FILE only"),
        (["{study}", "--alpaca-eval"], "--alpaca-eval goes with --verdicts FILE only"),
        (["{study}", "--verdicts", "{wide}"], "one of them"),
        ([], "compare needs a study's folder or --verdicts FILE"),
        (["{tmp}"], "is not a study"),
        (["--verdicts", "{wide}", "--metric", "x"], "--metric goes with a study only"),
        (["--verdicts", "{wide}", "--output", "x"], "--output goes with a study only"),
        (["--verdicts", "{wide}", "--name", "x"], "--name goes with a study only"),
        (["{study}", "--name", "x", "--output", "y"], "both say where the files go"),
        (["{study}", "--name", "x"], "this is what the study planned"),
        (["{study}", "--name", "../x", "--margin", "0.1"], "is no name of a folder"),
        (["{study}", "--name", "..", "--margin", "0.1"], "is no name of a folder"),
        (["{study}", "--output", "{study}", "--margin", "0.1"], "which a look afterwards does not replace"),
        (["--verdicts", "{wide}", "--margin", "-1"], "not a list of positive numbers"),
        (["--verdicts", "{wide}", "--alpaca-eval", "--scale", "2"], "leave one of them out"),
        (["--verdicts", "{wide}", "--baseline", "zepyhr"], "did you mean 'zephyr'?"),
        (["--verdicts", "{wide}", "--clusters", "topic"], "has no column 'topic'"),
        (["--verdicts", "{wide}", "--kind", "long"], "has no column 'model'"),
        (["--verdicts", "{wide}", "--kind", "games"], "has no column 'model_a'"),
        (["--verdicts", "{text}"], "fit no kind of table"),
        (["--verdicts", "{text}", "--kind", "wide"], "column 'answer' of"),
        (["--verdicts", "{twice}"], "several values of 'm' on prompt p"),
        (["--verdicts", "{games}"], "names 'c' the winner of 'a' and 'b'"),
        (["--verdicts", "{games}", "--margin", "3"], "--margin does nothing with games"),
        (["--verdicts", "{tmp}/none.csv"], "there is no file"),
        (["--verdicts", "{tmp}/none.parquet"], "there is no file"),
        (["--verdicts", "{tmp}/none.txt"], "cannot read the type"),
    ],
)
def test_bad_input_is_one_error_and_exit_code_2(compare, study, table, tmp_path, arguments, said):
    names = {
        "study": study,
        "tmp": tmp_path,
        "wide": table("wide.csv", index=[0, 1], zephyr=[1.0, 2.0], notus=[2.0, 2.0]),
        "text": table("text.csv", index=[0, 1], answer=["yes", "no"], notus=[2.0, 2.0]),
        "twice": table("twice.csv", model=["m", "m"], prompt=["p", "p"], value=[1, 2]),
        "games": table("games.csv", model_a=["a"], model_b=["b"], winner=["c"]),
    }
    code, out, err = compare(*(argument.format(**names) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("error: ") == 1
    assert not (study / "comparison.json").exists()


@pytest.mark.parametrize(
    ("columns", "arguments", "said"),
    [
        (
            {"model_a": ["a"] * 2, "model_b": ["b"] * 2, "winner": [None] * 2},
            [],
            "'winner' of .* is empty in all 2 rows",
        ),
        ({"model_a": ["a", None], "model_b": ["b"] * 2, "winner": ["a", "b"]}, [], "'model_a' of .* is empty in row 2"),
        (
            {"model_a": ["a"] * 3, "model_b": ["b"] * 3, "winner": ["a", "b", "a"], "prompt": [1, None, None]},
            [],
            r"'prompt' of .* is empty in row 2 \(2 such rows\)",
        ),
        ({"prompt": ["p", None], "a": [1.5, 2.0], "b": [1.0, 2.0]}, [], "'prompt' of .* is empty in row 2"),
        ({"model": ["a", None], "prompt": ["p", "p"], "value": [1, 2]}, [], "'model' of .* is empty in row 2"),
        (
            {"model": ["a", "a"], "prompt": ["p", "p"], "value": [1, 2], "seed": [None, 1]},
            [],
            "'seed' of .* is empty in row 1",
        ),
        ({"id": [7, 3], "a": [1.0, 2.0], "b": [2.0, 2.5]}, [], "(?s)'id' of .* looks like.*--models 'a,b'"),
        ({"turn": [4, 5, 6], "a": [1.0, 2.0, 0.0]}, [], "'turn' of .* looks like numbers of rows"),
        ({"prompt": [1, 2], "": [0, 1], "a": [1.0, 2.0]}, [], "column '' of .* looks like numbers of rows"),
        ({"id": [1, 2], "a": [1.0, 2.0]}, ["--prompt-column", "ids"], "did you mean 'id'"),
        ({"prompt": [1, 2], "a": [1.0, 2.0]}, ["--models", "a,c"], "has no column 'c'"),
        ({"prompt": [1, 2], "a": [1.0, 2.0]}, ["--models", "a,a"], "not a list of different columns"),
        ({"model": ["a"], "prompt": ["p"], "value": [1]}, ["--models", "a"], "goes with a table of kind wide"),
        ({"prompt": [1, 2], "a": [1.0, math.inf]}, [], "column 'a' of .* is infinite in row 2"),
        (
            {"prompt": [1, 2, 3], "a": ["1", "2", "nan"], "b": [1, 1, 2]},
            ["--kind", "wide"],
            "'a' of .* holds text: 'nan' in row 3",
        ),
        ({"prompt": [1, 2], "a": ["1", "Inf"], "b": [1, 2]}, [], "text in 'a'"),
        *(({"prompt": [1], "a": [1.0]}, ["--scale", x], f"'{x}' is not a number other than 0") for x in ("0", "nan")),
        ({"prompt": [1], "a": [1.0]}, ["--scale", "inf"], "'inf' is not a number other than 0"),
        ({"prompt": [1], "a": [1.0]}, ["--scale", "1e308"], "'1e308' is not a number other than 0"),
        ({"prompt": [1], "a": [1e308]}, [], "column 'a' of .* is not a usable number in row 1"),
    ],
)
def test_cells_and_columns_that_cannot_be_meant_are_one_error_with_their_place(
    compare, table, columns, arguments, said
):
    code, out, err = compare("--verdicts", table(**columns), *arguments)
    assert (code, out) == (2, "")
    assert re.search(said, err), err
    assert err.count("error: ") == 1


def test_two_columns_of_one_name_are_refused(compare, tmp_path):
    (tmp_path / "v.csv").write_text("prompt,a,a\n1,2,3\n2,3,5\n")
    code, _, err = compare("--verdicts", tmp_path / "v.csv")
    assert code == 2
    assert "has 2 columns 'a'" in err


def test_columns_are_what_the_command_line_says(compare, table):
    path = table(id=[5, 6, 9], a=[1.0, 2.0, 4.0], b=[1.0, 1.0, 1.0], words=[10, 20, 60])
    data = json.loads(compare("--verdicts", path, "--prompt-column", "id", "--models", "a,b", "--json")[1])
    assert [row["model"] for row in data["models"]] == ["a", "b"]
    assert not any("taken as models" in note for note in data["notes"])


def test_a_table_that_names_no_prompt_says_what_it_took_as_models(compare, table):
    data = json.loads(compare("--verdicts", table(a=[1.0, 2.5], b=[1.0, 1.0]), "--json")[1])
    said = "no column names the prompt, so each row is a prompt; the columns taken as models: 'a', 'b'"
    assert said in data["notes"]


def test_help_answers_without_loading_anything_heavy():
    code = (
        "import sys\nfrom notus_exp.compare import main\ntry: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'polars', 'scipy', 'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--verdicts" in done.stdout


# Tables of other tools
def test_wide_and_long_tables_say_the_same(compare, table):
    x, y = [1.0, 2.0, 2.0, None], [1.0, 1.0, 2.0, 2.0]
    wide = table("wide.csv", index=[0, 1, 2, 3], x=x, y=y)
    long = table("long.csv", model=["x"] * 4 + ["y"] * 4, prompt_id=list("0123") * 2, value=x + y)
    one, other = (json.loads(compare("--verdicts", path, "--json", "--baseline", "y")[1]) for path in (wide, long))
    assert one | {"kind": "long"} == other
    row = against(one, "x")
    assert (row["prompts"], row["left_out"], row["seeds"]) == (3, 1, 1)
    assert row["value"] == pytest.approx(1 / 3)
    assert [model["prompts"] for model in one["models"]] == [3, 4]
    assert "how much training seeds move a model is not covered" in " ".join(one["notes"])


def test_parquet_is_read_and_values_are_scaled_to_points(compare, tmp_path):
    path = tmp_path / "v.parquet"
    pl.DataFrame({"prompt": ["a", "b", "c"], "x": [0.5, 0.75, 1.0], "y": [True, False, False]}).write_parquet(path)
    data = json.loads(compare("--verdicts", path, "--json", "--scale", "100")[1])
    assert [model["value"] for model in data["models"]] == pytest.approx([75, 100 / 3])
    assert data["baseline"] == "x"
    assert "the baseline is x, the first in the file" in data["notes"][0]
    assert " points, 95 % " in data["contrasts"][0]["words"]


def test_preferences_that_are_none_are_left_out_and_counted(compare, table):
    path = table(index=[0, 1, 2, 3], a=[1.0, 1.5, 0.0, 7.0], b=[2.0, 2.0, 1.0, -1.0])
    data = json.loads(compare("--verdicts", path, "--json", "--alpaca-eval")[1])
    assert data["models"][0]["value"] == pytest.approx((0 + 50 + 50) / 3)
    assert "2 values are no preference (1 to 2, or 0 for a draw) and were left out" in data["notes"]


def test_several_seeds_are_a_crossed_table_of_those_in_common(compare, table):
    rows = [
        (model, prompt, seed, value + place)
        for place, model in enumerate(("x", "y"))
        for prompt, value in (("p", 1.0), ("q", 2.0), ("r", 4.0))
        for seed in ((0, 1, 2) if model == "x" else (1, 2, 3))
    ]
    path = table(**dict(zip(("model", "prompt", "seed", "value"), map(list, zip(*rows, strict=True)), strict=True)))
    data = json.loads(compare("--verdicts", path, "--json")[1])
    assert data["models"][0]["seeds"] == 3
    assert (against(data, "y")["seeds"], against(data, "y")["value"]) == (2, 1)
    assert not any("not covered" in note for note in data["notes"])


def seeded(seeds, gains):
    """Return the columns of a long table in which model b is a plus gains, shape (seeds, prompts)."""
    cells = [
        (model, str(prompt), seed, float(model == "b") * gains[seed, prompt])
        for model in "ab"
        for seed in range(seeds)
        for prompt in range(gains.shape[1])
    ]
    return dict(zip(("model", "prompt", "seed", "value"), map(list, zip(*cells, strict=True)), strict=True))


@pytest.mark.parametrize(
    ("seeds", "rare", "said"), [(3, True, "prompts carry this difference"), (2, False, "Two seeds say little")]
)
def test_what_no_interval_holds_is_said_in_the_terminal_as_in_json(compare, table, seeds, rare, said):
    rng = np.random.default_rng(0)
    gains = rng.normal(size=(1, 60)) + rng.normal(scale=0.1, size=(seeds, 60))
    if rare:
        gains = (rng.uniform(size=(1, 60)) < 0.05) * rng.lognormal(sigma=1.5, size=(seeds, 60))
    path = table(**seeded(seeds, gains))
    row = against(json.loads(compare("--verdicts", path, "--baseline", "a", "--json")[1]), "b")
    [caution] = [one for one in row["cautions"] if said in one]
    assert " ".join(compare("--verdicts", path, "--baseline", "a")[1].split()).count(caution) == 1


def test_the_cautions_of_exploratory_contrasts_are_counted_in_the_terminal(compare, tmp_path):
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(20, [0, 1], effect=effect, arm=place).items()}
        for place, (arm, effect) in enumerate({"critique": 0.0, "average": 0.2}.items())
    }
    folder = write_study(tmp_path, arms)
    shown = " ".join(compare(folder)[1].split())
    beside = [row for row in read_comparison(folder / "comparison.json")["contrasts"] if not row["primary"]]
    cautious = [row for row in beside if any("Two seeds say little" in one for one in row["cautions"])]
    assert cautious
    assert f"{len(cautious)} of {len(beside)} exploratory contrasts: Two seeds say little" in shown


def test_clusters_widen_the_interval_of_prompts_that_repeat_each_other(compare, table):
    x, y, topics = [1.0, 0.0, 1.0, 1.0, 0.5] * 2, [0.0, 0.5, 0.0, 1.0, 0.0] * 2, list("abcde") * 2
    paths = table("plain.csv", index=list(range(10)), y=y, x=x), table(index=list(range(10)), topic=topics, y=y, x=x)
    plain, clustered = (
        against(json.loads(compare("--verdicts", path, "--json", *more)[1]), "x")
        for path, more in zip(paths, ([], ["--clusters", "topic"]), strict=True)
    )
    wanted = mean_estimate(np.subtract(x, y), clusters=topics)
    assert (clustered["low"], clustered["high"]) == pytest.approx((wanted.low, wanted.high))
    assert (clustered["prompts"], clustered["value"]) == (10, plain["value"])
    assert plain["high"] < clustered["high"]


def test_what_a_contrast_leaves_out_is_said(compare, table):
    cells = [
        (model, prompt, seed, value * (seed + 1) + (model == "y") * prompt)
        for model, seeds in (("x", (0, 1, 2)), ("y", (0, 1)))
        for prompt, value in ((1, 1.0), (2, 3.0), (3, 4.0), (4, 6.0))
        for seed in seeds
        if (model, prompt, seed) != ("y", 4, 1)
    ]
    path = table(**dict(zip(("model", "prompt", "seed", "value"), map(list, zip(*cells, strict=True)), strict=True)))
    row = against(json.loads(compare("--verdicts", path, "--json")[1]), "y")
    assert (row["prompts"], row["seeds"], row["left_out"]) == (3, 2, 1)
    report = verdicts_report(path, VerdictOptions())
    shown = report.tables[1]
    assert dict(zip(shown.columns, shown.rows[0], strict=True)).items() >= {"seeds": "2", "left out": "1"}.items()
    assert "y against x leaves out seeds that they do not share: 2 of x" in report.sentences


def test_models_on_different_prompts_are_named(compare, table):
    columns = {"model": list("xxxyyy"), "prompt_id": list("123234"), "value": [1.0, 2.0, 3.0, 1.0, None, 2.0]}
    notes = json.loads(compare("--verdicts", table(**columns), "--json")[1])["notes"]
    [said] = [note for note in notes if "prompts that they do not share" in note]
    assert said.startswith("y against x leaves out prompts")
    assert said.endswith("1 of y, such as 4; 1 of x, such as 1")


@pytest.mark.parametrize(
    ("topics", "said", "cautioned"),
    [
        (["t"] * 24, "cannot tell: all 24 prompts are of one cluster", False),
        (list("ab") * 12, "errors are clustered by 'topic'; clusters: 2", True),
        (list("abcdefghijklmnopqrstuvwx"), "errors are clustered by 'topic'; clusters: 24", False),
    ],
)
def test_clusters_are_counted_and_few_of_them_cautioned(compare, table, topics, said, cautioned):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 24)).tolist()
    code, out, _ = compare("--verdicts", table(prompt=list(range(24)), topic=topics, x=x, y=y), "--clusters", "topic")
    assert code == 0
    assert said in " ".join(out.split())
    assert ("are few (fewer than 20)" in " ".join(out.split())) == cautioned


def test_a_single_model_has_its_mean_and_a_sentence(compare, table):
    data = json.loads(compare("--verdicts", table(prompt=[1, 2], a=[1.0, 4.0]), "--json")[1])
    assert [row["value"] for row in data["models"]] == [2.5]
    assert data["contrasts"] == []
    assert "a is the only model, so there is nothing to compare it with" in data["notes"]


def test_clusters_of_unequal_size_have_the_error_of_liang_and_zeger():
    values, clusters = [1.0, 3.0, 2.0, 0.0, 4.0, 7.0], ["a", "a", "b", "b", "c", "b"]
    influence = by_cluster(np.array([values]), clusters)
    found, wanted = mean_estimate(influence[0]), mean_estimate(values, clusters=clusters)
    assert found == pytest.approx(wanted)


def test_games_count_ties_half_and_cluster_by_prompt(compare, table):
    rows = [
        ("a", "b", "a", "p"),
        ("a", "b", "b", "q"),
        ("b", "a", "tie", "r"),
        ("a", "b", "a", "s"),
        ("a", "b", None, "s"),
    ]
    path = table(
        **dict(zip(("model_a", "model_b", "winner", "prompt"), map(list, zip(*rows, strict=True)), strict=True))
    )
    data = json.loads(compare("--verdicts", path, "--json", "--baseline", "b")[1])
    assert (data["kind"], data["games"], data["ties"]) == ("games", 4, 1)
    [a] = [row for row in data["strengths"] if row["name"] == "a"]
    assert a["value"] == pytest.approx(math.log(2.5 / 1.5))  # two models: the log odds of 2.5 points of 4
    assert "1 rows without a verdict were left out" in data["notes"]
    assert any("clustered by prompt" in note for note in data["notes"])


def test_what_a_table_does_not_tell_of_its_judge_is_said(compare, table):
    values = {"prompt_id": list("0123"), "x": [1.0, 2, 3, 4], "y": [2.0, 2, 3, 5]}
    games = {"prompt": list("01"), "model_a": ["x"] * 2, "model_b": ["y"] * 2, "winner": list("xy")}
    for columns, said in (
        (values, "the file names no judge and no reference model: that it is the same for all models is not checked"),
        (values | {"Grader": ["g"] * 4}, "the file names no reference model: that"),
        (values | {"Grader": ["g"] * 4, "generator_1": ["r"] * 4}, None),
        (games, "the file names no judge: that"),
        (games | {"rater": ["g"] * 2}, None),
    ):
        code, out, _ = compare("--verdicts", table(**columns))
        assert code == 0
        assert ("is not checked" in " ".join(out.split())) == (said is not None)
        assert said is None or said in " ".join(out.split())


def test_a_model_that_is_called_as_a_judge_is_a_model(compare, table):
    path = table(prompt_id=list("012"), judge=[1.5, 2.5, 3.0], y=[2.0, 2.5, 3.5])
    assert [row["model"] for row in json.loads(compare("--verdicts", path, "--json")[1])["models"]] == ["judge", "y"]


@pytest.mark.parametrize(
    "column",
    [
        "annotator",
        "judge",
        "generator_1",
        "snapshot",
        "Annotator",
        "evaluator",
        "Judge_Model",
        "GRADER",
        "rater",
        "judge_name",
        "scorer",
        "judgeModel",
        "the referee",
    ],
)
def test_verdicts_of_two_judges_or_baselines_in_one_table_are_refused(compare, table, column):
    prompts = list("0123")
    tables = {
        "wide": {"prompt_id": prompts, "x": [1.0, 2, 3, 4], "y": [2.0, 2, 3, 5]},
        "long": {"prompt_id": list("0101"), "model": list("xxyy"), "value": [1.0, 2, 3, 5]},
        "games": {"prompt": prompts, "model_a": ["x"] * 4, "model_b": ["y"] * 4, "winner": list("xyxy")},
    }
    for kind, columns in tables.items():
        same, mixed = table(f"{kind}.csv", **columns, **{column: ["j"] * 4}), {column: ["j", "k", "j", "j"]}
        code, out, _ = compare("--verdicts", same, "--json")
        assert (code, json.loads(out)["kind"]) == (0, kind)
        code, out, err = compare("--verdicts", table(f"{kind}-mixed.csv", **columns, **mixed))
        assert (code, out) == (2, "")
        assert f"'{column}' is j (3), k (1)" in err


def test_a_text_that_differs_between_models_alone_is_said(compare, table):
    values = {"model": list("xxyy"), "prompt_id": list("0101"), "value": [1.5, 1, 2, 1]}
    for texts, said in (("ppqq", True), ("pppp", False), ("pqpq", False), ("pqrr", False)):
        code, out, _ = compare("--verdicts", table(**values, panel=list(texts)))
        assert code == 0
        assert ("'panel': one for each model, and not the same for all" in " ".join(out.split())) == said


def test_what_a_judge_wrote_and_models_that_are_called_as_one_are_no_judges(compare, table):
    values = {"model": list("xxyy"), "prompt_id": list("0101"), "value": [1.5, 1, 2, 1]}
    for column in ("judge_verdict", "rater_comment", "judgeReply"):
        assert compare("--verdicts", table(**values, **{column: list("abcd")}))[0] == 0
    wide = table(prompt_id=list("012"), judge_7b=[1, 2, 2], y=[2, 2, 1])
    assert len(json.loads(compare("--verdicts", wide, "--json")[1])["models"]) == 2


def test_games_of_few_prompts_say_so_and_of_two_cannot_tell(compare, table):
    def said(prompts):
        columns = {"model_a": ["a"] * 6, "model_b": ["b"] * 6, "winner": list("aabbba"), "prompt": prompts}
        code, out, _ = compare("--verdicts", table(**columns))
        assert code == 0
        return " ".join(out.split())

    few = said(list("ppqrst"))
    assert "errors clustered by prompt; clusters: 5" in few
    assert "5 clusters are few (fewer than 20)" in few
    two = said(list("pppqqq"))
    assert "b against a: cannot tell (+0.00 logits; 2 clusters are too few, an interval needs 3)" in two
    assert "1 cluster is too few" in said(list("pppppp"))


@replay
def test_notus_and_zephyr_are_not_distinguishable_and_equivalent_within_3_points_only(compare):
    code, out, _ = compare(
        "--verdicts", PREFERENCES, "--alpaca-eval", "--baseline", "zephyr-7b-beta", "--margin", "3,2"
    )
    assert code == 0
    assert (
        "notus-7b-v1 against zephyr-7b-beta: not distinguishable (+0.94 points, 95 % -1.10 to 2.97), "
        "equivalent within 3 points, not within 2"
    ) in " ".join(out.split())


@replay
def test_notus_and_zephyr_alpha_are_different_among_17_contrasts(compare):
    expected = json.loads((REPLAY / "expected.json").read_text())["paired/notus-7b-v1__zephyr-7b-alpha"]
    arguments = ["--verdicts", PREFERENCES, "--alpaca-eval", "--baseline", "zephyr-7b-alpha", "--json"]
    data = json.loads(compare(*arguments)[1])
    row = against(data, "notus-7b-v1")
    assert len(data["contrasts"]) == 17
    assert (row["verdict"], row["prompts"]) == ("higher", expected["n"])
    assert row["words"].startswith("higher (+5.67 points, 95 % ")
    assert row["p"] == pytest.approx(expected["p_t"], rel=1e-9)
    assert row["p"] < row["holm"] < 1e-3


@replay
def test_baseball_games_have_the_coefficients_that_r_prints(compare, table):
    published = json.loads((REPLAY / "bradley_terry/baseball_1987.json").read_text())
    teams, wins = published["teams"], published["wins_row_over_column"]
    games = [
        (one, other)
        for one, row in zip(teams, wins, strict=True)
        for other, count in zip(teams, row, strict=True)
        for _ in range(count)
    ]
    winners = [one for one, _ in games]
    path = table(model_a=winners, model_b=[other for _, other in games], winner=winners)
    data = json.loads(compare("--verdicts", path, "--baseline", "Baltimore", "--json")[1])
    found = {row["name"]: row for row in data["strengths"]}
    for team, coefficient in published["published_R_BradleyTerry2_coef_vs_Baltimore"].items():
        assert round(found[team]["value"], 4) == coefficient
        assert round(found[team]["standard_error"], 4) == published["published_se"][team]
    assert found["Baltimore"]["value"] == 0


def test_verdicts_of_yes_and_no_have_a_scale_and_other_values_have_none(compare, table):
    def cautions(a, b):
        row = against(
            json.loads(compare("--verdicts", table(prompt=list(map(str, range(60))), a=a, b=b), "--json")[1]), "b"
        )
        assert row["verdict"] == "higher"
        return [said for said in row["cautions"] if "other side of zero" in said]

    no, yes = [0] * 60, [0, 1] * 30
    assert cautions(no, yes) == []  # a no in one prompt of 21 does not undo a half
    [said] = cautions([5 + place % 3 for place in range(60)], [5.5 + place % 4 for place in range(60)])
    assert said.startswith("No scale bounds this metric: ")
