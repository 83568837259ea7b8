"""KTO: TRL's own losses of the same responses, whatever the passes, and a training that resumes to the same bits."""

from dataclasses import replace

import polars as pl
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import KTOConfig, KTOTrainer

from notus_exp.config.algorithms import check_weights
from notus_exp.disk import events, files
from notus_exp.errors import UserError
from notus_exp.training import dpo, kto
from support.recipes import LORA, machine, recipe
from support.trainings import FEW_PAIRS, N_TRAIN, explicit_logp, step_events, train, weights

KTO = {"algorithm": "kto", "loss_type": [], "kto_undesirable_weight": 1.5}
ASKED = recipe(**KTO)


class Plain(KTOTrainer):
    """TRL's trainer on rows that are ready; its reference point is that of a pass."""

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        return dataset

    def _precompute_ref_logps(self, dataset, name, batch_size):
        return dataset


def rows_of(artifacts, folder, seed, batch):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pairs = pl.read_parquet(artifacts["pairs"] / files.PAIRS).filter(split="train")
    joined = dpo.join_pairs(pairs, pl.read_parquet(artifacts["reference"] / files.REFERENCE)).rows
    return kto.responses(
        kto.in_order(joined, seed), batch, 96, lambda items: [explicit_logp(model, *item) for item in items]
    )


def test_losses_are_those_of_trls_trainer_where_a_pass_is_a_global_batch(artifacts, tiny_model_folder, tmp_path):
    """Ours in passes of one pair each; the second epoch has the same order."""
    asked = recipe(**KTO, epochs=2.0, lora=replace(LORA, r=0), optimizer="rmsprop")
    facts = train(artifacts, tmp_path / "ours", asked, machine(micro_batch_size=1))
    assert facts["throughput"]["seconds_by_phase"]["reference_point"] > 0
    config = KTOConfig(
        output_dir=str(tmp_path / "trl"), beta=0.1, undesirable_weight=1.5, learning_rate=1e-3,
        lr_scheduler_type="linear", warmup_steps=0, optim="rmsprop", seed=3, per_device_train_batch_size=8,
        logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False, max_length=96,
        num_train_epochs=2, disable_tqdm=True, precompute_ref_log_probs=True, gradient_checkpointing=False,
    )  # fmt: skip
    theirs = Plain(
        model=AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_polars(rows_of(artifacts, tiny_model_folder, 3, 4)),
        processing_class=AutoTokenizer.from_pretrained(tiny_model_folder),
    )
    theirs.train()
    logged = [entry for entry in theirs.state.log_history if "loss" in entry]
    assert facts["steps"] == len(logged) == 6
    assert max(entry["kl"] for entry in logged) > 0, "the reference point is not always at its bound"
    for ours, name in (
        ("loss", "loss"),
        ("margin", "rewards/margins"),
        ("logps_rejected", "logps/rejected"),
        ("reference_point", "kl"),
    ):
        expected = [entry[name] for entry in logged]
        assert step_events(tmp_path / "ours", f"train/{ours}") == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_micro_batches_do_not_change_a_step_nor_an_evaluation(artifacts, tmp_path):
    """11 pairs in batches of 8: the second step has 3, which passes of 2 split unevenly."""
    asked = recipe(**KTO, global_batch_size=8)
    for name, micro in (("one", 8), ("four", 2)):
        train(artifacts, tmp_path / name, asked, machine(micro_batch_size=micro))
    for logged in ("train/loss", "train/accuracy", "validation/loss", "validation/margin"):
        one, four = (step_events(tmp_path / name, logged) for name in ("one", "four"))
        assert four == pytest.approx(one, abs=1e-5)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "four")[name], tensor, atol=1e-5, rtol=0)


def test_a_training_that_ended_early_resumes_to_the_same_bits(artifacts, tmp_path, monkeypatch):
    asked = recipe(**KTO, epochs=2.0, checkpoints=3, evaluations=2, lora=replace(LORA, dropout=0.1))
    train(artifacts, tmp_path / "whole", asked)
    kept, keep = [], dpo.TRAINERS["kto"]._save_checkpoint

    def save_and_end(self, *given):
        keep(self, *given)
        kept.append(self.state.global_step)
        if len(kept) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dpo.TRAINERS["kto"], "_save_checkpoint", save_and_end)
        train(artifacts, tmp_path / "ended", asked)
    assert kept == [2, 4], "within the second epoch"
    train(artifacts, tmp_path / "ended", asked)
    whole, ended = (weights(tmp_path / name) for name in ("whole", "ended"))
    assert all(torch.equal(ended[name], tensor) for name, tensor in whole.items())
    told = [[(e.step, e.metrics) for e in events.read(tmp_path / n / files.EVENTS)] for n in ("whole", "ended")]
    assert told[0] == told[1]
    assert not [p for p in (tmp_path / "whole" / files.MODEL).iterdir() if p.suffix in (".bin", ".pt", ".pkl")]


def test_each_pair_is_a_desirable_and_an_undesirable_response_with_those_of_its_neighbour(artifacts):
    frame = pl.DataFrame(FEW_PAIRS)
    rows = kto.responses(frame, 3, 6, lambda items: [-float(len(completion)) for _, completion in items]).to_dicts()
    assert [row["label"] for row in rows] == [True, False] * 3
    assert [row["completion_ids"] for row in rows[:2]] == [FEW_PAIRS[0]["chosen_ids"], FEW_PAIRS[0]["rejected_ids"]]
    assert rows[0]["KL_completion_ids"] == FEW_PAIRS[2]["chosen_ids"], "the last of the batch comes before the first"
    assert rows[3]["KL_completion_ids"] == FEW_PAIRS[0]["rejected_ids"]
    assert rows[5]["KL_completion_ids"] == [15, 16, 17, 18, 2]
    cut = kto.responses(frame, 3, 5, lambda items: [0.0] * len(items)).to_dicts()
    assert cut[5]["KL_completion_ids"] == [15, 16, 17, 18], "what is beyond the limit after another prompt is cut"
    assert rows[5]["ref_KL_logps"] == -5.0


@pytest.mark.parametrize("pairs", [2, 7, 8, 9])
def test_a_neighbour_is_another_pair_of_the_batch(pairs):
    found = [kto.neighbour(number, range(pairs), pairs, 4) for number in range(pairs)]
    assert all(other != number for number, other in enumerate(found))
    whole = pairs - pairs % 4
    assert sorted(found[:whole]) == [*range(whole)], "each batch has its own responses again"
    assert found[whole:] == (
        [whole - 1] if pairs % 4 == 1 else sorted(found[whole:], key=lambda n: (n != pairs - 1, n))
    )


def test_a_neighbour_is_of_another_prompt():
    """Of three pairs of prompt 0 and one of prompt 1 in a batch, each of the three has that one's responses."""
    assert [kto.neighbour(number, [0, 0, 1, 0, 2], 4, 4) for number in range(4)] == [2, 2, 1, 2]
    assert kto.neighbour(1, [0, 0, 2], 2, 2) == 2, "what may stand in, where the batch has no other"


def test_one_pair_alone_is_refused_in_training_and_has_a_stand_in_in_validation():
    one = pl.DataFrame(FEW_PAIRS[:1])
    with pytest.raises(UserError, match="needs pairs of two prompts at least"):
        kto.responses(one, 4, 96, lambda items: [0.0] * len(items))
    rows = kto.responses(one, 1, 96, lambda items: [0.0] * len(items), beside=pl.DataFrame(FEW_PAIRS[1:])).to_dicts()
    assert rows[0]["KL_completion_ids"] == FEW_PAIRS[1]["chosen_ids"]


def test_the_order_is_a_matter_of_the_seed():
    rows = pl.DataFrame({"n": range(N_TRAIN)})
    assert kto.in_order(rows, 1).equals(kto.in_order(rows, 1))
    assert not kto.in_order(rows, 1).equals(kto.in_order(rows, 2))
    assert sorted(kto.in_order(rows, 2)["n"]) == [*range(N_TRAIN)]


def test_its_reference_point_takes_no_weights():
    with pytest.raises(UserError, match="its reference point is a mean over the batch"):
        check_weights(ASKED)
