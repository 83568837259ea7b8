from notus_exp.run.token_notes import token_notes
from notus_exp.run.training_notes import training_notes


def test_an_arm_without_rejected_responses_says_so_once_it_is_trained():
    config = {"dpo": {"loss_type": ["sft"]}}
    [note] = training_notes({"policy": {}}, config)
    assert note.startswith("dpo.loss_type=[sft] trained on the chosen responses alone")
    assert training_notes({"pairs": {}}, config) == []
    assert training_notes({"policy": {}}, {"dpo": {"loss_type": ["sigmoid", "sft"]}}) == []


def test_without_a_reference_the_tokens_notes_are_those_of_the_training():
    [note] = token_notes({"policy": {"prompts_too_long": 3}}, {"dpo": {"max_length": 64}})
    assert note.startswith("3 prompts have more than 64 tokens and were left out of training")


def test_an_algorithm_other_than_dpo_says_what_it_reads():
    [kto] = training_notes({"policy": {}}, {"dpo": {"loss_type": [], "algorithm": "kto"}})
    assert "each pair as a desirable and an undesirable response" in kto
    [simpo] = training_notes({"policy": {}}, {"dpo": {"loss_type": [], "algorithm": "simpo"}})
    assert simpo.startswith("dpo.algorithm=simpo trained without a reference; the training's own rewards")


def test_weights_of_pairs_are_told_with_what_they_leave():
    facts = {"policy": {"effective_pairs": 40.25, "pairs_trained": 64}}
    [note] = training_notes(facts, {"dpo": {"loss_type": ["sigmoid"]}})
    assert note.startswith("the training's 64 pairs are weighed, which leaves as much as 40.25 of equal weight")


def test_dropout_of_several_processes_is_called_another_draw():
    config = {"dpo": {"loss_type": ["sigmoid"], "lora": {"r": 8, "dropout": 0.1}}}
    [note] = training_notes({"policy": {"throughput": {"processes": 2}}}, config)
    assert note.startswith("the adapter's dropout was drawn by each of 2 processes")
    assert training_notes({"policy": {"throughput": {"processes": 1}}}, config) == []
    config["dpo"]["lora"]["dropout"] = 0.0
    assert training_notes({"policy": {"throughput": {"processes": 2}}}, config) == []
