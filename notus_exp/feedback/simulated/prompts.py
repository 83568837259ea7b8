"""Prompts of the simulated world: a short request about a topic, with constraints that go together."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from notus_exp.disk.hashing import prompt_id
from notus_exp.feedback.simulated.constraints import Constraint
from notus_exp.feedback.simulated.draws import KIND_ORDER, Draws
from notus_exp.feedback.simulated.topics import Topic, topics

OPENERS = (
    "Tell me about {}.",
    "Say something about {}.",
    "What can you tell me about {}?",
    "What do you know about {}?",
    "Write something about {}.",
    "Describe {} briefly.",
    "Share what you know about {}.",
    "Let me hear about {}.",
    "Talk about {}.",
    "I want to read about {}.",
    "Please tell me about {}.",
    "Explain {} to a child.",
)
NUMBERS = {1: "one", 2: "two", 3: "three"}
BEGINNINGS = ("In short:", "Here we go:", "Good question:", "Sure thing:", "My answer:", "Well now:")
ENDINGS = ("That is all.", "Hope that helps.", "Have a nice day.", "The end.", "Ask me more.", "Now you know.")
JSON_KEYS = (("topic", "fact"), ("subject", "note"), ("name", "info"), ("title", "text"))

WORDINGS: dict[str, tuple[str, ...]] = {
    "lowercase": ("Use only lowercase letters.", "Write everything in lowercase.", "Do not use any capital letters."),
    "uppercase": ("Use only capital letters.", "Write everything in capital letters.", "Answer in all capitals."),
    "bullets": (
        'Answer with exactly {count} bullet{s} that start with "- ".',
        "Give exactly {count} bullet point{s} and nothing else.",
        'Make a list of {count} line{s} that start with "- ".',
    ),
    "sentences": (
        "Write exactly {count} sentence{s}.",
        "Use {count} sentence{s} only.",
        "Answer in exactly {count} sentence{s}.",
    ),
    "begin": ('Begin with "{phrase}".', 'Start your answer with "{phrase}".', 'The first words must be "{phrase}".'),
    "end": ('End with "{phrase}"', 'Finish your answer with "{phrase}"', 'The last words must be "{phrase}"'),
    "include": ("Use the word{s} {listed}.", "Include the word{s} {listed}.", "Your answer must contain {listed}."),
    "no_commas": ("Use no commas.", "Do not use any commas.", "Avoid commas."),
    "max_words": ("Use at most {n} words.", "Keep it to {n} words or fewer.", "Do not use more than {n} words."),
    "min_words": ("Use at least {n} words.", "Write {n} words or more.", "Do not use fewer than {n} words."),
    "json": (
        "Answer as a JSON object with the keys {listed}.",
        "Reply only in JSON with the keys {listed}.",
        "Give a JSON object whose keys are {listed}.",
    ),
    "quoted": (
        "Put the whole answer in double quotes.",
        "Wrap your answer in double quotes.",
        "Begin and end your answer with a double quote.",
    ),
    "sum": ("Also say what {a} plus {b} is.", "Also add {a} and {b}.", "Then give the sum of {a} and {b}."),
    "exclamations": (
        "End every sentence with an exclamation mark.",
        "Each sentence must end with an exclamation mark.",
        "Finish all sentences with an exclamation mark.",
    ),
}

_PARAMS: dict[str, Callable[[Draws, Topic], dict[str, Any]]] = {
    "bullets": lambda draws, topic: {"n": 2 + draws.below(2)},
    "sentences": lambda draws, topic: {"n": 1 + draws.below(3)},
    "begin": lambda draws, topic: {"phrase": draws.pick(BEGINNINGS)},
    "end": lambda draws, topic: {"phrase": draws.pick(ENDINGS)},
    "include": lambda draws, topic: {"words": _words_to_include(draws, topic)},
    "max_words": lambda draws, topic: {"n": 10 + 2 * draws.below(3)},
    "min_words": lambda draws, topic: {"n": 12 + 2 * draws.below(3)},
    "json": lambda draws, topic: {"keys": list(draws.pick(JSON_KEYS))},
    "sum": lambda draws, topic: {"a": 2 + draws.below(8), "b": 2 + draws.below(8)},
}
"""How a kind's parameters are drawn; the other kinds have none."""

_CLASHES: dict[str, str] = {
    "lowercase": "uppercase begin end",
    "uppercase": "begin end json",
    "bullets": "sentences begin end max_words min_words json quoted sum exclamations",
    "sentences": "end max_words min_words json sum",
    "begin": "max_words json quoted",
    "end": "max_words json quoted exclamations",
    "include": "",
    "no_commas": "json",
    "max_words": "min_words json sum",
    "min_words": "json",
    "json": "quoted sum exclamations",
    "quoted": "",
    "sum": "",
    "exclamations": "",
}
"""kind -> later kinds that no natural answer could follow together with it, or only by accident."""

KINDS = tuple(_CLASHES)
COMPATIBLE: dict[str, frozenset[str]] = {
    kind: frozenset(
        other
        for other in KINDS
        if other != kind and other not in _CLASHES[kind].split() and kind not in _CLASHES[other].split()
    )
    for kind in KINDS
}
"""kind -> the kinds that may stand beside it in a prompt (symmetric)."""


class Prompt(NamedTuple):
    """One prompt of the world."""

    prompt_id: str
    instruction: str
    topic: Topic
    constraints: tuple[Constraint, ...]

    @property
    def constraints_by_kind(self) -> dict[str, dict[str, Any]]:
        """The parameters by kind; a prompt has no kind twice."""
        return {constraint.kind: constraint.params for constraint in self.constraints}


def make_prompt(draws: Draws, first_kind: str, fewest: int, most: int) -> Prompt:
    """Make a prompt with `fewest` to `most` constraints, one of which is of `first_kind`."""
    topic = draws.pick(topics())
    kinds = _choose_kinds(draws, first_kind, fewest + draws.below(most - fewest + 1))
    constraints = tuple(Constraint(kind, _PARAMS[kind](draws, topic) if kind in _PARAMS else {}) for kind in kinds)
    demands = " ".join(worded(constraint, draws.pick(WORDINGS[constraint.kind])) for constraint in constraints)
    instruction = f"{draws.pick(OPENERS).format(topic.name)} {demands}"
    return Prompt(prompt_id(instruction), instruction, topic, constraints)


def first_kind(seed: int, purpose: int, index: int) -> str:
    """Return the kind that prompt `index` has for certain: each run of `len(KINDS)` prompts has every kind once."""
    block, place = divmod(index, len(KINDS))
    return _order(seed, purpose, block)[place]


@lru_cache(maxsize=8)
def _order(seed: int, purpose: int, block: int) -> list[str]:
    return Draws(KIND_ORDER, purpose, block, seed).shuffled(KINDS)


def worded(constraint: Constraint, wording: str) -> str:
    """Put a constraint's parameters into one of its wordings."""
    params = constraint.params
    listed = params.get("words") or params.get("keys") or []
    number = params.get("n", len(listed))
    shown = {"count": NUMBERS.get(number), "s": "" if number == 1 else "s", "listed": _listed(listed)}
    return wording.format(**{**params, **shown})


def _choose_kinds(draws: Draws, first: str, number: int) -> list[str]:
    kinds = [first]
    while len(kinds) < number:
        fitting = frozenset.intersection(*(COMPATIBLE[kind] for kind in kinds))
        kinds.append(draws.pick([kind for kind in KINDS if kind in fitting]))
    return draws.shuffled(kinds)


def _words_to_include(draws: Draws, topic: Topic) -> list[str]:
    """Return one or two words of the same true sentence, so that a natural answer can have them all."""
    choices = draws.pick([keywords for keywords in topic.keywords if keywords])
    return draws.shuffled(list(dict.fromkeys(choices)))[: 1 + draws.below(2)]


def _listed(names: list[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)
