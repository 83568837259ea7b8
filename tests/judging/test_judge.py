"""Comparing and rating with the judges that need no server; the conf files of all of them."""

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from notus_exp.config.judge_settings import JUDGE_SCHEMAS
from notus_exp.config.ranges import check
from notus_exp.disk.hashing import digest, prompt_id
from notus_exp.errors import UserError
from notus_exp.judging.cache import ReplyCache
from notus_exp.judging.judge import comparison_facts, grade, orders, prefer
from notus_exp.judging.templates import comparison_messages, load_comparison_template
from notus_exp.judging.verdicts import VERDICTS_SCHEMA, AnswerPair, Verdict
from support.judges import grading, mock_judge, pair, replay_judge
from support.places import REPLAY, ROOT

needs_data = pytest.mark.skipif(not REPLAY.exists(), reason="the replay data is not beside the checkout")


def verdict(value, order, prompt="p"):
    return Verdict(prompt, 1, order, value, "" if value else "why", "", "", 0, 0, None)


def both(first, second, prompt="p"):
    return [verdict(first, "reference_first", prompt), verdict(second, "model_first", prompt)]


# ---------------------------------------------------------------------------------------------------------------- mock
@pytest.mark.parametrize("parser", ["ranking", "logprobs", "letters"])
def test_the_mock_judge_is_read_by_every_parser_and_always_says_the_same(tmp_path, parser):
    pairs = [pair(number) for number in range(200)]
    one = prefer(pairs, mock_judge(parser=parser), tmp_path / "a.sqlite")
    other = prefer(pairs, mock_judge(parser=parser), tmp_path / "b.sqlite")
    assert one == other
    assert (one.facts["verdicts"], one.facts["failed"]) == (400, 0)
    wins = sum(v.value > 1.5 for v in one.verdicts)
    assert 120 < wins < 280, "neither side always wins"
    assert (one.facts["draws"] > 0) == (parser == "letters")
    assert one.facts["inconsistent"] > 0


def test_comparing_and_rating_start_from_what_was_spent_and_tell_what_they_spend(tmp_path):
    settings = mock_judge(input_price=3.0, output_price=9.0, budget=2.0)
    for number, (judging, what) in enumerate(((prefer, pair(1)), (grade, grading(1)))):
        told = []
        judged = judging([what], settings, tmp_path / f"{number}.sqlite", on_spent=lambda *n, told=told: told.append(n))
        assert sum(usd for usd, _ in told) == pytest.approx(judged.facts["cost"])
        assert sum(n for _, n in told) == judged.facts["prompt_tokens"] + judged.facts["completion_tokens"]
        with pytest.raises(UserError, match=r"judge.budget=2 USD: 1.99999 USD spent before, 0 now"):
            judging([what], settings, tmp_path / f"{number}-again.sqlite", spent=1.99999)


def test_the_mocks_replies_to_one_parser_are_not_read_by_another(tmp_path):
    template = tmp_path / "pair.j2"
    template.write_text("{{ instruction }} {{ first }} {{ second }}")
    for parser in ("ranking", "letters"):
        judged = prefer([pair(1)], mock_judge(parser=parser, template=str(template)), tmp_path / "a.sqlite")
        assert (judged.facts["failed"], judged.facts["from_cache"]) == (0, 0)


def test_the_mocks_replies_with_log_probs_keep_their_keys(tmp_path):
    prefer([pair(1)], mock_judge(parser="logprobs"), tmp_path / "a.sqlite")
    template = load_comparison_template("logprobs")
    messages = [comparison_messages(pair(1), order, template) for order in orders(pair(1), True)]
    decoding = [0.0, 16, None, 5]
    keys = {digest(["mock", "judge", None, decoding, one, "logprobs"]) for one in messages}
    with ReplyCache(tmp_path / "a.sqlite") as cache:
        assert set(cache.get_many(keys)) == keys


def test_the_mock_judge_rates_with_every_rating(tmp_path):
    gradings = [grading(number, turn) for number in range(100) for turn in (1, 2)]
    judged = grade(gradings, mock_judge(), tmp_path / "a.sqlite")
    assert [(v.prompt_id, v.turn, v.order) for v in judged.verdicts] == [(g.prompt_id, g.turn, "") for g in gradings]
    assert {v.value for v in judged.verdicts} == set(range(1, 11))
    assert judged.facts["failed"] == 0
    again = grade(gradings, mock_judge(offline=True), tmp_path / "a.sqlite")
    assert again.verdicts == judged.verdicts
    assert again.facts["from_cache"] == 200


def test_costs_of_verdicts_add_up_to_what_is_spent(tmp_path):
    judged = prefer([pair(n) for n in range(5)], mock_judge(input_price=3.0, output_price=9.0), tmp_path / "a.sqlite")
    assert sum(v.cost for v in judged.verdicts) == pytest.approx(judged.facts["cost"])
    assert judged.facts["cost"] == pytest.approx(
        (judged.facts["prompt_tokens"] * 3 + judged.facts["completion_tokens"] * 9) / 1e6
    )
    assert prefer([pair(0)], mock_judge(), tmp_path / "a.sqlite").verdicts[0].cost is None


def test_verdicts_fit_their_schema(tmp_path):
    import polars as pl

    judged = prefer([pair(1)], mock_judge(), tmp_path / "a.sqlite")
    table = pl.DataFrame(judged.verdicts, schema=VERDICTS_SCHEMA, orient="row")
    assert table["order"].to_list() == ["reference_first", "model_first"]
    assert list(VERDICTS_SCHEMA) == list(Verdict._fields)


# --------------------------------------------------------------------------------------------------------------- facts
def test_one_order_is_drawn_by_the_prompt_alone_and_evenly():
    drawn = [orders(pair(number), False) for number in range(400)]
    assert all(len(order) == 1 for order in drawn)
    assert 150 < Counter(drawn)[("reference_first",)] < 250
    assert orders(pair(7), True) == ("reference_first", "model_first")


def test_facts_by_hand():
    verdicts = [
        *both(2.0, 2.0, "a"),  # the model wins in both orders: shown first in the second
        *both(1.0, 2.0, "b"),  # whoever is shown first wins: inconsistent
        *both(1.5, 1.0, "c"),  # a draw and a winner contradict nothing; the reference wins when shown second
        *both(None, 2.0, "d"),  # a failure contradicts nothing; the model wins when shown first
        verdict(1.25, "", "e"),  # without an order
    ]
    facts = comparison_facts(verdicts)
    # shown first wins: a second order, b both, d; decided with an order: 2 + 2 + 1 + 1
    assert facts == {"draws": 1, "inconsistent": 1, "first_shown_preferred": 4 / 6}


def test_the_same_prompt_twice_is_two_pairs():
    assert comparison_facts(both(2.0, 2.0) + both(1.0, 1.0))["inconsistent"] == 0


def test_without_a_winner_nobody_is_preferred():
    assert comparison_facts(both(1.5, 1.5))["first_shown_preferred"] is None
    assert comparison_facts([])["first_shown_preferred"] is None


# -------------------------------------------------------------------------------------------------------------- replay
def stored(path, *rows):
    path.write_text(json.dumps(list(rows)))
    return replay_judge(path)


def row(number, preference, **changes):
    _, instruction, reference, model = pair(number)
    base = {"instruction": instruction, "output_1": reference, "output_2": model, "preference": preference}
    return base | {"annotator": "some-judge", "price_per_example": 0.01} | changes


def test_stored_preferences_are_found_by_their_texts(tmp_path):
    rows = [row(1, 2.0), row(2, 0), row(3, 1.5), row(4, 1.25), row(5, None), row(6, 3), row(7, 2.0, output_2="other")]
    rows += [{name: text for name, text in row(8, 1).items() if name != "output_1"}, row(9, True)]
    judged = prefer([pair(n) for n in range(1, 11)], stored(tmp_path / "a.json", *rows), tmp_path / "unused")
    assert [v.value for v in judged.verdicts] == [2, 1.5, 1.5, 1.25, None, None, None, 1, None, None]
    reasons = [v.reason for v in judged.verdicts if v.value is None]
    assert reasons == ["the stored preference is None", "the stored preference is 3",
                       "no stored verdict on these outputs", "the stored preference is True",
                       "no stored verdict on these outputs"]  # fmt: skip
    assert judged.facts == {
        "verdicts": 10,
        "failed": 5,
        "draws": 2,
        "inconsistent": 0,
        "first_shown_preferred": None,
    }
    assert {v.order for v in judged.verdicts} == {""}
    assert (judged.verdicts[0].snapshot, judged.verdicts[0].cost) == ("some-judge", 0.01)
    assert not (tmp_path / "unused").exists()


def test_two_stored_verdicts_on_the_same_outputs_are_refused(tmp_path):
    with pytest.raises(UserError, match="two verdicts on the same answer"):
        prefer([pair(1)], stored(tmp_path / "a.json", row(1, 2.0), row(1, 2.0)), tmp_path / "unused")


@pytest.mark.parametrize("key", ["annotator", "generator_1", "scorer_model"])
def test_stored_verdicts_of_two_judges_or_reference_models_are_refused(tmp_path, key):
    settings = stored(tmp_path / "a.json", row(1, 2.0, **{key: "x"}), row(2, 2.0, **{key: "y"}))
    with pytest.raises(UserError, match=rf"'{key}' is x \(1\), y \(1\)"):
        prefer([pair(1)], settings, tmp_path / "unused")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ('{"a": 1}', "no list of objects"),
        ('[{"instruction": "x"}]', "verdict 1 is malformed"),
        ('[{"instruction": ["x"], "output_2": "y"}]', "verdict 1 is malformed"),
        ('[{"instruction": "x", "output_2": "y", "preference": 1, "preference": 2}]', "'preference' stands twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_annotations_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        prefer([pair(1)], replay_judge(path), tmp_path / "unused")


@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, 1e308, 10**400, "2", [2]])
def test_a_stored_preference_that_is_no_usable_number_is_a_failed_verdict(tmp_path, value):
    judged = prefer([pair(1)], stored(tmp_path / "a.json", row(1, value)), tmp_path / "unused")
    assert [(verdict.value, judged.facts["failed"]) for verdict in judged.verdicts] == [(None, 1)]


@pytest.mark.parametrize("price", [True, -1, math.inf, 1e308, "much"])
def test_a_stored_price_that_is_no_usable_number_is_named(tmp_path, price):
    with pytest.raises(UserError, match=r"price_per_example is .*not a usable number"):
        prefer([pair(1)], stored(tmp_path / "a.json", row(1, 2.0) | {"price_per_example": price}), tmp_path / "unused")


@pytest.mark.parametrize("path", ["", "absent.json"])
def test_replay_without_a_file_is_an_error(tmp_path, path):
    with pytest.raises(UserError, match="is no file"):
        prefer([pair(1)], replay_judge(path), tmp_path / "unused")


def judgments(folder, *rows, questions=True):
    folder.mkdir(exist_ok=True)
    if questions:
        known = [{"question_id": 80 + n, "turns": [f"Question {n}.1?", f"Question {n}.2?"]} for n in range(1, 4)]
        (folder / "question.jsonl").write_text("".join(json.dumps(question) + "\n" for question in known))
    (folder / "single.jsonl").write_text("".join(json.dumps(judgment) + "\n" for judgment in rows))
    return replay_judge(folder / "single.jsonl", model="mine")


def rated(number, turn, score, model="mine"):
    return {"question_id": number, "turn": turn, "model": model, "score": score, "judgment": f"[[{score}]]",
            "judge": ["gpt-4", "single-v1"]}  # fmt: skip


def test_stored_ratings_are_found_by_question_turn_and_model(tmp_path):
    rows = [rated(81, 1, 8), rated(81, 2, 9.5), rated(82, 1, -1), rated(82, 2, 0), rated(83, 1, 3, "other")]
    gradings = [grading(1), grading(1, 2), grading(2), grading(2, 2), grading(3), grading(9)]
    judged = grade(gradings, judgments(tmp_path / "a", *rows), tmp_path / "unused")
    assert [v.value for v in judged.verdicts] == [8, 9.5, None, None, None, None]
    assert [v.reason for v in judged.verdicts[2:5]] == [
        "the stored score is -1",
        "the stored score is 0",
        "no stored judgment of question 83",
    ]
    assert (judged.verdicts[0].raw, judged.verdicts[0].snapshot) == ("[[8]]", "gpt-4")
    assert judged.facts == {"verdicts": 6, "failed": 4}


def test_stored_ratings_of_two_judges_are_refused(tmp_path):
    rows = [rated(81, 1, 8), rated(82, 1, 7) | {"judge": ["gpt-4o", "single-v1"]}, rated(83, 1, 7, "other")]
    with pytest.raises(UserError, match=r"'judge' is gpt-4 \(1\), gpt-4o \(1\)"):
        grade([grading(1)], judgments(tmp_path / "a", *rows), tmp_path / "unused")


@pytest.mark.parametrize("turn", [1.9, True, "one", math.inf, None])
def test_a_turn_is_a_whole_number(tmp_path, turn):
    with pytest.raises(UserError, match="verdict 1 is malformed"):
        grade([grading(1)], judgments(tmp_path / "a", rated(81, turn, 8)), tmp_path / "unused")


def test_a_malformed_question_file_is_named(tmp_path):
    judge = judgments(tmp_path / "a", rated(81, 1, 8))
    for text, said in [('{"question_id": 1}\n', "question 1 is malformed"), (b"\xff", "not UTF-8")]:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "a" / "question.jsonl").write_bytes(content)
        with pytest.raises(UserError, match=said):
            grade([grading(1)], judge, tmp_path / "unused")


def test_without_the_questions_nothing_is_guessed(tmp_path):
    judged = grade([grading(1)], judgments(tmp_path / "a", rated(81, 1, 8), questions=False), tmp_path / "unused")
    assert judged.verdicts[0].value is None


def test_double_judgments_and_unknown_models_are_refused(tmp_path):
    settings = judgments(tmp_path / "a", rated(81, 1, 8), rated(81, 1, 8), rated(81, 1, 7, "other"))
    with pytest.raises(UserError, match=r"two verdicts on the same answer: .*'81', 1.* of mine"):
        grade([grading(1)], settings, tmp_path / "unused")
    with pytest.raises(UserError, match="has no judgments of it") as error:
        grade([grading(1)], dataclasses.replace(settings, model="nobody"), tmp_path / "unused")
    assert "mine, other" in error.value.hint


@needs_data
def test_the_published_alpaca_eval_verdicts_are_replayed():
    path = REPLAY / "alpaca_eval/notus-7b-v1.annotations.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    pairs = [AnswerPair(prompt_id(r["instruction"]), r["instruction"], r["output_1"], r["output_2"]) for r in rows]
    judged = prefer(pairs, replay_judge(path), Path("unused"))
    # as expected.json has them: 735 wins, 69 losses, 1 failure
    assert Counter(v.value for v in judged.verdicts) == {2.0: 735, 1.0: 69, None: 1}
    assert (judged.facts["verdicts"], judged.facts["failed"]) == (805, 1)


@needs_data
def test_the_published_mt_bench_judgments_are_replayed_and_the_double_judged_model_refused():
    from notus_exp.judging.verdicts import Grading

    folder = REPLAY / "mt_bench"
    questions = [json.loads(line) for line in (folder / "question.jsonl").read_text(encoding="utf-8").splitlines()]
    gradings = [
        Grading(prompt_id(q["turns"][0]), turn, q["category"], tuple(q["turns"][:turn]), ("",) * turn, ())
        for q in questions
        for turn in (1, 2)
    ]
    settings = replay_judge(folder / "alvarobartt_single.jsonl", model="mistral-orpo-mix")
    judged = grade(gradings, settings, Path("unused"))
    stored = {
        (r["question_id"], r["turn"]): r["score"]
        for r in map(json.loads, (folder / "alvarobartt_single.jsonl").read_text(encoding="utf-8").splitlines())
        if r["model"] == "mistral-orpo-mix"
    }
    numbers = [(q["question_id"], turn) for q in questions for turn in (1, 2)]
    values = [-1 if v.value is None else v.value for v in judged.verdicts]
    assert values == [stored[number] for number in numbers]
    with pytest.raises(UserError, match="of mistral-orpo"):
        grade(gradings, dataclasses.replace(settings, model="mistral-orpo"), Path("unused"))


# -------------------------------------------------------------------------------------------------------------- config
@pytest.mark.parametrize("path", sorted((ROOT / "conf/judge").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_option_sets_every_key_to_an_allowed_value(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema = JUDGE_SCHEMAS[path.stem]
    assert values.pop("defaults") == [f"/{path.stem}_judge_schema@_here_", "_self_"]
    assert set(values) == {field.name for field in dataclasses.fields(schema)}
    assert values["name"] == path.stem
    chosen = {name: "x" if value == "???" else value for name, value in values.items()}
    check(schema(**chosen), "judge.")


def test_there_is_an_option_for_each_judge():
    assert {path.stem for path in (ROOT / "conf/judge").glob("*.yaml")} == set(JUDGE_SCHEMAS)


def test_comparing_imports_no_torch():
    code = "import sys, notus_exp.judging.judge; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
