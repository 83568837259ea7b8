"""What fields of the schema carry: ranges and options, which `check` enforces, and whether a setting enters keys."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, field, fields, is_dataclass
from typing import Any

from notus_exp.errors import UserError, did_you_mean

ALWAYS = object()
"""Says of a setting that it has been there from the beginning."""
PLACE = "place"
"""Marks in a field's metadata a setting that is a path, in which `~` is the home folder."""
ADDRESS = "address"
"""Marks there what a URL begins with that may be given instead; without it a URL is refused."""
HUB = "hf://"
"""Begins the URL of a file on the hub."""


def bounded(
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    in_key: bool = True,
    since: Any = ALWAYS,
    **given: Any,
) -> Any:
    """A dataclass field whose number, or each number of whose list, must lie in a range (`check` enforces it).

    `in_key`, `since` and `given` are those of `unbounded`.
    """
    limits = {"above": above, "least": least, "most": most, "below": below}
    return field(metadata={**limits, **_marks(in_key, since)}, **given)


def one_of(
    *options: str, in_key: bool = True, since: Any = ALWAYS, hints: dict[str, str] | None = None, **given: Any
) -> Any:
    """A dataclass field whose string, or each string of whose list, must be one of the options.

    `hints` says of what is none where it is to be found; `in_key`, `since` and `given` are those of `unbounded`.
    """
    return field(metadata={"options": options, "hints": hints or {}, **_marks(in_key, since)}, **given)


def named_file(**given: Any) -> Any:
    """A dataclass field that names a file, here or on the hub, or null: a digest of its content enters keys for it.

    `given` is that of `unbounded`.
    """
    return field(metadata={"in_key": False, "file": True, PLACE: True, ADDRESS: HUB}, **given)


def place(*, empty: bool = False, address: str | None = None) -> Any:
    """A dataclass field that is a path, a list or a mapping of them, or null; no key holds where something lies.

    Args:
        empty: Whether it may be empty, which says that it is not given; who needs it then asks for it.
        address: What a URL begins with that may be given instead: "" is any, None none.
    """
    return field(metadata={"in_key": False, PLACE: True, "empty": empty, ADDRESS: address})


def files_of(node: Any) -> dict[str, str]:
    """Return name -> place of the files that a dataclass names by fields of `named_file`, where they are given."""
    named = [spec.name for spec in fields(node) if spec.metadata.get("file")]
    return {name: getattr(node, name) for name in named if getattr(node, name) is not None}


def unbounded(*, in_key: bool = True, since: Any = ALWAYS, unless: str | None = None, **given: Any) -> Any:
    """A dataclass field of any value.

    Args:
        in_key: False leaves the setting out of the key of its group, because it moves no result (how something is
            reached, run or paid) or because a digest or a setting of its own stands for it.
        since: Of a setting that came later: the value under which results are as they were without it. While it holds
            this value it is left out of keys, so that what users made before is still found.
        unless: Name of a setting beside it which, where it is given, stands for this one.
        given: `default` or `default_factory` of the field.
    """
    return field(metadata={**_marks(in_key, since), **({"unless": unless} if unless else {})}, **given)


def enters_key(spec: Field[Any], owner: Any) -> bool:
    """Say whether a setting is part of the key of its group.

    Args:
        spec: The field.
        owner: The dataclass that has it, with its values.
    """
    if not spec.metadata.get("in_key", True):
        return False
    if "since" in spec.metadata and getattr(owner, spec.name) == spec.metadata["since"]:
        return False
    return not ("unless" in spec.metadata and getattr(owner, spec.metadata["unless"]))


def left_out_as(spec: Field[Any]) -> Any:
    """Return the value of a setting that is not in the content of a key: that of `since`, else None."""
    return spec.metadata.get("since")


def _marks(in_key: bool, since: Any) -> dict[str, Any]:
    return ({} if in_key else {"in_key": False}) | ({} if since is ALWAYS else {"since": since})


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
        for place, item in enumerate(values):
            if is_dataclass(item):
                check(item, f"{key}[{place}].")
            else:
                _check_value(key, item, spec.metadata)


def _check_value(key: str, value: Any, metadata: Any) -> None:
    if "options" in metadata and value not in metadata["options"]:
        hint = metadata["hints"].get(value) or did_you_mean(str(value), metadata["options"])
        raise UserError(f"{key}={value} is not an option", hint)
    if PLACE in metadata and not metadata.get("empty") and isinstance(value, str) and not value.strip():
        raise UserError(f"{key} must be given, and is empty", f"write {key}=PATH; the current folder is {key}=.")
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
