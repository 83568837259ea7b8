"""What a study costs beside as many plain TRL scripts, and one run beside one script: wall times, in one go.

    python benchmarks/sweep.py                     # SmolLM2-135M, three quarters of an hour on two idle cores
    python benchmarks/sweep.py --model tiny --pairs 16 --test-prompts 8      # does it work? (minutes; proves nothing)

Six arms (selection critique and average, dpo.beta 0.05, 0.1 and 0.3; one seed) run as one study, and as six processes
of `plain_trl.py`, which does the same work on the same file: curate, train on as many pairs in as many steps, score
base and tuned policy on the same held-out completions and questions. No figure is printed unless the counts of both
sides agree, and the mean log-prob that both find under the base model. Half of the scripts run before the study and
half after it, so that a machine that gets slower meets both. The base model is converted once, before any clock
starts. The scripts share the cache of `datasets`.

Imports are measured in the same processes: Python notes the time of each import (PYTHONPROFILEIMPORTTIME, set for both
sides), and the second part subtracts the sum over all processes of a side from its wall time. The exit code is 1 where
the study takes more than 0.60 of the scripts' time, or a run more than 1.00 of a script's after imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from sweep_data import ROOT, Material, Sizes, environment, options, prepare
from sweep_work import Timed, command_imports, framework_work, import_seconds, join, script_work, worker_imports

from notus_exp.contracts.run_file import read_run_file

SELECTIONS, BETAS, SEED = ("critique", "average"), ("0.05", "0.1", "0.3"), 0
ARMS = [(selection, beta) for selection in SELECTIONS for beta in BETAS]
ALONE = ("average", "0.1")
MOST_SWEEP, MOST_SINGLE = 0.60, 1.00
METRICS = ("preferences/accuracy/average", "preferences/accuracy/critique", "verifiable/strict")
WORK = {
    "reference log-probs of the pairs": "reference",
    "base model: log-probs and answers": "base",
    "training, without the reference": "training",
    "policies: log-probs and answers": "policy",
    "curation": "curation",
    "imports of torch and the rest": "imports",
}
"""Kinds of work, as the table names them."""
MOST_DIFFERENCE = 1e-3
"""Nats by which the mean log-probs of the base model may differ: batches round otherwise."""


class Done(NamedTuple):
    """A command's wall time and processor time in seconds, and what it wrote."""

    wall: float
    cpu: float
    text: str


def timed(command: Sequence[str], log: Path, **variables: str) -> Done:
    """Run a command to its end; what it writes is kept in `log`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w", encoding="utf-8") as output:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env={**environment(), **variables}, stdout=output, stderr=output
        )
        seconds = time.perf_counter() - start
    text = log.read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        told = [line for line in text.splitlines() if not line.startswith("import time:")]
        raise SystemExit(f"{' '.join(command)} failed, see {log}:\n" + "\n".join(told[-20:]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of children that have ended, theirs included
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(seconds, cpu, text)


# --------------------------------------------------------------------------------------------------------------- sides
def run_scripts(arms: Sequence[tuple[str, str]], material: Material, sizes: Sizes, folder: Path) -> Timed:
    """Run a script for each arm, one after the other; `folder` also holds the cache of `datasets` that they share."""
    wall, cpu, imports, results = 0.0, 0.0, 0.0, []
    for selection, beta in arms:
        place = folder / f"{selection}-{beta}"
        place.mkdir(parents=True)
        content = script_settings(material, sizes, selection, float(beta), place)
        (place / "settings.json").write_text(json.dumps(content), encoding="utf-8")
        command = ["benchmarks/plain_trl.py", str(place / "settings.json"), str(place / "result.json")]
        done = timed(command, place / "log", HF_DATASETS_CACHE=str(folder / "cache"))
        wall, cpu, imports = wall + done.wall, cpu + done.cpu, imports + import_seconds(done.text)
        results.append(json.loads((place / "result.json").read_text(encoding="utf-8")))
        say(f"script {selection} {beta}: {done.wall:.1f} s, of them imports {import_seconds(done.text):.1f}")
    return Timed(wall, cpu, imports, script_work(results), results)


def script_settings(material: Material, sizes: Sizes, selection: str, beta: float, folder: Path) -> dict[str, Any]:
    """Return the settings that the plain script reads for one arm."""
    config = material.config
    return {
        "feedback": str(material.feedback),
        "questions": str(material.questions),
        "model": str(material.base_model / "model"),
        "folder": str(folder / "adapter"),
        "selection": selection,
        "beta": beta,
        "seed": SEED,
        "system": config["model"]["system_prompt"],
        "pairs": sizes.pairs,
        "validation_pairs": sizes.validation_pairs,
        "test_prompts": sizes.test_prompts,
        "max_new_tokens": config["evaluation"]["verifiable"]["max_new_tokens"],
        "recipe": config["dpo"],
    }


def run_study(material: Material, sizes: Sizes, model: str, folder: Path) -> Timed:
    """Run the six arms as one study."""
    axes = [f"selection={','.join(SELECTIONS)}", f"dpo.beta={','.join(BETAS)}", f"seed={SEED}", "study.name=cost"]
    return run_framework(["-m", *axes], material, sizes, model, folder)


def run_alone(material: Material, sizes: Sizes, model: str, folder: Path) -> Timed:
    """Run one arm by itself."""
    selection, beta = ALONE
    return run_framework([f"selection={selection}", f"dpo.beta={beta}", f"seed={SEED}"], material, sizes, model, folder)


def run_framework(what: list[str], material: Material, sizes: Sizes, model: str, folder: Path) -> Timed:
    """Run the framework in an empty output folder that holds the converted base model alone."""
    outputs = folder / "outputs"
    material.into(outputs)
    command = ["-m", "notus_exp", *what, *options(sizes, model, material.feedback), f"output_dir={outputs}"]
    done = timed(command, folder / "log")
    imports = import_seconds(done.text) + command_imports(outputs) + sum(worker_imports(outputs).values())
    results = [run_result(outputs, path) for path in sorted(outputs.glob("runs/*/run.json"))]
    say(f"framework, {len(results)} run(s): {done.wall:.1f} s, of them imports {imports:.1f}")
    return Timed(done.wall, done.cpu, imports, framework_work(outputs), results)


def run_result(outputs: Path, path: Path) -> dict[str, Any]:
    """Return what a script's result holds, of one run of the framework."""
    record = read_run_file(path)
    assert record["status"] == "finished", record["error"]
    facts = {name: stage["facts"] for name, stage in record["stages"].items()}
    place = outputs / "artifacts" / Path(record["stages"]["likelihoods"]["path"]).name
    return {
        "arm": (record["choices"]["selection"], str(record["config"]["dpo"]["beta"])),
        "counts": {
            "pairs": facts["policy"]["pairs_trained"],
            "validation_pairs": facts["policy"]["validation_pairs"],
            "steps": facts["policy"]["steps"],
            "base_completions": facts["reference_scored"]["needed"],
            "completions": facts["likelihoods"]["completions"],
            "base_answers": facts["generations_verifiable_base"]["answers"],
            "answers": facts["generations_verifiable"]["answers"],
        },
        "metrics": {name: record["metrics"][name]["value"] for name in (*METRICS, "base/verifiable/strict")},
        "base_logp": pl.read_parquet(place / "likelihoods.parquet")["ref_logp"].mean(),
    }


# -------------------------------------------------------------------------------------------------------------- report
def check_same_work(scripts: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], sizes: Sizes) -> None:
    """Stop where one side did more or less than the other, or than was asked."""
    counts = [one["counts"] for one in (*scripts, *runs)]
    assert all(one == counts[0] for one in counts), f"the sides did not do the same work: {counts}"
    assert counts[0]["pairs"] == sizes.pairs, counts[0]
    assert counts[0]["answers"] == sizes.questions, counts[0]
    logps = [one["base_logp"] for one in (*scripts, *runs)]
    assert max(logps) - min(logps) < MOST_DIFFERENCE, f"the base model's mean log-prob differs: {logps}"


def print_arms(scripts: Mapping[tuple[str, str], Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> None:
    """Print what each arm did and found, the script's figure before the framework's."""
    counts = runs[0]["counts"]
    print(
        ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items()), "in every arm, on both sides"
    )
    base = [scripts[tuple(runs[0]["arm"])], runs[0]]
    print(
        "base model, verifiable/strict:", " / ".join(f"{one['metrics']['base/verifiable/strict']:.3f}" for one in base)
    )
    print(f"\n| arm | {' | '.join(f'{name}, script / run' for name in METRICS)} |\n|---|{'---|' * len(METRICS)}")
    for run in sorted(runs, key=lambda one: ARMS.index(one["arm"])):
        both = [scripts[run["arm"]]["metrics"], run["metrics"]]
        cells = [" / ".join(f"{side[name]:.3f}" for side in both) for name in METRICS]
        print(f"| {' '.join(run['arm'])} | {' | '.join(cells)} |")


def print_work(scripts: Timed, framework: Timed, framework_imports: float, number: int) -> None:
    """Print the seconds by kind of work and what the framework saves."""
    sides = [scripts.work | {"imports": scripts.imports}, framework.work | {"imports": framework_imports}]
    rows = [(name, sides[0][key], sides[1][key]) for name, key in WORK.items()]
    left = [side.wall - sum(work.values()) for side, work in zip((scripts, framework), sides, strict=True)]
    rows += [("loading models, planning, records, the rest", *left), ("**wall time**", scripts.wall, framework.wall)]
    print(f"\n| seconds | {number} script(s) | framework | saved | of the scripts' time |\n|---|---:|---:|---:|---:|")
    for name, plain, ours in rows:
        print(f"| {name} | {plain:.1f} | {ours:.1f} | {plain - ours:.1f} | {(plain - ours) / scripts.wall:.1%} |")
    if number == 1:  # a study's workers are forked by a process that this one never waits for
        ratio = framework.cpu / scripts.cpu
        print(f"\nprocessor time: {scripts.cpu:.1f} s and {framework.cpu:.1f} s, ratio {ratio:.3f}")


def report_sweep(scripts: Timed, study: Timed, outputs: Path, sizes: Sizes) -> bool:
    """Print the first part; return whether its bound is kept."""
    by_arm = dict(zip(ARMS, scripts.results, strict=True))
    check_same_work(scripts.results, study.results, sizes)
    print("\n## Six arms: one study beside six scripts\n")
    print_arms(by_arm, study.results)
    print_work(scripts, study, sum(worker_imports(outputs).values()), len(ARMS))
    return verdict("wall time, study / scripts", study.wall / scripts.wall, MOST_SWEEP)


def report_alone(script: Timed, run: Timed, outputs: Path, sizes: Sizes) -> bool:
    """Print the second part; return whether its bound is kept."""
    check_same_work(script.results, run.results, sizes)
    print("\n## One run beside one script\n")
    print_arms({ALONE: script.results[0]}, run.results)
    print_work(script, run, sum(worker_imports(outputs).values()), 1)
    print("\n| seconds | script | framework |\n|---|---:|---:|")
    for name in ("wall", "imports", "after_imports"):
        print(f"| {name.replace('_', ' ')} | {getattr(script, name):.1f} | {getattr(run, name):.1f} |")
    return verdict("time after imports, run / script", run.after_imports / script.after_imports, MOST_SINGLE)


def verdict(name: str, ratio: float, most: float) -> bool:
    """Print a ratio beside its bound, and say whether it is kept."""
    kept = ratio <= most
    print(f"\n{name}: {ratio:.3f} (at most {most:g}: {'yes' if kept else 'NO'})", flush=True)
    return kept


def say(message: str) -> None:
    """Print to standard error what is being done."""
    print(message, file=sys.stderr, flush=True)


def measure(options: argparse.Namespace, folder: Path) -> bool:
    """Prepare and measure what is asked for; return whether the bounds are kept."""
    sizes = Sizes(options.pairs, min(16, options.pairs), options.test_prompts, options.test_prompts)
    material = prepare(folder, sizes, options.model)
    kept = True
    if options.only != "single":
        half = len(ARMS) // 2
        (folder / "study").mkdir()
        before = run_scripts(ARMS[:half], material, sizes, folder / "scripts")
        study = run_study(material, sizes, options.model, folder / "study")
        after = run_scripts(ARMS[half:], material, sizes, folder / "scripts")
        kept &= report_sweep(join(before, after), study, folder / "study" / "outputs", sizes)
    if options.only != "sweep":
        (folder / "alone").mkdir()
        run = run_alone(material, sizes, options.model, folder / "alone")
        script = run_scripts([ALONE], material, sizes, folder / "script")
        kept &= report_alone(script, run, folder / "alone" / "outputs", sizes)
    return kept


def main() -> None:
    """Measure what the command line asks for; exit 1 where a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["smollm2", "tiny"], default="smollm2")
    parser.add_argument("--pairs", type=int, default=128, help="training pairs of each arm")
    parser.add_argument("--test-prompts", type=int, default=32, help="held-out prompts scored, and questions answered")
    parser.add_argument("--only", choices=["sweep", "single"], help="one of the two parts")
    parser.add_argument("--keep", type=Path, help="an empty folder for everything that is made; else it is removed")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft", "datasets"))
    print(
        f"python {sys.version.split()[0]}, {packages}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        kept = measure(options, options.keep.absolute())
    else:
        with tempfile.TemporaryDirectory() as made:
            kept = measure(options, Path(made))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
