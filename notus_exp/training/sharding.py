"""FSDP2 by our own hand: parameters, gradients and the optimiser's state shared out over processes, on every device.

accelerate turns FSDP on for accelerators only, where TRL then loads a reference model that nothing here reads. So the
model is sharded before its optimiser is made, by transformer block, and accelerate sees a model that is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from accelerate.utils import convert_to_fp32
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Sharding(NamedTuple):
    """How a model is shared out.

    Attributes:
        device: Where this process computes.
        processes: Of the process group, all of which share.
        compute: What a forward pass computes in; parameters, reduced gradients and the optimiser's state stay as they
            are, which is float32 where all weights are trained. None: as the parameters are.
    """

    device: torch.device
    processes: int
    compute: torch.dtype | None


class ShardedModel(nn.Module):
    """A sharded model, called under a context; another object than the model, which is how transformers sees it ready.

    Gradients are reduced in each pass: kept whole until a global batch ends, they alone would fill a device.

    Args:
        module: What `shard` has sharded.
        context: Returns the context of a forward pass.
    """

    module: Any  # an FSDPModule, of a class that fully_shard makes

    def __init__(self, module: Any, context: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.module = module
        self._context = context

    def forward(self, *given: Any, **named: Any) -> Any:
        """Return the model's outputs, in float32 as accelerate gives those of any other."""
        with self._context():
            outputs = convert_to_fp32(self.module(*given, **named))
        if not torch.is_grad_enabled():  # no backward pass follows, after which the rest is shared out again
            self.module.reshard()
        return outputs


def shard(model: nn.Module, sharding: Sharding) -> None:
    """Share a model's parameters out, each of its transformer blocks and the rest as one; it moves to the device.

    Args:
        model: Whole, the same in every process; changed in place: its parameters become DTensors.
        sharding: How.
    """
    mesh = init_device_mesh(sharding.device.type, (sharding.processes,))
    policy = MixedPrecisionPolicy(param_dtype=sharding.compute, reduce_dtype=torch.float32)
    for block in blocks(model):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # The head stays with the rest: TRL's fused head reads its weight and never calls it, so no hook would gather it.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks of a model, which transformers names so that no device splits one."""
    names = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    return [module for module in model.modules() if type(module).__name__ in names]


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Return the parameters that are trained, by name."""
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


def size(parameter: nn.Parameter) -> int:
    """Return the elements of a whole parameter, of which ZeRO-3 leaves none in it."""
    found: int = getattr(parameter, "ds_numel", parameter.numel())
    return found


def gathered(model: nn.Module, *, writes: bool) -> dict[str, torch.Tensor]:
    """Return the whole trained parameters, in the processor's memory, where this process writes them; else {}.

    Every process calls it. One parameter is whole on a device at a time.
    """
    found = {}
    for name, value in trained(model):
        held = value.detach()
        whole = held.full_tensor() if isinstance(held, DTensor) else held
        if writes:
            found[name] = whole.cpu()
    return found


def share_state(optimizer: torch.optim.Optimizer, whole: dict[str, Any]) -> None:
    """Load an optimiser's state that was saved whole into one whose parameters are shared out.

    Args:
        optimizer: Of parameters that are DTensors, grouped as those of the state are.
        whole: `state_dict` of an optimiser.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in whole["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        state = whole["state"].get(number, {})
        optimizer.state[parameter] = {name: _like(value, parameter) for name, value in state.items()}


def _like(value: Any, parameter: nn.Parameter) -> Any:
    """Return a value as its parameter is: shared out likewise where it has its shape, else on its device."""
    if not isinstance(value, torch.Tensor) or not value.dim():
        return value
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)
