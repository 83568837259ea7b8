"""Models and tokenizers: loading them from a folder, choosing their dtype and device, and a tiny random one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from notus_exp.config.bitsandbytes_checks import require_bitsandbytes
from notus_exp.config.hardware_settings import Device, Hardware
from notus_exp.config.precisions import working_of
from notus_exp.config.training_settings import QUANTISATIONS
from notus_exp.disk import files
from notus_exp.errors import UserError, first_line
from notus_exp.models.told_config import TINY

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

MOST_CHARACTERS = 200
"""Of what a library says in an error, so much is repeated at most."""

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML in which a system turn is rendered where there is one, and none is invented."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# A few merges: tokens of several bytes, and tokens that depend on what stands beside them, as in real tokenizers.
_MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("a", "n"), ("an", "d"), ("e", "r"), ("o", "n"))


class PolicyFolders(NamedTuple):
    """Where `load_model` finds a policy: `base` are full weights, `adapter` a PEFT folder or None."""

    base: Path
    adapter: Path | None


# ------------------------------------------------------------------------------------------------------- tiny random
def tiny_random(folder: Path, seed: int) -> None:
    """Write a random two-layer Llama (hidden size 64) with a byte-level tokenizer and a ChatML template.

    Needs no network; the same seed gives the same bytes. The global random state is left as it was.

    Args:
        folder: Where `from_pretrained` will find it; made if it does not exist.
        seed: Seed of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        **{name: value for name, value in TINY.items() if name != "model_type"},
        initializer_range=0.1,  # wide enough that tokens get visibly different log-probs
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 256 bytes, a few merges and three special tokens: any text survives encoding and decoding."""
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in _MERGES]
    ids = {token: number for number, token in enumerate(vocabulary)}
    backend = Tokenizer(models.BPE(vocab=ids, merges=list(_MERGES)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


# ------------------------------------------------------------------------------------------------------------ loading
def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a local folder; a missing pad token becomes the end-of-text token.

    Padding never enters a result (it is masked), so that choice cannot move one.

    Raises:
        UserError: No tokenizer can be loaded, it is not a fast one, or it has no chat template or end token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"model: no tokenizer can be loaded from {folder.name!r}: {first_line(error)[:MOST_CHARACTERS]}",
            "give a folder or hub id with tokenizer.json (or a SentencePiece tokenizer.model)",
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(
            f"model: {type(tokenizer).__name__} is not a fast tokenizer", "add a tokenizer.json to the model's folder"
        )
    if not tokenizer.chat_template:
        raise UserError(
            "model: the tokenizer has no chat template",
            "choose an instruction-tuned model, or give it one: model.chat_template, or chat_template.jinja in a local "
            "folder (model=local)",
        )
    if tokenizer.eos_token_id is None:
        raise UserError("model: the tokenizer has no end token", "set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def pick_device(hardware: Hardware, precision: str | None = None) -> torch.device:
    """Return the device that the hardware option asks for.

    Under a launcher with several processes each takes the device of its LOCAL_RANK.

    Args:
        hardware: The hardware option.
        precision: Where given, the device must compute in it.

    Raises:
        UserError: CUDA or MPS is asked for and absent, or the device does not compute in `precision`.
    """
    if hardware.device is Device.cpu:
        return torch.device("cpu")
    if hardware.device is Device.mps:
        return _mps(hardware, precision)
    if not torch.cuda.is_available():
        raise UserError(
            f"hardware={hardware.name} needs a CUDA device and PyTorch sees none",
            "use hardware=cpu, or check the driver with nvidia-smi and that PyTorch is a CUDA build",
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"dpo.precision=bfloat16 is not supported by {torch.cuda.get_device_name(device)}",
            "use dpo.precision=float16 or float32",
        )
    return device


def _mps(hardware: Hardware, precision: str | None) -> torch.device:
    if not torch.backends.mps.is_available():
        raise UserError(
            f"hardware={hardware.name} needs a Mac's GPU (MPS) and PyTorch sees none",
            "use hardware=cpu or hardware=gpu",
        )
    if precision == "bfloat16" and not torch.backends.mps.is_macos_or_newer(14, 0):
        raise UserError("dpo.precision=bfloat16 needs macOS 14 on MPS", "use dpo.precision=float32, or a newer macOS")
    return torch.device("mps")


def load_model(
    base: Path,
    adapter: Path | None,
    precision: str,
    hardware: Hardware,
    *,
    trainable: bool = False,
    full: bool = False,
) -> PreTrainedModel:
    """Load a causal language model from local safetensors, with a LoRA adapter on it where one is given.

    Dtype of the weights:

    - float32: float32, always.
    - bfloat16, float16: that dtype for scoring, generation, the frozen base of LoRA (PEFT keeps the adapter's own
      weights in float32) and a training of all weights by `dpo.master_weights=same`.
    - bfloat16, float16 with `full`: float32 master weights, computed under `autocast`. Updates of a small learning
      rate vanish in 8 or 11 bits of mantissa (docs/results/precision.md).

    A policy whose weights were all trained is given as `base`, with `adapter=None`.

    Args:
        base: Folder of the full weights.
        adapter: Folder of a PEFT adapter, or None.
        precision: float32, bfloat16 or float16, or one with a quantisation (`config/precisions.working_precision`).
        hardware: Device and attention implementation.
        trainable: In training mode with the adapter's gradients on, left where it was loaded (the trainer places it);
            otherwise in evaluation mode, without gradients, on the device.
        full: All weights are going to be trained, as float32 masters.

    Returns:
        A PreTrainedModel, or a PeftModel around one.

    Raises:
        UserError: The weights cannot be loaded or are not safetensors, or the device or precision is not to be had.
    """
    computed, quantisation = working_of(precision)
    device = pick_device(hardware, computed)
    dtype = torch.float32 if full else DTYPES[computed]
    quantised = _quantised(quantisation, dtype, device) if quantisation != QUANTISATIONS[0] else {}
    try:
        with nullcontext() if trainable else in_one_piece():
            model = AutoModelForCausalLM.from_pretrained(
                base,
                dtype=dtype,
                attn_implementation=hardware.attention,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **quantised,
            )
    except (OSError, ValueError, ImportError) as error:
        said = first_line(error)[:MOST_CHARACTERS]
        raise UserError(
            f"model: {base.name!r} cannot be loaded with hardware.attention={hardware.attention}: {said}",
            "a model needs config.json, safetensors weights and an architecture that transformers knows",
        ) from error
    if adapter is not None:
        model = _with_adapter(model, adapter, trainable)
    if trainable:
        return model.train()
    model = model.requires_grad_(False).eval()
    return model if quantised else model.to(device)  # quantised weights are made where they are to be


def _quantised(quantisation: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return what `from_pretrained` is told for linear layers that are held in 8 or 4 bits; the head stays as it is.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    require_bitsandbytes(f"dpo.lora.quantisation={quantisation}")
    if quantisation == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantisation,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def load_policy(base: Path, adapter: Path | None, precision: str, hardware: Hardware) -> PreTrainedModel:
    """Load a policy for inference (see `load_model`), in float32 with its adapter merged into the weights.

    Merged, a token is less work. In 8 or 11 bits of mantissa the merged weights would lose part of the adapter, which
    therefore stays beside them, and the model returned is a PeftModel.
    """
    model = load_model(base, adapter, precision, hardware)
    return model.merge_and_unload() if adapter is not None and precision == "float32" else model


def _with_adapter(model: PreTrainedModel, adapter: Path, trainable: bool) -> Any:
    from peft import PeftModel  # only where an adapter is loaded: importing PEFT takes seconds

    if not (adapter / ADAPTER_WEIGHTS).exists():
        raise UserError(
            f"the adapter in {adapter.name!r} has no {ADAPTER_WEIGHTS}", "only adapters saved as safetensors are loaded"
        )
    return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Let transformers load models whole within the block.

    While DeepSpeed's ZeRO-3 is told of, as it is from a training's arguments on, transformers loads every model in
    parts of which each process has one: a model that scores or answers is whole in each.
    """
    from transformers.integrations import deepspeed

    told, deepspeed._hf_deepspeed_config_weak_ref = deepspeed._hf_deepspeed_config_weak_ref, None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = told


def policy_folders(base_model: Path, policy: Path | None) -> PolicyFolders:
    """Return the folders to load a policy from.

    Args:
        base_model: Folder of the artifact `base_model`.
        policy: Folder of the artifact `policy`, or None for the base model itself.

    Returns:
        (base folder, adapter folder or None): an adapter_config.json inside the policy's model decides.
    """
    if policy is None:
        return PolicyFolders(base_model / files.MODEL, None)
    if (policy / files.MODEL / ADAPTER_CONFIG).exists():
        return PolicyFolders(base_model / files.MODEL, policy / files.MODEL)
    return PolicyFolders(policy / files.MODEL, None)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass computes in `precision`; float32 needs none."""
    computed = working_of(precision).computed
    if computed == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[computed])
