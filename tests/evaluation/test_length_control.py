"""Win rates at equal length: AlpacaEval's own procedure, held weights, and what each of them may be called."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.gamed_rows import read_gamed
from notus_exp.evaluation.alpaca_eval.length_adjusted import length_adjusted
from notus_exp.evaluation.alpaca_eval.length_control import (
    ADJUSTED,
    HELD,
    PUBLISHED,
    LengthControlled,
    Weights,
    predict_length_controlled,
    shrunken,
)
from notus_exp.evaluation.alpaca_eval.length_held import length_by_held_weights
from notus_exp.evaluation.alpaca_eval.length_published import length_controlled
from notus_exp.evaluation.alpaca_eval.published import (
    baseline_of_weights,
    models_with_weights,
    read_annotations,
    read_difficulty,
    read_leaderboard,
    read_weights,
)
from notus_exp.external import score_alpaca_eval
from notus_exp.score import main
from support.places import REPLAY

ALPACA = REPLAY / "alpaca_eval"
RESULTS = ALPACA / "results"
"""A folder a model with its annotations.json, as AlpacaEval's repository has them."""
GAMED = ALPACA / "df_gamed.csv"
replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")
published = pytest.mark.skipif(
    not (RESULTS.exists() and GAMED.exists()),
    reason="the annotation files of the leaderboard's models and the gamed rows are not at hand",
)

TRUTH = Weights(theta=1.5, psi=0.8, b=-0.6)
N = 120


class World(NamedTuple):
    """A model, the gamed baseline in two sets, and difficulties; preferences are as length control's model says."""

    table: pl.DataFrame
    difficulty: pl.DataFrame
    gamed: list[pl.DataFrame]


def instruction(number: int) -> str:
    return f"question {number}"


def rows(lengths: np.ndarray, weights: Weights, hardness: np.ndarray) -> pl.DataFrame:
    """Answers that are so much longer than a reference of 500 characters."""
    dlen = lengths - 500.0
    logits = weights.theta * np.tanh(dlen / dlen.std(ddof=1)) + weights.psi * hardness + weights.b
    return pl.DataFrame(
        {
            "prompt_id": [prompt_id(instruction(number)) for number in range(lengths.size)],
            "preference": 1 + 1 / (1 + np.exp(-logits)),
            "reference": ["r" * 500] * lengths.size,
            "model": ["m" * int(length) for length in lengths],
        }
    )


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    hardness = rng.normal(size=N)
    own = rows(rng.integers(450, 900, N), TRUTH, hardness)
    gamed = [rows(rng.integers(*reach, N), TRUTH._replace(b=0), hardness) for reach in ((500, 1500), (50, 520))]
    return World(own, own.select("prompt_id", difficulty=pl.Series(hardness)), gamed)


def write(path: Path, table: pl.DataFrame, **origin: str) -> Path:
    objects = [
        {
            "instruction": instruction(number),
            "output_1": row["reference"],
            "output_2": row["model"],
            "preference": row["preference"],
        }
        | origin
        for number, row in enumerate(table.iter_rows(named=True))
    ]
    path.write_text(json.dumps(objects))
    return path


@pytest.fixture
def files(tmp_path: Path, world: World) -> dict[str, Path]:
    (tmp_path / "d.csv").write_text(world.difficulty.write_csv())
    names = ("verbose", "concise")
    found = {
        name: write(tmp_path / f"{name}.json", table, generator_2=name, annotator="judge", generator_1="base")
        for name, table in zip(names, world.gamed, strict=True)
    }
    model = write(tmp_path / "m.json", world.table, generator_2="m", annotator="judge", generator_1="base")
    return {**found, "m": model, "d": tmp_path / "d.csv"}


def fitted(world: World, files: dict[str, Path], resamples: int = 2) -> LengthControlled:
    gamed = read_gamed([files["verbose"], files["concise"]])
    return length_controlled(world.table, world.difficulty, gamed.table, resamples=resamples)


def test_the_published_procedure_recovers_what_made_the_preferences(world: World, files: dict[str, Path]) -> None:
    found = fitted(world, files, resamples=30)
    assert found.weights == pytest.approx(TRUTH, abs=0.03)  # the penalty draws it towards 0 a little
    hardness = world.difficulty["difficulty"].to_numpy()
    truth = 100 * np.mean(1 / (1 + np.exp(-(TRUTH.psi * hardness + TRUTH.b))))
    assert found.win_rate.value == pytest.approx(truth, abs=0.3)
    assert found.win_rate.low < found.win_rate.value < found.win_rate.high
    assert (found.estimator, found.win_rate.n) == (PUBLISHED, N)


def decided(world: World) -> pl.DataFrame:
    """The model's rows with whole wins and losses, drawn by their chances."""
    draws = np.random.default_rng(1).uniform(1, 2, N)
    return world.table.with_columns(preference=1.0 + (pl.col("preference") > pl.Series(draws)))


def test_the_procedure_gives_what_alpaca_evals_own_code_gives(world: World, files: dict[str, Path]) -> None:
    # get_length_controlled_winrate of alpaca_eval 0.6.6 with scikit-learn 1.9.1, given this world as its df_gamed.csv
    gamed = read_gamed([files["verbose"], files["concise"]]).table
    for table, theirs in ((world.table, 38.44828025878726), (decided(world), 40.407671896989584)):
        ours = length_controlled(table, world.difficulty, gamed, resamples=2)
        assert ours.win_rate.value == pytest.approx(theirs, abs=1e-6)


def test_the_fit_meets_the_conditions_of_its_penalty(world: World, files: dict[str, Path]) -> None:
    # at the maximum of C sum w log-likelihood - |theta| - |psi| - |b|, C times each slope is the sign of its weight;
    # of whole wins and losses, so that the penalty is one that counts
    table = decided(world)
    gamed = read_gamed([files["verbose"], files["concise"]])
    weights = length_controlled(table, world.difficulty, gamed.table, resamples=2).weights
    assert weights is not None
    hardness = world.difficulty["difficulty"].to_numpy()
    slopes = np.zeros(3)
    for one, times, own in ((table, 1.0, 1.0), *((gamed_rows, 0.1, 0.0) for gamed_rows in world.gamed)):
        dlen = one["model"].str.len_chars().to_numpy() - 500.0
        columns = np.column_stack([np.tanh(dlen / dlen.std(ddof=1)), hardness, np.full(N, own)])
        chances = 1 / (1 + np.exp(-columns @ np.array(weights)))
        slopes += times * columns.T @ (one["preference"].to_numpy() - 1 - chances)
    penalties = np.logspace(-4, 4, 10)
    nearest = penalties[np.abs(np.log(penalties * abs(slopes[0]))).argmin()]
    assert nearest * slopes * np.sign(weights) == pytest.approx([1, 1, 1], rel=0.05)


def test_where_the_strongest_penalty_wins_the_interval_is_that_of_the_verdicts(files: dict[str, Path]) -> None:
    # 40 prompts whose verdicts hardly lean: no fold is predicted better than by 50 %
    rng = np.random.default_rng(3)
    n = 40
    hardness, wins = rng.normal(size=n), np.arange(n) % 2
    own = rows(rng.integers(450, 900, n), Weights(0, 0, 0), hardness).with_columns(preference=pl.Series(1.0 + wins))
    difficulty = own.select("prompt_id", difficulty=pl.Series(hardness))
    gamed = pl.concat(
        [own.select("prompt_id", points=pl.Series(1.0 * (wins == side)), std_delta_len=pl.Series(rng.normal(size=n)))
         for side in (0, 1)]
    )  # fmt: skip
    found = length_controlled(own, difficulty, gamed, resamples=100)
    assert found.weights == (0, 0, 0)
    assert found.win_rate.value == 50
    low, high = found.win_rate.low, found.win_rate.high
    assert 10 < high - low < 60  # 2 x 1.96 standard errors of 40 even verdicts are 31 points
    assert low <= 50 <= high
    assert "leaves no coefficient" in (shrunken(found) or "")
    few = found._replace(weights=TRUTH)
    assert "on 40 prompts, fewer than 100" in (shrunken(few) or "")
    assert shrunken(few._replace(win_rate=few.win_rate._replace(n=100))) is None
    assert shrunken(few._replace(estimator=HELD)) is None


def test_gamed_rows_tell_what_a_models_own_rows_cannot(world: World, files: dict[str, Path]) -> None:
    longer = world.table.with_columns(model=pl.col("model") + "m" * 600)  # equal length lies outside its rows
    gamed = read_gamed([files["verbose"], files["concise"]])
    assert length_adjusted(longer, world.difficulty, resamples=2).weights is None
    assert length_controlled(longer, world.difficulty, gamed.table, resamples=2).weights is not None


def test_a_prompt_without_a_verdict_is_predicted_and_not_fitted(world: World, files: dict[str, Path]) -> None:
    first = pl.int_range(pl.len()) == 0
    lacking = world.table.with_columns(preference=pl.when(~first).then("preference"))
    gamed = read_gamed([files["verbose"], files["concise"]])
    found = length_controlled(lacking, world.difficulty, gamed.table, resamples=2)
    assert (found.win_rate.n, found.n_without_verdict) == (N - 1, 1)
    assert found.weights is not None
    assert found.win_rate.value == predict_length_controlled(found.weights, world.difficulty["difficulty"])


def test_a_table_of_gamed_rows_is_the_two_annotations(world: World, files: dict[str, Path], tmp_path: Path) -> None:
    with (tmp_path / "gamed.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["model", "index", "preference", "std_delta_len"])
        for name, table in zip(("verbose", "concise"), world.gamed, strict=True):
            delta = 500.0 - table["model"].str.len_chars().to_numpy()
            for number, (value, length) in enumerate(zip(table["preference"], delta, strict=True)):
                writer.writerow([name, number, value - 1, length / delta.std(ddof=1)])
    ids = [f"{number},{prompt_id(instruction(number))}" for number in range(N)]
    (tmp_path / "ids.csv").write_text("\n".join(["index,instruction_sha16", *ids]))
    gamed = read_gamed([tmp_path / "gamed.csv"], tmp_path / "ids.csv")
    found = length_controlled(world.table, world.difficulty, gamed.table, resamples=2)
    assert found.win_rate.value == pytest.approx(fitted(world, files).win_rate.value, abs=1e-6)


def test_held_weights_leave_the_intercept_to_the_data(world: World) -> None:
    found = length_by_held_weights(world.table, world.difficulty, TRUTH._replace(b=5.0), resamples=50)
    assert found.weights == pytest.approx(TRUTH, abs=1e-9)
    assert found.win_rate.low < found.win_rate.value < found.win_rate.high
    assert found.estimator == HELD
    lost = world.table.with_columns(preference=pl.lit(1.0))
    none = length_by_held_weights(lost, world.difficulty, TRUTH, resamples=2)
    assert (none.weights, none.separated) == (None, True)


def scored(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["alpaca_eval", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_each_estimator_goes_by_its_own_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], tmp_path: Path
) -> None:
    for estimator in (length_adjusted, length_by_held_weights, length_controlled):
        monkeypatch.setattr(score_alpaca_eval, estimator.__name__, partial(estimator, resamples=2))
    header = ",np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    (tmp_path / "w.csv").write_text(f"{header}\nm,-1.5,0.8,9\nbase,0,0,0\n")
    (tmp_path / "other.csv").write_text(f"{header}\nm,-1.5,0.8,9\nnobody,0,0,0\n")
    given = [files["m"], "--difficulty", files["d"]]
    gamed = ["--gamed", files["verbose"], "--gamed", files["concise"]]
    for more, name, said in (
        ([], ADJUSTED, "m: length-adjusted: fitted on the model's own rows alone: not AlpacaEval's"),
        (["--lc-weights", tmp_path / "w.csv"], HELD, "m: length by held weights: theta and psi are AlpacaEval's"),
        (
            ["--lc-weights", tmp_path / "other.csv"],
            ADJUSTED,
            "against 'nobody', its verdicts against 'base'",
        ),
        (gamed, PUBLISHED, None),
    ):
        code, out, _ = scored(capsys, *given, *more, "--json")
        model = json.loads(out)["models"][0]
        assert code == 0
        assert {ADJUSTED, HELD, PUBLISHED} & model.keys() == {name}
        assert model["length_notes"] == [] if said is None else any(said in note for note in model["length_notes"])
        shown = " ".join(scored(capsys, *given, *more)[1].split())
        assert ("length-controlled, %" in shown) == (name == PUBLISHED)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{m}", "--gamed", "{verbose}", "--gamed", "{concise}"], "--gamed needs the difficulties"),
        (["{m}", "--difficulty", "{d}", "--gamed", "{verbose}"], "has 1 gamed rows"),
        (["{m}", "--difficulty", "{d}", "--gamed", "{verbose}", "--gamed", "{other}"], "differ in the judge"),
        (["{other}", "--difficulty", "{d}", "--gamed", "{verbose}", "--gamed", "{concise}"], "differ in the judge"),
        (["{m}", "--difficulty", "{d}", "--gamed", "{d}"], "has no column preference"),
        (
            ["{m}", "--difficulty", "{d}", "--gamed", "{short_verbose}", "--gamed", "{short_concise}"],
            "have no verdicts on the gamed",
        ),
    ],
)
def test_gamed_rows_that_do_not_fit_are_one_error(
    capsys: pytest.CaptureFixture[str],
    files: dict[str, Path],
    world: World,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    files["other"] = write(tmp_path / "other.json", world.gamed[1], generator_2="o", annotator="another")
    for name, table in zip(("verbose", "concise"), world.gamed, strict=True):
        files[f"short_{name}"] = write(
            tmp_path / f"short_{name}.json", table.head(9), generator_2=name, annotator="judge"
        )
    code, out, err = scored(capsys, *(argument.format(**files) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("error: ") == 1


@replay
def test_published_weights_give_the_published_length_controlled_win_rates() -> None:
    weights, hardness = ALPACA / "lc_weights_length_controlled_v1.csv", read_difficulty(ALPACA / "prompts.csv")
    board = dict(read_leaderboard(ALPACA / "leaderboard_v2.csv", "length_controlled_winrate").drop_nulls().iter_rows())
    models = [name for name in models_with_weights(weights) if name in board]
    assert baseline_of_weights(weights) == "gpt4_1106_preview"
    assert len(models) == 199
    off = [
        abs(predict_length_controlled(read_weights(weights, name), hardness["difficulty"]) - board[name])
        for name in models
    ]
    assert np.mean(off) < 0.01
    assert max(off) < 0.2  # of a model that was fitted again after its weights were published


@published
def test_the_procedure_gives_the_published_win_rates_of_the_leaderboards_models() -> None:
    hardness = read_difficulty(ALPACA / "prompts.csv")
    gamed = read_gamed([GAMED], ALPACA / "prompts.csv")
    board = dict(read_leaderboard(ALPACA / "leaderboard_v2.csv", "length_controlled_winrate").drop_nulls().iter_rows())
    files = [file for file in sorted(RESULTS.glob("*/annotations.json")) if file.parent.name in board]
    off = [
        abs(
            length_controlled(read_annotations(file).table, hardness, gamed.table, resamples=2).win_rate.value
            - board[file.parent.name]
        )
        for file in files
    ]
    assert len(off) >= 58
    assert np.mean(off) < 0.1
    assert max(off) < 1


def test_gamed_rows_that_are_not_the_baselines_are_refused(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], world: World, tmp_path: Path
) -> None:
    told = {"annotator": "judge", "generator_1": "base"}
    verbose, concise = world.gamed
    other = concise.with_columns(reference=pl.lit("x" * 500))
    for name, table, called in (
        ("own_name", concise, "m"),
        ("own_text", world.table, "base_concise"),
        ("other_model", concise, "another_concise"),
        ("other_reference", other, "base_concise"),
        ("copied", verbose, "base_concise"),
        ("verbose_too", concise, "base_verbose"),
    ):
        files[name] = write(tmp_path / f"{name}.json", table, generator_2=called, **told)
    for one, two, said in (
        ("m", "m", "both sets are the same answers"),
        ("verbose", "own_name", "rows of 'm' are not of the verbose or concise baseline of 'base'"),
        ("verbose", "own_text", "the answers of 'base_concise' are those of 'm' itself"),
        ("verbose", "other_model", "rows of 'another_concise' are not of the verbose or concise baseline of 'base'"),
        ("verbose", "other_reference", "are against other reference answers than those of 'm'"),
        ("verbose", "copied", "both sets are the same answers"),
        ("verbose", "verbose_too", "are of the verbose baseline"),
    ):
        code, out, err = scored(
            capsys, files["m"], "--difficulty", files["d"], "--gamed", files[one], "--gamed", files[two]
        )
        assert (code, out) == (2, "")
        assert said in " ".join(err.split())
        assert err.count("error: ") == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"annotator": ("judge", "another")}, "differ in their judge"),
        ({"generator_1": ("base", "another")}, "differ in their reference model"),
        ({"Annotator": ("another", "another")}, "differ in the judge"),
        ({"generator_1": ("another", "another")}, "differ in the reference model"),
        ({"model": ("base_verbose", "m")}, "rows of 'm' are not of the verbose or concise baseline"),
        ({"model": ("base_verbose", "base_verbose")}, "are of the verbose baseline"),
        (
            {
                "model": ("base_verbose", "base_concise"),
                "annotator": ("judge", "judge"),
                "generator_1": ("base", "base"),
            },
            None,
        ),
        ({}, "the gamed rows name no model"),
    ],
)
def test_the_columns_of_a_gamed_table_tell_whose_verdicts_they_are(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, Path],
    tmp_path: Path,
    columns: dict[str, tuple[str, str]],
    said: str | None,
) -> None:
    monkeypatch.setattr(score_alpaca_eval, "length_controlled", partial(length_controlled, resamples=2))
    gamed = read_gamed([files["verbose"], files["concise"]]).table
    told = {name: [one for one in pair for _ in range(N)] for name, pair in columns.items()}
    table = gamed.select("prompt_id", "std_delta_len", preference="points").with_columns(
        pl.Series(name, values) for name, values in told.items()
    )
    table.write_csv(tmp_path / "g.csv")
    code, out, err = scored(capsys, files["m"], "--difficulty", files["d"], "--gamed", tmp_path / "g.csv")
    shown = " ".join((out + err).split())
    assert code == (0 if said is None or not columns else 2)
    assert said is None or said in shown
    assert said is not None or "is not checked" not in shown
    assert ("names no judge" in shown) == (not columns)


def test_prompts_that_differ_by_a_line_end_are_the_same(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], tmp_path: Path
) -> None:
    rows = json.loads(files["m"].read_text())
    ended = [row | {"instruction": row["instruction"] + "\n", "generator_2": "b"} for row in rows]
    (tmp_path / "b.json").write_text(json.dumps(ended))
    code, out, _ = scored(capsys, files["m"], tmp_path / "b.json", "--json")
    assert (code, json.loads(out)["paired"]["n"]) == (0, N)
    (tmp_path / "c.json").write_text(json.dumps([row | {"instruction": row["instruction"] + "?"} for row in ended]))
    code, _, err = scored(capsys, files["m"], tmp_path / "c.json")
    assert (code, "have no prompt in common" in err, "--prompts" in err) == (2, True, False)


def test_one_model_under_two_judges_is_named_by_its_files(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], world: World, tmp_path: Path
) -> None:
    other = write(tmp_path / "n.json", world.table, generator_2="m", annotator="another", generator_1="base")
    code, _, err = scored(capsys, files["m"], other)
    assert code == 2
    assert f"'m of {files['m']}' and 'm of {other}' differ in the judge" in " ".join(err.split())


def test_a_prompt_that_a_file_holds_twice_is_told_in_its_users_words(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], tmp_path: Path
) -> None:
    rows = json.loads(files["m"].read_text())
    (tmp_path / "t.json").write_text(json.dumps([*rows, rows[0]]))
    code, _, err = scored(capsys, tmp_path / "t.json")
    assert code == 2
    assert "combine_orders" not in err
    assert f"'{tmp_path / 't.json'}' holds this twice: 'question 0'" in " ".join(err.split())


def test_a_gamed_table_on_the_scale_of_annotations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("prompt_id,preference,std_delta_len\na,2,0.1\na,1,0.2\n")
    with pytest.raises(UserError, match="it is the share of a win, from 0 to 1"):
        read_gamed([tmp_path / "g.csv"])
