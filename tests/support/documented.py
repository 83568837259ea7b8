"""How each command of README and docs is tried: as it stands, small in a slow test, or not, with the reason.

A new command in the Markdown is added here, or `test_every_command_of_the_pages_is_listed` fails.
"""

from __future__ import annotations

import re

SMOKE = ("experiment=smoke",)
TINY = (*SMOKE, "study.seeds=[0,1]")
ON_THE_HUB = ("--base", "hub:somebody/a-model@" + "0" * 40)
"""Says of a model that no hub has where it would be."""

AS_IT_STANDS = [
    "python -m notus_exp --help",
    "python -m notus_exp --cfg job",
    "python -m notus_exp hardware=cpu until=config",
    "python -m notus_exp hardware=gpu until=config",
    "python -m notus_exp hardware=cpu hardware.launch=ddp hardware.processes=2 until=config",
    "python -m notus_exp experiment=notus_7b_v1 hardware=h100_8 until=config",
    "python -m notus_exp experiment=notus_7b_v1 hardware=gpu until=config",
    "python -m notus_exp experiment=smoke until=config",
    "python -m notus_exp filters.where=\"chosen_model <> 'gpt-4' AND chosen_chars < 2000\" until=config",
    "python -m notus_exp experiment=notus_7b_v1 until=config",
    "python -m notus_exp experiment=notus_7b_v1 hardware=a100_8x40gb until=config",
    "python -m notus_exp dpo=kto dpo.precision=float32 until=config",
    "python -m notus_exp 'dpo.loss_type=[sft]' until=config",
    "python -m notus_exp sft=chosen until=config",
    "python -m notus_exp experiment=zephyr_7b_from_scratch hardware=h100_8 until=config",
    "python -m notus_exp dpo.algorithm=simpo 'dpo.loss_type=[]' dpo.beta=2.0 until=config",
    "python -m notus_exp experiment=smoke dpo=lora generation=vllm evaluation.verifiable.kl_prompts=0 until=config",
    "python -m notus_exp experiment=smoke generation=served until=config evaluation.verifiable.kl_prompts=0"
    " 'generation.command=vllm serve {model} --port {port} --host 127.0.0.1 --served-model-name base'"
    " 'generation.adapter=--enable-lora --max-lora-rank {rank} --lora-modules policy={adapter}'",
    "python -m notus_exp study=beta_search until=config",
    "python -m notus_exp -m experiment=smoke selection=critique,average rejected=random,lowest seed=0,1"
    " study.name=tutorial until=config",
    "python -m notus_exp --config-dir mine experiment=safe until=config",
    'python -m notus_exp selection=expression selection.score="0.5 * helpfulness + honesty" filters.where="margin >= 1"'
    " until=config",
    "python -m notus_exp --config-dir mine study=rejection until=config",
    "python -m notus_exp data=made 'data.prompts={data: prompts, path: asked.jsonl}'"
    " data.max_prompts=1000 data.budget=20 until=config 'data.judge={judge: openai, model: NAME,"
    ' base_url: "http://localhost:8000/v1", input_price: 0.5, output_price: 1.5}\''
    " 'data.writers=[{name: own}, {name: hot, temperature: 1.3}, {name: cold, temperature: 0.2},"
    ' {name: hosted, base_url: "http://localhost:8001/v1", model: NAME, input_price: 0.1,'
    " output_price: 0.4}]'",
    "python -m notus_exp 'annotators=[{name: helpful, judge: openai, model: NAME, rubric: helpfulness}]'"
    " selection=expression selection.score=helpful until=config",
    "python -m notus_exp --config-dir mine data=mine data.path=answers.jsonl selection=critique until=config",
    "python -m notus_exp.compare outputs/studies/mine",
    "python -m notus_exp.compare outputs/studies/mine --baseline average --margin 0.02",
    "python -m notus_exp.power --pilot outputs/studies/mine",
    "python -m notus_exp.power --pilot outputs/studies/mine --effect 0.05",
    "python -m notus_exp.power --prompt-sd 0.4 --seed-sd 0.01 --residual-sd 0.3 --effect 0.05",
    "python -m notus_exp.artifacts list",
    "python -m notus_exp.artifacts prune",
    "python -m notus_exp.score alpaca_eval annotations.json",
    "python -m notus_exp.score alpaca_eval preferences.csv:notus-7b-v1 preferences.csv:zephyr-7b-beta --paired",
    "python -m notus_exp.score mt_bench judgments.jsonl",
    "python -m notus_exp.score ifeval responses.jsonl prompts.jsonl --exclude 1122,1129",
    "python -m notus_exp.compare --verdicts preferences.csv --alpaca-eval --baseline zephyr-7b-beta --margin 3,2",
]
"""Run by `make test`, in a folder that has the files that they name."""

SLOW: dict[str, tuple[str, ...]] = {
    # the tutorial, in its order
    "python -m notus_exp experiment=smoke": (),
    "python -m notus_exp experiment=smoke selection=critique": (),
    "python -m notus_exp -m experiment=smoke selection=critique,average rejected=random,lowest seed=0,1"
    " study.name=tutorial": (),
    "python -m notus_exp.compare outputs/studies/tutorial --baseline average,lowest": (),
    "python -m notus_exp.power --pilot outputs/studies/tutorial --effect 0.1": (),
    "python -m notus_exp -m selection=critique,average seed=0,1,2 study.metric=verifiable/strict study.margin=0.05"
    " study.name=first": SMOKE,
    # README
    "make run": (),
    'make run ARGS="experiment=smoke"': (),
    "python -m notus_exp selection=average dpo.beta=0.1": SMOKE,
    "python -m notus_exp seed=0": SMOKE,
    "python -m notus_exp -m data=rated data.path=rated.jsonl data.overall_column=overall selection=critique,average"
    " seed=0,1,2 'filters.valid_under=[critique,average]' study.metric=verifiable/strict study.margin=0.05"
    " study.name=mine": SMOKE,
    # Weights & Biases
    "python -m notus_exp -m selection=critique,average seed=0,1,2 study.name=mine": (*SMOKE, "study.name=tracked"),
    "python -m notus_exp.track outputs/studies/mine": (),
    "python -m notus_exp.track outputs/studies/mine --json": (),
    "python -m notus_exp.track STUDY": (),
    # own data
    "python -m notus_exp data=rated data.path=rated.jsonl until=pairs": (),
    "python -m notus_exp data=rated data.path=other.jsonl data.prompt_column=question data.response_column=answer"
    " 'data.aspects=[quality,safety]' data.overall_column=overall until=pairs": (),
    "python -m notus_exp data=ultrafeedback data.path=ultrafeedback.jsonl selection=average rejected=lowest"
    " until=pairs": (),
    "python -m notus_exp data=ultrafeedback data.path=ultrafeedback.jsonl selection=critique repair=openbmb"
    " until=pairs": (),
    "python -m notus_exp data=pairs data.path=pairs.jsonl selection=critique until=pairs": (),
    "python -m notus_exp data=pairs data.path=scored.jsonl selection=critique data.chosen_score_column=score_chosen"
    " data.rejected_score_column=score_rejected until=pairs": (),
    "python -m notus_exp data=trl data.path=pairs.jsonl selection=critique until=pairs": (),
    "python -m notus_exp data=mapped data.path=other.jsonl selection=critique until=pairs"
    " 'data.mapping={prompt: question, completions: [{text: answer, score: overall}]}'": (),
    "python -m notus_exp data=mapped data.path=scored.jsonl selection=critique until=pairs"
    " 'data.mapping.completions=[{text: chosen, score: score_chosen}, {text: rejected, score: score_rejected}]'": (),
    "python -m notus_exp data=pairs data.path=clone data.hub_split=train selection=critique until=pairs": (),
    "python -m notus_exp data=mix selection=critique until=pairs 'data.sources=[{data: rated, path: rated.jsonl,"
    " weight: 0.7}, {data: pairs, path: pairs.jsonl, weight: 0.3}]'": (),
    "python -m notus_exp data=rated data.path=rated.jsonl dpo.max_length=1024 dpo.max_prompt_length=512"
    " filters=default": SMOKE,
    # options
    "python -m notus_exp selection=weighted 'selection.weights={helpfulness: 2.0, truthfulness: 1.0}' until=pairs": (),
    "python -m notus_exp filters.min_chars=40 filters.min_margin=0.5 until=pairs": (),
    "python -m notus_exp 'filters.contamination.files=[benchmark.jsonl]' until=pairs": (),
    # probes
    "python -m notus_exp split.folds=2 split.fold=0 until=policy": SMOKE,
    "python -m notus_exp split.folds=2 split.fold=1 until=policy": SMOKE,
    # a supervised training first
    "python -m notus_exp sft=chat sft.path=chats.jsonl sft.max_conversations=2000": SMOKE,
    # studies and searches
    "python -m notus_exp study=curation until=config": ("calibrate=never",),
    "python -m notus_exp study=claims until=config": ("calibrate=never",),
    "python -m notus_exp study=claims_overall until=config": ("calibrate=never", "study.seeds=[0]"),
    "python -m notus_exp --config-dir mine study=tries until=config": ("calibrate=never",),
    "python -m notus_exp study=curation": TINY,
    "python -m notus_exp study=acceptance": (),
    "python -m notus_exp -m selection=critique,average dpo.beta=0.05,0.1 seed=0,1,2 study.name=grid": SMOKE,
    "python -m notus_exp study=curation 'study.tune=[dpo.beta]'": (
        *TINY,
        "study.name=tuned",
        "study.tuning.values={dpo.beta: [0.1, 0.3]}",
    ),
    "python -m notus_exp study=beta_search experiment=smoke": (),
    "python -m notus_exp study=beta_search": (*SMOKE, "study.name=another", "study.search.trials=2"),
    # feedback made here
    "python -m notus_exp experiment=smoke data=made data.prompts.prompts=60 data.per_prompt=3"
    " 'data.judge={judge: mock, verdicts_by: constraints}' until=pairs 'data.writers=[{name: cool, temperature: 0.5,"
    " max_new_tokens: 48}, {name: warm, max_new_tokens: 48}, {name: good, simulated: 0.9}, {name:"
    " weak, simulated: 0.2}]'": (),
    "python -m notus_exp experiment=smoke data=made data.prompts.prompts=60 data.per_prompt=3"
    " 'data.judge={judge: mock, verdicts_by: constraints}' rounds=2 'data.writers=[{name: cool, temperature: 0.5,"
    " max_new_tokens: 48}, {name: warm, max_new_tokens: 48}, {name: good, simulated: 0.9}, {name:"
    " weak, simulated: 0.2}]'": (),
    "python -m notus_exp study=on_policy": (*TINY, "data.prompts.prompts=60"),
    # judges and annotators
    "python -m notus_exp experiment=smoke data.prompts=50 until=annotations 'annotators=[{name: rated, judge: mock,"
    " rubric: honesty}, {name: duel, judge: mock, pairs: true}]'": (),
    "python -m notus_exp experiment=smoke data.prompts=50 until=annotations judge=mock judge.verdicts_by=constraints"
    " 'annotators=[{name: follows, rubric: instruction_following, together: true}, {name: critic,"
    " form: critique}]'": (),
    "python -m notus_exp experiment=smoke 'evaluation=[alpaca_eval]' evaluation.alpaca_eval.prompts=alpaca.json"
    " judge=mock evaluation.alpaca_eval.max_new_tokens=64": (),
    # what came out
    "python -m notus_exp.artifacts verify": (),
    "python -m notus_exp.runs list": (),
    "python -m notus_exp.runs show RUN": (),
    "python -m notus_exp.runs diff A B": (),
    "python -m notus_exp.runs pairs RUN --flips OTHER": (),
    # handing over
    "python -m notus_exp.export RUN --to pairs --format trl --data-only": (),
    "python -m notus_exp.export STUDY --to winner --format h4 --merge": ("--arm", "average"),
    "python -m notus_exp.export RUN --to handed --format openbmb --data-only": (),
    "python -m notus_exp data=ultrafeedback data.path=handed/data selection=critique until=pairs": (),
    "python -m notus_exp.export RUN --to recipe --format axolotl": ON_THE_HUB,
    "python -m notus_exp.export RUN --to factory --format llama_factory": ON_THE_HUB,
    "python -m notus_exp.runs feedback RUN": (),
    "python -m notus_exp.chat RUN": (),
    "python -m notus_exp.chat RUN --temperature 0.7 --seed 1": (),
}
"""Run by `make slow` with these overrides on top or instead, one after the other in one folder.

`make test` looks at the plans of the single runs among them.
"""

UNTRIED = {
    "GPU: a model of 7 billion parameters": [
        "python -m notus_exp experiment=notus_7b_v1 hardware=gpu",
        "python -m notus_exp model=zephyr_7b_sft dpo=qlora hardware=gpu_24gb until=config",
        "python -m notus_exp experiment=notus_7b_v1 'evaluation=[alpaca_eval,mt_bench,ifeval]' judge.model=gpt-4-0613"
        " judge.input_price=30 judge.output_price=60 judge.budget=40",
    ],
    "is tried by another test: with a model of its own, in tests/run/test_published_recipe.py": [
        "python -m notus_exp experiment=notus_7b_v1 model=local model.path=FOLDER data=simulated data.prompts=120"
        " split.validation=0.1 split.test=0.1 hardware=cpu hardware.launch=fsdp2 hardware.processes=2",
    ],
    "GPU: with a model of one's own": [
        "python -m notus_exp hardware=gpu model=local model.path=FOLDER dpo=lora dpo.precision=bfloat16",
        "python -m notus_exp hardware=gpu tracking=none model=local model.path=FOLDER dpo=lora dpo.precision=bfloat16"
        " dpo.epochs=1 dpo.global_batch_size=32 filters.max_pairs=256 dpo.max_length=512 dpo.max_prompt_length=384"
        " data.prompts=2000 evaluation.preferences.max_prompts=64 evaluation.verifiable.prompts=32"
        " evaluation.verifiable.max_new_tokens=48 evaluation.verifiable.kl_prompts=8",
    ],
    "hub: prompts are downloaded": [
        "python -m notus_exp 'evaluation=[alpaca_eval,mt_bench]' judge=mock",
        "python -m notus_exp 'evaluation=[alpaca_eval]' judge.base_url=http://localhost:8000/v1 judge.model=NAME",
    ],
    "hours: three seeds of many arms": [
        "python -m notus_exp study=claims",
        "python -m notus_exp study=data_efficiency",
        "python -m notus_exp curation=notus seed=1000 split.folds=2 split.fold=0 until=policy",
        "python -m notus_exp curation=notus seed=1000 split.folds=2 split.fold=1 until=policy",
        "python -m notus_exp study=claims_probed 'scores=[{runs: [A, B]}]'",
    ],
    "cluster: Slurm": [
        "python -m notus_exp study=beta_search study.search.concurrency=4 hydra/launcher=submitit_slurm",
        "python -m notus_exp study=curation hydra/launcher=submitit_slurm",
        "python -m notus_exp hydra/launcher=submitit_slurm --cfg hydra -p hydra.launcher",
        "python -m notus_exp study=acceptance hydra/launcher=submitit_slurm hydra.launcher.timeout_min=1440"
        " hydra.launcher.max_num_timeout=20 hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1",
        "python -m notus_exp study=acceptance hydra/launcher=ray hydra.launcher.ray.init.address=HEAD:6379",
    ],
    "is tried by make test-engines, on servers of its own": [
        "python -m notus_exp study=acceptance hydra/launcher=submitit_slurm",
        "python -m notus_exp study=acceptance hydra/launcher=ray",
        "python -m notus_exp study=beta_search study.search.storage=postgresql://me@host/db",
        "optuna-dashboard postgresql+psycopg://me@host/db",
    ],
    "account: W&B, a judge or a database": [
        "export OPENAI_API_KEY=...",
        "export WANDB_API_KEY=...",
        "export NOTUS_EXP_STORAGE=postgresql://me:...@host/db",
        "wandb sync --yes outputs/*/*/wandb/offline-run-*",
    ],
    "installs packages from the network": [
        "make install",
        "make test-engines",
        "make PYTHON=python3.12 install",
        ". .venv/bin/activate",
        "pip install 'notus-exp[lm_eval]'",
        "pip install 'notus-exp[bitsandbytes]'",
        "pip install 'notus-exp[slurm]'",
        "pip install 'notus-exp[ray]'",
        "pip install 'notus-exp[postgresql]'",
        "pip install 'notus-exp[dashboard]'",
        "pip install 'notus-exp[workspace]'",
        "pip install pre-commit && pre-commit install",
    ],
    "a server that does not end, of an extra": [
        "optuna-dashboard sqlite:///outputs/studies/beta_search/optuna.db",
    ],
    "is tried by another test: of a run of several rounds, in tests/run/test_rounds_pipeline.py": [
        "python -m notus_exp.runs rounds RUN",
    ],
    "is tried by another test: a pipe is talked with, in tests/talking/test_chat.py": [
        "python -m notus_exp.chat RUN --fresh < prompts.txt",
    ],
    "is tried by another test: the shell itself is asked, in tests/config/test_completing.py": [
        'eval "$(python -m notus_exp -sc install=bash)"',
    ],
    "is tried by another test: smaller, in tests/run/test_made_rounds.py": [
        "python -m notus_exp data=made rounds=2 sft=chosen data.prompts.prompts=120 data.per_prompt=3"
        " 'data.judge={judge: mock, verdicts_by: constraints}' 'data.writers=[{name: cool, temperature: 0.3,"
        " max_new_tokens: 48}, {name: hot, temperature: 1.2, max_new_tokens: 48}, {name: good, simulated: 0.9},"
        " {name: weak, simulated: 0.2}]'",
    ],
    "is what runs these very tests, or runs before them": [
        "make test",
        "make check",
        "make docs",
        "make test-processes",
    ],
    "draws pictures of these pages anew, into docs": [
        "make pictures",
        "PYTHONPATH=.:tests python benchmarks/wandb_picture.py ARMS SEARCH",
    ],
    "is tried by another test: on a stand-in of the hub, in tests/exporting/test_hub_push.py": [
        "python -m notus_exp.export RUN --to pushed --format h4 --push hub:ORG/NAME",
    ],
    "is tried with fewer prompts and steps: study=on_policy, above": [
        "python -m notus_exp study=on_policy 'study.seeds=[0,1]'",
    ],
    "hours: reports anew what benchmarks/worlds.py left": [
        "python -m notus_exp.compare outputs/studies/world_neither",
    ],
}
"""Reason -> commands that no test runs. The plans of runs among them are looked at where they can be."""

UNPLANNED = re.compile(r"data\.path=handed|model\.path=FOLDER|dpo=qlora|hydra/launcher=|storage=postgresql:")
"""What cannot even be planned: without the model or the extra, or before an earlier command of SLOW has left it."""

BENCHMARK = re.compile(r"python (benchmarks/\w+\.py)(.*)")
"""Takes minutes to hours, and the page holds what it found; that the script has the options is checked."""


def why_untried() -> dict[str, str]:
    """Return each command that no test runs with its reason."""
    return {command: reason for reason, listed in UNTRIED.items() for command in listed}
