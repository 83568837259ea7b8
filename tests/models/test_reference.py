import dataclasses
import json
import math
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.config.curation_settings import Split
from notus_exp.config.evaluation_settings import PreferencesEvaluation
from notus_exp.config.schema import Stage
from notus_exp.curation.split import assign
from notus_exp.disk import events, files, hashing
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import TURNS
from notus_exp.models import logprobs as scoring
from notus_exp.models import reference
from notus_exp.models.encoding import Encoded, Limits, encode
from notus_exp.models.pretrained import load_model
from notus_exp.models.scorer import Scorer
from notus_exp.models.store import ReferenceStore
from notus_exp.run import worker_process as worker
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.stages.context import Requirements
from notus_exp.stages.settings import ReferenceSettings, to_json

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
    found = Scorer(model, "float32", CPU).logps(ITEMS, shared=False)
    assert found == pytest.approx([logp_by_hand(model, item) for item in ITEMS], abs=2e-5)


def test_an_empty_completion_has_log_prob_zero(model):
    assert Scorer(model, "float32", CPU).logps([Encoded([1, 2], [])], shared=False) == [0.0]
    found = Scorer(model, "float32", CPU).logps([Encoded([1, 2], []), ITEMS[0]], shared=False)
    assert found == [0.0, pytest.approx(logp_by_hand(model, ITEMS[0]), abs=2e-5)]


def test_a_prompt_without_tokens_is_an_error_of_the_caller(model):
    with pytest.raises(ValueError, match="without tokens"):
        Scorer(model, "float32", CPU).logps([Encoded([], [1])], shared=False)


def test_bfloat16_stays_near_float32(tiny_model_folder, cpu, model):
    rough = Scorer(load_model(tiny_model_folder, None, "bfloat16", cpu), "bfloat16", CPU).logps(ITEMS, shared=False)
    exact = Scorer(model, "float32", CPU).logps(ITEMS, shared=False)
    assert rough == pytest.approx(exact, rel=0.05)
    assert rough != exact


ids = st.integers(0, 266)
items = st.builds(Encoded, st.lists(ids, min_size=1, max_size=12), st.lists(ids, max_size=12))


@settings(max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=5))
def test_neighbours_in_the_batch_do_not_change_a_log_prob(model, batch):
    together = Scorer(model, "float32", CPU).logps(batch, shared=False)
    alone = [Scorer(model, "float32", CPU).logps([item], shared=False)[0] for item in batch]
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
        ours = Scorer(model, "float32", CPU).logps(encoded, shared=False)
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
TRAINED = ReferenceSettings(
    split=Split(seed=0, validation=0.2, test=0.2),
    system_prompt="",
    precision="float32",
    max_length=160,
    max_prompt_length=64,
    long_prompts="drop",
)
SCORED = dataclasses.replace(TRAINED, preferences=PreferencesEvaluation("preferences", None), scored_split="test")
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
    return write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, TRAINED.split))


def write_inputs(folder, model_folder, completions, pairs):
    places = {name: folder / f"{name}-0123" for name in ("feedback", "pairs", "base_model")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    completions.write_parquet(places["feedback"] / files.COMPLETIONS)
    pairs.write_parquet(places["pairs"] / files.PAIRS)
    if not (places["base_model"] / files.MODEL).exists():
        (places["base_model"] / files.MODEL).symlink_to(model_folder)
    return places


def make(settings, inputs, folder, context):
    folder.mkdir()
    facts = reference.run(settings, inputs, folder, context)
    return facts, pl.read_parquet(folder / files.REFERENCE)


def test_training_needs_both_sides_of_the_pairs_and_scoring_every_completion_of_the_test_prompts(
    inputs, tmp_path, context
):
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS).select("prompt_id", "row", "split")
    assert set(pairs["split"]) == {"train", "validation", "test"}
    trained = {(*pair, i) for pair in pairs.iter_rows() for i in range(2) if pair[2] != "test"}
    scored = {(*pair, i) for pair in pairs.iter_rows() for i in range(3) if pair[2] == "test"}
    check_holds(trained, *make(TRAINED, inputs, tmp_path / "trained", context()))
    del inputs["pairs"]  # no input where nothing of it is needed
    check_holds(scored, *make(SCORED, inputs, tmp_path / "scored", context()))


def test_on_validation_every_completion_of_the_validation_prompts_is_scored(inputs, tmp_path, context):
    tuning = dataclasses.replace(SCORED, scored_split="validation")
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS).filter(split="validation")
    scored = {
        (prompt, row, "validation", i) for prompt, row in pairs.select("prompt_id", "row").rows() for i in range(3)
    }
    assert scored
    check_holds(scored, *make(tuning, inputs, tmp_path / "tuning", context()))


def check_holds(expected, facts, table):
    assert set(table.select("prompt_id", "row", "use", "completion").iter_rows()) == expected
    assert facts["needed"] == facts["computed"] == len(expected)
    assert facts["found"] == facts["prompts_too_long"] == 0
    assert dict(table.schema) == dict(reference.SCHEMA)


def test_its_log_probs_are_those_of_the_texts(inputs, tmp_path, context, model, tiny_tokenizer):
    _, table = make(TRAINED, inputs, tmp_path / "out", context())
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
    first, table = make(TRAINED, inputs, tmp_path / "first", context())
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS)
    write_inputs(
        tmp_path, tiny_model_folder, completions_table(), pairs.with_columns(rejected_completion=pl.lit(2, pl.Int64))
    )
    second, other = make(TRAINED, inputs, tmp_path / "second", context())
    used = pairs.filter(pl.col("split") != "test").height
    assert (second["computed"], second["found"], first["needed"]) == (used, used, 2 * used)
    shared = table.join(other, on=["prompt_id", "row", "completion"])
    assert (shared["ref_logp"] == shared["ref_logp_right"]).all()
    monkeypatch.setattr(reference, "load_model", lambda *_: pytest.fail("nothing is missing: no model is needed"))
    third, _ = make(TRAINED, inputs, tmp_path / "third", context())
    assert (third["computed"], third["tokens"], third["found"]) == (0, 0, third["needed"])


def test_another_precision_or_base_model_finds_nothing(inputs, tmp_path, context):
    make(TRAINED, inputs, tmp_path / "first", context())
    rough, _ = make(dataclasses.replace(TRAINED, precision="bfloat16"), inputs, tmp_path / "second", context())
    assert rough["found"] == 0
    inputs["base_model"] = inputs["base_model"].rename(tmp_path / "base_model-4567")
    another, _ = make(TRAINED, inputs, tmp_path / "third", context())
    assert another["found"] == 0


@pytest.mark.parametrize("size", [1, 4])
def test_a_run_killed_between_batches_ends_with_the_same_numbers(inputs, tmp_path, context, monkeypatch, size):
    here = context(scoring_batch_size=size)
    _, whole = make(TRAINED, inputs, tmp_path / "whole", here)
    killed = dataclasses.replace(here, cache=tmp_path / "other")
    put_many, calls = ReferenceStore.put_many, []

    def put_three_batches(store, logps):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(logps)
        put_many(store, logps)

    monkeypatch.setattr(ReferenceStore, "put_many", put_three_batches)
    with pytest.raises(KeyboardInterrupt):
        make(TRAINED, inputs, tmp_path / "killed", killed)
    monkeypatch.setattr(ReferenceStore, "put_many", put_many)
    facts, again = make(TRAINED, inputs, tmp_path / "again", killed)
    assert facts["found"] == 3 * size
    assert again.equals(whole)  # to the last bit


def test_row_order_does_not_move_a_bit(inputs, tmp_path, context, tiny_model_folder):
    one = context(scoring_batch_size=4)
    _, table = make(TRAINED, inputs, tmp_path / "one", one)
    completions = completions_table().sample(fraction=1.0, shuffle=True, seed=1)
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS).reverse()
    write_inputs(tmp_path, tiny_model_folder, completions, pairs)
    _, other = make(TRAINED, inputs, tmp_path / "two", dataclasses.replace(one, cache=tmp_path / "fresh"))
    assert other.equals(table)


def test_prompts_too_long_are_left_out_and_counted(tmp_path, tiny_model_folder, context):
    completions = completions_table(long={0, 3, 5})
    pairs = pairs_table(completions, TRAINED.split)
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs)
    test = set(pairs.filter(split="test")["row"])
    for asked, rows in ((TRAINED, set(range(PROMPTS)) - test), (SCORED, test)):
        facts, table = make(asked, inputs, tmp_path / f"drop {asked.scored_split}", context())
        assert facts["prompts_too_long"] == len(rows & {0, 3, 5})
        assert set(table["row"]) == rows - {0, 3, 5}
    cutting = dataclasses.replace(TRAINED, long_prompts="cut")
    facts, table = make(cutting, inputs, tmp_path / "cut", context())
    assert (facts["prompts_too_long"], facts["prompts_cut"]) == (0, len({0, 3, 5} - test))
    assert set(table["row"]) == set(range(PROMPTS)) - test
    assert table["prompt_ids"].list.len().max() <= 64


def test_completions_that_lose_their_end_are_counted(inputs, tmp_path, context):
    plain, _ = make(TRAINED, inputs, tmp_path / "plain", context())
    facts, table = make(dataclasses.replace(TRAINED, max_length=72), inputs, tmp_path / "cut", context())
    full = table.with_columns(total=pl.col("prompt_ids").list.len() + pl.col("completion_ids").list.len())
    ends = full["completion_ids"].list.last()
    assert full["total"].max() == 72
    assert plain["completions_truncated"] < facts["completions_truncated"]
    assert facts["completions_truncated"] == (ends != ends.mode()[0]).sum()  # a whole one ends with the turn's newline


def test_no_training_pair_within_the_limits_is_an_error_that_names_them(inputs, tmp_path, context):
    with pytest.raises(UserError, match=r"dpo\.max_prompt_length=20(.|\n)*long_prompts=cut"):
        make(dataclasses.replace(TRAINED, max_prompt_length=20), inputs, tmp_path / "out", context())


def test_no_prompt_to_score_is_an_error_that_names_the_split(inputs, tmp_path, context):
    with pytest.raises(UserError, match=r"no test prompt(.|\n)*raise split\.test"):
        make(dataclasses.replace(SCORED, max_prompt_length=20), inputs, tmp_path / "out", context())


def test_a_log_prob_that_is_not_finite_stops_the_run_and_stays_out_of_the_store(inputs, tmp_path, context, monkeypatch):
    monkeypatch.setattr(Scorer, "logps", lambda scorer, items, *, shared: [math.nan] * len(items))
    with pytest.raises(UserError, match="not finite"):
        make(TRAINED, inputs, tmp_path / "out", context())


def test_validation_pairs_are_limited_by_a_draw_that_other_prompts_do_not_move():
    completions = completions_table()
    pairs = pairs_table(completions, TRAINED.split).with_columns(split=pl.lit("validation"))
    limited = dataclasses.replace(TRAINED, max_validation_pairs=3)
    taken = set(reference.trained_completions(pairs, limited)["prompt_id"])
    draws = hashing.uniform(pairs["prompt_id"], TRAINED.split.seed, "validation_pairs")
    assert taken == {pid for _, pid in sorted(zip(draws, pairs["prompt_id"], strict=True))[:3]}
    fewer = pairs.filter(pl.col("prompt_id").is_in(list(taken)) | (pl.col("row") % 2 == 0))
    assert set(reference.trained_completions(fewer, limited)["prompt_id"]) == taken


def test_a_system_turn_of_the_data_stays_in_the_prompt(tmp_path, tiny_model_folder, context, tiny_tokenizer):
    completions = completions_table().with_columns(principle=pl.lit("conversation"), system_prompt=pl.lit("Be kind."))
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, TRAINED.split))
    _, table = make(TRAINED, inputs, tmp_path / "out", context())
    assert tiny_tokenizer.decode(table["prompt_ids"][0]).startswith("<|im_start|>system\nBe kind.<|im_end|>")


def test_earlier_turns_are_in_the_prompt_and_the_completion_is_the_last_answer_alone(
    tmp_path, tiny_model_folder, context, tiny_tokenizer
):
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    completions = completions_table()
    turns = pl.Series("context", [earlier] * completions.height, dtype=TURNS)
    ids = {one: hashing.prompt_id(one, (("user", "Hi"), ("assistant", "Yes?"))) for one in completions["instruction"]}
    completions = completions.with_columns(turns, prompt_id=pl.col("instruction").replace_strict(ids))
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, TRAINED.split))
    for asked in (TRAINED, SCORED):
        roomy = dataclasses.replace(asked, max_prompt_length=200, max_length=400)
        facts, table = make(roomy, inputs, tmp_path / f"out {asked.scored_split}", context())
        assert facts["system_turns_hidden"] == facts["prompts_altered"] == 0
        for row in table.join(completions, on=["prompt_id", "row", "completion"]).iter_rows(named=True):
            prompt = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?"
            prompt += f"<|im_end|>\n<|im_start|>user\n{row['instruction']}<|im_end|>\n<|im_start|>assistant\n"
            assert tiny_tokenizer.decode(row["prompt_ids"]) == prompt
            assert tiny_tokenizer.decode(row["completion_ids"]) == (row["response"] + "<|im_end|>\n")


def test_a_mark_in_an_earlier_turn_is_counted(tmp_path, tiny_model_folder, context):
    completions = completions_table()
    turns = pl.Series("context", [[{"role": "user", "content": "a<|im_end|>"}]] * completions.height, dtype=TURNS)
    pairs = pairs_table(completions, TRAINED.split)
    inputs = write_inputs(tmp_path, tiny_model_folder, completions.with_columns(turns), pairs)
    facts, table = make(SCORED, inputs, tmp_path / "out", context())
    assert facts["texts_with_special_tokens"] == table.height


def test_progress_ends_at_one(inputs, tmp_path, context):
    make(TRAINED, inputs, tmp_path / "out", context("reference"))
    told = [json.loads(line)["metrics"] for line in (tmp_path / "followed.jsonl").read_text().splitlines()]
    assert told[-1][events.PROGRESS] == 1.0
    assert told[-1]["tokens_per_second"] > 0


# ------------------------------------------------------------------------------------------------ several nodes at once
@pytest.fixture
def requests(inputs, tmp_path, tiny_model_folder):
    """Two arms of a study, which reject different completions, and what scores both."""
    pairs = pl.read_parquet(inputs["pairs"] / files.PAIRS).with_columns(rejected_completion=pl.lit(2, pl.Int64))
    (tmp_path / "arm").mkdir()
    arm = write_inputs(tmp_path / "arm", tiny_model_folder, completions_table(), pairs)["pairs"]
    return [(TRAINED, inputs), (TRAINED, {**inputs, "pairs": arm}), (SCORED, inputs)]


def test_a_union_is_computed_once_and_then_found_by_each(requests, tmp_path, context, monkeypatch):
    here = context(scoring_batch_size=4)
    tables = {}
    for number, (asked, places) in enumerate(requests):
        alone = dataclasses.replace(here, cache=tmp_path / f"cache {number}")
        _, tables[number] = make(asked, places, tmp_path / f"alone {number}", alone)
    here.filled = reference.fill(requests, here)
    union = {tuple(row) for table in tables.values() for row in table.select(reference.ID).iter_rows()}
    assert len(here.filled) == len(union)
    ids = pl.concat(tables.values()).unique(reference.ID).select("prompt_ids", "completion_ids")
    tokens = sum(len(prompt) + len(completion) for prompt, completion in ids.iter_rows())
    assert sum(here.filled.values()) == tokens
    assert reference.fill(requests, here) == {}
    monkeypatch.setattr(reference, "load_model", lambda *_: pytest.fail("everything is there: no model is needed"))
    facts = {}
    for number, (asked, places) in enumerate(requests):
        facts[number], table = make(asked, places, tmp_path / f"filled {number}", here)
        assert table.drop("ref_logp").equals(tables[number].drop("ref_logp"))
        assert table["ref_logp"].to_list() == pytest.approx(tables[number]["ref_logp"].to_list(), abs=1e-3)
        assert facts[number]["needed"] == facts[number]["found"] + facts[number]["computed"]
    assert sum(fact["computed"] for fact in facts.values()) == len(union), "what is shared counts once, at the first"
    assert facts[1]["found"] > 0
    assert sum(fact["tokens"] for fact in facts.values()) == tokens


def test_the_order_of_the_requests_and_what_single_nodes_would_do_move_no_bit(requests, tmp_path, context):
    here = context(scoring_batch_size=4)
    stored = []
    for number, ordered in enumerate((requests, requests[::-1])):
        there = dataclasses.replace(here, cache=tmp_path / f"cache {number}")
        keys = reference.fill(ordered, there)
        with ReferenceStore(there.cache / reference.STORE) as store:
            stored.append(store.get_many(keys))
    assert stored[0] == stored[1]
    assert len(stored[0]) == len(keys)


def test_each_base_model_and_precision_has_a_union_of_its_own(requests, tmp_path, context):
    settings, inputs = requests[0]
    other = tmp_path / "base_model-4567"
    other.symlink_to(inputs["base_model"])
    rough = dataclasses.replace(settings, precision="bfloat16")
    here = context("reference")
    here.filled = reference.fill(
        [(settings, inputs), (settings, {**inputs, "base_model": other}), (rough, inputs)], here
    )
    told = [event.metrics[events.PROGRESS] for event in events.read(tmp_path / "followed.jsonl")]
    assert told == sorted(told)
    assert told[-1] == 1.0, "one bar for all"
    facts, exact = make(settings, inputs, tmp_path / "first", here)
    others, same = make(settings, {**inputs, "base_model": other}, tmp_path / "second", here)
    roughly, rounded = make(rough, inputs, tmp_path / "third", here)
    assert facts["computed"] == others["computed"] == roughly["computed"] == facts["needed"]
    assert same.equals(exact)
    assert (rounded["ref_logp"] != exact["ref_logp"]).any()


def test_a_killed_fill_goes_on_with_the_batches_that_it_had(requests, tmp_path, context, monkeypatch):
    here = context(scoring_batch_size=4)
    whole = reference.fill(requests, dataclasses.replace(here, cache=tmp_path / "whole"))
    put_many, calls = ReferenceStore.put_many, []

    def put_three_batches(store, logps):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(logps)
        put_many(store, logps)

    monkeypatch.setattr(ReferenceStore, "put_many", put_three_batches)
    with pytest.raises(KeyboardInterrupt):
        reference.fill(requests, here)
    monkeypatch.setattr(ReferenceStore, "put_many", put_many)
    rest = reference.fill(requests, here)
    assert len(rest) == len(whole) - sum(map(len, calls)) < len(whole)
    with (
        ReferenceStore(tmp_path / "whole" / reference.STORE) as one,
        ReferenceStore(here.cache / reference.STORE) as two,
    ):
        assert one.get_many(whole) == two.get_many(whole)


@pytest.mark.parametrize("made", [0, 1, 2])
def test_a_worker_fills_for_the_nodes_that_are_not_made_yet(requests, tmp_path, context, made, monkeypatch):
    (tmp_path / "artifacts").mkdir()
    monkeypatch.setattr(ArtifactStore, "find", lambda self, wanted: "made" if int(wanted.key) < made else None)
    monkeypatch.setattr(ArtifactStore, "path", lambda self, stage, key: Path(key))
    nodes = [
        Node(
            f"reference {n}",
            Stage.reference,
            to_json(settings),
            {use: str(p) for use, p in places.items()},
            {},
            str(n),
            {},
        )
        for n, (settings, places) in enumerate(requests)
    ]
    for node in nodes:
        node.uses.update(dict.fromkeys(node.inputs, "any"))
    prepare = worker.fill_once(Job(nodes, tmp_path, tmp_path, tmp_path, None, {}, None, None, tmp_path))
    here = context()
    prepare(here)
    expected = reference.fill(requests[made:], dataclasses.replace(here, cache=tmp_path / "fresh")) if made < 2 else {}
    assert here.filled == expected
    filled = here.filled
    monkeypatch.setattr(reference, "fill", lambda *_: pytest.fail("once is enough"))
    later = context()
    prepare(later)
    assert later.filled is filled, "the next node counts what the first left"


# ------------------------------------------------------------------------------ refused before anything is computed
def alike_table():
    """Every second completion says what the first one says."""
    return completions_table().with_columns(
        response=pl.when(pl.col("completion") == 1)
        .then(pl.col("response").shift(1).over("row", order_by="completion"))
        .otherwise("response")
    )


@pytest.fixture
def computing_nothing(monkeypatch):
    monkeypatch.setattr(reference, "load_model", lambda *_: pytest.fail("a log-prob was going to be computed"))


def test_pairs_of_the_same_tokens_alone_are_refused_before_anything_is_computed(
    tmp_path, tiny_model_folder, context, computing_nothing
):
    completions = alike_table()
    inputs = write_inputs(tmp_path, tiny_model_folder, completions, pairs_table(completions, TRAINED.split))
    with pytest.raises(UserError, match="have two sides of the same tokens"):
        make(TRAINED, inputs, tmp_path / "out", context())
    with pytest.raises(UserError, match="have two sides of the same tokens"):
        reference.fill([(TRAINED, inputs), (SCORED, inputs)], context())


@pytest.mark.parametrize(
    ("requirements", "settings", "said"),
    [
        ({"max_truncated": 0.1}, {"max_length": 72}, "lose their end"),
        ({"target_modules": ["c_attn"]}, {}, "'c_attn', which the model has not"),
        ({}, {"max_length": 4096}, "more than the 2048 tokens"),
    ],
)
def test_what_the_config_refuses_is_refused_before_anything_is_computed(
    inputs, tmp_path, context, computing_nothing, requirements, settings, said
):
    here = dataclasses.replace(context(), requirements=Requirements(**requirements))
    with pytest.raises(UserError, match=said):
        make(dataclasses.replace(TRAINED, **settings), inputs, tmp_path / "out", here)


def test_an_arm_that_is_refused_leaves_the_others_to_be_computed_together(inputs, tmp_path, context, tiny_model_folder):
    (tmp_path / "spoilt").mkdir()
    completions = alike_table()
    spoilt = write_inputs(tmp_path / "spoilt", tiny_model_folder, completions, pairs_table(completions, TRAINED.split))
    alone = reference.fill([(TRAINED, inputs)], dataclasses.replace(context(), cache=tmp_path / "alone"))
    together = reference.fill([(TRAINED, {**spoilt, "base_model": inputs["base_model"]}), (TRAINED, inputs)], context())
    assert together == alone


def test_a_date_moves_the_tokens_and_is_the_same_on_every_day(inputs, tmp_path, context):
    template = tmp_path / "base_model-0123" / files.MODEL
    dated = Path(shutil.copytree(template, tmp_path / "dated"))
    (dated / "chat_template.jinja").write_text(
        "{{ strftime_now('%d %B') }}" + (dated / "chat_template.jinja").read_text()
    )
    template.unlink()
    template.symlink_to(dated)
    with pytest.raises(UserError, match=r"model\.template_date="):
        make(TRAINED, inputs, tmp_path / "undated", context())
    tables = [
        make(dataclasses.replace(TRAINED, template_date=day), inputs, tmp_path / f"out {number}", context())[1]
        for number, day in enumerate(("2024-07-26", "2024-07-26", "2024-07-27"))
    ]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
