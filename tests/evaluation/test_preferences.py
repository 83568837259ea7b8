import json
import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import stats

from notus_exp.config.evaluation_settings import PreferencesEvaluation
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.loading import conf_dir
from notus_exp.config.training_settings import Precision
from notus_exp.disk.events import EventWriter, read
from notus_exp.disk.files import BY_PROMPT, COMPLETIONS, LIKELIHOODS, METRICS, SAMPLES
from notus_exp.errors import UserError
from notus_exp.evaluation import measuring as stage
from notus_exp.evaluation.preferences.agreement import PUBLISHED_REPAIR, agree, estimates, left_out
from notus_exp.stages.context import Context
from notus_exp.stages.settings import to_json
from support.stage_settings import evaluation_settings

PID = "00000000000000a1"


def tables(rows, latent=False):
    """Likelihoods and feedback from (prompt_id, row, completion, rating, overall, logp, ref_logp, tokens)."""
    names = ["prompt_id", "row", "completion", "rating_help", "overall_score", "logp", "ref_logp", "tokens"]
    types = [pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Float64, pl.Float64, pl.Int64]
    table = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    feedback = table.select(*names[:5])
    if latent:
        feedback = feedback.with_columns(latent_quality=-pl.col("rating_help"))
    return table.select(*names[:3], *names[5:]), feedback


def compared(rows, latent=False, beta=0.1):
    likelihoods, feedback = tables(rows, latent)
    return agree(likelihoods, feedback, aspects=["help"], beta=beta)


# one prompt, three completions: rewards at beta 0.1 are +1, 0 and -2; log-probs per token -2, -2, -4 (policy) and
# -3, -2, -2 (reference); the rating orders 0 > 1 > 2, the critique 1 > 0 = 2
ONE = [
    (PID, 0, 0, 5.0, 3.0, -20.0, -30.0, 10),
    (PID, 0, 1, 4.0, 9.0, -20.0, -20.0, 10),
    (PID, 0, 2, 2.0, 3.0, -40.0, -20.0, 10),
]


def test_measures_of_one_prompt_by_hand():
    row = compared(ONE).records.row(0, named=True)
    assert row["completions"] == 3
    assert row["pairs/average"] == 3
    assert row["accuracy/average"] == 1.0
    assert row["margin/average"] == pytest.approx((1 + 3 + 2) / 3)
    assert row["correlation/average"] == pytest.approx(1.0)
    assert row["likelihood_accuracy/average"] == pytest.approx((0.5 + 1 + 1) / 3)  # the first two per token are equal
    assert row["base/likelihood_accuracy/average"] == pytest.approx((0 + 0 + 0.5) / 3)


def test_a_tie_in_the_score_is_no_pair():
    row = compared(ONE).records.row(0, named=True)
    assert row["pairs/critique"] == 2
    assert row["accuracy/critique"] == 0.5  # 1 over 0: reward 0 against 1, wrong; 1 over 2: 0 against -2, right
    assert row["margin/critique"] == pytest.approx((-1 + 2) / 2)
    assert row["correlation/critique"] == pytest.approx(0.0)


def test_agreed_takes_the_pairs_that_every_labelling_orders_alike():
    row = compared(ONE).records.row(0, named=True)  # only 1 over 2: 0 and 1 are ordered apart, 0 and 2 tie
    assert row["pairs/agreed"] == 1
    assert row["accuracy/agreed"] == 1.0
    assert row["margin/agreed"] == pytest.approx(2.0)
    assert "correlation/agreed" not in row


def test_the_true_quality_is_a_labelling_but_has_no_vote_in_agreed():
    comparison = compared(ONE, latent=True)  # here the opposite of the rating
    assert comparison.labellings == ["critique", "critique_repaired", "average", "help", "latent", "agreed"]
    assert comparison.records["accuracy/latent"].to_list() == [0.0]
    assert comparison.records["pairs/agreed"].to_list() == [1]


def test_the_base_reward_is_equal_everywhere_and_counts_half():
    row = compared(ONE).records.row(0, named=True)
    assert row["base/accuracy/average"] == 0.5
    assert row["base/margin/average"] == 0.0
    found = estimates(compared([*ONE, *[("00000000000000b2", 1, *rest[2:]) for rest in ONE]]))
    assert found["base/preferences/accuracy/average"] == (0.5, 0.5, 0.5, 2)
    assert found["base/preferences/margin/average"] == (0, 0, 0, 2)


def test_an_untrained_policy_is_no_better_than_the_base():
    rows = [(*row[:5], row[6], row[6], row[7]) for row in ONE]
    row = compared(rows).records.row(0, named=True)
    assert row["accuracy/average"] == 0.5
    assert row["correlation/average"] is None
    assert row["likelihood_accuracy/average"] == row["base/likelihood_accuracy/average"]


def test_a_missing_score_leaves_its_pairs_out():
    rows = [ONE[0], (*ONE[1][:3], None, *ONE[1][4:]), ONE[2]]
    row = compared(rows).records.row(0, named=True)
    assert row["pairs/average"] == 1
    assert row["margin/average"] == pytest.approx(3.0)
    assert row["pairs/critique"] == 2
    assert row["pairs/agreed"] == 0  # the rating is silent on the only pair that the critique orders


def test_labellings_without_a_single_score_are_absent():
    rows = [(*row[:3], None, *row[4:]) for row in ONE]
    comparison = compared(rows)
    assert comparison.labellings == ["critique"]
    assert "preferences/accuracy/average" not in estimates(comparison)


# the first completion's 10 is contradicted by its rating, the fourth's is ambiguous, the third's supported
TENS = [
    (PID, 0, 0, 1.0, 10.0, -1.0, -2.0, 1),
    (PID, 0, 1, 4.5, 8.0, -2.0, -2.0, 1),
    (PID, 0, 2, 5.0, 10.0, -2.0, -4.0, 1),
    (PID, 0, 3, 3.0, 10.0, -9.0, -2.0, 1),
]


def test_the_critique_is_as_the_data_has_it_and_the_repaired_one_after_the_published_repair():
    row = compared(TENS).records.row(0, named=True)
    # rewards in nats: 1, 0, 2, -7. As it stands 0, 2 and 3 are above 1: right, right, wrong
    assert row["pairs/critique"] == 3
    assert row["accuracy/critique"] == pytest.approx(2 / 3)
    # repaired: 1, 8, 10 and no label. 2 over 1 and 2 over 0 are right, 1 over 0 is wrong
    assert row["pairs/critique_repaired"] == 3
    assert row["accuracy/critique_repaired"] == pytest.approx(2 / 3)
    assert row["margin/critique_repaired"] == pytest.approx((0.2 + 0.1 - 0.1) / 3)


def test_the_repaired_critique_has_no_vote_in_agreed():
    row = compared(TENS).records.row(0, named=True)
    # rating and critique as it stands order only 2 over 1 alike; 2 and 3 tie in the critique
    assert row["pairs/agreed"] == 1
    silenced = [(PID, 0, 0, 4.5, 8.0, -1.0, -2.0, 1), (PID, 0, 1, 3.0, 10.0, -2.0, -2.0, 1)]
    assert compared(silenced).records["pairs/critique_repaired"].to_list() == [0], "an ambiguous 10 gives no label"
    agreeing = [(PID, 0, 0, 2.5, 8.0, -1.0, -2.0, 1), (PID, 0, 1, 3.0, 10.0, -2.0, -2.0, 1)]
    assert compared(agreeing).records["pairs/agreed"].to_list() == [1]


@pytest.mark.parametrize("lacking", [3, 4])
def test_without_ratings_or_overall_scores_there_is_no_repaired_critique(lacking):
    rows = [(*row[:lacking], None, *row[lacking + 1 :]) for row in TENS]
    assert compared(rows).labellings == [["critique"], ["average", "help", "agreed"]][lacking - 3]


def test_the_published_repair_is_the_one_that_conf_ships():
    shipped = OmegaConf.to_container(OmegaConf.load(conf_dir() / "repair" / "openbmb.yaml"))
    assert to_json(PUBLISHED_REPAIR) == shipped


def test_completions_of_different_records_are_never_compared():
    rows = [(PID, 0, 0, 5.0, 3.0, -1.0, -2.0, 1), (PID, 1, 0, 1.0, 9.0, -3.0, -2.0, 1)]
    comparison = compared(rows)
    assert comparison.records["completions"].to_list() == [1, 1]
    assert left_out(comparison)["records_without_a_pair"] == 2
    assert estimates(comparison)["preferences/accuracy/average"].n == 0


def test_records_left_out_are_counted_by_reason():
    tied = [("00000000000000c3", 2, i, 3.0, 5.0 + i, -1.0 * i, -2.0, 1) for i in range(2)]
    single = [("00000000000000d4", 3, 0, 3.0, 5.0, -1.0, -2.0, 1)]
    flat = [("00000000000000e5", 4, i, 3.0 + i, 5.0 + i, -2.0, -2.0, 1) for i in range(2)]
    counts = left_out(compared([*ONE, *tied, *single, *flat]))
    assert counts["preference_records"] == 4
    assert counts["records_without_a_pair"] == 1
    assert counts["records_unordered/average"] == 2
    assert counts["records_unordered/critique"] == 1
    assert counts["records_without_correlation/average"] == 3
    assert counts["records_without_correlation/critique"] == 2


def test_the_metric_is_the_mean_over_prompts_with_a_t_interval():
    # accuracies 1 and 0: mean 0.5, standard error 0.5, t(0.975, 1) = 12.7; cut to what is possible
    wrong = [
        ("00000000000000b2", 1, c, rating, overall, ref, logp, 10) for _, _, c, rating, overall, logp, ref, _ in ONE
    ]
    found = estimates(compared([*ONE, *wrong]))
    assert found["preferences/accuracy/average"] == (0.5, 0.0, 1.0, 2)
    assert found["difference/preferences/accuracy/average"] == (0.0, -0.5, 0.5, 2)
    assert found["preferences/margin/average"].value == pytest.approx(0.0)


def test_records_of_the_same_prompt_are_one_cluster():
    rows = [*ONE, *[(PID, 1, *row[2:]) for row in ONE]]
    found = estimates(compared(rows))["preferences/accuracy/average"]
    assert found.n == 1
    assert math.isnan(found.low)


def test_a_policy_better_than_the_base_everywhere_has_a_difference_above_0():
    rows = [(f"{i:016x}", i, *row[2:]) for i in range(64) for row in ONE]
    difference = estimates(compared(rows))["difference/preferences/accuracy/average"]
    assert difference.value == 0.5
    assert 0.4 < difference.low < 0.5  # the rule of three: not certain that no prompt is otherwise


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), None])
def test_a_log_prob_that_is_not_finite_is_an_error_with_a_remedy(broken):
    rows = [(*ONE[0][:5], broken, *ONE[0][6:]), *ONE[1:]]
    with pytest.raises(UserError, match="1 of 3 log-probs") as error:
        compared(rows)
    assert "learning_rate" in error.value.hint


@pytest.mark.parametrize("name", ["latent", "agreed", "critique_repaired"])
def test_an_aspect_with_the_name_of_a_labelling_is_an_error(name):
    likelihoods, feedback = tables(ONE)
    with pytest.raises(UserError, match=name):
        agree(likelihoods, feedback, aspects=[name], beta=0.1)


def test_likelihoods_of_other_data_are_refused():
    likelihoods, feedback = tables(ONE)
    with pytest.raises(ValueError, match="different data"):
        agree(likelihoods, feedback.head(2), aspects=["help"], beta=0.1)


small = st.integers(-3, 3).map(float)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.none() | small, small), min_size=2, max_size=7), st.randoms())
def test_accuracy_and_correlation_equal_the_plain_definitions_in_any_row_order(drawn, random):
    rows = [(PID, 0, i, score, None, reward * 10, 0.0, 1) for i, (score, reward) in enumerate(drawn)]
    random.shuffle(rows)
    if all(row[3] is None for row in rows):
        return
    row = compared(rows).records.row(0, named=True)
    known = [(score, reward) for score, reward in drawn if score is not None]
    better = [(a[1], b[1]) for a in known for b in known if a[0] > b[0]]
    if better:
        expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in better) / len(better)
        assert row["accuracy/average"] == pytest.approx(expected)
        assert row["margin/average"] == pytest.approx(sum(a - b for a, b in better) / len(better))
    else:
        assert row["accuracy/average"] is None
    tau = stats.kendalltau(*zip(*known, strict=True)).statistic if len(known) > 1 else math.nan
    assert row["correlation/average"] == (None if math.isnan(tau) else pytest.approx(tau))


def hardware():
    return Hardware("cpu", Device.cpu, 1, 1, 1, "sdpa", False, [Precision.float32], Launch.plain, 1, None, False)


def evaluated(tmp_path: Path, likelihoods: pl.DataFrame, feedback: pl.DataFrame):
    """Facts and folder of the stage over these tables."""
    for folder in ("feedback", "likelihoods", "out"):
        (tmp_path / folder).mkdir()
    feedback.write_parquet(tmp_path / "feedback" / COMPLETIONS)
    likelihoods.write_parquet(tmp_path / "likelihoods" / LIKELIHOODS)
    context = Context(EventWriter("evaluation", tmp_path / "kept", tmp_path / "followed"), hardware(), tmp_path)
    out = tmp_path / "out"
    facts = stage.run(
        evaluation_settings(aspects=["help"], preferences=PreferencesEvaluation("preferences", max_prompts=None)),
        {"feedback": tmp_path / "feedback", "likelihoods": tmp_path / "likelihoods"},
        out,
        context,
    )
    return facts, out


def test_data_without_ratings_is_told_that_its_critique_cannot_be_repaired(tmp_path: Path):
    likelihoods, feedback = tables(TENS)
    facts, out = evaluated(tmp_path, likelihoods, feedback.with_columns(rating_help=pl.lit(None, pl.Float64)))
    [note] = facts["notes"]
    assert "critique_repaired is not reported" in note
    assert not [name for name in json.loads((out / METRICS).read_text()) if "repaired" in name]


def test_the_stage_writes_metrics_and_the_table_by_prompt(tmp_path: Path):
    facts, out = evaluated(tmp_path, *tables(ONE, latent=True))
    assert facts["notes"] == []
    metrics = json.loads((out / METRICS).read_text())
    assert metrics["preferences/accuracy/average"] == {"value": 1.0, "low": None, "high": None, "n": 1}
    assert metrics["base/preferences/accuracy/average"]["value"] == 0.5
    assert facts["preferences/accuracy/average"] == 1.0
    assert facts["difference/preferences/accuracy/average"] == 0.5
    assert facts["labellings"] == ["critique", "critique_repaired", "average", "help", "latent", "agreed"]
    assert pl.read_parquet(out / BY_PROMPT.format("preferences"))["prompt_id"].to_list() == [PID]
    assert json.loads((out / SAMPLES).read_text()) == []
    assert not (out / BY_PROMPT.format("verifiable")).exists()
    assert [event.metrics["progress"] for event in read(tmp_path / "followed")] == [1.0]
    json.dumps(facts, allow_nan=False)


def test_no_scored_completion_gives_no_metric_and_says_so():
    comparison = compared([])
    assert estimates(comparison) == {}
    assert left_out(comparison) == {"preference_records": 0, "records_without_a_pair": 0}
