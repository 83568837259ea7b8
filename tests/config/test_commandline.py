"""The command line names no code, moves no files of the pipeline, and says nothing that would do nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notus_exp.config.commandline import (
    check_arguments,
    check_flags,
    check_overrides,
    check_places,
    check_repeated,
    names_study,
    split,
)
from notus_exp.errors import UserError
from support.configs import composed


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("+hydra.callbacks.x._target_=module.Class", "never names code"),
        ("hydra.callbacks={x:{_target_:module.Class}}", "never names code"),
        ("hydra.launcher._target_=module.Class", "never names code"),
        ("hydra.run.dir=elsewhere", "'hydra.run.dir' is not a setting"),
        ("hydra/job_logging=default", "'hydra/job_logging' is not a setting"),
        ("~hydra.run", "'hydra.run' is not a setting"),
        ("hydra.searchpath=[pkg://module]", "'hydra.searchpath' is not a setting"),
        ("--config-name=other", "would replace the whole configuration"),
    ],
)
def test_nothing_on_the_command_line_reaches_hydras_own_configuration(argument: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_arguments(["seed=1", argument])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--beta", "0.1"], "dpo.beta=0.1"),
        (["--selection", "average"], "selection=average"),
        (["--learning-rate=1e-4"], "dpo.learning_rate=1e-4"),
        (["--lr", "1e-4"], "dpo.learning_rate=1e-4"),
        (["--experiment", "smoke"], "experiment=smoke"),
        (["--dpo.beta", "seed=1"], "dpo.beta=VALUE"),
        (["--path", "x"], "data.path=x or judge.path=x or model.path=x"),
    ],
)
def test_a_setting_given_as_a_flag_is_shown_as_it_is_written_in_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        split(arguments)
    flag = arguments[0].partition("=")[0]
    wanted = f"{flag} is not a flag of this command: settings are written KEY=VALUE, here {words}"
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["experiment=smoke", "seed=1", "experiment=smoke"],
            "experiment is given twice: experiment=smoke and experiment",
        ),
        (["data.skills={a:1}", "data.skills={b:1}"], "data.skills is given twice: data.skills={a:1} and"),
        (["dpo.beta=0.1", "+dpo.beta=0.2"], "dpo.beta is given twice: dpo.beta=0.1 and +dpo.beta=0.2"),
        (
            ["evaluation=ifeval", "evaluation=lm_eval"],
            "leave one of them out, or 'evaluation=[A,B]' for both; evaluation=",
        ),
    ],
)
def test_a_key_given_twice_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_repeated(overrides)


def test_entries_of_a_mapping_come_together() -> None:
    check_repeated(
        ["+study.grid={dpo.beta:[0.1]}", "+study.grid={seed:[1]}", "~data.skills.a", "data.skills.a=1", "seed=1"]
    )


def test_ordinary_arguments_and_the_launcher_pass() -> None:
    check_arguments(
        ["seed=1", "-m", "hydra/launcher=basic", "hydra.launcher.n_jobs=2", "--cfg", "job", "data.path=hydra"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config-di", "."], "--config-di is not a flag of this command\n  did you mean '--config-dir'?"),
        (["--config-d=."], "--config-d is not a flag"),
        (["--config-pa=."], "--config-pa is not a flag"),
        (["--config-na", "x"], "--config-na is not a flag"),
        (["--experimental-rerun", "config.pickle"], "--experimental-rerun is not a flag"),
        (["--experimental", "config.pickle"], "--experimental is not a flag"),
        (["--shell-completion", "install=tcsh"], "--shell-completion cannot take 'install=tcsh'"),
        (["-sc"], "-sc needs a value"),
        (["--shell-c", "query=bash"], "--shell-c is not a flag"),
        (["-mcd", "."], "-mcd is not a flag"),
        (["-cd."], "-cd. is not a flag"),
        (["--", "--config-dir", "."], "-- is not a flag"),
        (["-cp", "elsewhere"], "would replace the whole configuration"),
        (["--config-dir"], "--config-dir needs a value"),
        (["--multirun=yes"], "--multirun takes no value"),
        (["--cfg", "jobs"], "--cfg cannot show 'jobs'\n  did you mean 'job'?"),
        (["--config-dir", "none"], "--config-dir none is not a folder"),
    ],
)
def test_only_the_listed_flags_exactly_spelt_are_taken(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_arguments(["seed=1", *arguments])


def test_flags_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UserError, match="--cfg and -m do not go together"):
        check_flags(["--cfg=job", "-m"])
    with pytest.raises(UserError, match="--hydra-help and -m do not go together"):
        check_flags(["-m", "--hydra-help"])
    with pytest.raises(UserError, match="--resolve goes with --cfg"):
        check_flags(["--resolve", "-m"])
    check_flags(["--resolve", "--cfg=job", "-p=dpo", "-cd=."])


def test_flags_keep_their_values_wherever_they_stand(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert split(["-cd", folder, "seed=1", "--info", "dpo.beta=1"]) == (
        [f"-cd={folder}", "--info"],
        ["seed=1", "dpo.beta=1"],
    )
    assert split(["--info", "defaults", "-cd=."]) == (["--info=defaults", "-cd=."], [])
    assert names_study([f"-cd={folder}"], ["study=mine"])
    assert not names_study(["--cfg=job"], ["study=mine"])
    assert not names_study(["--info=defaults"], ["study=mine"])
    assert not names_study([], ["study=null"])


@pytest.mark.parametrize(
    "key", ["+mine@hydra.callbacks", "mine@_global_.hydra.callbacks", "/hydra/sweeper@x", "a@b:hydra.x"]
)
def test_a_package_of_hydras_is_refused_as_its_keys_are(key: str) -> None:
    with pytest.raises(UserError, match="is not a setting of notus_exp"):
        check_arguments([f"{key}=evil"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.skills={}", "does not empty data.skills"),
        ("evaluation.verifiable.prompts=3", "evaluation.verifiable is not chosen"),
        ("++evaluation.verifiable.name=verifiable", "choose with 'evaluation="),
        ("dpo.lora.alpha=3", "dpo.lora.r=0 trains all weights"),
    ],
)
def test_an_override_that_would_do_nothing_is_refused(override: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_overrides(["seed=1", override], ["preferences"], lora=False)


def test_overrides_of_what_is_chosen_pass() -> None:
    check_overrides(["dpo.lora.alpha=3", "evaluation.preferences.max_prompts=3"], ["preferences"], lora=True)
    check_overrides(["dpo.lora.r=0"], [], lora=False)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["data=rated", "data.path=x.jsonl", "data.hub_id=a/b"],
            "data.hub_id=a/b is set, but data.path=x.jsonl is read",
        ),
        (["data=rated", "data.path=x.jsonl", "data.revision=a"], "or leave data.path out to read the hub"),
        (["data=pairs", "data.path=x.jsonl", "data.hub_split=a"], "or leave data.path out to read the hub"),
        (["model=local", "model.path=x", "model.hub_id=a/b"], "model.hub_id=a/b is set, but model.kind=local is read"),
        (["model=hub", "model.hub_id=a/b", "model.path=x"], "model.path=x is set, but model.kind=hub is read"),
    ],
)
def test_a_hubs_setting_beside_a_path_says_what_works(overrides: list[str], words: str) -> None:
    more = ["selection=critique"] if "data=pairs" in overrides else []
    with pytest.raises(UserError, match=re.escape(words)):
        check_places(overrides, composed(*overrides, *more))


def test_a_split_is_asked_of_a_folder_and_not_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n", encoding="utf-8")
    overrides = ["data=rated", f"data.path={tmp_path}", "data.hub_split=train"]
    check_places(overrides, composed(*overrides))
    overrides[1] += "/train.jsonl"
    with pytest.raises(UserError, match=r"data.hub_split=train is set, but data.path=.*/train.jsonl is read"):
        check_places(overrides, composed(*overrides))


def test_a_hubs_setting_without_a_path_or_null_passes() -> None:
    overrides = ["data=rated", "data.hub_id=a/b", "data.hub_split=x", "model=hub", "model.hub_id=c/d"]
    check_places(overrides, composed(*overrides))
    check_places(["data.hub_id=null"], composed("data=rated", "data.path=x"))


def test_rounds_are_given_once_however_they_are_written() -> None:
    with pytest.raises(UserError, match=r"rounds\.number is given twice: rounds=2 and rounds\.number=3"):
        check_repeated(["rounds=2", "rounds.number=3"])
    check_repeated(["rounds=2", "rounds.start=base"])
