"""A supervised training in a plan: whose base it is, what its key holds, and what a plan says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.misfits import unread
from notus_exp.config.schema import Stage
from notus_exp.config.sft_settings import ChosenSft
from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError
from notus_exp.models.shapes import shape_of
from notus_exp.models.told_config import TINY
from notus_exp.run.asked_of_model import requirements
from notus_exp.run.execution import in_order
from notus_exp.run.memory.memory_words import MemoryPlan
from notus_exp.run.memory.run_memory import plan_memory
from notus_exp.run.nodes import Node, Sources
from notus_exp.run.plan import make_plan
from notus_exp.run.probes import base_stage
from notus_exp.run.sft_notes import sft_notes
from notus_exp.run.sources import resolve
from notus_exp.run.training_nodes import base_of
from notus_exp.training.model_card import lineage
from support.configs import composed
from support.expressions import choosing_by
from support.supervised import chat, write_chats

NOWHERE = Sources(None, [], None, {}, {})
EVERY = "evaluation=[preferences,verifiable,lm_eval]"
CHOSEN = ("sft=chosen", EVERY, "evaluation.lm_eval.tasks=[a]")
OF_MODELS = ("reference", "reference_scored", "policy", "generations_verifiable_base", "generations_verifiable",
             "likelihoods", "benchmarks_base", "benchmarks")  # fmt: skip


def planned(*overrides: str, sources: Sources = NOWHERE) -> dict[str, Node]:
    return {node.name: node for node in make_plan(composed("experiment=smoke", *overrides), sources)}


def test_its_model_is_the_base_of_everything_that_follows() -> None:
    without, nodes = planned(*CHOSEN[1:]), planned(*CHOSEN)
    assert set(nodes) - set(without) == {"sft"}
    sft = nodes["sft"]
    assert sft.uses == {"base_model": "base_model", "pairs": "pairs"}
    for name in OF_MODELS:
        assert (nodes[name].inputs["base_model"], nodes[name].uses["base_model"]) == (sft.key, "sft"), name
        assert without[name].uses["base_model"] == "base_model"
    assert base_of(composed("experiment=smoke")) == "base_model"
    order = list(nodes)
    assert order.index("base_model") < order.index("sft") < order.index("reference")


def test_without_one_no_key_moves_and_other_seeds_of_a_study_share_one() -> None:
    assert planned() == planned("sft=none")
    one, other = (planned("sft=chat", "sft.path=x", f"seed={seed}")["sft"] for seed in (0, 1))
    assert one.key == other.key
    assert planned("sft=chat", "sft.path=x", "sft.seed=1")["sft"].key != one.key


def test_what_curation_reads_of_a_model_is_read_of_the_first_one() -> None:
    nodes = planned("sft=chosen", *choosing_by("ref_logp"))
    assert nodes["reference_columns"].uses["base_model"] == "base_model"
    assert nodes["reference"].uses["base_model"] == "sft"


@pytest.mark.parametrize(
    ("until", "last"), [("pairs", "pairs"), ("base_model", "base_model"), ("sft", "sft"), ("reference", "reference")]
)
def test_a_run_stops_before_or_after_it(until: str, last: str) -> None:
    nodes = planned("sft=chosen", f"until={until}")
    assert last in nodes
    assert ("sft" in nodes) == (until in ("sft", "reference"))
    assert "policy" not in nodes


def test_its_conversations_enter_its_key_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        config = composed("experiment=smoke", "sft=chat", f"sft.path={path}")
        sources = resolve(config)
        assert sources.files["sft"] == [str(path)]
        return next(node.key for node in make_plan(config, sources) if node.name == "sft")

    here = write_chats(tmp_path / "here.jsonl", [chat(0)])
    there = write_chats(tmp_path / "there.jsonl", [chat(0)])
    other = write_chats(tmp_path / "other.jsonl", [chat(1)])
    assert key(here) == key(there) != key(other)
    with pytest.raises(UserError, match=r"^sft.path: there is no file or folder"):
        resolve(composed("experiment=smoke", "sft=chat", f"sft.path={tmp_path / 'nowhere.jsonl'}"))
    assert resolve(composed("experiment=smoke", "sft=chat", "sft.path=nowhere", "until=pairs")).sft_digest is None


WRONG = {
    "sft.warmup=1.5": r"^sft.warmup=1.5 is neither a share",
    "sft.global_batch_size=6 hardware.micro_batch_size=4": r"^sft.global_batch_size=6 does not divide into passes",
    "sft.precision=float16": r"^sft.precision=float16 is not available on hardware=cpu",
    "sft.lora.target_modules=[]": r"^sft.lora.target_modules=\[\] leaves nothing to train",
    "sft.lora.quantisation=nf4": r"^sft.lora.quantisation=nf4 goes with sft.precision=bfloat16",
    "sft.master_weights=same": r"^sft.master_weights=same says nothing with sft.precision=float32",
    "sft.learning_rate=0": r"^sft.learning_rate=0.0 is out of range",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_a_recipe_that_contradicts_itself_is_refused_in_the_words_of_this_group(overrides: str) -> None:
    with pytest.raises(UserError, match=WRONG[overrides]) as caught:
        composed("experiment=smoke", "hardware=cpu", "sft=chosen", *overrides.split())
    assert "dpo." not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "sft.path and sft.hub_id are both null"),
        (["sft.path=x", "sft.messages=a.*.b"], "sft.messages='a.*.b' is no one place"),
        (["sft.path=x", "sft.messages=a..b"], "sft.messages='a..b' is no path"),
        (["sft.hub_id=https://x/y"], "sft.hub_id is no name on the hub"),
    ],
)
def test_where_conversations_are_must_be_said(overrides: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        composed("experiment=smoke", "sft=chat", *overrides)
    assert told in caught.value.message


def test_a_setting_of_another_option_is_said_to_be_one() -> None:
    error = unread("sft.path", ChosenSft)
    assert error is not None
    assert error.message == "sft.path is set, but sft=chosen does not read it"
    assert "sft=chat" in error.hint


def test_lengths_and_precision_are_those_of_preferences_unless_said_otherwise() -> None:
    config: Any = composed("experiment=smoke", "sft=chosen", "dpo.max_length=500", "dpo.precision=bfloat16")
    assert (config.sft.max_length, config.sft.precision) == (500, config.dpo.precision)
    assert config.sft.precision.name == "bfloat16"
    assert requirements(config).sft_max_truncated == config.sft.max_truncated


def test_an_older_run_has_no_such_group() -> None:
    assert sft_notes({"policy": {}}, {"dpo": {}}) == []
    counted = {"conversations_trained": 40, "conversations_truncated": 4, "conversations_too_long": 1, "bad_records": 2}
    first, *others = sft_notes({"sft": counted}, {"sft": {"name": "chat", "max_length": 64}})
    assert first.startswith("sft=chat: the base model was trained on 40 conversations first")
    assert others == [
        "1 conversation has no answer within sft.max_length=64 and was left out of sft",
        "4 of 40 conversations (10%) lose their end in sft at sft.max_length=64",
        "2 records of the chat set were malformed and left out of sft",
    ]


# ----------------------------------------------------------------------------------------------- who goes by its name
def test_a_worker_trains_the_base_before_it_scores_by_it() -> None:
    nodes = planned(*CHOSEN)
    shuffled = [nodes[name] for name in ("reference", "policy", "sft", "base_model")]
    assert [node.name for node in in_order(shuffled)] == ["base_model", "sft", "reference", "policy"]


def test_a_plan_of_memory_finds_the_shape_of_a_model_that_was_trained_before(tmp_path: Path) -> None:
    config = composed("experiment=smoke", "sft=chosen", "hardware=cpu")
    nodes = {node.name: node for node in make_plan(config, NOWHERE)}
    store = ArtifactStore(tmp_path)
    folder = store.path("sft", nodes["sft"].key) / "model"
    folder.mkdir(parents=True)
    wide = {**TINY, "hidden_size": 4096, "num_attention_heads": 32}
    write_json(folder / "config.json", wide)
    alone = [nodes["reference"]]
    found = plan_memory(config, None, {}, alone, store).needs[0].parts["weights"]
    assert found > 10 * plan_memory(config, None, {}, alone, ArtifactStore(tmp_path / "none")).needs[0].parts["weights"]


def test_a_plan_of_memory_has_the_training_and_proposes_what_makes_it_fit() -> None:
    config = composed("experiment=zephyr_7b_from_scratch", "hardware=h100_8")
    shape = shape_of(config.model.shape)
    stages = {node.stage for node in make_plan(config, NOWHERE)}
    plan = MemoryPlan(config, shape, stages)
    assert [need.stage for need in plan.needs][:3] == ["sft", "reference", "likelihoods"]
    assert plan.fits
    assert "of sft as sft.max_length=2048" in plan.lines()[1]
    small = composed("experiment=zephyr_7b_from_scratch", "hardware=h100", "dpo=lora", "sft.lora.r=0")
    with pytest.raises(UserError, match="stage sft needs") as caught:
        MemoryPlan(small, shape, {Stage.sft}).check()
    assert "sft." in caught.value.hint or "hardware.processes" in caught.value.hint
    adapted = composed("experiment=zephyr_7b_from_scratch", "hardware=h100", "dpo=lora", "sft.lora.r=16")
    (need,) = MemoryPlan(adapted, shape, {Stage.sft}).needs
    assert need.host >= 4 * 7.2e9, "merged in float32"


def test_a_probe_and_a_model_card_find_the_model_that_a_policy_was_trained_from(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    keys = {name: name[0] * 64 for name in ("policy", "sft", "base_model")}
    made = {"policy": {"base_model": keys["sft"]}, "sft": {"base_model": keys["base_model"]}, "base_model": {}}
    for stage, inputs in made.items():
        folder = store.path(stage, keys[stage])
        folder.mkdir(parents=True)
        write_json(folder / MANIFEST, manifest_file(Manifest(stage, keys[stage], {}, inputs, {})))
    assert base_stage(keys["sft"], store) is Stage.sft
    assert base_stage(keys["base_model"], store) is Stage.base_model
    found = lineage({"base_model": store.path("sft", keys["sft"])})
    assert found == {f"sft-{'s' * 16}": [f"base_model-{'b' * 16}"], f"base_model-{'b' * 16}": []}
