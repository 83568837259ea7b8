"""`data=made`: what it is given is composed as its groups would be, and what does not go together is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from notus_exp.config.annotator_items import told_of_annotator
from notus_exp.config.data_settings import MadeFeedback, Mix, PromptsAlone, Simulated
from notus_exp.config.judge_settings import MockJudge, OpenAIJudge
from notus_exp.config.made_checks import check_made
from notus_exp.config.made_settings import Writer, annotators_of, every_annotator, prompts_of, writers_of
from notus_exp.config.mix_sources import parts, sources_told
from notus_exp.config.schema import Config, Stage
from notus_exp.errors import UserError
from support.configs import composed

FAR = "{name: far, base_url: 'http://127.0.0.1:1/v1', model: big, input_price: 1, output_price: 2}"
POOL = f"[{{name: own}}, {{name: weak, simulated: 0.3}}, {FAR}]"
MADE = ("data=made", "data.per_prompt=2", "data.judge={judge: mock}", "model=tiny_random")


def made(*overrides: str, writers: str = POOL, own: Path | None = None) -> MadeFeedback:
    data = composed(*MADE, f"data.writers={writers}", *overrides, own=own).data
    assert isinstance(data, MadeFeedback)
    return data


@pytest.fixture(scope="module")
def config() -> Config:
    return composed(*MADE, f"data.writers={POOL}", "data.prompts.prompts=50")


def test_writers_are_models_of_this_process_endpoints_or_simulated(config: Config) -> None:
    own, weak, far = config.data.writers
    assert [type(one) for one in (own, weak, far)] == [Writer] * 3
    assert (own.loads_model, weak.loads_model, far.loads_model) == (True, False, False)
    assert (far.at_endpoint, far.model, far.input_price, far.temperature) == (True, "big", 1.0, 1.0)
    assert [*writers_of(config.data)] == ["own", "weak", "far"] and writers_of(composed().data) == {}


def test_prompts_are_an_option_of_the_group_with_its_settings(config: Config, tmp_path: Path) -> None:
    prompts = prompts_of(config.data)
    assert isinstance(prompts, Simulated) and prompts.prompts == 50 and prompts.statements == 3
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"question": "Why?"}\n')
    writers = "data.writers=[{name: own},{name: other, seed: 1}]"
    read = composed(*MADE, writers, f"data.prompts={{data: prompts, path: {path}, prompt_column: question}}").data
    assert isinstance(prompts_of(read), PromptsAlone) and prompts_of(read).path == str(path)
    assert (parts(read).keys(), sources_told(read)) == ({"data.prompts"}, [f"prompts: data=prompts, {path}"])


def test_prompts_may_be_a_mix_whose_sources_are_named_within_it() -> None:
    sources = "[{data: simulated, corpus: world, prompts: 20}, {data: prompts, path: p.jsonl}]"
    data = made(f"data.prompts={{data: mix, sources: {sources}}}", writers="[{name: own}, {name: other, seed: 1}]")
    assert isinstance(data.prompts, Mix)
    assert [*parts(data)] == ["data.prompts.sources.0", "data.prompts.sources.1"]
    with pytest.raises(UserError, match=r"data.prompts.sources.0.prompts=0 is out of range"):
        made("data.prompts={data: mix, sources: [{data: simulated, prompts: 0}]}", writers="[{name: own}]")


def test_a_judge_is_as_that_of_an_annotator_and_rates_each_aspect(config: Config) -> None:
    assert isinstance(config.data.judge, MockJudge)
    names = [one.name for one in annotators_of(config.data)]
    assert names == ["helpfulness", "honesty", "instruction_following", "truthfulness", "overall"]
    assert [(one.together, one.form) for one in annotators_of(config.data)] == [(True, "rating")] * 4 + [
        (False, "critique")
    ]
    assert {one.key for one in annotators_of(config.data)} == {"data.judge"}
    hosted = made(
        "data.judge={judge: openai, model: rater, input_price: 1, output_price: 2, budget: 9}", "data.budget=5"
    )
    assert isinstance(hosted.judge, OpenAIJudge) and hosted.judge.budget == 9
    assert {one.judge.budget for one in annotators_of(hosted)} == {5.0}
    assert [*every_annotator(composed().data, [])] == []


def test_a_writer_may_have_a_model_of_its_own_an_option_or_a_folder() -> None:
    pool = (
        "[{name: a, model: tiny_random}, {name: b, model: ./some/folder}, {name: c, model: {name: hub, hub_id: X/y}}]"
    )
    a, b, c = made(writers=pool).writers
    assert (a.base.kind, a.model, a.loads_model) == ("tiny_random", None, True)
    assert (b.base.kind, b.base.path) == ("local", "./some/folder")
    assert (c.base.kind, c.base.hub_id) == ("hub", "X/y")


def test_settings_of_writers_prompts_and_judge_are_given_by_their_keys() -> None:
    data = made("data.writers.0.temperature=0.2", "data.prompts.prompts=9", "data.judge.seed=4")
    assert (data.writers[0].temperature, data.prompts.prompts, data.judge.seed) == (0.2, 9, 4)
    with pytest.raises(UserError, match=r"data.writers.9.temperature is no setting of a writer"):
        made("data.writers.9.temperature=0.2")


@pytest.mark.parametrize(
    ("writers", "said", "hint"),
    [
        ("[{model: x}]", "data.writers.0.name must be given", "write 'data.writers="),
        ("[{name: a, temprature: 1}]", "data.writers.0 has no setting 'temprature'", "did you mean 'temperature'"),
        ("[{name: a, model: smolm2_135m}]", "is no option of the group model, and no folder", "smollm2_135m"),
        ("[{name: a, model: local}]", "data.writers.0.model.path must be given", "model: {name: local, path: VALUE}"),
        ("[{name: a, model: {name: hub}}]", "data.writers.0.model.hub_id must be given", "{name: hub, hub_id: VALUE}"),
        ("[{name: a, base_url: 'http://h/v1'}]", "data.writers.0.model must be given", "model: NAME"),
        ("[{name: a, base_url: 'http://me:pw@h/v1', model: m}]", "holds a user name or password", ""),
        ("[{name: a, simulated: 0.5, temperature: 1}]", "a simulated writer does not read it", "leave it out"),
        ("[{name: a, concurrency: 5}]", "a writer without a base_url does not read it", "leave it out"),
        ("[{name: a, temperature: hot}]", "data.writers.0.temperature=hot is not what it takes", ""),
        ("[a]", "data.writers.0 is no mapping", "write 'data.writers="),
    ],
)
def test_what_a_writer_does_not_read_is_refused(writers: str, said: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        made(writers=writers)
    assert said in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data.prompts={data: made}", "data.prompts: data=made is no option of a source"),
        ("data.prompts=x", "data.prompts=x is no mapping"),
        ("data.prompts={data: prompts, prompt_colum: x}", "data.prompts has no setting 'prompt_colum' (data=prompts)"),
        ("data.prompts.prompts=0", "data.prompts.prompts=0 is out of range"),
        ("data.judge={judge: opnai}", "data.judge: judge=opnai is not an option"),
        ("data.judge={judge: openai, modl: x}", "data.judge has no setting 'modl'"),
    ],
)
def test_what_prompts_and_judge_do_not_read_is_refused(given: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        made(given)
    assert said in error.value.message


def changed(config: Config, change: Callable[[Config], None]) -> Config:
    other = copy.deepcopy(config)
    change(other)
    return other


def of_data(**values: object) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config.data = replace(config.data, **values)  # type: ignore[arg-type]

    return change


def of_writer(number: int, **values: object) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config.data.writers[number] = replace(config.data.writers[number], **values)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_data(writers=[]), "data=made has no writers"),
        (of_data(per_prompt=4), "data.per_prompt=4 answers of different writers, and there are 3"),
        (of_writer(1, name="own"), "data.writers.1.name=own is that of data.writers.0 too"),
        (of_writer(0, name="my own"), "data.writers.0.name='my own' is no name of a writer"),
        (of_writer(0, temperature=None), "data.writers.0.temperature=null sends none"),
        (of_writer(0, temperature=-1.0), "data.writers.0.temperature=-1.0 is out of range"),
        (of_writer(1, simulated=1.5), "data.writers.1.simulated=1.5 is out of range"),
        (of_writer(2, output_price=None), "data.writers.2.input_price and data.writers.2.output_price go together"),
        (of_data(prompts=PromptsAlone("prompts", [], 0, "x", None, None, "main", None, "prompt", None)),
         "data.writers.1 is simulated, and the prompts are of data=prompts"),
        (of_data(principles={"quiz": {"honesty": 1.0}}), "data.principles has no 'any'"),
        (of_data(principles={"any": {"honest": 1.0}}), "data.principles.any: 'honest' is no principle"),
        (of_data(principles={"any": {"honesty": -1.0}}), "data.principles.any.honesty=-1.0 is out of range"),
        (of_data(principles={"any": {}}), "data.principles.any weighs nothing"),
        (of_data(aspects=["humour"]), "data.aspects: 'humour' is no rubric"),
        (of_data(aspects=[]), "data.aspects: there is nothing to rate"),
        (of_data(rubrics={"humour": "h.yaml"}), "data.rubrics.humour is given, and data.aspects does not name it"),
        (of_data(aspects=["overall"], rubrics={"overall": "o.yaml"}), "data.aspects names 'overall'"),
        (of_data(max_bad_rows=1), "data.max_bad_rows=1 is of what is read, the prompts"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(config: Config, change: Callable[[Config], None], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_made(changed(config, change))
    assert said in error.value.message
    assert error.value.hint or "out of range" in said


def test_a_budget_needs_a_price_of_everything_that_costs(config: Config) -> None:
    free = changed(config, of_data(budget=1.0))
    check_made(free)
    with pytest.raises(UserError, match=r"data.budget=1 cannot be kept without the prices of data.writers.2\n"):
        check_made(changed(free, of_writer(2, input_price=None, output_price=None)))
    with pytest.raises(UserError, match=r"without the prices of data.judge\n"):
        made("data.judge={judge: openai, model: rater}", "data.budget=1")


def test_prompts_alone_are_no_feedback_and_other_data_makes_no_answers(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Why?"}\n')
    with pytest.raises(UserError, match="data=prompts has prompts without answers") as error:
        composed("data=prompts", f"data.path={path}", "selection=critique")
    assert "data=made" in error.value.hint
    with pytest.raises(UserError, match="until=responses, and data=simulated has its answers"):
        check_made(replace(composed(), until=Stage.responses))


def test_a_judge_that_is_not_named_is_asked_for(config: Config) -> None:
    with pytest.raises(UserError, match=r"data.judge.model must be given: who rates the answers"):
        composed("data=made", "data.per_prompt=2", f"data.writers={POOL}")
    with pytest.raises(UserError, match=r"data.judge: judge=replay is not asked by a rubric"):
        made("data.judge={judge: replay, path: x.parquet}")


def test_whole_numbers_weigh_principles_as_others_do() -> None:
    one, other = (made(f"data.principles={{any: {{helpfulness: {weight}, honesty: 0.5}}}}") for weight in ("1", "1.0"))
    assert one.principles == other.principles == {"any": {"helpfulness": 1.0, "honesty": 0.5}}
    assert isinstance(one.principles["any"]["helpfulness"], float)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{helpfulness: 1, kindness: 2}", "data.principles.any: 'kindness' is no principle"),
        ("{helpfulness: -1}", r"data.principles.any.helpfulness=-1.0 is out of range"),
        ("{helpfulness: much}", "data.principles.any.helpfulness=much is out of range"),
        ("{helpfulness: true}", "data.principles.any.helpfulness=True is out of range"),
    ],
)
def test_weights_of_principles_that_are_none_are_named(weights: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        made(f"data.principles={{any: {weights}}}")


def test_a_used_up_budget_is_told_by_the_keys_that_may_have_set_it() -> None:
    with pytest.raises(UserError) as caught, told_of_annotator("data.judge"):
        raise UserError("judge.budget=0.35 USD: 0.3 USD spent before", "raise judge.budget; and again")
    assert caught.value.message == "data.budget, or data.judge.budget, of 0.35 USD: 0.3 USD spent before"
    assert caught.value.hint == "raise it; and again"
