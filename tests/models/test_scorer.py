"""One pass over a prompt for all of its completions, and logits in chunks: the log-probs of the plain pass."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.models import scorer as scoring
from notus_exp.models.encoding import Encoded
from notus_exp.models.logprobs import tokens_of
from notus_exp.models.packing import ROW_TOKENS, pack, prompt_batches, row_tokens, rows_of
from notus_exp.models.pretrained import load_model
from notus_exp.models.scorer import Scorer

CPU = torch.device("cpu")
PROMPTS = [[5, 6, 7], [9], [4, 2, 4, 2, 4, 2]]
ITEMS = [
    Encoded(PROMPTS[0], [8, 9]),
    Encoded(PROMPTS[1], [2, 3, 4, 5, 6]),
    Encoded(PROMPTS[0], [8, 9]),
    Encoded(PROMPTS[0], [1]),
    Encoded(PROMPTS[0], []),
    Encoded(PROMPTS[2], [1, 1, 3]),
    Encoded(PROMPTS[1], [3, 3, 3, 3, 3, 3, 3, 3]),
]
KEYS = [f"{number}" for number in range(len(ITEMS))]
SIZES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
HEADS = {"intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
OWN = {"head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {
    "vocab_size": 96,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "eos_token_id": 1,
    "bos_token_id": 1,
}


def made(config, attention="sdpa"):
    config._attn_implementation = attention
    torch.manual_seed(3)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


MODELS = {
    "llama": lambda: made(transformers.LlamaConfig(**SIZES, **HEADS)),
    "eager": lambda: made(transformers.LlamaConfig(**SIZES, **HEADS), "eager"),
    "a window": lambda: made(transformers.MistralConfig(**SIZES, **HEADS, sliding_window=64)),
    "a cap on logits": lambda: made(transformers.Gemma2Config(**SIZES, **HEADS, **OWN, sliding_window=64), "eager"),
    "a scale of logits": lambda: made(transformers.CohereConfig(**SIZES, **HEADS, logit_scale=0.25)),
}
PLAIN = {
    "a mask of two dimensions": lambda: made(transformers.GPT2Config(**GPT2)),
    "a narrow window": lambda: made(transformers.MistralConfig(**SIZES, **HEADS, sliding_window=4)),
    "a recurrence": lambda: made(transformers.MambaConfig(**SIZES, state_size=4), "eager"),
    "counted positions": lambda: made(
        transformers.BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4), "eager"
    ),
}


def by_hand(model, item):
    """One forward pass over everything, then a loop over the completion's tokens, in float64."""
    ids = item.prompt_ids + item.completion_ids
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    start = len(item.prompt_ids)
    return sum(logps[start + place - 1, token].item() for place, token in enumerate(item.completion_ids))


@pytest.mark.parametrize("name", [*MODELS, *PLAIN])
def test_both_passes_are_the_sum_over_the_tokens_whatever_the_model(name):
    model = {**MODELS, **PLAIN}[name]()
    scorer = Scorer(model, "float32", CPU)
    plan = scorer.plan(ITEMS, KEYS, 4)
    assert plan.shared is (name in MODELS)
    assert sorted(place for batch in plan.batches for place in batch) == [*range(len(ITEMS))]
    expected = [by_hand(model, item) for item in ITEMS]
    assert scorer.logps(ITEMS, shared=False) == pytest.approx(expected, abs=2e-5)
    for batch in plan.batches:
        found = scorer.logps([ITEMS[place] for place in batch], shared=plan.shared)
        assert found == pytest.approx([expected[place] for place in batch], abs=2e-5)


def test_a_completion_behind_others_is_what_it_is_alone_to_the_bit_where_the_row_is_the_same():
    scorer = Scorer(MODELS["llama"](), "float32", CPU)
    one, other = (
        scorer.logps([Encoded(PROMPTS[0], first), Encoded(PROMPTS[0], [8, 9, 3])], shared=True)
        for first in ([5, 5, 5], [7, 1, 6])
    )
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_an_adapter_beside_the_weights_is_heeded_and_left_out_on_request(tiny_model_folder, cpu):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    base = Scorer(load_model(tiny_model_folder, None, "float32", cpu), "float32", CPU).logps(ITEMS, shared=True)
    policy = get_peft_model(load_model(tiny_model_folder, None, "float32", cpu), lora).eval()
    scorer = Scorer(policy, "float32", CPU)
    assert scorer.plan(ITEMS, KEYS, 4).shared
    assert scorer.logps(ITEMS, shared=True) == pytest.approx([by_hand(policy, item) for item in ITEMS], abs=5e-5)
    with policy.disable_adapter():
        assert scorer.logps(ITEMS, shared=True) == base
    assert scorer.logps(ITEMS, shared=True) != base


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_16_bits_each_text_is_read_alone_as_training_reads_it(tiny_model_folder, cpu, precision):
    scorer = Scorer(load_model(tiny_model_folder, None, precision, cpu), precision, CPU)
    assert not scorer.plan(ITEMS, KEYS, 4).shared
    exact = Scorer(load_model(tiny_model_folder, None, "float32", cpu), "float32", CPU).logps(ITEMS, shared=False)
    assert scorer.logps(ITEMS, shared=False) == pytest.approx(exact, rel=0.05)
    assert scorer.logps(ITEMS, shared=True) == pytest.approx(exact, rel=0.05)


def test_a_model_that_heeds_no_mask_of_ours_is_given_each_text_alone(monkeypatch):
    model = MODELS["llama"]()
    layers = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda *given, attention_mask=None, **named: layers(*given, **named))
    assert not Scorer(model, "float32", CPU).plan(ITEMS, KEYS, 4).shared
    model = MODELS["llama"]()
    model.config._attn_implementation_internal = "flash_attention_2"
    assert not Scorer(model, "float32", CPU).plan(ITEMS, KEYS, 4).shared


def test_nothing_is_shared_where_each_prompt_has_one_completion(monkeypatch):
    monkeypatch.setattr(Scorer, "_reads_trees", property(lambda scorer: pytest.fail("nothing to try")))
    assert not Scorer(MODELS["llama"](), "float32", CPU).plan(ITEMS[:2], KEYS[:2], 4).shared


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_no_more_logits_are_held_than_a_chunk(monkeypatch, shared, apart):
    model = MODELS["llama"]()
    whole = Scorer(model, "float32", CPU).logps(ITEMS, shared=shared)
    monkeypatch.setattr(scoring.parts, "__defaults__", (3 * 96,))
    if not apart and not shared:
        monkeypatch.setattr(Scorer, "_head_apart", False)
    scorer, seen, head = Scorer(model, "float32", CPU), [], model.lm_head.forward
    assert scorer._head_apart is (apart or shared)
    monkeypatch.setattr(model.lm_head, "forward", lambda rows: seen.append(rows.shape[-2]) or head(rows))
    assert scorer.logps(ITEMS, shared=shared) == pytest.approx(whole, abs=1e-5)
    tokens = sum(len(item.completion_ids) for item in ITEMS)
    if scorer._head_apart:
        assert max(seen) <= 3
        assert sum(seen) == tokens, "the head is computed where a completion's token is predicted, and nowhere else"


# -------------------------------------------------------------------------------------------------------------- packing
def test_a_row_is_a_tree():
    packed = pack([Encoded([5, 6], [7, 8, 9]), Encoded([5, 6], [1]), Encoded([5, 6], [2, 3])], CPU)
    assert packed.input_ids.tolist() == [[5, 6, 7, 8, 2]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.taken.tolist() == [1, 2, 3, 1, 1, 4]
    assert packed.tokens.tolist() == [7, 8, 9, 1, 2, 3]
    assert packed.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert packed.sees[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]
    ]  # fmt: skip


texts = st.tuples(st.integers(0, 3), st.integers(0, 9)).map(lambda drawn: Encoded([drawn[0]] * 3, [1] * drawn[1]))


@settings(deadline=None, max_examples=60)
@given(st.lists(texts, max_size=14), st.integers(1, 6), st.randoms())
def test_batches_are_functions_of_the_texts_and_what_is_left_of_them_keeps_its_batches(items, size, chance):
    keyed = [(f"{number:02d}", item) for number, item in enumerate(items)]

    def batched(pairs):
        found = prompt_batches([item for _, item in pairs], [key for key, _ in pairs], size)
        return [[pairs[place][0] for place in batch] for batch in found]

    whole = batched(keyed)
    assert sorted(key for batch in whole for key in batch) == [key for key, _ in keyed]
    assert all(len(batch) <= size for batch in whole)
    assert batched(chance.sample(keyed, len(keyed))) == whole
    done = chance.randint(0, len(whole))
    kept = {key for batch in whole[:done] for key in batch}
    assert batched([pair for pair in keyed if pair[0] not in kept]) == whole[done:]


def test_a_row_grows_no_longer_than_attention_can_bear():
    items = [Encoded([1] * 100, [2] * 1500) for _ in range(5)]
    batches = prompt_batches(items, [f"{n}" for n in range(5)], 8)
    assert sorted(map(len, batches)) == [1, 2, 2]
    for batch in batches:
        for row in rows_of([items[place] for place in batch]):
            assert row_tokens([items[batch[place]] for place in row]) <= ROW_TOKENS
    alone = [Encoded([1] * 100, [2] * 9000)]
    assert prompt_batches(alone, ["a"], 8) == [[0]]
    assert tokens_of(alone[0]) > ROW_TOKENS
