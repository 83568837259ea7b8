"""Study folders made by hand, for tests of the report: two arms and two seeds, numbers that a reader can check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import polars as pl

from notus_exp.contracts.manifest import Manifest, manifest_file
from notus_exp.contracts.provenance import Provenance
from notus_exp.disk.files import BY_PROMPT, EVENTS, GENERATIONS, MANIFEST, PAIRS, RUN_JSON, SAMPLES
from notus_exp.disk.hashing import prompt_id
from notus_exp.disk.json_files import write_json
from notus_exp.study.report import write_report
from support.pages import Page

EVIL = "<script>alert(1)</script> & \"quoted\" 'too' $x^2$ {{ 7 * 7 }}"
METRIC = "preferences/accuracy/average"
ARMS = ("critique", "average")
SEEDS = (0, 1)
PROMPTS = [f"Write about topic {number}." for number in range(20)]


def estimate(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    """What comparison.json says of a mean."""
    components = {"prompt": 0.04, "seed": 0.0001, "residual": 0.01}
    found = {"value": value, "low": low, "high": high, "prompts": 20, "seeds": 2, "left_out": 0}
    return {**found, "components": components, **more}


def contrast(
    metric: str, arm: str, reference: str, value: float, low: float, high: float, **more: Any
) -> dict[str, Any]:
    """What comparison.json says of a difference; exploratory unless `primary`."""
    verdict = "higher" if low > 0 else "lower" if high < 0 else "not distinguishable"
    exploratory = {"primary": False, "holm": None, "benjamini_hochberg": None, "equivalence": None}
    exploratory |= {"holm_low": None, "holm_high": None}
    test = {
        "standard_error": 0.01,
        "seed_share": 0.4,
        "cautions": [],
        "p": 0.0123,
        "verdict": verdict,
        "bootstrap": None,
        "permutation": None,
    }
    words = {"words": f"{arm} against {reference} in words"}
    return {
        "metric": metric,
        "arm": arm,
        "reference": reference,
        **estimate(value, low, high),
        **exploratory,
        **test,
        **words,
        **more,
    }


def comparison(arms: Sequence[str] = ARMS, **more: Any) -> dict[str, Any]:
    """A comparison of arms, the first of which is the baseline, in the accuracy under one labelling."""
    first, others = arms[0], arms[1:]
    primary = {"primary": True, "holm": 0.0246, "benjamini_hochberg": 0.0235, "holm_low": 0.0107, "holm_high": 0.1027}
    equivalence = {"equivalence": {"margin": 0.02, "p": 0.71, "equivalent": False}}
    metrics = {
        METRIC: estimate(0.6123, 0.5811, 0.6435),
        "verifiable/strict": estimate(0.25, 0.15, 0.36),
        "verifiable/tokens": estimate(41.7, 35.2, 48.2),
        "verifiable/kind/bullets": estimate(0.5, None, None),
    }
    return {
        "study": {"name": "mine", "kind": "arms", "metric": METRIC, "baseline": first, "margin": 0.02}
        | {"seeds": list(SEEDS), "evaluation_split": "test"},
        "protocol": {"feedback": "f00d", "evaluations": {"preferences": {"max_prompts": 20}}, "judge": None},
        "arms": [
            {"arm": arm, "overrides": [], "levels": {}, "tuned": {}, "seeds": list(SEEDS), "failed": {}, "runs": {}}
            | {"metrics": metrics}
            for arm in arms
        ],
        "base": {"metrics": {METRIC: estimate(0.5, 0.5, 0.5), "verifiable/tokens": estimate(77.0, 70.0, 84.0)}},
        "contrasts": [
            *(contrast(METRIC, arm, first, 0.0567, 0.0211, 0.0923, **primary, **equivalence) for arm in others),
            *(contrast(METRIC, arm, "base model", 0.1123, 0.0811, 0.1435) for arm in arms),
            *(contrast("verifiable/strict", arm, first, -0.034, -0.091, 0.023) for arm in others),
        ],
        "effects": [],
        "bradley_terry": None,
        "trained_by_evaluated": {
            "rows": list(arms),
            "columns": ["critique", "average"],
            "cells": [
                [estimate(0.5432, 0.52, 0.57), estimate(0.60 + place / 100, 0.55, 0.66)] for place in range(len(arms))
            ],
        },
        "verdict": "Average is better by 0.057.",
        "warnings": [],
        **more,
    }


def trained_on(**arms: dict[str, Any]) -> dict[str, Any]:
    """What comparison.json says of the arms' training pairs: a quarter in common, and what differs for an arm."""
    share = {"value": 0.25, "low": 0.125, "high": 0.5, "prompts": 20}
    names = ("common", "same_side", "same_chosen", "longer", "length", "length_difference")
    rows = [
        {"arm": arm, "pairs": 1200, "prompts": 1200, **dict.fromkeys(names, share), "agreement": {}, **more}
        for arm, more in arms.items()
    ]
    return {"seed": 0, "arms": rows, "common": [[1.0 if a == b else 0.25 for b in arms] for a in arms]}


def without_runs(arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """The comparison of a study of which no run has finished."""
    empty = {"seeds": [], "failed": {"0": "out of memory", "1": "out of memory"}, "metrics": {}}
    content = comparison(arms, base={"metrics": {}}, contrasts=[], trained_by_evaluated=None)
    return content | {"arms": [arm | empty for arm in content["arms"]], "verdict": "No run has finished."}


class StudyFolder:
    """outputs/studies/mine with its runs and artifacts under a temporary folder; `write` it when it is as wanted.

    Attributes:
        folder: outputs/studies/mine.
        study: study.json.
        runs: (arm, seed) -> run.json.
    """

    def __init__(self, root: Path, arms: Sequence[str] = ARMS, seeds: Sequence[int] = SEEDS) -> None:
        self.outputs = root / "outputs"
        self.folder = self.outputs / "studies" / "mine"
        self.folder.mkdir(parents=True)
        self.runs = {(arm, seed): _run(f"run{place}-s{seed}", seed) for place, arm in enumerate(arms) for seed in seeds}
        self.study: dict[str, Any] = {
            **{"name": "mine", "kind": "arms", "command": ["-m", "selection=critique,average", "study.name=mine"]},
            **{"metric": METRIC, "baseline": arms[0], "margin": 0.02, "seeds": list(seeds), "factors": None},
            "arms": {
                arm: {
                    "overrides": [f"selection={arm}", "dpo.beta=0.1"],
                    "levels": {},
                    "tuned": {},
                    "runs": {str(seed): self.runs[arm, seed]["run_id"] for seed in seeds},
                }
                for arm in arms
            },
            "tuning": None,
            "unplanned": {},
        }

    def write(self) -> Path:
        """Write study.json and every run.json, and return the study's folder."""
        (self.folder / "study.json").write_text(json.dumps(self.study), encoding="utf-8")
        for run in self.runs.values():
            self.write_run(run)
        return self.folder

    def write_run(self, run: dict[str, Any]) -> None:
        """Write a run.json, also one that the study does not name among its arms."""
        folder = self.outputs / "runs" / run["run_id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_JSON).write_text(json.dumps(run), encoding="utf-8")

    def stage(self, arm: str, seed: int, node: str, key: str) -> Path:
        """Let a run have an artifact and return its folder; the recorded path is one of another machine."""
        name = f"{node.split('_')[0]}-{key}"
        path = f"/elsewhere/outputs/artifacts/{name}"
        stage = {"key": key * 4, "path": path, "reused": seed > 0, "seconds": 0.0, "seconds_when_made": 90.0}
        self.runs[arm, seed]["stages"][node] = {**stage, "inputs": {}, "facts": {}}
        folder = self.outputs / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def made_with(self, arm: str, seed: int, node: str, *attempts: dict[str, Any]) -> None:
        """Let the manifest of a run's artifact say which attempts made it; none: one from before that was noted."""
        stage = self.runs[arm, seed]["stages"][node]
        folder = self.outputs / "artifacts" / Path(stage["path"]).name
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST}
        made = Manifest(node.split("_")[0], stage["key"], {}, {}, {}, files=sizes)
        made.provenance = [cast(Provenance, attempt) for attempt in attempts]
        write_json(folder / MANIFEST, manifest_file(made))

    def pairs(
        self, arm: str, seed: int, pairs: Sequence[tuple[str, str, str]], rows: Sequence[int] | None = None
    ) -> None:
        """Let a run have made these pairs: prompt, chosen, rejected; each of a row of its own, or of that in `rows`."""
        self.stage(arm, seed, "feedback", "feedfeed")
        table = [
            {"prompt_id": prompt_id(prompt), "row": row, "split": "train", "prompt": _message("user", prompt)}
            | {"chosen": _message("assistant", chosen), "rejected": _message("assistant", rejected)}
            for row, (prompt, chosen, rejected) in zip(rows or range(len(pairs)), pairs, strict=True)
        ]
        folder = self.stage(arm, seed, "pairs", f"pairs{self._place(arm)}{seed}")
        pl.DataFrame(table).write_parquet(folder / PAIRS)

    def answers(self, arm: str, seed: int, response: str, base: str, prompts: Sequence[str] = PROMPTS) -> None:
        """Let a run have answered prompts whose constraint is to use no commas, always in the same words."""
        constraints = json.dumps([{"kind": "no_commas", "params": {}}])
        for node, key, text in (
            ("generations_verifiable_base", "base", base),
            ("generations_verifiable", f"policy{self._place(arm)}{seed}", response),
        ):
            rows = [
                {"prompt_id": prompt_id(prompt), "turn": 1, "category": "", "instruction": prompt}
                | {"constraints": constraints, "response": text, "tokens": 9, "truncated": False}
                for prompt in prompts
            ]
            pl.DataFrame(rows).write_parquet(self.stage(arm, seed, node, key) / GENERATIONS)

    def ifeval(self, arm: str, seed: int, policy: list[bool], base: list[bool]) -> None:
        """Let a run have answered one prompt of IFEval with two instructions, and been checked."""
        row = {"prompt_id": prompt_id("asked"), "turn": 1, "category": "", "instruction": "asked", "constraints": "[]"}
        for node, key in (("generations_ifeval_base", "baseif"), ("generations_ifeval", f"if{self._place(arm)}{seed}")):
            table = pl.DataFrame([{**row, "response": "said", "tokens": 1, "truncated": False}])
            table.write_parquet(self.stage(arm, seed, node, key) / GENERATIONS)
        names = ["letters", "length"]
        checked = {"prompt_id": prompt_id("asked"), "instructions": names, "strict": policy}
        checked |= {"instructions/base": names, "strict/base": base}
        folder = self.stage(arm, seed, "evaluation", f"eval{self._place(arm)}{seed}")
        pl.DataFrame([checked]).write_parquet(folder / BY_PROMPT.format("ifeval"))

    def samples(self, arm: str, seed: int, response: str) -> None:
        """Let a run's evaluation have kept one sample."""
        sample = {"prompt_id": prompt_id("asked"), "instruction": "asked", "base": "from the base", "policy": response}
        folder = self.stage(arm, seed, "evaluation", f"eval{self._place(arm)}{seed}")
        (folder / SAMPLES).write_text(json.dumps([sample]), encoding="utf-8")

    def events(self, arm: str, seed: int, losses: Sequence[float], name: str = "train/loss") -> None:
        """Let a run's training have kept a metric, a value a step."""
        lines = [
            json.dumps({"time": 0.0, "stage": "policy", "step": step, "metrics": {name: loss}})
            for step, loss in enumerate(losses, start=1)
        ]
        folder = self.stage(arm, seed, "policy", f"trained{self._place(arm)}{seed}")
        with (folder / EVENTS).open("a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")

    def _place(self, arm: str) -> int:
        return list(self.study["arms"]).index(arm)


def full(root: Path, arms: Sequence[str] = ARMS, seeds: Sequence[int] = SEEDS, text: str = "plain") -> StudyFolder:
    """A study with everything that a report shows; `text` is in every prompt and response."""
    made = StudyFolder(root, arms, seeds)
    for place, arm in enumerate(arms):
        for seed in seeds:
            good, bad = f"good {text}", f"bad {text}"
            turned = [
                (prompt, bad, good) if row < 4 * place else (prompt, good, bad) for row, prompt in enumerate(PROMPTS)
            ]
            made.pairs(arm, seed, [(f"{prompt} {text}", chosen, rejected) for prompt, chosen, rejected in turned])
            made.answers(arm, seed, f"policy says {text}", f"base, says {text}", [f"{one} {text}" for one in PROMPTS])
            made.events(arm, seed, [0.7 - 0.01 * step for step in range(10)])
            made.events(arm, seed, [0.5, 0.6], "validation/accuracy")
    return made


def written(folder: Path, content: dict[str, Any] | None = None) -> Page:
    """Write a study's report and read it, which must be well-formed."""
    out = folder / "report.html"
    write_report(folder, content or comparison(), out)
    page = Page(out.read_text(encoding="utf-8"))
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids)), "two elements have one id"
    return page


def trial(number: int, state: str = "complete", **more: Any) -> dict[str, Any]:
    """A trial as `study.search.summary` tells of it."""
    found = {"number": number, "state": state, "params": {}, "values": {}, "constraints": {}, "feasible": None}
    return {**found, "reason": None, "seeds": 1, "runs": {}, "repeats": None, **more}


def importance(value: float | None, low: float | None, high: float | None, holm: float | None) -> dict[str, Any]:
    """What a setting of a search matters; without a p it cannot be told."""
    verdict = "matters" if holm is not None and holm <= 0.05 else "cannot tell"
    reason = "was never varied" if holm is None else None
    return {
        "value": value,
        "low": low,
        "high": high,
        "p": holm,
        "holm": holm,
        "trials": 12,
        "verdict": verdict,
        "reason": reason,
    }


def searched(**more: Any) -> dict[str, Any]:
    """The summary of a search of four trials with one objective and a bound."""
    metric, length = "preferences/accuracy/average", "verifiable/tokens"
    return {
        "objectives": {metric: "maximize"},
        "trials": [
            trial(
                0,
                params={"dpo.beta": 0.01, "selection": "average"},
                values={metric: 0.6127},
                constraints={length: -3.0},
                feasible=True,
            ),
            trial(
                1,
                params={"dpo.beta": 0.5, "selection": "critique"},
                values={metric: 0.7001},
                constraints={length: 9.5},
                feasible=False,
            ),
            trial(
                2,
                "failed",
                runs={"0": "crashed-run"},
                params={"dpo.beta": 0.1, "selection": EVIL},
                reason=f"crashed at {EVIL}",
            ),
            trial(
                3,
                params={"dpo.beta": 0.05, "selection": "average"},
                values={metric: 0.6349},
                constraints={length: -1.0},
                feasible=True,
            ),
        ],
        "best": [3],
        "parameters": {"dpo.beta": {"low": 0.01, "high": 1.0, "log": True}},
        "importances": {
            metric: {"dpo.beta": importance(0.8, 0.31, 0.97, 0.02), "selection": importance(0.2, None, None, 0.4)}
        },
        "importances_note": "Over 12 complete trials: dpo.beta can be told to matter.",
        "said": [],
        "command": "python -m notus_exp dpo.beta=0.05 seed=0,1,2 -m",
        **more,
    }


def _run(run_id: str, seed: int) -> dict[str, Any]:
    costs = {
        "device_seconds": 0.0,
        "device_seconds_if_nothing_were_reused": 400.0,
        "judge_tokens": 0,
        "judge_usd": None,
    }
    attempts = [{"status": "killed", "device_seconds": 60.0}, {"status": "finished", "device_seconds": 40.0}]
    metrics = {METRIC: {"value": 0.6 + seed / 100, "low": 0.5, "high": 0.7, "n": 20}}
    metrics["verifiable/tokens"] = {"value": 40.0 + seed, "low": 30.0, "high": 50.0, "n": 20}
    state = {"status": "finished", "error": None, "attempts": attempts, "stages": {}, "config": {}}
    return {"run_id": run_id, "seed": seed, **state, "metrics": metrics, "costs": costs}


def _message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]
