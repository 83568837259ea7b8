"""Every setting moves a key or is marked at its field; what is added later moves none."""

from __future__ import annotations

import copy
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Optional, get_args, get_type_hints

import pytest

from notus_exp.config.curation_settings import Selection, TopTies
from notus_exp.config.evaluation_settings import Evaluation, PreferencesEvaluation
from notus_exp.config.judge_settings import JUDGE_SCHEMAS, Judge
from notus_exp.config.ranges import bounded, files_of, named_file, unbounded
from notus_exp.config.schema import Config
from notus_exp.evaluation.catalogue import CATALOGUE
from notus_exp.run import old_keys
from notus_exp.run.plan import make_plan
from notus_exp.stages.settings import from_json, keyed, to_json
from support.configs import composed
from support.expressions import choosing_by
from support.known_keys import FILES, VERSIONS
from support.places import ROOT
from support.plans import fixed_sources

EVERY = "evaluation=[preferences,verifiable,alpaca_eval,mt_bench,ifeval,lm_eval]"
JUDGED = ["experiment=smoke", EVERY, "evaluation.lm_eval.tasks=[a]", *FILES]
SERVED = ["base_url=http://127.0.0.1:1/v1", "base_model=a", "policy_model=b"]
COMPOSED = {
    "simulated, openai": [*JUDGED, "judge=openai", "judge.model=m"],
    "file, reward model": [
        *(*JUDGED, "judge=reward_model", "judge.model=m", "data=ultrafeedback", "data.path=u.jsonl"),
        *("scores=[{path: s.csv, name: armorm}]", *choosing_by("armorm + helpful + scored")),
        "annotators=[{name: helpful, judge: openai, model: m, rubric: helpfulness}, {name: scored, reward_model: r}]",
    ],
    "hub, replay": [
        *(*JUDGED, "judge=replay", "judge.path=v.json", "data=rated"),
        *("scores=[{runs: [a, b], name: probe}]", *choosing_by("probe_reward")),
    ],
    "chats before preferences": [*JUDGED, "judge=openai", "judge.model=m", "sft=chat", "sft.hub_id=a/b"],
    "mix": [*JUDGED, "judge=openai", "judge.model=m", "data=mix", "data.sources=[{data: rated, path: x}]"],
    "pairs, mock, endpoint": [
        *("experiment=smoke", "evaluation=[preferences,alpaca_eval]", *FILES[:1], "judge=mock", "data=pairs"),
        *("data.hub_id=a/b", "selection=critique", "generation=openai", *(f"generation.{one}" for one in SERVED)),
    ],
    "pairs, a server of the run's own": [
        *("experiment=smoke", "evaluation=[preferences,mt_bench]", *FILES[1:2], "judge=mock", "generation=vllm"),
    ],
}
"""Configs that together have every setting that there is."""

SOME = "everything or notus_7b_v1_lora or openai"
"""Of the known keys, those that a scratch branch is tried on: together they have every stage."""


def leaves(node: Any, path: str, marked: bool) -> Iterator[tuple[str, bool, Any]]:
    """Yield the dotted path of every setting, whether it or what holds it is marked, and its value.

    Of a list whose items have settings those of each item, with its number in the path.
    """
    kinds = get_type_hints(type(node))
    for spec in fields(node):
        value = getattr(node, spec.name)
        here = f"{path}{spec.name}"
        out = marked or not spec.metadata.get("in_key", True)
        if "unless" in spec.metadata and getattr(node, spec.metadata["unless"]):
            out = True
        if is_dataclass(value):
            yield from leaves(value, f"{here}.", out)
        elif isinstance(value, list) and any(kind is Any or is_dataclass(kind) for kind in get_args(kinds[spec.name])):
            for number, item in enumerate(value):
                yield from leaves(item, f"{here}.{number}.", out)
        else:
            yield here, out, value


def others(value: Any) -> list[Any]:
    """Return other values than this one; what they mean does not matter, since nothing is checked or run."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, Enum):
        return [one for one in type(value) if one is not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    if isinstance(value, list):
        return [[*value, "x"]]
    if isinstance(value, dict):
        return [{**value, "x": 0.5}]
    return ["x", 1]


@pytest.fixture(autouse=True)
def fixed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare looking the libraries' versions up for every node of every plan."""
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: VERSIONS.get(name) or real(name))


def changed(config: Config, path: str, value: Any) -> Config:
    found = copy.deepcopy(config)
    node: Any = found
    *groups, last = path.split(".")
    for group in groups:
        node = node[int(group)] if isinstance(node, list) else getattr(node, group)
    setattr(node, last, value)
    return found


def keys(config: Config) -> set[str]:
    return {node.key for node in make_plan(config, fixed_sources(config))}


@pytest.mark.parametrize("name", COMPOSED)
def test_every_setting_moves_a_key_or_is_marked_at_its_field(name: str) -> None:
    config = composed(*COMPOSED[name])
    before = keys(config)
    silent = []
    for path, marked, value in leaves(config, "", marked=False):
        if path.startswith("evaluation.") and value is None and path.count(".") == 1:
            continue  # not chosen here
        if path.startswith("rounds.") and path != "rounds.number":
            continue  # refused where there is one round; tests/run/test_rounds_nodes.py moves them
        moved = any(keys(changed(config, path, other)) != before for other in others(value))
        if not moved and not marked:
            silent.append(path)
    assert silent == [], "neither hashed nor marked with in_key=False"


@pytest.mark.parametrize("path", ["hardware.micro_batch_size", "judge.input_price", "judge.base_url", "tracking.tags"])
def test_what_is_marked_moves_no_key(path: str) -> None:
    config = composed(*COMPOSED["simulated, openai"])
    value = next(value for place, _, value in leaves(config, "", marked=False) if place == path)
    assert keys(changed(config, path, others(value)[-1])) == keys(config)


@dataclass(kw_only=True)
class LaterSelection(Selection):
    strength: int = bounded(least=1, since=1)
    flavour: TopTies = unbounded(since=TopTies.hash)


@dataclass
class LaterEvaluation(Evaluation):
    newcomer: Optional[PreferencesEvaluation] = unbounded(since=None, default=None)


def test_a_later_setting_enters_a_key_only_where_it_changes_something() -> None:
    before = Selection("average", None, {}, TopTies.hash)
    later = LaterSelection("average", None, {}, TopTies.hash, strength=1, flavour=TopTies.hash)
    assert keyed(later) == keyed(before)
    assert from_json(LaterSelection, keyed(before)) == later
    other = replace(later, strength=2, flavour=TopTies.first)
    assert keyed(other) == {**keyed(before), "strength": 2, "flavour": "first"}
    assert from_json(LaterSelection, keyed(other)) == other
    assert to_json(later)["strength"] == 1, "what is recorded has all settings"


def test_a_later_evaluation_enters_a_key_only_where_it_is_chosen() -> None:
    assert keyed(LaterEvaluation()) == keyed(Evaluation())
    assert set(keyed(Evaluation())) == {spec.name for spec in fields(Evaluation)}, "those of today stay as null"
    chosen = LaterEvaluation(newcomer=PreferencesEvaluation("newcomer", 3))
    assert keyed(chosen)["newcomer"] == {"name": "newcomer", "max_prompts": 3}


def test_what_a_judge_reads_from_a_file_stands_in_its_key_by_the_files_content() -> None:
    @dataclass
    class Lexical(Judge):
        words_file: Optional[str] = named_file()
        accent: str = unbounded(since="none")

    judge = Lexical("lexical", "", 0.05, words_file="words.txt", accent="none")
    assert files_of(judge) == {"words_file": "words.txt"}
    assert files_of(replace(judge, words_file=None)) == {}
    assert "words_file" not in keyed(judge)


@pytest.mark.parametrize("name", old_keys.JUDGE)
def test_what_entered_old_keys_is_nothing_that_the_judge_reads(name: str) -> None:
    read = {spec.name for spec in fields(JUDGE_SCHEMAS[name])}
    assert not read & old_keys.JUDGE[name].keys(), "an old constant must not stand for a setting"


def test_another_version_of_an_evaluation_is_measured_anew_and_moves_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = composed(*COMPOSED["simulated, openai"])
    before = {node.name: node.key for node in make_plan(config, fixed_sources(config))}
    monkeypatch.setitem(CATALOGUE, "ifeval", CATALOGUE["ifeval"]._replace(version=2))
    after = {node.name: node.key for node in make_plan(config, fixed_sources(config))}
    assert {name for name in before if before[name] != after[name]} == {"evaluation"}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A copy of the checkout to add things to."""
    for folder in ("notus_exp", "conf", "sweeps", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add_setting(root: Path) -> None:
    edit(root / "notus_exp/config/training_settings.py", "    beta: float = bounded(above=0)\n",
         "    beta: float = bounded(above=0)\n    warmth: float = bounded(least=0, since=0.0)\n")  # fmt: skip
    for path in (root / "conf/dpo").glob("*.yaml"):
        path.write_text(path.read_text(encoding="utf-8") + "\nwarmth: 0.0  # of a scratch branch\n", encoding="utf-8")


def add_evaluation(root: Path) -> None:
    settings = root / "notus_exp/config/evaluation_settings.py"
    edit(settings, "ranges import HUB, bounded, place\n", "ranges import HUB, bounded, place, unbounded\n")
    edit(settings, "    lm_eval: Optional[LMEvalEvaluation] = None\n",
         "    lm_eval: Optional[LMEvalEvaluation] = None\n"
         "    counting: Optional[PreferencesEvaluation] = unbounded(since=None, default=None)\n")  # fmt: skip
    folder = root / "notus_exp/evaluation/counting"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Counts."""\n')
    (folder / "spec.py").write_text(
        "from notus_exp.evaluation.kit.description import EvaluationSpec, Metric\n"
        'SPEC = EvaluationSpec(name="counting", held_out=True, metrics=(Metric("records", "records"),))\n'
    )
    (folder / "measure.py").write_text(COUNTING)
    catalogue = root / "notus_exp/evaluation/catalogue.py"
    edit(catalogue, '    "lm_eval": LM_EVAL,\n', '    "lm_eval": LM_EVAL,\n    "counting": COUNTING,\n')
    edit(catalogue, "from notus_exp.config.evaluation_settings import Evaluation\n",
         "from notus_exp.config.evaluation_settings import Evaluation\n"
         "from notus_exp.evaluation.counting.spec import SPEC as COUNTING\n")  # fmt: skip
    (root / "conf/evaluation/counting.yaml").write_text(
        "# Counts the records of the feedback.\n"
        "counting:\n  name: counting  # this option\n  max_prompts: null  # all\n"
    )


COUNTING = '''"""Counts the records of the feedback, and by prompt."""
import polars as pl
from notus_exp.disk.files import BY_PROMPT, COMPLETIONS
from notus_exp.evaluation.kit.entrance import Part
from notus_exp.inference.estimates import mean_estimate

def measure(settings, inputs, out, context):
    feedback = pl.read_parquet(inputs["feedback"] / COMPLETIONS)
    rows = feedback.group_by("prompt_id").agg(records=pl.len().cast(pl.Float64))
    rows.write_parquet(out / BY_PROMPT.format("counting"))
    return Part({"counting/records": mean_estimate(rows["records"].to_list())}, {})

def by_prompt(place):
    return pl.read_parquet(place("evaluation", BY_PROMPT.format("counting")))

def check_files(files):
    pass
'''


@pytest.mark.parametrize("add", [add_setting, add_evaluation])
def test_what_a_scratch_branch_adds_moves_no_key(scratch: Path, add: Callable[[Path], None]) -> None:
    add(scratch)
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"), "tests/run/test_known_keys.py", "-k", SOME],
        cwd=scratch,
        env={"PYTHONPATH": str(scratch), "PATH": "/usr/bin:/bin", "HOME": str(scratch)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert str(scratch) in subprocess.run(
        [sys.executable, "-c", "import notus_exp; print(notus_exp.__file__)"],
        cwd=scratch, env={"PYTHONPATH": str(scratch)}, capture_output=True, text=True, check=True,
    ).stdout, "the scratch copy was tested, not the checkout"  # fmt: skip


def test_an_evaluation_added_in_six_files_runs_and_is_reported(scratch: Path) -> None:
    add_evaluation(scratch)
    done = subprocess.run(
        [sys.executable, "-m", "notus_exp", "experiment=smoke", "tracking=none", "evaluation=[counting]"],
        cwd=scratch,
        env={"PYTHONPATH": str(scratch), "PATH": "/usr/bin:/bin", "HOME": str(scratch), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "counting/records" in (Path(done.stdout.splitlines()[-1]) / "run.json").read_text(encoding="utf-8")
