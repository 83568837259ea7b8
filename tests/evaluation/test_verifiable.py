import json
import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.config.data_settings import Simulated
from notus_exp.config.evaluation_settings import VerifiableEvaluation
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import Precision
from notus_exp.disk.events import EventWriter
from notus_exp.disk.files import BY_PROMPT, DIVERGENCE, GENERATIONS, METRICS, SAMPLES
from notus_exp.errors import UserError
from notus_exp.evaluation import measuring as stage
from notus_exp.evaluation.verifiable.checked import estimates, left_out, measure, notes, pair, samples
from notus_exp.evaluation.verifiable.degeneration import degeneration, longest_repeat, repetition
from notus_exp.feedback.simulated import simulate
from notus_exp.feedback.simulated.constraints import Constraint, to_json
from notus_exp.stages.context import Context
from support.places import REPLAY
from support.stage_settings import evaluation_settings

IFEVAL = REPLAY / "ifeval/input_response_data_gpt4_20231107_145030.jsonl"
LOWER = Constraint("lowercase", {})
NO_COMMAS = Constraint("no_commas", {})
QUOTED = Constraint("quoted", {})
SUM = Constraint("sum", {"a": 4, "b": 5})
JSON = Constraint("json", {"keys": ["drink"]})
BULLETS = Constraint("bullets", {"n": 3})


def generations(*answers):
    """Generations from (prompt number, constraints, response)."""
    return pl.DataFrame(
        [
            {
                "prompt_id": f"{number:016x}",
                "instruction": f"Prompt {number}.",
                "constraints": to_json(constraints),
                "response": response,
                "tokens": len(response.split()) + 1,
                "truncated": False,
            }
            for number, constraints, response in answers
        ]
    )


# ----------------------------------------------------------------------------------------------- degenerate answers
@pytest.mark.parametrize(
    ("response", "constraints"),
    [
        ("Tea is a warm drink.", [LOWER]),
        ("Warm tea.", [LOWER]),
        ("9", [SUM]),
        ("9.", [SUM]),
        ('"Tea"', [QUOTED]),
        ('{"drink": "tea"}', [JSON]),
        ('{"drink": ""}', [JSON]),
        ("Tea", [Constraint("max_words", {"n": 1})]),
        ("- black\n- green\n- white", [BULLETS]),
        ("- You can drink it hot\n- You can drink it cold\n- You can drink it sweet", [BULLETS]),
        ("Tea is good for the heart. Tea is good for the mind. Tea is good for the soul.", []),
        ("It was very, very, very cold in the morning.", []),
        ("2 + 2 + 2 = 6", []),
        ("Tea grows on hills and is picked by hand before it is dried and sold in", [LOWER]),  # cut, yet sound
        ("Tea is dried. It is sold. Tea is dried. It is sold.", []),  # twice is poor, not a loop
        ("MISSISSIPPI IS A RIVER", []),
        ("no no", []),
        ("200,000,000 people drink it", []),
        (
            "We sail at dawn.\nOh, the wide blue sea.\nWe rest at noon on a warm flat stone.\nOh, the wide blue sea.\n"
            "We come home late, and someone keeps a light for us in the kitchen.\nOh, the wide blue sea.\n"
            "Nobody asks us where we went or what we saw.",
            [],
        ),  # a refrain
    ],
)
def test_sound_answers_are_not_degenerate(response, constraints):
    assert degeneration(response, constraints) == ""


@pytest.mark.parametrize(
    ("response", "constraints", "reason"),
    [
        ("", [LOWER], "empty"),
        (" \n\t", [LOWER], "empty"),
        ("...!?", [LOWER], "empty"),
        ("- \n- \n- ", [BULLETS], "empty"),
        ("{}", [JSON], "empty"),
        ("tea", [LOWER], "short"),
        ("Tea.", [NO_COMMAS], "short"),
        ("Tea", [QUOTED], "short"),  # one word is enough only in quotes
        ("8", [SUM], "short"),
        ("teateateateateatea", [LOWER], "short"),
        ("Tea", [Constraint("max_words", {"n": 5})], "short"),
        ("Tea", [], "short"),
        ("aaaaaaaaaaaa", [LOWER], "characters"),
        ("tea!!!!!!!!!!!!!!!!!!!!", [], "characters"),
        ("a aaa aaaa aaaaaaa aa", [], "characters"),
        ('""""""tea""""""', [QUOTED], "characters"),
        ("tea tea tea tea tea", [LOWER], "loop"),
        ("the tea, the tea, the tea", [LOWER], "loop"),
        ("Tea is a drink. Tea is a drink. Tea is a drink.", [], "loop"),
        ("Tea is a drink.\nTea is a drink!\nTEA IS A DRINK", [], "loop"),
        ("- tea\n- tea\n- tea", [BULLETS], "loop"),
        ("Yes. It is warm. Yes. We drink it. Yes.", [], "loop"),  # the same sentence three times, apart
        ("tea and milk and tea and milk and tea and milk and tea", [], "loop"),
        ("we went out and so on and so on and so on and so", [], "loop"),
        ("I like it a lot. " + "and the tea is on the table by the old window " * 3, [], "loop"),
        ("one two three four five six one two three four five six one two three four five six one two", [], "loop"),
        ("a b c d e f g x a b c d e f g y a b c d e f g z a b c d e f g w", [], "loop"),  # 3-grams, nothing in a row
    ],
)
def test_collapsed_answers_are_degenerate(response, constraints, reason):
    assert degeneration(response, constraints) == reason


@given(st.lists(st.sampled_from(["tea", "milk", "cup", "hot", "sweet"]), min_size=2, max_size=12))
def test_saying_anything_four_times_in_a_row_is_degenerate(block):
    assert degeneration(" ".join(block * 4), []) != ""


@given(st.text(max_size=60))
def test_every_text_gets_one_of_the_reasons(text):
    assert degeneration(text, [LOWER, QUOTED]) in {"", "empty", "short", "characters", "loop"}


@given(st.permutations(["tea", "grows", "on", "green", "hills", "is", "picked", "by", "hand", "in", "early", "spring"]))
def test_different_words_in_any_order_are_not_degenerate(shuffled):
    assert degeneration(" ".join(shuffled), []) == ""


def test_repetition_counts_repeated_3_grams():
    assert repetition(["a", "b", "c", "d"]) == 0
    assert repetition(["a", "a", "a", "a"]) == pytest.approx(1 / 2)
    assert repetition(["a", "b", "c", "a", "b", "c"]) == pytest.approx(1 / 4)  # abc bca cab abc
    assert repetition(["a", "b"]) == 0


def test_longest_repeat_covers_the_words_said_over_and_over():
    assert longest_repeat(["the", "tea", "the", "tea", "the", "cup"]) == 4
    assert longest_repeat(["a", "a", "a", "b"]) == 3
    assert longest_repeat(["x", "a", "b", "c", "a", "b", "c", "a", "b", "c", "y"]) == 9
    assert longest_repeat(["a", "b", "c"]) == 0
    assert longest_repeat([]) == 0


def test_answers_of_the_simulated_world_are_degenerate_only_where_they_repeat_a_sentence_over_and_over():
    skills = {"expert": 0.95, "good": 0.75, "fair": 0.5, "weak": 0.25}
    noise = {"rating_noise": 0.6, "overall_noise": 2.0, "missing_rate": 0.0, "overall_missing_rate": 0.0}
    world = Simulated(
        name="simulated",
        aspects=["helpfulness"],
        max_bad_rows=0,
        seed=3,
        prompts=100,
        min_constraints=1,
        max_constraints=3,
        statements=1,
        skills=skills,
        inverted_score_rate=0.0,
        **noise,
    )
    verdicts = {True: set(), False: set()}
    for response in simulate(world)["response"]:
        text = response.lower()
        said = [part.strip() for part in text.replace("!", ".").split(".")]
        verdicts[max((text.count(part) for part in said if len(part) > 8), default=0) >= 3].add(
            degeneration(response, [])
        )
    assert verdicts[False] == {""}
    assert "loop" in verdicts[True] <= {"", "loop"}, "a repetition with a phrase put into it is no loop"


@pytest.mark.skipif(not IFEVAL.exists(), reason=f"real answers are not there: {IFEVAL.name}")
def test_few_real_answers_of_a_strong_model_are_called_a_loop():
    responses = [json.loads(line)["response"] for line in IFEVAL.open(encoding="utf-8")]
    reasons = [degeneration(response, []) for response in responses]
    assert len(reasons) == 540
    assert reasons.count("characters") == 0
    assert reasons.count("empty") == 0
    assert reasons.count("loop") <= 0.02 * len(reasons)  # songs with a chorus, a text asked for several times over


# ------------------------------------------------------------------------------------------------------ measurement
def test_measures_of_answers_by_hand():
    table = measure(
        generations(
            (1, [LOWER, NO_COMMAS], "tea is warm"),
            (2, [LOWER, NO_COMMAS], "Tea is warm"),
            (3, [QUOTED], ""),
        )
    )
    assert table["strict"].to_list() == [True, False, False]
    assert table["share"].to_list() == [1.0, 0.5, 0.0]
    assert table["kind/lowercase"].to_list() == [True, False, None]
    assert table["kind/no_commas"].to_list() == [True, True, None]
    assert table["kind/quoted"].to_list() == [None, None, False]
    assert table["words"].to_list() == [3, 3, 0]
    assert table["characters"].to_list() == [11, 11, 0]
    assert table["tokens"].to_list() == [4, 4, 1]
    assert table["degeneration"].to_list() == ["", "", "empty"]
    assert table["degenerate"].to_list() == [False, False, True]


def test_a_kind_demanded_twice_counts_as_followed_only_if_both_are():
    two = [Constraint("include", {"words": ["tea"]}), Constraint("include", {"words": ["milk"]})]
    table = measure(generations((1, two, "tea is warm")))
    assert table["kind/include"].to_list() == [False]
    assert table["share"].to_list() == [0.5]


def test_an_unknown_constraint_is_an_error():
    broken = generations((1, [LOWER], "tea")).with_columns(constraints=pl.lit('[{"kind": "haiku", "params": {}}]'))
    with pytest.raises(UserError, match="haiku"):
        measure(broken)


def test_metrics_of_base_policy_and_their_difference():
    policy = measure(generations((1, [LOWER], "tea is warm"), (2, [LOWER], "it is hot"), (3, [QUOTED], '"a drink"')))
    base = measure(generations((3, [QUOTED], "A drink"), (2, [LOWER], "It is hot"), (1, [LOWER], "tea is warm")))
    found = estimates(pair(policy, base))
    assert found["verifiable/strict"].value == 1
    assert found["verifiable/strict"].low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)  # Wilson at n of n
    assert found["base/verifiable/strict"].value == pytest.approx(1 / 3)
    difference = found["difference/verifiable/strict"]  # 0, 1, 1: mean 2/3, standard error 1/3, t(0.975, 2) = 4.3027
    assert difference == pytest.approx((2 / 3, 2 / 3 - 4.302653 / 3, 1.0, 3), abs=1e-5)
    assert found["verifiable/kind/lowercase"].n == 2
    assert found["difference/verifiable/kind/quoted"].value == 1
    assert math.isnan(found["difference/verifiable/kind/quoted"].low)  # a single prompt
    assert found["verifiable/words"].value == pytest.approx(8 / 3)
    assert "verifiable/kl" not in found


def test_prompts_that_one_side_lacks_are_counted_and_not_compared():
    policy = measure(generations((1, [LOWER], "tea is warm"), (2, [LOWER], "tea")))
    base = measure(generations((1, [LOWER], "Tea is warm"), (3, [LOWER], "")))
    paired = pair(policy, base)
    assert estimates(paired)["difference/verifiable/strict"].n == 1
    assert estimates(paired)["verifiable/strict"].n == 2
    assert left_out(paired) == {
        "verifiable_prompts": 3,
        "prompts_without_policy_answer": 1,
        "prompts_without_base_answer": 1,
        "policy_degenerate_short": 1,
        "base_degenerate_empty": 1,
    }


def test_tokens_that_nobody_told_are_left_out_and_said():
    known = generations((1, [LOWER], "tea is warm"), (2, [LOWER], "it is hot"), (3, [LOWER], ""))
    told = pl.Series("tokens", [None, 3, 0], dtype=pl.Int64)
    paired = pair(measure(known.with_columns(told)), measure(known.with_columns(told.fill_null(0))))
    assert paired["tokens"].to_list() == paired["base/tokens"].to_list() == [None, 3, 0]
    assert (estimates(paired)["verifiable/tokens"].value, estimates(paired)["verifiable/tokens"].n) == (1.5, 2)
    assert left_out(paired)["prompts_without_policy_answer"] == 0
    policy, base = notes(paired)
    assert policy.startswith("verifiable/tokens leaves out 1 of 3 answers of the policy")
    assert "of the base model" in base
    nobody = measure(known.with_columns(tokens=pl.lit(None, dtype=pl.Int64)))
    assert math.isnan(estimates(pair(nobody, nobody))["verifiable/tokens"].value)
    assert notes(pair(measure(known), measure(known))) == []


def test_divergence_is_in_nats_per_answer_and_per_token():
    divergence = pl.DataFrame({"prompt_id": [f"{1:016x}", f"{2:016x}"], "kl": [2.0, 6.0], "tokens": [4, 3]})
    answers = generations((1, [LOWER], "tea is warm"), (2, [LOWER], "it is hot"), (3, [LOWER], "it is nice"))
    found = estimates(pair(measure(answers, divergence), measure(answers)))
    assert found["verifiable/kl"].value == 4
    assert found["verifiable/kl"].n == 2
    assert found["verifiable/kl_per_token"].value == pytest.approx((0.5 + 2) / 2)
    assert "difference/verifiable/kl" not in found


def test_the_order_of_answers_does_not_matter():
    answers = generations(*[(i, [LOWER], "tea is warm" if i % 3 else "Tea") for i in range(9)])
    shuffled = answers.sample(fraction=1, shuffle=True, seed=1)
    assert pair(measure(shuffled), measure(answers)).equals(pair(measure(answers), measure(shuffled)))


def test_samples_are_the_same_twelve_prompts_whatever_the_order():
    policy = generations(*[(i, [LOWER, NO_COMMAS], f"tea number {i}") for i in range(30)])
    base = generations(*[(i, [LOWER, NO_COMMAS], f"Tea number {i}") for i in range(30)])
    chosen = samples(policy, base)
    assert len(chosen) == 12
    assert chosen == samples(policy.reverse(), base.sample(fraction=1, shuffle=True, seed=2))
    assert chosen[0]["policy_follows"] == "lowercase, no_commas"
    assert chosen[0]["base_follows"] == "no_commas"
    assert chosen[0]["base"].startswith("Tea number")


def test_the_stage_needs_only_what_its_slice_asks_for(tmp_path: Path):
    policy = generations((1, [LOWER], "tea is warm"), (2, [SUM], "9"))
    base = generations((1, [LOWER], "Tea is warm"), (2, [SUM], "10"))
    divergence = pl.DataFrame({"prompt_id": [f"{1:016x}"], "kl": [2.0], "tokens": [4]})
    for folder, name, table in (
        ("generations_verifiable", GENERATIONS, policy),
        ("generations_verifiable_base", GENERATIONS, base),
        ("likelihoods", DIVERGENCE, divergence),
    ):
        (tmp_path / folder).mkdir()
        table.write_parquet(tmp_path / folder / name)
    out = tmp_path / "out"
    out.mkdir()
    hardware = Hardware("cpu", Device.cpu, 1, 1, 1, "sdpa", False, [Precision.float32], Launch.plain, 1, None, False)
    context = Context(EventWriter("evaluation", tmp_path / "kept"), hardware, tmp_path)
    verifiable = VerifiableEvaluation("verifiable", prompts=2, seed=1, max_new_tokens=8, temperature=0.0, kl_prompts=1)
    names = ("generations_verifiable", "generations_verifiable_base", "likelihoods")
    facts = stage.run(
        evaluation_settings(verifiable=verifiable), {name: tmp_path / name for name in names}, out, context
    )
    metrics = json.loads((out / METRICS).read_text())
    assert metrics["verifiable/kl"] == {"value": 2.0, "low": None, "high": None, "n": 1}
    assert metrics["verifiable/strict"]["value"] == 1.0
    assert facts["difference/verifiable/strict"] == 1.0
    assert facts["base_degenerate_short"] == 1
    assert pl.read_parquet(out / BY_PROMPT.format("verifiable"))["base/strict"].to_list() == [False, False]
    assert len(json.loads((out / SAMPLES).read_text())) == 2
    assert not (out / BY_PROMPT.format("preferences")).exists()
    json.dumps(facts, allow_nan=False)
