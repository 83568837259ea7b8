import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.models import likelihoods, reference
from notus_exp.models import pretrained as models
from notus_exp.stages.settings import LikelihoodsSettings

TRAINED = LikelihoodsSettings(precision="float32", kl_prompts=3)
# prompt ids, completion ids, reference log-prob, use
ROWS = [
    ([1, 2, 3], [4, 5], -11.0, "test"),
    ([1, 2, 3], [6], -5.5, "test"),
    ([7], [1, 2, 3, 4, 5, 6], -33.0, "test"),
]
ANSWERS = [([1, 2], [3, 4, 5]), ([5], [266]), ([6, 6, 6], []), ([9], [9])]


def adapter(folder, base, zero):
    """A LoRA policy: random matrices, or a fresh one, which leaves the base model as it is."""
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=zero, task_type="CAUSAL_LM")
    torch.manual_seed(1)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), wanted).save_pretrained(folder)


@pytest.fixture
def inputs(tmp_path, tiny_model_folder):
    places = {name: tmp_path / f"{name}-0123" for name in ("base_model", "reference_scored", "policy", "generations")}
    for place in places.values():
        place.mkdir()
    (places["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    columns = ("prompt_ids", "completion_ids", "ref_logp", "use")
    rows = [dict(zip(columns, row, strict=True)) for row in ROWS]
    rows = [{"prompt_id": f"p{i // 2}", "row": i // 2, "completion": i % 2, **row} for i, row in enumerate(rows)]
    pl.DataFrame(rows, schema=reference.SCHEMA).write_parquet(places["reference_scored"] / files.REFERENCE)
    answers = {
        "prompt_id": [f"g{i}" for i in range(len(ANSWERS))],
        "prompt_ids": [prompt for prompt, _ in ANSWERS],
        "response_ids": [response for _, response in ANSWERS],
    }
    schema = {"prompt_id": pl.String, "prompt_ids": pl.List(pl.Int64), "response_ids": pl.List(pl.Int64)}
    pl.DataFrame(answers, schema=schema).write_parquet(places["generations"] / files.GENERATIONS)
    return places


def make(settings, inputs, out, context):
    out.mkdir()
    facts = likelihoods.run(settings, inputs, out, context)
    return facts, pl.read_parquet(out / files.LIKELIHOODS), pl.read_parquet(out / files.DIVERGENCE)


def log_softmax_by_hand(model, ids):
    """Log-probs of the next token at every position, in float64."""
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0].double()
    return scores - torch.logsumexp(scores, dim=-1, keepdim=True)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_log_probs_and_divergence_are_what_two_models_give_by_hand(inputs, tmp_path, context, cpu, kind, size):
    base = inputs["base_model"] / files.MODEL
    if kind == "lora":
        adapter(inputs["policy"] / files.MODEL, base, zero=False)
        policy = models.load_model(base, inputs["policy"] / files.MODEL, "float32", cpu)
    else:
        models.tiny_random(inputs["policy"] / files.MODEL, seed=5)
        policy = models.load_model(inputs["policy"] / files.MODEL, None, "float32", cpu)
    origin = models.load_model(base, None, "float32", cpu)

    facts, scored, divergence = make(TRAINED, inputs, tmp_path / "out", context(scoring_batch_size=size))

    expected = []
    for prompt, completion, _, _ in ROWS:
        logps = log_softmax_by_hand(policy, prompt + completion)
        expected.append(sum(logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(completion)))
    assert scored["logp"].to_list() == pytest.approx(expected, abs=1e-4)
    assert scored["ref_logp"].to_list() == [-11.0, -5.5, -33.0]
    assert scored.select("prompt_id", "row", "completion").rows() == [("p0", 0, 0), ("p0", 0, 1), ("p1", 1, 0)]
    assert scored["tokens"].to_list() == [2, 1, 6]

    kls = []
    for prompt, answer in ANSWERS[:3]:
        kl = 0.0
        for position in range(len(answer)):
            ids = prompt + answer[:position]  # exactly what the next token was drawn from
            log_p, log_q = (log_softmax_by_hand(model, ids)[-1] for model in (policy, origin))
            kl += sum(math.exp(a) * (a - b) for a, b in zip(log_p.tolist(), log_q.tolist(), strict=True))
        kls.append(kl)
    assert divergence["prompt_id"].to_list() == ["g0", "g1", "g2"]
    assert divergence["kl"].to_list() == pytest.approx(kls, abs=1e-5)
    assert divergence["kl"][0] > 0.01  # these two models do differ
    assert divergence["tokens"].to_list() == [3, 1, 0]
    assert facts["completions"] == 3
    assert facts["answers"] == 3


def test_in_bfloat16_the_adapter_stays_beside_the_weights_and_the_divergence_is_about_the_same(
    inputs, tmp_path, context
):
    adapter(inputs["policy"] / files.MODEL, inputs["base_model"] / files.MODEL, zero=False)
    _, exact, kl = make(TRAINED, inputs, tmp_path / "exact", context())
    _, rounded, rounded_kl = make(replace(TRAINED, precision="bfloat16"), inputs, tmp_path / "rounded", context())
    assert rounded["logp"].to_list() == pytest.approx(exact["logp"].to_list(), rel=0.02)
    assert rounded_kl["kl"].to_list() == pytest.approx(kl["kl"].to_list(), rel=0.1)


def test_a_policy_that_is_its_reference_has_no_divergence(inputs, tmp_path, context):
    adapter(inputs["policy"] / files.MODEL, inputs["base_model"] / files.MODEL, zero=True)
    _, _, divergence = make(TRAINED, inputs, tmp_path / "out", context())
    assert divergence["kl"].to_list() == [0.0, 0.0, 0.0]


def test_what_is_not_asked_for_has_no_rows(inputs, tmp_path, context):
    adapter(inputs["policy"] / files.MODEL, inputs["base_model"] / files.MODEL, zero=True)
    no_kl = replace(TRAINED, kl_prompts=0)
    generations = inputs.pop("generations")  # it is no input then
    _, scored, divergence = make(no_kl, inputs, tmp_path / "no_kl", context())
    assert (scored.height, divergence.height) == (3, 0)
    assert dict(divergence.schema) == dict(likelihoods.DIVERGENCE_SCHEMA)
    inputs["generations"] = generations
    del inputs["reference_scored"]
    only_kl = replace(TRAINED, kl_prompts=2)
    _, scored, divergence = make(only_kl, inputs, tmp_path / "only_kl", context())
    assert (scored.height, divergence.height) == (0, 2)
    assert dict(scored.schema) == dict(likelihoods.LIKELIHOODS_SCHEMA)


def test_a_policy_that_gives_no_number_stops_the_run(inputs, tmp_path, context):
    from safetensors.torch import load_file, save_file

    models.tiny_random(inputs["policy"] / files.MODEL, seed=5)
    path: Path = inputs["policy"] / files.MODEL / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], math.nan)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="the policy gives a log-prob that is not finite"):
        make(TRAINED, inputs, tmp_path / "out", context())


logits = st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4)


@settings(max_examples=100, deadline=None)
@given(logits, logits)
def test_divergence_is_zero_of_itself_never_negative_and_the_textbook_sum(p, q):
    of_p, of_q = torch.tensor([p]), torch.tensor([q])
    assert likelihoods.token_divergence(of_p, of_p).item() == 0.0
    found = likelihoods.token_divergence(of_p, of_q).item()
    assert found >= -1e-12
    probs = [[math.exp(x) / sum(map(math.exp, side)) for x in side] for side in (p, q)]
    expected = sum(a * math.log(a / b) for a, b in zip(*probs, strict=True))
    assert found == pytest.approx(expected, abs=1e-9)


def test_divergence_of_two_coins():
    fair, biased = torch.tensor([[0.0, 0.0]]), torch.log(torch.tensor([[0.9, 0.1]]))
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert likelihoods.token_divergence(fair, biased).item() == pytest.approx(expected, abs=1e-6)
