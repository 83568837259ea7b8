"""Fixtures of all tests: a tiny model made offline. Heavy libraries are imported only where a fixture needs them."""

import dataclasses
import os

import pytest
from hypothesis import settings

from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.training_settings import Precision

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the hub by mistake fails at once
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a tiny model gains nothing from threads, and tests run side by side
os.environ.setdefault("WANDB_MODE", "disabled")  # tests of W&B say `tracking.mode=offline`, or take this away
settings.register_profile("patient", deadline=None)  # a busy machine makes no example slow in itself
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A folder with a random two-layer model, its tokenizer and chat template (see models.tiny_random)."""
    from notus_exp.models.pretrained import tiny_random

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_random(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model_folder):
    from notus_exp.models.pretrained import load_tokenizer

    return load_tokenizer(tiny_model_folder)


@pytest.fixture(scope="session")
def cpu():
    """hardware=cpu, with one completion a scoring pass; `dataclasses.replace` makes variants."""
    return Hardware(
        name="cpu",
        device=Device.cpu,
        micro_batch_size=8,
        scoring_batch_size=1,
        generation_batch_size=32,
        attention="sdpa",
        activation_checkpointing=False,
        precisions=[Precision.float32, Precision.bfloat16],
        launch=Launch.plain,
        processes=1,
        zero_stage=None,
        offload=False,
    )


@pytest.fixture
def context(tmp_path, cpu):
    """A stage's context; call it with changes to the hardware option, or with sources."""
    from notus_exp.disk.events import EventWriter
    from notus_exp.stages.context import Context

    def make(stage="test", sources=None, **hardware):
        events = EventWriter(stage, tmp_path / "events.jsonl", tmp_path / "followed.jsonl")
        return Context(events, dataclasses.replace(cpu, **hardware), tmp_path / "cache", sources or {})

    return make


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory):
    """SmolLM2-135M-Instruct converted from its wheel (about 15 s); skips where the wheel is not installed."""
    from notus_exp.config.training_settings import Model
    from notus_exp.disk.events import EventWriter
    from notus_exp.errors import UserError
    from notus_exp.models import base_model
    from notus_exp.models import model_files as sources
    from notus_exp.stages.context import Context
    from notus_exp.stages.settings import BaseModelSettings

    model = Model(name="smollm2_135m", kind="gguf_wheel", hub_id=None, revision="main", path=None, system_prompt="")
    try:
        found = sources.model_sources(model)
    except UserError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("smollm2")
    nowhere = Context(EventWriter("base_model", out / "events.jsonl"), None, out, {"model": found.files})
    base_model.run(BaseModelSettings(model, found.digest), {}, out, nowhere)
    return out / "model"
