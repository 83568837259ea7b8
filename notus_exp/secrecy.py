"""Striking secrets out of texts: where errors are made, and before anything is written or shown that others wrote."""

from __future__ import annotations

import os
import re

STRUCK = "***"

_IN_URL = re.compile(r"(?<=://)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@")
"""User information of a URL (RFC 3986, section 3.2.1): what stands between `//` and `@`. A password is taken up to the
last `@`, as databases' drivers allow unescaped slashes in it; rather a path with a port and an `@` is hidden too."""

_IN_QUERY = re.compile(r"(?i)([?&][\w-]*(?:password|passwd|pwd|secret|token|key|signature)[\w-]*=)[^&\s'\"]*")
"""A parameter of a URL's query that names a secret, such as `?password=` or `&sslpassword=`."""

_VARIABLE = re.compile(r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
"""Names of environment variables that hold secrets, by their last word: OPENAI_API_KEY, HF_TOKEN."""

LEAST_CHARACTERS = 8
"""A shorter value is a placeholder, and striking it out would spoil words."""


def strike(text: str) -> str:
    """Return a text with `***` for users and passwords of URLs, secrets of their queries, and secrets that are known.

    Known are the values of the environment variables whose names say that they hold a secret.
    """
    text = _IN_QUERY.sub(rf"\1{STRUCK}", _IN_URL.sub(f"{STRUCK}@", text))
    for name, value in os.environ.items():
        if len(value) >= LEAST_CHARACTERS and value in text and _VARIABLE.search(name):
            text = text.replace(value, STRUCK)
    return text
