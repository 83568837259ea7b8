"""Repetition and degeneration of one answer.

The definition of a degenerate answer was fixed before any result was looked at. An answer is degenerate where it has

- `empty`: no word at all (words are those of `feedback.simulated.constraints`, so punctuation alone is empty);
- `short`: one word, unless a constraint that it follows makes a one-word answer a good one: a sum, a quoted answer, a
  JSON object, or at most one word. A lone word under any other constraint is how a collapsed policy answers;
- `characters`: more than half of at least 6 characters (white space apart) are one and the same, not a digit;
- `loop`: any of
    * a block of 1 to 32 words comes three times or more directly in succession, over 5 words or more,
    * sentences or lines that come three times or more make up at least a third of the words,
    * at least half of the word 3-grams of an answer of 8 words or more are repetitions of earlier ones.

The last two rules are shares, because a count alone catches sound texts: the refrain of a song, or a list whose items
begin alike ("You can drink it hot", "You can drink it cold", "You can drink it sweet": some 4-grams come three times,
yet a third of the 3-grams are repetitions). A text said exactly twice stays below a half. Case and punctuation do not
matter. An answer that was cut at the token
limit is not degenerate for that, and a wrong or poor answer is not degenerate either: other metrics tell those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from notus_exp.feedback.simulated.constraints import Constraint, follows, sentences, words

ONE_WORD_KINDS = frozenset({"sum", "quoted", "json"})
"""Kinds of constraint whose right answer may be a single word."""

_CHARACTERS = 6
_LONGEST_BLOCK = 32
_TIMES = 3
_LOOP_WORDS = 5
_REPETITION_WORDS = 8
_REPETITION = 0.5
_SAID_AGAIN = 1 / 3


def repetition(text_words: Sequence[str]) -> float:
    """Return the share of word 3-grams that occurred before, in [0, 1); 0 for fewer than three words.

    Args:
        text_words: The words in order; case matters, so lower it first.
    """
    grams = list(zip(text_words, text_words[1:], text_words[2:], strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def longest_repeat(text_words: Sequence[str]) -> int:
    """Return how many words the longest run of a block of 1 to 32 words, said at least twice in succession, covers.

    "the tea the tea the cup" has a run of 4 words; a text without such a block has 0.
    """
    return max((size * times for size, times in _runs(text_words)), default=0)


def degeneration(response: str, constraints: Sequence[Constraint]) -> str:
    """Return why an answer is degenerate (`empty`, `short`, `characters`, `loop`), or "" where it is not.

    Args:
        response: The answer.
        constraints: What its prompt demands; they decide whether one word is enough.
    """
    found = [word.lower() for word in words(response)]
    if not found:
        return "empty"
    if _one_character(response):
        return "characters"
    if len(found) < 2 and not any(_allows_one_word(constraint, response) for constraint in constraints):
        return "short"
    return "loop" if _loops(response, found) else ""


def _one_character(response: str) -> bool:
    counts = Counter(character.lower() for character in response if not character.isspace())
    most = max((count for character, count in counts.items() if not character.isdigit()), default=0)
    return counts.total() >= _CHARACTERS and most > counts.total() / 2


def _allows_one_word(constraint: Constraint, response: str) -> bool:
    short = constraint.kind in ONE_WORD_KINDS or (constraint.kind == "max_words" and constraint.params["n"] == 1)
    return short and follows(constraint, response)


def _loops(response: str, found: Sequence[str]) -> bool:
    if any(times >= _TIMES and size * times >= _LOOP_WORDS for size, times in _runs(found)):
        return True
    said = Counter(
        tuple(word.lower() for word in words(sentence))
        for line in response.splitlines()
        for sentence in sentences(line)
    )
    again = sum(len(sentence) * times for sentence, times in said.items() if times >= _TIMES)
    if again >= _SAID_AGAIN * len(found):
        return True
    return len(found) >= _REPETITION_WORDS and repetition(found) >= _REPETITION


def _runs(found: Sequence[str]) -> list[tuple[int, int]]:
    """Return (block size, times) of every maximal run of a block said at least twice in succession."""
    runs = []
    for size in range(1, min(_LONGEST_BLOCK, len(found) // 2) + 1):
        matching = 0  # words in a row that equal the word one block earlier
        for place in range(size, len(found) + 1):
            if place < len(found) and found[place] == found[place - size]:
                matching += 1
            else:
                if matching >= size:
                    runs.append((size, matching // size + 1))
                matching = 0
    return runs
