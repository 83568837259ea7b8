"""Who answered and judged: a note where what is kept came from another endpoint than the one that is set now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from notus_exp.config.endpoint_checks import address_of
from notus_exp.disk.credentials import without_credentials

ANSWERED = {"generation": ("generations", "answers"), "judge": ("judgments", "verdicts")}
"""Config group -> how its nodes' names begin, and what its endpoint gives."""


def endpoint_notes(facts: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """Return a note for the answers, and one for the verdicts, that another address gave than the config's.

    An address enters no key, for a server may move. What is kept from before addresses were noted is not counted.

    Args:
        facts: Node name -> what it counted; `endpoints` has replies by address.
        config: As run.json holds it.
    """
    return [note for group in ANSWERED if (note := _note(group, facts, config.get(group) or {}))]


def _note(group: str, facts: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> str | None:
    if "base_url" not in settings:
        return None
    begins, what = ANSWERED[group]
    counted: Counter[str] = Counter()
    for name, fact in facts.items():
        if name.startswith(begins):
            counted.update(fact.get("endpoints") or {})
    now = str(without_credentials(address_of(settings["base_url"])))
    others = {address: count for address, count in counted.items() if address != now}
    if not others:
        return None
    named = ", ".join(f"{address} ({count})" for address, count in sorted(others.items()))
    return (
        f"{sum(others.values())} of {counted.total()} {what} were given by {named}, not by {group}.base_url={now}: "
        "what was kept is not asked again"
    )
