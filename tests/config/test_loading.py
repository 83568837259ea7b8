"""The command line: every option composes, every mistake is one clear line, and nothing heavy is imported."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from notus_exp.config import loading as configuration
from notus_exp.config.schema import ALTERNATIVES
from notus_exp.config.training_settings import LongPrompts, Precision
from notus_exp.errors import UserError
from support.configs import composed

CONF = configuration.conf_dir()
FILES = sorted([*CONF.rglob("*.yaml"), *configuration.sweeps_dir().rglob("*.yaml")])
HEAVY = ("torch", "transformers", "trl", "datasets", "wandb", "optuna", "polars", "matplotlib")
NEEDS = {"model=hub": ["model.hub_id=a/b"], "model=local": ["model.path=x"], "data=pairs": ["selection=critique"]}
NEEDS["data=mix"] = ["data.sources=[{data: rated}]"]
NEEDS["data=made"] = ["data.writers=[{name: own}]", "data.per_prompt=1", "data.judge={judge: mock}"]
PARTS = ("data=prompts",)
"""Options that are chosen within another: tests/config/test_made.py."""
NEEDS |= {f"hardware={name}": ["dpo=full"] for name in ("a100_8x40gb", "a100_8x80gb", "h100_8", "multi_node")}
SIDES = "data.mapping.completions=[{text: good, side: chosen}, {text: bad, side: rejected}]"
NEEDS["data=mapped"] = ["selection=critique", "data.path=x.jsonl", SIDES]
RATED = {"helpsteer2", "safe_rlhf"}
PRESETS = {path.stem for path in (CONF / "data").glob("*.yaml") if "\n  - mapped\n" in path.read_text(encoding="utf-8")}
NEEDS |= {f"data={name}": ["selection=critique"] for name in PRESETS - RATED}
NEEDS |= {f"data={name}": ["selection=critique", "data.path=x.jsonl"] for name in ("distilabel", "sharegpt")}
ENDPOINT = ["base_url=http://127.0.0.1:1/v1", "base_model=a", "policy_model=b"]
NEEDS["generation=openai"] = ["evaluation=[preferences]", *(f"generation.{setting}" for setting in ENDPOINT)]
NEEDS |= {f"generation={name}": ["evaluation=[preferences]"] for name in ("vllm", "sglang", "transformers_serve")}
NEEDS["generation=served"] = [
    "evaluation=[preferences]",
    "generation.command='serve {model} {port}'",
]
NEEDS["judge=replay"] = ["judge.path=x"]
NEEDS["sft=chat"] = ["sft.path=x"]
NEEDS["curation=easiest"] = ["scores=[{runs: [a, b]}]"]
NEEDS["selection=expression"] = ["selection.score=overall"]
NEEDS |= {f"evaluation=[{name}]": ["judge=mock"] for name in ("alpaca_eval", "mt_bench")}


def options() -> list[str]:
    groups = [path for path in CONF.iterdir() if path.is_dir()]
    names = [f"{group.name}={option.stem}" for group in groups for option in sorted(group.glob("*.yaml"))]
    whole = [name for name in names if name not in PARTS]
    return [name.replace("evaluation=", "evaluation=[") + "]" * name.startswith("evaluation") for name in whole]


@pytest.mark.parametrize("option", options())
def test_every_shipped_option_composes_and_is_valid(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # an extra, which some recipes need: that it is asked for is tested in tests/training/test_arguments.py
    monkeypatch.setattr("notus_exp.config.bitsandbytes_checks.require_bitsandbytes", lambda needed_by: None)
    config = composed(option, *NEEDS.get(option, []))
    group, name = option.split("=")
    if group not in ("evaluation", "experiment", "curation", "filters", "pairs", "dpo"):
        assert getattr(config, group).name == name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF.parent)))
def test_every_yaml_key_has_a_comment(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#"), "a file begins with what it is for"
    in_help = False
    for number, line in enumerate(lines):
        in_help = line.strip() == "help:" or (in_help and (not line.strip() or line.startswith("    ")))
        leaf = re.match(r"^(\s*)[\w-]+: +\S", line) and not line.rstrip().endswith("|")
        under_skills = "sim-" in line  # its parent key explains the mapping
        if leaf and not in_help and not under_skills and not line.lstrip().startswith("- "):
            assert " #" in line, f"{path.name}:{number + 1} has no comment: {line}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notus_7b_v1", {"selection": "average", "r": 0, "worse": True, "excluded": ["truthful_qa"]}),
        (
            "notus_7b_v1_lora",
            {"selection": "average", "r": 64, "worse": True, "excluded": ["truthful_qa"]},
        ),
        ("zephyr_7b_beta", {"selection": "critique", "r": 0, "worse": False, "excluded": []}),
    ],
)
def test_published_recipes_have_the_published_values(name: str, expected: dict[str, object]) -> None:
    config = composed(f"experiment={name}")
    dpo = config.dpo
    assert config.selection.name == expected["selection"]
    assert config.rejected.name == "random"
    assert config.rejected.strictly_worse is expected["worse"]
    assert config.filters.exclude_sources == expected["excluded"]
    assert (dpo.beta, dpo.lora.r, dpo.learning_rate, dpo.epochs) == (0.1, expected["r"], 5e-7, 3.0)
    assert (dpo.optimizer, dpo.lr_scheduler, dpo.warmup) == ("rmsprop", "linear", 0.1)
    assert (dpo.global_batch_size, dpo.max_length, dpo.max_prompt_length) == (64, 1024, 512)
    assert dpo.precision is Precision.bfloat16
    assert dpo.long_prompts is LongPrompts.cut
    assert config.model.hub_id == "alignment-handbook/zephyr-7b-sft-full"
    assert config.model.system_prompt == ""
    assert config.seed == 42
    assert 63_967 * (config.split.validation + config.split.test) == pytest.approx(2_000, abs=1)


@pytest.mark.parametrize("profile", ["cpu", "gpu", "a100_8x40gb", "h100_8", "multi_node"])
def test_hardware_keeps_precision_and_global_batch(profile: str) -> None:
    config = composed("experiment=notus_7b_v1", f"hardware={profile}")
    assert config.dpo.precision is Precision.bfloat16
    assert config.dpo.global_batch_size == 64


def test_hardware_auto_is_a_profile_on_which_overrides_go_on_top() -> None:
    config = composed("hardware.micro_batch_size=2")
    assert config.hardware.name in [path.stem for path in (CONF / "hardware").glob("*.yaml")]
    assert config.hardware.micro_batch_size == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dpo.betta=0.1"], "unknown key 'dpo.betta'.*did you mean 'dpo.beta'"),
        (["+dpo.betta=0.1"], "unknown key 'dpo.betta'.*did you mean 'dpo.beta'"),
        (["++dpo.lora.rank=4"], "unknown key 'dpo.lora.rank'"),
        (["dpo.simpo_gamma=1"], "unknown key 'dpo.simpo_gamma'.*did you mean 'dpo.gamma_beta_ratio'"),
        (["dpo.desirable_weight=2"], "unknown key 'dpo.desirable_weight'.*did you mean 'dpo.kto_desirable_weight'"),
        (["++nonsense=1"], "unknown key 'nonsense'"),
        (["selection=averge"], "selection=averge is not an option.*'average'"),
        (["evaluation=[prefs]"], "evaluation=prefs is not an option.*'preferences'"),
        (["dpo.beta=abc"], "^dpo.beta=abc is no number\n  write dpo.beta=NUMBER$"),
        (["dpo.beta=0"], "dpo.beta=0.0 is out of range.*above 0"),
        (["dpo.beta=inf"], "dpo.beta=inf is not a finite number"),
        (["seed=-1"], "seed=-1 is out of range"),
        (["until=polcy"], "^until=polcy is not an option\n  did you mean 'policy'"),
        (["dpo.loss_type=[simpo]"], "dpo.loss_type=simpo is not an option\n  write dpo=simpo, or dpo.algorithm=simpo"),
        (["dpo.loss_type=[]"], "dpo.loss_type"),
        (
            ["dpo.algorithm=kto"],
            r"^dpo.loss_type=\[sigmoid, sft\] is not read by dpo.algorithm=kto\n  set dpo.loss_type=\[\];",
        ),
        (
            ["pairs.weight=margin", "dpo.algorithm=kto", "dpo.loss_type=[]", "dpo.batching=random"],
            "kto cannot weigh pairs",
        ),
        (["pairs.weight=margin", "dpo.loss_type=[bco_pair]"], "bco_pair is no sum over them"),
        (["dpo.label_smoothing=0.1"], "label_smoothing"),
        (["dpo.precision=float16", "hardware=cpu"], "dpo.precision=float16 is not available on hardware=cpu"),
        (["dpo.global_batch_size=12", "hardware.micro_batch_size=8"], "dpo.global_batch_size=12 does not divide"),
        (["data=pairs"], "selection=average needs aspect ratings.*selection=critique"),
        (["selection=per_aspect", "selection.aspect=honest"], "'honest'.*did you mean 'honesty'"),
        (["filters.valid_under=[averag]"], "'averag'.*did you mean 'average'"),
        (["split.validation=0.5", "split.test=0.5"], "leave nothing to train on"),
        (["data.aspects=[honesty,honesty]"], "data.aspects names 'honesty' twice"),
        (["selection=weighted", "+selection.weights.truth=1"], "names 'truth'.*leave the key out"),
        (["selection=weighted", "selection.weights.honesty=-1"], "selection.weights.honesty=-1.0 is out of range"),
        (["selection=weighted", "selection.weights.honesty=1e308"], "selection.weights.honesty=1e.308 is out of range"),
        (["filters.max_pairs=99999999999999999999999"], "filters.max_pairs=9+ is out of range"),
        (["repair=openbmb", "repair.low_mean=5"], "repair.low_mean=5.0 is above repair.high_mean"),
        (["model=hub"], "model.hub_id must be given"),
        (["evaluation=[]"], "evaluation=\\[\\] leaves nothing to evaluate"),
        (["dpo=="], "cannot read 'dpo=='"),
        (["data.prompts=0"], "data.prompts=0 is out of range"),
        (["study.arms.a=[]"], r"unknown entry of study.arms: 'a'.*'\+study.arms=\{NAME:VALUE\}'"),
        (["study.grid.dpo.beta=[1]"], r"unknown entry of study.grid.*'\+study.grid=\{NAME:VALUE\}'"),
        (["experiment=null"], "group cannot be null"),
        (["split.test=0"], "needs test prompts, but split.test=0"),
        (["split.test=0", "until=likelihoods"], "needs test prompts, but split.test=0"),
        (["split.validation=0", "evaluation_split=validation"], "needs validation prompts, but split.validation=0"),
        (
            ["evaluation=[preferences,ifeval,lm_eval]", "evaluation_split=validation"],
            r"evaluation=\[ifeval,lm_eval\] has fixed prompts and none for validation.*evaluation_split=test",
        ),
        (["evaluation_split=train"], "^evaluation_split=train is not an option\n  one of test, validation$"),
        (["selection.aspect=honesty"], "selection.aspect=honesty is read by selection=per_aspect alone"),
        (["data.skills.sim-new=0.5"], "unknown entry of data.skills.*\\+data.skills.NAME"),
        (["experiment=[smoke,zephyr_7b_beta]", "selection=averge"], "averge"),
        (["selection=weighted", "selection.weights.helpfulness=nan"], "selection.weights=nan is not a finite number"),
        (["model.kind=hub"], "model.hub_id must be given"),
        (["hardware.offload=true"], "hardware.offload=true does nothing"),
        (["rejected.ties=drop"], "rejected.ties=drop does nothing"),
        (["filters.contamination.field=foo"], "field=foo needs a file with fields"),
        (["tracking.tags=[" + "t" * 65 + "]"], "longer than the 64 characters"),
        (
            ["~dpo.beta"],
            "dpo.beta is a setting and cannot be taken away with ~\n  give it another value: dpo.beta=VALUE",
        ),
        (["~seed"], "^seed is a setting and cannot be taken away with ~\n  give it another value: seed=VALUE$"),
        (["~seed=0"], "^seed is a setting and cannot be taken away with ~"),
        (
            ["+experiment=smoke"],
            "^an option of experiment is added .*\n  on the command line write experiment=smoke once",
        ),
        (["+experiment=smoke", "experiment=smoke"], "^an option of experiment is added .*without \\+"),
        (["+judge=mock"], "^an option of judge is added .*\n  on the command line write judge=mock once, without \\+"),
        (
            ["output_dir='${hydra:runtime.cwd}'"],
            "output_dir asks Hydra for a value .*\n  write the value; a relative path",
        ),
        (["model.kind=tiny_random", "model.path=x"], "^model.path=x is set, but model.kind=tiny_random is read"),
        (["evaluation=[alpaca_eval]"], "judge.model must be given: evaluation=alpaca_eval needs a judge"),
        (["evaluation=[mt_bench]", "judge=replay"], "judge.path must be given"),
        (["judge=replay", "judge.path=null"], "^judge.path=null: it needs a value\n  write judge.path=TEXT, or"),
        (["evaluation=[mt_bench]", "judge=replay", "judge.path=''"], "judge.path must be given"),
        (
            ["judge=replay", "judge.path=x", "judge.both_orders=true"],
            "^judge.both_orders is set, but judge=replay does not read it\n  it reads model, max_failure_rate, path$",
        ),
        (
            ["judge=replay", "judge.path=x", "+judge.temperature=0"],
            "^judge.temperature is set, but judge=replay does not read it\n  it reads model, max_failure_rate, path$",
        ),
        (["judge=reward_model", "++judge.parser=letters"], "judge.parser is set, but judge=reward_model does not read"),
        (["judge=mock", "judge={top_logprobs: 3}"], "^judge.top_logprobs is set, but judge=mock does not read it"),
        (["judge=mock", "++judge={path: x}"], "^judge.path is set, but judge=mock does not read it"),
        (["judge=replay", "judge.temprature=1"], "unknown key 'judge.temprature'.*did you mean 'judge.temperature'"),
        (["++judge={modle: x}"], "unknown key 'judge.modle'.*did you mean 'judge.model'"),
        (["data=pairs", "data.skills={}"], "^data.skills is set, but data=pairs does not read it\n  it reads aspects,"),
        (["data=pairs", "++data.skills={a: 1}"], "^data.skills is set, but data=pairs does not read it"),
        (["data=rated", "data.rating_noise=0"], "^data.rating_noise is set, but data=rated does not read it"),
        (["generation.base_url=x"], "generation.base_url is set, but generation=transformers does not read it"),
        (["evaluation=[mt_bench]", "judge.model=x", "judge.budget=3"], "judge.budget=3 cannot be kept without prices"),
        (["generation=openai", *(f"generation.{setting}" for setting in ENDPOINT)], "kl_prompts=16 needs token ids"),
        (["generation=openai"], "generation.base_url must be given"),
        (["evaluation=[preferences]", "evaluation.verifiable.prompts=3"], "not chosen"),
        (
            ["foo=1"],
            "unknown key 'foo'\n  known: annotators, calibrate, curation, data, dpo, evaluation, evaluation_split",
        ),
        (
            ["dpo.beta=0.1,0.2"],
            r"^dpo.beta=0.1,0.2 gives several values, and a single run takes one\n  add -m for an arm of each$",
        ),
        (["filters=small,none"], r"gives several values, and a single run takes one\n  add -m for an arm of each$"),
        (["until=pairs,policy"], r"gives several values, and a single run takes one\n  write until= with one of them$"),
        (
            ["evaluation=ifeval,verifiable"],
            r"add -m for an arm of each, or write 'evaluation=\[ifeval,verifiable\]' for",
        ),
        (["dpo.loss_type=sft,hinge"], r"add -m for an arm of each, or write 'dpo.loss_type=\[sft,hinge\]' for a list$"),
        (["tracking.project=a,b"], r"each, or write \"tracking.project='a,b'\" for a text with a comma$"),
        (["data=rated", "data.path=a,b"], r"each, or write \"data.path='a,b'\" for a text with a comma$"),
        (["dpo.beta=range(1,3)"], "gives several values, and a single run takes one\n  add -m for an arm of each$"),
        (
            ["data=rated", "data.path=runs/epoch=3.jsonl"],
            "^cannot read 'data.path=runs/epoch=3.jsonl'.*quote the value.*: \"data.path='runs/epoch=3.jsonl'\"$",
        ),
        (["tracking.project=a$b(c)"], r"for the shell: 'tracking.project='\"'\"'a\$b\(c\)'\"'\"''$"),
        (
            ["output_dir="],
            "^output_dir must be given, and is empty\n  write output_dir=PATH; the current folder is output_dir=.$",
        ),
        (["output_dir=' '"], "^output_dir must be given, and is empty"),
        (["data=rated", "data.path="], "^data.path must be given, and is empty"),
        (["dpo.loss_type=[sigmoid"], "write KEY=VALUE, quoted for the shell"),
        (["dpo.lr=1e-4"], "^unknown key 'dpo.lr'\n  did you mean 'dpo.learning_rate'?"),
        (["+dpo.lr=1e-4"], "^unknown key 'dpo.lr'\n  did you mean 'dpo.learning_rate'?"),
        (["foo.bar=1"], "^unknown key 'foo.bar'\n  known: "),
        (["+foo.bar=1"], "^unknown key 'foo.bar'\n  known: "),
        (["dpo.loss_type=sigmoid"], r"^dpo.loss_type=sigmoid is no list\n  write 'dpo.loss_type=\[sigmoid\]'$"),
        (["dpo.loss_weights=[a]"], r"^dpo.loss_weights: 'a' is no number\n  write 'dpo.loss_weights=\[NUMBER,...\]'$"),
        (["dpo.loss_type={a:1}"], r"^dpo.loss_type=\{a:1\} is no list\n  write 'dpo.loss_type=\[VALUE\]'$"),
        (["data.skills=a"], r"^data.skills=a is no mapping\n  write 'data.skills=\{NAME:VALUE\}'$"),
        (["seed=1.5"], "^seed=1.5 is no whole number\n  write seed=WHOLE_NUMBER$"),
        (["seed=null"], "^seed=null: it needs a value\n  write seed=WHOLE_NUMBER, or leave it out$"),
        (["until=train"], "^until=train is not an option\n  did you mean 'policy'?"),
        (["dpo.lora=8"], "^dpo.lora=8: it holds settings of its own\n  write one of dpo.lora.r=VALUE, dpo.lora.alpha="),
        (["hardware.offload=abc"], "^hardware.offload=abc is no yes or no\n  write hardware.offload=true, or false$"),
        (["data=3"], "^a group is given what is no name of an option"),
        (["hardware.processes=2"], "hardware.processes=2 needs another hardware.launch than plain"),
        (
            ["hardware.launch=accelerate"],
            "=accelerate is not an option\n  it is ddp now, or deepspeed with hardware.zero_",
        ),
        (["hardware.launch=fsdp"], "hardware.launch=fsdp is not an option\n  did you mean 'fsdp2'?"),
        (["hardware.launch=deepspeed"], "hardware.launch=deepspeed needs hardware.zero_stage"),
        (["hardware.launch=fsdp2", "hardware.zero_stage=3"], "zero_stage=3 needs hardware.launch=deepspeed"),
        (
            ["hardware.device_name=H10"],
            "hardware.device_name=H10: what such a device can do is not known\n  did you mean",
        ),
        (["hardware.launch=fsdp2", "dpo.optimizer=adafactor"], "adafactor does not go with hardware.launch=fsdp2"),
        (["hardware.launch=deepspeed", "hardware.zero_stage=0", "hardware.offload=true"], "offload=true does nothing"),
        (["hardware.launch=deepspeed", "hardware.zero_stage=0"], "zero_stage=0 shares nothing out"),
        (
            ["hardware.launch=ddp", "hardware.processes=4", "hardware.nodes=3"],
            "processes=4 does not divide by hardware.nodes",
        ),
        (["hardware.rendezvous=a:1"], "hardware.rendezvous=a:1 does nothing on one node"),
        (
            ["hardware.launch=ddp", "hardware.processes=4", "hardware.nodes=2", "hardware.rendezvous=host"],
            "hardware.rendezvous=host is no address\n  write hardware.rendezvous=HOST:PORT",
        ),
        (["hardware.launch=ddp", "hardware.device=mps"], "hardware.launch=ddp does not run on mps"),
        (["hardware.watchdog=0"], "hardware.watchdog=0.0 is out of range: it must be above 0"),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(overrides: list[str], words: str) -> None:
    try:
        composed(*overrides)
    except UserError as error:
        found = error
    except Exception as error:
        found = configuration.explain(error)
    else:
        pytest.fail("was accepted")
    text = str(found)
    assert re.search(words, text, re.S), text
    assert len(text.splitlines()) <= 2


def test_an_overlays_sizes_do_not_choose_an_evaluation() -> None:
    assert configuration.chosen_evaluations(composed("experiment=smoke")) == ["preferences", "verifiable"]
    assert configuration.chosen_evaluations(composed("experiment=smoke", "evaluation=[verifiable]")) == ["verifiable"]
    assert configuration.chosen_evaluations(composed("experiment=smoke", "evaluation=[]", "until=pairs")) == []


@pytest.mark.parametrize(
    ("group", "known"),
    [
        ("selection", "known: average, critique, expression, per_aspect, random, reversed, weighted"),
        ("rejected", "known: expression, lowest, random, second_best"),
        ("repair", "known: drop, none, openbmb"),
        ("generation", "known: openai, served, sglang, transformers, transformers_serve, vllm"),
        ("judge", "known: mock, openai, replay, reward_model"),
    ],
)
def test_an_own_option_of_a_name_that_no_code_knows_is_refused(group: str, known: str, tmp_path: Path) -> None:
    shipped = next(
        path
        for path in sorted((CONF / group).glob("*.yaml"))
        if path.stem not in ("openai", "served", "drop", "expression")
    )
    text = re.sub(r"(?m)^name: .*$", "name: zzz", shipped.read_text(encoding="utf-8"))
    (tmp_path / group).mkdir()
    (tmp_path / group / "zzz.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        composed(f"{group}=zzz", "until=config", own=tmp_path)
    assert str(error.value) == f"{group}.name=zzz is not an option\n  {known}"


def test_the_options_of_groups_that_code_tells_apart_are_those_that_it_knows() -> None:
    shipped = {group: {path.stem for path in (CONF / group).glob("*.yaml")} for group in ALTERNATIVES}
    shipped["data"] -= PRESETS  # files with a mapping, of which no code knows
    assert shipped == {group: {*options} for group, options in ALTERNATIVES.items()}


def test_a_groups_name_is_its_option() -> None:
    config = composed("selection=critique")
    configuration.check_choices(config, {"selection": "critique", "hardware": "auto", "filters": "small"})
    with pytest.raises(UserError, match=r"selection.name=critique cannot be set.*\n.*selection=critique"):
        configuration.check_choices(config, {"selection": "average"})


def test_known_keys_cover_every_option_of_a_group() -> None:
    keys = configuration.known_keys()
    assert {"dpo.lora.r", "data.path", "data.skills", "data.prompt_column", "seed"} <= set(keys)
    assert {"generation.base_url", "judge.path", "judge.max_length", "judge.budget", "judge.base_url"} <= set(keys)


def test_an_overlay_that_sets_what_the_chosen_option_does_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\njudge: {temperature: 1}\n", encoding="utf-8")
    assert composed("experiment=mine", "judge=mock", own=tmp_path).judge == replace(
        composed("judge=mock").judge, temperature=1
    )
    with pytest.raises(ConfigCompositionException) as error:
        composed("experiment=mine", "judge=replay", "judge.path=x", own=tmp_path)
    assert str(configuration.explain(error.value)) == (
        "experiment/mine does not fit the other choices: judge.temperature is set, but judge=replay does not read it"
        "\n  it reads model, max_failure_rate, path"
    )


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--help"]])
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import os, sys, runpy, atexit\n"
        "told = os.fdopen(os.dup(2), 'w')\n"  # what is said at the end is turned aside
        f"sys.argv = ['notus_exp', *{arguments!r}]\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=told, flush=True))\n"
        "runpy.run_module('notus_exp', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0
    assert "HEAVY []" in done.stderr
    assert not list(tmp_path.iterdir()), "a light command leaves nothing behind"


@pytest.mark.parametrize(
    "module",
    [
        *("config.schema", "config.loading", "errors", "disk.artifacts", "disk.events", "evaluation.catalogue"),
        *("run.pipeline", "run.plan", "run.record", "run.execution", "run.sources", "run.outcome"),
    ],
)
def test_parent_modules_import_no_training_library(module: str) -> None:
    code = f"import sys, notus_exp.{module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_printed_config_holds_no_interpolated_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-the-test")
    assert "secret-of-the-test" not in OmegaConf.to_yaml(OmegaConf.structured(composed()))


def test_a_templates_date_is_a_day() -> None:
    config = composed("model.template_date=2024-07-26")
    assert config.model.template_date == "2024-07-26"
    for day in ("2024-02-30", "20240726", "today", "2024-7-26", ""):
        config.model.template_date = day
        with pytest.raises(UserError, match=rf"model\.template_date={day} is no day"):
            configuration.check_together(config)


@pytest.mark.parametrize("experiment", ["notus_7b_v1", "notus_7b_v1_lora", "zephyr_7b_beta"])
def test_a_recipe_that_reproduces_a_publication_keeps_what_it_was_trained_on(experiment: str) -> None:
    assert composed(f"experiment={experiment}", "hardware=a100_8x40gb").dpo.special_tokens.name == "keep"


@pytest.mark.parametrize(("key", "option"), [("model.hub_id", "model=hub"), ("data.hub_id", "data=rated")])
def test_an_address_in_the_place_of_a_name_on_the_hub_is_refused_and_not_shown(key: str, option: str) -> None:
    for name in ("https://me:hunter2@host/a/b", "a/b/c", "a b", "hunter2@a/b"):
        with pytest.raises(UserError, match=rf"{key} is no name on the hub\n.*OWNER/NAME") as error:
            composed(option, f"{key}='{name}'")
        assert "hunter2" not in str(error.value)
    for name in ("gpt2", "HuggingFaceTB/SmolLM2-135M", "a.b/c_d"):
        composed(option, f"{key}={name}")


def test_a_path_of_a_file_that_the_kind_of_model_does_not_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nmodel: {kind: tiny_random, path: /x}\n"
    (tmp_path / "experiment/mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"model\.path=/x is set, but model\.kind=tiny_random(.|\n)*model=local"):
        composed("experiment=mine", own=tmp_path)


def test_an_option_behind_a_byte_order_mark_says_so(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 5\n", encoding="utf-8-sig")
    with pytest.raises(UserError, match=r"mine\.yaml begins with a byte order mark \(BOM\)\n.*UTF-8 without"):
        composed("experiment=mine", own=tmp_path)
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 5\n", encoding="utf-8")
    assert composed("experiment=mine", own=tmp_path).seed == 5
