"""Ranges and options of settings: fields of the schema carry them, `check` enforces them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import field, fields, is_dataclass
from typing import Any

from notus_exp.errors import UserError, did_you_mean


def bounded(
    *, above: float | None = None, least: float | None = None, most: float | None = None, below: float | None = None
) -> Any:
    """A dataclass field whose number, or each number of whose list, must lie in a range (`check` enforces it)."""
    return field(metadata={"above": above, "least": least, "most": most, "below": below})


def check(node: Any, path: str = "") -> None:
    """Check every range and option of a dataclass and of those within it.

    Raises:
        UserError: Naming the key, the value and what is allowed.
    """
    for spec in fields(node):
        key, value = f"{path}{spec.name}", getattr(node, spec.name)
        if is_dataclass(value):
            check(value, f"{key}.")
            continue
        many = list(value.values()) if isinstance(value, dict) else value
        values = many if isinstance(many, list) else [] if many is None else [many]
        for item in values:
            _check_value(key, item, spec.metadata)


def _check_value(key: str, value: Any, metadata: Any) -> None:
    if "options" in metadata and value not in metadata["options"]:
        raise UserError(f"{key}={value} is not an option", did_you_mean(str(value), metadata["options"]))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value} is not a finite number")
    if "above" in metadata:
        allowed = list(_broken_bounds(value, metadata))
        if allowed:
            raise UserError(f"{key}={value} is out of range: it must be {' and '.join(allowed)}")


def _broken_bounds(value: Any, bounds: Any) -> Iterator[str]:
    if bounds["above"] is not None and not value > bounds["above"]:
        yield f"above {bounds['above']}"
    if bounds["least"] is not None and not value >= bounds["least"]:
        yield f"at least {bounds['least']}"
    if bounds["most"] is not None and not value <= bounds["most"]:
        yield f"at most {bounds['most']}"
    if bounds["below"] is not None and not value < bounds["below"]:
        yield f"below {bounds['below']}"


def one_of(*options: str) -> Any:
    """A dataclass field whose string, or each string of whose list, must be one of the options."""
    return field(metadata={"options": options})
