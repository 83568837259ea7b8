"""Where an endpoint is and which variable holds its key: settings that are recorded, and so must hold no secret.

What is refused here is not shown: a part of it may be a password.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.judge_settings import OpenAIJudge
from notus_exp.config.schema import Config
from notus_exp.errors import UserError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

DEFAULT_URL, DEFAULT_URL_VARIABLE = "https://api.openai.com/v1", "OPENAI_BASE_URL"
"""The hosted endpoint, and the variable that names another, as for the official client."""


def address_of(base_url: str | None) -> str:
    """Return the address that a `base_url` means, without a slash at its end: null is the default endpoint."""
    return (base_url or os.environ.get(DEFAULT_URL_VARIABLE) or DEFAULT_URL).rstrip("/")


def check_endpoints(config: Config) -> None:
    """Check the endpoints of judge and generation, whether or not anything will be asked.

    Raises:
        UserError: Naming the key and the remedy.
    """
    if isinstance(config.judge, OpenAIJudge):
        check_endpoint("judge", config.judge.base_url, config.judge.api_key_env)
    if isinstance(config.generation, EndpointGeneration):
        check_endpoint("generation", config.generation.base_url, config.generation.api_key_env)


def check_address(setting: str, url: str) -> None:
    """Check that a URL is scheme, host, port and path, and nothing else.

    A user or password in it would be sent in the place of the key, and would be written down with the config; a query
    would end in the midst of the address that is asked.

    Args:
        setting: What holds the URL, for the error.
        url: The URL.

    Raises:
        UserError: Without the URL itself.
    """
    hint = f"write {setting} like https://HOST:PORT/v1"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError(f"{setting} is no address of an endpoint", hint) from None
    if "@" in url:
        raise UserError(
            f"{setting} holds a user name or password, which would be written down and sent in the place of the key",
            f"{hint}; the key comes from an environment variable (api_key_env), and a server that wants a password "
            "needs a proxy of yours that adds it",
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise UserError(
            f"{setting} goes on after its path (? or #), which would be written down and asked nobody",
            f"{hint}; a key comes from an environment variable (api_key_env)",
        )
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise UserError(f"{setting} is no address of an endpoint", hint)


def check_endpoint(group: str, base_url: str | None, variable: str | None) -> None:
    """Check where an endpoint is, and which variable holds its key, as far as they are given.

    Args:
        group: `judge` or `generation`, for the error.
        base_url: As of `check_address`.
        variable: The name of the environment variable.

    Raises:
        UserError: Without the value itself.
    """
    if base_url is not None:
        check_address(f"{group}.base_url", base_url)
    # A key that was given in the place of its variable's name: most have other characters, some letters of both cases.
    if variable is None:
        return
    if not _VARIABLE.fullmatch(variable) or (variable != variable.upper() and variable not in os.environ):
        raise UserError(
            f"{group}.api_key_env is no name of an environment variable that is set",
            f"it names the variable that holds the key, such as {group}.api_key_env=OPENAI_API_KEY; a key itself would "
            "be written down",
        )
