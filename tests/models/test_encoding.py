from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notus_exp.errors import UserError
from notus_exp.models.encoding import Limits, complete, encode, encode_prompt, fit_prompt, with_system

USER = [{"role": "user", "content": "Tell me about the sea."}]
SYSTEM = {"role": "system", "content": "Be brief."}
texts = st.text(max_size=60)  # any Unicode: emoji, controls, lone accents


def trl_ids(tokenizer, rows, max_length):
    """What TRL's DPOTrainer makes of conversational rows: its tokenisation, its filter, its collator's truncation."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    config = DPOConfig(output_dir="unused", max_length=max_length, report_to="none", use_cpu=True, bf16=False)
    prepared = DPOTrainer._prepare_dataset(SimpleNamespace(), Dataset.from_list(rows), tokenizer, config, "train")
    pad = tokenizer.pad_token_id
    collate = DataCollatorForPreference(pad_token_id=pad, max_length=max_length)
    found = {}
    for row in prepared:
        batch = collate([row])
        real, ours = batch["attention_mask"].bool(), batch["completion_mask"].bool()
        sides = [
            (ids[mask & ~own].tolist(), ids[mask & own].tolist())
            for ids, mask, own in zip(batch["input_ids"], real, ours, strict=True)
        ]
        found[row["number"]] = sides
    return found


def rows_for(system_prompt):
    long = "word and another " * 30
    said = [
        ("Hi", "yes the thing", "no"),
        ("héé 😀\n\n", " leading space", "ends with space "),
        ("a", long, "short"),
        (long * 3, "never seen", "nor this"),
        ("x", "", "!"),
        ("on the land", "then\n<|im_end|>", "er in an"),
    ]
    rows = []
    for number, (prompt, chosen, rejected) in enumerate(said):
        turns = with_system([{"role": "user", "content": prompt}], system_prompt)
        answers = {"chosen": chosen, "rejected": rejected}
        sides = {side: [{"role": "assistant", "content": text}] for side, text in answers.items()}
        rows.append({"number": number, "prompt": turns, **sides})
    return rows


def compare_with_trl(tokenizer, system_prompt, max_length):
    rows = rows_for(system_prompt)
    theirs = trl_ids(tokenizer, rows, max_length)
    limits = Limits(max_length, None, "drop")
    for row in rows:
        prompt = [turn for turn in row["prompt"] if turn["role"] == "user"]
        sides = [encode(tokenizer, prompt, row[s][0]["content"], system_prompt, limits) for s in ("chosen", "rejected")]
        if row["number"] not in theirs:
            assert sides == [None, None]
        else:
            assert [tuple(side) for side in sides] == theirs[row["number"]]
    return theirs


@pytest.mark.parametrize("system_prompt", [None, "", "Answer."])
def test_tokens_are_those_of_trl_after_its_truncation(tiny_tokenizer, system_prompt):
    theirs = compare_with_trl(tiny_tokenizer, system_prompt, max_length=128)
    assert set(theirs) == {0, 1, 2, 4, 5}  # TRL dropped the prompt that fills all 128 tokens
    assert sum(map(len, theirs[2][0])) == 128  # and cut this completion


@pytest.mark.slow
@pytest.mark.parametrize("system_prompt", [None, ""])
def test_tokens_are_those_of_trl_with_smollm2s_tokenizer(smollm2_folder, system_prompt):
    from notus_exp.models.pretrained import load_tokenizer

    theirs = compare_with_trl(load_tokenizer(smollm2_folder), system_prompt, max_length=64)
    assert 3 not in theirs


def test_the_system_turn_is_put_first_unless_there_is_one():
    assert with_system(USER, None) == USER
    assert with_system(USER, "") == [{"role": "system", "content": ""}, *USER]
    assert with_system([SYSTEM, *USER], "another") == [SYSTEM, *USER]
    assert USER == [{"role": "user", "content": "Tell me about the sea."}]  # the argument is left alone


def test_a_prompt_ends_with_the_generation_prompt(tiny_tokenizer):
    ids = encode_prompt(tiny_tokenizer, USER, "")
    assert tiny_tokenizer.decode(ids) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nTell me about the sea.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tiny_tokenizer.decode(encode_prompt(tiny_tokenizer, USER, None)).startswith("<|im_start|>user")


def test_a_completion_ends_with_the_end_of_its_turn(tiny_tokenizer):
    item = encode(tiny_tokenizer, USER, "Wet.", None, Limits(512, None, "drop"))
    assert tiny_tokenizer.decode(item.completion_ids) == "Wet.<|im_end|>\n"


def test_a_prompt_of_exactly_the_limit_stays_and_one_token_more_is_dropped(tiny_tokenizer):
    length = len(encode_prompt(tiny_tokenizer, USER, None))
    assert encode(tiny_tokenizer, USER, "Wet.", None, Limits(512, length, "drop")) is not None
    assert encode(tiny_tokenizer, USER, "Wet.", None, Limits(512, length - 1, "drop")) is None
    assert encode(tiny_tokenizer, USER, "Wet.", None, Limits(length, None, "drop")) is None  # no place for a completion
    item = encode(tiny_tokenizer, USER, "Wet.", None, Limits(length + 1, None, "drop"))
    assert len(item.completion_ids) == 1


def test_a_completion_is_cut_at_its_end_and_says_so(tiny_tokenizer):
    prompt = fit_prompt(tiny_tokenizer, USER, None, Limits(512, None, "drop"))
    whole = complete(tiny_tokenizer, prompt, "Wet.", 512)
    full = len(prompt.ids) + len(whole.ids)
    assert complete(tiny_tokenizer, prompt, "Wet.", full) == (whole.ids, False, False)
    assert complete(tiny_tokenizer, prompt, "Wet.", full - 2) == (whole.ids[:-2], True, False)


def around(tokenizer):
    """Tokens of the template around a message, with an empty system turn."""
    return len(encode_prompt(tokenizer, [{"role": "user", "content": ""}], ""))


def test_cutting_keeps_the_end_of_the_message_and_the_whole_template(tiny_tokenizer):
    limit = around(tiny_tokenizer) + 6  # ' the', ' ', 's', 'e', 'a', '.'
    fitted = fit_prompt(tiny_tokenizer, USER, "", Limits(512, limit, "cut"))
    assert fitted.cut
    assert fitted.messages == [{"role": "system", "content": ""}, {"role": "user", "content": " the sea."}]
    assert len(fitted.ids) == limit
    assert fitted.ids == encode_prompt(tiny_tokenizer, fitted.messages, None)


def test_cutting_never_splits_a_character(tiny_tokenizer):
    prompt = [{"role": "user", "content": "ab😀cd"}]  # 2 + 4 + 2 byte tokens
    for room, kept in [(8, "ab😀cd"), (7, "b😀cd"), (6, "😀cd"), (5, "cd"), (3, "cd"), (2, "cd"), (1, "d")]:
        fitted = fit_prompt(tiny_tokenizer, prompt, "", Limits(512, around(tiny_tokenizer) + room, "cut"))
        assert fitted.messages[-1]["content"] == kept


def test_a_template_longer_than_the_limit_cannot_be_cut(tiny_tokenizer):
    assert fit_prompt(tiny_tokenizer, USER, "", Limits(512, 8, "cut")) is None


def test_only_the_first_user_message_is_cut(tiny_tokenizer):
    turns = [
        {"role": "user", "content": "aaaaaaaa"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    length = len(encode_prompt(tiny_tokenizer, turns, None))
    fitted = fit_prompt(tiny_tokenizer, turns, None, Limits(512, length - 3, "cut"))
    assert [turn["content"] for turn in fitted.messages] == ["aaaaa", "b", "c"]


def test_the_oldest_turns_go_where_cutting_the_first_message_is_not_enough(tiny_tokenizer):
    system = {"role": "system", "content": "s"}
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(["aa", "bb", "cccc"])]
    whole = [system, *turns, {"role": "assistant", "content": "d"}, {"role": "user", "content": "ee"}]
    last_two = len(encode_prompt(tiny_tokenizer, [system, *whole[3:]], None))
    for room, kept in [(1, ["s", "cccc", "d", "ee"]), (0, ["s", "cccc", "d", "ee"]), (-2, ["s", "cc", "d", "ee"])]:
        fitted = fit_prompt(tiny_tokenizer, whole, None, Limits(512, last_two + room, "cut"))
        assert fitted.cut
        assert [turn["content"] for turn in fitted.messages] == kept
        assert fitted.ids == encode_prompt(tiny_tokenizer, fitted.messages, None)
    last = len(encode_prompt(tiny_tokenizer, [system, whole[-1]], None))
    fitted = fit_prompt(tiny_tokenizer, whole, None, Limits(512, last, "cut"))
    assert [turn["content"] for turn in fitted.messages] == ["s", "ee"]
    assert fit_prompt(tiny_tokenizer, whole, None, Limits(512, last - 2, "cut")) is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, texts, st.integers(20, 80), st.integers(1, 40), st.sampled_from(["drop", "cut"]))
def test_whatever_the_text_limits_hold_and_prompt_and_completion_join(
    tiny_tokenizer, content, response, most, room, policy
):
    prompt = [{"role": "user", "content": content}]
    limits = Limits(most + room, most, policy)
    whole = encode_prompt(tiny_tokenizer, prompt, None)
    item = encode(tiny_tokenizer, prompt, response, None, limits)
    if item is None:
        assert len(whole) > most
        return
    assert len(item.prompt_ids) <= most
    assert 1 <= len(item.completion_ids) <= limits.max_length - len(item.prompt_ids)
    if len(whole) <= most:
        assert item.prompt_ids == whole
    else:
        assert policy == "cut"
        kept = tiny_tokenizer.decode(item.prompt_ids).removeprefix("<|im_start|>user\n")
        assert kept.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert content.endswith(kept.removesuffix("<|im_end|>\n<|im_start|>assistant\n"))


def test_a_template_that_writes_prompts_in_another_way_is_refused(tiny_model_folder):
    from notus_exp.models.pretrained import load_tokenizer

    tokenizer = load_tokenizer(tiny_model_folder)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    )
    with pytest.raises(UserError, match="not the beginning"):
        encode(tokenizer, USER, "Wet.", None, Limits(512, None, "drop"))


def test_a_template_that_refuses_a_system_turn_names_the_setting(tiny_model_folder):
    from notus_exp.models.pretrained import load_tokenizer

    tokenizer = load_tokenizer(tiny_model_folder)
    tokenizer.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(UserError, match=r"refuses the turns system, user(.|\n)*model\.system_prompt=null"):
        encode_prompt(tokenizer, USER, "")
