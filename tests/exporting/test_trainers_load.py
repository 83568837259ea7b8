"""The trainers themselves load what is written for them, where they are installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from notus_exp.exporting.handing_over import ExportRequest, export
from support.exported_runs import COMMIT, HUB_ID, RUN, made_run

LLAMA_FACTORY = """
import yaml
from llamafactory.hparams.data_args import DataArguments
from llamafactory.hparams.finetuning_args import FinetuningArguments
from llamafactory.hparams.generating_args import GeneratingArguments
from llamafactory.hparams.model_args import ModelArguments
from llamafactory.hparams.training_args import TrainingArguments
from transformers import HfArgumentParser

kinds = [ModelArguments, DataArguments, TrainingArguments, FinetuningArguments, GeneratingArguments]
told = yaml.safe_load(open("llama_factory.yaml"))
model, data, training, finetuning, _ = HfArgumentParser(kinds).parse_dict(told)
assert (finetuning.stage, finetuning.pref_beta, data.cutoff_len) == ("dpo", 0.1, 1024)
"""
ITS_PAIRS = """
import sys
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
template = get_template_and_fix_tokenizer(tokenizer, data)
sets = get_dataset(template, model, data, training, stage="rm", tokenizer=tokenizer)
assert (len(sets["train_dataset"]), len(sets["eval_dataset"])) == (4, 1)
said = tokenizer.decode(sets["train_dataset"][0]["chosen_input_ids"])
assert "Name a river, number 0." in said and "The Ucayali 0." in said, said
"""
AXOLOTL = """
import yaml
from axolotl.utils.schemas.config import AxolotlInputConfig

told = yaml.safe_load(open("axolotl.yaml"))
read = AxolotlInputConfig(**told)
assert (read.rl.value, read.rl_beta, read.sequence_len) == ("dpo", 0.1, 1024)
unknown = set(told) - {*AxolotlInputConfig.model_fields}
assert not unknown, unknown
assert read.datasets[0].path == "data/train.jsonl"
"""


def loaded(program: str, form: str, root: Path, *arguments: str) -> None:
    made_run(root / "outputs", overrides=("dpo=lora", "dpo.precision=float32"))
    base = f"hub:{HUB_ID}@{COMMIT}"
    export(ExportRequest(RUN, root / "out", form, root / "outputs", base=base))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=root / "out",
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "DISABLE_VERSION_CHECK": "1", "HF_DATASETS_CACHE": str(root / "cache")},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llamafactory") is None, reason="LLaMA-Factory is not installed")
def test_llama_factory_loads_its_config(tmp_path: Path) -> None:
    loaded(LLAMA_FACTORY, "llama_factory", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llamafactory", "torchaudio")),
    reason="LLaMA-Factory is not installed with what its data needs",
)
def test_llama_factory_reads_its_pairs(tmp_path: Path, tiny_model_folder: Path) -> None:
    loaded(LLAMA_FACTORY + ITS_PAIRS, "llama_factory", tmp_path, str(tiny_model_folder))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("axolotl") is None, reason="axolotl is not installed")
def test_axolotl_loads_its_config(tmp_path: Path) -> None:
    loaded(AXOLOTL, "axolotl", tmp_path)
