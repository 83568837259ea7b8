"""Answers that repeat their prompt, and transcripts: stripped where it is exactly the prompt, else set aside."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.disk.folding import folded
from notus_exp.feedback.repeats import REPEATED_PROMPT, TRANSCRIPT, AnswerAlone, answer_alone

ASK = "Tell me one thing about tea."
SAID = "Tea is old.\n\nAnd good."


@pytest.mark.parametrize(
    "answer",
    [
        f"{ASK}\n{SAID}",
        f"{ASK}\n\n  \n{SAID}",
        f"\n{ASK} {SAID}",  # in the same line: the prompt ends a sentence
        f"{ASK}{SAID}",
    ],
)
def test_an_answer_that_repeats_its_prompt_is_what_follows(answer: str) -> None:
    assert answer_alone(ASK, answer) == AnswerAlone(SAID, stripped=REPEATED_PROMPT)
    assert answer_alone(f" {ASK}\n", answer) == AnswerAlone(SAID, stripped=REPEATED_PROMPT)


def test_a_prompt_without_an_end_is_repeated_in_the_same_line_where_its_sentence_does_not_go_on() -> None:
    asked = ASK.rstrip(".")
    assert answer_alone(asked, f"{asked} {SAID}") == AnswerAlone(SAID, stripped=REPEATED_PROMPT)
    assert answer_alone(asked, f"{asked}  {SAID}") == AnswerAlone(SAID, stripped=REPEATED_PROMPT)
    assert answer_alone(asked, f"{asked} 1. Tea.") == AnswerAlone("1. Tea.", stripped=REPEATED_PROMPT)
    assert (
        answer_alone("告诉我一件关于茶的事情吧这是一个很好的问题", "告诉我一件关于茶的事情吧这是一个很好的问题 茶").text
        == "茶"
    )
    assert answer_alone("What is 3 and 4 =", "What is 3 and 4 =7").text == "7"
    for goes_on in (f"{asked} is a good prompt.", f"{asked}S.", f"{asked}, and coffee."):
        assert answer_alone(asked, goes_on) == AnswerAlone(goes_on)


def test_the_indentation_of_the_answers_first_line_stays() -> None:
    assert answer_alone(ASK, f"{ASK}\n\n    x = 1\n    y = 2").text == "    x = 1\n    y = 2"


def test_an_answer_that_is_nothing_but_its_prompt_is_empty() -> None:
    assert answer_alone(ASK, f"{ASK}\n") == AnswerAlone("", stripped=REPEATED_PROMPT)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (ASK, SAID),
        ("Hi", "Hi there"),
        ("Hello!", "Hello! How can I help?"),
        ("The quick brown fox and the", "The quick brown fox and the lazy dog"),  # continued, not repeated
        ("Count to three in one line", "Count to three in one liner"),
        ("Is it true?", "Is it true??"),
        (ASK, f"You asked: {ASK}\n{SAID}"),
        ("Write a dialogue of two users and an assistant.", "User: hi\nAssistant: hello"),
        (ASK, "User: a word that means a person."),  # one side alone
        (ASK, "Q: What is old?\nA: Tea."),  # a riddle
        (ASK, "Question: What is old? Answer: Tea."),
        (ASK, f"Q: {ASK}"),
        ("What does a user see?", "User: what is shown. System: what is hidden. Assistant: another."),
        (ASK, "Tea.\nUser: and coffee?\nAssistant: Coffee."),  # begins with an answer
        (ASK, ""),
    ],
)
def test_an_answer_that_only_looks_like_it_stays_as_it_is(prompt: str, answer: str) -> None:
    assert answer_alone(prompt, answer) == AnswerAlone(answer)


@pytest.mark.parametrize(
    "answer",
    [
        f"\n\nHuman: {ASK}\n\nAssistant: {SAID}",
        f"USER: {ASK}\nASSISTANT: {SAID}",
        f"Human: {ASK} Assistant: {SAID}",
        f"Q: {ASK}\nA: {SAID}",
        f"Question: {ASK}\n\nAnswer: {SAID}",
        f"Q: {ASK} A: {SAID}",
        f"### Human: {ASK}### Assistant: {SAID}",
        f"### Instruction:\n{ASK}\n\n### Response:\n{SAID}",
        f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{SAID}<|im_end|>\n",
        f"<|user|>\n{ASK}</s>\n<|assistant|>\n{SAID}</s>",
        f"<s>[INST] {ASK} [/INST] {SAID}</s>",
        f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{ASK}<|eot_id|>"
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{SAID}<|eot_id|>",
        f"<bos><start_of_turn>user\n{ASK}<end_of_turn>\n<start_of_turn>model\n{SAID}<end_of_turn>\n",
    ],
)
def test_a_transcript_of_exactly_its_prompt_is_its_answer(answer: str) -> None:
    assert answer_alone(ASK, answer) == AnswerAlone(SAID, stripped=TRANSCRIPT)


@pytest.mark.parametrize(
    "answer",
    [
        f"Human: Something else.\n\nAssistant: {SAID}",
        f"Human: Something else. Assistant: {SAID}",
        f"Human: {ASK} Assistant: {SAID} Human: And coffee?",
        f"Q: {ASK}\nA: {SAID}\nQ: And coffee?\nA: Coffee.",
        f"Q: {ASK.replace(' ', '  ')}\nA: {SAID}",
        f"Human: {ASK}\n\nAssistant: {SAID}\n\nHuman: And coffee?\n\nAssistant: Coffee.",
        f"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{SAID}",
        f"{ASK}\n\nAssistant: {SAID}",
    ],
)
def test_any_other_transcript_is_set_aside_by_its_rule(answer: str) -> None:
    found = answer_alone(ASK, answer)
    assert (found.text, found.stripped, found.rule) == (answer, "", TRANSCRIPT)
    assert found.reason


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (ASK, f"Tell me  one thing\nabout tea.\n{SAID}"),
        ("Où est le café à côté ?", f"{unicodedata.normalize('NFD', 'Où est le café à côté ?')}\n{SAID}"),
    ],
)
def test_a_prompt_repeated_in_other_characters_is_set_aside_by_its_rule(prompt: str, answer: str) -> None:
    found = answer_alone(prompt, answer)
    assert (found.text, found.stripped, found.rule) == (answer, "", REPEATED_PROMPT)


def test_a_prompt_that_names_a_speaker_is_no_excuse_for_a_transcript_of_it() -> None:
    asked = "As a user, what does an assistant do?"
    for answer in (f"User: {asked}\nAssistant: {SAID}", f"User: {asked} Assistant: {SAID}"):
        assert answer_alone(asked, answer) == AnswerAlone(SAID, stripped=TRANSCRIPT)


def test_a_prompt_with_marks_of_its_own_is_stripped_as_any_other() -> None:
    asked = f"\n\nHuman: {ASK}\n\nAssistant:"
    assert answer_alone(asked, f"{asked} {SAID}") == AnswerAlone(SAID, stripped=REPEATED_PROMPT)


@given(st.text(), st.text())
def test_any_texts_are_read_and_what_is_stripped_is_an_end_of_the_answer(prompt: str, answer: str) -> None:
    if not prompt.strip():
        return
    found = answer_alone(prompt, answer)
    assert found.text in answer
    assert not (found.stripped and found.reason)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(f"\n {unicodedata.normalize('NFD', text)}\t") == folded(text)
