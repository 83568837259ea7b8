"""Annotators in a config: composed as the group `judge` would be, planned where they are named, refused by name."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from notus_exp.config.annotator_items import expand_annotators
from notus_exp.config.annotator_settings import Annotator
from notus_exp.config.judge_settings import MockJudge, OpenAIJudge, RewardModelJudge
from notus_exp.config.loading import load
from notus_exp.config.schema import Config
from notus_exp.errors import UserError
from notus_exp.run.execution import Job
from notus_exp.run.nodes import Node
from notus_exp.run.plan import make_plan
from notus_exp.run.sources import resolve
from notus_exp.stages.settings import to_json
from support.configs import composed, composed_by_hydra
from support.expressions import choosing_by
from support.recipes import machine

SMOKE = "experiment=smoke"
HELPFUL = "{name: helpful, judge: openai, model: m, rubric: helpfulness}"
DUEL = "{name: duel, judge: mock, pairs: true}"


composed_once = cache(composed_by_hydra)


def annotators(items: str, *overrides: str) -> list[Annotator]:
    return composed(SMOKE, f"annotators=[{items}]", *overrides).annotators


def loaded(items: str) -> list[Annotator]:
    """Return the annotators of a config without composing all of it anew for each."""
    config = copy.deepcopy(composed_once(SMOKE))
    config.annotators = OmegaConf.create(yaml.safe_load(f"[{items}]"))

    def judge(option: str) -> Any:
        return copy.deepcopy(composed_once(SMOKE, f"judge={option}").judge)

    expand_annotators(config, "openai", ["mock", "openai", "replay", "reward_model"], judge)
    return load(config).annotators


def planned(config: Config) -> dict[str, Node]:
    return {node.name: node for node in make_plan(config, resolve(config))}


def test_a_judge_has_the_settings_of_its_option_and_the_items_own(tmp_path: Path) -> None:
    helpful, duel, scored = annotators(f"{HELPFUL}, {DUEL}, {{name: scored, reward_model: {tmp_path}, max_length: 99}}")
    assert isinstance(helpful.judge, OpenAIJudge) and isinstance(duel.judge, MockJudge)
    assert (helpful.judge.model, helpful.judge.max_tokens, helpful.rubric) == ("m", 1024, "helpfulness")
    assert isinstance(scored.judge, RewardModelJudge)
    assert (scored.judge.model, scored.judge.max_length, duel.pairs) == (str(tmp_path), 99, True)


def test_an_item_asks_the_runs_judge_as_the_run_sets_it() -> None:
    own, named, other = annotators(
        f"{{name: own, rubric: honesty}}, {{name: named, judge: openai, model: n, rubric: honesty}}, {DUEL}",
        *("judge=openai", "judge.model=m", "judge.max_tokens=7", "judge.base_url=http://127.0.0.1:1/v1"),
    )
    assert (own.judge.model, own.judge.max_tokens, own.judge.base_url) == ("m", 7, "http://127.0.0.1:1/v1")
    assert (named.judge.model, named.judge.max_tokens) == ("n", 7)
    assert other.judge.max_tokens == 1024


def test_the_home_folder_is_expanded_in_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    scored, rated = loaded("{name: scored, reward_model: ~/r}, {name: rated, judge: mock, template: ~/t.j2}")
    assert (scored.judge.model, rated.judge.template) == ("/somebody/r", "/somebody/t.j2")


def test_a_recorded_item_is_read_as_it_was() -> None:
    [before] = annotators(HELPFUL, "judge=mock")
    recorded = to_json(before)
    judge = ", ".join(f"{name}: {'null' if value is None else value}" for name, value in recorded["judge"].items())
    own = "name: helpful, rubric: helpfulness, scale: null, pairs: false, report: false"
    assert annotators(f"{{{own}, judge: {{{judge}}}}}", "judge=mock") == [before]


@pytest.mark.parametrize(
    ("items", "said", "hint"),
    [
        ("3", "annotators[0] is no mapping", "rubric: helpfulness"),
        ("{judge: mock}", "annotators[0].name must be given", ""),
        ("{name: a, judge: opnai}", "annotators[0]: judge=opnai is not an option", "did you mean 'openai'?"),
        ("{name: a, judge: mock, modl: x}", "annotators[0] has no setting 'modl' (judge=mock)", "'model'"),
        ("{name: a, judge: mock, reward_model: x}", "annotators[0] has a judge and a reward_model", ""),
        ("{name: a, judge: mock, rubric: helpful}", "annotators[0].rubric=helpful is not an option", "'helpfulness'"),
        ("{name: a, judge: mock}", "annotators[0] has neither a rubric nor a template", "truthfulness"),
        ("{name: a, judge: mock, rubric: honesty, template: x}", "annotators[0] has a rubric and a template", ""),
        ("{name: a, judge: mock, rubric: honesty, scale: [1, 9]}", "annotators[0].scale=[1.0, 9.0] is not read", ""),
        ("{name: a, judge: mock, template: x, scale: [9, 1]}", "annotators[0].scale=[9.0, 1.0] is no scale", "[1, 10]"),
        ("{name: a, judge: mock, pairs: true, rubric: honesty}", "annotators[0].rubric=honesty is not read", ""),
        ("{name: a, judge: mock, pairs: true, both_orders: false}", "annotators[0].both_orders=false", ""),
        ("{name: a, reward_model: x, pairs: true}", "annotators[0].pairs=true: a reward model scores", ""),
        ("{name: a, judge: openai, rubric: honesty}", "annotators[0].model must be given", "add model: NAME"),
        ("{name: a, judge: mock, rubric: honesty, budget: 3}", "annotators[0].budget=3 cannot be kept", ".input_price"),
        ("{name: a, judge: mock, rubric: honesty, max_tokens: x}", "annotators[0].max_tokens=x is no whole", ""),
        ("{name: a, judge: mock, rubric: honesty, max_tokens: 0}", "max_tokens=0 is out of range", ""),
        ("{name: words, judge: mock, rubric: honesty}", "annotators[0].name: 'words' is the name of another", ""),
        ("{name: A, judge: mock, rubric: honesty}", "annotators[0].name=A cannot stand in an expression", ""),
        ("{name: a, judge: mock, rubric: honesty, form: essay}", "annotators[0].form=essay is not an option", "rating"),
        ("{name: a, judge: mock, pairs: true, together: true}", "annotators[0].together=true is not read", "leave"),
        ("{name: a, judge: mock, form: critique, together: true}", "annotators[0].together=true is not read", "leave"),
        ("{name: a, judge: mock, pairs: true, form: critique}", "annotators[0].form=critique is not read", "leave"),
        (
            "{name: a, judge: mock, form: critique, rubric: honesty}",
            "annotators[0].rubric=honesty is not read",
            "leave",
        ),
        ("{name: a, judge: mock, together: true}", "annotators[0] has neither a rubric nor a template", ""),
        ("{name: a, judge: mock, together: true, template: x}", "annotators[0].template=x is not read", "leave"),
        ("{name: a, judge: mock, form: critique, template: x}", "annotators[0].template=x is not read", "leave"),
        ("{name: a, reward_model: x, together: true}", "annotators[0].together=true is not read", "leave"),
        ("{name: a, judge: replay, path: x, form: critique}", "annotators[0].form=critique is not read", "leave"),
        ("{name: a, judge: mock, rubric: honesty, verdicts_by: x}", "verdicts_by=x is not an option", "hash"),
        (
            "{name: a, judge: mock, verdicts_by: constraints, template: x}",
            "annotators[0].verdicts_by=constraints reads our own templates",
            "annotators[0].verdicts_by=hash",
        ),
        (f"{DUEL}, {DUEL}", "annotators[0].name: 'duel' is the name of another", ""),
    ],
)
def test_an_item_that_cannot_be_used_is_refused(items: str, said: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        loaded(items)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    item = "{name: a, judge: openai, model: m, rubric: honesty, base_url: 'http://me:secret@host/v1'}"
    with pytest.raises(UserError, match=r"annotators\[0\].base_url holds a user name or password") as caught:
        annotators(item)
    assert "secret" not in str(caught.value)


def test_what_nothing_names_is_not_asked_and_moves_no_key() -> None:
    bare = planned(composed(SMOKE))
    nodes = planned(composed(SMOKE, f"annotators=[{HELPFUL}]"))
    assert {name: node.key for name, node in nodes.items()} == {name: node.key for name, node in bare.items()}


def test_the_annotators_that_an_expression_names_are_asked_before_the_pairs() -> None:
    config = composed(SMOKE, f"annotators=[{HELPFUL}, {DUEL}]", *choosing_by("duel + helpfulness"), "until=pairs")
    nodes = planned(config)
    assert list(nodes) == ["feedback", "annotations_duel", "pairs"]
    assert nodes["pairs"].inputs == {name: nodes[name].key for name in ("feedback", "annotations_duel")}


def test_until_annotations_asks_all_and_the_report_may_ask_for_one() -> None:
    every = composed(SMOKE, f"annotators=[{HELPFUL}, {DUEL}]", "until=annotations")
    assert list(planned(every)) == ["feedback", "annotations_duel", "annotations_helpful"]
    shown = composed(SMOKE, f"annotators=[{HELPFUL[:-1]}, report: true}}, {DUEL}]", "until=pairs")
    assert list(planned(shown)) == ["feedback", "annotations_helpful", "pairs"]
    with pytest.raises(UserError, match="until=annotations, and there are no annotators"):
        composed(SMOKE, "until=annotations")


def test_what_a_template_holds_is_in_the_key(tmp_path: Path) -> None:
    template = tmp_path / "t.j2"
    template.write_text("{{ instruction }} {{ response }}")

    def key(item: str) -> str:
        config = composed(SMOKE, f"annotators=[{{name: a, {item}}}]", *choosing_by("a"))
        return planned(config)["annotations_a"].key

    by_template = key(f"judge: mock, template: {template}, scale: [1, 9]")
    template.write_text("{{ instruction }}: {{ response }}")
    assert key(f"judge: mock, template: {template}, scale: [1, 9]") != by_template


def test_a_template_that_cannot_be_used_is_told_before_anything_runs(tmp_path: Path) -> None:
    def plan(item: str) -> None:
        planned(composed(SMOKE, f"annotators=[{{name: a, judge: mock, {item}}}]", *choosing_by("a")))

    with pytest.raises(UserError, match=r"annotators.a.template: there is no file"):
        plan(f"template: {tmp_path}/none.j2")
    template = tmp_path / "t.j2"
    template.write_text("{{ instruction }} {{ first }} {{ second }}")
    with pytest.raises(UserError, match="has the variables first, instruction, second") as caught:
        plan(f"template: {template}")
    assert "instruction, response, and no other" in caught.value.hint
    plan(f"template: {template}, pairs: true")


def test_a_job_tells_a_worker_of_its_annotators(tmp_path: Path) -> None:
    config = composed(SMOKE, f"annotators=[{HELPFUL}, {DUEL}]")
    own = {one.name: one for one in config.annotators}
    empty = tmp_path / "x"
    job = Job([], empty, empty, empty, machine(), {}, config.generation, config.judge, empty, annotators=own)
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json").annotators == own


KIND = "criterion: Is it kind?"


def test_a_rubric_may_be_a_file_whose_content_is_in_the_key(tmp_path: Path) -> None:
    rubric = tmp_path / "kind.yaml"

    def key(place: Path, *more: str) -> str:
        item = ", ".join((f"name: a, judge: mock, rubric: {place}", *more))
        config = composed(SMOKE, f"annotators=[{{{item}}}]", *choosing_by("a"))
        return planned(config)["annotations_a"].key

    rubric.write_text(KIND)
    first = key(rubric)
    assert key(rubric, "together: true") != first
    assert key(rubric, "form: critique") != first
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text(KIND)
    assert key(moved) == first, "where it lies is in no key"
    rubric.write_text(f"{KIND} Very.")
    assert key(rubric) != first


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("criteron: a", "", "annotators.a.rubric=.* has the unknown key 'criteron'"),
        (f"{KIND}\ntypes: {{b: c}}", "", "types is read where answers are rated together"),
        (f"{KIND}\nnot_applicable: b", "form: critique", "not_applicable is read with together: true"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_told_before_anything_runs(
    tmp_path: Path, text: str, more: str, said: str
) -> None:
    rubric = tmp_path / "kind.yaml"
    rubric.write_text(text)
    item = f"name: a, judge: mock, rubric: {rubric}{', ' * bool(more)}{more}"
    with pytest.raises(UserError, match=said):
        planned(composed(SMOKE, f"annotators=[{{{item}}}]", *choosing_by("a")))
    rubric.unlink()
    with pytest.raises(UserError, match=r"annotators.a.rubric: there is no file"):
        planned(composed(SMOKE, f"annotators=[{{{item}}}]", *choosing_by("a")))


def test_later_settings_move_a_key_only_where_they_are_used() -> None:
    def key(item: str) -> str:
        config = composed(SMOKE, f"annotators=[{{name: a, judge: openai, model: m, {item}}}]", *choosing_by("a"))
        return planned(config)["annotations_a"].key

    rated = "rubric: honesty"
    plain = key(rated)
    assert key(f"{rated}, together: false, form: rating, response_format: none") == plain
    together = f"{rated}, together: true"
    others = (together, "form: critique", f"{together}, response_format: json_schema")
    assert len({plain, *map(key, others)}) == 4


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["annotators=[{name: a, judge: openai, model: m, rubric: honesty, response_format: json_schema}]"],
         r"annotators\[0\]\.response_format"),
        (["judge=openai", "judge.model=m", "judge.response_format=json_schema"], r"judge\.response_format"),
    ],
)  # fmt: skip
def test_a_schema_of_replies_is_refused_where_no_reply_is_in_json(overrides: list[str], key: str) -> None:
    with pytest.raises(UserError, match=f"{key}=json_schema is not read"):
        composed(SMOKE, *overrides)


def test_a_judges_schema_is_read_by_an_annotator_of_its_own_option() -> None:
    given = ("judge=openai", "judge.model=m", "judge.response_format=json_schema")
    config = composed(SMOKE, *given, "annotators=[{name: b, form: critique}]")
    assert config.annotators[0].judge.response_format == "json_schema"
