"""The words by which endpoints refuse a parameter, and the setting that mends it."""

from __future__ import annotations

from typing import Any

import pytest

from notus_exp.chat.remedies import remedy

SENT: dict[str, Any] = {"model": "x", "max_tokens": 9, "temperature": 0.0, "seed": 1, "logprobs": True}
OTHER = {"model": "x", "max_completion_tokens": 9}


@pytest.mark.parametrize(
    ("said", "sent", "group", "expected"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
         SENT, "judge", "set judge.token_limit_parameter=max_completion_tokens"),
        ("max_completion_tokens: Extra inputs are not permitted", OTHER, "generation",
         "set generation.token_limit_parameter=max_tokens"),
        ("max_tokens is too large: 9. This model supports at most 5", SENT, "judge",
         "set judge.max_tokens lower than 9"),
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", SENT, "judge",
         "set judge.temperature=null, which sends none"),
        ("temperature is deprecated", SENT, "generation", "set generation.temperature=null, which sends none"),
        ("You are not allowed to request logprobs from this model", SENT, "judge",
         "set judge.parser=ranking or judge.parser=letters, which need no log-probs"),
        ("Unknown name \"seed\": Cannot find field.", SENT, "judge", "set judge.seed=null, which sends none"),
        ("The model `gpt-9` does not exist", SENT, "judge", "check judge.model"),
        ("no", SENT, "judge", ""),
        ("max_tokens", {"model": "x"}, "judge", ""),
    ],
)  # fmt: skip
def test_the_setting_that_mends_a_refusal(said: str, sent: dict[str, Any], group: str, expected: str) -> None:
    assert remedy(said, sent, group) == expected
