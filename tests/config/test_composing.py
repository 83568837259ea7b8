"""No code and no secret through a config: what users' files and overrides may say is checked where Hydra composes."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from notus_exp.config import composing, interpolations
from notus_exp.config import loading as configuration
from notus_exp.config.own_files import check_file
from notus_exp.errors import UserError
from support.configs import composed, composed_by_hydra

FOREIGN = r"mine.yaml sets Hydra's own configuration or names code"


def own(folder: Path, text: str, path: str = "experiment/mine.yaml") -> Path:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return folder


def refusal(*overrides: str, own: Path | None = None) -> str:
    """Return the one error that a config ends in, as the command shows it."""
    try:
        composed(*overrides, own=own)
    except UserError as error:
        return str(error)
    except Exception as error:
        return str(configuration.explain(error))
    pytest.fail("was accepted")


@pytest.mark.parametrize(
    "text",
    [
        "hydra:\n  run: {dir: x}\n",
        "defaults:\n  - override /hydra/job_logging: default\n",
        "# @package hydra.callbacks\nx: {a: 1}\n",
        '"\\x5ftarget_": module.Class\n',
        "a: [{b: {_target_: module.Class}}]\n",
        "# @package _global_.hydra.callbacks\nx: {a: 1}\n",
        "defaults:\n  - /experiment@hydra.callbacks: other\n",
        "defaults:\n  - /experiment@_global_.hydra.callbacks: other\n",
        "defaults:\n  - optional /hydra/callbacks: x\n",
        "a: &a {_target_: os.system}\nb: *a\n",
        "hydra: {searchpath: ['pkg://module']}\n",
        "hydra: {job: {env_set: {LD_PRELOAD: x}}}\n",
    ],
)
def test_a_users_file_names_no_code_and_nothing_of_hydras(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=FOREIGN):
        check_file(own(tmp_path, text) / "experiment/mine.yaml")


def test_what_is_composed_of_a_users_file_and_of_those_that_it_names_is_checked(tmp_path: Path) -> None:
    own(tmp_path, "# @package _global_\ndefaults: [other]\n")
    own(tmp_path, "a: &a {_target_: os.system}\nb: *a\n", "experiment/other.yaml")
    assert FOREIGN.replace("mine", "other") in refusal("experiment=mine", own=tmp_path)


def test_a_users_file_of_plain_settings_composes_and_others_in_its_folder_are_not_read(tmp_path: Path) -> None:
    own(tmp_path, "# @package _global_\ndefaults: [{override /model: hub}]\nseed: 3\nmodel: {hub_id: a/b}\n")
    own(tmp_path, "hydra: [", "experiment/other.yaml")
    config = composed("experiment=mine", own=tmp_path)
    assert (config.seed, config.model.name, config.model.hub_id) == (3, "hub", "a/b")


def test_a_users_file_may_choose_a_launcher_and_not_make_one(tmp_path: Path) -> None:
    own(tmp_path, "# @package _global_\ndefaults: [{override /hydra/launcher: basic}]\nseed: 3\n")
    assert composed("experiment=mine", own=tmp_path).seed == 3
    own(tmp_path, "setup: [command]\n", "hydra/launcher/mine.yaml")
    assert FOREIGN in refusal("hydra/launcher=mine", own=tmp_path)


@pytest.mark.parametrize("name", ["schema.yaml", "hardware/auto.yaml", "simulated_schema.yaml"])
def test_a_users_file_cannot_stand_in_the_place_of_the_schema(tmp_path: Path, name: str) -> None:
    assert "has the name of a part of notus_exp" in refusal(own=own(tmp_path, "seed: 3\n", name))


@pytest.mark.parametrize("name", ["dpo/lora_small.yaml", "selection/critique.yaml", "config.yaml"])
def test_a_users_file_that_would_be_passed_over_for_a_shipped_one_is_refused(tmp_path: Path, name: str) -> None:
    said = refusal("selection=critique", own=own(tmp_path, "name: x\n", name))
    assert f"{tmp_path / name} has the name of a part of notus_exp\n  give it another name" in said


def test_an_option_may_be_made_of_others_of_its_group(tmp_path: Path) -> None:
    own(tmp_path, "defaults: [lora_small]\nbeta: 0.7\n", "dpo/mine.yaml")
    own(tmp_path, "# @package _global_\ndefaults: [smoke, {override /dpo: mine}]\n")
    config = composed("experiment=mine", own=tmp_path)
    assert (config.dpo.beta, config.model.name) == (0.7, "tiny_random")


@pytest.mark.parametrize(
    ("override", "options"),
    [
        ("filters=[small,none]", "small,none"),
        ("rejected=[lowest,random]", "lowest,random"),
        ("model=[tiny_random,smollm2_135m]", "tiny_random,smollm2_135m"),
        ("selection=[average,critique]", "average,critique"),
        ("judge=[openai,mock]", "openai,mock"),
        ("selection=[average]", "average"),
        ("experiment=[smoke,zephyr_7b_beta]", "smoke,zephyr_7b_beta"),
        ("+study=[curation]", "curation"),
        ("study=[curation]", "curation"),
        ("hydra/launcher=[basic]", "basic"),
    ],
)
def test_only_evaluation_takes_a_list_of_options(override: str, options: str) -> None:
    group, last = override.lstrip("+").partition("=")[0], options.split(",")[-1]
    said = refusal(override)
    assert said.startswith(f"{group}=[{options}] is a list, and {group} takes one option\n  write {group}={last}")


@pytest.mark.parametrize(
    "defaults",
    [
        "- override /filters: [small, none]",
        "- override /filters: none\n  - /filters/small",
        "- override /filters: [none]",
    ],
)
def test_a_file_lists_no_options_of_a_group_either(tmp_path: Path, defaults: str) -> None:
    if "- /filters/small" in defaults:
        defaults = "- /filters/small@filters\n  - override /filters: none"
    own(tmp_path, f"# @package _global_\ndefaults:\n  {defaults}\n")
    assert "is a list, and filters takes one option" in refusal("experiment=mine", own=tmp_path)


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.x._target_=os.getcwd",
        "hydra.run.dir=elsewhere",
        "hydra.searchpath=[pkg://module]",
        "+experiment@hydra.callbacks=smoke",
        "hydra.mode=null",
    ],
)
def test_overrides_are_checked_where_they_are_composed(override: str) -> None:
    with pytest.raises(UserError, match=r"never names code|is not a setting of notus_exp"):
        composed_by_hydra(override)


def test_what_was_composed_of_hydra_is_compared_with_what_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "check_override", lambda _: None)
    for override in ("hydra.run.dir=x", "+hydra.callbacks.x.a=1", "+hydra.job.env_set.A=b", "hydra.verbose=true"):
        with pytest.raises(UserError, match=r"the config sets Hydra's own hydra\.\w+"):
            composed_by_hydra(override)
    with pytest.raises(UserError, match="hydra/launcher: a config never names code"):
        composed_by_hydra("hydra.launcher._target_=os.getcwd")
    with pytest.raises(UserError, match="hydra/launcher: a config never names code"):
        composed_by_hydra("+hydra.launcher.x=[{_target_: os.getcwd}]")


def test_a_shipped_file_is_read_once_and_what_is_done_to_a_config_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    first = composed_by_hydra("experiment=smoke")
    expected = OmegaConf.to_yaml(first)
    OmegaConf.update(first, "data.prompts", 1)
    first.evaluation.preferences = None
    assert composed_by_hydra("experiment=smoke", "seed=7").seed == 7
    monkeypatch.setattr(yaml, "load", lambda *_, **__: pytest.fail("it was read before"))
    # the profile of `hardware=auto` is stored anew, with what was found, whenever a process says what it knows
    monkeypatch.setattr("notus_exp.config.loading.register", lambda: None)
    assert OmegaConf.to_yaml(composed_by_hydra("experiment=smoke")) == expected


def test_a_shipped_file_that_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(configuration.conf_dir(), tmp_path / "conf")
    monkeypatch.setattr(configuration, "conf_dir", lambda: tmp_path / "conf")
    file = tmp_path / "conf" / "experiment" / "smoke.yaml"
    assert composed_by_hydra("experiment=smoke").data.prompts != 77
    file.write_text("# @package _global_\ndata: {prompts: 77}\n", encoding="utf-8")
    assert composed_by_hydra("experiment=smoke").data.prompts == 77


# ---------------------------------------------------------------------------------------------------------------- YAML
def bomb(levels: int, times: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * times)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(12, 9), "holds more than 100,000 keys and values once its aliases are written out"),
        ("a: &a {b: *a}\n", "nested too deep"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested too deep"),
        ("a: " + "[" * 1200 + "]" * 1200 + "\n", "nested too deep"),
        ("[a, b]\n", "is not a mapping"),
        ("word\n", "is not a mapping"),
        ("a: [\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_yaml_makes_endless_or_nothing_of_ends_in_one_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        check_file(own(tmp_path, text) / "experiment/mine.yaml")
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a: !!python/object/apply:os.getcwd []\n",
            "cannot be read as YAML: line 1: could not determine a constructor",
        ),
        ("a: 1\na: 2\n", "cannot be read as YAML: line 2: found duplicate key a"),
        (bomb(12, 9), "once its aliases are written out"),
    ],
)
def test_what_only_loading_finds_is_one_error_too(tmp_path: Path, text: str, words: str) -> None:
    said = refusal("experiment=mine", own=own(tmp_path, text))
    assert words in said
    assert len(said.splitlines()) <= 2


def test_interpolations_that_repeat_interpolations_end_in_one_error(tmp_path: Path) -> None:
    mapping = "\n".join(f"      a{n}: '${{.a{n - 1}}}${{.a{n - 1}}}'" for n in range(1, 40))
    text = f"# @package _global_\nstudy:\n  search:\n    constraints:\n      a0: x\n{mapping}\n"
    said = refusal("experiment=mine", own=own(tmp_path, text))
    assert said.startswith("the config follows more than 2,000 interpolations\n")
    own(tmp_path, "# @package _global_\nsplit: {seed: '${seed}'}\nseed: '${split.seed}'\n")
    assert "refers by ${...} to itself" in refusal("experiment=mine", own=tmp_path)


@pytest.mark.parametrize("part", ["${tracking.group}", "${oc.select:tracking.group}"])
def test_interpolations_of_long_texts_end_in_one_short_error(tmp_path: Path, part: str) -> None:
    text = f"# @package _global_\ntracking:\n  group: {'x' * 300_000}\n  project: '{part * 100}'\n"
    said = refusal("experiment=mine", own=own(tmp_path, text))
    assert said.startswith("the interpolations of the config give more than 10,000,000 characters\n")
    own(tmp_path, f"# @package _global_\nseed: '{'x' * 300_000}'\n")
    assert len(refusal("experiment=mine", own=tmp_path)) < 2_100


def test_decoding_of_long_texts_ends_in_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpolations, "MOST_CHARACTERS", 1_000_000)  # 3,000,000 take the grammar a second
    text = f"# @package _global_\ntracking:\n  group: {'x' * 30_000}\n  project: '{'${oc.decode:${.group}}' * 100}'\n"
    said = refusal("experiment=mine", own=own(tmp_path, text))
    assert said.startswith("the interpolations of the config give more than 1,000,000 characters\n")


def test_aliases_of_ordinary_size_are_read(tmp_path: Path) -> None:
    own(tmp_path, "# @package _global_\nseed: &n 7\nsplit: {seed: *n}\n")
    config = composed("experiment=mine", own=tmp_path)
    assert (config.seed, config.split.seed) == (7, 7)


# -------------------------------------------------------------------------------------------------------- environment
@pytest.mark.parametrize(
    "reference",
    [
        "${oc.env:OPENAI_API_KEY}",
        "${oc.env:MY_TOKEN,x}",
        "${${tracking.group}:A_SECRET}",
        "${oc.env:DB_PASS}",
        "${oc.env:MY_PAT}",
        "${oc.env:HOME}",
        "${oc.env:NOTUS_EXP_DB_PASS}",
        "${oc.env:NOTUS_EXP_STORAGE}",
    ],
)
def test_no_config_reads_a_secret_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    for name in ("OPENAI_API_KEY", "MY_TOKEN", "A_SECRET", "DB_PASS", "MY_PAT", "NOTUS_EXP_DB_PASS"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("NOTUS_EXP_STORAGE", "postgresql://me:planted@host/x")
    text = f"# @package _global_\ntracking: {{group: oc.env, project: '{reference}'}}\n"
    said = refusal("experiment=mine", own=own(tmp_path, text))
    assert "which may hold a secret" in said
    assert "planted" not in said
    assert len(said.splitlines()) == 2


def test_a_config_reads_the_variables_meant_for_it_unless_a_password_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, "# @package _global_\ntracking: {project: '${oc.env:NOTUS_EXP_PLACE}'}\n")
    monkeypatch.setenv("NOTUS_EXP_PLACE", "here")
    assert composed("experiment=mine", own=tmp_path).tracking.project == "here"
    monkeypatch.setenv("NOTUS_EXP_PLACE", "postgresql://me:planted@host/x")
    assert "which may hold a secret" in refusal("experiment=mine", own=tmp_path)
    monkeypatch.delenv("NOTUS_EXP_PLACE")
    assert "NOTUS_EXP_PLACE, which is not set" in refusal("experiment=mine", own=tmp_path)


@pytest.mark.parametrize(
    ("group", "setting", "words"),
    [
        ("judge", "{base_url: 'http://me:planted@host/v1'}", "judge.base_url holds a user name or password"),
        ("judge", "{base_url: 'http://host/v1?x=planted'}", "judge.base_url goes on after its path"),
        ("judge", "{api_key_env: sk-planted-123}", "judge.api_key_env is no name of an environment variable"),
        ("generation", "{base_url: 'http://planted@host'}", "generation.base_url holds a user name or password"),
    ],
)
def test_an_endpoints_secret_is_refused_before_the_config_is_shown(
    tmp_path: Path, group: str, setting: str, words: str
) -> None:
    own(tmp_path, f"# @package _global_\n{group}: {setting}\n")
    with pytest.raises(UserError) as one:
        composed_by_hydra(f"{group}=openai", f"{group}={setting.replace(': ', ':')}")
    with pytest.raises(UserError) as other:
        composed_by_hydra(f"{group}=openai", "experiment=mine", own=tmp_path)
    for error in (one, other):
        assert words in str(error.value)
        assert "planted" not in str(error.value)


def test_the_variables_of_the_command_itself_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(tmp_path, "# @package hydra.callbacks\nx: {_target_: os.getcwd}\n", "study/curation.yaml")
    monkeypatch.setenv(configuration.SWEEPS, str(tmp_path))
    assert composed_by_hydra("study=curation").study.arms


# --------------------------------------------------------------------------------------------------------- end to end
class Planted:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_no_command_unpickles_or_calls_what_a_folder_holds(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    rerun = tmp_path / "rerun/.hydra"
    rerun.mkdir(parents=True)
    for name in ("config.pickle", "hydra.pickle"):
        (rerun / name).write_bytes(pickle.dumps(Planted(ran)))
    callback = f"# @package hydra.callbacks\nx: {{_target_: os.mkdir, path: {ran}}}\n"
    own(tmp_path / "own", callback)
    own(tmp_path / "own", "# @package _global_\nhydra: {searchpath: ['pkg://planted']}\n", "config.yaml")
    for arguments in (
        ["--experimental-rerun", str(rerun / "config.pickle")],
        ["--experimental-rer", str(rerun / "config.pickle")],
        ["--config-di", str(tmp_path / "own"), "experiment=mine"],
        ["--config-dir", str(tmp_path / "own"), "experiment=mine"],
        ["--info", "--config-dir", str(tmp_path / "own"), "experiment=mine"],
    ):
        command = [sys.executable, "-m", "notus_exp", "until=config", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: "), done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert "experiment" not in done.stdout
    assert not ran.exists()


def test_the_printed_config_hides_the_password_of_a_searchs_storage(tmp_path: Path) -> None:
    url = "postgresql://me:planted@host/db"
    own(tmp_path, f"# @package _global_\nstudy: {{search: {{storage: '{url}'}}}}\n")
    for setting in ("experiment=mine", f"study.search.storage='{url}'", f"study={{search:{{storage:'{url}'}}}}"):
        command = [sys.executable, "-m", "notus_exp", "--config-dir", str(tmp_path), setting, "--cfg", "job"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "storage: postgresql://***@host/db" in done.stdout
        assert "planted" not in done.stdout + done.stderr


def test_a_secret_that_an_override_reads_ends_in_one_error(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "notus_exp",
        "experiment=smoke",
        "until=pairs",
        'tracking.tags=["${oc.env:DB_PASS}"]',
    ]
    environment = os.environ | {"DB_PASS": "planted-word"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the config reads the environment variable DB_PASS, which may hold a secret\n")
    assert not list(tmp_path.iterdir())


def test_the_printed_config_of_shipped_options_names_no_code() -> None:
    assert "_target_" not in OmegaConf.to_yaml(composed_by_hydra())


def test_a_whole_mapping_that_is_given_is_that_mapping() -> None:
    weights = composed("selection=weighted", "selection.weights={helpfulness:1}").selection.weights
    assert weights == {"helpfulness": 1.0}
    named = ["helpfulness:1", "honesty:1", "instruction_following:1", "truthfulness:1"]
    written = composed("selection=weighted", f"selection.weights={{{','.join(named)}}}")
    assert written == composed("selection=weighted"), "so its artifacts are found"
    assert composed("data.skills={a:0.9,b:0.5}").data.skills == {"a": 0.9, "b": 0.5}
    assert composed("study.tuning.values={dpo.epochs:[1,2]}").study.tuning.values == {"dpo.epochs": [1, 2]}
    assert composed("study.arms={a:['dpo.beta=1']}").study.arms == {"a": ["dpo.beta=1"]}


def test_entries_are_added_to_a_mapping_and_changed_in_it() -> None:
    shipped = composed("selection=weighted").selection.weights
    changed = composed("selection=weighted", "selection.weights.honesty=3").selection.weights
    assert changed == shipped | {"honesty": 3.0}
    overrides = ["selection=weighted", "selection.weights={honesty:1}", "+selection.weights={truthfulness:2}"]
    added = composed(*overrides)
    assert added.selection.weights == {"honesty": 1.0, "truthfulness": 2.0}
