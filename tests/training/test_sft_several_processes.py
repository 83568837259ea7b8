"""Several processes train on conversations as one does, whoever holds what of the model."""

import shutil

import pytest
import torch

from notus_exp.config.hardware_settings import Launch
from notus_exp.disk import files
from notus_exp.training import prepared
from notus_exp.training.checkpoints import step_of
from notus_exp.training.frame import CHECKPOINTS
from support.processes import together
from support.recipes import machine
from support.supervised import ADAPTER, chat, chat_recipe, finetune, finetune_all, write_chats
from support.trainings import step_events, weights

# of 14 conversations 11 or so are trained on: passes of 2 processes end unevenly, and some have none for one of them
RECIPES = {
    "full": chat_recipe(global_batch_size=8, epochs=2.0, checkpoints=2, optimizer="rmsprop", validation=0.25),
    "lora": chat_recipe(global_batch_size=8, epochs=2.0, lora=ADAPTER, learning_rate=1e-2, validation=0.25),
}
WANTED = {
    "ddp-full": ("full", Launch.ddp, 2),
    "fsdp2-full": ("full", Launch.fsdp2, 1),
    "fsdp2-lora": ("lora", Launch.fsdp2, 4),
}


@pytest.fixture(scope="module")
def trained(artifacts, tmp_path_factory):
    """Return folder and facts of trainings by one process, by two, and by two that go on from what one has left."""
    root = tmp_path_factory.mktemp("several")
    chats = write_chats(root / "chats.jsonl", [chat(number, turns=1 + number % 3) for number in range(14)])
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "keep_only", lambda *_: None)
        for name, recipe in RECIPES.items():
            made[name] = (root / name, [finetune(artifacts, root / name, recipe, machine(micro_batch_size=8), chats)])
    half = root / "half" / "full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "keep_only", lambda *_: None)
        patch.setattr("notus_exp.training.sft._finish", lambda *_: {})
        finetune(artifacts, half, RECIPES["full"], machine(), chats)
    for path in (half / CHECKPOINTS).iterdir():
        if step_of(path) > 2:
            shutil.rmtree(path)
    shutil.rmtree(half / files.MODEL)
    several = [
        (root / name, RECIPES[asked], machine(micro_batch_size=micro, processes=2, launch=launch))
        for name, (asked, launch, micro) in WANTED.items()
    ]
    several.append((half, RECIPES["full"], machine(micro_batch_size=2, processes=2, launch=Launch.fsdp2)))
    inputs = {"base_model": artifacts["base_model"]}
    returned = together(root / "group", finetune_all, inputs, chats, several)
    for i, name in enumerate([*WANTED, "half"]):
        made[name] = (several[i][0], [one[i] for one in returned])
    return made


@pytest.mark.parametrize("name", [*WANTED, "half"])
def test_two_processes_train_the_model_of_one(name, trained):
    (folder, facts), (alone, (expected,)) = trained[name], trained[WANTED.get(name, ("full",))[0]]
    for part in ("train", "validation"):
        for measure in ("loss", "accuracy", "entropy"):
            curve = step_events(folder, f"{part}/{measure}")
            assert curve
            assert curve == pytest.approx(step_events(alone, f"{part}/{measure}"), abs=1e-4), (part, measure)
    for key, tensor in weights(alone).items():
        torch.testing.assert_close(weights(folder)[key], tensor, atol=1e-4, rtol=0)
    told = {key: value for key, value in facts[0].items() if key not in files.MEASURED}
    known = {key: value for key, value in expected.items() if key not in files.MEASURED}
    assert told.keys() == known.keys()
    assert all(told[key] == pytest.approx(value, abs=1e-4) for key, value in known.items() if value is not None)
    assert not list(folder.with_name(f"{folder.name}-1").rglob("*.safetensors")), "one process writes"
