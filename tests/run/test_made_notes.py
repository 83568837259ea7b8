"""Before a cent is spent the plan says how much data that is made here asks for."""

from __future__ import annotations

import re

import pytest

from notus_exp.config.schema import Config
from notus_exp.run import amounts
from notus_exp.run.amounts import Known
from notus_exp.run.made_notes import made_lines
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from support.configs import composed
from support.plans import fixed_sources

URL = "http://127.0.0.1:1/v1"
FAR = f"{{name: far, base_url: '{URL}', model: big, input_price: 1, output_price: 2, max_new_tokens: 300}}"
POOL = f"data.writers=[{{name: own, max_new_tokens: 100}}, {{name: weak, simulated: 0.3}}, {FAR}]"
RATER = "data.judge={judge: openai, model: rater, max_tokens: 50, input_price: 10, output_price: 20}"


def planned(*overrides: str) -> tuple[Config, list[Node], Known]:
    given = ["data=made", "data.prompts.prompts=60", "data.per_prompt=2", POOL, RATER]
    config = composed("experiment=smoke", *given, *overrides)
    nodes = make_plan(config, fixed_sources(config))
    by_key = {node.key: node for node in nodes}
    return config, nodes, Known(lambda stage, key: by_key.get(key), lambda stage, key: None)


def lines(*overrides: str) -> dict[str, str]:
    config, nodes, known = planned(*overrides)
    found = made_lines(config, nodes, known, lambda key: None)
    return dict(line.split(": ", 1) for line in found)  # type: ignore[misc]


def test_each_writer_is_asked_for_its_share_and_an_endpoint_has_a_price() -> None:
    found = lines()
    assert found["responses_weak"] == "about 40 answers"  # 60 prompts, 2 of 3 writers each
    assert found["responses_own"] == "about 40 answers, up to 4,000 tokens"
    # 40 x (200 + 40) tokens read at 1, 40 x 300 written at 2 USD a million: 0.0336 USD
    assert found["responses_far"] == f"about 40 answers by big at {URL}, up to 12,000 tokens, about $0.03 at most"


def test_all_of_it_is_said_together_and_a_budget_that_may_end_it() -> None:
    told = lines("data.budget=0.5")["made"]
    # of 60 prompts 4 aspects in a call each, and a critique of each of 120 answers
    counts = r"about 120 answers and 360 judgements \(240 of all answers to a prompt, 120 critiques\)"
    found = re.match(counts + r", up to ([\d,]+) tokens .* about \$([\d.]+) at most", told)
    assert found
    assert float(found[2]) > 0.5 and told.endswith("; data.budget is $0.50 and may end it before")
    # (40 / 16 + 360 / 16) x 10 s
    assert "about 4 min of asking if a request takes 10 s" in told
    assert lines("data.max_prompts=30")["made"].startswith("about 60 answers and ")


def test_of_prompts_that_are_not_there_yet_it_is_not_known_how_many() -> None:
    data = ["data.prompts={data: rated, path: x.csv}", POOL.replace("{name: weak, simulated: 0.3}, ", "")]
    found = lines(*data)
    assert found["responses_own"] == "answers, how many is not known yet"
    assert "once the prompts are there" in found["made"]


def test_hours_are_drawn_from_answers_and_tokens() -> None:
    _, nodes, known = planned()
    by_name = {node.name: node for node in nodes}
    assert amounts.planned(by_name["responses_own"], known) == pytest.approx(40 * 100)
    assert amounts.planned(by_name["responses_weak"], known) == pytest.approx(40)
    assert amounts.planned(by_name["answers"], known) == amounts.planned(by_name["pairs"], known) == 60
    assert amounts.completions_of(by_name["pairs"], known) == (60, 2)


def test_all_rounds_are_counted_and_how_many_prompts_each_trains_on() -> None:
    found = lines("rounds=2", "split.test=0.1", "split.validation=0.1", "data.prompts.prompts=100", "data.per_prompt=3")
    assert found["rounds"] == "about 40 prompts to train on in each"
    # the first answers 10 test, 10 validation and 40 training prompts, the second the last two again
    assert found["round1_responses_weak"] == "about 60 answers"
    assert found["responses_weak"] == "about 50 answers"
    # 4 aspects of 60 + 50 prompts, and a critique of each of 3 x 110 answers
    counts = "about 330 answers and 770 judgements (440 of all answers to a prompt, 330 critiques)"
    assert found["made"].startswith(counts)


def test_the_pairs_of_a_round_are_those_of_its_part_of_the_prompts() -> None:
    given = ("rounds=2", "split.test=0.1", "split.validation=0.1", "data.prompts.prompts=100", "filters.max_pairs=null")
    _, nodes, known = planned(*given)
    by_name = {node.name: node for node in nodes}
    for name in ("round1_policy", "policy"):
        assert amounts.pairs_of(by_name[name], known) == pytest.approx((40, 10))
