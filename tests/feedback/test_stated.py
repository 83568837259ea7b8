"""The constraints of simulated prompts are read back from their words."""

from __future__ import annotations

from notus_exp.feedback.simulated import constraint_prompts
from notus_exp.feedback.simulated.constraints import to_json
from notus_exp.feedback.simulated.draws import WORLD, Draws
from notus_exp.feedback.simulated.prompts import KINDS, WORDINGS, first_kind, make_prompt
from notus_exp.feedback.simulated.stated import stated_constraints


def test_every_prompt_of_the_world_is_read_as_it_was_made() -> None:
    kinds = set()
    for index in range(600):
        prompt = make_prompt(Draws(WORLD, 0, index, 7), first_kind(7, WORLD, index), 1, 3)
        kinds |= {one.kind for one in prompt.constraints}
        by_kind = {one.kind: to_json([one]) for one in prompt.constraints}
        assert {one.kind: to_json([one]) for one in stated_constraints(prompt.instruction)} == by_kind
    assert kinds == set(KINDS) == set(WORDINGS)


def test_unseen_prompts_are_read_behind_a_system_turn_and_in_a_conversation() -> None:
    for prompt in constraint_prompts(30, 3, ()):
        wanted = {to_json([one]) for one in prompt.constraints}
        for before in ("Be honest.\n\n", "User: Hello\n\nAssistant: Hi\n\nUser: "):
            text = before + prompt.instruction
            assert {to_json([one]) for one in stated_constraints(text)} == wanted


def test_other_texts_state_nothing() -> None:
    assert stated_constraints("Write a poem about the sea, with two stanzas and no rhyme.") == []
