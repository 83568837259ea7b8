"""How much work a stage is, as far as its settings and what lies there tell before it is made; and what was like it.

Amounts compare only within a stage among things that are alike (`likeness`): the unit is the stage's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from notus_exp.config.schema import Stage
from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.hashing import canonical
from notus_exp.run.nodes import Node
from notus_exp.run.shares_of_draw import answered_share, trained_share, training_and_validation
from notus_exp.stages.settings import WRITTEN

COMPLETIONS = 4
"""Completions of a prompt where nothing tells: those of UltraFeedback and of the simulated world."""
VALIDATION_COST = 1 / 3
"""Of a pair that is scored, beside one that is trained on: a forward pass, against one with its gradients (2 to 6 FLOPs
a parameter and token: Kaplan et al. 2020, "Scaling laws for neural language models", section 2.1)."""

FILLED = 1 / 3
"""Of the most tokens that a text may have, the part that it has on average: between 0.2 and 0.4 in docs/results."""

INPUTS = {"feedback": (Stage.feedback,), "pairs": (Stage.pairs,), "base_model": (Stage.base_model, Stage.sft),
          "reference": (Stage.reference,), "reference_scored": (Stage.reference,),
          "policy": (Stage.policy, Stage.base_model), "generations": (Stage.generations,),
          "instructions": (Stage.feedback,), "answers": (Stage.feedback,)}  # fmt: skip
"""Name of an input -> the stages of which one makes it."""

Finder = Callable[[Stage, str], Node | Manifest | None]
"""Finds by stage and key what is planned or lies there."""
FactsOf = Callable[[Stage, str], Mapping[str, Any] | None]
"""Finds by stage and key what an artifact that lies there counted."""


class Known(NamedTuple):
    """Where amounts are looked up: nodes of a plan, artifacts that lie there, and what those counted."""

    look: Finder
    facts: FactsOf


def likeness(stage: Stage, one: Node | Manifest, look: Finder) -> str | None:
    """Return what two artifacts of a stage share if their seconds can be compared, amount against amount.

    None where something that it was made from is not there any more.
    """
    settings = one.settings
    try:
        match stage:
            case Stage.responses:
                told = [settings["writer"], settings["endpoint_model"], settings["skill"], settings["precision"]]
                told += [_model(one, look)] if "base_model" in one.inputs else []
            case Stage.feedback:
                told = [_data(one)]
            case Stage.annotations:
                judge = settings["judge"]
                told = [_data(_input(one, "feedback", look)), judge["name"], judge.get("model"), settings["files"]]
                told += [settings["pairs"], settings["rubric"], settings.get("together"), settings.get("form")]
                told += ["doubtful" in settings]
            case Stage.columns:
                told = [_data(_input(one, "feedback", look)), sorted([*settings["joined"], *settings.get("taken", [])])]
                told += [_model(one, look)] if "base_model" in one.inputs else []
            case Stage.pairs:
                told = [_data(_input(one, "feedback", look)), settings["contamination_digests"]]
            case Stage.base_model:
                told = [settings, _model(one, look) if "base_model" in one.inputs else None]
                told = told if told[1] else [settings]
            case Stage.sft:
                sft = settings["sft"]
                data = _data(_input(_input(one, "pairs", look), "feedback", look)) if "pairs" in one.inputs else None
                told = [_model(one, look), data, settings["data_digest"], sft["precision"], sft["max_length"]]
                told += [sft["lora"]["r"] > 0, sft["optimizer"]]
            case Stage.reference:
                data = _data(_input(one, "feedback", look))
                told = [_model(one, look), data, settings["precision"], settings["max_length"]]
            case Stage.policy:
                dpo, data = settings["dpo"], _data(_input(_input(one, "pairs", look), "feedback", look))
                told = [_model(one, look), data, dpo["precision"], dpo["max_length"], dpo["lora"]["r"] > 0]
                told += [dpo["optimizer"], dpo.get("algorithm", "dpo")]
            case Stage.generations:
                told = [_model(one, look), settings["precision"], settings["endpoint_model"], "policy" in one.inputs]
                told += [settings["evaluation"], _of_file(one)]
            case Stage.likelihoods:
                told = [_model(one, look), settings["precision"]]
                if "reference_scored" in one.inputs:
                    told.append(_data(_input(_input(one, "reference_scored", look), "feedback", look)))
            case Stage.benchmarks:
                asked = settings["lm_eval"]
                told = [_model(one, look), settings["precision"], "policy" in one.inputs, asked["tasks"]]
            case Stage.judgments:
                judge = settings["judge"]
                told = [settings["evaluation"], judge["name"], judge.get("model")]
                told.append(_of_file(_input(one, "generations", look)))
            case _:
                told = [sorted(name for name, value in settings.items() if isinstance(value, dict) and "name" in value)]
    except KeyError:  # an input that was pruned, or a setting that there was not yet
        return None
    return canonical(told)


def planned(node: Node, known: Known) -> float | None:
    """Return how much work a node that is not made yet is; None where that is not known before its inputs are made.

    A node of the stage `reference` is the log-probs that it alone would need; see `union`.
    """
    settings = node.settings
    match node.stage:
        case Stage.responses:
            answers = answers_of(node, known)
            return None if answers is None else max(1.0, answers * (settings["max_new_tokens"] or 1))
        case Stage.feedback:
            return _prompts(node, known) or 1.0  # of a file the rows are not counted here: alike are those of one file
        case Stage.annotations | Stage.columns | Stage.pairs:
            return _prompts(_input(node, "feedback", known.look), known) or 1.0
        case Stage.sft:
            sft, there = settings["sft"], conversations_of(node, known)
            if sft["max_steps"] is None and there is None:
                return None
            count, held_out = there or (0.0, 0.0)
            trained = sft["max_steps"] * sft["global_batch_size"] if sft["max_steps"] else count * sft["epochs"]
            scored = min(held_out, sft["max_validation"] or held_out)
            return float(trained + VALIDATION_COST * sft["evaluations"] * scored)
        case Stage.reference:
            return _completions(node, known)
        case Stage.policy:
            counted = pairs_of(node, known)
            if counted is None:
                return None
            dpo = settings["dpo"]
            trained = dpo["max_steps"] * dpo["global_batch_size"] if dpo["max_steps"] else counted[0] * dpo["epochs"]
            scored = min(counted[1], dpo["max_validation_pairs"] or counted[1])
            return float(trained + VALIDATION_COST * dpo["evaluations"] * scored)
        case Stage.generations:
            return float((prompts_asked(node) or 1) * settings["max_new_tokens"])
        case Stage.likelihoods:
            preferences = "reference_scored" in node.inputs
            completions = _completions(_input(node, "reference_scored", known.look), known) if preferences else 0.0
            return None if completions is None else max(1.0, completions + settings["kl_prompts"])
        case Stage.benchmarks:
            return float(settings["lm_eval"]["limit"] or 1)
        case _:
            return 1.0


def recorded(manifest: Manifest) -> float | None:
    """Return how much work made an artifact, in the unit of `planned`; None where that is not comparable."""
    facts, settings = manifest.facts, manifest.settings
    match Stage[manifest.stage]:
        case Stage.responses:
            # what came out of the cache tells nothing of what asking takes
            asked = facts["prompts"] * (settings["max_new_tokens"] or 1)
            return None if facts.get("from_cache") else float(max(1, asked))
        case Stage.feedback:
            return float(facts["prompts"]) if settings["data"]["name"] in ("simulated", "made") else 1.0
        case Stage.annotations:
            # what came out of the cache tells nothing of what asking takes
            return None if facts.get("from_cache") else float(facts["prompts"])
        case Stage.columns:
            return float(facts["prompts"])
        case Stage.pairs:
            return float(facts["prompts_in"])
        case Stage.sft:
            sft = settings["sft"]
            passes = facts["steps"] * sft["global_batch_size"]
            return float(passes + VALIDATION_COST * sft["evaluations"] * facts["validation_conversations"])
        case Stage.reference:
            return float(facts["computed"])
        case Stage.policy:
            dpo = settings["dpo"]
            passes = facts["steps"] * dpo["global_batch_size"]
            return float(passes + VALIDATION_COST * dpo["evaluations"] * facts["validation_pairs"])
        case Stage.generations:
            return float((facts["prompts"] if prompts_asked(manifest) else 1) * settings["max_new_tokens"])
        case Stage.likelihoods:
            return float(facts["completions"] + facts["answers"])
        case Stage.benchmarks:
            return float(settings["lm_eval"]["limit"] or 1)
        case Stage.judgments:
            # what came out of the cache tells nothing of what asking takes
            return None if facts.get("from_cache") else 1.0
        case _:
            return 1.0


def answers_of(node: Node, known: Known) -> float | None:
    """Return how many prompts a writer answers: its share of those there are; None where nothing tells how many."""
    draw = node.settings["draw"]
    prompts = _at_most(_prompts(_input(node, "instructions", known.look), known), draw)
    return None if prompts is None else prompts * answered_share(draw) * draw["per_prompt"] / len(draw["writers"])


def trained_prompts(node: Node, known: Known) -> float | None:
    """Return how many prompts to train on the round of a writer's node has; None where nothing tells, or it has all."""
    draw = node.settings["draw"]
    prompts = _at_most(_prompts(_input(node, "instructions", known.look), known), draw)
    return None if prompts is None or "part" not in draw else prompts * trained_share(draw)


def prompts_asked(node: Node | Manifest) -> int | None:
    """Return how many prompts are answered; None where they come in a file."""
    told = node.settings["chosen"].get("prompts")
    return told if isinstance(told, int) else None


def tokens(node: Node, known: Known) -> float:
    """Return the tokens that a text of a node which scores or trains may have: a part of what is allowed."""
    settings = node.settings
    if node.stage is Stage.policy:
        most = settings["dpo"]["max_length"]
    elif node.stage is Stage.sft:
        most = settings["sft"]["max_length"]
    elif node.stage is Stage.reference:
        most = settings["max_length"]
    elif "reference_scored" in node.inputs:
        most = _input(node, "reference_scored", known.look).settings["max_length"]
    else:
        return float(_input(node, "generations", known.look).settings["max_new_tokens"])
    return float(most * FILLED)


def completions_of(node: Node | Manifest, known: Known) -> tuple[float, float] | None:
    """Return the prompts of a node's input `feedback` and the completions of each; None where nothing tells."""
    prompts = _prompts(_input(node, "feedback", known.look), known)
    return None if prompts is None else (prompts, _completions_each(node, known))


def union(wanted: Sequence[Node | Manifest], made: Sequence[Node | Manifest], known: Known) -> float | None:
    """Return how many log-probs of the reference several nodes with the same feedback and base model still need.

    What one of them has computed is found by the others. Which completions they share is not known before curation, so
    they are counted as if each pair were two of its prompt's completions drawn at random: of a prompt with c of them k
    nodes need c (1 - (1 - 2/c)^k) on average.

    Args:
        wanted: Nodes of the stage `reference` that are to be made.
        made: Those that lie there.
        known: Where amounts are looked up.
    """
    needed, found = _union([*wanted, *made], known), _union(made, known)
    return None if needed is None or found is None else max(0.0, needed - found)


def pairs_of(node: Node | Manifest, known: Known) -> tuple[float, float] | None:
    """Return the pairs to train on and those to validate on of a node's input `pairs`, None where nothing tells.

    As counted where they lie there; else what `filters.keep` and `filters.max_pairs` leave of the share of prompts,
    each with as many pairs as `pairs.per_prompt` says.
    """
    if facts := known.facts(Stage.pairs, node.inputs["pairs"]):
        return float(facts["split/train"]), float(facts["split/validation"])
    pairs = _input(node, "pairs", known.look)
    feedback = _input(pairs, "feedback", known.look)
    prompts, split, filters = _prompts(feedback, known), pairs.settings["split"], pairs.settings["filters"]
    if prompts is None:
        return None
    made = prompts * _pairs_each(pairs, known)
    trained, validated = _split_of(feedback, split, known)
    train = made * trained / split.get("folds", 1) * filters.get("keep", {}).get("share", 1.0)
    return min(train, filters["max_pairs"] or train), made * validated


def _split_of(feedback: Node | Manifest, split: Mapping[str, Any], known: Known) -> tuple[float, float]:
    """Return the shares of a feedback's prompts that are for training and for validation; a round has parts of them."""
    answers = _input(feedback, "answers", known.look) if "answers" in feedback.inputs else feedback
    return training_and_validation(_draw_of(answers, known), split)


def conversations_of(node: Node | Manifest, known: Known) -> tuple[float, float] | None:
    """Return the conversations to train on and those to measure on of a supervised training, None where nothing tells.

    Of chosen responses there is at most one a pair.
    """
    if "pairs" in node.inputs:
        return pairs_of(node, known)
    sft, facts = node.settings["sft"], known.facts(Stage.sft, node.key)
    if facts is None:
        return None
    held_out = float(facts["conversations"]) * sft["validation"]
    train = float(facts["conversations"]) - held_out
    return min(train, sft["max_conversations"] or train), held_out


def _pairs_each(pairs: Node | Manifest, known: Known) -> float:
    """Return the pairs that a prompt gives at most."""
    worse = _completions_each(pairs, known) - 1
    several = pairs.settings.get("pairs", {}).get("per_prompt", "1")
    return worse if several == "all_worse" else min(float(several), max(1.0, worse))


def _union(nodes: Sequence[Node | Manifest], known: Known) -> float | None:
    scored, training = 0.0, list[float]()
    for node in nodes:
        if (count := _completions(node, known)) is None:
            return None
        if node.settings.get("everything"):  # the others are among them
            return count
        if "pairs" in node.inputs:
            training.append(count)
        else:  # of several splits or sizes the largest: no run asks for two
            scored = max(scored, count)
    if not training:
        return scored
    pool = max(training) / 2 * _completions_each(nodes[0], known)
    return scored + pool * (1 - prod(1 - min(1.0, one / pool) for one in training))


def _completions(node: Node | Manifest, known: Known) -> float | None:
    """Return how many completions a reference node asks for: all, of pairs both, or all of the prompts scored."""
    settings = node.settings
    if facts := known.facts(Stage.reference, node.key):
        return float(facts["needed"])
    if settings.get("everything"):
        prompts = _prompts(_input(node, "feedback", known.look), known)
        return prompts and prompts * _completions_each(node, known)
    if "pairs" in node.inputs:
        counted = pairs_of(node, known)
        return counted and 2 * (counted[0] + min(counted[1], settings["max_validation_pairs"] or counted[1]))
    prompts = _prompts(_input(node, "feedback", known.look), known)
    most = settings["preferences"]["max_prompts"]
    bounds = [prompts * settings["split"][settings["scored_split"]]] if prompts is not None else []
    bounds += [most] if most else []
    return min(bounds) * _completions_each(node, known) if bounds else None


def _completions_each(node: Node | Manifest, known: Known) -> float:
    facts = known.facts(Stage.feedback, node.inputs["feedback"])
    if facts and facts["prompts"]:
        return float(facts["completions"]) / float(facts["prompts"])
    data = _input(node, "feedback", known.look).settings["data"]
    if data["name"] == "made":
        return float(data["per_prompt"])
    return 2.0 if data["name"] == "pairs" else float(COMPLETIONS)


def _prompts(feedback: Node | Manifest, known: Known) -> float | None:
    """Return the prompts of a feedback: counted where it lies there, else as the simulated world makes them.

    Data that is made here has those that it is asked for.
    """
    facts = known.facts(Stage.feedback, feedback.key)
    if facts:
        return float(facts["prompts"])
    data = feedback.settings["data"]
    if data["name"] == "made":
        read = "answers" if "answers" in feedback.inputs else "instructions"
        prompts = _at_most(_prompts(_input(feedback, read, known.look), known), data)
        return prompts if prompts is None else prompts * answered_share(_draw_of(feedback, known))
    told = data.get("prompts")
    return None if told is None else float(told)


def _draw_of(answers: Node | Manifest, known: Known) -> Mapping[str, Any]:
    """Return the draw of the writers whose answers a table has; nothing of a table that is read of such a one."""
    for name, key in answers.inputs.items():
        if name.startswith(WRITTEN) and (writer := known.look(Stage.responses, key)):
            draw: Mapping[str, Any] = writer.settings["draw"]
            return draw
    return {}


def _at_most(prompts: float | None, asked: Mapping[str, Any]) -> float | None:
    """Return how many of the prompts are asked; where it is not known how many there are, the most that are."""
    most = asked["max_prompts"]
    if most is None or prompts is None:
        return prompts if most is None else float(most)
    return min(prompts, float(most))


def _of_file(answers: Node | Manifest) -> Any:
    """Return what chooses prompts that come in a file, None of others: how many it holds is not counted here."""
    return answers.settings["chosen"] if prompts_asked(answers) is None else None


def _input(one: Node | Manifest, name: str, look: Finder) -> Node | Manifest:
    """Return what an input was, or will be, made with; KeyError where nothing tells."""
    for stage in INPUTS[name]:
        if found := look(stage, one.inputs[name]):
            return found
    raise KeyError(name)


def _data(feedback: Node | Manifest) -> Any:
    return [feedback.settings["data"]["name"], feedback.settings["data_digest"]]


def _model(one: Node | Manifest, look: Finder) -> Any:
    """Return what says which model one is made from; of one that was trained before, what it was trained from."""
    base = _input(one, "base_model", look)
    return _model(base, look) if "base_model" in base.inputs else base.settings
