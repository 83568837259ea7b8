"""Several processes train as one does: the same global batches, order and loss, whoever holds what of the model."""

import shutil
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from notus_exp.config.hardware_settings import Launch
from notus_exp.config.training_settings import Precision
from notus_exp.disk import files
from notus_exp.machine.team import Alone
from notus_exp.training import dpo
from support.processes import together
from support.recipes import LORA, machine, recipe
from support.trainings import FULL, Wanted, kill_after, step_events, train, train_all, weights

RECIPES = {
    # 11 pairs: each epoch ends with a batch of 3, of which passes of 2 processes take 2 and 1, or 1, 1, 1 and none
    "full": recipe(
        lora=FULL, global_batch_size=8, epochs=2.0, checkpoints=2, optimizer="rmsprop", loss_type=["sigmoid", "sft"]
    ),
    "rounded": recipe(
        lora=FULL,
        global_batch_size=8,
        epochs=2.0,
        checkpoints=2,
        optimizer="rmsprop",
        loss_type=["sigmoid", "sft"],
        precision=Precision.bfloat16,
    ),
    "rounded_lora": recipe(lora=LORA, global_batch_size=8, epochs=2.0, precision=Precision.bfloat16),
    "lora": recipe(lora=LORA, global_batch_size=8, epochs=2.0, checkpoints=2),
    "kto": recipe(lora=LORA, global_batch_size=8, epochs=2.0, algorithm="kto", learning_rate=1e-2),
    "simpo": recipe(lora=FULL, global_batch_size=8, epochs=1.0, algorithm="simpo", gamma_beta_ratio=0.5),
}
MEASURES = ("loss", "preference_loss", "margin", "rewards_chosen", "logps_rejected")


def several(launch, micro=4, processes=2, **changes):
    zero = {"zero_stage": 3} if launch is Launch.deepspeed else {}
    return machine(**{"micro_batch_size": micro, "processes": processes, "launch": launch, **zero, **changes})


@pytest.fixture(scope="module")
def alone(artifacts, tmp_path_factory):
    """Return the folder of a recipe's training by one process, all in one pass."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("alone") / name
            train(artifacts, made[name], RECIPES[name], machine(micro_batch_size=8))
        return made[name]

    return of


def same_curves(one, other, since=0):
    for measure in MEASURES:
        assert step_events(one, f"validation/{measure}") == pytest.approx(
            step_events(other, f"validation/{measure}"), abs=1e-4
        )
        curve = step_events(one, f"train/{measure}")
        assert len(curve) > 1
        assert curve == pytest.approx(step_events(other, f"train/{measure}"), abs=1e-4), measure
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    assert max((found[name] - tensor).abs().max().item() for name, tensor in expected.items()) < 1e-4
    assert {tensor.dtype for tensor in found.values()} == {tensor.dtype for tensor in expected.values()}


# ------------------------------------------------------------------------------------------------ as the suite runs it
QUICK = {
    "ddp-full": ("full", several(Launch.ddp, 2)),
    "fsdp2-full": ("full", several(Launch.fsdp2, 1)),
    "fsdp2-lora": ("lora", several(Launch.fsdp2, 4)),
    "ddp-kto": ("kto", several(Launch.ddp, 1)),
}
ROUNDED = {"fsdp2-rounded": ("rounded", several(Launch.fsdp2, 4))}


@pytest.fixture(scope="module")
def quick(artifacts, tmp_path_factory):
    """Several trainings by one pair of processes, of which one goes on where one process was killed."""
    root = tmp_path_factory.mktemp("quick")
    half = root / "half" / "full"
    train_all(Alone(), artifacts, [Wanted(half, RECIPES["full"], machine(), keeps=True)])
    kill_after(half, 2)
    wanted = [
        Wanted(root / name, RECIPES[asked], hardware, keeps=name == "fsdp2-full")
        for name, (asked, hardware) in (QUICK | ROUNDED).items()
    ]
    wanted.append(Wanted(half, RECIPES["full"], several(Launch.fsdp2, 2)))
    returned = together(root / "group", train_all, artifacts, wanted)
    return {
        name: (one.out, [seen[i] for seen in returned])
        for i, (name, one) in enumerate(zip([*QUICK, *ROUNDED, "half"], wanted, strict=True))
    }


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_have_the_losses_of_one(name, quick, alone):
    same_curves(quick[name][0], alone(QUICK[name][0]))


@pytest.mark.parametrize("name", QUICK)
def test_the_facts_of_two_processes_are_those_of_one_and_only_the_first_writes(name, quick):
    folder, (first, second) = quick[name]
    told = [{key: value for key, value in one["facts"].items() if key not in files.MEASURED} for one in (first, second)]
    assert told[0] == told[1]
    assert first["facts"]["pairs_trained"] == 11
    assert (first["facts"]["steps"], first["facts"]["epochs"]) == (4, 2.0)
    kept = {"cache", dpo.CHECKPOINTS, dpo.DATASET}
    assert {path.name for path in folder.iterdir()} - kept == {"events.jsonl", "followed.jsonl", "model"}
    assert not list(folder.with_name(f"{folder.name}-1").rglob("*.safetensors"))


def test_fsdp2_shares_the_parameters_out_and_opens_one_model(quick):
    """TRL 1.16 opens a reference model under FSDP, though log-probs are known."""
    for name in ("fsdp2-full", "fsdp2-lora"):
        for seen in quick[name][1]:
            assert seen["kinds"] == ["DTensor"]
            assert seen["share"] == pytest.approx(0.5, abs=0.02)
            assert seen["opened"] == ["LlamaForCausalLM"]
    for seen in quick["ddp-full"][1]:
        assert seen["kinds"] == ["Parameter"]
        assert seen["opened"] == ["LlamaForCausalLM"]


def rounding(one, other):
    """The largest difference of losses."""
    pairs = zip(step_events(one), step_events(other), strict=True)
    return max(abs(a - b) for a, b in pairs)


def test_bfloat16_under_fsdp2_computes_as_autocast_does_and_keeps_float32_masters(quick, alone):
    folder, seen = quick["fsdp2-rounded"]
    noise = rounding(alone("rounded"), alone("full"))
    assert 0 < rounding(folder, alone("rounded")) < 2 * noise < 0.2
    for one in seen:
        assert one["weights"] == one["gradients"] == one["state"] == one["masters"] == ["torch.float32"]
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.bfloat16}, "rounded from its masters, once"


def test_one_process_goes_on_from_the_shards_of_two(quick, artifacts, alone, tmp_path):
    folder = tmp_path / "fsdp2-full"  # the name is the artifact's
    shutil.copytree(quick["fsdp2-full"][0], folder)
    kill_after(folder, 2)
    (seen,) = train_all(Alone(), artifacts, [Wanted(folder, RECIPES["full"], machine(micro_batch_size=2))])
    assert seen["from"] == 2
    same_curves(folder, alone("full"))


def test_two_processes_go_on_from_the_checkpoint_of_one(quick, alone):
    folder, seen = quick["half"]
    assert [one["from"] for one in seen] == [2, 2]
    same_curves(folder, alone("full"))


# ---------------------------------------------------------------------------------------------------- the whole matrix
DEEPSPEED = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="deepspeed is not installed (the extra deepspeed)"
)
EACH = {
    "ddp": several(Launch.ddp),
    "fsdp2": several(Launch.fsdp2),
    "zero1": several(Launch.deepspeed, zero_stage=1),
    "zero2": several(Launch.deepspeed, zero_stage=2),
    "zero3": several(Launch.deepspeed, zero_stage=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("micro", [1, 2, 8])
def test_passes_of_one_process(micro, artifacts, alone, tmp_path):
    train(artifacts, tmp_path / "other", RECIPES["full"], machine(micro_batch_size=micro))
    same_curves(tmp_path / "other", alone("full"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2", *(pytest.param(kind, marks=DEEPSPEED) for kind in list(EACH)[2:])])
def test_every_launch_and_division_has_the_losses_of_one_process(kind, artifacts, alone, tmp_path):
    """Micro-batch x accumulation x processes: 1 x 4 x 2, 2 x 2 x 2 and 4 x 1 x 2; and 1 x 8 x 1, 8 x 1 x 1."""
    names = ["full", "lora", "kto", "simpo"] if kind in ("ddp", "fsdp2", "zero3") else ["full"]
    wanted = [
        Wanted(
            tmp_path / f"{name}-{micro}",
            RECIPES[name],
            # activations are computed anew too: that must not meet a model that is shared out again
            replace(EACH[kind], micro_batch_size=micro, activation_checkpointing=micro == 2 or name == "lora"),
        )
        for name in names
        for micro in ([1, 2, 4] if name == "full" else [1])
    ]
    returned = together(tmp_path / "group", train_all, artifacts, wanted, timeout=900)
    for (folder, *_), *seen in zip(wanted, *returned, strict=True):
        same_curves(folder, alone(folder.name.partition("-")[0]))
        for one in seen:
            assert one["kinds"] == {"fsdp2": ["DTensor"], "zero3": ["partitioned"]}.get(kind, ["Parameter"])
            assert one["share"] < (0.6 if kind in ("fsdp2", "zero3") else 1.1)
            assert len(one["opened"]) == 1 or folder.name.startswith("kto")  # which has texts scored


@pytest.mark.slow
@DEEPSPEED
@pytest.mark.parametrize("stage", [2, 3])
def test_bfloat16_under_deepspeed_trains_float32_masters(stage, artifacts, alone, tmp_path):
    wanted = [
        Wanted(tmp_path / name, RECIPES[name], several(Launch.deepspeed, zero_stage=stage))
        for name in ("rounded", "rounded_lora")
    ]
    returned = together(tmp_path / "group", train_all, artifacts, wanted, timeout=600)
    noise = rounding(alone("rounded"), alone("full"))
    assert 0 < rounding(tmp_path / "rounded", alone("rounded")) < 2 * noise < 0.2
    assert rounding(tmp_path / "rounded_lora", alone("rounded_lora")) < 0.02
    for (folder, *_), *seen in zip(wanted, *returned, strict=True):
        for one in seen:
            assert one["weights"] == ["torch.bfloat16"], "what a pass reads"
            assert one["state"] == ["torch.float32"]
        expected = {tensor.dtype for tensor in weights(alone(folder.name)).values()}
        assert {tensor.dtype for tensor in weights(folder).values()} == expected


@pytest.mark.slow
@DEEPSPEED
def test_deepspeed_of_one_process_has_its_losses(artifacts, alone, tmp_path):
    wanted = [
        Wanted(tmp_path / f"one-{micro}", RECIPES["full"], several(Launch.deepspeed, micro, processes=1))
        for micro in (1, 8)
    ]
    together(tmp_path / "group", train_all, artifacts, wanted, size=1, timeout=600)
    for folder, *_ in wanted:
        same_curves(folder, alone("full"))


# ----------------------------------------------------------------------------------- resumed by another number of them
RESUMED = [
    ("fsdp2", several(Launch.fsdp2), 2, machine(), 1),
    ("fsdp2", several(Launch.fsdp2), 2, several(Launch.ddp), 2),
    ("plain", machine(), 1, several(Launch.fsdp2), 2),
    ("plain", machine(), 1, several(Launch.ddp), 2),
    ("ddp", several(Launch.ddp), 2, machine(), 1),
]
RESUMED_BY_DEEPSPEED = [
    ("zero3", several(Launch.deepspeed), 2, several(Launch.deepspeed, processes=1), 1),
    ("zero3", several(Launch.deepspeed, processes=1), 1, several(Launch.deepspeed), 2),
    ("zero3", several(Launch.deepspeed), 2, several(Launch.deepspeed, zero_stage=2), 2),
    ("zero2", several(Launch.deepspeed, zero_stage=2), 2, several(Launch.fsdp2), 2),
    ("fsdp2", several(Launch.fsdp2), 2, several(Launch.deepspeed), 2),
]


def resume(artifacts, tmp_path, cases, asked):
    """Train with the first hardware, take away all after the first half, and train on with the second."""
    folders = [tmp_path / f"{i}" for i in range(len(cases))]
    for size in (1, 2):
        first = [
            Wanted(f, asked, case[1], keeps=True) for f, case in zip(folders, cases, strict=True) if case[2] == size
        ]
        together(tmp_path / f"first-{size}", train_all, artifacts, first, size=size, timeout=900) if first else None
    for folder in folders:
        assert sorted(path.name for path in (folder / dpo.CHECKPOINTS).iterdir()) == ["checkpoint-2", "checkpoint-4"]
        kill_after(folder, 2)
    for size in (1, 2):
        then = [Wanted(f, asked, case[3]) for f, case in zip(folders, cases, strict=True) if case[4] == size]
        seen = together(tmp_path / f"then-{size}", train_all, artifacts, then, size=size, timeout=600) if then else []
        assert {one["from"] for process in seen for one in process} <= {2}
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "lora"])
@pytest.mark.parametrize(
    "cases", [pytest.param(RESUMED, id="torch"), pytest.param(RESUMED_BY_DEEPSPEED, id="deepspeed", marks=DEEPSPEED)]
)
def test_a_checkpoint_is_gone_on_from_by_any_launch_and_number_of_processes(name, cases, artifacts, alone, tmp_path):
    for folder in resume(artifacts, tmp_path, cases, RECIPES[name]):
        same_curves(folder, alone(name))
