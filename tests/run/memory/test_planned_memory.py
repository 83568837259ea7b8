"""The plan of memory: parts by hand, what is refused, and that each setting that is proposed was planned and fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notus_exp.config.hardware_settings import Launch
from notus_exp.config.schema import Config, Stage
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.errors import UserError
from notus_exp.models.shapes import Shape, shape_of
from notus_exp.run.memory.memory_stages import GB, Computing, available, stage_needs
from notus_exp.run.memory.memory_words import CANNOT_TELL, MemoryPlan
from notus_exp.run.memory.need import fullest
from notus_exp.run.memory.run_memory import plan_memory
from notus_exp.run.memory.training_needs import training
from notus_exp.run.plan import make_plan
from support.configs import composed
from support.plans import fixed_sources

NOTUS = ("experiment=notus_7b_v1", "hardware=gpu")
STAGES = (Stage.reference, Stage.policy, Stage.generations)
P = 7_241_732_096
ONLY_TRAINING = Computing(True, (), 0)


def planned(*overrides: str) -> MemoryPlan:
    config = composed(*overrides)
    return MemoryPlan(config, shape_of(config.model.shape), STAGES)


def shape(config: Config) -> Shape:
    found = shape_of(config.model.shape)
    assert found is not None
    return found


def test_a_full_training_of_7b_is_four_copies_in_float32_at_its_step() -> None:
    config = composed(*NOTUS)
    step = {need.moment: need for need in training(shape(config), config.dpo, config.hardware)}["optimiser's step"]
    assert step.parts["weights"] == step.parts["gradients"] == 4 * P
    assert step.parts["optimiser"] == 2 * 4 * P  # RMSprop's one state, and the copy that torch's foreach makes of it
    assert 115 * GB < step.total < 117 * GB


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["dpo.optimizer=adamw_torch"], 4 + 4 + 8 + 4),
        (["dpo.optimizer=adamw_torch_fused"], 4 + 4 + 8),
        (["dpo.optimizer=sgd"], 4 + 4),
        (["dpo.master_weights=same"], 2 + 2 + 2 + 2),
        (["dpo.master_weights=same", "dpo.optimizer=adamw_torch_fused"], 2 + 2 + 4),
        (["dpo.optimizer=paged_adamw_32bit"], 4 + 4),  # its state is paged out
    ],
)
def test_bytes_a_weight_at_the_step(overrides: list[str], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    config = composed(*NOTUS, *overrides)
    step = {need.moment: need for need in training(shape(config), config.dpo, config.hardware)}["optimiser's step"]
    assert step.total == pytest.approx(expected * P)


def test_a_state_in_8_bits_leaves_that_of_the_embedding_in_32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    config = composed(*NOTUS, "dpo.optimizer=rmsprop_bnb_8bit")
    step = {need.moment: need for need in training(shape(config), config.dpo, config.hardware)}["optimiser's step"]
    embedding = 32000 * 4096
    assert step.parts["optimiser"] == pytest.approx((1 + 4 / 256) * (P - embedding) + 4 * embedding)


def test_notus_7b_does_not_fit_a_card_of_80_gb_and_that_is_said_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.memory.memory_stages.cuda_bytes", lambda: None)
    plan = planned(*NOTUS)
    assert plan.fits  # nothing here says that it does not: another machine may run it
    (line, assumed) = plan.lines()
    assert line.startswith("memory: needs 116 GB a device; and of a node's own memory up to 29 GB; what there is is ")
    assert "more than a card of 80 GB has" in line
    assert "hardware.launch=fsdp2 hardware.processes=2, which needs 61 GB" in line
    assert "dpo.master_weights=same, which needs 59 GB (results are other ones)" in line
    assert "dpo.max_length=1024" in assumed


def test_what_does_not_fit_is_refused_by_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.memory.memory_stages.cuda_bytes", lambda: int(80 * GB))
    with pytest.raises(
        UserError, match=r"stage policy needs 116 GB of memory \(optimiser's step: weights 29"
    ) as caught:
        planned(*NOTUS).check()
    assert "hardware=gpu has 80" in caught.value.message
    planned(*NOTUS, "hardware.memory_gb=141").check()


def test_what_changes_no_result_is_proposed_first_and_alone() -> None:
    lora = ("experiment=notus_7b_v1_lora", "hardware=gpu", "hardware.memory_gb=24")
    with pytest.raises(UserError) as caught:
        planned(*lora).check()
    assert caught.value.hint is not None
    assert "hardware.micro_batch_size=4" in caught.value.hint
    assert "results are other ones" not in caught.value.hint
    planned(*lora, "hardware.micro_batch_size=4").check()


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=notus_7b_v1", "hardware=gpu", "hardware.memory_gb=80"],
        ["experiment=notus_7b_v1", "hardware=gpu", "hardware.memory_gb=40"],
        ["experiment=notus_7b_v1", "hardware=gpu", "hardware.memory_gb=24"],
        ["experiment=notus_7b_v1_lora", "hardware=gpu", "hardware.memory_gb=24"],
        ["hardware=cpu", "hardware.memory_gb=4"],
        ["hardware=cpu", "hardware.memory_gb=2"],
    ],
)
def test_each_setting_that_is_proposed_fits(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    with pytest.raises(UserError) as caught:
        planned(*overrides).check()
    assert caught.value.hint is not None
    proposals = caught.value.hint.split("The nearest that fits: ")[1].split("; where there is more")[0].split("; or ")
    for proposal in proposals:
        again = planned(*overrides, *proposal.split(", which needs")[0].split())
        again.check()
        assert f"needs {fullest(again.needs).total / GB:.0f}" in proposal or "." in proposal


def test_a_base_in_4_bits_is_a_quarter_but_for_embedding_head_and_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    config = composed("model=zephyr_7b_sft", "dpo=qlora", "hardware=gpu_24gb")
    reference, policy = stage_needs(shape(config), config.dpo, config.hardware, Computing(True, ("reference",), 0))
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    held = linear * (0.5 + (1 + 4 / 256) / 64) + 2 * (P - linear)
    assert reference.parts["weights"] == pytest.approx(held)
    assert policy.total < 8 * GB
    planned("model=zephyr_7b_sft", "dpo=qlora", "hardware=gpu_24gb").check()


def test_on_the_processor_what_smaller_batches_would_mend_is_said_and_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"bytes": 6 * GB}
    monkeypatch.setattr("notus_exp.run.memory.memory_stages.machine_bytes", lambda: int(there["bytes"]))
    plan = planned("hardware=cpu")
    assert not plan.fits
    plan.check()
    doubt = plan.doubt()
    assert doubt is not None
    assert "it does not fit. The nearest that fits: hardware." in doubt
    there["bytes"] = 0.9 * GB  # less than the weights and the libraries
    with pytest.raises(UserError, match=r"has 0\.9"):
        planned("hardware=cpu").check()
    there["bytes"] = 64 * GB
    assert planned("hardware=cpu").doubt() is None


def test_what_processes_share_is_divided() -> None:
    config = composed(*NOTUS)
    needs = {
        n: training(
            shape(config),
            config.dpo,
            composed(*NOTUS, "hardware.launch=fsdp2", f"hardware.processes={n}").hardware,
        )[-1]
        for n in (2, 8)
    }
    lasting = {n: need.parts["gradients"] for n, need in needs.items()}
    assert lasting == {2: 4 * P / 2, 8: 4 * P / 8}
    ddp = composed(*NOTUS, "hardware.launch=ddp", "hardware.processes=8").hardware
    assert ddp.launch is Launch.ddp
    assert training(shape(config), config.dpo, ddp)[-1].parts["other"] == 4 * P  # the buckets


def test_the_machines_own_memory_is_counted_by_hand() -> None:
    config = composed("experiment=notus_7b_v1", "hardware=h100_8")
    (shared,) = stage_needs(shape(config), config.dpo, config.hardware, ONLY_TRAINING)
    assert shared.host == 4 * P  # each process reads the float32 masters whole
    config = composed("experiment=notus_7b_v1", "hardware=a100_8x40gb")
    (offloaded,) = stage_needs(shape(config), config.dpo, config.hardware, ONLY_TRAINING)
    held = 2 + 4 + 4 + 4 + 4  # weights; masters, RMSprop's state, gradients, and those that the optimiser is handed
    assert offloaded.host == pytest.approx((held + 4 + 4) * P / 8)  # process 0 writes masters and state whole
    config = composed("model=zephyr_7b_sft", "dpo=lora", "hardware=gpu")
    (reference,) = stage_needs(shape(config), config.dpo, config.hardware, Computing(False, ("reference",), 0))
    assert reference.host == 2 * P


def test_too_little_of_the_machines_own_memory_is_said_and_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.memory.memory_words.machine_bytes", lambda: int(128 * GB))
    plan = planned("experiment=notus_7b_v1", "hardware=h100_8")
    plan.check()
    assert plan.doubt() == "memory: up to 232 GB of the machine's own are needed, and it has 128"
    assert "; and of a node's own memory up to 232 GB" in plan.lines()[0]


def test_a_plan_that_leaves_little_room_is_called_close() -> None:
    (line, _) = planned("experiment=notus_7b_v1", "hardware=h100_8", "hardware.memory_gb=31").lines()
    assert "needs 30 of 31 GB a device" in line
    assert "which is close: peaks up to 14% above a plan were measured" in line


def test_processes_on_the_processor_share_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notus_exp.run.memory.memory_stages.machine_bytes", lambda: int(8 * GB))
    alone = composed("hardware=cpu").hardware
    four = composed("hardware=cpu", "hardware.launch=ddp", "hardware.processes=4").hardware
    assert available(alone) == (8 * GB, False)
    assert available(four) == (2 * GB, False)
    assert available(composed("hardware=cpu", "hardware.memory_gb=3").hardware) == (3 * GB, True)


def test_a_cache_of_keys_and_values_is_counted_by_hand() -> None:
    config = composed("experiment=notus_7b_v1_lora", "hardware=gpu", "hardware.generation_batch_size=256")
    (need,) = stage_needs(shape(config), config.dpo, config.hardware, Computing(False, (), 512))
    a_token = 32 * 2 * 1024 * 2  # layers, keys and values, width, bytes
    assert need.parts["cache"] == pytest.approx(256 * (512 + 512) * a_token * 33 / 32)
    assert need.parts["weights"] == 2 * P


def test_a_model_that_nothing_tells_of_is_not_guessed_at() -> None:
    config = composed("model=local", "model.path=.")
    plan = MemoryPlan(config, None, STAGES)
    assert plan.lines() == [CANNOT_TELL]
    assert plan.table() is None
    plan.check()
    assert MemoryPlan(config, None, [Stage.pairs]).lines() == []


def test_the_config_of_the_model_that_lies_there_comes_before_what_an_option_says(tmp_path: Path) -> None:

    config = composed("experiment=notus_7b_v1_lora", "hardware=gpu")
    nodes = make_plan(config, fixed_sources(config))
    store = ArtifactStore(tmp_path)
    before = plan_memory(config, None, {}, nodes, store)
    base = next(node for node in nodes if node.stage is Stage.base_model)
    folder = store.path("base_model", base.key) / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**(config.model.shape or {}), "num_hidden_layers": 2}))
    after = plan_memory(config, None, {}, nodes, store)
    assert fullest(after.needs).total < fullest(before.needs).total / 3
