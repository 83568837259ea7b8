"""Whatever is wrong on a command line is one error with a remedy, in none of the words of Hydra or OmegaConf."""

from __future__ import annotations

import re

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from notus_exp.config import commandline
from notus_exp.config.explaining import explain
from notus_exp.errors import UserError
from notus_exp.run.outcome import load
from support.configs import composed_by_hydra

RAW = re.compile(
    r"Could not|[Oo]verride|OmegaConf|is not a valid input|Interpolation|\benum\b|NoneType|type '|DictConfig|AnyNode|"
    r"converted|struct\b|full_key|Traceback|typing\.|Ambiguous|force-add|<|Invalid"
)
"""Words of Hydra, OmegaConf and Python that say nothing to who set a value."""


def said(*arguments: str) -> str:
    """Return what the command would say of arguments, without running anything."""
    overrides: list[str] = []
    try:
        commandline.check_arguments(arguments)
        flags, overrides = commandline.split(arguments)
        commandline.check_flags(flags)
        commandline.check_repeated(overrides)
        load(composed_by_hydra(*overrides), {}, overrides)
    except UserError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException, ValueError, AssertionError) as error:
        return str(explain(error, overrides))
    pytest.fail("was accepted")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # keys
        ("=average", "an argument has no key before its '='"),
        ("~foo", "~foo: there is no 'foo' as given"),
        ("~", "an argument has ~ and no key behind it"),
        ("+dpo.beta=0.3", "there is dpo.beta already\n  write dpo.beta=0.3, without +"),
        ("selection=weighted +selection.weights.honesty=2", "write selection.weights.honesty=2, without +"),
        ("++selection=critique", "write selection=critique"),
        ("foo@bar=1", "'foo' is no group with an option to choose"),
        ("selection@dpo=average", "'selection@dpo' is no group with an option to choose"),
        ("+selection@dpo=average", "selection/average does not fit the other choices"),
        ("dpo.beta.x=0.1", "unknown key 'dpo.beta.x': dpo.beta holds no settings\n  write dpo.beta=NUMBER"),
        ("+dpo.beta.x.y=0.1", "unknown key 'dpo.beta.x.y': dpo.beta holds no settings"),
        ("experimnt=smoke", "did you mean 'experiment'?"),
        ("experiment={a:1}", "experiment={a:1} is no name of an option"),
        ("+study.grid.dpo.beta=[1]", "here '+study.grid={dpo.beta: [1]}'"),
        ("--dry-run", "until=config shows the plan and runs nothing"),
        # options
        ("until=[pairs]", "until=[pairs] is not an option\n  write until=pairs"),
        ("until={a:1}", "until={a:1} is not an option\n  one of config"),
        ("until=3", "until=3 is not an option\n  one of config"),
        ("until=null", "until=null: it needs a value\n  write until=config or responses or"),
        ("dpo.precision=[float32]", "write dpo.precision=float32"),
        ("evaluation=3", "evaluation=3 is no name of an option"),
        ("evaluation=null", "evaluation=null: a group cannot be null"),
        ("evaluation=[[preferences]]", "a list with what is no name of an option"),
        ("evaluation=[null]", "a list with what is no name of an option"),
        ("evaluation=???", "evaluation must be given\n  add evaluation=NAME"),
        ("evaluation=[preferences,preferences]", "names preferences twice\n  name each evaluation once"),
        ("evaluation={preferences:1}", "write 'evaluation=[NAME,...]' with some of preferences, verifiable"),
        ("evaluation.preferences=null", "choose the others: 'evaluation=[verifiable]'"),
        (
            "evaluation.alpaca_eval.max_new_tokens=5",
            "evaluation.alpaca_eval.max_new_tokens=5 is set, but evaluation.alpaca_eval is not chosen\n"
            "  add it: 'evaluation=[preferences,verifiable,alpaca_eval]'",
        ),
        ("data=x.jsonl", "data=x.jsonl is not an option\n  a file or folder is read with data=rated data.path=x.jsonl"),
        (
            "data=/a/x.jsonl",
            "data=/a/x.jsonl is not an option\n  a file or folder is read with data=rated data.path=/a/",
        ),
        ("data=me/mine", "read with data=rated data.hub_id=me/mine"),
        ("data.path=x.jsonl", "choose what reads it too: data=ultrafeedback or data=rated or data=pairs"),
        (
            "model=me/mine",
            "model=me/mine is not an option\n  a model of the hub is read with model=hub model.hub_id=me/",
        ),
        ("model=./mine", "a folder is read with model=local model.path=./mine"),
        ("model=gpt2", "a model of that name is model=hub model.hub_id=gpt2"),
        ("model.hub_id=me/mine", "choose model=hub too, or leave model.hub_id out"),
        ("judge=gpt-4", "a model of that name is judge=openai judge.model=gpt-4"),
        ("judge.model=gpt-4", "no chosen evaluation asks the judge\n  add one of alpaca_eval, mt_bench, such as"),
        ("hydra/launcher=slurm", "hydra/launcher=submitit_slurm"),
        ("hydra/launcher=joblib", "submitit_slurm (pip install 'notus-exp[slurm]')"),
        # values
        ("dpo={beta:abc}", "dpo.beta=abc is no number"),
        ("dpo.learning_rate=0,0001", "write dpo.learning_rate=0.0001 for a decimal point, or add -m"),
        ("study.margin=0,05", "write study.margin=0.05 for a decimal point"),
        ("dpo.lora.target_modules=[a,null]", "write 'dpo.lora.target_modules=[TEXT,...]', or leave it out"),
        (
            "evaluation=[ifeval] evaluation.ifeval.exclude=[a]",
            "'a' is no whole number\n  write 'evaluation.ifeval.excl",
        ),
        ("seed=0-2", "seed=0-2 is no whole number\n  with -m write seed=0,1,2, for a run of each"),
        ("study.seeds=3", "write 'study.seeds=[0,1,2]' for 3 seeds, or 'study.seeds=[3]' for seed 3 alone"),
        ("study.seeds=0-2", "write 'study.seeds=[0,1,2]'"),
        ("selection=weighted selection.weights=0.5", "write 'selection.weights={NAME:VALUE}'"),
        ("selection=weighted selection.weights.honesty=abc", "selection.weights.honesty=abc is no number"),
        ("selection=weighted selection.weights.honesty=[1]", "selection.weights.honesty=[1] is no number"),
        ("selection=weighted selection.weights={honesty:abc}", "selection.weights.honesty=abc is no number"),
        ("selection=weighted selection.weights={honsty:2}", "names 'honsty', which"),
        ("selection=weighted selection.weights.honsty=2", "unknown entry of selection.weights: 'honsty'"),
        ("selection=weighted ~selection.weights.honsty", "--cfg job prints what is in selection.weights"),
        ("+study.arms={a:3}", "study.arms.a=3 is no list\n  write '+study.arms={a: [3]}'"),
        ("+study.arms={a:[{b:1}]}", "study.arms.a"),
        ("study.tuning.values={dpo.beta:3}", "study.tuning.values.dpo.beta"),
        # references
        ("dpo.beta=${foo}", "dpo.beta refers to ${foo}, and there is no such setting"),
        ("dpo.beta=${dpo.beta}", "dpo.beta refers by ${...} to itself"),
        ("dpo.beta=${oc.nothing:x}", "dpo.beta asks for a value by a ${NAME:...} that there is not"),
        ("seed=${split}", "${split}, whose value it cannot take"),
        ("output_dir=${foo}", "output_dir refers to ${foo}"),
    ],
)
def test_a_wrong_command_line_is_one_error_in_our_words_with_a_remedy(arguments: str, words: str) -> None:
    text = said(*arguments.split())
    assert words in text
    assert not RAW.search(text), text
    message, hint = text.split("\n  ")
    assert message
    assert hint


def test_what_nobody_foresaw_is_said_without_the_words_of_a_library() -> None:
    for error in (HydraException("Could not frob 'x' (NoneType)"), ValidationError("Value <enum> is of type 'z'")):
        text = str(explain(error, ["seed=1"]))
        assert not RAW.search(text)
        assert "KEY=VALUE" in text
