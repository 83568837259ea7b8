"""What the counts of a run say about its tokens: where what the model read is not what the texts say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notus_exp.reporting.texts import many

Facts = Mapping[str, Any]

PURPOSES = {"reference": "training", "reference_scored": "scoring"}
"""Node that makes tokens -> what they are for."""


def token_notes(facts: Mapping[str, Facts], config: Mapping[str, Any]) -> list[str]:
    """Return notes on prompts and completions that were left out, cut, hidden, or hold the model's own marks.

    Args:
        facts: Node name -> what it counted; older artifacts count less.
        config: As run.json holds it.
    """
    dpo = config["dpo"]
    if "reference" not in facts and "policy" in facts:  # a training without a reference makes its tokens itself
        facts = {**facts, "reference": facts["policy"]}
    notes = []
    for name, purpose in PURPOSES.items():
        counted = facts.get(name, {})
        notes += [*_too_long(counted, purpose, dpo), *_lost_ends(counted, purpose, dpo)]
        notes += [*_hidden(counted, purpose), *_altered(counted, purpose)]
    scored = facts.get("reference_scored", {}).get("texts_with_special_tokens", 0)
    if scored:
        notes.append(f"{scored} of the scored completions, or their prompts, hold a mark of the model's own")
    cut = facts.get("reference", {}).get("pairs_same_cut")
    return notes + _pairs(facts.get("policy", facts.get("reference", {})), cut, dpo)


def _too_long(counted: Facts, purpose: str, dpo: Mapping[str, Any]) -> list[str]:
    limit = dpo.get("max_prompt_length") or dpo.get("max_length")  # a run of before may not have had them
    notes = []
    if number := counted.get("prompts_too_long", 0):
        notes.append(
            f"{many(number, 'prompt has', 'prompts have')} more than {limit} tokens and {_were(number)} left out of "
            f"{purpose}; dpo.long_prompts=cut keeps their ends, dpo.max_prompt_length moves the limit"
        )
    if number := counted.get("prompts_cut", 0):
        whose = many(number, "prompt has", "prompts have")
        notes.append(
            f"{whose} more than {limit} tokens and lost {'its' if number == 1 else 'their'} beginning in {purpose}"
        )
    return notes


def _lost_ends(counted: Facts, purpose: str, dpo: Mapping[str, Any]) -> list[str]:
    number, needed = counted.get("completions_truncated", 0), counted.get("needed", 0)
    if not number or not needed:
        return []
    holding = counted.get("holding_length")
    longer = f"; dpo.max_length={holding} holds 90 % of them whole" if holding and holding > dpo["max_length"] else ""
    if longer and holding > counted.get("model_length", holding):
        longer = f"; 90 % of them need {holding}, more than the {counted['model_length']} that the model reads"
    return [
        f"{number} of {needed} completions ({number / needed:.0%}) lose their end in {purpose} at "
        f"dpo.max_length={dpo['max_length']}{longer}"
    ]


def _hidden(counted: Facts, purpose: str) -> list[str]:
    number = counted.get("system_turns_hidden", 0)
    if not number:
        return []
    return [
        f"{many(number, 'prompt begins', 'prompts begin')} with a system turn of the data that the chat template does "
        f"not show: in {purpose} the model never sees it; choose a model whose template has one"
    ]


def _altered(counted: Facts, purpose: str) -> list[str]:
    prompts = counted.get("prompts_altered", 0)
    texts = {
        "prompt as it is" if prompts == 1 else "prompts as they are": prompts,
        f"of {counted.get('needed', 0)} completions as they are": counted.get("completions_altered", 0),
    }
    return [
        f"the chat template does not write {number} {what}: it leaves out or changes a part (as some leave "
        f"out what precedes </think>), and in {purpose} the model reads what is left; choose a model whose template "
        "writes them whole, or take such texts out of the data"
        for what, number in texts.items()
        if number
    ]


def _pairs(counted: Facts, same_cut: int | None, dpo: Mapping[str, Any]) -> list[str]:
    notes = []
    same, marked = (
        counted.get(name, 0) + counted.get(f"validation_{name}", 0)
        for name in ("pairs_same_tokens", "pairs_with_special_tokens")
    )
    if same:
        why = "" if same_cut is None else f" ({min(same, same_cut)} of them after dpo.max_length cut a side)"
        which = many(same, "pair has", "pairs have")
        notes.append(f"{which} two sides of the same tokens{why} and {_were(same)} left out of training")
    if marked:
        kept = dpo.get("special_tokens", "keep") == "keep"
        what = f"{_were(marked)} {'kept' if kept else 'left out of training'}"
        notes.append(
            f"{many(marked, 'pair holds', 'pairs hold')} a mark of the model's own in a text, such as its end token, "
            f"and {what} (dpo.special_tokens={dpo.get('special_tokens', 'keep')})"
        )
    return notes


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
