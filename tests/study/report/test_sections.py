"""What the report gathers from runs and artifacts: flipped pairs, answers, curves, costs, lineage, a search."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.disk.outputs import runs_of
from notus_exp.reporting.charts import thinned
from notus_exp.reporting.texts import label, visible
from notus_exp.study.report.flips import counts
from notus_exp.study.report.learning import mean_curve, read_log
from notus_exp.study.report.lineage import command
from notus_exp.study.report.material import Material
from notus_exp.study.report.numbers import duration, number, p_of, span_of, value_of
from notus_exp.study.report.palette import looks
from support.report_folders import SEEDS, StudyFolder, comparison, full, trained_on, written


def texts(made: StudyFolder) -> dict[str, str]:
    return written(made.write(), comparison(list(made.study["arms"]))).texts


# ---------------------------------------------------------------------------------------------------------------- pairs
def choices(*rows: tuple[str, int, int]) -> pl.DataFrame:
    return pl.DataFrame([{"prompt_id": pid, "row": 0, "chosen": good, "rejected": bad} for pid, good, bad in rows])


def test_flips_are_counted_over_the_prompts_of_which_both_arms_make_a_pair() -> None:
    one = choices(("same", 1, 2), ("swapped", 1, 2), ("chosen", 1, 2), ("rejected", 1, 2), ("alone", 1, 2))
    two = choices(("rejected", 1, 3), ("chosen", 3, 2), ("swapped", 2, 1), ("same", 1, 2))
    found = counts(one, two)
    assert (found["common"], found["alone"]) == (4, 1)
    assert {kind: found[kind]["count"] for kind in ("chosen", "rejected", "swapped")} == {
        "chosen": 2,
        "rejected": 2,
        "swapped": 1,
    }
    assert found["chosen"]["text"] == "50.0", "half of four, in percent"
    assert found["chosen"]["span"] == "15.0 to 85.0", "Wilson's interval of 2 of 4"


def test_the_page_shows_how_many_pairs_flip_and_both_texts_of_some(tmp_path: Path) -> None:
    text = texts(full(tmp_path))["flips"]
    assert "critique and average 20 4, 20.0 % 8.1 to 41.6" in text, "the first 4 of 20 pairs are turned round"
    assert "Seed 0" in text
    assert "4 prompts: critique against average" in text
    assert "chosen by critique , rejected by average good plain" in text
    assert "chosen by average , rejected by critique bad plain" in text


def test_pairs_that_flip_are_grouped_by_who_chooses_alike_and_told_once(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path, ("a", "b", "c"))
    rows = [(f"p{number}", "x", "z") for number in range(8)]
    made.pairs("a", 0, rows)
    made.pairs("b", 0, [(prompt, "y" if place < 5 else "x", "z") for place, (prompt, _, _) in enumerate(rows)])
    made.pairs("c", 0, [(prompt, "y" if place < 3 else "x", "z") for place, (prompt, _, _) in enumerate(rows)])
    text = texts(made)["flips"]
    groups = text[text.index("Who chooses alike") :]
    assert groups.index("3 prompts: a against b, c") < groups.index("2 prompts: a, c against b"), "the largest first"
    assert groups.count("Prompt ") == 5, "each of five prompts once, though nine pairs of arms differ"
    assert "chosen by b, c y chosen by a x rejected by a, b, c z" in groups


def test_at_most_five_examples_of_flips_are_shown(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    for arm, chosen in (("critique", "x"), ("average", "y")):
        made.pairs(arm, 0, [(f"p{number}", chosen, "z") for number in range(9)])
    text = texts(made)["flips"]
    assert text.count("Prompt ") == 5
    assert "9 prompts: critique against average 5 of them, picked by a hash." in text
    assert "9, 100.0 %" in text


def test_arms_of_different_feedback_are_not_compared_pair_by_pair(tmp_path: Path) -> None:
    made = full(tmp_path)
    for seed in SEEDS:
        made.runs["average", seed]["stages"]["feedback"]["key"] = "of other data"
    assert "different feedback" in texts(made)["flips"]


def test_a_seed_that_one_arm_lacks_is_not_the_one_compared(tmp_path: Path) -> None:
    made = full(tmp_path)
    del made.runs["average", 0]["stages"]["pairs"]
    assert "Seed 1" in texts(made)["flips"]


def test_several_pairs_of_a_prompt_flip_together_and_all_their_texts_are_shown(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    made.pairs("critique", 0, [("p", "x", "y"), ("p", "x", "z")], rows=[0, 0])
    made.pairs("average", 0, [("p", "y", "z")])
    text = texts(made)["flips"]
    assert "critique and average 1 1, 100.0 %" in text, "one prompt in common, of which the chosen text differs"
    assert "chosen by critique x" in text and "chosen by average , rejected by critique y" in text
    assert "rejected by critique, average z" in text


def test_many_arms_flip_against_the_baseline_alone(tmp_path: Path) -> None:
    arms = tuple("abcdefg")
    made = StudyFolder(tmp_path, arms)
    for place, arm in enumerate(arms):
        made.pairs(arm, 0, [(f"p{number}", "x" if number < place else "y", "z") for number in range(8)])
    text = texts(made)["flips"]
    assert "a and g 8 6, 75.0 %" in text and "b and c" not in text
    assert "each is compared with a alone" in text


# ------------------------------------------------------------------------------------------------------------ curations
def test_what_the_arms_train_on_stands_beside_the_baseline(tmp_path: Path) -> None:
    longer = {"value": 12.5, "low": -3.0, "high": 28.0, "prompts": 20}
    agreed = {"value": 0.75, "low": 0.5, "high": 0.9, "prompts": 20, "decided": 16, "ties": 4, "unscored": 0}
    found = trained_on(critique={}, average={"prompts": 400, "longer": longer, "agreement": {"honesty": agreed}})
    page = written(full(tmp_path).write(), comparison(curations=found))
    text = page.texts["curations"]
    assert "critique 1,200 – – – " in text, "the baseline is not compared with itself"
    assert (
        "average 1,200 of 400 prompts 25.0 12.5 to 50.0 25.0 12.5 to 50.0 25.0 12.5 to 50.0 +12.5 −3.0 to +28.0" in text
    )
    assert "average 75.0 50.0 to 90.0 4 tied" in text
    assert "critique –" in text[text.index("Whose opinion") :]
    assert "Pairs in common between each two arms" not in text, "two arms have one share, which stands above"


def test_three_arms_have_a_table_of_what_each_two_have_in_common(tmp_path: Path) -> None:
    found = trained_on(critique={}, average={}, other={})
    page = written(full(tmp_path).write(), comparison(curations=found))
    text = page.texts["curations"]
    assert "1. critique 100 25 25 2. average 25 100 25 3. other 25 25 100" in text


def test_arms_that_differ_in_the_training_alone_are_said_to_train_on_the_same(tmp_path: Path) -> None:
    one = {"value": 1.0, "low": 0.9, "high": 1.0, "prompts": 20}
    found = trained_on(critique={"same_side": one}, average={"same_side": one})
    found["common"] = [[1.0, 1.0], [1.0, 1.0]]
    page = written(full(tmp_path).write(), comparison(curations=found))
    assert page.texts["curations"] == "What the arms train on All arms train on the same pairs."
    assert "curations" not in written(full(tmp_path / "before").write()).texts, "comparisons of before do not say"


# -------------------------------------------------------------------------------------------------------------- answers
def test_answers_of_base_and_arms_stand_together_with_what_they_follow(tmp_path: Path) -> None:
    text = texts(full(tmp_path))["answers"]
    assert "12 of 20 prompts" in text
    assert text.count("base model · no_commas: not met base, says plain") == 12
    for arm in ("critique", "average"):
        assert text.count(f"{arm} · no_commas: met policy says plain") == 12


def test_answers_to_ifeval_say_which_instructions_they_follow(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    for arm in ("critique", "average"):
        made.ifeval(arm, 0, policy=[True, False], base=[False, False])
    text = texts(made)["answers"]
    assert "in ifeval" in text
    assert "base model · letters: not met · length: not met" in text
    assert "average · letters: met · length: not met" in text


def test_the_same_prompts_are_shown_whoever_answers(tmp_path: Path) -> None:
    shown = []
    for name, response in (("one", "yes"), ("two", "no, never")):
        made = StudyFolder(tmp_path / name)
        for arm in ("critique", "average"):
            made.answers(arm, 0, response, "base")
        shown.append([word for word in texts(made)["answers"].split() if word.rstrip(".").isdigit()])
    assert shown[0] == shown[1]


def test_samples_are_shown_where_the_answers_are_gone(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    for arm in ("critique", "average"):
        made.samples(arm, 0, f"sampled of {arm}")
    text = texts(made)["answers"]
    for words in ("asked", "base model from the base", "critique sampled of critique", "average sampled of average"):
        assert words in text


# --------------------------------------------------------------------------------------------------------------- curves
def test_a_log_keeps_the_later_of_a_step_written_twice_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = '{{"time": 0, "stage": "policy", "step": {}, "metrics": {{"train/loss": {}}}}}\n'
    path.write_text(
        line.format(1, 0.7) + line.format(2, 0.6) + line.format(1, 0.5) + line.format(3, "NaN") + "half a li"
    )
    assert read_log(path) == {"train/loss": {1: 0.5, 2: 0.6}}


def test_the_mean_curve_has_the_steps_that_all_seeds_have() -> None:
    assert mean_curve([{1: 0.2, 2: 0.4, 3: 1.0}, {2: 0.6, 1: 0.4}]) == {1: pytest.approx(0.3), 2: pytest.approx(0.5)}


def test_thinning_averages_neighbours() -> None:
    assert thinned([1, 2, 3, 4], [1.0, 3.0, 5.0, 9.0], 2) == ([1.5, 3.5], [2.0, 7.0])
    assert thinned([1, 2], [5.0, 6.0], 2) == ([1.0, 2.0], [5.0, 6.0])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300), st.integers(1, 50))
def test_a_thinned_curve_is_short_and_stays_within_its_values(values: list[float], most: int) -> None:
    xs, ys = thinned(range(len(values)), values, most)
    assert len(xs) == len(ys) == min(len(values), most)
    assert xs == sorted(xs)
    assert min(values) - 1e-9 <= min(ys) <= max(ys) <= max(values) + 1e-9


def test_curves_are_drawn_of_what_was_kept(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    made.events("average", 0, [0.7, 0.6, 0.5])
    text = texts(made)["learning"]
    assert "loss" in text
    assert "Learning curves A line for each arm. Losses" in text, "one seed: no band to explain"
    assert "average" in text
    assert "critique" not in text, "its training kept nothing"


@pytest.mark.parametrize(("arms", "shaded"), [(6, True), (7, False)])
def test_seeds_are_a_band_where_it_hides_no_other_arm(tmp_path: Path, arms: int, shaded: bool) -> None:
    names = [f"arm{number}" for number in range(arms)]
    made = StudyFolder(tmp_path, names)
    for arm in names:
        for seed in SEEDS:
            made.events(arm, seed, [0.7, 0.6 + 0.1 * seed])
    text = texts(made)["learning"]
    assert "the mean over its seeds" in text
    assert ("shaded between the lowest and the highest seed" in text) is shaded


def test_a_single_point_is_no_curve_but_a_row(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    for seed, accuracy in ((0, 0.5), (1, 0.75)):
        made.events("average", seed, [0.7, 0.6, 0.5])
        made.events("average", seed, [accuracy], "validation/accuracy")
    page = written(made.write(), comparison())
    plots = [value for _, name, value in page.attributes if name == "aria-label" and "by step of" in value]
    assert plots == ["loss by step of train, a line for each of average"]
    assert (
        "On validation pairs, measured once (step 1) arm accuracy (share of pairs) average 0.625"
        in page.texts["learning"]
    )


# -------------------------------------------------------------------------------------------------------------- lineage
def material(made: StudyFolder) -> Material:
    folder = made.write()
    return Material(folder, made.study, comparison(), runs_of(folder, made.study), looks(list(made.study["arms"])))


def test_the_command_reproduces_a_run_in_a_shell(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    made.study["arms"]["average"]["overrides"] = [
        "selection=average",
        "filters.valid_under=[critique,average]",
        "data.path=a b",
    ]
    made.study["arms"]["average"]["tuned"] = {"dpo.beta": "0.03"}
    words = shlex.split(command(material(made), "average", 1))
    assert words == [
        *["python", "-m", "notus_exp", "selection=average", "filters.valid_under=[critique,average]", "data.path=a b"],
        *["dpo.beta=0.03", "seed=1"],
    ]


def test_what_tuning_chose_is_not_given_twice(tmp_path: Path) -> None:
    made = StudyFolder(tmp_path)
    made.study["arms"]["average"]["tuned"] = {"dpo.beta": "0.1"}
    assert command(material(made), "average", 0).split().count("dpo.beta=0.1") == 1


def test_every_run_shows_command_status_reason_stages_and_what_made_them(tmp_path: Path) -> None:
    made = full(tmp_path)
    made.runs["average", 1] |= {"status": "failed", "error": "out of memory in policy"}
    made.study["arms"]["average"]["runs"]["2"] = "never-run"
    made.study["unplanned"] = {"critique": {"2": "data.path does not exist"}}
    text = texts(made)["lineage"]
    assert "python -m notus_exp -m selection=critique,average study.name=mine" in text
    assert "critique, seed 0: finished python -m notus_exp selection=critique dpo.beta=0.1 seed=0 Run run0-s0" in text
    assert "average, seed 1: failed : out of memory in policy" in text
    assert "average, seed 2: not started" in text
    assert "critique, seed 2: failed : data.path does not exist" in text
    assert "pairs00" * 4 in text, "the whole key"
    assert "not recorded, made before manifests said it: " in text


def test_what_made_a_stage_is_read_from_its_manifest_whatever_the_run_says(tmp_path: Path) -> None:
    made = full(tmp_path)
    here = {"started": "2026-03-01T10:00:00+00:00", "command": ["seed=1", "data.path=a b"], "git_commit": "abc123"}
    here |= {
        "seconds": 3.0,
        "hardware": {"profile": "cpu", "device": "cpu"},
        "versions": {"torch": "2.13.0", "x": None},
    }
    gpu = {"hardware": {"profile": "gpu", "device": "cuda", "cuda_names": "NVIDIA H100"}, "command": ["hardware=gpu"]}
    made.made_with("critique", 1, "pairs", here)
    made.made_with("average", 1, "pairs", here | gpu | {"seconds": None}, here | {"started": "2026-03-02"})
    made.made_with("average", 0, "pairs")
    for run in made.runs.values():  # of a machine that found all made
        run |= {"hardware": {"profile": "laptop"}, "versions": {"torch": "9"}, "git_commit": "fff"}
    text = texts(made)["lineage"]
    assert "90 s 2026-03-01 cpu reused" in text
    assert "90 s 2026-03-01 gpu (NVIDIA H100) (killed); then 2026-03-02 cpu reused" in text
    assert "90 s not recorded made" in text, "seed 0"
    assert "made by python -m notus_exp seed=1 'data.path=a b' : pairs" in text
    assert "commit abc123, cpu: 2 artifacts" in text
    assert "commit abc123, gpu: 1 artifact" in text
    assert "pairs of critique, seed 1 · pairs of average, seed 1" in text
    assert "torch 2.1" in text
    assert "x not installed" in text
    assert "laptop" not in text
    assert "fff" not in text


def test_what_tuning_tried_is_listed_and_its_cost_counted(tmp_path: Path) -> None:
    made = full(tmp_path)
    tried = {"values": {"dpo.beta": "0.03"}, "runs": {"1000": "tuning-1"}, "value": 0.71, "low": 0.68, "high": 0.74}
    failed = {"values": {"dpo.beta": "3"}, "runs": {"1000": "tuning-2"}, "value": None, "low": None, "high": None}
    made.study["tuning"] = {"average": [tried | {"reason": None}, failed | {"reason": "diverged"}]}
    made.study["arms"]["average"]["tuned"] = {"dpo.beta": "0.03"}
    made.write_run(made.runs["average", 0] | {"run_id": "tuning-1"})
    found = texts(made)
    assert "What tuning tried for average" in found["lineage"]
    assert "0.03 0.710 0.680 to 0.740 tuning-1 chosen" in found["lineage"]
    assert "3 – no interval tuning-2 diverged" in found["lineage"]
    assert "average 2 3.3 min 13.3 min 75 % 100 s" in found["cost"], "60 + 40 s of the one tuning run with a record"


def test_the_price_of_a_run_is_that_of_finished_ones(tmp_path: Path) -> None:
    made = full(tmp_path)
    made.runs["average", 1] |= {"status": "failed", "error": "out of memory"}
    made.runs["average", 1]["costs"]["device_seconds_if_nothing_were_reused"] = 100.0
    page = written(made.write())
    assert "average 2 3.3 min 8.3 min 60 %" in page.texts["cost"], "what all runs cost: 200 of 500 s"
    plots = [value for _, name, value in page.attributes if name == "aria-label"]
    assert any("average 0.612 at 6.7 min" in words for words in plots), "400 s"


def test_judges_are_counted_where_they_were_asked(tmp_path: Path) -> None:
    made = full(tmp_path)
    made.runs["average", 0]["costs"] |= {"judge_tokens": 12345, "judge_usd": 0.5}
    made.runs["average", 1]["costs"] |= {"judge_tokens": 655, "judge_usd": None}
    text = texts(made)["cost"]
    assert "average 2 3.3 min 13.3 min 75 % 13,000 0.5" in text
    assert "critique 2 3.3 min 13.3 min 75 % 0 –" in text


# -------------------------------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.61234, 0.58112, 0.64353, ("0.612", "0.581 to 0.644")),
        (0.93, -1.1, 2.97, ("0.93", "−1.10 to 2.97")),
        (41.7, 25.2, 58.2, ("41.7", "25.2 to 58.2")),
        (-0.0004, -0.2, 0.2, ("0.000", "−0.200 to 0.200")),
        (1234.56, 1134.2, 1334.2, ("1235", "1134 to 1334")),
        (-0.00123, -0.00143, -0.00103, ("−0.00123", "−0.00143 to −0.00103")),
        (0.5, 0.5, 0.5, ("0.5", "0.5 to 0.5")),
        (2.1e-9, -1.8e-12, 4.2e-9, ("2.1e-09", "−1.8e-12 to 4.2e-09")),
        (0.12345, None, None, ("0.123", "no interval")),
        (None, None, None, ("–", "no interval")),
    ],
)
def test_numbers_have_the_digits_that_their_interval_can_tell(
    value: float | None, low: float | None, high: float | None, shown: tuple[str, str]
) -> None:
    one = {"value": value, "low": low, "high": high}
    assert (value_of(one), span_of(one)) == shown


def test_numbers_and_durations_are_short() -> None:
    assert [number(value) for value in (0.000012345, 1234.5, 0.1, float("nan"))] == ["1.23e-05", "1234", "0.1", "–"]
    assert [duration(seconds) for seconds in (1.234, 119, 150, 9000, None)] == [
        "1.23 s",
        "119 s",
        "2.5 min",
        "2.5 h",
        "–",
    ]
    assert [p_of(p) for p in (0.03, 0.00001, None)] == ["0.0300", "1.0e-05", "–"]  # can be pasted


# ---------------------------------------------------------------------------------------------------------------- looks
def test_no_two_of_forty_arms_look_alike() -> None:
    drawn = [(look.colour, look.marker) for look in looks([f"arm {number}" for number in range(40)]).values()]
    assert len(set(drawn)) == 41


def test_arms_are_told_apart_by_dash_and_marker_too() -> None:
    drawn = list(looks([f"arm {number}" for number in range(12)]).values())[1:]
    assert len({(look.marker, look.line) for look in drawn}) == 12
    assert len({(look.colour, look.line) for look in drawn}) == 12
    for one, two in itertools.pairwise(drawn):
        assert one.line != two.line
        assert one.marker != two.marker


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_colours_of_arms_can_be_seen_on_light_and_on_dark() -> None:
    for name, look in looks(list("abcdef")).items():
        if name != "base model":  # drawn in the page's own ink
            light, dark = (
                1.05 / (luminance(look.colour) + 0.05),
                (luminance(look.colour) + 0.05) / (luminance("#14171b") + 0.05),
            )
            assert min(light, dark) > 2, (name, light, dark)


def test_names_for_plots_are_cut_in_the_middle_and_show_control_characters() -> None:
    cut = label("a" * 40 + "END", 30)
    assert len(cut) == 30
    assert cut.endswith("END")
    assert label("two\nlines") == "two lines"
    assert visible("a\x00b\nc\td\x7f") == "a\N{SYMBOL FOR NULL}b\nc\td\N{REPLACEMENT CHARACTER}"
