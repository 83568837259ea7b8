"""Mappings of data, as a config has them."""

from __future__ import annotations

from typing import Any

from notus_exp.config.mapping_settings import CompletionPaths, Layout


def layout(*completions: dict[str, Any], **others: Any) -> Layout:
    """Return a mapping; what is not given is as in conf/data/mapped.yaml."""
    given: dict[str, Any] = {"prompt": "prompt or none", "system": None, "source": None, "roles": {}, "speakers": {}}
    given |= {"role_key": None, "content_key": None} | others
    return Layout(completions=[CompletionPaths(**one) for one in completions], **given)


SIDES = ({"text": "chosen", "side": "chosen"}, {"text": "rejected", "side": "rejected"})
"""Two sides as most layouts call them."""
