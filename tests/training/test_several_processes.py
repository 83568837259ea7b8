import json

import pytest

from notus_exp.config.hardware_settings import Launch
from support.processes import together
from support.recipes import machine, recipe, LORA
from support.trainings import FULL, step_events, train, train_all, weights


def test_x(artifacts, tmp_path):
    asked = recipe(lora=FULL, global_batch_size=8, epochs=2.0, checkpoints=2, optimizer="rmsprop", loss_type=["sigmoid", "sft"])
    lora = recipe(lora=LORA, global_batch_size=8, epochs=2.0, checkpoints=2)
    wanted = []
    for name, a in (("full", asked), ("lora", lora)):
        one = train(artifacts, tmp_path / f"one-{name}", a, machine(micro_batch_size=8))
        wanted += [(tmp_path / f"fsdp2-{micro}-{name}", a, machine(micro_batch_size=micro, processes=2, launch=Launch.fsdp2)) for micro in (1,4)]
    facts = together(tmp_path / "group", train_all, artifacts, wanted, timeout=100)
    print((tmp_path / "group"/"said").read_text()[-3000:])
    for name, *_ in wanted:
        one = tmp_path / f"one-{name.name.rpartition('-')[2]}"
        for m in ("train/loss", "validation/loss", "train/accuracy", "validation/margin","train/preference_loss", "train/gradient_norm"):
            print(name, m, step_events(name, m), step_events(one, m))
            assert step_events(name, m)[1:] == pytest.approx(step_events(one,m)[1:], abs=1e-4)
        theirs, ours = weights(one), weights(name)
        assert theirs.keys() == ours.keys()
        print(max((theirs[k]-ours[k]).abs().max() for k in ours))
        print(sorted(p.name for p in name.rglob("*")), sorted(p.name for p in one.rglob("*")))
