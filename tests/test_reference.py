import dataclasses
import json
import math

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp import events, files, hashing
from notus_exp.curation.split import assign
from notus_exp.errors import UserError
from notus_exp.schema import PreferencesEvaluation, Split
from notus_exp.slices import ReferenceSlice
from notus_exp.training import reference, scoring
from notus_exp.training.encoding import Encoded, Limits, encode
from notus_exp.training.models import load_model
from notus_exp.training.store import ReferenceStore

CPU = torch.device("cpu")
ITEMS = [
    Encoded([5, 6, 7], [8, 9]),
    Encoded([1], [2, 3, 4, 5, 6]),
    Encoded([9, 9, 9, 9, 9, 9], [1]),
    Encoded([4, 2], [7, 7, 7]),
]


@pytest.fixture(scope="module")
def model(tiny_model_folder, cpu):
    return load_model(tiny_model_folder, None, "float32", cpu)


def logp_by_hand(model, item):
    """One forward pass over everything, then a loop over the completion's tokens."""
    ids = item.prompt_ids + item.completion_ids
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    total = 0.0
    for position in range(len(item.prompt_ids), len(ids)):
        scores = logits[position - 1]
        total += (scores[ids[position]] - torch.log(torch.exp(scores - scores.max()).sum()) - scores.max()).item()
    return total


# ------------------------------------------------------------------------------------------------------------ log-probs
def test_a_log_prob_is_the_sum_over_the_completions_tokens(model):
    found = scoring.completion_logps(model, ITEMS, "float32", CPU)
    assert found == pytest.approx([logp_by_hand(model, item) for item in ITEMS], abs=2e-5)


def test_an_empty_completion_has_log_prob_zero(model):
    assert scoring.completion_logps(model, [Encoded([1, 2], [])], "float32", CPU) == [0.0]
    found = scoring.completion_logps(model, [Encoded([1, 2], []), ITEMS[0]], "float32", CPU)
    assert found == [0.0, pytest.approx(logp_by_hand(model, ITEMS[0]), abs=2e-5)]


def test_a_prompt_without_tokens_is_an_error_of_the_caller(model):
    with pytest.raises(ValueError, match="without tokens"):
        scoring.completion_logps(model, [Encoded([], [1])], "float32", CPU)


def test_bfloat16_stays_near_float32(tiny_model_folder, cpu, model):
    rough = scoring.completion_logps(load_model(tiny_model_folder, None, "bfloat16", cpu), ITEMS, "bfloat16", CPU)
    exact = scoring.completion_logps(model, ITEMS, "float32", CPU)
    assert rough == pytest.approx(exact, rel=0.05)
    assert rough != exact


ids = st.integers(0, 266)
items = st.builds(Encoded, st.lists(ids, min_size=1, max_size=12), st.lists(ids, max_size=12))


@settings(max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=5))
def test_neighbours_in_the_batch_do_not_change_a_log_prob(model, batch):
    together = scoring.completion_logps(model, batch, "float32", CPU)
    alone = [scoring.completion_logps(model, [item], "float32", CPU)[0] for item in batch]
    assert together == pytest.approx(alone, abs=1e-4)


def test_log_probs_equal_trls_reference_log_probs(model, tiny_model_folder, tiny_tokenizer, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {
            "prompt": [{"role": "user", "content": f"Say something about {subject}."}],
            "chosen": [{"role": "assistant", "content": f"{subject} is large and wet " * (1 + number)}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for number, subject in enumerate(["the sea", "rain", "a lake", "ice"])
    ]
    config = DPOConfig(
        output_dir=str(tmp_path),
        max_length=96,
        use_cpu=True,
        bf16=False,
        report_to="none",
        precompute_ref_log_probs=True,
    )
    trainer = DPOTrainer(
        model=load_model_for_trl(tiny_model_folder),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer,
    )
    batch = trainer.data_collator(list(trainer.train_dataset))
    theirs = [logps.tolist() for logps in trainer.compute_ref_log_probs(trainer.model.eval(), batch)]
    limits = Limits(96, None, "drop")
    for side, expected in zip(("chosen", "rejected"), theirs, strict=True):
        encoded = [encode(tiny_tokenizer, row["prompt"], row[side][0]["content"], None, limits) for row in rows]
        ours = scoring.completion_logps(model, encoded, "float32", CPU)
        assert ours == pytest.approx(expected, abs=1e-5, rel=1e-6)
    assert trainer.train_dataset["ref_chosen_logps"] == pytest.approx(theirs[0], abs=1e-4)


def load_model_for_trl(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_batches_go_by_length_and_then_by_key_whatever_the_order():
    keys = ["d", "b", "c", "a"]  # lengths 5, 6, 7, 5
    assert list(scoring.batches(ITEMS, keys, 2)) == [[3, 0], [1, 2]]
    assert list(scoring.batches(ITEMS, keys, 3)) == [[3, 0, 1], [2]]
    turned = list(scoring.batches(ITEMS[::-1], keys[::-1], 2))
    assert [[3 - i for i in batch] for batch in turned] == [[3, 0], [1, 2]]


# ------------------------------------------------------------------------------------------------------------ the stage
SLICE = ReferenceSlice(
    split=Split(seed=0, validation=0.2, test=0.2),
    system_prompt="",
    precision="float32",
    max_length=160,
    max_prompt_length=64,
    long_prompts="drop",
    max_validation_pairs=None,
    preferences=PreferencesEvaluation("preferences", max_prompts=None),
)
PROMPTS = 16


def completions_table(long=()):
    """Sixteen prompts with three completions each; those in `long` are far beyond the limits."""
    rows = []
    for row in range(PROMPTS):
        instruction = f"Question number {row}" + " and so on" * (40 if row in long else 0)
        for completion in range(3):
            response = f"answer {completion} to {row}" + ", at length" * (completion * row % 5)
            rows.append((hashing.prompt_id(instruction), row, instruction, completion, "", "", response))
    names = ["prompt_id", "row", "instruction", "completion", "principle", "system_prompt", "response"]
    return pl.DataFrame(rows, schema=names, orient="row")


def pairs_table(completions, split):
    """Chosen 0 and rejected 1 for every prompt."""
    prompts = completions.filter(pl.col("completion") == 0)
    return prompts.select(
        "prompt_id",
        "row",
        split=assign(prompts["prompt_id"], split),
        chosen_completion=pl.lit(0, pl.Int64),
        rejected_completion=pl.lit(1, pl.Int64),
    )


@pytest.fixture
def inputs(tmp_path, tiny_model_folder):
    completions = completions_table()
    return write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, SLICE.split))


def write_inputs(folder, model_folder, completions, pairs):
    places = {name: folder / f"{name}-0123" for name in ("feedback", "pairs", "base_model")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    completions.write_parquet(places["feedback"] / files.COMPLETIONS)
    pairs.write_parquet(places["pairs"] / files.PAIRS)
    if not (places["base_model"] / files.MODEL).exists():
        (places["base_model"] / files.MODEL).symlink_to(model_folder)
    return places


def make(slice_, inputs, folder, context):
    folder.mkdir()
    facts = reference.run(slice_, inputs, folder, context)
    return facts, pl.read_parquet(folder / files.REFERENCE)


def test_it_holds_both_sides_of_the_pairs_and_every_completion_of_the_test_prompts(inputs, tmp_path, context):
    facts, table = make(SLICE, inputs, tmp_path / "out", context())
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS)
    expected = set()
    for prompt, row, split in pairs.select("prompt_id", "row", "split").iter_rows():
        expected |= {(prompt, row, i, split) for i in range(3 if split == "test" else 2)}
    assert set(table.select("prompt_id", "row", "completion", "use").iter_rows()) == expected
    assert set(pairs["split"]) == {"train", "validation", "test"}
    assert facts["needed"] == facts["computed"] == len(expected)
    assert facts["found"] == facts["prompts_too_long"] == 0
    assert dict(table.schema) == dict(reference.SCHEMA)


def test_its_log_probs_are_those_of_the_texts(inputs, tmp_path, context, model, tiny_tokenizer):
    _, table = make(SLICE, inputs, tmp_path / "out", context())
    texts = pl.read_parquet(inputs["feedback"] / files.COMPLETIONS)
    for row in table.join(texts, on=["prompt_id", "row", "completion"]).iter_rows(named=True):
        prompt = (
            f"<|im_start|>system\n<|im_end|>\n<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert tiny_tokenizer.decode(row["prompt_ids"]) == prompt
        assert tiny_tokenizer.decode(row["completion_ids"]) == (row["response"] + "<|im_end|>\n")
        by_hand = logp_by_hand(model, Encoded(row["prompt_ids"], row["completion_ids"]))
        assert row["ref_logp"] == pytest.approx(by_hand, abs=5e-5)


def test_a_second_run_computes_only_what_no_earlier_run_had(inputs, tmp_path, context, tiny_model_folder, monkeypatch):
    first, table = make(SLICE, inputs, tmp_path / "first", context())
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS)
    write_inputs(
        tmp_path, tiny_model_folder, completions_table(), pairs.with_columns(rejected_completion=pl.lit(2, pl.Int64))
    )
    second, other = make(SLICE, inputs, tmp_path / "second", context())
    outside_test = pairs.filter(pl.col("split") != "test").height
    assert (second["computed"], second["found"]) == (outside_test, first["needed"] - outside_test)
    shared = table.join(other, on=["prompt_id", "row", "completion"])
    assert (shared["ref_logp"] == shared["ref_logp_right"]).all()
    monkeypatch.setattr(reference, "load_model", lambda *_: pytest.fail("nothing is missing: no model is needed"))
    third, _ = make(SLICE, inputs, tmp_path / "third", context())
    assert (third["computed"], third["tokens"], third["found"]) == (0, 0, third["needed"])


def test_another_precision_or_base_model_finds_nothing(inputs, tmp_path, context):
    make(SLICE, inputs, tmp_path / "first", context())
    rough, _ = make(dataclasses.replace(SLICE, precision="bfloat16"), inputs, tmp_path / "second", context())
    assert rough["found"] == 0
    inputs["base_model"] = inputs["base_model"].rename(tmp_path / "base_model-4567")
    another, _ = make(SLICE, inputs, tmp_path / "third", context())
    assert another["found"] == 0


@pytest.mark.parametrize("size", [1, 4])
def test_a_run_killed_between_batches_ends_with_the_same_numbers(inputs, tmp_path, context, monkeypatch, size):
    here = context(scoring_batch_size=size)
    _, whole = make(SLICE, inputs, tmp_path / "whole", here)
    killed = dataclasses.replace(here, cache=tmp_path / "other")
    put_many, calls = ReferenceStore.put_many, []

    def put_three_batches(store, logps):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(logps)
        put_many(store, logps)

    monkeypatch.setattr(ReferenceStore, "put_many", put_three_batches)
    with pytest.raises(KeyboardInterrupt):
        make(SLICE, inputs, tmp_path / "killed", killed)
    monkeypatch.setattr(ReferenceStore, "put_many", put_many)
    facts, again = make(SLICE, inputs, tmp_path / "again", killed)
    assert facts["found"] == 3 * size
    assert again.equals(whole)  # to the last bit


def test_row_order_does_not_move_a_bit(inputs, tmp_path, context, tiny_model_folder):
    one = context(scoring_batch_size=4)
    _, table = make(SLICE, inputs, tmp_path / "one", one)
    completions = completions_table().sample(fraction=1.0, shuffle=True, seed=1)
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS).reverse()
    write_inputs(tmp_path, tiny_model_folder, completions, pairs)
    _, other = make(SLICE, inputs, tmp_path / "two", dataclasses.replace(one, cache=tmp_path / "fresh"))
    assert other.equals(table)


def test_prompts_too_long_are_left_out_and_counted(tmp_path, tiny_model_folder, context):
    completions = completions_table(long={0, 3, 5})
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, SLICE.split))
    facts, table = make(SLICE, inputs, tmp_path / "drop", context())
    assert facts["prompts_too_long"] == 3
    assert not set(table["row"]) & {0, 3, 5}
    cutting = dataclasses.replace(SLICE, long_prompts="cut")
    facts, table = make(cutting, inputs, tmp_path / "cut", context())
    assert (facts["prompts_too_long"], facts["prompts_cut"]) == (0, 3)
    assert set(table["row"]) == set(range(PROMPTS))
    assert table["prompt_ids"].list.len().max() <= 64


def test_completions_that_lose_their_end_are_counted(inputs, tmp_path, context):
    plain, _ = make(SLICE, inputs, tmp_path / "plain", context())
    facts, table = make(dataclasses.replace(SLICE, max_length=72), inputs, tmp_path / "cut", context())
    full = table.with_columns(total=pl.col("prompt_ids").list.len() + pl.col("completion_ids").list.len())
    ends = full["completion_ids"].list.last()
    assert full["total"].max() == 72
    assert plain["completions_truncated"] < facts["completions_truncated"]
    assert facts["completions_truncated"] == (ends != ends.mode()[0]).sum()  # a whole one ends with the turn's newline


def test_no_training_pair_within_the_limits_is_an_error_that_names_them(inputs, tmp_path, context):
    with pytest.raises(UserError, match=r"dpo\.max_prompt_length=20(.|\n)*long_prompts=cut"):
        make(dataclasses.replace(SLICE, max_prompt_length=20), inputs, tmp_path / "out", context())


def test_a_log_prob_that_is_not_finite_stops_the_run_and_stays_out_of_the_store(inputs, tmp_path, context, monkeypatch):
    monkeypatch.setattr(reference, "completion_logps", lambda model, items, *_: [math.nan] * len(items))
    with pytest.raises(UserError, match="not finite"):
        make(SLICE, inputs, tmp_path / "out", context())


def test_validation_pairs_are_limited_by_a_draw_that_other_prompts_do_not_move():
    completions = completions_table()
    pairs = pairs_table(completions, SLICE.split).with_columns(split=pl.lit("validation"))
    ids = completions.select("prompt_id", "row", "completion")
    limited = dataclasses.replace(SLICE, max_validation_pairs=3)
    taken = set(reference.needed_completions(pairs, [], limited, ids)["prompt_id"])
    draws = hashing.uniform(pairs["prompt_id"], SLICE.split.seed, "validation_pairs")
    assert taken == {pid for _, pid in sorted(zip(draws, pairs["prompt_id"], strict=True))[:3]}
    fewer = pairs.filter(pl.col("prompt_id").is_in(list(taken)) | (pl.col("row") % 2 == 0))
    assert set(reference.needed_completions(fewer, [], limited, ids)["prompt_id"]) == taken


def test_a_system_turn_of_the_data_stays_in_the_prompt(tmp_path, tiny_model_folder, context, tiny_tokenizer):
    completions = completions_table().with_columns(principle=pl.lit("conversation"), system_prompt=pl.lit("Be kind."))
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, SLICE.split))
    _, table = make(SLICE, inputs, tmp_path / "out", context())
    assert tiny_tokenizer.decode(table["prompt_ids"][0]).startswith("<|im_start|>system\nBe kind.<|im_end|>")


def test_progress_ends_at_one(inputs, tmp_path, context):
    make(SLICE, inputs, tmp_path / "out", context("reference"))
    told = [json.loads(line)["metrics"] for line in (tmp_path / "followed.jsonl").read_text().splitlines()]
    assert told[-1][events.PROGRESS] == 1.0
    assert told[-1]["tokens_per_second"] > 0
