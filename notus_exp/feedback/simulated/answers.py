"""Answers of simulated models: what a model of some skill writes for a prompt, and how good that truly is.

A model gets each single thing right with the probability `skill`: each constraint, each statement, being helpful
(neither padded nor off the topic nor hollow) and being plain where it knows. The qualities are then read off the text
that came out: whether a constraint is kept is what `constraints.follows` says, not what was intended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import NamedTuple

from notus_exp.feedback.simulated.constraints import follows, words
from notus_exp.feedback.simulated.draws import Draws
from notus_exp.feedback.simulated.prompts import BEGINNINGS, ENDINGS, JSON_KEYS, Prompt
from notus_exp.feedback.simulated.topics import Topic, topics

_MOST = 4
"""Statements in an answer, at most."""
_ATTEMPTS = 12
"""How often an answer is worded anew when another model already gave the same text."""

COUNTED = {"bullets", "sentences", "json"}
"""Kinds of constraint that fix how many sentences an answer has."""
HEDGES = ("I think", "Perhaps", "It may be that", "I am not sure but I guess")
HOLLOW = (
    "Much could be said about {}.",
    "People often talk about {}.",
    "There is a lot to know about {}.",
    "Opinions about {} differ.",
)
FILLERS = (
    "It is really worth knowing that {}.",
    "Many people would surely agree that {}.",
    "Let me begin by saying that {}.",
    "{} as almost everybody knows already.",
    "{} and that is simply how things are.",
    "{} in my own personal view of things.",
)
COMMAS = ("Well, {}.", "{}, of course.", "{}, as you know.", "Yes, {}.")


class SimulatedAnswer(NamedTuple):
    """A response and its true qualities, each in [0, 1], in the order of `SIMULATED_ASPECTS`."""

    response: str
    qualities: tuple[float, float, float, float]


class _Plan(NamedTuple):
    """What a model gets right and wrong in one answer."""

    kept: frozenset[str]  # the kinds of the constraints that it means to keep
    wrong: tuple[bool, ...]  # for each statement that it may make
    hedged: bool
    defect: str  # "", padded, off_topic or hollow


class _Statement(NamedTuple):
    text: str
    true: bool


def answer(
    prompt: Prompt, skill: float, draws: Draws, taken: Collection[str] = (), *, least: int = 1
) -> SimulatedAnswer:
    """Write one answer.

    Args:
        prompt: What is asked.
        skill: Probability in [0, 1] of getting each single thing right; 1.0 keeps every constraint, always.
        draws: The prompt's stream of choices.
        taken: Responses of other models; the same text is avoided where another wording exists.
        least: Statements to make, at least, where no constraint counts sentences or words; 1 to 3.
    """
    plan = _make_plan(prompt, skill, draws)
    for _ in range(_ATTEMPTS):
        statements = _statements(prompt, plan, draws, least)
        response = _write(prompt, plan, statements, draws)
        if response not in taken:
            break
    return SimulatedAnswer(response, _qualities(prompt, plan, statements, response))


def _make_plan(prompt: Prompt, skill: float, draws: Draws) -> _Plan:
    kept = frozenset(constraint.kind for constraint in prompt.constraints if draws.chance(skill))
    defects = _possible_defects(prompt, kept)
    return _Plan(
        kept=kept,
        wrong=tuple(not draws.chance(skill) for _ in range(_MOST)),
        hedged=not draws.chance(skill),
        defect="" if draws.chance(skill) or not defects else draws.pick(defects),
    )


def _possible_defects(prompt: Prompt, kept: frozenset[str]) -> list[str]:
    """Return the ways of being unhelpful that contradict no constraint as it is kept or broken; it can be none."""
    # The words asked for are those of a true statement on the topic.
    defects = [] if "include" in kept else ["off_topic", "hollow"]
    short = "max_words" in kept or ("min_words" in prompt.constraints_by_kind and "min_words" not in kept)
    return defects if short else [*defects, "padded"]


def _qualities(
    prompt: Prompt, plan: _Plan, statements: list[_Statement], response: str
) -> tuple[float, float, float, float]:
    """Return helpfulness, honesty, instruction following and truthfulness.

    Helpfulness: 1, or 0.5 if padded or hollow, 0 off the topic. Honesty: 1 if right and plain, 0.5 if hedged, 0 if
    wrong and plain. Instruction following: the share of constraints kept. Truthfulness: 1 if every statement is true,
    0 if none is, else 0.5.
    """
    right = sum(statement.true for statement in statements)
    truthfulness = 1.0 if right == len(statements) else 0.5 if right else 0.0
    honesty = 0.5 if plan.hedged else float(truthfulness == 1.0)
    helpfulness = {"": 1.0, "padded": 0.5, "hollow": 0.5, "off_topic": 0.0}[plan.defect]
    kept = sum(follows(constraint, response) for constraint in prompt.constraints)
    return helpfulness, honesty, kept / len(prompt.constraints), truthfulness


# ------------------------------------------------------------------------------------------------------- what is said
def _statements(prompt: Prompt, plan: _Plan, draws: Draws, least: int) -> list[_Statement]:
    """Choose what is said, in order: as many statements as the constraints, kept or broken, ask for."""
    exact, fewest_words = _amount(prompt, plan, draws, least)
    if plan.defect == "hollow":
        supply = [_Statement(text.format(prompt.topic.name), True) for text in draws.shuffled(HOLLOW)]
    else:
        supply = _supply(prompt, plan, draws)
    if fewest_words:
        exact = next((n for n in range(1, _MOST) if _count(supply[:n]) >= fewest_words), _MOST)
    return draws.shuffled(supply[:exact])


def _amount(prompt: Prompt, plan: _Plan, draws: Draws, least: int) -> tuple[int, int]:
    """Return how many statements to make, and the least number of words where that decides instead (else 0)."""
    for kind, params in prompt.constraints_by_kind.items():
        kept = kind in plan.kept
        if kind in ("bullets", "sentences"):
            n = params["n"]
            return (n if kept else n + draws.pick((-1, 1) if n > 1 else (1,))), 0
        if kind == "json":
            return 1, 0
        if kind == "max_words":
            return (1, 0) if kept else (_MOST, params["n"] + 1)
        if kind == "min_words":
            return (_MOST, params["n"]) if kept else (1, 0)
    return least + draws.chance(0.35), 0


def _supply(prompt: Prompt, plan: _Plan, draws: Draws) -> list[_Statement]:
    """Return `_MOST` statements, true and wrong as planned, with or without the words that are asked for."""
    topic = _other_topic(prompt.topic, draws) if plan.defect == "off_topic" else prompt.topic
    true, wrong = draws.shuffled(topic.true), draws.shuffled(topic.wrong)
    asked = prompt.constraints_by_kind.get("include", {}).get("words", [])
    supply = []
    if asked:
        having = [text for text in true if {*asked} <= {word.lower() for word in words(text)}]
        true = [text for text in true if not {*asked} & {word.lower() for word in words(text)}]
        wrong = [text for text in wrong if not {*asked} & {word.lower() for word in words(text)}]
        if "include" in plan.kept:
            supply.append(_Statement(having[0], True))
    # A single statement that must have the words asked for is a true one; further ones are as planned.
    for is_wrong in plan.wrong[len(supply) :]:
        if is_wrong and wrong:
            supply.append(_Statement(wrong.pop(), False))
        elif true:
            supply.append(_Statement(true.pop(), True))
    spare = (text.format(topic.name) for text in draws.shuffled(HOLLOW))
    while len(supply) < _MOST:
        supply.append(_Statement(next(spare), True))
    return supply


def _other_topic(topic: Topic, draws: Draws) -> Topic:
    others = topics()
    return others[(others.index(topic) + 1 + draws.below(len(others) - 1)) % len(others)]


def _count(statements: list[_Statement]) -> int:
    return sum(len(words(statement.text)) for statement in statements)


# -------------------------------------------------------------------------------------------------- how it is written
def _write(prompt: Prompt, plan: _Plan, statements: list[_Statement], draws: Draws) -> str:
    """Put the statements into the form that the constraints ask for, or into one that breaks them."""
    asked = prompt.constraints_by_kind
    texts = _phrase(prompt, plan, statements, draws)
    if "no_commas" in asked and "no_commas" not in plan.kept:
        place = draws.below(len(texts))
        texts[place] = _wrap(draws.pick(COMMAS), texts[place])
    if "bullets" in asked and ("bullets" in plan.kept or draws.chance(0.5)):
        text = "\n".join(f"- {text}" for text in texts)
    elif "json" in asked:
        text = _as_json(prompt, plan, texts[0], draws)
    else:
        text = " ".join([*texts, *_sum(prompt, plan, draws)])
    text = _between_phrases(prompt, plan, text, draws)
    if "exclamations" in asked:
        text = _exclaim(text, "exclamations" in plan.kept, draws)
    if "quoted" in asked:
        text = f'"{text}"' if "quoted" in plan.kept else draws.pick((text, f'"{text}', text))
    if "lowercase" in plan.kept:
        return text.lower()
    return text.upper() if "uppercase" in plan.kept else text


def _phrase(prompt: Prompt, plan: _Plan, statements: list[_Statement], draws: Draws) -> list[str]:
    """Return the statements' texts, one of them hedged or padded as planned; a wrong one is hedged first.

    Half of the padding, where no constraint counts sentences, is what weak models do: saying the last one again.
    """
    texts = [statement.text for statement in statements]
    if plan.hedged:
        place = next((place for place, statement in enumerate(statements) if not statement.true), 0)
        texts[place] = _wrap(draws.pick(HEDGES) + " {}.", texts[place])
    if plan.defect == "padded" and not COUNTED & prompt.constraints_by_kind.keys() and draws.chance(0.5):
        texts += 2 * [texts[-1]]
    elif plan.defect == "padded":
        place = draws.below(len(texts))
        texts[place] = _wrap(draws.pick(FILLERS), texts[place])
    return texts


def _wrap(frame: str, sentence: str) -> str:
    """Put a sentence into a frame such as "Well, {}.", with a small first letter inside it."""
    inner = sentence.removesuffix(".")
    if not frame.startswith("{") and not inner.startswith("I "):
        inner = inner[0].lower() + inner[1:]
    return frame.format(inner)


def _as_json(prompt: Prompt, plan: _Plan, text: str, draws: Draws) -> str:
    keys = prompt.constraints_by_kind["json"]["keys"]
    if "json" not in plan.kept:
        if draws.chance(0.5):
            return text
        keys = draws.pick([other for other in JSON_KEYS if [*other] != keys])
    return json.dumps({keys[0]: prompt.topic.name, keys[1]: text})


def _sum(prompt: Prompt, plan: _Plan, draws: Draws) -> list[str]:
    """Return the sentence with the sum, a wrong one or none."""
    if "sum" not in prompt.constraints_by_kind or ("sum" not in plan.kept and draws.chance(0.5)):
        return []
    a, b = (prompt.constraints_by_kind["sum"][name] for name in "ab")
    total = a + b if "sum" in plan.kept else a + b + draws.pick((-2, -1, 1, 2, 3))
    return [draws.pick((f"{a} plus {b} is {total}.", f"The sum is {total}.", f"{a} and {b} make {total}."))]


def _between_phrases(prompt: Prompt, plan: _Plan, text: str, draws: Draws) -> str:
    """Put the phrase asked for before or behind the text; a model that breaks this uses another phrase or none."""
    asked = prompt.constraints_by_kind
    if "begin" in asked:
        phrase = _phrase_or_other(asked["begin"]["phrase"], "begin" in plan.kept, BEGINNINGS, draws)
        text = f"{phrase} {text}".strip()
    if "end" in asked:
        phrase = _phrase_or_other(asked["end"]["phrase"], "end" in plan.kept, ENDINGS, draws)
        text = f"{text} {phrase}".strip()
    return text


def _phrase_or_other(phrase: str, kept: bool, phrases: tuple[str, ...], draws: Draws) -> str:
    if kept:
        return phrase
    return draws.pick(("", "", draws.pick([other for other in phrases if other != phrase])))


def _exclaim(text: str, kept: bool, draws: Draws) -> str:
    """End every sentence in "!", or, where that is broken, none or only the first of several."""
    ends = len(re.findall(r"\.(?=\s|$)", text))
    if kept:
        return re.sub(r"\.(?=\s|$)", "!", text)
    return text.replace(".", "!", 1) if ends > 1 and draws.chance(0.5) else text
