"""Credentials that a setting may carry, such as the password of a database's URL, kept out of what is passed on."""

from __future__ import annotations

from typing import Any

from notus_exp.errors import strike


def without_credentials(value: Any) -> Any:
    """Return JSON-like content with every secret struck out of its strings, keys included; see `errors.strike`."""
    if isinstance(value, str):
        return strike(value)
    if isinstance(value, dict):
        return {without_credentials(key): without_credentials(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_credentials(item) for item in value]
    return value
