"""Columns that a model gives: what is planned for them, tokens as encoding counts them, and log-probs of everything."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.models import reference
from notus_exp.models.encoding import Limits, encode
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.scoring import make_columns
from notus_exp.stages.settings import NO_SPLIT, ColumnsSettings, ReferenceSettings, TokenCounting
from support.configs import composed
from support.curation_tables import completion, prompt, table
from support.expressions import choosing_by

SMOKE = "experiment=smoke"
LONG = "Say it again and again. " * 30
COMPLETIONS = table(
    prompt("Name a colour.", completion("Red."), completion("Blue, and green, and then some more.")),
    prompt(LONG, completion("No.")),
    prompt("Name a fruit.", completion("")),
)


def planned(*overrides: str) -> dict[str, Node]:
    config = composed(SMOKE, *overrides)
    return {node.name: node for node in make_plan(config, resolve(config))}


@pytest.mark.parametrize(
    ("expression", "before"),
    [
        ("tokens", ["base_model", "columns_tokens"]),
        ("ref_logp_per_token", ["base_model", "reference_columns"]),
        ("ref_logp / tokens", ["base_model", "columns_tokens", "reference_columns"]),
    ],
)
def test_what_a_column_needs_is_planned_before_the_pairs(expression: str, before: list[str]) -> None:
    nodes = planned(*choosing_by(expression), "until=pairs")
    assert list(nodes) == ["feedback", *before, "columns", "pairs"]
    assert [node.in_worker for node in nodes.values()] == [False, *[True] * len(before), False, False]
    assert nodes["pairs"].inputs["columns"] == nodes["columns"].key
    whole = planned(*choosing_by(expression))
    assert {name: whole[name].key for name in nodes} == {name: node.key for name, node in nodes.items()}
    assert list(whole)[len(nodes) :][:2] == ["reference", "reference_scored"]


def test_a_model_is_looked_up_where_a_column_needs_it_whatever_the_last_stage() -> None:
    with pytest.raises(UserError, match=r"model\.path"):
        planned("model=local", "model.path=nowhere", *choosing_by("tokens"), "until=pairs")
    assert "base_model" not in planned("model=local", "model.path=nowhere", *choosing_by("chars"), "until=pairs")


@pytest.mark.parametrize("setting", ["split.seed=3", "split.test=0.2", "dpo.beta=0.5", "seed=7", "dpo.max_steps=3"])
def test_what_moves_no_log_prob_is_not_in_the_key_of_the_columns(setting: str) -> None:
    expression = choosing_by("ref_logp")
    assert planned(*expression)["columns"].key == planned(*expression, setting)["columns"].key


def test_lengths_are_in_the_key_of_log_probs_and_not_in_that_of_tokens() -> None:
    for expression, same in (("ref_logp", False), ("tokens", True)):
        one, two = (planned(*choosing_by(expression), f"dpo.max_length={most}") for most in (500, 510))
        assert (one["columns"].key == two["columns"].key) is same


@pytest.fixture
def inputs(tmp_path: Path, tiny_model_folder: Path) -> dict[str, Path]:
    places = {name: tmp_path / f"{name}-0123" for name in ("feedback", "base_model", "tokens", "reference", "columns")}
    for place in places.values():
        place.mkdir()
    (places["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    COMPLETIONS.write_parquet(places["feedback"] / files.COMPLETIONS)
    return places


def settings_of(most: int) -> ReferenceSettings:
    return ReferenceSettings(NO_SPLIT, None, "float32", most, None, "drop", everything=True)


def made(inputs: dict[str, Path], context, taken: list[str], most: int = 400):  # type: ignore[no-untyped-def]
    """Make both inputs and the columns of them; return facts and table."""
    counting = ColumnsSettings({}, counted=TokenCounting(None, None))
    make_columns.run(counting, inputs, inputs["tokens"], context())
    reference.run(settings_of(most), inputs, inputs["reference"], context())
    facts = make_columns.run(ColumnsSettings({}, taken), inputs, inputs["columns"], context())
    return facts, pl.read_parquet(inputs["columns"] / files.COLUMNS)


def test_columns_of_a_model_are_what_encoding_and_the_reference_give(inputs, context, tiny_tokenizer) -> None:  # type: ignore[no-untyped-def]
    facts, found = made(inputs, context, ["tokens", "ref_logp", "ref_logp_per_token"])
    limits = Limits(10**9, None, "drop")
    texts = [(row["instruction"], row["response"]) for row in COMPLETIONS.iter_rows(named=True)]
    encoded = [encode(tiny_tokenizer, [{"role": "user", "content": one}], two, None, limits) for one, two in texts]
    assert found["tokens"].to_list() == [float(len(item.completion_ids)) for item in encoded if item]
    of_everything = pl.read_parquet(inputs["reference"] / files.REFERENCE)
    assert found["ref_logp"].to_list() == [*of_everything["ref_logp"][:2], None, of_everything["ref_logp"][2]]
    per_token = found.filter(pl.col("ref_logp").is_not_null())
    assert per_token["ref_logp_per_token"].to_list() == pytest.approx(
        (per_token["ref_logp"] / per_token["tokens"]).to_list()
    )
    assert (facts["ref_logp/with_score"], facts["ref_logp/without_score"]) == (3, 1), "the long prompt has none"
    assert (facts["tokens/with_score"], facts["tokens/without_score"]) == (4, 0)
    assert found.columns == ["row", "completion", "ref_logp", "ref_logp_per_token", "tokens"]
    assert set(of_everything["use"]) == {""}


def test_of_a_response_that_is_cut_the_log_prob_is_of_what_is_left(inputs, context) -> None:  # type: ignore[no-untyped-def]
    _, whole = made(inputs, context, ["tokens", "ref_logp", "ref_logp_per_token"])
    for place in ("tokens", "reference", "columns"):
        for path in inputs[place].iterdir():
            path.unlink()
    _, cut = made(inputs, context, ["tokens", "ref_logp", "ref_logp_per_token"], most=40)
    assert cut["tokens"].to_list() == whole["tokens"].to_list()
    assert cut["ref_logp"][1] > whole["ref_logp"][1]
    assert cut["ref_logp"][1] / cut["ref_logp_per_token"][1] < cut["tokens"][1]


def test_where_every_prompt_is_too_long_it_is_said(inputs, context) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"too long for dpo\.max_length=10"):
        reference.run(settings_of(10), inputs, inputs["reference"], context())


def test_log_probs_of_everything_are_computed_together_with_what_is_trained_on(inputs, context) -> None:  # type: ignore[no-untyped-def]
    request = (settings_of(400), inputs)
    filled = reference.fill([request, request], context())
    assert len(filled) == 3
    one = context()
    one.filled = dict(filled)
    facts = reference.run(settings_of(400), inputs, inputs["reference"], one)
    assert (facts["needed"], facts["computed"], facts["found"]) == (3, 3, 0)
