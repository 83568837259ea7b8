"""Which setting mends a request that an endpoint does not take: read from the endpoint's own words."""

from __future__ import annotations

import re
from typing import Any

_SENT_AS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""The two names of the limit on a reply's tokens: models that think take the second alone, many servers the first."""


def remedy(said: str, parameters: dict[str, Any], group: str) -> str:
    """Return what to set so that an endpoint takes a request, "" where its words name nothing that is known.

    Args:
        said: The endpoint's own error.
        parameters: What was sent beside the messages.
        group: The config group whose settings these are, "judge" or "generation".
    """
    words = said.lower()
    for name, other in _SENT_AS.items():
        if name in parameters and re.search(rf"\b{name}\b", words):
            if other in words or re.search(r"unsupported|unknown|unrecogni|extra|not permitted|not allowed", words):
                return f"set {group}.token_limit_parameter={other}"
            limit = "judge.max_tokens" if group == "judge" else "the evaluation's max_new_tokens"
            return f"set {limit} lower than {parameters[name]}"
    if "temperature" in parameters and "temperature" in words:
        return f"set {group}.temperature=null, which sends none"
    if "logprobs" in parameters and re.search(r"log_?prob", words):
        return "set judge.parser=ranking or judge.parser=letters, which need no log-probs"
    if "seed" in parameters and re.search(r"\bseed\b", words):
        return f"set {group}.seed=null, which sends none"
    if re.search(r"\bsystem\b", words) and re.search(r"\brole", words):
        return "set model.system_prompt=null" if group == "generation" else ""
    if re.search(r"\bmodel\b", words):
        return "check judge.model" if group == "judge" else "check generation.base_model and generation.policy_model"
    return ""
