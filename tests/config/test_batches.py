"""Batches: one plan of how a recipe's batch is spread, refused, shown and trained with alike."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from notus_exp.config.batches import BATCH_LOSSES, plan_batches
from notus_exp.config.hardware_checks import check_hardware
from notus_exp.config.hardware_settings import Launch
from notus_exp.config.training_settings import MasterWeights, Precision
from notus_exp.errors import UserError
from notus_exp.run.pipeline import Run
from notus_exp.run.shown_plan import show_plan
from notus_exp.training.arguments import dpo_arguments
from support.configs import composed
from support.recipes import machine, recipe


@given(st.integers(1, 16), st.integers(1, 8), st.integers(1, 64))
def test_a_plan_multiplies_to_the_global_batch(processes, per_process, micro):
    batch = processes * per_process
    try:
        plan = plan_batches(recipe(global_batch_size=batch), machine(processes=processes, micro_batch_size=micro))
    except UserError:
        assert per_process % micro
        assert micro < per_process
    else:
        assert plan.micro * plan.accumulation * plan.processes == batch
        assert plan.micro <= micro


def test_a_batch_that_does_not_divide_is_an_error_that_names_both():
    with pytest.raises(UserError, match=r"dpo\.global_batch_size=10.*hardware\.micro_batch_size=4") as caught:
        plan_batches(recipe(global_batch_size=10), machine(micro_batch_size=4))
    assert caught.value.hint == "set hardware.micro_batch_size=2"
    with pytest.raises(UserError, match=r"dpo\.global_batch_size=10.*hardware\.processes=4"):
        plan_batches(recipe(global_batch_size=10), machine(processes=4))


def test_a_loss_that_sorts_a_batch_must_see_all_of_it():
    assert plan_batches(recipe(loss_type=["aot"], global_batch_size=4), machine(micro_batch_size=8)).accumulation == 1
    with pytest.raises(UserError, match="aot sorts"):
        plan_batches(recipe(loss_type=["aot"], global_batch_size=8), machine(micro_batch_size=4))


@given(
    batch=st.integers(1, 64),
    processes=st.integers(1, 8),
    micro=st.integers(1, 64),
    loss=st.sampled_from(["sigmoid", *sorted(BATCH_LOSSES)]),
)
def test_the_config_is_refused_exactly_where_the_trainer_would_refuse_it(
    batch: int, processes: int, micro: int, loss: str
) -> None:
    dpo = recipe(global_batch_size=batch, loss_type=["sft", loss] if loss != "sigmoid" else [loss])
    hardware = machine(processes=processes, micro_batch_size=micro, launch=Launch.ddp)

    def trainer() -> dict[str, object]:
        return dpo_arguments(dpo, hardware, train_pairs=100, validation_pairs=10, seed=1, out=Path("out"), use_cpu=True)

    try:
        check_hardware(hardware, dpo)
    except UserError as refused:
        with pytest.raises(UserError) as caught:
            trainer()
        assert str(caught.value) == str(refused)
    else:
        made, plan = trainer(), plan_batches(dpo, hardware)
        assert (made["per_device_train_batch_size"], made["gradient_accumulation_steps"]) == plan[:2]


def test_a_micro_batch_above_a_processs_share_is_planned_as_that_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine_of_eight = ["hardware=a100_8x40gb", "hardware.micro_batch_size=16"]
    config = composed("experiment=notus_7b_v1", "data=simulated", "model=tiny_random", *machine_of_eight)
    out = io.StringIO()
    show_plan(Run(config, {"selection": "average"}, Console(file=out, width=300)), Console(file=out, width=300))
    assert "global batch 64 = 8 pairs x 1 accumulation x 8 processes" in out.getvalue()


def test_the_plan_says_the_weights_of_a_weighted_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = composed("model=tiny_random", "selection=weighted", "selection.weights={honesty:2}")
    out = io.StringIO()
    show_plan(Run(config, {"selection": "weighted"}, Console(file=out, width=300)), Console(file=out, width=300))
    shown = "weights of selection: helpfulness 0, honesty 2, instruction_following 0, truthfulness 0\n"
    assert shown in out.getvalue()


def test_a_loss_that_sorts_a_batch_is_refused_when_the_config_is_loaded() -> None:
    with pytest.raises(UserError, match="aot sorts the pairs of a whole batch"):
        composed("dpo.loss_type=[aot]", "dpo.global_batch_size=64", "hardware.micro_batch_size=8")


def test_planning_batches_imports_nothing_heavy() -> None:
    code = "import sys, notus_exp.config.batches; sys.exit(bool({'torch', 'trl', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("launch", "asked", "told"),
    [
        ("fsdp2", {"precision": Precision.float16}, "float16"),
        ("deepspeed", {"precision": Precision.bfloat16, "master_weights": MasterWeights.same}, "master_weights=same"),
    ],
)
def test_numbers_that_a_launch_does_not_train_in_are_refused(launch, asked, told):
    stage = 3 if launch == "deepspeed" else None
    hardware = machine(launch=Launch[launch], processes=2, zero_stage=stage, precisions=list(Precision))
    with pytest.raises(UserError, match=f"hardware.launch={launch} .*{told}"):
        check_hardware(hardware, recipe(**asked))
    check_hardware(replace(hardware, launch=Launch.ddp, zero_stage=None), recipe(**asked))
