"""Who answered, judged and annotated: a note where what is kept came from another endpoint than is set now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from notus_exp.config.endpoint_checks import address_of
from notus_exp.config.made_settings import JUDGE, OVERALL
from notus_exp.disk.credentials import without_credentials
from notus_exp.stages.settings import ANNOTATED, REANNOTATED, WRITTEN

ANSWERED = {"generation": ("generations", "answers"), "judge": ("judgments", "verdicts")}
"""Config group -> how its nodes' names begin, and what its endpoint gives."""


def endpoint_notes(facts: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """Return a note for the answers, for the verdicts, and for each annotator's, that another address gave than is set.

    An address enters no key, for a server may move. What is kept from before addresses were noted is not counted.

    Args:
        facts: Node name -> what it counted; `endpoints` has replies by address.
        config: As run.json holds it.
    """
    asked = [(group, config.get(group) or {}, _of(begins, facts), what) for group, (begins, what) in ANSWERED.items()]
    asked += _of_made(facts, config.get("data") or {})
    for one in config.get("annotators") or []:
        own = [facts.get(f"{ANNOTATED}{one['name']}", {})]
        if (config.get("repair") or {}).get("annotator") == one["name"]:
            own.append(facts.get(REANNOTATED, {}))
        asked.append((f"annotators.{one['name']}", one["judge"], own, "verdicts"))
    return [note for group in asked if (note := _note(*group))]


def _of_made(
    facts: Mapping[str, Mapping[str, Any]], data: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any], list[Mapping[str, Any]], str]]:
    """Return the writers, and the judge, of data that is made here, each with what its nodes counted."""
    if data.get("name") != "made":
        return []
    found = [
        (f"data.writers.{number}", writer, [facts.get(f"{WRITTEN}{writer['name']}", {})], "answers")
        for number, writer in enumerate(data["writers"])
        if writer.get("base_url")
    ]
    rated = [facts.get(f"{ANNOTATED}{aspect}", {}) for aspect in (*data["aspects"], OVERALL)]
    return [*found, (JUDGE, data["judge"], rated, "verdicts")]


def _of(begins: str, facts: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [fact for name, fact in facts.items() if name.startswith(begins)]


def _note(group: str, settings: Mapping[str, Any], facts: Sequence[Mapping[str, Any]], what: str) -> str | None:
    if "base_url" not in settings:
        return None
    counted: Counter[str] = Counter()
    for fact in facts:
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
