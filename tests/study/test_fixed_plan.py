"""What a study planned stays once it has results, and what is added to it later is dated and told."""

from __future__ import annotations

import dataclasses
import functools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from notus_exp.comparison.analysis import analyse
from notus_exp.config.study_settings import Study
from notus_exp.contracts.comparison_file import read_comparison
from notus_exp.contracts.study_file import StudyFile, read_study_file
from notus_exp.disk.json_files import write_json
from notus_exp.disk.outputs import COMPARISON_JSON, STUDY_JSON
from notus_exp.errors import UserError
from notus_exp.study.conclusion import write_outcome
from notus_exp.study.launching import study_json as record
from notus_exp.study.launching.definition import Arm, Definition, define
from notus_exp.study.report.headline import headline
from support.configs import composed
from support.study_folders import ACCURACY, STRICT, edit, run_json, write_run, write_study

TODAY = datetime.now(UTC).date().isoformat()
VALUES = {ACCURACY: [0.5, 0.25, 0.75, 0.5], STRICT: [1.0, 0.0, 1.0, 0.0]}
ARMS, SEEDS = ("critique", "average"), (0, 1)
FRESH = {"named": "2026-01-01", "results": 0, "fixed": False, "added": []}


def planted(root: Path, **study: Any) -> Path:
    """A study of two arms and two seeds that has results, as an earlier command planned it."""
    arms = {arm: dict.fromkeys(SEEDS, VALUES) for arm in ARMS}
    return write_study(root, arms, **{"metric": STRICT, "margin": 0.05, "plan": FRESH} | study)


def without_results(folder: Path) -> Path:
    for arm in ARMS:
        for seed in SEEDS:
            edit(run_json(folder, f"{arm}-s{seed}"), lambda content: content.update(status="failed", metrics={}))
    return folder


@functools.cache
def usual() -> Study:
    """The settings of a study that names none; read, not changed."""
    return composed().study


def command(*arms: str, **changes: Any) -> Definition:
    """What a command with these settings describes: the planted study's, but for the changes."""
    given = {"name": "planted", "metric": STRICT, "margin": 0.05, "baseline": "critique", "seeds": [*SEEDS]} | changes
    settings = dataclasses.replace(usual(), **given)
    return Definition(settings, "arms", [], [Arm(arm, [f"selection={arm}"]) for arm in arms or ARMS], None)


def repeated(definition: Definition, folder: Path) -> tuple[StudyFile, list[str]]:
    """What the command leaves in study.json, with the runs that the arms have by their names, and what it says."""
    record.check_same(definition, folder)
    study = record.describe(definition)
    said = record.note_plan(study, folder)
    for arm, spec in study["arms"].items():
        spec["runs"] = {str(seed): f"{arm}-s{seed}" for seed in study["seeds"]}
        for seed in study["seeds"]:
            if not run_json(folder, f"{arm}-s{seed}").exists():
                write_run(folder.parent.parent, f"{arm}-s{seed}", VALUES, base={}, seed=seed)
    record.note_runs(study, [], folder)
    record.write(folder, study)
    return read_study_file(folder / STUDY_JSON), said


@pytest.mark.parametrize(
    ("changes", "planned", "given", "look"),
    [
        ({"metric": ACCURACY}, f"study.metric={STRICT}", f"study.metric={ACCURACY}", f" --metric {ACCURACY};"),
        ({"margin": 0.1}, "study.margin=0.05", "study.margin=0.1", " --margin 0.1;"),
        ({"margin": None}, "study.margin=0.05", "study.margin=null", None),
        ({"baseline": "average"}, "study.baseline=critique", "study.baseline=average", " --baseline average;"),
        (
            {"baseline": "average", "metric": ACCURACY},
            f"study.metric={STRICT} study.baseline=critique",
            f"study.metric={ACCURACY} study.baseline=average",
            f" --metric {ACCURACY} --baseline average;",
        ),
    ],
)
def test_a_plan_with_results_is_not_replaced(
    tmp_path: Path, changes: dict[str, Any], planned: str, given: str, look: str | None
) -> None:
    folder = planted(tmp_path)
    before = (folder / STUDY_JSON).read_bytes()
    with pytest.raises(UserError) as refused:
        record.check_same(command(**changes), folder)
    assert f"has results and was planned with {planned}, but this command has {given}" in refused.value.message
    assert refused.value.hint.startswith(f"to go on as planned give {planned}; ")
    assert "another study.name=NAME, which reuses the runs" in refused.value.hint
    looks = f"python -m notus_exp.compare {folder}"
    assert f"{looks}{look}" in refused.value.hint if look else looks not in refused.value.hint
    with pytest.raises(UserError, match="was planned with"):
        record.write(folder, record.describe(command(**changes)))
    assert (folder / STUDY_JSON).read_bytes() == before


def swept(levels: dict[str, list[str]]) -> Definition:
    """What `-m KEY=A,B ... seed=0,1` describes; of seeds alone where nothing else varies."""
    command = [f"{key}={','.join(values)}" for key, values in levels.items()]
    settings = dataclasses.replace(usual(), name="planted", metric=STRICT, margin=0.05)
    return define(settings, OverridesParser.create().parse_overrides([*command, "seed=0,1"]))


@pytest.mark.parametrize(
    ("before", "now", "message", "hint"),
    [
        (
            {"selection": ["critique", "average", "random"]},
            {"selection": ["critique", "weighted"]},
            "exists with the arms 'average', 'random', which this command would drop from it",
            "give another study.name=NAME, or name those arms too",
        ),
        (
            {"selection": ["critique", "average"]},
            {},
            "the arms 'critique', 'average', which this command would drop from it: it varies selection, and this "
            "command only seeds",
            "give another study.name=NAME, or vary the same again: selection=critique,average",
        ),
        (
            {},
            {"selection": ["critique", "average"]},
            "an arm 'all', which this command would drop from it: it varies only seeds, and this command selection",
            "give another study.name=NAME",
        ),
    ],
)
def test_all_dropped_arms_are_named_with_a_remedy_that_can_be_followed(
    tmp_path: Path, before: dict[str, list[str]], now: dict[str, list[str]], message: str, hint: str
) -> None:
    begun = record.describe(swept(before))
    folder = planted(tmp_path, kind=begun["kind"], factors=begun["factors"], arms=begun["arms"])
    for arm, spec in begun["arms"].items():
        spec["runs"] = {"0": f"{arm}-s0"}
        write_run(folder.parent.parent, f"{arm}-s0", VALUES, base={}, seed=0)
    edit(folder / STUDY_JSON, lambda content: content.update(arms=begun["arms"]))
    with pytest.raises(UserError) as refused:
        record.check_same(swept(now), folder)
    assert refused.value.message.endswith(message)
    assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("then", "now", "apart"),
    [
        ([], ["dpo.beta=0.1"], "this command adds dpo.beta=0.1"),
        (
            ["dpo.beta=0.05", "data=rated"],
            ["dpo.beta=0.1", "data=rated"],
            "it had dpo.beta=0.05, and this command gives dpo.beta=0.1",
        ),
        (["data=rated"], [], "it had data=rated"),
        (["a=1", "b=2"], ["b=2", "a=1"], "the same settings in another order, a=1 b=2 selection=critique"),
    ],
)
def test_an_arm_that_is_another_names_the_setting_that_differs(
    tmp_path: Path, then: list[str], now: list[str], apart: str
) -> None:
    folder = planted(tmp_path)
    edit(
        folder / STUDY_JSON, lambda content: content["arms"]["critique"].update(overrides=[*then, "selection=critique"])
    )
    with pytest.raises(UserError) as refused:
        record.check_same(dataclasses.replace(command(), common=now), folder)
    assert refused.value.message == f"the study 'planted' exists, and its arm 'critique' is another: {apart}"


def test_the_plan_stays_planned_for_who_asks_for_it_by_name(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    with pytest.raises(UserError, match="was planned with"):
        repeated(command(metric=ACCURACY), folder)
    assert analyse(folder, metric=STRICT, baseline="critique", margin=0.05)["study"]["chosen_afterwards"] == []
    assert analyse(folder, metric=ACCURACY)["study"]["chosen_afterwards"] == ["metric"]


def test_before_results_a_plan_may_change_and_says_so(tmp_path: Path) -> None:
    folder = without_results(planted(tmp_path))
    study, said = repeated(command(metric=ACCURACY, margin=None), folder)
    assert study["metric"] == ACCURACY
    assert study["plan"] == FRESH | {"named": TODAY}
    change = f"study.metric={STRICT} study.margin=0.05 to study.metric={ACCURACY} study.margin=null"
    assert said == [f"no run has results yet, so the plan changes from {change}"]


def test_runs_that_were_only_curated_are_no_results(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    for arm in ARMS:
        for seed in SEEDS:
            edit(run_json(folder, f"{arm}-s{seed}"), lambda content: content.update(metrics={}))
    record.check_same(command(metric=ACCURACY), folder)


def test_results_that_were_seen_fix_a_plan_although_their_runs_are_gone(tmp_path: Path) -> None:
    folder = planted(tmp_path, margin=None)
    write_outcome(folder)
    without_results(folder)
    with pytest.raises(UserError, match="was planned with"):
        record.check_same(command(metric=ACCURACY, margin=None), folder)
    (folder / COMPARISON_JSON).unlink()
    record.check_same(command(metric=ACCURACY, margin=None), folder)
    edit(folder / STUDY_JSON, lambda content: content["plan"].update(fixed=True))
    with pytest.raises(UserError, match="was planned with"):
        record.check_same(command(metric=ACCURACY, margin=None), folder)


def test_the_same_command_again_changes_nothing(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    for _ in range(2):
        study, said = repeated(command(), folder)
        assert study["plan"] == FRESH | {"fixed": True}
        assert said == []
    assert analyse(folder)["study"]["after_results"] == []


def test_seeds_and_arms_that_are_added_to_results_are_dated_and_told(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    study, said = repeated(command(seeds=[0, 1, 3, 4]), folder)
    assert study["plan"]["added"] == [{"date": TODAY, "results": 4, "seeds": [3, 4], "arms": []}]
    assert said == ["the study has results, so its report will say that this was added: seed 3, seed 4"]
    seeds = [0, 1, 3, 4]
    study, _ = repeated(command(*ARMS, "random", seeds=seeds), folder)
    repeated(command(*ARMS, "random", seeds=seeds), folder)
    write_outcome(folder)
    comparison = read_comparison(folder / COMPARISON_JSON)
    told = comparison["study"]["after_results"]
    assert [one.partition(";")[0] for one in told] == [
        f"Added on {TODAY}, when 4 runs had results: seeds 3, 4",
        f"Added on {TODAY}, when 8 runs had results: arm 'random'",
    ]
    assert all(one in comparison["verdict"] for one in told)
    assert [f"{one}." for one in told] == [one for one in headline(comparison).remarks if one.startswith("Added")]
    primary = [row["arm"] for row in comparison["contrasts"] if row["primary"]]
    assert primary == ["average", "random"], "Holm's family grows with the arms"
    assert "when 4 runs had results: seeds 3, 4" in (folder / "report.html").read_text(encoding="utf-8")


def test_an_arm_that_becomes_another_is_added(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    for seed in SEEDS:
        edit(run_json(folder, f"average-s{seed}"), lambda content: content.update(status="failed"))
    mended = command()
    mended.arms[1].overrides.append("filters.min_margin=0")
    record.check_same(mended, folder)
    study = record.describe(mended)
    assert record.note_plan(study, folder) == [
        "the study has results, so its report will say that this was added: arm 'average'"
    ]
    assert study["plan"]["added"] == [{"date": TODAY, "results": 2, "seeds": [], "arms": ["average"]}]


def test_seeds_with_results_cannot_be_dropped(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    with pytest.raises(UserError, match="has finished runs with seed 1, which this command would drop") as refused:
        record.check_same(command(seeds=[0]), folder)
    assert "name those seeds too" in refused.value.hint
    without_results(folder)
    record.check_same(command(seeds=[0]), folder)


def test_a_new_plan_over_results_that_were_there_says_so(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    (folder / STUDY_JSON).unlink()  # as under a new name: the runs are there
    study, said = repeated(command(metric=ACCURACY, margin=None), folder)
    assert said == []
    assert study["plan"] == {"named": TODAY, "results": 4, "fixed": False, "added": []}
    (told,) = analyse(folder)["study"]["after_results"]
    assert told.startswith(f"Metric, baseline and margin were named on {TODAY}, when 4 runs had results")


def test_a_study_of_before_goes_on_with_the_plan_that_it_has(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    edit(folder / STUDY_JSON, lambda content: content.pop("plan"))
    with pytest.raises(UserError, match="was planned with"):
        record.check_same(command(metric=ACCURACY), folder)
    study, said = repeated(command(), folder)
    assert study["plan"] == {"named": None, "results": 0, "fixed": True, "added": []}
    assert said == ["when metric, baseline and margin were named is not recorded: they are taken from this command"]
    assert repeated(command(), folder)[1] == []
    without_results(folder)
    edit(folder / STUDY_JSON, lambda content: content.pop("plan"))
    assert repeated(command(metric=ACCURACY), folder)[0]["plan"] == FRESH | {"named": TODAY}


def test_what_another_command_planned_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    folder = planted(tmp_path)
    mine = record.describe(command())
    other = read_study_file(folder / STUDY_JSON)
    write_json(folder / STUDY_JSON, {**other, "metric": ACCURACY})
    with pytest.raises(UserError, match=f"was planned with study.metric={ACCURACY}"):
        record.write(folder, mine)
