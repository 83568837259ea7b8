"""DeepSpeed's ZeRO: its process group, what it leaves behind, and the whole of what it holds in parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from notus_exp.config.told_to_deepspeed import require_deepspeed
from notus_exp.training.sharding import trained
from notus_exp.training.shards import Key, index, read, write


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Within, train; afterwards transformers and accelerate know nothing of DeepSpeed: what is loaded then is whole.

    Raises:
        UserError: It is not installed.
    """
    require_deepspeed()
    AcceleratorState._reset_state(reset_partial_state=True)  # of a training that was launched otherwise
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        AcceleratorState._reset_state(reset_partial_state=True)
        os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)


def join_group(device: torch.device) -> None:
    """Let DeepSpeed use the process group that there is: it loads a model in parts, and must know of how many.

    Without its own exchange between processes of one machine's processor: that is compiled at its first use, for
    minutes, and where such a compilation was killed each later one waits for it for ever.
    """
    import deepspeed

    group: Any = torch.distributed
    if not group.is_initialized():  # a launch of one process
        backend = "gloo" if device.type == "cpu" else "nccl"
        group.init_process_group(backend, store=group.HashStore(), rank=0, world_size=1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=group.get_backend(), auto_mpi_discovery=False, verbose=False)


def masters(model: nn.Module, *, writes: bool) -> dict[str, torch.Tensor]:
    """Return the trained parameters whole, in float32 and the processor's memory, where this process writes; else {}.

    Every process calls it. One parameter is whole on a device at a time.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    found = {}
    for name, value in trained(model):
        whole = safe_get_full_fp32_param(value)
        if writes:
            found[name] = whole.detach().float().cpu()
    return found


def save_whole(model: nn.Module, engine: Any, folder: Path, *, writes: bool) -> None:
    """Write the trained parameters and the optimiser's state, each whole; every process calls it, one writes.

    DeepSpeed's own checkpoints are pickles for as many processes as wrote them; this one any launch goes on from.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    _link_state(engine)
    held = {Key("", name): value for name, value in masters(model, writes=writes).items()}
    for name, parameter in trained(model):
        for state, value in _state(engine).items():
            whole = safe_get_full_optimizer_state(parameter, state) if value.dim() else value
            if writes:
                held[Key(state, name)] = whole.detach().cpu()
    if writes:
        write(held, folder, alone=True)


def load_whole(model: nn.Module, engine: Any, folder: Path) -> None:
    """Read a checkpoint of shards, whoever wrote it, into the parts that DeepSpeed holds: one parameter at a time."""
    found = index(folder)
    scalars = {key.state: read(folder, key) for key, known in found.items() if key.state and not len(known.size)}
    _make_state(engine, {key.state for key in found if key.state}, scalars)
    for name, parameter in trained(model):
        _set(parameter, read(folder, Key("", name)), None)
        for state, value in _state(engine).items():
            if value.dim():
                _set(parameter, read(folder, Key(state, name)), state)


def _state(engine: Any) -> dict[str, torch.Tensor]:
    """Return the optimiser's state of one part: tensors with a dimension are by element, others of the whole part."""
    states = engine.optimizer.optimizer.state.values()
    return {name: value for name, value in next(iter(states), {}).items() if isinstance(value, torch.Tensor)}


def _make_state(engine: Any, names: set[str], scalars: dict[str, torch.Tensor]) -> None:
    """Give the optimiser, which makes its state at its first step, the state that a checkpoint has."""
    zero = engine.optimizer
    parts = zero.fp32_partitioned_groups_flat if _in_parts(engine) else zero.single_partition_of_fp32_groups
    for part in parts:
        state = {name: scalars[name].clone() if name in scalars else torch.zeros_like(part) for name in names}
        zero.optimizer.state[part] = state
    _link_state(engine)


def _link_state(engine: Any) -> None:
    """Let parameters know their part of the optimiser's state.

    DeepSpeed does so after the first step of the first group of parameters, when the second has no state yet.
    """
    if not _in_parts(engine):
        engine.optimizer._hp_optimizer_states_linked = False
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _in_parts(engine: Any) -> bool:
    """Say whether the weights are shared out too."""
    return hasattr(engine.optimizer, "fp32_partitioned_groups_flat")


def _set(parameter: Any, whole: torch.Tensor, state: str | None) -> None:
    """Keep this process's part of a master weight or of the optimiser's state, and the weight that a pass reads."""
    if not hasattr(parameter, "ds_tensor"):
        parameter.set_full_hp_param(whole, state)
        if state is None:
            parameter.data.copy_(whole)
        return
    held = parameter.ds_tensor
    rank = torch.distributed.get_rank()
    filled = torch.zeros(held.numel() * torch.distributed.get_world_size(), dtype=whole.dtype)
    filled[: whole.numel()] = whole.flatten()
    own = filled.narrow(0, rank * held.numel(), held.numel())
    parameter._z3_optimizer.set_local_hp_param(own, parameter, state)
    if state is None:
        held.data.copy_(own)
