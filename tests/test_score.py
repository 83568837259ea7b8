import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from notus_exp.reporting.tables import plain
from notus_exp.score import main
from support.places import REPLAY

ALPACA, MT_BENCH, IFEVAL = REPLAY / "alpaca_eval", REPLAY / "mt_bench", REPLAY / "ifeval"
replay = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")


@pytest.fixture(scope="module")
def expected():
    return json.loads((REPLAY / "expected.json").read_text())


@pytest.fixture
def score(capsys):
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
def annotations(tmp_path):
    """Write annotations of a model; return the file."""

    def write(name: str, *preferences: float | None, answers: tuple[str, ...] = (), **origin: str) -> Path:
        rows = [
            {
                "instruction": f"question {number}",
                "output_1": "reference",
                "output_2": answers[number] if answers else "answer",
                "generator_2": name,
                "preference": preference,
            }
            | origin
            for number, preference in enumerate(preferences)
        ]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(rows))
        return file

    return write


def test_help_answers_without_loading_anything_heavy():
    code = (
        "import sys\nfrom notus_exp.score import main\ntry: main(['alpaca_eval', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'polars', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--paired" in done.stdout


def test_scoring_loads_no_torch(annotations):
    code = "import sys; from notus_exp.score import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = ["alpaca_eval", str(annotations("m", 1, 2, 2)), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"][0]["n_wins"] == 2


def test_two_models_are_compared_by_prompt(score, annotations):
    code, out, _ = score(
        "alpaca_eval", annotations("a", 2, 2, 1, None, 2), annotations("b", 2, 1, 1, 2, None), "--json"
    )
    data = json.loads(out)
    assert code == 0
    assert [model["name"] for model in data["models"]] == ["a", "b"]
    paired = data["paired"]
    assert (paired["n"], paired["left_out"]) == (3, 2)
    assert paired["difference"] == pytest.approx(100 / 3)
    assert paired["mcnemar"] == {"a_only": 1, "b_only": 0, "p": 1.0}
    assert [test["margin"] for test in paired["equivalence"]] == [3, 2]


@pytest.mark.parametrize(
    ("of_a", "of_b", "said"),
    [
        ({"annotator": "gpt4"}, {"annotator": "gpt4_turbo"}, "differ in the judge, so their verdicts are not compared"),
        ({"generator_1": "davinci"}, {"generator_1": "gpt4"}, "differ in the reference model"),
        ({"annotator": "gpt4"}, {"judge_name": "gpt4_turbo"}, "differ in the judge"),
        ({"snapshot": "gpt-4-0613"}, {"snapshot": "gpt-4-1106"}, "differ in the snapshot of the judge"),
        ({}, {"output_1": "another reference"}, "compared with different reference answers on 3 prompts"),
    ],
)
def test_verdicts_of_two_judges_or_baselines_are_not_compared(score, annotations, of_a, of_b, said):
    command = ["alpaca_eval", annotations("a", 2, 1, 2, **of_a), annotations("b", 1, 1, 2, **of_b)]
    for way in (command, [*command, "--paired"]):
        code, out, err = score(*way)
        assert (code, out) == (2, "")
        assert said in err
        assert "'a' and 'b'" in err


def test_one_judge_and_baseline_are_compared_and_what_no_file_tells_is_said(score, annotations):
    told = {"annotator": "gpt4", "generator_1": "davinci"}
    code, out, _ = score("alpaca_eval", annotations("a", 2, 1, 2, **told), annotations("b", 1, 1, 2, **told), "--json")
    assert (code, json.loads(out)["paired"]["not_checked"]) == (0, [])
    code, out, _ = score("alpaca_eval", annotations("a", 2, 1, 2, **told), annotations("b", 1, 1, 2))
    assert code == 0
    assert "the file of b names no judge: that it is the same is not checked" in " ".join(out.split())


def test_models_judged_on_different_prompts_are_not_compared(score, annotations):
    code, out, err = score("alpaca_eval", annotations("a", 2, 1, 2), annotations("b", 1, 2))
    assert (code, out) == (2, "")
    assert "judged on different prompts: 'b' lacks 1 of the 3 of 'a'" in err


@pytest.mark.parametrize("key", ["annotator", "generator_1", "snapshot", "judge_name"])
def test_a_file_of_two_judges_or_baselines_is_refused(score, annotations, key):
    file = annotations("a", 2, 1, 2)
    rows = json.loads(file.read_text())
    for row, name in zip(rows, ("x", "y", "x"), strict=True):
        row[key] = name
    file.write_text(json.dumps(rows))
    code, out, err = score("alpaca_eval", file)
    assert (code, out) == (2, "")
    assert f"'{key}' is x (2), y (1)" in err
    del rows[1][key]  # a verdict without a judge is not known to be of the others'
    file.write_text(json.dumps(rows))
    assert f"'{key}' is x (2), none named (1)" in score("alpaca_eval", file)[2]


@pytest.mark.parametrize(
    ("judges", "said"),
    [
        ((["gpt-4", "single-v1"], ["gpt-4o", "single-v1"]), "'judge' is gpt-4 (1), gpt-4o (1)"),
        ((["gpt-4", "single-v1"], ["gpt-4", "own"]), "has turn 1 of question 1 judged in two ways"),
    ],
)
def test_judgments_of_two_judges_or_templates_are_refused(score, tmp_path, judges, said):
    rows = [
        {"model": model, "question_id": 1, "turn": 1, "score": 5, "judge": judge}
        for model, judge in zip("ab", judges, strict=True)
    ]
    (tmp_path / "j.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, err = score("mt_bench", tmp_path / "j.jsonl")
    assert (code, out) == (2, "")
    assert said in err


def test_what_is_not_known_is_null_in_json(score, annotations):
    code, out, _ = score("alpaca_eval", annotations("m", 2), "--json")
    model = json.loads(out)["models"][0]
    assert (code, model["win_rate"], model["standard_error"], model["interval"]) == (0, 100, None, [None, None])


def test_json_shows_named_tuples_as_objects_and_infinities_as_null():
    from notus_exp.inference.estimates import Estimate

    value = {"x": Estimate(1.5, math.nan, math.inf, 3), 4: (True, None)}
    assert plain(value) == {"x": {"value": 1.5, "low": None, "high": None, "n": 3}, "4": [True, None]}


def test_separated_length_control_is_said_and_has_no_number(score, annotations, tmp_path):
    file = annotations("m", 2, 2, 2, 2, answers=("a", "bb", "ccc", "dddd"))
    from notus_exp.disk.hashing import prompt_id

    difficulties = [f"{prompt_id(f'question {number}')},{number}" for number in range(3)]
    (tmp_path / "d.csv").write_text("\n".join(["instruction_sha16,difficulty", *difficulties]))
    code, out, _ = score("alpaca_eval", file, "--difficulty", tmp_path / "d.csv")
    assert code == 0
    assert "no length-controlled win rate" in out
    assert "left out of length control: 1 with no difficulty" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alpaca_eval", "missing.json"], "there is no file 'missing.json'"),
        (["alpaca_eval", "{m}", "--paired"], "--paired needs a second file"),
        (["alpaca_eval", "{csv}"], "names no column"),
        (["alpaca_eval", "{csv}:zepyhr"], "did you mean 'zephyr'"),
        (["alpaca_eval", "{csv}:text"], "column 'text' of"),
        (["alpaca_eval", "{m}", "{csv}:zephyr"], "no prompt in common"),
        (["alpaca_eval", "{m}", "--lc-weights", "{csv}"], "add --model NAME --difficulty FILE"),
        (["alpaca_eval", "{csv}:zephyr", "--difficulty", "{csv}"], "come without answers"),
        (["alpaca_eval", "{m}", "--leaderboard", "{csv}"], "has no column win_rate"),
        (["alpaca_eval", "{csv}:zephyr", "--difficulty", "{csv}", "--lc-weights", "{csv}"], "come without answers"),
        (["alpaca_eval", "{m}", "--model", "m"], "add --lc-weights FILE"),
        (["alpaca_eval", "{m}", "--prompts", "{csv}"], "leave it out, or give FILE.csv:COLUMN"),
        (["alpaca_eval", "{csv}:zephyr", "--prompts", "/nowhere"], "there is no file '/nowhere'"),
        (["alpaca_eval", "--lc-weights", "{csv}", "--model", "m", "--gamed", "{csv}"], "--gamed does nothing"),
        (["alpaca_eval", "--lc-weights", "{csv}", "--model", "m", "--leaderboard", "{csv}"], "--leaderboard does noth"),
        (["alpaca_eval", "{m}", "--difficulty", "{csv}", "--lc-weights", "{csv}", "--gamed", "{csv}"], "two ways to"),
        (["alpaca_eval", "{m}", "--margin", "0"], "not a list of positive numbers"),
        (["alpaca_eval", "{m}", "--margin", "1e308"], "not a list of positive numbers"),
        (
            ["alpaca_eval", "{m}", "--margin", "3,100"],
            "--margin=100 covers all that alpaca_eval/win_rate can differ by",
        ),
        (["alpaca_eval", "{m}", "--effect", "1,2"], "not one positive number"),
        (["alpaca_eval", "{folder}"], "there is no file"),
        (["mt_bench", "{csv}"], "cannot read the type"),
        (["mt_bench", "{m}"], "has no 'model'"),
        (["ifeval", "{m}", "{m}", "--exclude", "x"], "'x' is not a list"),
        (["logprobs", "{m}"], "has no 'switched'"),
        (["nothing"], "BENCHMARK cannot be 'nothing'"),
        ([], "BENCHMARK"),
    ],
)
def test_bad_input_is_one_error_and_exit_code_2(score, annotations, tmp_path, arguments, said):
    (tmp_path / "p.csv").write_text("index,zephyr,text\n0,2,a\n1,1,b\n")
    names = {"m": annotations("m", 1, 2), "csv": tmp_path / "p.csv", "folder": tmp_path}
    code, out, err = score(*(argument.format(**names) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert err.count("error: ") == 1


def test_a_double_judged_model_is_refused_and_the_others_are_reported(score, tmp_path):
    rows = [
        {"model": model, "question_id": question, "turn": 1, "score": question}
        for model, questions in (("good", (1, 2)), ("doubled", (1, 2, 2)))
        for question in questions
    ]
    (tmp_path / "j.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, err = score("mt_bench", tmp_path / "j.jsonl", "--json")
    data = json.loads(out)
    assert code == 2
    assert err == "refused: 'doubled' is judged more than once on 1 turns of questions: its score is not defined\n"
    assert data["refused"] == {"doubled": 1}
    assert list(data["models"]) == ["good"]
    assert data["models"]["good"]["score"]["estimate"]["value"] == 1.5
    assert score("mt_bench", tmp_path / "j.jsonl", "--allow-refused")[0] == 0
    assert (
        "model 'doubled' is judged more than once"
        in score("mt_bench", tmp_path / "j.jsonl", "--paired", "good", "doubled")[2]
    )


def test_turns_that_other_models_were_judged_on_are_expected(score, tmp_path):
    rows = [{"model": "whole", "question_id": number, "turn": 1, "score": 5} for number in range(4)]
    rows.append({"model": "part", "question_id": 0, "turn": 1, "score": 9})
    (tmp_path / "j.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, out, _ = score("mt_bench", tmp_path / "j.jsonl")
    assert "part: only 1 of 4 expected turns were judged" in out


def test_a_radar_plot_is_written(score, tmp_path):
    judgments = [{"model": "m", "question_id": number, "turn": 1, "score": 5 + number} for number in (1, 2)]
    questions = [{"question_id": number, "category": f"c{number}", "turns": ["t"]} for number in (1, 2)]
    (tmp_path / "j.jsonl").write_text("\n".join(map(json.dumps, judgments)))
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    command = ["mt_bench", tmp_path / "j.jsonl", "--questions", tmp_path / "q.jsonl", "--radar"]
    assert score(*command, tmp_path / "plot.png")[0] == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "name a .svg or .png file" in score(*command, tmp_path / "plot.pdf")[2]


def test_a_stored_preference_that_its_log_probs_deny_is_refused(score, tmp_path):
    tops = [{"token": "m", "logprob": math.log(0.25)}, {"token": "M", "logprob": math.log(0.75)}]
    rows = [
        {"switched": False, "top_logprobs": tops, "preference": 1.75},
        {"switched": True, "top_logprobs": tops, "preference": 1.75},  # mirrored it is 1.25
        {"switched": True, "top_logprobs": tops[:0], "preference": 1.5},
        {"switched": True, "top_logprobs": None, "preference": 1.5},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, err = score("logprobs", tmp_path / "l.jsonl", "--json")
    data = json.loads(out)
    assert (data["parsed"], data["reproduced"], data["unparsed"], data["missing_raw"]) == (2, 1, 1, 1)
    assert code == 2
    assert "1 stored preferences differ from the log-probs, first record 2" in err


@pytest.mark.parametrize("changed", [{"switched": "no"}, {"top_logprobs": [{"token": "m"}]}, {"preference": "x"}])
def test_bad_log_probs_are_refused_with_their_place(score, tmp_path, changed):
    row = {"switched": True, "top_logprobs": [{"token": "m", "logprob": -0.1}], "preference": 2} | changed
    (tmp_path / "l.jsonl").write_text(json.dumps(row))
    code, _, err = score("logprobs", tmp_path / "l.jsonl")
    assert code == 2
    assert f"record 1: {next(iter(changed))} is" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"preference": 1e308', "record 1: preference is 1e+308"),
        ('"preference": Infinity', "record 1: preference is inf"),
        ('"preference": 1, "preference": 2', "the key 'preference' stands twice"),
    ],
)
def test_numbers_that_are_not_usable_and_keys_that_stand_twice_are_refused(score, tmp_path, line, said):
    file = tmp_path / "a.json"
    file.write_text('[{"instruction": "i", "output_1": "a", "output_2": "b", LINE}]'.replace("LINE", line))
    code, _, err = score("alpaca_eval", file)
    assert (code, "Traceback" in err) == (2, False)
    assert said in err


def test_log_probs_that_are_not_usable_are_refused(score, tmp_path):
    for value in ("NaN", "-Infinity", "1e999", "true", '"-0.1"'):
        top = f'[{{"token": "m", "logprob": {value}}}]'
        (tmp_path / "l.jsonl").write_text(f'{{"switched": true, "top_logprobs": {top}, "preference": 2}}')
        code, _, err = score("logprobs", tmp_path / "l.jsonl")
        assert code == 2
        assert "record 1: logprob is" in err


@replay
def test_notus_figures(score, expected):
    _, out, _ = score("alpaca_eval", ALPACA / "notus-7b-v1.annotations.json", "--json")
    model = json.loads(out)["models"][0]
    for name, value in expected["ae1/notus-7b-v1"].items():
        assert model[name] == pytest.approx(value, rel=1e-9), name


@replay
@pytest.mark.parametrize("pair", ["notus-7b-v1__zephyr-7b-beta", "tulu-2-dpo-13b__tulu-2-dpo-7b"])
def test_published_pairs(score, expected, pair):
    a, b = (f"{ALPACA / 'preferences_core.csv'}:{name}" for name in pair.split("__"))
    _, out, _ = score("alpaca_eval", a, b, "--paired", "--json")
    found, wanted = json.loads(out)["paired"], expected[f"paired/{pair}"]
    assert found["n"] == wanted["n"]
    assert found["difference"] == pytest.approx(wanted["diff_pts"], rel=1e-9)
    assert [found["interval_z"]["low"], found["interval_z"]["high"]] == pytest.approx(wanted["ci95_z"], rel=1e-9)
    assert found["p_t"] == pytest.approx(wanted["p_t"], rel=1e-9)
    assert [found["mcnemar"]["a_only"], found["mcnemar"]["b_only"]] == wanted["discordant"]
    assert found["mcnemar"]["p"] == pytest.approx(wanted["mcnemar_exact_p"], rel=1e-9)
    if "tost_p_at_3_points" in wanted:
        assert round(found["equivalence"][0]["p"], 4) == wanted["tost_p_at_3_points"]
        needed = wanted["prompts_for_80_percent_power_at_2_points"]
        assert found["prompts_needed"] == {"effect": 2, **needed}


@replay
def test_notus_against_zephyr_in_words_with_annotations_and_a_column(score):
    column = f"{ALPACA / 'preferences_core.csv'}:zephyr-7b-beta"
    code, out, _ = score(
        "alpaca_eval", ALPACA / "notus-7b-v1.annotations.json", column, "--prompts", ALPACA / "prompts.csv",
        "--leaderboard", ALPACA / "leaderboard.csv", "--difficulty", ALPACA / "prompts.csv",
        "--lc-weights", ALPACA / "lc_weights_length_controlled_v1.csv", "--model", "zephyr-7b-beta",
    )  # fmt: skip
    said = " ".join(out.split())
    assert code == 0
    assert (
        "notus-7b-v1 against zephyr-7b-beta: not distinguishable (+0.94 points, 95 % -1.10 to 2.97), "
        "equivalent within 3 points, not within 2"
    ) in said
    assert "after ultralm-13b-best-of-16 (91.54), before claude-2 (91.36)" in said
    assert "a place holds under one judge and reference model" in said
    assert "length-controlled win rate by published weights 13.2031985 %" in said
    assert "left out of length control: 1 with no verdict" in said


@replay
def test_failures_and_coverage_stand_in_plain_sight(score):
    code, out, _ = score("mt_bench", MT_BENCH / "instructlab_single.jsonl")
    assert code == 0
    assert "granite-7b-lab: 120 of 160 judgments FAILED; its mean of 7.40 is over the other 40 (25.0 % coverage)" in out
    assert "granite-7b-lab: 2 ratings are off the scale" in out


@replay
def test_published_mt_bench_models_and_the_refused_one(score, expected):
    code, out, err = score(
        "mt_bench", MT_BENCH / "alvarobartt_single.jsonl", "--questions", MT_BENCH / "question.jsonl",
        "--paired", "mistral-orpo-trl", "mistral-orpo-mix", "--json",
    )  # fmt: skip
    data = json.loads(out)
    assert code == 2
    assert "'mistral-orpo' is judged more than once on 160 turns" in err
    assert len(data["models"]) == 3
    for model, rated in data["models"].items():
        wanted = expected[f"mtb/alvarobartt/{model}"]
        assert rated["score"]["estimate"]["value"] == pytest.approx(wanted["average_over_judgments"], rel=1e-9)
        assert rated["score"]["coverage"] == 1
    pair = expected["mtb_paired/mistral-orpo-trl__mistral-orpo-mix"]
    assert data["paired"]["standard_error"] == pytest.approx(pair["se_cluster_question"], rel=1e-9)
    assert [data["reparsed"]["equal"], data["reparsed"]["judgments"]] == expected["mtb/alvarobartt/reparsed_equal"]


@replay
def test_published_ifeval_counts(score, expected):
    code, out, _ = score(
        "ifeval", IFEVAL / "input_response_data_gpt4_20231107_145030.jsonl", IFEVAL / "input_data.jsonl",
        "--exclude", "1122,1129", "--json",
    )  # fmt: skip
    data = json.loads(out)
    assert code == 0
    for name, wanted in expected["ifeval/gpt4 reference (538, without keys 1122,1129)"].items():
        assert list(data["counts"][name].values()) == wanted, name
    assert data["left_out"]["prompts_excluded"] == 2


@replay
def test_published_log_probs(score, expected):
    code, out, _ = score("logprobs", ALPACA / "judge_logprobs_alpaca-7b.jsonl.gz", "--json")
    assert code == 0
    data = json.loads(out)
    for name, wanted in expected["logprob_parser/alpaca-7b"].items():
        assert data[name] == pytest.approx(wanted, rel=1e-9, abs=1e-9), name
