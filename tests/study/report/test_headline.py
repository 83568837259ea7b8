"""The first line of a report: one plain sentence, true to the contrasts, and what would have told more."""

from __future__ import annotations

from typing import Any

import pytest

from notus_exp.study.report.headline import headline, verdict_word, what_would_show
from support.report_folders import METRIC, comparison, contrast, without_runs

PARTS = {"prompt": 0.04, "seed": 0.0, "residual": 0.0}
ALIKE, HIGHER, LOWER = (-0.03, -0.09, 0.03), (0.06, 0.02, 0.1), (-0.06, -0.1, -0.02)


def primary(arm: str, ends: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """A primary contrast on 16 prompts with 2 seeds, whose differences have a deviation of 0.2 over prompts alone."""
    corrected = {"holm": 0.5, "benjamini_hochberg": 0.5, "holm_low": -1.0, "holm_high": 1.0, "components": PARTS}
    return contrast(METRIC, arm, "critique", *ends, primary=True, prompts=16, seeds=2, **(corrected | more))


def study(*rows: dict[str, Any], margin: float | None = None, **more: Any) -> Any:
    content = comparison(["critique", *(row["arm"] for row in rows)], contrasts=list(rows))
    content["study"] |= {"margin": margin, **more}
    return content


def test_without_a_verdict_the_line_says_what_cannot_tell_and_what_would() -> None:
    # n = (1.96 + 0.84)^2 0.2^2 / 0.05^2 = 125.6 and a few more for the quantiles of t: 130 with two digits, rounded up.
    # Nothing varies over seeds, so more of them show nothing more.
    line = headline(study(primary("average", ALIKE))).line
    assert line == "No difference can be shown: 16 prompts and 2 seeds cannot tell; 130 prompts would show 0.05."


def test_a_named_margin_is_the_difference_that_is_worth_seeing() -> None:
    # (1.96 + 0.84)^2 0.2^2 / 0.1^2 = 31.4
    line = headline(study(primary("average", ALIKE), margin=0.1)).line
    assert line == "No difference can be shown: 16 prompts and 2 seeds cannot tell; 34 prompts would show 0.1."


def test_seeds_are_named_where_they_help() -> None:
    parts = {"prompt": 0.0, "seed": 0.0004, "residual": 0.04}
    said = what_would_show(primary("average", ALIKE, components=parts), 0.05, 1)
    assert said.startswith("16 prompts and 2 seeds cannot tell; ")
    assert said.endswith(" seeds would show 0.05")


def test_a_difference_that_would_have_been_seen_is_said_to_be_absent() -> None:
    said = what_would_show(primary("average", ALIKE), 0.5, 1)
    assert said == "16 prompts and 2 seeds would have shown a difference of 0.5"


def test_where_no_scale_says_what_is_worth_seeing_the_least_visible_difference_is_told() -> None:
    row = primary("average", ALIKE) | {"metric": "verifiable/tokens"}
    # 2.8 x 0.2 / sqrt(16) = 0.14, and more by the quantile of t with 15 degrees of freedom
    assert what_would_show(row, None, 1) == "16 prompts and 2 seeds show differences from about 0.15 tokens on"


def test_one_seed_never_tells() -> None:
    row = primary("average", ALIKE, components=PARTS | {"seed": None}) | {"seeds": 1}
    assert what_would_show(row, 0.05, 1) == "16 prompts and 1 seed cannot tell: other seeds may turn the result"


@pytest.mark.parametrize(
    ("metric", "ends", "word"),
    [
        (METRIC, HIGHER, "better"),
        (METRIC, LOWER, "worse"),
        ("verifiable/truncated", LOWER, "better"),
        ("verifiable/truncated", HIGHER, "worse"),
        ("verifiable/tokens", HIGHER, "higher"),
        ("of/no/known/evaluation", LOWER, "lower"),
        (METRIC, ALIKE, "not distinguishable"),
    ],
)
def test_better_and_worse_are_said_where_the_direction_is_known(
    metric: str, ends: tuple[float, float, float], word: str
) -> None:
    assert verdict_word(contrast(metric, "average", "critique", *ends)) == word  # type: ignore[arg-type]


def test_one_verdict_stands_with_its_interval() -> None:
    line = headline(study(primary("average", LOWER))).line
    assert line == "average is worse than critique: −0.060 (95 % −0.100 to −0.020)."


def test_a_look_afterwards_has_a_verdict_and_is_called_exploratory() -> None:
    found = headline(study(primary("average", LOWER) | {"primary": False}, chosen_afterwards=["margin"]))
    assert found.line.startswith("average is worse than critique: ")
    assert found.remarks == ["Chosen after the runs were made: margin; what rests on that choice is exploratory."]


def test_equivalence_within_the_margin_is_a_verdict() -> None:
    tested = {"margin": 0.1, "p": 0.001, "equivalent": True}
    assert headline(study(primary("average", ALIKE, equivalence=tested))).line == (
        "average and critique are equivalent within ±0.1."
    )


def test_several_contrasts_are_one_sentence_and_what_is_open_is_remarked() -> None:
    rows = [primary("a", HIGHER), primary("b", LOWER), primary("c", HIGHER), primary("d", ALIKE)]
    found = headline(study(*rows, margin=0.1))
    assert found.line == "a and c are better than critique; b is worse; no difference from critique can be shown for d."
    [remark] = found.remarks  # at 0.05 / 4: (2.5 + 0.84)^2 0.2^2 / 0.1^2 = 44.6
    assert remark == "d: 16 prompts and 2 seeds cannot tell; 48 prompts would show 0.1."


def test_many_arms_are_counted() -> None:
    rows = [primary(f"arm{number}", HIGHER) for number in range(6)]
    assert headline(study(*rows, primary("other", LOWER))).line == (
        "6 of 7 arms are better than critique; other is worse."
    )


def test_of_many_open_contrasts_the_least_sure_is_told() -> None:
    rows = [primary(f"arm{number}", ALIKE, standard_error=0.01 * number) for number in range(1, 7)]
    rows[5]["components"] = PARTS | {"prompt": 0.16}
    found = headline(study(primary("good", HIGHER), *rows, margin=0.1))
    assert found.line == "good is better than critique; no difference from critique can be shown for 6 of 7 arms."
    [remark] = found.remarks
    assert remark.startswith("arm6: 16 prompts and 2 seeds cannot tell; ")


def test_what_cannot_be_compared_is_said() -> None:
    nan = float("nan")
    row = primary("average", (nan, nan, nan), verdict="cannot tell")
    assert headline(study(row)).line == "average cannot be compared with critique."


def test_one_arm_has_nothing_to_be_compared_with() -> None:
    said = "average is the only arm, so there is nothing to compare it with: it reached 0.612 (95 % 0.581 to 0.643)"
    assert headline(comparison(("average",), contrasts=[])).line == f"{said} in {METRIC}."


def test_without_a_finished_run_that_is_the_line() -> None:
    assert headline(without_runs()).line == "No run is finished, so there is nothing to compare."


def test_what_qualifies_the_verdict_is_remarked() -> None:
    content = study(primary("average", HIGHER), evaluation_split="validation", chosen_afterwards=["baseline", "margin"])
    content["arms"][1]["failed"] = {"1": "out of memory"}
    remarks = headline(content).remarks
    assert [remark.split()[0] for remark in remarks] == ["These", "Chosen", "1"]
    assert "baseline and margin" in remarks[1]
