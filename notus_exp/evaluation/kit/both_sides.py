"""What judged evaluations share: both sides' verdicts, and the refusal of a score on failed or mixed ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.config.judge_settings import Judge, OpenAIJudge
from notus_exp.disk.files import JUDGMENTS
from notus_exp.evaluation.kit.entrance import BASE

SIDES = {"": "policy", BASE: "base"}
"""Prefix of a side's metrics -> the name of its files."""


def node_of(stage: str, evaluation: str, prefix: str) -> str:
    """Return the node of a side's answers or judgments."""
    return f"{stage}_{evaluation}" + ("_base" if prefix else "")


def read_verdicts(inputs: dict[str, Path], evaluation: str) -> dict[str, pl.DataFrame]:
    """Return the judgments by the prefix of their side."""
    return {
        prefix: pl.read_parquet(inputs[node_of("judgments", evaluation, prefix)] / JUDGMENTS, glob=False)
        for prefix in SIDES
    }


def failures(
    verdicts: Mapping[str, pl.DataFrame], evaluation: str, most: float, judge: Judge | None = None
) -> tuple[dict[str, Any], str | None]:
    """Return counts of verdicts and failures, and the sentence that refuses a score; None where it may be reported.

    It is refused where too many verdicts failed, and where the judge named itself differently within one side or
    between both: verdicts of two snapshots are those of two judges.

    Args:
        verdicts: Of both sides, by prefix.
        evaluation: Its name.
        most: Largest share of failed verdicts with which a score is reported.
        judge: Who judged, for the setting that asks again.
    """
    facts: dict[str, Any] = {}
    note = None
    for prefix, side in SIDES.items():
        table = verdicts[prefix]
        failed = table["value"].null_count()
        facts |= {f"{evaluation}_{side}_verdicts": table.height, f"{evaluation}_{side}_failed_verdicts": failed}
        if failed > most * table.height:
            reasons = table.filter(pl.col("value").is_null())["reason"].value_counts(sort=True)
            note = (
                f"{evaluation} is not reported: {failed} of {table.height} verdicts on the {side} failed, more than "
                f"judge.max_failure_rate={most:g}; the commonest reason: {reasons['reason'][0]}. Their raw texts are "
                f"in {JUDGMENTS} of the stage judgments{_asking_again(judge)}"
            )
    return facts, note or _mixed(verdicts, evaluation)


def _asking_again(judge: Judge | None) -> str:
    if not isinstance(judge, OpenAIJudge):
        return ""
    return (
        "; replies that came are stored and read again, also where another endpoint is named: "
        f"judge.ask_again={judge.ask_again + 1} asks once more for those without a verdict, and for no other"
    )


def snapshots(verdicts: Mapping[str, pl.DataFrame]) -> dict[str, int]:
    """Return how the judge named itself -> verdicts, of both sides together; the name that comes most often first."""
    names = pl.concat([table.select(pl.col("snapshot").fill_null("")) for table in verdicts.values()])
    return dict(names.filter(pl.col("snapshot") != "")["snapshot"].value_counts(sort=True).iter_rows())


def _mixed(verdicts: Mapping[str, pl.DataFrame], evaluation: str) -> str | None:
    found = snapshots(verdicts)
    if len(found) < 2:
        return None
    listed = ", ".join(f"{name} ({count})" for name, count in found.items())
    return (
        f"{evaluation} is not reported: its verdicts are of several snapshots of the judge, which are never mixed: "
        f"{listed}. Set judge.snapshot to the one that answers now, and give the command again"
    )
