"""`hardware=auto`: the profile for the devices that were found, and the words that say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from notus_exp.config import auto_hardware, loading
from notus_exp.config.auto_hardware import Picked, profile_for, told_auto
from notus_exp.config.folders import conf_dir
from notus_exp.config.hardware_settings import Launch
from notus_exp.errors import UserError
from notus_exp.machine.cuda import CudaModel
from support.configs import composed

H100, A100, SMALL_A100, RTX = (
    CudaModel(name, memory)
    for name, memory in [
        ("NVIDIA H100 80GB HBM3", 85.0),
        ("NVIDIA A100-SXM4-80GB", 85.1),
        ("NVIDIA A100-SXM4-40GB", 42.3),
        ("NVIDIA GeForce RTX 4090", 25.3),
    ]
)
PROFILES = sorted(path.stem for path in (conf_dir() / "hardware").glob("*.yaml"))


@pytest.mark.parametrize(
    ("devices", "system", "picked"),
    [
        ([], "Linux x86_64", Picked("cpu", {}, "no CUDA device")),
        ([], "Darwin x86_64", Picked("cpu", {}, "no CUDA device")),
        ([], "Darwin arm64", Picked("mps", {}, "no CUDA device, and Apple's GPU")),
        ([H100], "Linux x86_64", Picked("h100", {"memory_gb": 85.0}, "1 x NVIDIA H100 80GB HBM3, 85 GB")),
        ([SMALL_A100], "Linux x86_64", Picked("gpu", {"memory_gb": 42.3}, "1 x NVIDIA A100-SXM4-40GB, 42.3 GB")),
        ([RTX], "Linux x86_64", Picked("gpu_24gb", {"memory_gb": 25.3}, "1 x NVIDIA GeForce RTX 4090, 25.3 GB")),
        ([CudaModel("unknown", 0.0)], "Linux x86_64", Picked("gpu", {}, "1 x unknown")),
        ([H100] * 8, "Linux x86_64", Picked("h100_8", {"memory_gb": 85.0}, "8 x NVIDIA H100 80GB HBM3, 85 GB")),
        ([A100] * 8, "Linux x86_64", Picked("a100_8x80gb", {"memory_gb": 85.1}, "8 x NVIDIA A100-SXM4-80GB, 85.1 GB")),
        (
            [SMALL_A100] * 8,
            "Linux x86_64",
            Picked("a100_8x40gb", {"memory_gb": 42.3}, "8 x NVIDIA A100-SXM4-40GB, 42.3 GB"),
        ),
        (
            [RTX] * 3,
            "Linux x86_64",
            Picked(
                "gpu_24gb",
                {"memory_gb": 25.3, "launch": "ddp", "processes": 2},
                "3 x NVIDIA GeForce RTX 4090, 25.3 GB",
            ),
        ),
        (
            [RTX, H100, H100, RTX],
            "Linux x86_64",
            Picked(
                "gpu_24gb",
                {"memory_gb": 25.3, "launch": "ddp", "processes": 4},
                "2 x NVIDIA GeForce RTX 4090, 2 x NVIDIA H100 80GB HBM3, 25.3 GB of the smallest, for which each is "
                "taken (CUDA_VISIBLE_DEVICES says which are used)",
            ),
        ),
        (
            [RTX] * 8,
            "Linux x86_64",
            Picked(
                "gpu_24gb",
                {"memory_gb": 25.3, "launch": "ddp", "processes": 8},
                "8 x NVIDIA GeForce RTX 4090, 25.3 GB",
            ),
        ),
    ],
)
def test_the_profile_follows_from_the_devices(devices: list[CudaModel], system: str, picked: Picked) -> None:
    assert profile_for(devices, system) == picked
    assert picked.profile in PROFILES


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CudaModel]]:
    """The devices of this machine, which a test adds to."""
    devices: list[CudaModel] = []
    monkeypatch.setattr(auto_hardware, "cuda_models", lambda: devices)
    yield devices
    devices.clear()
    loading.register()


def test_what_was_picked_is_composed_recorded_and_told(found: list[CudaModel]) -> None:
    found += [H100] * 3
    hardware = composed("dpo.global_batch_size=64", "hardware.micro_batch_size=4").hardware
    assert (hardware.name, hardware.launch, hardware.processes) == ("h100", Launch.ddp, 2)
    assert (hardware.micro_batch_size, hardware.memory_gb) == (4, 85.0)
    said = "auto is h100 with 2 processes by ddp here: 3 x NVIDIA H100 80GB HBM3, 85 GB"
    assert told_auto(hardware) == said


@pytest.mark.parametrize(("batch", "processes"), [(64, 8), (12, 6), (4, 4), (7, 7), (11, 1)])
def test_as_many_devices_are_taken_as_share_the_global_batch(
    batch: int, processes: int, found: list[CudaModel]
) -> None:
    found += [SMALL_A100] * 8
    hardware = composed(f"dpo.global_batch_size={batch}", "hardware.micro_batch_size=1").hardware
    assert (hardware.name, hardware.processes) == ("a100_8x40gb", processes)
    alone = (Launch.plain, None, False)
    assert (hardware.launch, hardware.zero_stage, hardware.offload) == (
        (Launch.deepspeed, 3, True) if processes > 1 else alone
    )
    with pytest.raises(UserError, match=r"dpo\.global_batch_size=64 does not divide by hardware\.processes=7"):
        composed("dpo.global_batch_size=64", "hardware.processes=7")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_every_setting_and_runs_a_published_recipe(profile: str) -> None:
    content = yaml.safe_load((conf_dir() / "hardware" / f"{profile}.yaml").read_text())
    assert content["name"] == profile
    config = composed("experiment=notus_7b_v1", f"hardware={profile}")
    assert config.dpo.global_batch_size == 64
    assert content.keys() == vars(config.hardware).keys()
