"""When a judged evaluation has a score: verdicts that failed or are of several judges refuse it."""

import polars as pl

from notus_exp.evaluation.kit.both_sides import failures, snapshots
from support.judges import mock_judge, openai_judge


def sides(policy: list[str], base: list[str]) -> dict[str, pl.DataFrame]:
    return {
        prefix: pl.DataFrame({"value": [2.0] * len(names), "snapshot": names, "reason": [""] * len(names)})
        for prefix, names in (("", policy), ("base/", base))
    }


def test_verdicts_of_one_snapshot_have_a_score() -> None:
    verdicts = sides(["v1", "v1"], ["v1", ""])
    assert snapshots(verdicts) == {"v1": 3}
    assert failures(verdicts, "mt_bench", 0.0)[1] is None
    assert failures(sides(["", ""], [""]), "mt_bench", 0.0)[1] is None  # a judge that names itself nowhere


def test_verdicts_of_several_snapshots_have_none_within_a_side_or_between_both() -> None:
    for verdicts in (sides(["v1", "v2", "v2"], ["v2"]), sides(["v2"] * 3, ["v1"])):
        facts, note = failures(verdicts, "mt_bench", 0.0)
        assert facts["mt_bench_policy_failed_verdicts"] == 0
        assert note is not None
        assert "mt_bench is not reported: its verdicts are of several snapshots" in note
        assert "v2 (3), v1 (1)" in note
        assert "judge.snapshot" in note


def test_failed_verdicts_name_the_setting_that_asks_again_where_there_is_one() -> None:
    table = pl.DataFrame(
        {"value": [None], "snapshot": ["v1"], "reason": ["no letter"]}, schema_overrides={"value": float}
    )
    verdicts = {"": table, "base/": table}
    note = failures(verdicts, "mt_bench", 0.5, openai_judge(ask_again=1))[1]
    assert note is not None
    assert "are stored and read again" in note
    assert "judge.ask_again=2 asks once more for those without a verdict" in note
    assert "ask_again" not in str(failures(verdicts, "mt_bench", 0.5, mock_judge())[1])
