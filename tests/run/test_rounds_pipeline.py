"""Two rounds from nothing: a tiny model answers, is trained on what is rated best, and answers and is trained again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from notus_exp.config.curation_settings import Split
from notus_exp.config.hardware_settings import Device
from notus_exp.contracts.run_file import read_run_file
from notus_exp.curation.split import assign
from notus_exp.disk.files import COMPLETIONS, FEEDBACK_HTML, MODEL, PAIRS, RESPONSES, ROUNDS_HTML, RUN_JSON
from notus_exp.export import main as export
from notus_exp.frames.run_data import RunData
from notus_exp.models.pretrained import load_model
from notus_exp.runs import main as runs
from notus_exp.talking.models_of_run import models_of_run
from support.pages import Page
from support.pipelines import place, record, run
from support.recipes import machine
from support.trainings import step_events

OWN = "{name: cool, temperature: 0.7, max_new_tokens: 16}, {name: hot, temperature: 1.5, max_new_tokens: 16}"
TWO = [
    "experiment=smoke",
    "data=made",
    "data.prompts.prompts=40",
    "data.per_prompt=3",
    "data.judge={judge: mock, verdicts_by: constraints}",
    f"data.writers=[{OWN}, {{name: good, simulated: 0.9}}, {{name: weak, simulated: 0.2}}]",
    "split.test=0.2",
    "evaluation.verifiable.prompts=8",
    "evaluation.verifiable.max_new_tokens=16",
    "rounds=2",
]


@dataclass
class Finished:
    folder: Path
    content: dict[str, Any]
    said: str

    @property
    def run(self) -> Path:
        return self.folder / "outputs/runs" / self.content["run_id"]

    def table(self, node: str, file: str) -> pl.DataFrame:
        return pl.read_parquet(place(self.content, node) / file)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("rounds")
    done = run(folder, *TWO)
    return Finished(folder, record(done), done.stderr)


def test_no_prompt_is_trained_on_in_both_rounds_and_no_round_answers_the_others_test_prompts(two: Finished) -> None:
    first, second = (two.table(node, PAIRS) for node in ("round1_pairs", "pairs"))
    trained = [set(table.filter(pl.col("split") == "train")["prompt_id"]) for table in (first, second)]
    assert all(len(prompts) > 5 for prompts in trained)
    assert not trained[0] & trained[1]
    held_out = set(first.filter(pl.col("split") == "test")["prompt_id"])
    assert held_out and not held_out & set(two.table("feedback", COMPLETIONS)["prompt_id"])


def test_what_the_second_round_begins_with_is_the_first_policy_with_all_of_its_weights(two: Finished) -> None:
    base, policy, merged = (
        place(two.content, node) / MODEL for node in ("base_model", "round1_policy", "round1_merged")
    )
    tokens = torch.arange(4, 60).unsqueeze(0)
    hardware = machine()
    assert hardware.device is Device.cpu
    with torch.no_grad():
        logits = [
            load_model(*folders, "float32", hardware)(tokens).logits
            for folders in ((base, None), (base, policy), (merged, None))
        ]
    assert torch.allclose(logits[1], logits[2], atol=1e-5)
    assert (logits[0] - logits[2]).abs().max() > 1e-3, "it was trained"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()


def test_preferences_of_each_round_are_learnt_from_where_its_reference_stands(two: Finished) -> None:
    for node in ("round1_policy", "policy"):
        losses = step_events(place(two.content, node), "train/preference_loss")
        assert losses[0] == pytest.approx(math.log(2), abs=1e-3), "an untrained adapter is its reference"


def test_the_second_rounds_own_answers_are_the_policys(two: Finished) -> None:
    answers = two.table("responses_cool", RESPONSES)
    prompts = two.table("instructions", COMPLETIONS).unique("prompt_id", keep="first")
    assert answers.height > 5
    assert set(answers["prompt_id"]) <= set(prompts["prompt_id"])
    made_from = two.content["stages"]["responses_cool"]["inputs"]["base_model"]
    assert made_from == two.content["stages"]["round1_merged"]["key"]


def test_the_record_has_the_metrics_of_both_rounds_beside_one_base(two: Finished) -> None:
    first, second = two.content["rounds"]
    assert (first["round"], second["round"]) == (1, 2)
    assert second["metrics"] == two.content["metrics"] != first["metrics"]
    bases = [
        {name: one for name, one in found["metrics"].items() if name.startswith("base/")} for found in (first, second)
    ]
    assert bases[0] == bases[1] != {}
    assert "preferences/accuracy/average" in first["metrics"]
    assert first["metrics"]["verifiable/strict"]["n"] == second["metrics"]["verifiable/strict"]["n"] == 8


def test_one_page_tells_of_both_rounds_and_leads_to_the_pages_of_each(two: Finished) -> None:
    page = Page((two.run / ROUNDS_HTML).read_text(encoding="utf-8"))
    assert "a later one trains the policy of the round before further" in page.texts["verdict"]
    assert not page.wrong
    assert "2 minus 1" in page.texts["added"]
    pairs = [two.content["stages"][node]["facts"]["split/train"] for node in ("round1_pairs", "pairs")]
    assert all(f" {count} " in f"{page.texts['made']} " for count in pairs)
    links = [
        value for tag, name, value in page.attributes if (tag, name) == ("a", "href") and not value.startswith("#")
    ]
    assert len(links) == 4 and all((two.run / link).resolve().is_file() for link in links)
    assert (two.run / "feedback-round1.html").read_bytes() != (two.run / FEEDBACK_HTML).read_bytes()
    assert f"rounds: outputs/runs/{two.content['run_id']}/rounds.html" in two.said


def test_the_command_runs_tells_of_the_rounds_as_data(
    two: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two.folder)
    assert runs(["rounds", two.content["run_id"], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["rounds"]
    assert [one["round"] for one in told] == [1, 2]
    assert told[0]["difference_to_before"] == {}
    strict = told[1]["difference_to_before"]["verifiable/strict"]
    values = [one["metrics"]["verifiable/strict"]["value"] for one in told]
    assert strict["value"] == pytest.approx(values[1] - values[0])
    assert strict["low"] <= strict["value"] <= strict["high"] and strict["prompts"] == 8
    pairs = two.table("round1_pairs", PAIRS)
    table = two.table("round1_feedback", COMPLETIONS)
    split = assign(table["prompt_id"], Split(0, 0.1, 0.2))
    own = table.filter((split == "train") & pl.col("model").is_in(["cool", "hot"]))
    assert told[0]["own_answers"] == own.height
    assert told[0]["training_prompts"] == table.filter(split == "train")["prompt_id"].n_unique()
    assert told[0]["held_out_prompts"] == table.filter(split != "train")["prompt_id"].n_unique()
    assert told[0]["training_pairs"] == pairs.filter(pl.col("split") == "train").height
    ratings = own.select(pl.mean_horizontal(*(name for name in own.columns if name.startswith("rating_")))).to_series()
    assert told[0]["own_rating"]["value"] == pytest.approx(ratings.mean())


@pytest.mark.slow
def test_another_beginning_of_the_second_round_makes_that_round_alone_anew(two: Finished) -> None:
    again = record(run(two.folder, *TWO, "rounds.reference=base"))
    made = set(again["attempts"][-1]["made"])
    assert {"reference", "policy", "merged", "evaluation"} <= made
    assert not any(name.startswith("round1_") for name in made)
    losses = step_events(place(again, "policy"), "train/preference_loss")
    assert abs(losses[0] - math.log(2)) > 1e-3, "it begins elsewhere than at its reference"


def test_the_last_policy_is_talked_with_beside_what_the_first_round_began_with(two: Finished) -> None:
    found = models_of_run(RunData(two.run, read_run_file(two.run / RUN_JSON)), with_policy=True)
    assert (found.base, found.policy) == (place(two.content, "base_model"), place(two.content, "merged"))
    first = models_of_run(RunData(two.run, read_run_file(two.run / RUN_JSON)).round(1), with_policy=True)
    assert (first.base, first.policy) == (place(two.content, "base_model"), place(two.content, "round1_merged"))


def test_an_adapter_of_a_later_round_is_handed_over_merged_alone(
    two: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two.folder)
    command = [two.content["run_id"], "--format", "trl"]
    assert export([*command, "--to", "adapter"]) == 2
    assert "its base is what the run made itself (stage round1_merged)" in capsys.readouterr().err
    assert export([*command, "--to", "whole", "--merge"]) == 0
    cards = [path.read_text() for path in (two.folder / "whole").rglob("README.md")]
    assert len(cards) == 2 and any("| rounds.number | 2 |" in card for card in cards)
    assert any("its policy was trained on the pairs of the rounds before too" in card for card in cards)
    merged = place(two.content, "merged") / MODEL
    tokens = torch.arange(4, 60).unsqueeze(0)
    (handed,) = [path.parent for path in (two.folder / "whole").rglob("config.json")]
    with torch.no_grad():
        one, other = (load_model(folder, None, "float32", machine())(tokens).logits for folder in (handed, merged))
    assert torch.allclose(one, other, atol=1e-5)


def test_the_pairs_of_each_round_are_handed_over_and_the_card_says_of_which(
    two: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two.folder)
    command = [two.content["run_id"], "--format", "parquet", "--data-only"]
    assert export([*command, "--to", "second"]) == export([*command, "--to", "first", "--round", "1"]) == 0
    for folder, node in (("first", "round1_pairs"), ("second", "pairs")):
        handed = pl.concat([pl.read_parquet(path) for path in sorted((two.folder / folder).rglob("*.parquet"))])
        assert set(handed["prompt_id"]) == set(two.table(node, PAIRS)["prompt_id"])
        card = (two.folder / folder / "README.md").read_text()
        assert f"this is round {1 if folder == 'first' else 2} of 2" in card
    capsys.readouterr()
    assert export([*command, "--to", "third", "--round", "3"]) == 2
    assert "has 2 round(s), and no round 3" in capsys.readouterr().err
