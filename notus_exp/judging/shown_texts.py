"""What a question in our own templates shows, read back from its words: for judges of this process, which have no mind.

Where the templates fence texts by marks, the marks say where a text begins and ends, whatever stands in it. Older
templates have none: there the last line that ends an answer ends it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MARKS = re.compile(r"hold a mark of its own: ([a-p]{8}) for the request; ([a-p]{8}(?:, [a-p]{8})*) for the answers\.")
_FEEDBACK = '"overall_score": SCORE'
_RATED = re.compile(
    r"=== Request ===\n(.*?)\n=== End of the request ===\n\n=== Answer ===\n(.*)\n=== End of the answer", re.DOTALL
)
_GRADED = re.compile(
    r"=== Request (?P<turn>[0-9]+) ===\n(?P<request>.*?)\n=== End of request (?P=turn) ===\n\n"
    r"(?:=== Reference for request (?P=turn) ===\n.*?\n=== End of reference (?P=turn) ===\n\n)?"
    r"=== Answer (?P=turn) ===\n(?P<answer>.*)\n=== End of answer (?P=turn) ===",
    re.DOTALL,
)
_LAST_TURN = re.compile(r"Explain your rating of answer ([0-9]+) in a few sentences\.")
_COMPARED = re.compile(
    r"=== Request ===\n(.*?)\n=== End of the request ===\n\n"
    r"=== Answer [Am] ===\n(.*?)\n=== End of answer [Am] ===\n\n=== Answer [BM] ===\n(.*)\n=== End of answer [BM] ===",
    re.DOTALL,
)


class ShownTexts(NamedTuple):
    """The texts of a question.

    Attributes:
        instruction: The request, with the turns before it; of a conversation that is rated turn by turn the last one.
        answers: In the order shown.
        marks: By which a reply in JSON names them; "" where none is asked for.
        critique: Feedback is asked for, with an overall score.
    """

    instruction: str
    answers: tuple[str, ...]
    marks: tuple[str, ...]
    critique: bool = False


def shown_texts(question: str) -> ShownTexts | None:
    """Return what a question shows; None where it is in no template that is known here.

    Args:
        question: The user's turn that a judge is sent.
    """
    if fenced := _MARKS.search(question):  # the first: our own words come before any text
        mark, marks = fenced[1], tuple(fenced[2].split(", "))
        texts = [
            _between(question, "Request", "request", mark),
            *(_between(question, "Answer", "answer", one) for one in marks),
        ]
        whole = [text for text in texts if text is not None]
        asked = question.rpartition(f"=== End of answer {marks[-1]} ===")[2]
        return ShownTexts(whole[0], tuple(whole[1:]), marks, _FEEDBACK in asked) if len(whole) == len(texts) else None
    if found := _COMPARED.search(question) or _RATED.search(question):
        instruction, *answers = found.groups()
        return ShownTexts(instruction, tuple(answers), ("",) * len(answers))
    if turns := _LAST_TURN.findall(question):
        begins = question.find(f"=== Request {turns[-1]} ===\n")
        if begins >= 0 and (graded := _GRADED.match(question, begins)):
            return ShownTexts(graded["request"], (graded["answer"],), ("",))
    return None


def _between(question: str, begins: str, ends: str, mark: str) -> str | None:
    found = re.search(rf"=== {begins} {mark} ===\n(.*?)\n=== End of {ends} {mark} ===", question, re.DOTALL)
    return found[1] if found else None
