"""Checkpoints of a model that is shared out: each process writes its part, and any number of processes reads them.

The format is torch's distributed checkpoint. Only tensors are in it, and they are read as nothing else; its index is a
pickle, of which no class is made but those that an index consists of.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, zeros

from notus_exp.training.sharding import trained

FOLDER = "shards"
"""In a checkpoint: the trained parameters and the optimiser's state."""

_INDEX = {
    "torch.distributed.checkpoint.metadata": {
        *("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta"),
        *("TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {
        "Size",
        *(str(kind).removeprefix("torch.") for kind in vars(torch).values() if type(kind) is torch.dtype),
    },
    "pathlib": {"PosixPath"},
}
"""What an index is made of: module -> names."""


class _Index(pickle.Unpickler):
    """Reads an index; anything else in its place is refused before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of an index."""
        if name not in _INDEX.get(module, ()):
            raise pickle.UnpicklingError(f"its index asks for {module}.{name}")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """Torch's reader, whose own index reader takes any pickle."""

    def read_metadata(self, *given: Any, **named: Any) -> Metadata:
        """Return the index."""
        with (Path(self.path) / ".metadata").open("rb") as stream:
            index: Metadata = _Index(stream).load()
        return index


class Key(NamedTuple):
    """What a tensor in a checkpoint is.

    Attributes:
        state: Name of the optimiser's state; "" for a weight.
        parameter: Name of the parameter that it belongs to.
    """

    state: str
    parameter: str

    def __str__(self) -> str:
        """Return the name in the file."""
        return f"state.{self.state}.{self.parameter}" if self.state else f"weight.{self.parameter}"

    @classmethod
    def of(cls, name: str) -> Key:
        """Return the key of a name in the file."""
        kind, _, rest = name.partition(".")
        state, _, parameter = rest.partition(".")
        return cls(state, parameter) if kind == "state" else cls("", rest)


def save_shards(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write the trained parameters and the optimiser's state; every process calls it."""
    held = {Key("", name): value.detach() for name, value in trained(model)}
    for name, parameter in trained(model):
        for state, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                held[Key(state, name)] = value
    write(held, folder, alone=not dist.is_initialized())


def load_shards(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read what was written, whatever the number of processes then, into a model that is shared out or whole.

    Raises:
        UnpicklingError: The index is none.
    """
    parameters = dict(trained(model))
    held = {Key("", name): value.detach() for name, value in parameters.items()}
    for key, known in index(folder).items():
        if key.state:
            held[key] = _empty(known, parameters[key.parameter])
    named = {str(key): value for key, value in held.items()}
    load(named, storage_reader=_Reader(folder), no_dist=not dist.is_initialized())
    for key, value in held.items():
        if key.state:
            optimizer.state[parameters[key.parameter]][key.state] = value


def write(held: dict[Key, torch.Tensor], folder: Path, *, alone: bool) -> None:
    """Write tensors, each process its part, or this one everything."""
    named = {str(key): value for key, value in held.items()}
    save(named, storage_writer=FileSystemWriter(folder), no_dist=alone)


def read(folder: Path, key: Key) -> torch.Tensor:
    """Return one tensor whole, in the processor's memory; this process alone reads it."""
    known = index(folder)[key]
    found = {str(key): torch.empty(known.size, dtype=known.properties.dtype)}
    load(found, storage_reader=_Reader(folder), no_dist=True)
    return found[str(key)]


def index(folder: Path) -> dict[Key, TensorStorageMetadata]:
    """Return what is there.

    Raises:
        UnpicklingError: It is no index.
    """
    found = _Reader(folder).read_metadata().state_dict_metadata
    return {Key.of(name): known for name, known in found.items() if isinstance(known, TensorStorageMetadata)}


def _empty(known: TensorStorageMetadata, parameter: nn.Parameter) -> torch.Tensor:
    """Return a place for a tensor of the optimiser's state: shared out as its parameter is where it has its shape."""
    dtype = known.properties.dtype
    if isinstance(parameter, DTensor) and known.size == parameter.shape:
        return zeros(known.size, dtype=dtype, device_mesh=parameter.device_mesh, placements=parameter.placements)
    return torch.zeros(known.size, dtype=dtype, device=parameter.device if len(known.size) else "cpu")
