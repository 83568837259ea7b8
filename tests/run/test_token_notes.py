"""What a run's counts say about its tokens, in words."""

from notus_exp.run.token_notes import token_notes

CONFIG = {"dpo": {"max_length": 256, "max_prompt_length": None, "special_tokens": "drop"}}


def test_nothing_is_noted_where_nothing_was_lost():
    facts = {"reference": {"needed": 8, "completions_truncated": 0, "prompts_too_long": 0}, "policy": {}}
    assert token_notes(facts, CONFIG) == []
    assert token_notes({}, CONFIG) == []


def test_lost_ends_are_noted_beside_prompts_that_are_too_long():
    facts = {
        "reference": {"needed": 8, "completions_truncated": 3, "prompts_too_long": 2, "holding_length": 300},
        "reference_scored": {"needed": 4, "completions_truncated": 1, "prompts_too_long": 0},
    }
    notes = token_notes(facts, CONFIG)
    assert notes[0].startswith("2 prompts have more than 256 tokens and were left out of training")
    assert notes[1] == (
        "3 of 8 completions (38%) lose their end in training at dpo.max_length=256; "
        "dpo.max_length=300 holds 90 % of them whole"
    )
    assert notes[2] == "1 of 4 completions (25%) lose their end in scoring at dpo.max_length=256"


def test_a_length_that_the_model_does_not_read_is_not_recommended():
    facts = {"reference": {"needed": 8, "completions_truncated": 3, "holding_length": 3418, "model_length": 2048}}
    [note] = token_notes(facts, CONFIG)
    assert note.endswith("; 90 % of them need 3418, more than the 2048 that the model reads")


def test_texts_that_the_template_does_not_write_are_noted_with_their_count():
    facts = {
        "reference": {"needed": 24, "prompts_altered": 2, "completions_altered": 12},
        "reference_scored": {"needed": 8, "completions_altered": 0},
    }
    prompts, completions = token_notes(facts, CONFIG)
    assert prompts.startswith("the chat template does not write 2 prompts as they are: it leaves out or changes a part")
    assert completions.startswith("the chat template does not write 12 of 24 completions as they are")
    assert "in training the model reads what is left" in completions


def test_prompts_that_lost_their_beginning_are_noted():
    config = {"dpo": {**CONFIG["dpo"], "max_prompt_length": 64}}
    [note] = token_notes({"reference": {"prompts_cut": 3}}, config)
    assert note == "3 prompts have more than 64 tokens and lost their beginning in training"


def test_pairs_that_were_left_out_are_counted_over_both_splits():
    facts = {"policy": {"pairs_same_tokens": 2, "validation_pairs_same_tokens": 1, "pairs_with_special_tokens": 4}}
    same, marked = token_notes(facts, CONFIG)
    assert same == "3 pairs have two sides of the same tokens and were left out of training"
    assert marked.startswith("4 pairs hold a mark of the model's own")
    assert "were left out of training (dpo.special_tokens=drop)" in marked
    kept = {"dpo": {**CONFIG["dpo"], "special_tokens": "keep"}}
    assert "were kept" in token_notes(facts, kept)[1]
    with_cuts = {**facts, "reference": {"pairs_same_cut": 1}}
    assert token_notes(with_cuts, CONFIG)[0] == (
        "3 pairs have two sides of the same tokens (1 of them after dpo.max_length cut a side) "
        "and were left out of training"
    )


def test_one_is_told_as_one():
    facts = {
        "reference": {"prompts_too_long": 1, "prompts_cut": 1, "system_turns_hidden": 1, "prompts_altered": 1},
        "policy": {"pairs_same_tokens": 1, "pairs_with_special_tokens": 1},
    }
    begins = [
        "1 prompt has more than 256 tokens and was left out of training",
        "1 prompt has more than 256 tokens and lost its beginning in training",
        "1 prompt begins with a system turn",
        "the chat template does not write 1 prompt as it is: it leaves out",
        "1 pair has two sides of the same tokens and was left out of training",
        "1 pair holds a mark of the model's own in a text, such as its end token, and was left out of training",
    ]
    notes = token_notes(facts, CONFIG)
    assert len(notes) == len(begins)
    for note, begin in zip(notes, begins, strict=True):
        assert note.startswith(begin)


def test_before_the_training_the_counts_are_those_of_its_tokens():
    facts = {"reference": {"pairs_same_tokens": 1}, "reference_scored": {"texts_with_special_tokens": 2}}
    assert [note.split()[0] for note in token_notes(facts, CONFIG)] == ["2", "1"]


def test_a_hidden_system_turn_of_the_data_is_never_blamed_on_the_config():
    [note] = token_notes({"reference": {"system_turns_hidden": 5}}, CONFIG)
    assert note.startswith("5 prompts begin with a system turn of the data that the chat template does not show")
    assert "system_prompt=null" not in note
