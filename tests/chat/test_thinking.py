"""What precedes `</think>` is no answer, and an answer that never came is none."""

from __future__ import annotations

import pytest

from notus_exp.chat.thinking import after_thinking


@pytest.mark.parametrize(
    ("text", "cut", "expected"),
    [
        ("<think>m or M?</think>\n\nM", False, "M"),
        ("m or M?</think>M", False, "M"),
        ("<think>a</think>b<think>c</think> d", False, "d"),
        ("M", False, "M"),
        ("<think>m or", True, None),
        ("<think>m or", False, None),
        ("m or", True, None),
        ("<think>a</think><think>b", True, None),
        ("<think>a</think>", True, ""),
        ("<think>a</think>M and", True, "M and"),
        ("ok <think>[[A]]", False, None),
        ("<think>a</think>ok <think>[[A]]", False, None),
    ],
)
def test_what_follows_the_thinking(text: str, cut: bool, expected: str | None) -> None:
    assert after_thinking(text, cut=cut) == expected
