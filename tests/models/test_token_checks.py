"""Pairs of the same tokens, marks of the model's own, lost ends: counted, and refused before anything is computed."""

from __future__ import annotations

import polars as pl
import pytest

from notus_exp.config.curation_settings import Split
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
    """One prompt each: "same", "cut" (to the same), "marked", "long" or "fine"; the last one is for validation."""
    tokenised = Tokenised([], [], [], [], [], 0, 0, 0, 0)
    for number, kind in enumerate(kinds):
        for side in (0, 1):
            ids = [7, 7 if kind in ("same", "cut") else 7 + side]
            tokenised.rows.append((f"p{number}", number, side, "train"))
            tokenised.encoded.append(Encoded([1, 2], ids))
            tokenised.lengths.append(4 + (100 + number if kind in ("long", "cut") else 0))
            tokenised.altered.append(False)
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


def check(*kinds, reads=None, **requirements):
    return check_pairs(*pairs_of(*kinds), SETTINGS, Requirements(**requirements), reads)


def test_what_is_wrong_with_pairs_is_counted_over_training_and_validation():
    assert check("fine", "same", "marked", "fine", "marked") == (1, 0, 2)
    assert check("fine", "same", "cut", "fine") == (2, 1, 0)
    assert check("fine", "fine") == (0, 0, 0)


@pytest.mark.parametrize(
    ("kinds", "said", "remedy"),
    [
        (
            ["same", "same", "fine"],
            "none of 2 training pairs is left: 2 have two sides of the same tokens",
            "nothing of 2 was cut: their sides differ in no more than white space, or what the chat template",
        ),
        (
            ["cut", "cut", "fine"],
            "2 have two sides of the same tokens",
            "where sides differ late, raise dpo.max_length",
        ),
        (
            ["cut", "same", "fine"],
            "2 have two sides of the same tokens",
            "1 of 2 were cut: where sides differ late, raise dpo.max_length; nothing of 1 was cut",
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
    assert ("raise dpo.max_length" in caught.value.hint) == ("cut" in kinds)


def test_marks_may_be_kept_or_be_an_error():
    assert check("marked", "fine", special_tokens="keep") == (0, 0, 1)
    with pytest.raises(UserError, match=r"1 pair holds a mark(.|\n)*special_tokens=drop leaves them out"):
        check("marked", "fine", special_tokens="error")
    assert check("fine", "same", special_tokens="error") == (1, 0, 0)


def test_too_many_lost_ends_are_an_error_with_the_length_that_holds_nine_of_ten():
    kinds = ["long"] * 6 + ["fine"] * 4  # pairs of 4 tokens, and of 104 to 109
    assert check(*kinds, max_truncated=0.6) == (0, 0, 0)
    with pytest.raises(UserError) as caught:
        check(*kinds, max_truncated=0.5)
    assert "12 of 20 completions (60%) lose their end at dpo.max_length=96, and dpo.max_truncated=0.5" in str(
        caught.value
    )
    # 18 of the 20 have at most 108 tokens
    assert "dpo.max_length=108 holds 90 % of them whole; dpo.max_truncated=0.6 trains" in caught.value.hint


def test_no_length_is_named_that_the_model_does_not_read():
    kinds = ["long"] * 6 + ["fine"] * 4
    with pytest.raises(UserError, match=r"dpo\.max_length=108 holds 90 %"):
        check(*kinds, max_truncated=0.5, reads=108)
    for reads in (107, 96):  # 96 is dpo.max_length
        with pytest.raises(UserError) as caught:
            check(*kinds, max_truncated=0.5, reads=reads)
        assert (
            f"dpo.max_length={reads} is the most that the model reads, and 90 % of them need 108" in caught.value.hint
        )
        assert "dpo.max_length=108" not in str(caught.value)
    with pytest.raises(UserError, match=r"dpo\.max_length=96 is the most that the model reads: choose"):
        check_ends({"needed": 4, "completions_truncated": 3}, 96, 0.5, 96)


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
    assert (shown.system_turns_hidden, shown.truncated) == (0, [True, False, False, False])
    assert (shown.prompts_altered, shown.altered) == (0, [False] * 4)
    assert shown.lengths[0] > 96
    assert [len(item.prompt_ids) + len(item.completion_ids) for item in shown.encoded] == [96, *shown.lengths[1:]]
    folder = tmp_path / "hides"
    folder.mkdir()
    for path in tiny_model_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text(HIDES)
    hidden = tokenise(table, SETTINGS, folder)
    assert hidden.system_turns_hidden == 1, "one prompt, whatever its completions"
    assert hidden.prompts_altered == 0, "it is counted once"


BODY = "{% for m in messages %}[{{ m.role }}]TEXT</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
ALTERS = {
    "an answer's thoughts": ("(m.content.split('</think>') | last)", 0, [True, False, False, False]),
    "what follows 10 characters": (
        "(m.content if m.role != 'user' else m.content[:10])", 1, [False, False, False, False]
    ),
    "the end of a system turn": ("(m.content if m.role != 'system' else m.content[:4])", 1, [False] * 4),
    "white space at the ends": ("m.content | trim", 0, [False] * 4),
    "answers": ("(m.content if m.role != 'assistant' else '')", 0, [True] * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERS)
def test_texts_that_a_template_does_not_write_as_they_are_are_counted(name, tiny_model_folder, tmp_path):
    table = wanted(
        ("a", 0, 0, "train", "Why?", "conversation", "Be kind.", "<think>Wh</think>So."),
        ("b", 1, 0, "train", "Why not this way?", "", "", " this way \n"),
        ("b", 1, 1, "train", "Why not this way?", "", "", "[assistant]"),
        ("c", 2, 0, "train", "  A word ", "", "", "word"),
    )
    folder = tmp_path / "alters"
    folder.mkdir()
    for path in tiny_model_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    expression, prompts, completions = ALTERS[name]
    (folder / "chat_template.jinja").write_text(BODY.replace("TEXT", f"{{{{ {expression} }}}}"))
    found = tokenise(table, SETTINGS, folder)
    assert (found.system_turns_hidden, found.prompts_altered, found.altered) == (0, prompts, completions)


def test_a_part_of_the_completions_keeps_what_belongs_to_each():
    tokenised, pairs = pairs_of("long", "marked", "fine")
    part = tokenised.only(pairs.tail(2).select("prompt_id", "row", completion=pl.col("rejected_completion")))
    assert [row[:3] for row in part.rows] == [("p1", 1, 1), ("p2", 2, 1)]
    assert (part.lengths, part.marked, len(part.encoded)) == ([4, 4], [True, False], 2)
