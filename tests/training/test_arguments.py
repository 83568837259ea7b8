"""The trainer's arguments: every setting of a recipe reaches them, and what would do nothing is refused."""

from dataclasses import fields, replace
from importlib.util import find_spec

import pytest
from trl import DPOConfig, KTOConfig

from notus_exp.config.algorithms import READ_BY, needs_reference
from notus_exp.config.bitsandbytes_checks import check_bitsandbytes
from notus_exp.config.dpo_checks import check_dpo
from notus_exp.config.training_settings import (
    ALGORITHMS,
    BNB_OPTIMIZERS,
    DPO,
    LOSSES,
    SMOOTHED_LOSSES,
    LongPrompts,
    Lora,
    MasterWeights,
    Precision,
)
from notus_exp.errors import UserError
from notus_exp.training.arguments import dpo_arguments, lora_config, plan_steps, trainer_config
from notus_exp.training.zero import leaving_nothing
from support.recipes import LORA, machine, recipe


def arguments(dpo_recipe, hardware=None, out="out", **changes):
    given_ = {"train_pairs": 100, "validation_pairs": 10, "seed": 1, "use_cpu": True, **changes}
    return dpo_arguments(dpo_recipe, hardware or machine(), out=out, **given_)


OTHER = {  # another value of every setting that the trainer reads, and what must become of it
    "beta": (0.3, {"beta": 0.3}),
    "loss_type": (["ipo"], {"loss_type": ["ipo"]}),
    "loss_weights": ([2.0], {"loss_weights": [2.0]}),
    "label_smoothing": (0.2, {"label_smoothing": 0.2}),
    "f_divergence_type": ("js_divergence", {"f_divergence_type": "js_divergence"}),
    "f_alpha_divergence_coef": (0.25, {"f_alpha_divergence_coef": 0.25}),
    "ld_alpha": (0.3, {"ld_alpha": 0.3}),
    "discopop_tau": (0.1, {"discopop_tau": 0.1}),
    "use_weighting": (True, {"use_weighting": True}),
    "learning_rate": (5e-5, {"learning_rate": 5e-5}),
    "lr_scheduler": ("cosine", {"lr_scheduler_type": "cosine"}),
    "warmup": (0.1, {"warmup_steps": 3}),
    "optimizer": ("rmsprop", {"optim": "rmsprop"}),
    "weight_decay": (0.01, {"weight_decay": 0.01}),
    "max_grad_norm": (0.5, {"max_grad_norm": 0.5}),
    "epochs": (2.0, {"num_train_epochs": 2.0, "eval_steps": 50, "save_steps": 50}),
    "max_steps": (7, {"max_steps": 7, "eval_steps": 7, "save_steps": 7}),
    "global_batch_size": (8, {"gradient_accumulation_steps": 2, "eval_steps": 13, "save_steps": 13}),
    "precision": (Precision.bfloat16, {"bf16": True}),
    "master_weights": (MasterWeights.same, {}),  # without bf16: see below
    "batching": ("length", {"train_sampling_strategy": "group_by_length"}),
    "max_length": (128, {"max_length": 128}),
    "evaluations": (5, {"eval_steps": 5}),
    "checkpoints": (5, {"save_steps": 5}),
}
# What the reference stage, lora_config and the choice of pairs read.
ELSEWHERE = {
    "algorithm", "kto_desirable_weight", "kto_undesirable_weight", "gamma_beta_ratio", "cpo_alpha",
    "max_prompt_length", "long_prompts", "max_validation_pairs", "lora", "special_tokens", "max_truncated",
}  # fmt: skip


def test_every_setting_of_the_recipe_is_covered_here():
    assert set(OTHER) | ELSEWHERE == {spec.name for spec in fields(DPO)}


@pytest.mark.parametrize("name", OTHER)
def test_each_setting_reaches_the_trainer_and_changes_nothing_else(name):
    value, expected = OTHER[name]
    before, after = arguments(recipe()), arguments(recipe(**{name: value}))
    assert {key: after[key] for key in after if after[key] != before[key]} == expected


def test_weights_that_are_in_16_bits_already_are_not_computed_under_autocast():
    both = [
        arguments(recipe(precision=Precision.bfloat16, lora=replace(LORA, r=0), master_weights=masters))["bf16"]
        for masters in MasterWeights
    ]
    assert both == [True, False]


@pytest.mark.parametrize("optimizer", BNB_OPTIMIZERS)
def test_an_optimiser_of_bitsandbytes_asks_for_it_where_it_is_missing(optimizer, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"dpo\.optimizer={optimizer} needs bitsandbytes") as caught:
        check_bitsandbytes(recipe(optimizer=optimizer))
    assert "notus-exp[bitsandbytes]" in caught.value.hint
    check_bitsandbytes(recipe())


ALGORITHMS_OWN = [  # a setting of one algorithm, and what must become of it
    ("kto", {"kto_desirable_weight": 1.3}, {"desirable_weight": 1.3, "undesirable_weight": 1.0}),
    ("kto", {"kto_undesirable_weight": 1.2}, {"desirable_weight": 1.0, "undesirable_weight": 1.2}),
    ("kto", {}, {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "gradient_accumulation_steps": 1}),
    ("kto", {}, {"train_sampling_strategy": "sequential", "max_steps": -1, "eval_steps": 25}),
    ("cpo", {}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0], "per_device_eval_batch_size": 1}),
    ("cpo", {"cpo_alpha": 0.0}, {"loss_type": ["sigmoid"], "per_device_eval_batch_size": 4}),
    ("simpo", {}, {"loss_type": ["sigmoid_norm"]}),
    ("simpo", {"cpo_alpha": 0.3}, {"loss_type": ["sigmoid_norm", "sft"], "loss_weights": [1.0, 0.3]}),
    ("orpo", {}, {"loss_type": ["sigmoid_norm", "sft"], "loss_weights": [1.0, 1.0]}),
]


@pytest.mark.parametrize(("algorithm", "changes", "expected"), ALGORITHMS_OWN)
def test_each_setting_of_an_algorithm_reaches_its_trainer(algorithm, changes, expected):
    made = arguments(recipe(algorithm=algorithm, loss_type=[], **changes))
    assert {key: made[key] for key in expected} == expected
    kind = KTOConfig if algorithm == "kto" else DPOConfig
    assert set(made) <= {spec.name for spec in fields(kind)}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_refuses_what_it_does_not_read(algorithm):
    check_dpo(recipe(algorithm=algorithm, loss_type=["sigmoid"] if algorithm == "dpo" else []))
    for name, readers in READ_BY.items():
        other = {"loss_type": ["hinge"], "loss_weights": [2.0], **ANOTHER}.get(name, 0.3)
        asked = {"loss_type": ["sigmoid"] if algorithm == "dpo" else [], name: other}
        if algorithm not in readers:
            with pytest.raises(UserError, match=rf"dpo\.{name}=.* is not read by dpo\.algorithm={algorithm}") as caught:
                check_dpo(recipe(algorithm=algorithm, **asked))
            assert f"dpo.algorithm={readers[0]}" in caught.value.hint


ANOTHER = {"f_divergence_type": "forward_kl", "use_weighting": True}


def test_which_algorithms_need_a_reference():
    found = {name: needs_reference(recipe(algorithm=name, loss_type=[])) for name in ALGORITHMS if name != "dpo"}
    assert found == {"kto": True, "cpo": False, "simpo": False, "orpo": False}
    assert needs_reference(recipe())
    assert needs_reference(recipe(loss_type=["sft", "ipo"]))
    assert not needs_reference(recipe(loss_type=["sft"]))


def test_each_setting_of_the_adapter_reaches_peft():
    other = Lora(r=16, alpha=32.0, dropout=0.2, target_modules=["o_proj"])
    config = lora_config(other)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.target_modules) == (16, 32.0, 0.2, {"o_proj"})
    of_the_base = {"quantisation"}  # which load_model reads
    assert {spec.name for spec in fields(Lora)} - of_the_base == {"r", "alpha", "dropout", "target_modules"}
    assert lora_config(replace(other, r=0)) is None


def test_the_machine_sets_only_how_a_step_is_computed():
    before = arguments(recipe(global_batch_size=8), machine(micro_batch_size=8))
    after = arguments(recipe(global_batch_size=8), machine(micro_batch_size=2, activation_checkpointing=True))
    changed = {key for key in after if after[key] != before[key]}
    passes = {"per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"}
    assert changed - passes in ({"activation_checkpointing"}, {"gradient_checkpointing"})


def test_trl_takes_the_arguments_as_they_are(tmp_path):
    config = trainer_config(arguments(recipe(optimizer="rmsprop", warmup=0.1), out=tmp_path, seed=5), machine())
    assert (config.optim.value, config.warmup_steps, config.seed, config.data_seed) == ("rmsprop", 3, 5, 5)
    assert (config.bf16, config.fp16, config.use_cpu, config.gradient_checkpointing) == (False, False, True, False)
    assert config.report_to == []
    with pytest.raises(UserError, match=r"hardware\.processes=4, but 1"):
        trainer_config(arguments(recipe(), machine(processes=4), out=tmp_path), machine(processes=4))


def test_without_validation_pairs_or_evaluations_nothing_is_evaluated():
    assert arguments(recipe(), validation_pairs=0)["eval_strategy"] == "no"
    assert arguments(recipe(evaluations=0))["eval_strategy"] == "no"


# ---------------------------------------------------------------------------------------------------------------- steps
@pytest.mark.parametrize(
    ("changes", "pairs", "expected"),
    [
        ({"global_batch_size": 8}, 96, (12, 12, 0)),
        ({"global_batch_size": 8}, 97, (13, 13, 0)),
        ({"global_batch_size": 64}, 3, (1, 1, 0)),
        ({"global_batch_size": 8, "epochs": 2.5}, 80, (25, 10, 0)),
        ({"global_batch_size": 8, "warmup": 0.1}, 84, (11, 11, 2)),
        ({"global_batch_size": 8, "warmup": 5.0, "max_steps": 6}, 800, (6, 100, 5)),
    ],
)
def test_steps_are_counted_with_the_incomplete_batch(changes, pairs, expected):
    assert tuple(plan_steps(recipe(**changes), pairs)) == expected


def test_a_warm_up_longer_than_the_training_is_an_error():
    with pytest.raises(UserError, match=r"dpo\.warmup=20 steps is more than the 12"):
        plan_steps(recipe(warmup=20.0, global_batch_size=8), 96)


# --------------------------------------------------------------------------------------------------------------- checks
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_type": []}, r"dpo\.loss_type=\[\]"),
        ({"loss_type": ["sigmoid", "sigmoid"]}, "repeats sigmoid"),
        ({"loss_type": ["sft"], "loss_weights": [0.0]}, "leaves no loss"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "1 weights for the 2 losses"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [0.0, 1.0]}, "no preference loss"),
        ({"label_smoothing": 0.1}, r"dpo\.label_smoothing=0\.1 is not read by dpo\.loss_type=\[sigmoid\]"),
        ({"loss_type": ["exo_pair"]}, "exo_pair undefined"),
        ({"f_alpha_divergence_coef": 0.3}, r"dpo\.f_alpha_divergence_coef=0\.3 is not read"),
        ({"f_divergence_type": "forward_kl", "loss_type": ["sft"]}, "f_divergence_type=forward_kl is not read"),
        ({"algorithm": "kto", "loss_type": [], "global_batch_size": 1}, "no other response of its batch"),
        ({"ld_alpha": 0.5, "loss_type": ["sft"]}, r"dpo\.ld_alpha=0\.5 is not read by dpo\.loss_type=\[sft\]"),
        ({"use_weighting": True, "loss_type": ["sft"]}, "use_weighting=true is not read"),
        ({"discopop_tau": 0.1}, r"dpo\.discopop_tau=0\.1 is not read"),
        ({"master_weights": MasterWeights.same}, r"dpo\.master_weights=same says nothing with dpo\.precision=float32"),
        (
            {"master_weights": MasterWeights.same, "precision": Precision.float16, "lora": replace(LORA, r=0)},
            "loss scaling needs float32 gradients",
        ),
        (
            {"master_weights": MasterWeights.same, "precision": Precision.bfloat16},
            r"dpo\.lora\.r=4 the base is in bfloat16 already",
        ),
        ({"max_prompt_length": 96}, r"dpo\.max_prompt_length=96"),
        ({"max_prompt_length": None, "long_prompts": LongPrompts.cut}, "cut does nothing"),
        ({"warmup": 2.5}, r"dpo\.warmup=2\.5"),
        ({"warmup": 0.1, "lr_scheduler": "constant"}, "does nothing with dpo.lr_scheduler=constant"),
        ({"lora": replace(LORA, target_modules=[])}, "leaves nothing to train"),
        ({"lora": replace(LORA, target_modules=["q_proj", "lm_head"])}, "lm_head"),
    ],
)
def test_a_setting_that_would_do_nothing_or_fail_later_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        check_dpo(recipe(**changes))
    assert caught.value.hint


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"sft"}))
def test_label_smoothing_passes_only_where_it_is_read(loss):
    smoothed = recipe(loss_type=[loss], label_smoothing=0.1)
    if loss in SMOOTHED_LOSSES:
        check_dpo(smoothed)
    else:
        with pytest.raises(UserError, match="label_smoothing"):
            check_dpo(smoothed)


def test_what_trl_takes_today_is_what_each_new_setting_stands_for_in_older_keys():
    trl = DPOConfig(output_dir="out", bf16=False)
    for name in ("f_divergence_type", "f_alpha_divergence_coef", "ld_alpha", "discopop_tau", "use_weighting"):
        spec = next(spec for spec in fields(DPO) if spec.name == name)
        assert getattr(trl, name) == spec.metadata["since"] == spec.default


def test_adapter_settings_are_not_judged_where_all_weights_are_trained():
    check_dpo(recipe(lora=Lora(r=0, alpha=1.0, dropout=0.0, target_modules=["lm_head"])))


def test_checks_import_no_torch():
    import subprocess
    import sys

    code = "import sys, notus_exp.config.dpo_checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_something_else_that_would_share_the_model_out_is_refused(tmp_path, monkeypatch):
    """accelerate's FSDP, by its launcher's configuration: TRL would open a reference model that nothing reads."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    given = dpo_arguments(recipe(), machine(), train_pairs=8, validation_pairs=0, seed=1, out=tmp_path, use_cpu=True)
    with pytest.raises(UserError, match=r"ACCELERATE_USE_FSDP is set, and hardware\.launch=plain"):
        trainer_config(given, machine())


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_installed_is_named_before_a_model_is_loaded():
    with pytest.raises(UserError, match="which is not installed"), leaving_nothing():
        pytest.fail("nothing is trained")
