"""Log-probs and answers that several processes make together: those of one process, once each, and nothing twice."""

import dataclasses
import json
import sqlite3
import threading

import polars as pl
import pytest
from transformers import AutoModelForCausalLM

from notus_exp.config.curation_settings import Split
from notus_exp.config.evaluation_settings import PreferencesEvaluation
from notus_exp.disk import files, hashing
from notus_exp.disk.json_lines import read_lines
from notus_exp.errors import UserError
from notus_exp.evaluation import generations
from notus_exp.generation import decoding
from notus_exp.machine.team import Alone, rounds
from notus_exp.models import likelihoods, reference
from notus_exp.models.scorer import Scorer
from notus_exp.models.store import ReferenceStore
from notus_exp.stages.settings import GenerationsSettings, LikelihoodsSettings, ReferenceSettings
from support.teams import beside, in_threads, run_over_gloo

SCORED = ReferenceSettings(
    split=Split(seed=0, validation=0.0, test=0.5),
    system_prompt="",
    precision="float32",
    max_length=160,
    max_prompt_length=64,
    long_prompts="drop",
    preferences=PreferencesEvaluation("preferences", None),
    scored_split="test",
)
ANSWERED = GenerationsSettings(
    evaluation="verifiable",
    chosen={"prompts": 5, "split": "test"},
    seed=1,
    max_new_tokens=6,
    temperature=1.0,
    temperatures={},
    system_prompt="",
    precision="float32",
    endpoint_model=None,
)
COMPARED = LikelihoodsSettings(precision="float32", kl_prompts=5)
SIZES = [2, 3]


@pytest.fixture(autouse=True)
def one_load_at_once(monkeypatch):
    """Threads stand for processes here, and transformers loads one model at a time in a process."""
    load, turn = AutoModelForCausalLM.from_pretrained, threading.Lock()

    def loaded(*given, **named):
        with turn:
            return load(*given, **named)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)


@pytest.fixture
def inputs(tmp_path, tiny_model_folder):
    from notus_exp.models.pretrained import tiny_random

    places = {name: tmp_path / f"{name}-0123" for name in ("feedback", "base_model", "policy")}
    for place in places.values():
        place.mkdir()
    (places["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    tiny_random(places["policy"] / files.MODEL, seed=5)
    rows = [
        (hashing.prompt_id(f"Question {row}"), row, f"Question {row}", completion, "", "", "so" + " it is" * (row % 4))
        for row in range(12)
        for completion in range(3)  # the same response three times: one log-prob
    ]
    names = ["prompt_id", "row", "instruction", "completion", "principle", "system_prompt", "response"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(places["feedback"] / files.COMPLETIONS)
    return places


def stages(inputs, root):
    """Return the stages that several processes make, in their order, each with its inputs under `root`."""
    made = {"reference_scored": root / "0", "generations": root / "1"}
    policy = {name: inputs[name] for name in ("base_model", "policy")}
    return [
        (reference, SCORED, {name: inputs[name] for name in ("feedback", "base_model")}),
        (generations, ANSWERED, policy | {"feedback": inputs["feedback"]}),
        (likelihoods, COMPARED, policy | made),
    ]


def make_all(inputs, root, context, team):
    """Make all stages in one process of a team; return their facts."""
    facts = []
    for number, (module, settings, used) in enumerate(stages(inputs, root)):
        out = root / str(number)
        if team.rank == 0:
            out.mkdir(parents=True)
        facts.append(module.run(settings, used, out, beside(context, team)))
        team.gather(None)  # as after every stage: what process 0 wrote is there
    return facts


def tables(root):
    return [pl.read_parquet(path) for path in sorted(root.glob("[0-9]/*.parquet"))]


def stored(cache):
    with sqlite3.connect(cache / reference.STORE) as connection:
        return sorted(connection.execute("SELECT key, logp FROM logps").fetchall())


def timeless(facts):
    return [{name: value for name, value in one.items() if name != "seconds"} for one in facts]


@pytest.mark.parametrize("size", SIZES)
def test_several_processes_make_what_one_makes_and_one_writes(inputs, tmp_path, context, size):
    here = context(scoring_batch_size=2, generation_batch_size=2)
    alone = make_all(inputs, tmp_path / "alone", here, Alone())
    there = dataclasses.replace(here, cache=tmp_path / "shared cache")
    together = in_threads(size, lambda team: make_all(inputs, tmp_path / "together", there, team))
    for facts in together:
        assert timeless(facts) == timeless(alone)
    for one, other in zip(tables(tmp_path / "alone"), tables(tmp_path / "together"), strict=True):
        assert other.equals(one)  # to the last bit: the batches are the same
    assert stored(there.cache) == stored(here.cache)
    assert len(stored(here.cache)) == alone[0]["computed"] > 0
    assert not (there.cache / "of nobody").exists()


def test_a_killed_team_goes_on_with_the_rounds_that_it_had(inputs, tmp_path, context, monkeypatch):
    here = context(scoring_batch_size=1, generation_batch_size=2)
    make_all(inputs, tmp_path / "alone", here, Alone())
    killed = dataclasses.replace(here, cache=tmp_path / "other")
    used = {name: inputs[name] for name in ("feedback", "base_model")}
    put_many, calls = ReferenceStore.put_many, []

    def put_one_round(store, logps):
        if calls:
            raise KeyboardInterrupt
        calls.append(logps)
        put_many(store, logps)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(ReferenceStore, "put_many", put_one_round)
    with pytest.raises(KeyboardInterrupt):
        in_threads(2, lambda team: reference.run(SCORED, used, tmp_path / "out", beside(killed, team)))
    monkeypatch.setattr(ReferenceStore, "put_many", put_many)
    assert len(stored(killed.cache)) == 2  # one batch of each process
    facts = in_threads(2, lambda team: reference.run(SCORED, used, tmp_path / "out", beside(killed, team)))
    assert [one["found"] for one in facts] == [2, 2]
    assert stored(killed.cache) == stored(here.cache)


def test_answers_of_a_killed_team_are_kept_in_the_batches_order(inputs, tmp_path, context, monkeypatch):
    here = context(generation_batch_size=1)
    used = {name: inputs[name] for name in ("feedback", "base_model", "policy")}
    generate, calls = decoding.generate, []

    def dies_in_the_second_round(*given):
        calls.append(given)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return generate(*given)

    for name in ("whole", "out"):
        (tmp_path / name).mkdir()
    generations.run(ANSWERED, used, tmp_path / "whole", here)
    monkeypatch.setattr(decoding, "generate", dies_in_the_second_round)
    with pytest.raises(KeyboardInterrupt):
        in_threads(2, lambda team: generations.run(ANSWERED, used, tmp_path / "out", beside(here, team)))
    assert len([*read_lines(tmp_path / "out" / files.ANSWERS.format(1))]) == 2
    monkeypatch.setattr(decoding, "generate", generate)
    in_threads(3, lambda team: generations.run(ANSWERED, used, tmp_path / "out", beside(here, team)))
    one, other = (pl.read_parquet(tmp_path / name / files.GENERATIONS) for name in ("whole", "out"))
    assert other.equals(one)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [files.GENERATIONS]


def test_a_log_prob_that_is_not_finite_stops_every_process(inputs, tmp_path, context, monkeypatch):
    monkeypatch.setattr(Scorer, "logps", lambda scorer, items, *, shared: [float("nan")] * len(items))
    raised = []

    def member(team):
        with pytest.raises(UserError, match="not finite"):
            reference.run(SCORED, inputs, tmp_path, beside(context(), team))
        raised.append(team.rank)

    in_threads(2, member)
    assert sorted(raised) == [0, 1]


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_batches_are_dealt_out_once_each_and_in_order(number):
    dealt = in_threads(2, lambda team: rounds(team, range(number)))
    for own, whole in zip(zip(*dealt, strict=True), range(0, number, 2), strict=False):
        assert [batch for batch, _ in own if batch is not None] == [*range(whole, min(whole + 2, number))]
    assert [batch for _, batches in dealt[0] for batch in batches] == [*range(number)]


@pytest.mark.slow
def test_two_processes_over_gloo_make_what_one_makes(inputs, tmp_path, context):
    here = context(scoring_batch_size=2, generation_batch_size=2)
    alone = make_all(inputs, tmp_path / "alone", here, Alone())
    together = tmp_path / "together"
    together.mkdir()
    asked = [(module.__name__, settings, used) for module, settings, used in stages(inputs, together)]
    run_over_gloo(asked, together, here)
    for facts in json.loads((together / "facts.json").read_text()):
        assert timeless(facts) == timeless(json.loads(json.dumps(alone)))
    for one, other in zip(tables(tmp_path / "alone"), tables(together), strict=True):
        assert other.equals(one)
    assert stored(together / "cache") == stored(here.cache)
