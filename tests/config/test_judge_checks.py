"""A judge's settings that go together are checked once, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.judge_checks import check_judge
from notus_exp.config.judge_settings import ChatJudge, Judge
from notus_exp.config.loading import conf_dir
from notus_exp.errors import UserError
from support.judges import mock_judge, openai_judge, replay_judge, reward_judge
from support.pipelines import run


@pytest.mark.parametrize("make", [mock_judge, openai_judge])
def test_a_budget_without_prices_is_an_error(make: Any) -> None:
    with pytest.raises(UserError, match=r"judge.budget=1 cannot be kept without prices"):
        check_judge(make(budget=1.0), "alpaca_eval")
    with pytest.raises(UserError, match="one is missing"):
        check_judge(make(input_price=1.0), "alpaca_eval")
    with pytest.raises(UserError, match=r"judge.input_price=null and judge.output_price=2 .* one is missing"):
        check_judge(make(output_price=2.0, budget=1.0), "alpaca_eval")


@pytest.mark.parametrize(
    "judge",
    [
        mock_judge(model=""),
        openai_judge(input_price=0.0, output_price=0.0, budget=1.0),
        mock_judge(input_price=1.0, output_price=2.0),
        replay_judge("stored.json", model=""),
        reward_judge("folder"),
    ],
    ids=lambda judge: judge.name,
)
def test_a_complete_judge_passes(judge: Judge) -> None:
    check_judge(judge, "mt_bench")


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        (openai_judge(model=""), r"judge.model must be given: evaluation=mt_bench needs a judge"),
        (reward_judge(""), r"judge.model must be given: evaluation=mt_bench needs a judge"),
        (replay_judge(""), r"judge.path must be given for judge=replay\n  add judge.path=FILE"),
    ],
    ids=["openai", "reward_model", "replay"],
)
def test_a_judge_needs_what_it_asks_or_reads(judge: ChatJudge, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_judge(judge, "mt_bench")


def test_thoughts_and_the_first_tokens_log_probs_exclude_each_other() -> None:
    with pytest.raises(UserError, match=r"judge.parser=logprobs .* judge.thinking=strip"):
        check_judge(openai_judge(parser="logprobs", thinking="strip"), "alpaca_eval")


def test_an_option_that_no_schema_knows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    mock = (conf_dir() / "judge/mock.yaml").read_text(encoding="utf-8")
    (tmp_path / "judge/mymock.yaml").write_text(mock.replace("name: mock", "name: mymock"), encoding="utf-8")
    done = run(tmp_path, "--config-dir", ".", "experiment=smoke", "judge=mymock", "until=config", code=2)
    assert "judge.name=mymock is not an option" in done.stderr
    assert "did you mean 'mock'?" in done.stderr
