"""Pairs of the same tokens, marks of the model's own, lost ends: counted, and refused before anything is computed."""

from __future__ import annotations

import polars as pl
import pytest

from notus_exp.config.schema import Split
from notus_exp.errors import UserError
from notus_exp.models.encoding import Encoded
from notus_exp.models.token_checks import check_ends, check_pairs
from notus_exp.models.tokens import Tokenised, tokenise
from notus_exp.stages.context import Requirements
from notus_exp.stages.settings import ReferenceSettings

SETTINGS = ReferenceSettings(Split(0, 0.2, 0.2), None, "float32", 96, 64, "drop")
HIDES = (
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def pairs_of(*kinds):
    """One prompt each: "same", "marked", "long" or "fine"; the last one is for validation."""
    tokenised = Tokenised([], [], [], [], 0, 0, 0)
    for number, kind in enumerate(kinds):
        for side in (0, 1):
            ids = [7, 7 if kind == "same" else 7 + side]
            tokenised.rows.append((f"p{number}", number, side, "train"))
            tokenised.encoded.append(Encoded([1, 2], ids))
            tokenised.lengths.append(4 + (100 + number if kind == "long" else 0))
            tokenised.marked.append(kind == "marked" and side == 1)
    numbers = range(len(kinds))
    splits = ["train"] * (len(kinds) - 1) + ["validation"]
    pairs = pl.DataFrame(
        {
            "prompt_id": [f"p{n}" for n in numbers], "row": [*numbers], "split": splits,
            "chosen_completion": [0] * len(kinds), "rejected_completion": [1] * len(kinds),
        }
    )  # fmt: skip
    return tokenised, pairs


def check(*kinds, **requirements):
    return check_pairs(*pairs_of(*kinds), SETTINGS, Requirements(**requirements))


def test_what_is_wrong_with_pairs_is_counted_over_training_and_validation():
    assert check("fine", "same", "marked", "fine", "marked") == (1, 2)
    assert check("fine", "fine") == (0, 0)


@pytest.mark.parametrize(
    ("kinds", "said", "remedy"),
    [
        (
            ["same", "same", "fine"],
            "none of 2 training pairs is left: 2 have two sides of the same tokens",
            "max_length",
        ),
        (["marked", "fine"], "none of 1 training pairs is left: 1 hold a mark", "dpo.special_tokens=keep"),
        (["same", "marked", "fine"], "1 have two sides of the same tokens, and 1 hold a mark", "dpo.special_tokens"),
    ],
)
def test_none_left_is_an_error_that_counts_why(kinds, said, remedy):
    with pytest.raises(UserError) as caught:
        check(*kinds, special_tokens="drop")
    assert said in caught.value.message
    assert remedy in caught.value.hint


def test_marks_may_be_kept_or_be_an_error():
    assert check("marked", "fine", special_tokens="keep") == (0, 1)
    with pytest.raises(UserError, match=r"1 pairs hold a mark(.|\n)*special_tokens=drop leaves them out"):
        check("marked", "fine", special_tokens="error")
    assert check("fine", "same", special_tokens="error") == (1, 0)


def test_too_many_lost_ends_are_an_error_with_the_length_that_holds_nine_of_ten():
    kinds = ["long"] * 6 + ["fine"] * 4  # pairs of 4 tokens, and of 104 to 109
    assert check(*kinds, max_truncated=0.6) == (0, 0)
    with pytest.raises(UserError) as caught:
        check(*kinds, max_truncated=0.5)
    assert "12 of 20 completions (60%) lose their end at dpo.max_length=96, and dpo.max_truncated=0.5" in str(
        caught.value
    )
    # 18 of the 20 have at most 108 tokens
    assert "dpo.max_length=108 holds 90 % of them whole; dpo.max_truncated=0.6 trains" in caught.value.hint


def test_lost_ends_of_an_older_artifact_are_refused_too():
    check_ends({"needed": 4, "completions_truncated": 2}, 96, 0.5)
    check_ends({}, 96, 0.0)
    with pytest.raises(UserError, match=r"3 of 4 completions \(75%\)(.|\n)*raise dpo\.max_length"):
        check_ends({"needed": 4, "completions_truncated": 3}, 96, 0.5)


def wanted(*rows):
    names = ["prompt_id", "row", "completion", "use", "instruction", "principle", "system_prompt", "response"]
    return pl.DataFrame(rows, schema=names, orient="row")


def test_lengths_marks_and_hidden_system_turns_are_found_where_tokens_are_made(tiny_model_folder, tmp_path):
    table = wanted(
        ("a", 0, 0, "train", "Why?", "conversation", "Be kind.", "So." + " and so on" * 20),
        ("a", 0, 1, "train", "Why?", "conversation", "Be kind.", "So.<|im_end|>"),
        ("b", 1, 0, "train", "Why <|im_start|>?", "", "helpfulness <|im_end|>", "So."),
        ("c", 2, 0, "train", "Why not?", "", "a principle, which is no turn: <|im_end|>", "So."),
    )
    shown = tokenise(table, SETTINGS, tiny_model_folder)
    assert shown.marked == [False, True, True, False]
    assert (shown.system_turns_hidden, shown.completions_truncated) == (0, 1)
    assert shown.lengths[0] > 96
    assert [len(item.prompt_ids) + len(item.completion_ids) for item in shown.encoded] == [96, *shown.lengths[1:]]
    folder = tmp_path / "hides"
    folder.mkdir()
    for path in tiny_model_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text(HIDES)
    assert tokenise(table, SETTINGS, folder).system_turns_hidden == 1, "one prompt, whatever its completions"


def test_a_part_of_the_completions_keeps_what_belongs_to_each():
    tokenised, pairs = pairs_of("long", "marked", "fine")
    part = tokenised.only(pairs.tail(2).select("prompt_id", "row", completion=pl.col("rejected_completion")))
    assert [row[:3] for row in part.rows] == [("p1", 1, 1), ("p2", 2, 1)]
    assert (part.lengths, part.marked, len(part.encoded)) == ([4, 4], [True, False], 2)
