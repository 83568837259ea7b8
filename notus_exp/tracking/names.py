"""What W&B calls things: the metrics of a run, the runs of a study, the artifacts of an arm."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from notus_exp.config.schema import Tracking
from notus_exp.contracts.run_file import RunEstimate
from notus_exp.disk.hashing import digest
from notus_exp.evaluation.catalogue import held_out
from notus_exp.evaluation.metrics import headlines
from notus_exp.tracking.tracker import Membership

DETAIL = "detail"
"""Prefix of everything in a summary that is no headline metric."""
VALIDATION = "validation"
"""Prefix of what was measured on validation prompts, and the split's name."""
_OF_OTHERS = ("base/", "difference/")
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]")
"""What names of W&B's artifacts may not hold."""
ARTIFACT_LENGTH = 100


def wandb_name(metric: str, split: str | None) -> str:
    """Return what W&B calls a metric: its name, behind `validation/` where that is whose prompts it was measured on.

    Args:
        metric: Such as `verifiable/strict` or `base/verifiable/strict`.
        split: The run's `evaluation_split`; evaluations of fixed prompts have none, whatever it is.
    """
    plain = metric
    for prefix in _OF_OTHERS:
        plain = plain.removeprefix(prefix)
    return f"{VALIDATION}/{metric}" if split == VALIDATION and plain.split("/")[0] in held_out() else metric


def leading(metrics: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Return those of a run's metrics that stand in its summary by their plain names: headlines, and what was asked."""
    known = list(metrics)
    return list(dict.fromkeys([*headlines(known), *(name for name in asked if name in known)]))


def summary_of(metrics: Mapping[str, RunEstimate], split: str | None, plain: Iterable[str]) -> dict[str, Any]:
    """Return a run's metrics as its summary holds them: `plain` by their names, all the rest behind `detail/`."""
    first, found = set(plain), {}
    for name, estimate in metrics.items():
        shown = wandb_name(name, split)
        found[shown if name in first else f"{DETAIL}/{shown}"] = estimate["value"]
        for part in ("low", "high", "n"):
            found[f"{DETAIL}/{shown}/{part}"] = estimate[part]
    return found


def history_of(metrics: Mapping[str, RunEstimate], split: str | None, plain: Iterable[str]) -> dict[str, float]:
    """Return the plain metrics that have a value, as one line of the history holds them."""
    values = {wandb_name(name, split): metrics[name]["value"] for name in plain}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def member_id(tracking: Tracking, member: Membership) -> str:
    """Return the id of the one W&B run that stands for an arm, or a trial, and a seed, whenever it is told of."""
    return _id(tracking, [*member[:5]])


def study_id(tracking: Tracking, study: str) -> str:
    """Return the id of the W&B run of a whole study."""
    return _id(tracking, [study])


def place_id(tracking: Tracking) -> str:
    """Return what stands for the place in W&B where runs go."""
    return _id(tracking, [])


def owner_of(member: Membership) -> str:
    """Return what a run's artifacts are named by: its study and arm; its search; or its arm's tuning.

    What a search or tuning tries has one name together, and an alias each: most trials share their pairs, which would
    otherwise be kept once for each.
    """
    if member.trial is not None:
        return member.study
    return ".".join((member.study, member.arm, *(["tuning"] if member.candidate else [])))


def alias_of(member: Membership) -> str:
    """Return the alias of what a run made, among what has its name: `s0`, `trial_3-s0` or `dpo.beta_0.1-s1000`."""
    tried = member.arm if member.trial is not None else _REFUSED.sub("_", member.candidate)
    return f"{tried[:ARTIFACT_LENGTH]}-s{member.seed}" if tried else f"s{member.seed}"


def artifact_name(owner: str, role: str) -> str:
    """Return the name of an artifact: one for each owner (an arm) and role, so that W&B counts its versions.

    What W&B does not take in a name is replaced, and a hash of the name added, so that two owners never share one.
    """
    clean = _REFUSED.sub("_", owner)
    if clean != owner or len(clean) > ARTIFACT_LENGTH:
        clean = f"{clean[:ARTIFACT_LENGTH]}-{digest(owner)[:8]}"
    return f"{clean}.{role}"


def _id(tracking: Tracking, parts: list[Any]) -> str:
    return digest([tracking.project, tracking.entity, tracking.group, *parts])[:16]
