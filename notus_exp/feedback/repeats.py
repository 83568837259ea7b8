"""Answers that repeat their prompt, or are a transcript of the conversation: what of them is the answer alone.

Where the repeated part is exactly the prompt it is stripped. What only resembles the prompt, or has the marks of both
speakers in another way, is not touched: such an answer is set aside by a rule that says so. An answer that merely
begins with words of the prompt is an answer, and so is a dialogue that the prompt asked for.

Exactly the prompt is: its text, then a line end or nothing more. In the same line it is that too where the prompt has
at least `SHORT` characters, unless it ends in a letter or digit and a lower-case letter follows, with which its
sentence goes on ("The quick brown fox and the" lazy dog).
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from notus_exp.disk.folding import folded

REPEATED_PROMPT, TRANSCRIPT = "repeated_prompt", "transcript"
"""Rules: the answer begins with the prompt; it has turns of both sides, each after its speaker's mark."""
SHORT = 16
"""A shorter prompt is not repeated by an answer that goes on in the same line: "Hello!" is returned by many."""

_BEFORE_ANSWER = re.compile(r"\s*\n|[^\S\n]+")
_USER, _ASSISTANT, _SYSTEM = "user", "assistant", "system"
_ROLES = {
    "q": _USER, "question": _USER, "a": _ASSISTANT, "answer": _ASSISTANT,
    "user": _USER, "human": _USER, "prompter": _USER, "instruction": _USER, "inst": _USER,
    "assistant": _ASSISTANT, "ai": _ASSISTANT, "bot": _ASSISTANT, "gpt": _ASSISTANT, "model": _ASSISTANT,
    "response": _ASSISTANT, "/inst": _ASSISTANT, "system": _SYSTEM,
}  # fmt: skip
"""What a mark says -> whose turn follows."""
_SPEAKER = r"(?:human|user|assistant|ai|bot|gpt|system)[ \t]*:"
_LETTER = r"(?:question|answer|q|a)[ \t]*:"
_LINE, _WITHIN = r"(?:^|(?<=\n))[ \t]*", r"(?<=\s)(?=(?-i:[A-Z]))"
"""Where a mark in plain words stands: at a line's beginning; within a line it has a capital letter."""
_PLAIN = _LINE + _SPEAKER
_CODED = (
    r"#{2,3}[ \t]*(?:human|user|instruction|assistant|response|system)[ \t]*:",  # Guanaco, Alpaca
    r"<\|im_start\|>[ \t]*(?:user|assistant|system)",  # ChatML
    r"<\|start_header_id\|>(?:user|assistant|system)<\|end_header_id\|>",  # Llama 3
    r"<start_of_turn>[ \t]*(?:user|model)",  # Gemma
    r"<[|｜](?:user|assistant|system|prompter)[|｜]>",  # Zephyr, Phi, DeepSeek, OpenAssistant
    r"\[/?inst\]",  # Llama 2, Mistral
)
_MARK = re.compile("|".join([_PLAIN, *_CODED]), re.IGNORECASE)
_TRANSCRIPTS = tuple(
    re.compile("|".join(marks), re.IGNORECASE)
    for marks in (
        [_PLAIN, *_CODED],
        [_PLAIN, _WITHIN + _SPEAKER, *_CODED],  # on one line
        [_LINE + _LETTER],
        [_LINE + _LETTER, _WITHIN + _LETTER],
    )
)
"""Marks of transcripts, in the order in which they are looked for."""
_NAME = re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, _ROLES))})(?![a-z])", re.IGNORECASE)
_BEGINNING = re.compile(r"\s*(?:<s>|<\|begin_of_text\|>|<bos>|<｜begin▁of▁sentence｜>)?\s*")
_END_MARKS = re.compile(r"\s*(?:<\|im_end\|>|</s>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>)\s*$")


class AnswerAlone(NamedTuple):
    """An answer without what it repeats.

    Attributes:
        text: The answer alone.
        stripped: The rule by which something was stripped, or "" where nothing was.
        reason: Why it cannot be used, or "" where it can; `rule` names the rule then.
        rule: Likewise.
    """

    text: str
    stripped: str = ""
    reason: str = ""
    rule: str = ""


class Turn(NamedTuple):
    """One turn of a transcript: whose, how it is marked, and what it says."""

    role: str
    mark: str
    text: str


def answer_alone(prompt: str, answer: str) -> AnswerAlone:
    """Return what of an answer is the answer.

    It repeats its prompt where it begins with exactly it (see above), up to white space at the prompt's ends. It is a
    transcript where it begins with a speaker's mark and has turns of both sides, whether in lines of their own or not.
    Where the first turn does not begin with the prompt, marks in plain words ("Human:") do not count if the prompt has
    that word itself, and "Q:" with "A:" never do: a riddle is an answer.

    Args:
        prompt: The user's message.
        answer: The text that is said to answer it.
    """
    asked = prompt.strip()
    turns = transcript(answer, asked)
    if turns:
        return _from_transcript(asked, answer, turns)
    begun = answer.lstrip()
    if begun.startswith(asked):
        rest = begun[len(asked) :]
        if not _parted(asked, rest):
            return AnswerAlone(answer)
        rest = _BEFORE_ANSWER.sub("", rest, count=1) if _BEFORE_ANSWER.match(rest) else rest
        mark = _MARK.match(rest)
        if mark and not _answers_itself(mark.group(), asked):
            return AnswerAlone(answer, reason="goes on with a speaker's mark after its prompt", rule=TRANSCRIPT)
        return AnswerAlone(rest, stripped=REPEATED_PROMPT)
    if _resembles(asked, begun):
        said = "begins with its prompt, but in other white space or other characters for the same letters"
        return AnswerAlone(answer, reason=said, rule=REPEATED_PROMPT)
    return AnswerAlone(answer)


def transcript(answer: str, prompt: str) -> list[Turn]:
    """Return the turns of an answer that is a transcript: it begins with a mark, and both sides speak; else nothing."""
    text = _BEGINNING.sub("", answer, count=1)
    return next(filter(None, (_turns(text, known, prompt) for known in _TRANSCRIPTS)), [])


def _turns(text: str, known: re.Pattern[str], prompt: str) -> list[Turn]:
    first = known.match(text)
    if not first:
        return []
    asked = folded(prompt)
    repeats = folded(text[first.end() :][: 2 * len(prompt) + SHORT]).startswith(asked)
    marks = [mark for mark in known.finditer(text) if repeats or not _answers_itself(mark.group(), prompt)]
    if not marks or marks[0].start():
        return []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [
        Turn(_role(mark.group()), mark.group().strip(), _said(text[mark.end() : end]))
        for mark, end in zip(marks, ends, strict=True)
    ]
    return turns if {_USER, _ASSISTANT} <= {turn.role for turn in turns} else []


def _from_transcript(asked: str, answer: str, turns: list[Turn]) -> AnswerAlone:
    """Strip the transcript of the prompt and one answer; anything more is not exactly the prompt."""
    if [turn.role for turn in turns] == [_USER, _ASSISTANT] and turns[0].text == asked:
        return AnswerAlone(turns[1].text, stripped=TRANSCRIPT)
    shown = " ".join(turn.mark for turn in turns[:4])
    reason = f"is a transcript ({ascii(shown)[1:-1][:60]}), and not just of its prompt"
    return AnswerAlone(answer, reason=reason, rule=TRANSCRIPT)


def _parted(asked: str, rest: str) -> bool:
    """Say whether what follows the prompt's text begins anew, rather than goes on with its words."""
    after = rest.lstrip()
    space = rest[: len(rest) - len(after)]
    if not after or "\n" in space:
        return True
    if len(asked) < SHORT:
        return False
    if asked[-1].isalnum():
        return bool(space) and not after[0].islower()
    return bool(space) or after[0].isalnum()


def _resembles(asked: str, begun: str) -> bool:
    """Say whether an answer begins with the prompt once both are folded, and goes on anew."""
    if not begun or folded(asked.split(None, 1)[0]) != folded(begun.split(None, 1)[0]):
        return False  # as nearly all: another first word
    words = folded(asked).split()
    text = unicodedata.normalize("NFC", begun)
    if text.split(None, len(words))[: len(words)] != words:
        return False
    found = re.match(r"\s+".join(map(re.escape, words)), text)
    return found is not None and _parted(" ".join(words), text[found.end() :])


def _answers_itself(mark: str, prompt: str) -> bool:
    """Say whether a mark may be an answer's own: of question and answer, or of a dialogue that the prompt speaks of."""
    if re.fullmatch(_LETTER, mark.strip(), re.IGNORECASE):
        return True
    return bool(re.fullmatch(_SPEAKER, mark.strip(), re.IGNORECASE)) and bool(
        re.search(rf"\b{_word(mark)}s?\b", prompt, re.IGNORECASE)
    )


def _word(mark: str) -> str:
    return _NAME.search(mark).group().lower()  # type: ignore[union-attr] # each mark holds a name


def _role(mark: str) -> str:
    return _ROLES[_word(mark)]


def _said(text: str) -> str:
    return _END_MARKS.sub("", text).strip()
