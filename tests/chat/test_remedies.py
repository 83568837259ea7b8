"""The words by which endpoints refuse a parameter, and the setting that mends it."""

from __future__ import annotations

import json
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


def test_a_number_of_thousands_of_digits_is_none() -> None:
    nines = "9" * 5_000
    assert remedy(f"max_tokens: the context length is {nines}", SENT, "judge") == "set judge.max_tokens lower than 9"
    said = f"maximum context length is 100 tokens. You requested {nines} input tokens and max_tokens"
    assert remedy(said, SENT, "judge") == "set judge.max_tokens lower than 9: prompt and reply share 100 tokens"


def vllm(message: str, param: str | None = None, code: object = 400) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": code}})


TOO_LONG = (
    "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 512 tokens and "
    "your request has 30 input tokens (1024 > 512 - 30)."
)
REQUESTED = (
    "This model's maximum context length is 512 tokens. However, you requested 1024 output tokens and your prompt "
    "contains at least {} input tokens. Please reduce the length of the input prompt or the number of output tokens."
)
OPENAI_REQUESTED = (
    "This model's maximum context length is 512 tokens. However, you requested 1054 tokens (30 in the messages, 1024 "
    "in the completion). Please reduce the length of the messages or completion."
)
SHORTER = "set judge.max_tokens lower than 512: prompt and reply share 512 tokens"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "body",
    [
        TOO_LONG,
        vllm(TOO_LONG),
        vllm(TOO_LONG, "max_tokens"),
        vllm(TOO_LONG, "max_completion_tokens", "unsupported_parameter"),
        vllm(REQUESTED.format(1), "input_tokens"),
        vllm(OPENAI_REQUESTED, "messages", "context_length_exceeded"),
    ],
)
def test_a_context_that_is_too_short_is_mended_by_fewer_tokens_under_either_name(name: str, body: str) -> None:
    assert remedy(body, {"model": "x", name: 1024}, "judge") == SHORTER


@pytest.mark.parametrize(
    ("body", "sent", "expected"),
    [
        (vllm("Use 'max_completion_tokens' instead of it.", "max_tokens", "unsupported_parameter"), SENT,
         "set judge.token_limit_parameter=max_completion_tokens"),
        (vllm("max_tokens is deprecated: use max_completion_tokens instead"), {"max_completion_tokens": 9}, ""),
        (json.dumps({"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}),
         OTHER, "set judge.token_limit_parameter=max_tokens"),
        (vllm("integer below minimum value. Expected >= 16", "max_tokens"), SENT, "set judge.max_tokens higher than 9"),
        (vllm(REQUESTED.format(600)), SENT, ""),
        (vllm("This model has a maximum context length of 512 tokens. Please reduce the messages."), SENT, ""),
        (vllm("Requested sample logprobs of 20, which is greater than max allowed: 5", "top_logprobs"),
         {**SENT, "top_logprobs": 20}, "set judge.top_logprobs lower than 20"),
        (vllm("'response_format' is not supported with this model", "response_format"), SENT, ""),
        (vllm("this model does not take max_tokens beside temperature", "top_p"), SENT, ""),
        (json.dumps({"max_tokens": "unsupported", "message": "no", "temperature": 0}), SENT, ""),
        (vllm("it does not exist", "model", "model_not_found"), SENT, "check judge.model"),
        (json.dumps("temperature must be 1"), SENT, "set judge.temperature=null, which sends none"),
        (json.dumps([]), SENT, ""),
    ],
)  # fmt: skip
def test_only_the_message_and_the_named_parameter_are_read(body: str, sent: dict[str, Any], expected: str) -> None:
    assert remedy(body, sent, "judge") == expected


def test_no_system_turn_is_taken_away_where_there_is_none() -> None:
    said = vllm("System role not supported", "messages")
    assert remedy(said, SENT, "generation", system=True) == "set model.system_prompt=null"
    assert remedy(said, SENT, "generation") == ""
    assert remedy(said, SENT, "judge", system=True) == ""


@pytest.mark.parametrize(
    "said",
    [
        "The request was rejected by our content policy: what it says of the temperature in hell is not allowed.",
        "The response was filtered. The prompt asks about temperature, seed and logprobs, which must not be discussed",
        "Your prompt was flagged: 'at which temperature does it melt?' cannot be answered",
        "could not read the messages, the third of which speaks of a temperature",
        "bad messages. The temperature outside is 9. Only text is read",
    ],
)
def test_an_everyday_word_in_a_message_is_no_parameter(said: str) -> None:
    assert remedy(vllm(said), SENT, "judge") == ""
    assert remedy(said, SENT, "judge") == ""


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("Requested sample logprobs of 5, which is greater than max allowed: 0", {**SENT, "top_logprobs": 5}),
        ("top_logprobs must be at most 1", {**SENT, "top_logprobs": 5}),
        ("top_logprobs is too large", {**SENT, "top_logprobs": 2}),
    ],
)
def test_a_number_that_the_setting_does_not_take_is_no_remedy(said: str, sent: dict[str, Any]) -> None:
    parsers = "set judge.parser=ranking or judge.parser=letters, which need no log-probs"
    assert remedy(vllm(said, "top_logprobs"), sent, "judge") == parsers
    assert remedy("max_tokens is too large: 1", {"max_tokens": 1}, "judge") == ""
