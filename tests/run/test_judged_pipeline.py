"""Judged evaluations through the whole pipeline: answers, verdicts, scores, and a real server for both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from notus_exp.disk.files import GENERATIONS, JUDGMENTS
from notus_exp.disk.hashing import prompt_id
from notus_exp.evaluation.metrics import is_known, known_metrics
from support.configs import composed
from support.pipelines import ENVIRONMENT, place, record, run

ALPACA = [
    {"instruction": "Name a colour.", "output": "Blue.", "generator": "reference", "dataset": "made"},
    {"instruction": "Say hello to a friend.", "output": "Hello, friend!", "generator": "reference", "dataset": "made"},
    {"instruction": "Count to three.", "output": "1, 2, 3", "generator": "reference", "dataset": "made"},
]
QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write a poem.", "Write it again."]},
    {"question_id": 2, "category": "math", "turns": ["What is 1 + 1?", "And 2 + 2?"]},
]
REFERENCES = [{"question_id": 2, "choices": [{"index": 0, "turns": ["2", "4"]}]}]
SHORT = ["evaluation.alpaca_eval.max_new_tokens=16", "evaluation.alpaca_eval.prompts=alpaca.json"]
TURNS = ["evaluation.mt_bench.max_new_tokens=16", "evaluation.mt_bench.questions=questions.jsonl"]
BOTH = ["experiment=smoke", "evaluation=[alpaca_eval,mt_bench]", *SHORT, *TURNS]
SECRET = "sk-test-0123456789-not-to-be-seen"


def write_files(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "alpaca.json").write_text(json.dumps(ALPACA))
    for name, rows in (("questions", QUESTIONS), ("references", REFERENCES)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("judged")
    write_files(folder)
    references = "evaluation.mt_bench.references=references.jsonl"
    return folder, record(run(folder, *BOTH, references, "judge=mock"))


def test_both_sides_are_judged_in_both_orders_and_scored(judged: tuple[Path, dict[str, Any]]) -> None:
    _, content = judged
    for side in ("", "_base"):
        verdicts = pl.read_parquet(place(content, f"judgments_alpaca_eval{side}") / JUDGMENTS)
        assert sorted(verdicts["order"].unique()) == ["model_first", "reference_first"]
        assert verdicts.height == 2 * len(ALPACA)
        ratings = pl.read_parquet(place(content, f"judgments_mt_bench{side}") / JUDGMENTS)
        assert ratings.select("prompt_id", "turn").n_unique() == ratings.height == 4
    win_rate = content["metrics"]["alpaca_eval/win_rate"]
    mean = pl.read_parquet(place(content, "judgments_alpaca_eval") / JUDGMENTS)["value"].mean()
    assert win_rate["value"] == pytest.approx(100 * (mean - 1))
    assert win_rate["n"] == len(ALPACA)
    for name in ("mt_bench/score", "mt_bench/turn_2", "base/mt_bench/score", "difference/alpaca_eval/win_rate"):
        assert content["metrics"][name]["value"] is not None
    assert content["costs"]["judge_tokens"] > 0


def test_judged_metrics_are_known_before_the_run(judged: tuple[Path, dict[str, Any]]) -> None:
    known = known_metrics(composed("experiment=smoke", "evaluation=[alpaca_eval,mt_bench]", "judge=mock"))
    reported = [name for name in judged[1]["metrics"] if not name.startswith(("base/", "difference/"))]
    assert all(is_known(name, known) for name in reported), reported
    assert {name for name in known if not name.endswith("/")} <= set(reported)


def test_files_are_those_of_alpaca_eval(judged: tuple[Path, dict[str, Any]]) -> None:
    _, content = judged
    folder = place(content, "evaluation") / "alpaca_eval" / "policy"
    annotations = json.loads((folder / "annotations.json").read_text())
    assert [row["instruction"] for row in annotations] == [row["instruction"] for row in ALPACA]
    assert {"output_1", "output_2", "generator_1", "generator_2", "annotator", "preference"} <= annotations[0].keys()
    again = subprocess.run(
        [sys.executable, "-m", "notus_exp.score", "alpaca_eval", str(folder / "annotations.json"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert content["metrics"]["alpaca_eval/win_rate"]["value"] == pytest.approx(
        json.loads(again.stdout)["models"][0]["win_rate"]
    )
    assert (place(content, "evaluation") / "mt_bench.svg").read_text().startswith("<?xml")


def test_another_judge_shares_the_answers_and_costs_of_judging_move_nothing(
    judged: tuple[Path, dict[str, Any]],
) -> None:
    folder, first = judged
    references = "evaluation.mt_bench.references=references.jsonl"
    same = record(
        run(folder, *BOTH, references, "judge=mock", "judge.concurrency=1", "judge.requests_per_minute=90000")
    )
    assert same["attempts"][-1]["made"] == []
    other = record(run(folder, *BOTH, references, "judge=mock", "judge.parser=letters"))
    reused = {name: stage["reused"] for name, stage in other["stages"].items()}
    assert reused["generations_alpaca_eval"]
    assert not reused["judgments_alpaca_eval"]
    assert first["run_id"] == same["run_id"] != other["run_id"]


def test_a_score_on_failed_verdicts_is_refused_in_words(judged: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = judged
    stored = [{"instruction": "Another one.", "output_1": "a", "output_2": "b", "preference": 2.0}]
    (folder / "stored.json").write_text(json.dumps(stored))
    alone = ["experiment=smoke", "evaluation=[alpaca_eval]", *SHORT]
    done = run(folder, *alone, "judge=replay", "judge.path=stored.json", code=3)
    content = record(done)
    assert content["status"] == "finished"
    assert list(content["unscored"]) == ["alpaca_eval"]
    assert "error: no score of alpaca_eval, which was asked for: alpaca_eval is not reported: 3 of 3" in done.stderr
    again = run(folder, *alone, "judge=replay", "judge.path=stored.json", code=3)
    assert record(again)["attempts"][-1]["made"] == []
    assert not any(name.startswith("alpaca_eval/") for name in content["metrics"])
    told = done.stderr.replace("\n", " ")
    assert told.count("alpaca_eval is not reported: 3 of 3 verdicts") == 1, "by the error, and not by a note beside it"
    verdicts = pl.read_parquet(place(content, "judgments_alpaca_eval") / JUDGMENTS)
    assert verdicts["value"].null_count() == 3
    assert all(verdicts["reason"])


def test_a_budget_holds_over_the_attempts_of_a_run(judged: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = judged
    priced = ["judge=mock", "judge.input_price=10", "judge.output_price=30", "judge.max_tokens=40", "seed=5"]
    alone = ["experiment=smoke", "evaluation=[alpaca_eval]", *SHORT, *priced]
    spent = []
    for _ in range(2):
        done = run(folder, *alone, "judge.budget=0.012", code=2)
        assert "judge.budget=0.012 USD" in done.stderr
        spent.append(_newest(folder)["costs"]["judge_usd"])
    assert 0 < spent[0] == spent[1] <= 0.012, "what the first attempt spent counts in the second, which asks nothing"
    content = record(run(folder, *alone, "judge.budget=1"))
    facts = [content["stages"][f"judgments_alpaca_eval{side}"]["facts"] for side in ("_base", "")]
    assert content["costs"]["judge_usd"] == pytest.approx(spent[0] + sum(fact["cost"] for fact in facts))
    assert len(content["attempts"]) == 3


def _newest(folder: Path) -> dict[str, Any]:
    newest = max(folder.glob("outputs/runs/*/run.json"), key=lambda path: path.stat().st_mtime)
    content: dict[str, Any] = json.loads(newest.read_text())
    return content


def test_ifeval_checks_the_answers_by_program(tmp_path: Path) -> None:
    pytest.importorskip("if_verifiable")
    rows = [
        {"key": 1, "prompt": "Say a.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"key": 2, "prompt": "Say b.", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]},
        {"key": 3, "prompt": "Say c.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    ]
    (tmp_path / "ifeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ["evaluation.ifeval.prompts=ifeval.jsonl", "evaluation.ifeval.max_new_tokens=16"]
    content = record(
        run(tmp_path, "experiment=smoke", "evaluation=[ifeval]", "evaluation.ifeval.exclude=[3]", *settings)
    )
    answers = pl.read_parquet(place(content, "generations_ifeval") / GENERATIONS)
    assert answers["prompt_id"].to_list() == [prompt_id(row["prompt"]) for row in rows[:2]]
    expected = sum(
        bool(text.strip())
        and (("," not in text) if n == 0 else text.strip().startswith('"') and text.strip()[-1] == '"')
        for n, text in enumerate(answers["response"])
    )
    known = known_metrics(composed("experiment=smoke", "evaluation=[ifeval]"))
    reported = [name for name in content["metrics"] if not name.startswith(("base/", "difference/"))]
    assert all(is_known(name, known) for name in reported), reported
    assert {name for name in known if not name.endswith("/")} <= set(reported)
    strict = content["metrics"]["ifeval/prompt_strict"]
    assert (strict["value"], strict["n"]) == (expected / 2, 2)


# -------------------------------------------------------------------------------------------------------- a real server
@pytest.fixture(scope="module")
def server(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """`transformers serve` with SmolLM2 on the loopback; yields its address and the model's name."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("transformers")
    arguments = ["serve", str(smollm2_folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (tmp_path_factory.mktemp("server") / "log").open("w") as log:
        process = subprocess.Popen([str(command), *arguments], env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1", str(smollm2_folder)
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(240):
        if process.poll() is not None:
            pytest.fail(f"the server ended with code {process.returncode}")
        try:
            with opener.open(address, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server did not come up")


def test_a_real_server_answers_judges_in_both_orders_and_is_reported(server: tuple[str, str], tmp_path: Path) -> None:
    address, model = server
    write_files(tmp_path)
    # A model of this size cannot judge: it is asked to repeat a letter, so that there are verdicts to count.
    words = "{{ instruction }} {{ first }} {{ second }}\nRepeat this word and nothing else: m"
    (tmp_path / "template.j2").write_text(words)
    judge = ["judge=openai", f"judge.base_url={address}", f"judge.model={model}", "judge.max_tokens=1"]
    settings = [*judge, "judge.template=template.j2", "judge.concurrency=2", "tracking=wandb"]
    # and reads few bytes of what another random model draws
    short = ["evaluation.alpaca_eval.max_new_tokens=2", "evaluation.alpaca_eval.prompts=alpaca.json"]
    prompts = ["experiment=smoke", "evaluation=[alpaca_eval]", *short, "judge.max_failure_rate=1"]
    done = run(tmp_path, *prompts, *settings, OPENAI_API_KEY=SECRET, WANDB_MODE="offline", NO_PROXY="127.0.0.1")
    content = record(done)
    facts = content["stages"]["judgments_alpaca_eval"]["facts"]
    assert facts["verdicts"] == 6
    assert sum(facts["snapshots"].values()) == 6
    verdicts = pl.read_parquet(place(content, "judgments_alpaca_eval") / JUDGMENTS)
    spoken = verdicts.filter(pl.col("raw").str.strip_chars() == "M")
    # M names the second answer: the model's where the reference came first, the reference's where the model did
    assert spoken.height > 0
    expected = {"reference_first": 2.0, "model_first": 1.0}
    assert spoken["value"].to_list() == [expected[order] for order in spoken["order"]]
    silent = verdicts.filter(~pl.col("raw").str.strip_chars().is_in(["m", "M"]))
    assert silent["value"].null_count() == silent.height, "what is no verdict is not guessed"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.stdout + done.stderr
    cached = record(run(tmp_path, *prompts, *settings, "judge.offline=true", "output_dir=outputs", "seed=0"))
    assert "judgments_alpaca_eval" in cached["stages"]
    assert "judgments_alpaca_eval" not in cached["attempts"][-1]["made"]


def test_a_served_model_answers_instead_of_this_process(server: tuple[str, str], tmp_path: Path) -> None:
    address, model = server
    endpoint = [f"generation.{key}={model}" for key in ("base_model", "policy_model")]
    prompts = ["evaluation=[verifiable]", "evaluation.verifiable.prompts=3", "evaluation.verifiable.max_new_tokens=8"]
    done = run(
        tmp_path,
        "experiment=smoke",
        *prompts,
        "evaluation.verifiable.kl_prompts=0",
        "generation=openai",
        f"generation.base_url={address}",
        *endpoint,
        NO_PROXY="127.0.0.1",
    )
    content = record(done)
    table = pl.read_parquet(place(content, "generations_verifiable") / GENERATIONS)
    base = pl.read_parquet(place(content, "generations_verifiable_base") / GENERATIONS)
    assert table.height == 3
    assert all(0 < tokens <= 8 for tokens in table["tokens"])
    assert table["response"].to_list() == base["response"].to_list(), "the endpoint serves one model under both names"
