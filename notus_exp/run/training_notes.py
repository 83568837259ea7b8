"""What a reader of a run's metrics must know of how it was trained: where that is not preference training as usual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.reporting.texts import many

_UNREFERRED = (
    "the training's own rewards, margins and accuracy are of beta x the policy's log-prob (SimPO's and ORPO's of its "
    "mean by token), while the evaluation compares with the base model as ever"
)


def training_notes(facts: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """Return notes on the recipe of a run whose policy was trained.

    Args:
        facts: Node name -> what it counted.
        config: As run.json holds it; an older one has fewer settings.
    """
    dpo = config["dpo"]
    if "policy" not in facts:
        return []
    notes = []
    algorithm = dpo.get("algorithm", "dpo")
    if algorithm == "kto":
        notes.append(
            "dpo.algorithm=kto trained on each pair as a desirable and an undesirable response, in one order for all "
            "epochs: a batch's own responses after other prompts make its reference point"
        )
    elif algorithm != "dpo":
        notes.append(f"dpo.algorithm={algorithm} trained without a reference; {_UNREFERRED}")
    elif dpo.get("loss_type") == ["sft"]:
        notes.append(f"dpo.loss_type=[sft] trained on the chosen responses alone, whatever was rejected; {_UNREFERRED}")
    counted = facts["policy"]
    processes = counted.get("throughput", {}).get("processes", 1)
    if processes > 1 and dpo["lora"]["r"] and dpo["lora"]["dropout"]:
        notes.append(
            f"the adapter's dropout was drawn by each of {processes} processes: another number of them draws another, "
            "as another seed does, and the policy's key does not tell them apart"
        )
    if "effective_pairs" in counted:
        notes.append(
            f"the training's {many(counted['pairs_trained'], 'pair is', 'pairs are')} weighed, which leaves as much as "
            f"{counted['effective_pairs']:g} of equal weight: gradients are weighed, what is logged are plain means"
        )
    return notes
