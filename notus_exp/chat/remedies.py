"""Which setting mends a request that an endpoint does not take: read from its message and the parameter that it names.

No remedy is better than a wrong one: codes and types, which servers choose freely, are not looked at, and what is set
already is never recommended.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

LONGEST_NUMBER = 12
"""Digits of a number of tokens that is read in a complaint; a longer one is none."""
_SENT_AS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""The two names of the limit on a reply's tokens: models that think take the second alone, many servers the first."""
_TOO_MUCH = re.compile(
    r"too (?:large|long|big|high|many)|context (?:length|window)|at most|maximum|max allowed|exceed|greater than|"
    r"less than|no more than|up to|<="
)
_TOO_LITTLE = re.compile(r"too (?:small|low|few)|at least|minimum|below|>=")
_UNKNOWN = re.compile(
    r"unsupported|not supported|does not support|unknown|unrecogni[sz]ed|unexpected|deprecated|extra (?:inputs|fields)|"
    r"(?:not|n't|never) (?:be )?(?:permitted|allowed|accepted|available)|no longer"
)
_VALUE = re.compile(
    r"\b(?:no|only|invalid|must|cannot|range|between|illegal|default)\b|(?:not|n't) (?:take|accept|allow|support)"
)
"""How else servers complain of a parameter."""
_OF_CONTENT = re.compile(
    r"\bpolic(?:y|ies)\b|content[ _-]?filter|\bfiltered\b|moderat(?:ion|ed)|\bflagged\b|\bsafety\b|"
    r"\bharmful\b|inappropriate"
)
"""What refuses the text itself: the words that it names are the text's."""
_SENTENCE = re.compile(r"[.;!?]\s|\n")
_ALLOWED = re.compile(
    r"(?:max(?:imum)?(?: allowed)?|at most|up to|(?:no more|greater|less) than|<=|between \d+ and)\D{0,20}(\d+)"
)
_FEWEST_LOGPROBS = 2
"""The least of judge.top_logprobs."""
_INSTEAD = re.compile(r"use\W+(\w+)\W+instead")
_OUTPUT_TOKENS = re.compile(r"\d+ output tokens|in the completion")
"""How servers that name no parameter say what the limit on a reply's tokens asked for."""
_CONTEXT = re.compile(r"context (?:length|window)\D{0,20}([\d,]+)")
_INPUT = re.compile(r"([\d,]+) (?:input tokens|(?:tokens )?(?:in|from) the (?:messages|input|prompt))")
_NO_MODEL = re.compile(
    r"model\W+(?:\S+\s+)?(?:does not exist|not found|is not found|could not be found|is not available)|"
    r"(?:unknown|invalid|no such|unsupported) model\b(?!')"
)


class _Complaint(NamedTuple):
    """What an endpoint says.

    Attributes:
        words: Its message, in lower case.
        parameter: The parameter that it names beside it, None where it names none.
    """

    words: str
    parameter: str | None

    def names(self, *parameters: str) -> bool:
        """Say whether one of these is meant: by the field for it where it is filled, else by the message."""
        if self.parameter is not None:
            return self.parameter in parameters
        return any(re.search(rf"\b{parameter}\b", self.words) for parameter in parameters)

    def refuses(self, *parameters: str) -> bool:
        """Say whether one of these is complained of: an everyday word is no parameter wherever it stands."""
        if self.parameter is not None:
            return self.parameter in parameters
        return any(
            re.search(rf"\b{parameter}\b", sentence)
            and any(pattern.search(sentence) for pattern in (_UNKNOWN, _VALUE, _TOO_MUCH, _TOO_LITTLE))
            for parameter in parameters
            for sentence in _SENTENCE.split(self.words)
        )


def remedy(body: str, parameters: dict[str, Any], group: str, *, system: bool = False) -> str:
    """Return what to set so that an endpoint takes a request, "" where its words name nothing that is known.

    Args:
        body: The endpoint's own error: JSON as OpenAI, vLLM or FastAPI write it, or a text.
        parameters: What was sent beside the messages.
        group: The config group whose settings these are, "judge" or "generation".
        system: The messages have a system turn, which is the config's own.
    """
    said = _complaint(body)
    if said.parameter is None and _OF_CONTENT.search(said.words):
        return ""
    for name, other in _SENT_AS.items():
        if name in parameters and (found := _limit(said, name, other, parameters[name], group)) is not None:
            return found
    if "temperature" in parameters and said.refuses("temperature"):
        return f"set {group}.temperature=null, which sends none"
    if "logprobs" in parameters and said.refuses("logprobs", "top_logprobs", "log_probs"):
        sent, allowed = parameters.get("top_logprobs", 0), _number(_ALLOWED.search(said.words))
        fewer = min(sent - 1, sent if allowed is None else allowed) >= _FEWEST_LOGPROBS
        if fewer and _TOO_MUCH.search(said.words) and not _UNKNOWN.search(said.words):
            return f"set judge.top_logprobs lower than {sent}"
        return "set judge.parser=ranking or judge.parser=letters, which need no log-probs"
    if "response_format" in parameters and said.refuses("response_format", "json_schema", "guided_json"):
        return "set judge.response_format=none, which asks in words alone"
    if "seed" in parameters and said.refuses("seed"):
        return f"set {group}.seed=null, which sends none"
    if group == "generation" and system and re.search(r"\bsystem\b.*\brole|\brole.*\bsystem\b", said.words):
        return "set model.system_prompt=null"
    if said.parameter == "model" or (said.parameter is None and _NO_MODEL.search(said.words)):
        return "check judge.model" if group == "judge" else "check generation.base_model and generation.policy_model"
    return ""


def _limit(said: _Complaint, name: str, other: str, sent: int, group: str) -> str | None:
    """Return the remedy of what is said about the limit on a reply's tokens; None where nothing is."""
    setting = "judge.max_tokens" if group == "judge" else "the evaluation's max_new_tokens"
    context, read = (_number(pattern.search(said.words)) for pattern in (_CONTEXT, _INPUT))
    if said.names(name) and (instead := _INSTEAD.search(said.words)):
        return f"set {group}.token_limit_parameter={other}" if instead[1] == other else ""
    if context is not None:
        about = said.names(*_SENT_AS) or _OUTPUT_TOKENS.search(said.words)
        if not about or (read is not None and read >= context):
            return ""  # the prompt alone is too long
        if min(sent, context) <= 1:
            return ""
        return f"set {setting} lower than {min(sent, context)}: prompt and reply share {context} tokens"
    if not said.names(name):
        return None
    if _TOO_MUCH.search(said.words):
        return f"set {setting} lower than {sent}" if sent > 1 else ""
    if _UNKNOWN.search(said.words):
        return f"set {group}.token_limit_parameter={other}"
    return f"set {setting} higher than {sent}" if _TOO_LITTLE.search(said.words) else ""


def _number(found: re.Match[str] | None) -> int | None:
    digits = found[1].replace(",", "") if found else ""
    return int(digits) if 0 < len(digits) <= LONGEST_NUMBER else None


def _complaint(body: str) -> _Complaint:
    """Read an error's body; one that is of no known form is all message."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return _Complaint(body.lower(), None)
    for key in ("error", "detail"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if isinstance(content, list) and content:  # FastAPI's: one entry a field
        content = content[0]
    if not isinstance(content, dict):
        return _Complaint(str(content).lower(), None)
    message = next((content[key] for key in ("message", "msg") if isinstance(content.get(key), str)), "")
    place = content.get("loc") or content.get("param")
    named = place[-1] if isinstance(place, list) else place
    return _Complaint(message.lower(), named.lower() if isinstance(named, str) and named else None)
