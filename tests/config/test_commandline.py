"""The command line names no code, moves no files of the pipeline, and says nothing that would do nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notus_exp.config.commandline import check_arguments, check_overrides
from notus_exp.errors import UserError


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


def test_ordinary_arguments_and_the_launcher_pass() -> None:
    check_arguments(
        ["seed=1", "-m", "hydra/launcher=basic", "hydra.launcher.n_jobs=2", "--cfg", "job", "data.path=hydra"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "hydra:\n  run: {dir: x}\n",
        "defaults:\n  - override /hydra/job_logging: default\n",
        "# @package hydra.callbacks\nx: {a: 1}\n",
        '"\\x5ftarget_": module.Class\n',
        "a: [{b: {_target_: module.Class}}]\n",
    ],
)
def test_a_folder_of_own_options_cannot_name_code_either(tmp_path: Path, text: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    for arguments in (["--config-dir", str(tmp_path)], [f"-cd={tmp_path}"]):
        with pytest.raises(UserError, match=r"mine.yaml sets Hydra's own configuration or names code"):
            check_arguments(arguments)


def test_a_folder_of_plain_options_passes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# @package _global_\ndefaults: [{override /model: hub}]\nseed: 3\n")
    check_arguments(["--config-dir", str(tmp_path)])
    with pytest.raises(UserError, match="is not a folder"):
        check_arguments(["--config-dir", str(tmp_path / "none")])


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
