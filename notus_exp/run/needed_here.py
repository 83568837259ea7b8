"""What a run needs of the place where it is executed, refused before anything is made: keys, devices, libraries."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection

from notus_exp.config.bitsandbytes_checks import check_bitsandbytes
from notus_exp.config.hardware_settings import FLASH, Device, Hardware, Launch
from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.config.made_settings import every_annotator
from notus_exp.config.schema import Config, Stage
from notus_exp.config.sft_checks import as_recipe, told_of_sft
from notus_exp.config.sft_settings import SftTraining
from notus_exp.config.told_to_deepspeed import require_deepspeed
from notus_exp.errors import UserError
from notus_exp.machine.cuda import cuda_devices
from notus_exp.machine.devices import too_few
from notus_exp.run.launch import launch_command
from notus_exp.run.nodes import Node


def check_needed_here(config: Config, missing: Collection[Node]) -> None:
    """Check what a plan for another machine does not need.

    Args:
        config: The run's.
        missing: Those of its nodes that are to be made.

    Raises:
        UserError: Naming what is missing, and the setting or command that mends it.
    """
    _check_keys(config, missing)
    if any(node.in_worker for node in missing):
        _check_machine(config.hardware)
    if any(node.stage is Stage.policy for node in missing):
        check_bitsandbytes(config.dpo)
    if isinstance(config.sft, SftTraining) and any(node.stage is Stage.sft for node in missing):
        with told_of_sft():
            check_bitsandbytes(as_recipe(config.sft))


def _check_keys(config: Config, missing: Collection[Node]) -> None:
    """Check that hosted judges can be asked, where verdicts are missing."""
    wanting = {node.settings["name"] for node in missing if node.stage is Stage.annotations}
    judges = {"judge": config.judge} if any(node.stage is Stage.judgments for node in missing) else {}
    annotators = every_annotator(config.data, config.annotators)
    judges |= {one.key: one.judge for name, one in annotators.items() if name in wanting}
    for key, judge in judges.items():
        if not isinstance(judge, OpenAIJudge) or judge.base_url is not None or judge.offline:
            continue
        if not os.environ.get(judge.api_key_env):
            raise UserError(
                f"{'judge=openai' if key == 'judge' else key} needs a key, and the environment variable "
                f"{judge.api_key_env} is not set",
                f"set it, name another with {key}.api_key_env, or give an endpoint of your own with {key}.base_url",
            )


def _check_machine(hardware: Hardware) -> None:
    number, found = hardware.processes // hardware.nodes, cuda_devices()
    if hardware.device is Device.cuda and found < number:
        raise too_few(number, found)
    if hardware.launch is Launch.deepspeed:
        require_deepspeed()
    if hardware.attention == FLASH and importlib.util.find_spec("flash_attn") is None:
        raise UserError(
            f"hardware.attention={FLASH} needs flash-attn, which is not installed",
            "pip install flash-attn, or use hardware.attention=sdpa",
        )
    launch_command(hardware, "job.json", os.environ)  # whether several nodes know where they meet
