"""Credentials that a setting may carry, such as the password of a database's URL, kept out of what is passed on."""

from __future__ import annotations

import re
from typing import Any

_IN_URL = re.compile(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@")
"""User information of a URL (RFC 3986, section 3.2.1): what stands between `//` and `@`. A password is taken up to the
last `@`, as databases' drivers allow unescaped slashes in it; rather a path with a port and an `@` is hidden too."""

_IN_QUERY = re.compile(r"(?i)([?&][\w-]*(?:password|passwd|pwd|secret|token|key)[\w-]*=)[^&\s'\"]*")
"""A parameter of a URL's query that names a secret, such as `?password=` or `&sslpassword=`."""


def without_credentials(value: Any) -> Any:
    """Return JSON-like content with `***` for the user and password of every URL in its strings, keys included."""
    if isinstance(value, str):
        return _IN_QUERY.sub(r"\1***", _IN_URL.sub("***@", value))
    if isinstance(value, dict):
        return {without_credentials(key): without_credentials(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_credentials(item) for item in value]
    return value
