"""Chat models behind any OpenAI-compatible endpoint: hosted, vLLM, `transformers serve`, llama.cpp.

Requests are repeated after 408, 409, 429, 5xx, answers that do not come or do not end, broken connections, and
successes whose body is no answer, as the official client repeats most of these: with exponential backoff and jitter.
Where a server says how long to wait, all wait so long.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, Self

from notus_exp.chat.completion import NO_KEY, discarded_usage, read_body
from notus_exp.chat.exchange import Exchange, HttpAnswer, LostError
from notus_exp.chat.messages import Messages, OnDiscarded, Reply, Unanswered
from notus_exp.chat.remedies import remedy
from notus_exp.chat.waiting import Pause, asked_wait, backoff, in_words
from notus_exp.config.endpoint_checks import DEFAULT_URL_VARIABLE, address_of, check_address
from notus_exp.errors import UserError, without_secret

MEMBERSHIP = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
"""Headers that the hosted endpoint knows -> the variables that hold them, likewise."""
SHOWN_CHARACTERS = 300
"""Of a server's own error message."""
REPEATED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses below 500 after which a request is repeated."""
NOT_TAKEN = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""Statuses by which a server refuses a parameter."""
OF_A_PROMPT = (*NOT_TAKEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS)
"""Statuses by which a server refuses one prompt and not another: a filter of contents, a length."""
FRAME_BYTES, BYTES_PER_TOKEN = 1_000_000, 1_000
"""What the body of an answer may be long: with log-probs each token comes with its alternatives, each as long."""
LOG = logging.getLogger(__name__)


class _FailedError(Exception):
    """An attempt that may be repeated.

    Args:
        reason: What happened, without any secret.
        wait: Seconds that the server asks to wait.
        usage: Tokens read and written by a success that is no answer, (None, None) where it does not tell; None where
            nothing came that could be paid for.
    """

    def __init__(
        self, reason: str, *, wait: float | None = None, usage: tuple[int, int] | tuple[None, None] | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.usage = reason, wait, usage


class OpenAIChat:
    """Asks one model at one endpoint; an async context manager, which closes the connections.

    The key is read from the environment at the first request. It is in no attribute that `repr` shows, no exception
    and no log.

    Args:
        model: Name of the model, as the endpoint knows it.
        base_url: Such as http://127.0.0.1:8000/v1; None for OpenAI's own.
        api_key_env: Environment variable with the key.
        timeout: Seconds within which an answer must have come whole; after them the request counts as lost.
        max_retries: How often a request is repeated at most.
        max_tokens: Tokens written at most.
        temperature: 0 decodes greedily; None sends none.
        seed: Sent where given.
        top_logprobs: Likeliest first tokens to ask for; None for none.
        token_limit_parameter: Under which name `max_tokens` is sent.
        group: The config group that these settings are from, "judge" or "generation", for errors.
        max_wait: Seconds that the server may ask to wait.
        pause: Shared by all that ask the same server; None for one of its own.
        body: Further fields of each request.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key_env: str,
        timeout: float,
        max_retries: int,
        max_tokens: int,
        temperature: float | None,
        seed: int | None,
        top_logprobs: int | None = None,
        token_limit_parameter: str = "max_tokens",
        group: str = "judge",
        max_wait: float = 600.0,
        pause: Pause | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self._base_url, self._api_key_env, self._group = base_url, api_key_env, group
        self._timeout, self._max_retries = timeout, max_retries
        self._pause = pause or Pause(self._where, max_wait, f"{group}.max_wait")
        self._most_bytes = FRAME_BYTES + BYTES_PER_TOKEN * max_tokens * (1 + (top_logprobs or 0))
        self._parameters: dict[str, Any] = {**(body or {}), "model": model, token_limit_parameter: max_tokens}
        if temperature is not None:
            self._parameters["temperature"] = temperature
        if seed is not None:
            self._parameters["seed"] = seed
        if top_logprobs is not None:
            self._parameters |= {"logprobs": True, "top_logprobs": top_logprobs}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        if "_exchange" in self.__dict__:
            await self._exchange.close()

    async def ask(
        self, messages: Messages, on_discarded: OnDiscarded | None = None, *, seed: int | None = None
    ) -> Reply:
        """Return the model's answer.

        Args:
            messages: The chat.
            on_discarded: Awaited for every success whose body is no answer, before the request is repeated: the
                endpoint charges for it.
            seed: Of this request, in the place of that of all.

        Raises:
            Unanswered: No valid answer came in `max_retries` repetitions.
            UserError: The key is missing or refused (401, 403), there is no such model or address (404), the server
                sends to another host, or asks to wait longer than `max_wait`.
        """
        left = self._max_retries
        while True:
            await self._pause.over()
            try:
                return await self._attempt(messages, {} if seed is None else {"seed": seed})
            except _FailedError as failed:
                left -= 1
                if failed.wait is not None:
                    self._pause.hold(failed.wait)
                    LOG.warning("%s asks to wait %s", self._where, in_words(failed.wait))
                if failed.usage and on_discarded:
                    await on_discarded(*failed.usage, again=left >= 0)
                if left < 0 and failed.wait is not None:
                    asked = f"{failed.reason}; it asks to wait {in_words(failed.wait)}"
                    raise Unanswered(asked, f"wait so long, or raise {self._group}.max_retries") from None
                if left < 0:
                    raise Unanswered(failed.reason) from None
                LOG.info("Retrying request after: %s", failed.reason)
                if failed.wait is None:
                    await asyncio.sleep(backoff(self._max_retries - left - 1))

    @property
    def _where(self) -> str:
        return self._base_url or "the default endpoint"

    @property
    def _key(self) -> str:
        return _key(self._api_key_env, self._base_url)

    @cached_property
    def _address(self) -> str:
        address = address_of(self._base_url)
        if self._base_url is None:
            check_address(DEFAULT_URL_VARIABLE, address)
        return address

    @cached_property
    def _exchange(self) -> Exchange:
        membership = {name: os.environ[variable] for name, variable in MEMBERSHIP.items() if os.environ.get(variable)}
        return Exchange(
            f"{self._address}/chat/completions",
            {"Authorization": f"Bearer {self._key}", "User-Agent": "notus-exp", **membership},
            seconds=self._timeout,
            most_bytes=self._most_bytes,
            setting=f"{self._group}.base_url",
        )

    async def _attempt(self, messages: Messages, own: Mapping[str, Any]) -> Reply:
        try:
            content = json.dumps({"messages": messages, **self._parameters, **own}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            reason = "the prompt has characters that UTF-8 cannot write (lone surrogates)"
            raise Unanswered(reason, lasting=True) from None
        try:
            answered = await self._exchange.post(content)
        except LostError as error:
            raise _FailedError(error.reason, usage=(None, None) if error.paid else None) from None
        if answered.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._refused(answered, messages, own)
        try:
            return read_body(answered.body, self._key)._replace(endpoint=self._address)
        except ValueError as error:
            raise _FailedError(str(error), usage=discarded_usage(answered.body)) from None

    def _refused(self, answered: HttpAnswer, messages: Messages, own: Mapping[str, Any]) -> Exception:
        status, model = answered.status, self._parameters["model"]
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):  # a server may say the key: its text is not shown
            return UserError(
                f"{self._where} refuses the key of the environment variable {self._api_key_env} (status {status})",
                f"set {self._api_key_env} to a key that may use the model {model!r}",
            )
        said = _on_one_line(without_secret(answered.body, self._key))
        if status == HTTPStatus.NOT_FOUND:
            return UserError(
                f"{self._where} has no model {model!r}, or no such address: {said}",
                "check the model's name and base_url (most end in /v1)",
            )
        reason = f"status {status}: {said}"
        if status in REPEATED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _FailedError(reason, wait=asked_wait(answered.headers))
        lasting = status in OF_A_PROMPT
        if status not in NOT_TAKEN:
            return Unanswered(reason, lasting=lasting)
        system = any(message["role"] == "system" for message in messages)
        hint = remedy(answered.body, {**self._parameters, **own}, self._group, system=system)
        return Unanswered(reason, hint, lasting=lasting and not hint)


def _key(variable: str, base_url: str | None) -> str:
    key = os.environ.get(variable, "").strip()
    if not key and base_url is None:
        raise UserError(
            f"the environment variable {variable} with the key is not set",
            f"export {variable}=..., or give the base_url of an endpoint that needs none",
        )
    if not (key.isascii() and key.isprintable()):  # the transport's own error would show it
        raise UserError(f"the environment variable {variable} has characters that no key has", "set it anew")
    return key or NO_KEY


def _on_one_line(text: str) -> str:
    return " ".join(text.split())[:SHOWN_CHARACTERS]
