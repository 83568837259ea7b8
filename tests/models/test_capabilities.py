"""What config.json, tokenizer and template tell about a model is checked before anything is computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import GPT2Config

from notus_exp.errors import UserError
from notus_exp.models.capabilities import check_fit, open_model
from notus_exp.models.pretrained import CHATML
from notus_exp.stages.context import Requirements

HIDES = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture
def local(tiny_model_folder, tmp_path):
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mine"))


@pytest.fixture
def gpt2(tiny_model_folder, tmp_path):
    """The tiny tokenizer with GPT-2's config: learnt positions, and Conv1D in the place of linear layers."""
    folder = tmp_path / "gpt2"
    shutil.copytree(tiny_model_folder, folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    GPT2Config(vocab_size=267, n_positions=128, n_embd=32, n_layer=1, n_head=2).save_pretrained(folder)
    return folder


def fit(folder, max_length=96, system_prompt=None, date=None, **requirements):
    check_fit(folder, Requirements(**requirements), max_length, system_prompt, date)


def with_template(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_no_more_tokens_are_asked_for_than_the_model_has_positions(tiny_model_folder, gpt2):
    fit(tiny_model_folder, 2048)
    with pytest.raises(UserError, match=r"dpo\.max_length=4096 is more than the 2048(.|\n)*dpo\.max_length=2048"):
        fit(tiny_model_folder, 4096)
    with pytest.raises(UserError, match="the 128 tokens"):
        fit(gpt2, 129)


def test_an_answer_leaves_room_for_its_prompt(tiny_model_folder):
    fit(tiny_model_folder, new_tokens={"evaluation.verifiable.max_new_tokens": 2047})
    with pytest.raises(UserError, match=r"evaluation\.verifiable\.max_new_tokens=2048 leaves no token of the 2048"):
        fit(tiny_model_folder, new_tokens={"evaluation.verifiable.max_new_tokens": 2048})


def test_layers_for_adapters_are_those_of_the_model(tiny_model_folder, gpt2):
    fit(tiny_model_folder, target_modules=ATTENTION)
    fit(tiny_model_folder, target_modules=["all-linear"])
    fit(gpt2, target_modules=["c_attn", "c_proj"])
    with pytest.raises(UserError, match=r"'q_proj', which the model has not(.|\n)*c_proj"):
        fit(gpt2, target_modules=ATTENTION)
    with pytest.raises(UserError, match=r"'q_prj'(.|\n)*did you mean 'q_proj'"):
        fit(tiny_model_folder, target_modules=["v_proj", "q_prj"])


def test_a_token_beyond_the_embeddings_is_refused_where_it_can_occur(local):
    config = json.loads((local / "config.json").read_text())
    (local / "config.json").write_text(json.dumps({**config, "vocab_size": 260}))
    with pytest.raises(UserError, match="beyond the 260 that the model embeds"):
        open_model(local)
    tokenizer = json.loads((local / "tokenizer.json").read_text())
    (local / "config.json").write_text(json.dumps(config))
    last = max(token["id"] for token in tokenizer["added_tokens"])
    tokenizer["added_tokens"].append(
        {"id": last + 1, "content": "<image>", "special": True, "normalized": False,
         "single_word": False, "lstrip": False, "rstrip": False}
    )  # fmt: skip
    (local / "tokenizer.json").write_text(json.dumps(tokenizer))
    open_model(local)  # a special token that neither the template nor the end of a text uses
    with_template(local, "<image>" + CHATML)
    with pytest.raises(UserError, match="'<image>'"):
        open_model(local)


def test_a_system_turn_of_the_config_that_the_template_hides_is_an_error(local):
    fit(local, system_prompt="Be kind.")
    fit(local, system_prompt="")
    with_template(local, HIDES)
    fit(local)
    for system_prompt in ("Be kind.", ""):
        with pytest.raises(UserError, match=r"does not show a system turn(.|\n)*model\.system_prompt=null"):
            fit(local, system_prompt=system_prompt)


def test_a_template_that_asks_for_a_date_needs_one(local):
    with_template(local, "{{ strftime_now('%Y') }}" + CHATML)
    open_model(local)
    with pytest.raises(UserError, match=r"model\.template_date="):
        fit(local)
    fit(local, date="2024-07-26")


@pytest.mark.parametrize("asks", ["", "{% if messages[0].role == 'system' %}{{ strftime_now('%Y') }}{% endif %}"])
def test_a_date_for_a_template_that_asks_for_none_is_refused(local, asks):
    with_template(local, asks + CHATML)
    if asks:  # the data may have system turns
        fit(local, date="2024-07-26")
        return
    with pytest.raises(UserError, match=r"model\.template_date=2024-07-26: (.|\n)*template_date=null"):
        fit(local, date="2024-07-26")


@pytest.mark.parametrize("where", ["true", "messages[0].role == 'system'", "add_generation_prompt"])
def test_a_template_that_writes_two_texts_is_refused(local, where):
    address = "{{ messages | map(attribute='role') }}"  # where an object lies in memory
    with_template(local, f"{{% if {where} %}}{address}{{% endif %}}{CHATML}")
    with pytest.raises(UserError, match="in two ways"):
        open_model(local)
    with_template(local, f"{{{{ raise_exception('none') if {where} }}}}{CHATML}")
    if "system" in where:  # a template that takes none
        open_model(local)


def test_several_templates_without_a_default_are_refused_when_the_model_is_opened(local):
    (local / "chat_template.jinja").unlink(missing_ok=True)
    path = local / "tokenizer_config.json"
    several = [{"name": name, "template": CHATML} for name in ("rag", "tool_use")]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": several}))
    with pytest.raises(UserError, match=r"several chat templates \(rag, tool_use\)"):
        open_model(local)


def test_an_endless_template_is_refused_when_the_model_is_opened(local, monkeypatch):
    from notus_exp.models import bounded_rendering

    bounded_rendering.forget()
    monkeypatch.setattr(bounded_rendering, "SECONDS", 0.3)
    with_template(local, "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}" + CHATML)
    with pytest.raises(UserError, match="s of computing"):
        open_model(local)
    bounded_rendering.forget()
