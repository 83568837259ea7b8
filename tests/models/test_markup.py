from copy import deepcopy

import polars as pl
import pytest

from notus_exp.models.markup import hold_marks, marks

PLAIN = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"


def test_marks_are_special_tokens_and_what_a_template_writes_between_question_and_answer(tiny_tokenizer):
    found = marks(tiny_tokenizer, None)
    assert set(found) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|>\n<|im_start|>assistant\n"}
    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.chat_template = PLAIN
    assert "\n\n### assistant:\n" in marks(tokenizer, None)
    tokenizer.chat_template = "{{ messages | map(attribute='content') | join('\n') }}"
    assert set(marks(tokenizer, None)) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, "a line end is no mark"


@pytest.mark.parametrize("side", ["prompt", "chosen", "rejected"])
def test_a_pair_holds_a_mark_where_one_of_its_texts_does(side):
    texts = {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", "content": "So."}],
        "rejected": [{"role": "assistant", "content": "No <b>idea</b>."}],
    }
    other = deepcopy(texts)
    other[side][-1]["content"] += " or </s> so"
    pairs = pl.DataFrame([texts, other])
    assert hold_marks(pairs, ["</s>", "<s>"]).to_list() == [False, True]
    assert hold_marks(pairs, ["."]).to_list() == [True, True], "a mark is a text, not a pattern"
    assert hold_marks(pairs, ["W.y"]).to_list() == [False, False]
    assert hold_marks(pairs, []).to_list() == [False, False]
