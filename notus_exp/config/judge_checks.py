"""A judge's settings that go together. What is checked here, nobody checks again."""

from __future__ import annotations

from notus_exp.config.judge_settings import ChatJudge, Judge, MockJudge, OpenAIJudge, ReplayJudge, RewardModelJudge
from notus_exp.errors import UserError


def check_judge(judge: Judge, evaluation: str) -> None:
    """Check a judge that is needed.

    Args:
        judge: Its settings.
        evaluation: What needs it.

    Raises:
        UserError: Naming the keys and the remedy.
    """
    if isinstance(judge, ChatJudge):
        _check_prices(judge)
    if isinstance(judge, OpenAIJudge) and judge.thinking == "strip" and judge.parser == "logprobs":
        raise UserError(
            "judge.parser=logprobs reads the first token of a reply, and judge.thinking=strip says that thoughts come "
            "first",
            "use judge.parser=ranking or letters, or judge.thinking=none where the endpoint keeps thoughts to itself",
        )
    if isinstance(judge, MockJudge) and judge.verdicts_by == "constraints" and judge.template is not None:
        raise UserError(
            f"judge.verdicts_by=constraints reads our own templates, and judge.template={judge.template} is given",
            "leave the template out, or set judge.verdicts_by=hash",
        )
    if isinstance(judge, OpenAIJudge | RewardModelJudge) and not judge.model:
        raise UserError(f"judge.model must be given: evaluation={evaluation} needs a judge", "add judge.model=NAME")
    if isinstance(judge, ReplayJudge) and not judge.path:
        raise UserError("judge.path must be given for judge=replay", "add judge.path=FILE")


def _check_prices(judge: ChatJudge) -> None:
    if (judge.input_price is None) != (judge.output_price is None):
        raise UserError(
            f"judge.input_price={_shown(judge.input_price)} and judge.output_price={_shown(judge.output_price)} go "
            "together, and one is missing",
            "give both, in USD per million tokens (0 for what is free), or neither",
        )
    if judge.budget is not None and judge.input_price is None:
        raise UserError(
            f"judge.budget={judge.budget:g} cannot be kept without prices",
            "add judge.input_price=USD and judge.output_price=USD, per million tokens",
        )


def _shown(price: float | None) -> str:
    return "null" if price is None else f"{price:g}"
