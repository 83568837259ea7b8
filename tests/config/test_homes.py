"""`~` is the home folder in every setting and argument that names a place, and nowhere else."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from notus_exp import artifacts, compare, power, runs, score
from notus_exp.config import loading as configuration
from notus_exp.config.homes import place_keys, with_home
from notus_exp.config.schema import known_settings
from notus_exp.errors import UserError
from support.configs import composed, composed_by_hydra

PLACES = {
    *("output_dir", "data.path", "filters.contamination.files", "model.path", "judge.path", "judge.template"),
    *("judge.model", "evaluation.alpaca_eval.prompts", "evaluation.alpaca_eval.difficulty"),
    *("evaluation.alpaca_eval.leaderboard", "evaluation.mt_bench.questions", "evaluation.mt_bench.references"),
    "study.search.storage",
    *("evaluation.mt_bench.judge_prompts", "evaluation.ifeval.prompts", "evaluation.lm_eval.include_path"),
}
NO_PLACES = {
    "study.name",  # a folder's name within output_dir
    *("model.kind", "generation.policy_model", "study"),
    *("generation.base_model", "model.shape"),  # a name, and what a config.json holds
    *("data.hub_split", "sft.max_bad_rows"),  # a split's name, and a number
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


def test_every_setting_whose_comment_speaks_of_a_file_or_folder_is_marked_as_a_place() -> None:
    assert place_keys() >= PLACES
    spoken = set()
    for path in configuration.conf_dir().rglob("*.yaml"):
        group = path.parent.name if path.parent != configuration.conf_dir() else ""
        above: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"^( *)([\w-]+):[^#]*(?:#(.*))?$", line)
            if found:
                above = [*above[: len(found[1]) // 2], found[2]]
                if re.search(r"(?i)\b(file|folder|local or on the hub)\b|\.(jsonl?|csv|txt|parquet)", found[3] or ""):
                    spoken.add(".".join([*([group] if group else []), *above]))
    spoken &= known_settings().keys()
    assert spoken >= {"output_dir", "data.path", "model.path", "judge.template", "evaluation.mt_bench.questions"}
    assert spoken <= place_keys() | NO_PLACES, "mark it with place() or named_file(), or list it as no place"


def test_each_place_of_a_mapping_begins_at_home() -> None:
    config = composed_by_hydra("data=made", "data.rubrics={honesty: '~/rubric.txt'}")
    assert config.data.rubrics.honesty == "/home/me/rubric.txt"


@pytest.mark.parametrize("quote", ["", "'"])
@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("output_dir", []),
        ("data.path", ["data=rated"]),
        ("model.path", ["model=local"]),
        ("judge.template", ["judge=mock"]),
        ("judge.path", ["judge=replay"]),
        ("judge.model", ["judge=reward_model"]),
        ("evaluation.mt_bench.references", ["evaluation=[mt_bench]"]),
    ],
)
def test_a_place_on_the_command_line_begins_at_home(key: str, options: list[str], quote: str) -> None:
    config = composed_by_hydra(*options, f"{key}={quote}~/a/b.jsonl{quote}")
    for part in key.split("."):
        config = config[part]
    assert config == "/home/me/a/b.jsonl"


def test_lists_sweeps_and_files_begin_at_home_too(tmp_path: Path) -> None:
    assert with_home("filters.contamination.files=[~/a.txt,b~,~/c.txt]") == (
        "filters.contamination.files=[/home/me/a.txt,b~,/home/me/c.txt]"
    )
    assert with_home("data.path=~/a,~/b") == "data.path=/home/me/a,/home/me/b"
    assert with_home("study.search.storage=sqlite:///~/a.db") == "study.search.storage=sqlite:////home/me/a.db"
    composed_storage = composed_by_hydra("study.search.storage='sqlite:///~/a.db'").study.search.storage
    assert composed_storage == "sqlite:////home/me/a.db"
    assert with_home("output_dir=~") == "output_dir=/home/me"
    assert with_home("tracking.project=~/a") == "tracking.project=~/a", "no place"
    assert with_home("~output_dir") == "~output_dir"
    (tmp_path / "experiment").mkdir()
    own = {"output_dir": "~/out", "filters": {"contamination": {"files": ["~/a.txt", "b.txt"]}}}
    text = f"# @package _global_\n{yaml.safe_dump(own)}"
    (tmp_path / "experiment/mine.yaml").write_text(text, encoding="utf-8")
    config = composed("experiment=mine", own=tmp_path)
    assert config.output_dir == "/home/me/out"
    assert config.filters.contamination.files == ["/home/me/a.txt", "b.txt"]
    assert config == replace(composed("experiment=mine", own=tmp_path))


def test_the_home_of_nobody_is_an_error_and_a_tilde_within_is_a_name() -> None:
    with pytest.raises(UserError, match=r"output_dir=~nobody_here/x: this machine knows no user of that name\n.*\./~"):
        composed_by_hydra("output_dir='~nobody_here/x'")
    assert composed_by_hydra("output_dir='./~'").output_dir == "./~"
    assert composed_by_hydra("output_dir='a/~/b'").output_dir == "a/~/b"


@pytest.mark.parametrize("key", sorted(PLACES - {"study.search.storage"}))
def test_an_address_in_the_place_of_a_path_is_refused_and_not_shown(key: str) -> None:
    group, _, setting = key.partition(".")
    options = {
        "data": "rated",
        "model": "local",
        "judge": {"path": "replay", "model": "reward_model"}.get(setting, "mock"),
    }
    chosen = [f"{group}={options[group]}"] if group in options else []
    chosen += [f"evaluation=[{setting.split('.')[0]}]"] if group == "evaluation" else []
    for url in ("https://me:hunter2@host/x.jsonl", "s3:/AKIA:hunter2@bucket/x", " file:///x", "HTTPS://hunter2"):
        value = f"['{url}']" if key.endswith("files") else f"'{url}'"
        with pytest.raises(UserError, match=rf"{key} is an address \(\w+://\.\.\.\), and a folder or file") as error:
            composed_by_hydra(*chosen, f"{key}={value}")
        assert "hunter2" not in str(error.value)


def test_files_of_evaluations_may_lie_on_the_hub_and_a_drive_is_no_address() -> None:
    url = "hf://datasets/a/b@main/c.json"
    config = composed_by_hydra(
        "evaluation=[ifeval]", "judge=replay", f"evaluation.ifeval.prompts={url}", f"judge.path={url}"
    )
    assert (config.evaluation.ifeval.prompts, config.judge.path) == (url, url)
    assert composed_by_hydra("output_dir='C:/me/x'").output_dir == "C:/me/x"
    composed_by_hydra("study.search.storage='postgresql://host/db'")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (artifacts, ["list", "https://me:hunter2@host/out"]),
        (runs, ["list", "https://me:hunter2@host/out"]),
        (runs, ["show", "https://me:hunter2@host/out"]),
        (runs, ["show", "x", "--output-dir", "https://me:hunter2@host/out"]),
        (compare, ["https://me:hunter2@host/out"]),
        (compare, ["--verdicts", "s3://me:hunter2@host/out"]),
        (compare, ["a", "b", "https://me:hunter2@host/out"]),
        (power, ["--pilot", "https://me:hunter2@host/out"]),
        (score, ["alpaca_eval", "https://me:hunter2@host/a.csv:x"]),
        (score, ["mt_bench", "https:/me:hunter2@host/a.jsonl"]),
    ],
)
def test_an_address_as_an_argument_is_refused_and_not_shown(
    command: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    shown = capsys.readouterr()
    assert "error: " in shown.err
    assert "hunter2" not in shown.out + shown.err


@pytest.mark.parametrize("command", [artifacts, compare, power, runs, score], ids=lambda command: command.__name__)
def test_every_path_of_a_command_begins_at_home(command: ModuleType) -> None:
    parsers: list[argparse.ArgumentParser] = [command._parser()]
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    paths = [(one, action) for one in parsers for action in one._actions if action.type is Path]
    assert paths
    for one, action in paths:
        assert one._get_value(action, "~/a") == Path("/home/me/a")
        with pytest.raises(argparse.ArgumentError, match="no user of that name"):
            one._get_value(action, "~nobody_here/a")
    unmarked = [action.metavar for one in parsers for action in one._actions if action.metavar in ("FILE", "FOLDER")]
    assert set(unmarked) == {action.metavar for _, action in paths if action.metavar in ("FILE", "FOLDER")}


def test_the_files_of_alpaca_eval_begin_at_home() -> None:
    options = score._parser().parse_args(["alpaca_eval", "~/a.csv:x", "~/b.json"])
    assert (options.a, options.b) == ("/home/me/a.csv:x", "/home/me/b.json")
