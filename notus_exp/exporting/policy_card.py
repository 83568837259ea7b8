"""The card of a policy that is handed over: how it is loaded, by which recipe it was trained, and what it reached."""

from __future__ import annotations

from notus_exp.exporting.cards import card, level
from notus_exp.exporting.chosen_run import ChosenRun
from notus_exp.exporting.data_card import metric_rows
from notus_exp.exporting.handed_weights import ADAPTER, HandedWeights


def policy_card(chosen: ChosenRun, handed: HandedWeights) -> str:
    """Return the text of the policy's README.md."""
    run, config = chosen.run, chosen.run.record.get("config", {})
    adapter = handed.kind == ADAPTER
    dpo = config.get("dpo", {})
    rounds = {"rounds": config["rounds"]} if run.rounds > 1 else {}
    recipe = {
        **rounds,
        "dpo": dpo,
        "seed": run.record.get("seed"),
        "system_prompt": config.get("model", {}).get("system_prompt"),
    }
    return card(
        "policy_card.md.j2",
        name=chosen.study.name if chosen.study else run.run_id,
        run=run.run_id,
        kind=handed.kind,
        base=list(handed.base) if handed.base else None,
        adapter=adapter,
        library="peft" if adapter else "transformers",
        tags=[dpo.get("algorithm", "dpo"), "trl", "notus-exp", *(["lora"] if adapter else [])],
        notes=handed.notes,
        recipe=level(recipe),
        metrics=metric_rows(run),
        artifacts={node: stage["key"] for node, stage in run.record["stages"].items()},
    )
