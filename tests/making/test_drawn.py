"""Who answers a prompt, and told what: by the prompt, the seed and the writer's name alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from notus_exp.config.curation_settings import Split
from notus_exp.config.made_settings import PRINCIPLES
from notus_exp.curation.split import SPLITS, assign
from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError
from notus_exp.making.drawn import drawn, of_part, places, weights_of
from notus_exp.making.principle_texts import told_by, told_of_principles
from notus_exp.stages.settings import ResponsesSettings

WEIGHTS = {"any": {"helpfulness": 3.0, "honesty": 1.0}, "facts": {"truthfulness": 1.0}, "plain": {"none": 1.0}}
POOL = ["a", "b", "c", "d", "e"]


def settings(writer: str = "a", **draw: Any) -> ResponsesSettings:
    drawn_so = {"writers": POOL, "per_prompt": 2, "seed": 0, "max_prompts": None, **draw}
    return ResponsesSettings(
        writer, drawn_so, WEIGHTS, told_of_principles(WEIGHTS), 7, 1.0, 16, None, None, "float32", 2
    )


def prompts(number: int, **columns: str) -> pl.DataFrame:
    texts = [f"Question {index}?" for index in range(number)]
    given = {"source": "", "principle": "", "system_prompt": "", **columns}
    return pl.DataFrame(
        {
            "prompt_id": [prompt_id(text) for text in texts],
            "row": range(number),
            "instruction": texts,
            **{name: [value] * number for name, value in given.items()},
        }
    )


def answered(table: pl.DataFrame, **draw: Any) -> dict[str, set[str]]:
    """Return who answers each prompt."""
    found: dict[str, set[str]] = {}
    for writer in draw.get("writers", POOL):
        for one in drawn(table, settings(writer, **draw))["prompt_id"]:
            found.setdefault(one, set()).add(writer)
    return found


def test_each_prompt_has_so_many_different_writers_and_each_writer_its_share() -> None:
    found = answered(prompts(2000))
    assert {len(writers) for writers in found.values()} == {2}
    assert len(found) == 2000
    shares = [sum(writer in writers for writers in found.values()) / 2000 for writer in POOL]
    assert all(abs(share - 2 / 5) < 0.04 for share in shares)  # 3.6 standard errors


def test_the_places_of_a_prompts_writers_are_a_drawn_order_of_them() -> None:
    ids = prompts(2000)["prompt_id"].to_list()
    order = places(ids, POOL, 0)
    assert (sorted(order[0]), order.shape) == ([0, 1, 2, 3, 4], (2000, 5))
    assert all(abs((order[:, column] == 0).mean() - 1 / 5) < 0.035 for column in range(5))
    table = prompts(50)
    both = pl.concat([drawn(table, settings(writer)).select("prompt_id", "place") for writer in POOL])
    assert all(sorted(one) == [0, 1] for one in both.group_by("prompt_id").agg("place")["place"].to_list())


def test_neither_other_prompts_nor_their_order_nor_that_of_the_pool_move_what_is_drawn() -> None:
    whole = drawn(prompts(300), settings())
    some = drawn(prompts(300)[::-1].head(100), settings(writers=POOL[::-1]))
    assert some.height > 20
    assert whole.join(some, on=["prompt_id", "place", "principle", "system_prompt"]).height == some.height
    assert answered(prompts(300)) != answered(prompts(300), seed=1)


def test_another_writer_takes_places_and_moves_none_of_the_others() -> None:
    before, after = answered(prompts(500)), answered(prompts(500), writers=[*POOL, "f"])
    assert all(after[one] - {"f"} <= before[one] for one in before)


def test_fewer_prompts_are_among_more() -> None:
    few, more = (answered(prompts(100), max_prompts=most) for most in (10, 40))
    assert (len(few), len(more)) == (10, 40)
    assert few.items() <= more.items()


def test_a_principle_is_drawn_by_its_weight_and_by_the_corpus_before_the_source() -> None:
    own = drawn(prompts(4000), settings())
    assert abs((own["principle"] == "helpfulness").mean() - 0.75) < 0.045
    assert set(own["principle"]) == {"helpfulness", "honesty"}
    said = own.select("principle", "system_prompt").unique()
    assert all(text in told_by(principle) for principle, text in said.iter_rows())
    assert said.height == len(told_by("helpfulness")) + len(told_by("honesty")), "each wording is drawn"
    assert set(drawn(prompts(20, source="facts"), settings())["principle"]) == {"truthfulness"}
    assert weights_of(WEIGHTS, "facts", "plain") == WEIGHTS["facts"]
    assert weights_of(WEIGHTS, "other", "plain") == WEIGHTS["plain"]
    nothing = drawn(prompts(20, source="plain"), settings())
    assert set(nothing["principle"]) == set(nothing["system_prompt"]) == {""}


def test_two_writers_of_a_prompt_are_told_independently() -> None:
    one, other = (
        drawn(prompts(3000), settings(writer, per_prompt=5)).select("prompt_id", writer=pl.col("principle"))
        for writer in ("a", "b")
    )
    both = one.join(other, on="prompt_id", suffix="_other")
    same = (both["writer"] == both["writer_other"]).mean()
    assert isinstance(same, float) and abs(same - (0.75**2 + 0.25**2)) < 0.04


def test_a_prompt_with_a_system_turn_keeps_it_and_a_simulated_writer_is_told_nothing() -> None:
    own = drawn(prompts(20, principle="conversation", system_prompt="Be terse."), settings())
    assert set(own["principle"]) == {"conversation"} and set(own["system_prompt"]) == {"Be terse."}
    empty = drawn(prompts(20, principle="conversation"), settings())
    assert set(empty["principle"]) <= {"helpfulness", "honesty"}
    assert set(drawn(prompts(20), replace(settings(), skill=0.5))["principle"]) == {""}


def test_each_principle_has_words_of_its_own() -> None:
    texts = [text for principle in PRINCIPLES for text in told_by(principle)]
    assert len(texts) == len(set(texts)) and all(len(text) > 40 for text in texts)
    assert all(len(told_by(principle)) >= 3 for principle in PRINCIPLES)


SPLIT = {"seed": 0, "validation": 0.1, "test": 0.2}


def in_round(number: int, parts: int, table: pl.DataFrame, seed: int = 0) -> set[str]:
    part = {"round": number, "parts": parts, "split": SPLIT}
    return set(of_part(table, {"seed": seed, "part": part})["prompt_id"])


def split_of(table: pl.DataFrame) -> dict[str, set[str]]:
    names = assign(table["prompt_id"], Split(**SPLIT)).to_list()
    return {name: {one for one, of in zip(table["prompt_id"], names, strict=True) if of == name} for name in SPLITS}


def test_training_prompts_are_shared_out_among_the_rounds_and_each_has_one() -> None:
    table = prompts(3000)
    split, parts = split_of(table), [in_round(number, 3, table) for number in (1, 2, 3)]
    trained = [part & split["train"] for part in parts]
    assert set.union(*trained) == split["train"]
    assert sum(map(len, trained)) == len(split["train"]), "no prompt is of two rounds"
    assert all(abs(len(part) / len(split["train"]) - 1 / 3) < 0.04 for part in trained)  # 3.8 standard errors
    assert [part & split["test"] for part in parts] == [split["test"], set(), set()]
    assert all(part & split["validation"] == split["validation"] for part in parts)
    assert in_round(1, 3, table, seed=1) != parts[0]


def test_with_one_part_every_round_has_all_training_prompts_and_the_first_the_test_prompts() -> None:
    table = prompts(300)
    split = split_of(table)
    assert in_round(1, 1, table) == set(table["prompt_id"])
    assert in_round(2, 1, table) == split["train"] | split["validation"]


def test_without_a_part_and_whatever_other_prompts_there_are_a_prompt_stays_in_its_round() -> None:
    table = prompts(300)
    assert of_part(table, {"seed": 0}).equals(table)
    some = table.filter(pl.int_range(pl.len()) % 3 == 0)
    assert in_round(2, 2, some) == in_round(2, 2, table) & set(some["prompt_id"])


def test_the_same_prompt_in_other_white_space_is_of_the_same_round() -> None:
    table = prompts(200)
    texts = [f"  {text.replace(' ', '   ')}\n" for text in table["instruction"]]
    spaced = table.with_columns(
        pl.Series("instruction", texts), pl.Series("prompt_id", [prompt_id(text) for text in texts])
    )
    part = {"seed": 0, "part": {"round": 2, "parts": 2, "split": SPLIT}}
    assert of_part(spaced, part)["row"].to_list() == of_part(table, part)["row"].to_list()


def test_a_round_without_a_prompt_to_train_on_is_refused_in_the_first_before_anybody_is_asked() -> None:
    with pytest.raises(UserError, match=r"round \d+ would have no prompt to train on: of 12 prompts"):
        in_round(1, 40, prompts(12))
