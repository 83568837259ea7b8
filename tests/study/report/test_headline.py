"""The first line of a report: one plain sentence, true to the contrasts, and what would have told more."""

from __future__ import annotations

from typing import Any

import pytest

from notus_exp.comparison.cautions import LACKING
from notus_exp.reporting.planning import few_differ
from notus_exp.study.report.headline import (
    cautions_beside,
    headline,
    verdict_word,
    what_each_takes,
    what_would_show,
)
from support.report_folders import METRIC, comparison, contrast, without_runs

PARTS = {"prompt": 0.04, "seed": 0.0, "residual": 0.0}
ALIKE, HIGHER, LOWER = (-0.03, -0.09, 0.03), (0.06, 0.02, 0.1), (-0.06, -0.1, -0.02)


def primary(arm: str, ends: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """A primary contrast on 16 prompts with 5 seeds, whose differences have a deviation of 0.2 over prompts alone."""
    corrected = {"holm": 0.5, "benjamini_hochberg": 0.5, "holm_low": -1.0, "holm_high": 1.0, "components": PARTS}
    measured = {"prompts": 16, "seeds": 5}
    return contrast(METRIC, arm, "critique", *ends, primary=True, **(measured | corrected | more))


def study(*rows: dict[str, Any], margin: float | None = None, **more: Any) -> Any:
    content = comparison(["critique", *(row["arm"] for row in rows)], contrasts=list(rows))
    content["study"] |= {"margin": margin, **more}
    return content


def test_without_a_verdict_the_line_says_what_cannot_tell_and_what_would() -> None:
    # n = (1.96 + 0.84)^2 0.2^2 / 0.05^2 = 125.6 and a few more for the quantiles of t: 130 with two digits, rounded up.
    # Nothing varies over seeds, so more of them show nothing more.
    line = headline(study(primary("average", ALIKE))).line
    assert (
        line == "No difference can be shown: 16 prompts and 5 seeds cannot tell; 130 prompts would show 0.05 with 80 %"
        " power."
    )


def test_a_named_margin_is_the_difference_that_is_worth_seeing() -> None:
    # (1.96 + 0.84)^2 0.2^2 / 0.1^2 = 31.4
    line = headline(study(primary("average", ALIKE), margin=0.1)).line
    assert (
        line
        == "No difference can be shown: 16 prompts and 5 seeds cannot tell; 34 prompts would show 0.1 with 80 % power."
    )


def test_seeds_are_named_where_they_help() -> None:
    # 10 seeds by the measured variances; planned with 3.23 times MS_seed, of which no number of prompts is enough
    parts = {"prompt": 0.0, "seed": 0.0, "residual": 0.04}
    said = what_would_show(primary("average", ALIKE, components=parts) | {"seeds": 8}, 0.05, 1)
    assert said == "16 prompts and 8 seeds cannot tell; 29 seeds would show 0.05 with 80 % power"


def test_of_many_arms_each_that_shows_none_is_told_what_it_takes() -> None:
    equal = {"margin": 0.05, "equivalent": True, "p": 0.01}
    family = [primary(f"rule{number}", ALIKE) for number in range(7)]
    family += [primary("better", HIGHER), primary("equal", ALIKE, equivalence=equal)]
    told = dict(what_each_takes(family, 0.05))
    assert [*told] == [f"rule{number}" for number in range(7)], "what is decided needs nothing"
    assert {*told.values()} == {what_would_show(primary("rule0", ALIKE), 0.05, len(family))}
    assert "prompts would show 0.05 with 80 % power" in told["rule6"]


def test_a_difference_that_would_have_been_seen_is_said_to_be_absent() -> None:
    said = what_would_show(primary("average", ALIKE), 0.5, 1)
    assert said == "16 prompts and 5 seeds would have shown a difference of 0.5 with 80 % power"


def test_where_no_scale_says_what_is_worth_seeing_the_least_visible_difference_is_told() -> None:
    row = primary("average", ALIKE) | {"metric": "verifiable/tokens"}
    # 2.8 x 0.2 / sqrt(16) = 0.14, and more by the quantile of t with 15 degrees of freedom
    assert (
        what_would_show(row, None, 1)
        == "16 prompts and 5 seeds show differences from about 0.15 tokens on with 80 % power"
    )


def test_what_the_seeds_do_not_hold_up_is_not_promised() -> None:
    # measured, 130 prompts would do; of three seeds the variance may be 19.5 times what was seen, of two 254 times
    parts = {"prompt": 0.03, "seed": 0.0, "residual": 0.01}
    two = what_would_show(primary("average", ALIKE, components=parts) | {"seeds": 2}, 0.05, 1)
    assert two == (
        "16 prompts and 2 seeds cannot tell; the variance between seeds is not known, so more seeds come first"
    )
    three = what_would_show(primary("average", ALIKE, components=parts) | {"seeds": 3}, 0.05, 1)
    assert three == (
        "16 prompts and 3 seeds cannot tell; the variance between seeds is not known well enough (a deviation of 0, "
        "and with 95 % confidence no more than 0.108), so more seeds come first"
    )


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


def test_equivalence_is_told_beside_a_difference() -> None:
    tested = {"margin": 0.1, "p": 0.001, "equivalent": True}
    better, large = primary("e", (0.023, 0.009, 0.038), equivalence=tested), primary("average", HIGHER)
    alone = headline(study(better, margin=0.1)).line
    assert alone == "e is better than critique, by less than the margin of 0.1: +0.023 (95 % +0.009 to +0.038)."
    line = headline(study(large, better, primary("same", (0.0, -0.01, 0.01), equivalence=tested), margin=0.1)).line
    assert line == (
        "average and e are better than critique (e by less than the margin of 0.1); same is equivalent to critique "
        "within ±0.1."
    )


def test_a_margin_has_the_unit_of_its_metric() -> None:
    tested = {"margin": 5, "p": 0.001, "equivalent": True}
    row = primary("average", ALIKE, equivalence=tested) | {"metric": "verifiable/tokens"}
    assert headline(study(row, margin=5, metric="verifiable/tokens")).line == (
        "average and critique are equivalent within ±5 tokens."
    )


def test_several_contrasts_are_one_sentence_and_what_is_open_is_remarked() -> None:
    rows = [primary("a", HIGHER), primary("b", LOWER), primary("c", HIGHER), primary("d", ALIKE)]
    found = headline(study(*rows, margin=0.1))
    assert found.line == "a and c are better than critique; b is worse; no difference from critique can be shown for d."
    [remark] = found.remarks  # at 0.05 / 4: (2.5 + 0.84)^2 0.2^2 / 0.1^2 = 44.6
    assert remark == "d: 16 prompts and 5 seeds cannot tell; 48 prompts would show 0.1 with 80 % power."


def test_many_arms_are_counted() -> None:
    rows = [primary(f"arm{number}", HIGHER) for number in range(6)]
    found = headline(study(*rows, primary("other", LOWER)))
    assert found.line == "6 of 7 arms are better than critique; other is worse."
    assert found.remarks == ["Better: arm0, arm1, arm2, arm3, arm4, arm5."]
    assert headline(study(*rows)).remarks == [], "all of them"


def test_of_many_open_contrasts_the_least_sure_is_told() -> None:
    rows = [primary(f"arm{number}", ALIKE, standard_error=0.01 * number) for number in range(1, 7)]
    rows[5]["components"] = PARTS | {"prompt": 0.16}
    found = headline(study(primary("good", HIGHER), *rows, margin=0.1))
    assert found.line == "good is better than critique; no difference from critique can be shown for 6 of 7 arms."
    remark, named = found.remarks
    assert remark.startswith("arm6: 16 prompts and 5 seeds cannot tell; ")
    assert named == "No difference shown: arm1, arm2, arm3, arm4, arm5, arm6."


def same_everywhere(arm: str, value: float) -> dict[str, Any]:
    return primary(arm, (value, value - 0.1, value + 0.1), verdict="cannot tell", p=None)


def test_arms_that_agree_on_every_prompt_are_said_to() -> None:
    found = headline(study(same_everywhere("average", 0.0)))
    assert found.line == "average and critique agree on every prompt (16 prompts and 5 seeds)."
    assert found.remarks == ["Where every prompt shows the same there is no spread, so there is no test and no p."]


def test_arms_that_differ_alike_on_every_prompt_are_said_to() -> None:
    row = same_everywhere("average", 1.0)
    assert headline(study(row)).line == (
        "average and critique differ by +1.000 on every prompt, in favour of average (16 prompts and 5 seeds)."
    )
    longer = row | {"metric": "verifiable/tokens", "value": -3.0}
    said = headline(study(longer, metric="verifiable/tokens")).line
    assert said.startswith("average and critique differ by −3.000 tokens on every prompt (")


def test_of_several_arms_each_is_told_what_can_be_said() -> None:
    nan, none = float("nan"), {"prompts": 0, "seeds": 0, "verdict": "cannot tell"}
    rows = [same_everywhere("a", 0.0), same_everywhere("b", -1.0), primary("c", (nan, nan, nan)) | none]
    found = headline(study(*rows))
    assert found.line == (
        "b and critique differ by −1.000 on every prompt, in favour of critique; a agrees with critique on every "
        "prompt; c cannot be compared with critique."
    )
    assert found.remarks == ["c: no seed is finished on both sides."]


def test_only_without_data_arms_cannot_be_compared() -> None:
    nan = float("nan")
    row = primary("average", (nan, nan, nan), verdict="cannot tell", prompts=0, seeds=2)
    assert headline(study(row)).line == "average cannot be compared with critique: no prompt has a value on both sides."


def test_what_a_plan_rests_on_is_remarked() -> None:
    # 2 of 16 prompts differ: at 130 prompts about 16 would, which is enough; the spread itself rests on the two
    found = headline(study(primary("average", ALIKE, differing=2)))
    assert found.remarks == [
        "0.05 is 5 % of the metric's span: no margin was named.",
        "The spread that is planned with was measured on 16 prompts of which 2 differ: it is a rough guess, and so is "
        "what it would take.",
    ]
    hopeful = headline(study(primary("average", ALIKE, differing=1, prompts=40), margin=0.1)).remarks
    assert hopeful[0].startswith("The two differ on 2.5 % of the prompts, so with 40 prompts fewer than 15 would: ")
    [all_of_few, *_] = few_differ(1.0, [10])
    assert all_of_few.startswith("the two differ on 100 % of ")


def test_more_seeds_than_anybody_trains_are_no_advice() -> None:
    parts = {"prompt": 0.04, "seed": 0.01, "residual": 0.01}
    said = what_would_show(primary("average", ALIKE, components=parts), 0.05, 1)
    assert said == (
        "16 prompts and 5 seeds cannot tell; only more prompts and more seeds together would show 0.05 with 80 % power"
    )


def test_prompts_that_were_left_out_are_remarked_on_top() -> None:
    lacking = f"25 of 40 {LACKING} and are left out"
    alone = headline(study(primary("average", HIGHER, cautions=[lacking, "another caution"])))
    assert alone.remarks == [f"{lacking}.", "another caution."]
    one_of_two = [primary("a", HIGHER, cautions=["of a alone", lacking]), primary("b", HIGHER)]
    assert headline(study(*one_of_two)).remarks == [f"a: {lacking}."]
    assert cautions_beside(one_of_two) == ["a: of a alone."]  # type: ignore[arg-type]


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
