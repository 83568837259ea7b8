"""The simulated world: texts that keep what they should, labels with the stated noise, and its calibration."""

import re

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.config.data_settings import SIMULATED_ASPECTS, Simulated
from notus_exp.config.simulated_checks import check_simulated
from notus_exp.disk import hashing
from notus_exp.disk.folding import folded
from notus_exp.errors import UserError
from notus_exp.feedback import simulated
from notus_exp.feedback.simulated import annotators, constraint_prompts, make_world, simulate
from notus_exp.feedback.simulated.answers import COMMAS, FILLERS, HEDGES, HOLLOW, answer
from notus_exp.feedback.simulated.constraints import CHECKERS, follows, words
from notus_exp.feedback.simulated.draws import WORLD, Draws
from notus_exp.feedback.simulated.prompts import (
    BEGINNINGS,
    COMPATIBLE,
    ENDINGS,
    KINDS,
    WORDINGS,
    first_kind,
    make_prompt,
)
from notus_exp.feedback.simulated.topics import topics
from support.places import ROOT

DEFAULTS = ROOT / "conf/data/simulated.yaml"
QUIET = {"rating_noise": 0.0, "overall_noise": 0.0, "missing_rate": 0.0, "inverted_score_rate": 0.0}


def spec(**changes):
    values = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    del values["defaults"]
    return Simulated(**{**values, **changes})


def prompts(number, fewest=1, most=3, seed=0):
    return [
        make_prompt(Draws(WORLD, 0, index, seed), first_kind(seed, WORLD, index), fewest, most)
        for index in range(number)
    ]


@pytest.fixture(scope="module")
def default_world():
    """The default world with 5,000 prompts: (spec, world, completions)."""
    settings_ = spec(prompts=5000)
    return settings_, make_world(settings_), simulate(settings_)


# -------------------------------------------------------------------------------------------------------------- topics
def test_topics_are_many_and_their_statements_combine():
    assert len(topics()) >= 60
    statements = [text for topic in topics() for text in topic.true + topic.wrong]
    assert len(statements) == len({*statements})
    # One sentence, no comma, digit or quote, and so short that a single one fits the smallest word limit.
    assert [text for text in statements if not re.fullmatch(r"[A-Z][A-Za-z ]+\.", text)] == []
    assert max(len(words(text)) for text in statements) <= 9
    for topic in topics():
        assert len(topic.true) >= 4 and len(topic.wrong) >= 2
        assert sum(len(words(text)) for text in topic.true) >= 16, "four statements reach the largest word minimum"
        assert any(topic.keywords)
        assert all(word in text.lower() for text, keys in zip(topic.true, topic.keywords, strict=True) for word in keys)


def test_filling_text_breaks_no_constraint_by_itself():
    for text in (*HEDGES, *HOLLOW, *FILLERS, *ENDINGS, *BEGINNINGS):
        assert not set(text) & set(',"0123456789')
    assert all("," in text for text in COMMAS)


# ------------------------------------------------------------------------------------------------------------- prompts
def test_every_kind_has_several_wordings_and_a_checker():
    assert {*KINDS} == {*CHECKERS} == {*WORDINGS}
    assert all(len(wordings) >= 2 for wordings in WORDINGS.values())


def test_compatibility_is_symmetric_and_leaves_three_constraints_for_every_kind():
    assert all(kind in COMPATIBLE[other] for kind in KINDS for other in COMPATIBLE[kind])
    assert not any(kind in COMPATIBLE[kind] for kind in KINDS)
    for kind in KINDS:
        for second in COMPATIBLE[kind]:
            assert COMPATIBLE[kind] & COMPATIBLE[second], (kind, second)
    for kind, other in [("lowercase", "uppercase"), ("json", "bullets"), ("json", "no_commas"), ("quoted", "begin")]:
        assert other not in COMPATIBLE[kind]


def test_prompts_have_as_many_compatible_constraints_as_asked_and_say_them():
    for prompt in prompts(300, fewest=2, most=3):
        kinds = [constraint.kind for constraint in prompt.constraints]
        assert len(kinds) in (2, 3)
        assert all(other in COMPATIBLE[kind] for kind in kinds for other in kinds if other != kind)
        assert len({*kinds}) == len(kinds)
        assert prompt.topic.name in prompt.instruction
        assert "{" not in prompt.instruction and "None" not in prompt.instruction
        for params in prompt.constraints_by_kind.values():
            for named in [params.get("phrase", ""), *params.get("words", []), *params.get("keys", [])]:
                assert named in prompt.instruction


def test_each_run_of_prompts_has_every_kind_first_once():
    for block in range(5):
        start = block * len(KINDS)
        assert {first_kind(3, WORLD, index) for index in range(start, start + len(KINDS))} == {*KINDS}


# ------------------------------------------------------------------------------------------------------------- answers
def test_a_model_of_skill_one_keeps_every_constraint_always():
    for index, prompt in enumerate(prompts(3000)):
        one = answer(prompt, 1.0, Draws(WORLD, 9, index, 0))
        broken = [constraint for constraint in prompt.constraints if not follows(constraint, one.response)]
        assert broken == [], (prompt.instruction, one.response)
        assert one.qualities == (1.0, 1.0, 1.0, 1.0)


def test_a_model_of_skill_zero_breaks_nearly_everything():
    kept = {kind: [] for kind in KINDS}
    for index, prompt in enumerate(prompts(2000)):
        one = answer(prompt, 0.0, Draws(WORLD, 9, index, 0))
        assert one.qualities[0] < 1 and one.qualities[1] == 0.5  # unhelpful, and hedged
        for constraint in prompt.constraints:
            kept[constraint.kind].append(follows(constraint, one.response))
    assert max(np.mean(follow) for follow in kept.values()) < 0.2
    assert np.mean([follow for follows_ in kept.values() for follow in follows_]) < 0.06


def test_instruction_following_is_what_the_checkers_measure(default_world):
    _, world, _ = default_world
    for prompt, answers in zip(world.prompts, world.answers, strict=True):
        for one in answers:
            measured = sum(follows(constraint, one.response) for constraint in prompt.constraints)
            assert one.qualities[SIMULATED_ASPECTS.index("instruction_following")] == measured / len(prompt.constraints)


@pytest.mark.parametrize("skill", [0.2, 0.5, 0.9])
def test_skill_is_the_probability_of_keeping_a_constraint(skill):
    shares = [
        answer(prompt, skill, Draws(WORLD, 9, index, 0)).qualities[2] for index, prompt in enumerate(prompts(1500))
    ]
    assert np.mean(shares) == pytest.approx(skill, abs=0.05)


def test_qualities_describe_the_text():
    for index, prompt in enumerate(prompts(400)):
        one = answer(prompt, 0.5, Draws(WORLD, 9, index, 0))
        helpfulness, honesty, _, truthfulness = one.qualities
        text = one.response.lower()
        hedged = any(hedge.lower() in text for hedge in HEDGES)
        false = any(wrong.lower().rstrip(".") in text for topic in topics() for wrong in topic.wrong)
        assert (truthfulness < 1) == false
        assert honesty == (0.5 if hedged else 0.0 if false else 1.0)
        if helpfulness == 0:
            own = [said.lower().rstrip(".") for said in prompt.topic.true + prompt.topic.wrong]
            assert not any(said in text for said in own)


def test_responses_of_a_prompt_rarely_repeat_and_are_short(default_world):
    _, _, table = default_world
    distinct = table.group_by("row").agg(pl.col("response").n_unique())["response"].sum()
    assert 1 - distinct / table.height < 0.05
    lengths = table["response"].map_elements(lambda text: len(words(text)), return_dtype=pl.Int64)
    assert 16 <= lengths.mean() <= 24 and lengths.max() <= 80
    assert table["instruction"].map_elements(lambda text: len(words(text)), return_dtype=pl.Int64).mean() <= 16
    assert table["prompt_id"].n_unique() >= 0.97 * 5000


# --------------------------------------------------------------------------------------------------------------- table
def test_the_table_has_the_documented_columns():
    table = simulate(spec(prompts=3, aspects=["truthfulness", "helpfulness"]))
    assert dict(table.schema) == {
        "prompt_id": pl.String,
        "row": pl.Int64,
        "source": pl.String,
        "instruction": pl.String,
        "completion": pl.Int64,
        "model": pl.String,
        "principle": pl.String,
        "system_prompt": pl.String,
        "response": pl.String,
        "rating_truthfulness": pl.Float64,
        "rating_helpfulness": pl.Float64,
        "overall_score": pl.Float64,
        "critique": pl.String,
        "latent_quality": pl.Float64,
    }
    assert table["row"].to_list() == [0] * 4 + [1] * 4 + [2] * 4
    assert table["completion"].to_list() == [0, 1, 2, 3] * 3
    assert table["source"].unique().to_list() == ["simulated"]
    assert sorted(table["model"][:4]) == ["sim-expert", "sim-fair", "sim-good", "sim-weak"]
    assert table["prompt_id"].to_list() == [hashing.prompt_id(text) for text in table["instruction"]]


def test_the_prompts_are_folded_so_that_folding_moves_none_of_them(default_world):
    _, _, table = default_world
    assert all(folded(text) == text for text in table["instruction"].unique())


def test_models_are_in_no_fixed_order(default_world):
    _, _, table = default_world
    first = table.filter(pl.col("completion") == 0)["model"].value_counts()["count"] / 5000
    assert all(0.22 < share < 0.28 for share in first)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**40), few=st.integers(1, 20), more=st.integers(0, 20))
def test_a_smaller_world_is_the_beginning_of_a_larger_one(seed, few, more):
    small, large = simulate(spec(seed=seed, prompts=few)), simulate(spec(seed=seed, prompts=few + more))
    assert small.equals(large.head(small.height))


def test_the_seed_alone_makes_another_world_and_the_order_of_skills_does_not():
    skills = {"b": 0.3, "a": 0.9}
    one = simulate(spec(prompts=20, skills=skills))
    assert one.equals(simulate(spec(prompts=20, skills=dict(sorted(skills.items())))))
    assert not one["instruction"].equals(simulate(spec(prompts=20, skills=skills, seed=1))["instruction"])


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ({"rating_noise": 3.0}, {"rating_", "critique"}),
        ({"missing_rate": 0.5}, {"rating_"}),
        ({"overall_noise": 0.0}, {"overall_score", "critique"}),
        ({"overall_missing_rate": 0.5}, {"overall_score"}),
        ({"inverted_score_rate": 1.0}, {"overall_score"}),
        ({"aspects": ["honesty"]}, set()),
    ],
)
def test_a_noise_setting_moves_only_what_it_is_about(change, columns):
    before, after = simulate(spec(prompts=200)), simulate(spec(prompts=200, **change))
    changed = {name for name in after.columns if not before[name].equals(after[name])}
    assert {name if "rating" not in name else "rating_" for name in changed} == columns


# -------------------------------------------------------------------------------------------------------------- labels
def test_labels_without_noise_are_the_true_qualities():
    qualities = np.array([[[1, 0.5, 0, 1], [0, 0, 0, 0]], [[1, 1, 1, 1], [0.5, 0.5, 0.5, 0]]])
    labels = annotators.annotate(qualities, spec(**QUIET))
    assert labels.ratings.tolist() == [[[5, 3, 1, 5], [1, 1, 1, 1]], [[5, 5, 5, 5], [3, 3, 3, 1]]]
    # 1 + 9 * 0.625 = 6.625, 1 + 9 * 0.375 = 4.375
    assert labels.overall.tolist() == [[7, 1], [10, 4]]


def test_scores_of_one_are_written_as_ten_at_the_rate_and_the_critique_still_says_what_was_seen():
    qualities = np.zeros((2000, 2, 4))
    labels = annotators.annotate(qualities, spec(**{**QUIET, "inverted_score_rate": 0.3}))
    assert {*labels.overall.ravel().tolist()} == {1.0, 10.0}
    assert (labels.overall == 10).mean() == pytest.approx(0.3, abs=0.03)
    assert all(text.startswith(annotators.VERDICTS["poor"]) for text in labels.critiques)


def test_missing_labels_come_at_their_rates_and_the_others_are_whole_numbers_in_range(default_world):
    table = simulate(spec(prompts=2000, missing_rate=0.1, overall_missing_rate=0.3))
    for aspect in SIMULATED_ASPECTS:
        ratings = table[f"rating_{aspect}"]
        assert ratings.null_count() / table.height == pytest.approx(0.1, abs=0.015)
        assert {*ratings.drop_nulls()} == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert table["overall_score"].null_count() / table.height == pytest.approx(0.3, abs=0.02)
    assert {*table["overall_score"].drop_nulls()} == {float(score) for score in range(1, 11)}
    assert not any(default_world[2][f"rating_{aspect}"].is_nan().any() for aspect in SIMULATED_ASPECTS)


def test_the_critique_names_the_weakest_aspect():
    qualities = np.array([[[1, 1, 0, 1], [1, 1, 1, 0]], [[1, 1, 1, 1], [0, 1, 1, 1]]])
    critiques = annotators.annotate(qualities, spec(**QUIET)).critiques
    for text, aspect in zip(critiques, ["instruction_following", "truthfulness", "", "helpfulness"], strict=True):
        remarks = annotators.WEAKNESSES[aspect] if aspect else annotators.REASONS["strong"]
        assert text.startswith(annotators.VERDICTS["strong"]) and any(remark in text for remark in remarks)


# --------------------------------------------------------------------------------------------------------- calibration
def choices(table, world):
    """The choice of average and critique for each prompt (ties by a draw per prompt), and the true qualities."""
    truth = world.qualities().mean(axis=2)
    draw = hashing.uniform([prompt.prompt_id for prompt in world.prompts], 0, "test ties")

    def best(scores):
        scores = np.nan_to_num(scores.to_numpy().reshape(truth.shape), nan=-1.0)
        tied = scores >= scores.max(axis=1, keepdims=True) - 1e-9
        wanted = (draw * tied.sum(axis=1)).astype(int)
        return (np.cumsum(tied, axis=1) > wanted[:, None]).argmax(axis=1)

    average = table.select(pl.mean_horizontal(*(f"rating_{aspect}" for aspect in SIMULATED_ASPECTS))).to_series()
    return best(average), best(table["overall_score"]), average.to_numpy().reshape(truth.shape), truth


def rightness(chosen, truth):
    return (truth[np.arange(len(chosen)), chosen] == truth.max(axis=1)).mean()


def test_by_default_average_and_critique_disagree_on_about_half_and_average_is_right_more_often(default_world):
    _, world, table = default_world
    average, critique, _, truth = choices(table, world)
    assert 0.45 <= (average != critique).mean() <= 0.55
    assert rightness(average, truth) > rightness(critique, truth) + 0.2


def test_by_default_pairs_are_informative_and_differ_in_constraint_following(default_world):
    _, world, table = default_world
    chosen, _, average, truth = choices(table, world)
    rows = np.arange(len(chosen))
    worse = average < average[rows, chosen][:, None] - 1e-9
    draw = hashing.uniform([prompt.prompt_id for prompt in world.prompts], 0, "test rejected")
    wanted = (draw * worse.sum(axis=1)).astype(int)
    rejected = (np.cumsum(worse, axis=1) > wanted[:, None]).argmax(axis=1)
    some = worse.any(axis=1)
    assert some.mean() > 0.98
    assert (truth[rows, chosen] > truth[rows, rejected])[some].mean() > 0.85
    kept_all = world.qualities()[:, :, SIMULATED_ASPECTS.index("instruction_following")] == 1
    assert kept_all[rows, chosen][some].mean() >= 0.75
    assert kept_all[rows, rejected][some].mean() <= 0.40


def test_a_world_can_be_made_in_which_critique_is_the_better_choice():
    settings_ = spec(prompts=1500, rating_noise=3.0, overall_noise=0.0, inverted_score_rate=0.0)
    average, critique, _, truth = choices(simulate(settings_), make_world(settings_))
    assert rightness(critique, truth) > rightness(average, truth) + 0.15


def test_without_noise_neither_is_better():
    settings_ = spec(prompts=1500, **QUIET)
    average, critique, _, truth = choices(simulate(settings_), make_world(settings_))
    assert (average == critique).all()
    assert rightness(average, truth) == rightness(critique, truth) == 1


# ----------------------------------------------------------------------------------------------------- unseen prompts
def test_unseen_prompts_are_different_balanced_and_outside_the_excluded():
    world = {prompt.prompt_id for prompt in make_world(spec(prompts=500, seed=1)).prompts}
    found = constraint_prompts(280, 1, world)
    ids = [prompt.prompt_id for prompt in found]
    assert len({*ids}) == 280 and not {*ids} & world
    assert ids == [hashing.prompt_id(prompt.instruction) for prompt in found]
    kinds = [constraint.kind for prompt in found for constraint in prompt.constraints]
    assert all(20 <= kinds.count(kind) <= 60 for kind in KINDS)
    assert {len(prompt.constraints) for prompt in found} == {1, 2}


def test_excluding_a_prompt_replaces_that_prompt_alone():
    before = constraint_prompts(30, 5, [])
    after = constraint_prompts(30, 5, {before[7].prompt_id})
    assert [one == other for one, other in zip(before, after, strict=True)] == [index != 7 for index in range(30)]
    assert constraint_prompts(10, 5, []) == before[:10]


def test_more_prompts_than_there_are_is_an_error_that_names_the_setting(monkeypatch):
    monkeypatch.setattr(simulated, "_ATTEMPTS", 1)
    excluded = {constraint_prompts(3, 0, [])[2].prompt_id}
    with pytest.raises(UserError, match=r"only 2 of 3 unseen(.|\n)*evaluation.verifiable.prompts"):
        constraint_prompts(3, 0, excluded)


# ---------------------------------------------------------------------------------------------------------- bad config
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"min_constraints": 3, "max_constraints": 2}, "data.min_constraints=3"),
        ({"skills": {"only": 0.5}}, "data.skills has 1"),
        ({"skills": {"a": 0.5, "b": 1.5}}, "data.skills.b=1.5"),
        ({"skills": {"a": float("nan"), "b": 0.5}}, "data.skills.a=nan"),
        ({"aspects": ["honesty", "helpfullness"]}, "did you mean 'helpfulness'?"),
    ],
)
def test_a_contradictory_spec_is_refused(changes, part):
    with pytest.raises(UserError) as error:
        check_simulated(spec(**changes))
    assert part in str(error.value)
