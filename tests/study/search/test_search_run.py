"""A search over runs that end at once: what is asked, told, averaged, refused and taken up again."""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.storages import _CachedStorage
from optuna.trial import TrialState

from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.study.launching.jobs import Ended
from notus_exp.study.search import searching
from notus_exp.study.search.same_search import DEFINITION
from notus_exp.study.search.summary import summary
from notus_exp.study.search.trials import EXPIRED, REPEATS, STATE, counts
from support.configs import composed
from support.searches import ACCURACY, PARAMETERS, STRICT, TOKENS, FakeJobs, Values, child, good, loaded, search
from support.study_folders import edit

DRAWN_BY = ("study.search.sampler", "study.search.seed", "study.search.pruner")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies" / "mine"


def states(folder: Path) -> list[str]:
    return [trial["state"] for trial in summary(folder)["trials"]]


def test_a_search_ends_with_as_many_trials_as_wanted_and_names_the_best(folder: Path) -> None:
    jobs = FakeJobs(folder)
    said = search(folder, jobs, trials=12)
    found = summary(folder)
    assert states(folder) == ["complete"] * 12
    assert len(jobs.launched) == 12
    highest = max(found["trials"], key=lambda trial: trial["values"][ACCURACY])
    assert found["best"] == [highest["number"]]
    assert f"best so far: trial {highest['number']}" in said.splitlines()[-1]
    assert set(found["importances"][ACCURACY]) == set(PARAMETERS)
    shares = [row["value"] for row in found["importances"][ACCURACY].values() if row["value"] is not None]
    assert sum(shares) == pytest.approx(1)
    assert found["importances"][ACCURACY]["rejected"]["value"] is None, "too few trials have it"


def test_a_trials_run_is_given_common_parameters_seed_split_and_number_in_this_order(folder: Path) -> None:
    jobs = FakeJobs(folder)
    search(folder, jobs, common=["model=tiny_random"], trials=1, parameters={"dpo.beta": {"choices": [5e-7]}})
    assert jobs.planned[-1] == [
        *("model=tiny_random", "study.name=mine", "dpo.beta=5.0e-07"),
        *("seed=0", "evaluation_split=validation", "study.trial=0"),
    ]


def test_rejected_is_only_given_where_its_condition_holds(folder: Path) -> None:
    jobs = FakeJobs(folder)
    search(folder, jobs, trials=10)
    assert {("rejected" in run) == (run["selection"] == "average") for run in jobs.launched} == {True}
    assert {run["selection"] for run in jobs.launched} == {"average", "critique"}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_goes_on_does_not_repeat_its_random_start(folder: Path, sampler: str) -> None:
    search(folder, trials=3, sampler=sampler)
    search(folder, trials=6, sampler=sampler)
    betas = [trial["params"]["dpo.beta"] for trial in summary(folder)["trials"]]
    assert len({*betas}) == 6
    again = folder.with_name("again")
    search(again, trials=6, sampler=sampler)
    assert [trial["params"]["dpo.beta"] for trial in summary(again)["trials"]] == betas


def test_a_finished_search_launches_nothing(folder: Path) -> None:
    search(folder, trials=2)
    jobs = FakeJobs(folder)
    said = search(folder, jobs, trials=2)
    assert jobs.launched == []
    assert "the search is finished: 2 trials" in said


def test_seeds_are_repeated_and_averaged(folder: Path) -> None:
    by_seed = {"0": 0.5, "1": 0.6, "2": 0.85}
    jobs = FakeJobs(folder, lambda values: {ACCURACY: by_seed[values["seed"]]})
    search(folder, jobs, trials=1, seeds=[0, 1, 2])
    (trial,) = summary(folder)["trials"]
    assert trial["values"][ACCURACY] == pytest.approx(0.65)
    assert trial["seeds"] == 3
    assert list(trial["runs"]) == ["0", "1", "2"]
    assert len({*trial["runs"].values()}) == 3


def test_a_failed_run_a_missing_and_a_nan_metric_are_failed_trials_with_reasons_and_the_rest_goes_on(
    folder: Path,
) -> None:
    results: list[Any] = [Ended("failed", "out of memory"), {ACCURACY: math.nan}, {}, {ACCURACY: None}, {ACCURACY: 0.5}]
    waiting = iter(results)
    search(folder, FakeJobs(folder, lambda values: next(waiting)), trials=5)
    trials = summary(folder)["trials"]
    assert [trial["state"] for trial in trials] == ["failed"] * 4 + ["complete"]
    assert "out of memory" in trials[0]["reason"]
    assert "nan, not a finite number" in trials[1]["reason"]
    assert all("not reported" in trial["reason"] for trial in trials[2:4])
    assert all(trial["runs"] for trial in trials)


def test_one_failed_seed_fails_the_trial_and_is_named(folder: Path) -> None:
    def score(values: Values) -> Any:
        return Ended("failed", "broke") if values["seed"] == "1" else good(values)

    search(folder, FakeJobs(folder, score), trials=1, seeds=[0, 1])
    (trial,) = summary(folder)["trials"]
    assert (trial["state"], trial["reason"]) == ("failed", "seed 1: broke")


def test_a_trial_whose_settings_do_not_go_together_fails_alone(folder: Path) -> None:
    class Picky(FakeJobs):
        def plan(self, overrides: Any) -> Any:
            if "study.trial=1" in overrides:
                raise UserError("these do not go together", "change one")
            return super().plan(overrides)

    search(folder, Picky(folder), trials=3)
    assert states(folder) == ["complete", "failed", "complete"]
    assert summary(folder)["trials"][1]["reason"] == "these do not go together; change one"


def test_constraints_bound_what_can_be_best(folder: Path) -> None:
    said = search(folder, trials=8, constraints={TOKENS: {"most": 50}, STRICT: {"least": 0.02}})
    found = summary(folder)
    kept = {trial["number"] for trial in found["trials"] if trial["feasible"]}
    assert kept == {
        trial["number"]
        for trial in found["trials"]
        if trial["params"]["selection"] == "critique" and trial["params"]["dpo.beta"] >= 0.02
    }
    assert found["trials"][0]["constraints"].keys() == {TOKENS, STRICT}
    highest = max((one for one in found["trials"] if one["feasible"]), key=lambda trial: trial["values"][ACCURACY])
    assert found["best"] == [highest["number"]]
    assert f"breaks at most 50 of {TOKENS}" in said


def test_where_no_trial_keeps_the_constraints_there_is_no_best(folder: Path) -> None:
    said = search(folder, trials=3, constraints={TOKENS: {"most": 1}})
    assert summary(folder)["best"] == []
    assert summary(folder)["command"] is None
    assert "no trial keeps all constraints yet" in said


def test_tpe_goes_on_beside_failed_trials_and_broken_constraints(folder: Path) -> None:
    def score(values: Values) -> Any:
        return Ended("failed", "broke") if values["selection"] == "critique" else good(values)

    search(folder, FakeJobs(folder, score), trials=13, sampler="tpe", constraints={TOKENS: {"most": 50}})
    assert {*states(folder)} == {"complete", "failed"}
    assert summary(folder)["best"] == []


def test_two_objectives_give_the_trials_that_none_beats(folder: Path) -> None:
    search(folder, trials=12, sampler="tpe", objectives={ACCURACY: "maximize", TOKENS: "minimize"})
    found = summary(folder)
    values = {one["number"]: (one["values"][ACCURACY], -one["values"][TOKENS]) for one in found["trials"]}
    beaten = {
        number
        for number, mine in values.items()
        if any(all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine for other in values.values())
    }
    assert set(found["best"]) == set(values) - beaten
    assert "trial_" in found["command"]


def test_a_grid_tries_each_combination_once_and_ends_by_itself(folder: Path) -> None:
    parameters = PARAMETERS | {"dpo.beta": {"choices": [0.01, 0.1, 1]}}
    jobs = FakeJobs(folder)
    search(folder, jobs, trials=100, sampler="grid", parameters=parameters)
    search(folder, jobs, trials=100, sampler="grid", parameters=parameters)
    tried = [str(sorted(trial["params"].items())) for trial in summary(folder)["trials"]]
    assert len(tried) == len({*tried}) == 9
    assert len(jobs.launched) == 9


def test_a_grid_larger_than_the_number_of_trials_says_what_it_leaves_out(folder: Path) -> None:
    said = search(folder, trials=2, sampler="grid", parameters={"dpo.beta": {"choices": [0.01, 0.1, 1]}})
    assert "the grid has 3 combinations: study.search.trials=2 leaves 1 out" in said
    assert states(folder) == ["complete"] * 2


def test_a_budget_stops_the_asking(folder: Path) -> None:
    answers = iter([None, None, "study.max_hours=1 is over"])
    said = search(folder, trials=10, may_start=lambda: next(answers))
    assert states(folder) == ["complete"] * 2
    assert "study.max_hours=1 is over: no further trial is started" in said


def test_trials_are_asked_by_concurrency_and_launched_together(folder: Path) -> None:
    sizes = []

    class Counting(FakeJobs):
        def launch(self, batch: Any) -> list[Ended]:
            sizes.append(len(batch))
            return super().launch(batch)

    search(folder, Counting(folder), trials=5, concurrency=2, seeds=[0, 1])
    assert sizes == [4, 4, 2]


def test_where_there_is_a_pruner_only_unpruned_trials_get_their_other_seeds(folder: Path) -> None:
    batches = []

    class Counting(FakeJobs):
        def launch(self, batch: Any) -> list[Ended]:
            batches.append([values["seed"] for values in map(dict, ([o.split("=") for o in one] for one in batch))])
            return super().launch(batch)

    def score(values: Values) -> Any:
        return Ended("pruned", "pruned at step 4: low") if values["study.trial"] == "0" else good(values)

    said = search(folder, Counting(folder, score), trials=2, concurrency=2, seeds=[0, 1, 2], pruner="median")
    assert batches == [["0", "0"], ["1", "2"]]
    assert states(folder) == ["pruned", "complete"]
    assert summary(folder)["trials"][0]["reason"] == "pruned at step 4: low"
    assert "trial 0 pruned at step 4: low" in said


# ------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {}}, "objectives is empty"),
        ({"objectives": {"preferences/acuracy/average": "maximize"}}, "did you mean 'preferences/accuracy/average'?"),
        ({"objectives": {"loss": "minimize"}}, "policy/validation/loss"),
        ({"constraints": {"verifiable/tokns": {"most": 1}}}, "did you mean 'verifiable/tokens'?"),
        ({"constraints": {TOKENS: 60}}, "write {least: X}, {most: Y}"),
        ({"constraints": {TOKENS: {"atmost": 60}}}, "write {least: X}, {most: Y}"),
        ({"constraints": {TOKENS: {"least": 2, "most": 1}}}, "least above most"),
        ({"pruner": "median", "objectives": {ACCURACY: "maximize", TOKENS: "minimize"}}, "2 objectives"),
        ({"pruner": "asha", "prune_on": "policy/validation/acuracy"}, "did you mean 'policy/validation/accuracy'?"),
        ({"sampler": "grid"}, "a range without step"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(folder: Path, settings: Any, message: str) -> None:
    jobs = FakeJobs(folder)
    with pytest.raises(UserError) as caught:
        search(folder, jobs, **settings)
    assert message in str(caught.value)
    assert jobs.launched == []
    assert not (folder / "optuna.db").exists()


def test_a_pruner_needs_two_evaluations_of_the_training(folder: Path) -> None:
    jobs = FakeJobs(folder, config=composed("dpo.evaluations=1"))
    with pytest.raises(UserError, match=r"dpo.evaluations=1 leaves nothing to decide on for study.search: pruner=asha"):
        search(folder, jobs, pruner="asha")


def test_runs_that_stop_too_early_to_be_measured_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="until=policy stops before a trial is measured"):
        search(folder, FakeJobs(folder, config=composed("until=policy")))


def test_until_config_shows_the_search_on_standard_output_and_runs_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = FakeJobs(folder, config=composed("until=config"))
    assert search(folder, jobs, constraints={TOKENS: {"most": 60}}) == ""
    said = capsys.readouterr().out
    assert "rejected: random, lowest, only with selection in ['average']" in said
    assert f"{TOKENS} at most 60" in said
    assert jobs.launched == []
    assert not (folder / "optuna.db").exists()


@pytest.mark.parametrize(
    ("finished", "told", "left"),
    [(0, None, 4), (3, "3 of 4 trials are finished", 1), (4, "4 of 4 trials are finished", 0)],
)
def test_a_plan_forecasts_only_the_trials_that_are_left(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
    told: str | None,
    left: int,
) -> None:
    if finished:
        search(folder, trials=finished)
    forecast: list[int] = []
    monkeypatch.setattr(searching, "expected_of_search", lambda study, trials, *_: str(forecast.append(trials)))
    jobs = FakeJobs(folder, config=composed("until=config"))
    search(folder, jobs, trials=4)
    said = capsys.readouterr().out
    assert forecast == [left] * (left > 0)
    assert told in said if told else "are finished" not in said
    assert ("expected: nothing is left to run" in said) == (left == 0)
    assert jobs.launched == []


def test_every_choice_and_both_ends_of_a_range_are_checked_first(folder: Path) -> None:
    class Picky(FakeJobs):
        def plan(self, overrides: Any) -> Any:
            if self.bad in overrides:
                raise UserError("that does not fit", "mend it")
            return super().plan(overrides)

    for bad in ("selection=average", "rejected=lowest", "dpo.beta=1.0"):
        jobs = Picky(folder)
        jobs.bad = bad  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=f"study.search.parameters, {bad}: that does not fit"):
            search(folder, jobs)
        assert jobs.launched == []


def test_a_search_over_the_data_is_on_prompts_that_are_not_of_the_data(folder: Path) -> None:
    class OfData(FakeJobs):
        def plan(self, overrides: Any) -> Any:
            made = super().plan(overrides)
            data = [override for override in overrides if override.startswith("data.")]
            made.nodes = [SimpleNamespace(stage=Stage.feedback, name="feedback", key=str(data))]
            return made

    seeds = {"data.seed": {"choices": [0, 1]}}
    jobs = OfData(folder, lambda values: {STRICT: 0.5})
    with pytest.raises(UserError, match=f"data.seed changes the data, and the prompts of {ACCURACY} are held out"):
        search(folder, jobs, parameters=seeds)
    assert jobs.launched == []
    search(folder, jobs, parameters=seeds, objectives={STRICT: "maximize"}, trials=1)
    assert len(jobs.launched) == 1


def test_a_search_measures_on_validation_prompts_only(folder: Path) -> None:
    with pytest.raises(UserError, match="a search measures on validation prompts"):
        search(folder, common=["evaluation_split=test"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"parameters": {"dpo.beta": {"low": 0.1, "high": 1}}}, "study.search.parameters"),
        ({"objectives": {ACCURACY: "minimize"}}, "study.search.objectives"),
        ({"constraints": {TOKENS: {"most": 60}}}, "study.search.constraints"),
        ({"seeds": [0, 1]}, "study.seeds"),
        ({"common": ["data.seed=5"]}, "the settings of every run"),
    ],
)
def test_a_search_that_was_something_else_is_not_gone_on_with(folder: Path, settings: Any, named: str) -> None:
    search(folder, trials=1)
    begun = (folder / "study.json").read_bytes()
    with pytest.raises(UserError, match=f"was begun with another value of {named}"):
        search(folder, trials=2, **settings)
    assert (folder / "study.json").read_bytes() == begun, "what it was begun with stays written there"
    search(folder, trials=2, concurrency=2)
    assert states(folder) == ["complete"] * 2


@pytest.mark.parametrize(
    ("name", "begun", "given"), [("sampler", "random", "tpe"), ("seed", 0, 5), ("pruner", "none", "median")]
)
@pytest.mark.parametrize("until", ["config", "evaluation"])
def test_what_draws_a_searchs_trials_stays(folder: Path, name: str, begun: Any, given: Any, until: str) -> None:
    search(folder, trials=1, **{name: begun})
    record = (folder / "study.json").read_bytes()
    jobs = FakeJobs(folder, config=composed("dpo.evaluations=4", f"until={until}"))
    with pytest.raises(UserError, match=f"begun with study.search.{name}={begun}, but .*\\.{name}={given}") as refused:
        search(folder, jobs, trials=2, **{name: given})
    assert refused.value.hint.startswith(f"to go on give study.search.{name}={begun}; ")
    assert (folder / "study.json").read_bytes() == record
    assert jobs.launched == []


@pytest.mark.parametrize(("recorded", "refused"), [({"sampler": "tpe", "pruner": "none"}, True), ({}, False)])
def test_a_search_of_an_earlier_version_has_its_sampler_in_its_record(
    folder: Path, recorded: dict[str, str], refused: bool
) -> None:
    search(folder, trials=1)
    known = loaded(folder)
    definition = {key: value for key, value in known.user_attrs[DEFINITION].items() if key not in DRAWN_BY}
    known.set_user_attr(DEFINITION, definition)
    edit(folder / "study.json", lambda content: content["search"].update(recorded))
    with pytest.raises(UserError, match=r"begun with study.search.sampler=tpe") if refused else nullcontext():
        search(folder, trials=2)
    assert states(folder) == ["complete"] * (1 if refused else 2)


# ------------------------------------------------------------------------------------------------------ interruptions
WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
)


def dying_at(place: int) -> None:
    """Let this process die, without any tidying up, before its nth write of a trial."""
    done = 0
    for name in WRITES:
        write = getattr(_CachedStorage, name)

        def counted(self: Any, *args: Any, _write: Any = write, **named: Any) -> Any:
            nonlocal done
            done += 1
            if done == place:
                os._exit(9)
            return _write(self, *args, **named)

        setattr(_CachedStorage, name, counted)


def given(trial: Any) -> dict[str, Any]:
    """What a trial was queued with and has drawn."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def assert_nothing_lost_or_repeated(folder: Path, wanted: int) -> None:
    trials = loaded(folder).trials
    counted = [trial for trial in trials if counts(trial)]
    assert [trial.state for trial in counted] == [TrialState.COMPLETE] * wanted
    assert len({str(trial.params) for trial in counted}) == wanted
    expired = [trial for trial in trials if trial.user_attrs.get(STATE) == EXPIRED]
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    for trial in expired:
        again = [given(one) for one in trials if one.user_attrs.get(REPEATS) == trial.number]
        assert len(again) == bool(given(trial))
        assert all(given(trial).items() <= one.items() for one in again)


def test_a_search_killed_at_any_write_goes_on_without_losing_or_repeating_a_trial(folder: Path) -> None:
    jobs = FakeJobs(folder)
    settings = {"trials": 2, "constraints": {TOKENS: {"most": 50}}}
    for place in range(1, 100):
        own = folder.with_name(f"killed-{place}")
        jobs.outputs = own.parent.parent

        def killed(own: Path = own, place: int = place) -> None:
            dying_at(place)
            search(own, jobs, **settings)

        code = child(killed)
        if code == 0:
            break
        assert code == 9
        assert child(lambda own=own: search(own, jobs, **settings)) == 0
        assert_nothing_lost_or_repeated(own, 2)
    assert 14 < place < 99


def test_a_takeover_that_is_itself_killed_at_any_write_is_ended_by_the_next_process(folder: Path) -> None:
    jobs = FakeJobs(folder)

    def killed_in_a_run(own: Path) -> None:
        dying = FakeJobs(own, lambda values: os._exit(9))
        search(own, dying, trials=1)

    for place in range(1, 30):
        own = folder.with_name(f"taken-{place}")
        assert child(lambda own=own: killed_in_a_run(own)) == 9

        def taking_over(own: Path = own, place: int = place) -> None:
            dying_at(place)
            search(own, jobs, trials=1)

        code = child(taking_over)
        if code == 0:
            break
        assert child(lambda own=own: search(own, jobs, trials=1)) == 0
        assert_nothing_lost_or_repeated(own, 1)
    assert 5 < place < 29


def test_ctrl_c_gives_the_trial_back_at_once(folder: Path) -> None:
    def interrupted(values: Values) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(folder, FakeJobs(folder, interrupted), trials=2, concurrency=2)
    assert states(folder) == ["expired", "expired"]
    jobs = FakeJobs(folder)
    search(folder, jobs, trials=2)
    trials = summary(folder)["trials"]
    assert [trial["state"] for trial in trials] == ["expired", "expired", "complete", "complete"]
    assert [trial["repeats"] for trial in trials] == [None, None, 0, 1]
    assert [trial["params"] for trial in trials[:2]] == [trial["params"] for trial in trials[2:]]
    assert [trial["runs"] for trial in trials[:2]] == [trial["runs"] for trial in trials[2:]]


def test_processes_that_work_on_one_search_finish_exactly_its_trials(folder: Path) -> None:
    def one() -> None:
        search(folder, FakeJobs(folder), trials=9, lease=20)

    pids = []
    folder.mkdir(parents=True)
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                one()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert_nothing_lost_or_repeated(folder, 9)
    assert len(loaded(folder).trials) == 9
