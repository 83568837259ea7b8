"""A JSON file that is a contract: its version, its seal, and whether it holds what its readers rely on.

The version is the key `format`, looked at before anything else is. The key `seal` is a hash of all other content: a
file that does not fit its seal was changed after it was written. One without is from before there were any, which its
version tells.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from notus_exp.contracts.file_states import State, settled_state
from notus_exp.errors import UserError

SEAL = "seal"
"""The key of the hash."""


class DamagedFileError(UserError):
    """A file that cannot be read for what it is: something cut it off or changed it."""


class NewerFormatError(UserError):
    """A file that only a newer notus-exp can read: it is not damaged, so it is neither called so nor written over."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written of a contract: its content with the seal of that."""
    plain = json.loads(json.dumps(dict(content)))
    return {**plain, SEAL: seal_of(plain)}


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of parsed JSON, whatever seal it has itself."""
    plain = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_object(path: Path, newest: int, *, sealed_since: int | None = None, check_seal: bool = True) -> dict[str, Any]:
    """Return the content of a JSON file, once it is known to be of a version that can be read.

    Args:
        path: The file; without `format` it is of version 1.
        newest: The newest version of this contract that this package reads.
        sealed_since: The first version whose files all have a seal; None where there is none.
        check_seal: Whether content that does not fit its seal is refused.

    Returns:
        The content without its seal.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged: not UTF-8, not JSON, not an object, other than it was sealed, or without the seal
            that it had.
        NewerFormatError: It is of a version that this package does not know.
    """
    content = parse_object(path)
    check_whole(content, path, newest, sealed_since=sealed_since, check_seal=check_seal)
    content.pop(SEAL, None)
    return content


def check_whole(
    content: Mapping[str, Any], path: Path, newest: int, *, sealed_since: int | None = None, check_seal: bool = True
) -> None:
    """Check that the content of a file is as it was sealed, and of a version that can be read.

    Args:
        content: With its seal.
        path: As of `read_object`.
        newest: Likewise.
        sealed_since: Likewise.
        check_seal: Likewise.

    Raises:
        ValueError: It was changed after it was sealed, or its seal was taken out.
        NewerFormatError: It is of a version that this package does not know.
    """
    # before the version: what a damaged file says of itself is not believed
    if check_seal and SEAL in content and content[SEAL] != seal_of(content):
        raise ValueError("it was changed after it was written: it does not fit its seal")
    version = content.get("format", 1)
    check_version(path, version, newest)
    if check_seal and sealed_since is not None and version >= sealed_since and SEAL not in content:
        raise ValueError("it was changed after it was written: its seal was taken out")


def parse_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged: not UTF-8, not JSON, or not an object.
    """
    return _parse(path)[0]


def parse_checked(path: Path, check: Callable[[dict[str, Any], Path], None]) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object, checked once in a process while the file stays.

    Studies of a thousand runs read each record many times, and a check takes longer than the reading.

    Args:
        path: The file.
        check: Is given content and path, changes nothing, and raises where the content is not what it should be.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `parse_object`.
    """
    content, state = _parse(path)
    if state is None or (check, state) not in _checked:
        check(content, path)
    if state is not None:
        _checked.add((check, state))
    return content


_checked: set[tuple[Callable[[dict[str, Any], Path], None], State]] = set()
"""Checks, and the files that passed them."""


def _parse(path: Path) -> tuple[dict[str, Any], State | None]:
    with path.open("rb") as stream:
        state = settled_state(stream.fileno())
        text = stream.read()
    try:
        content: dict[str, Any] = json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_kinds(content, {})
    return content, state


def check_version(path: Path, found: object, newest: int) -> None:
    """Refuse a version that this package does not know.

    Args:
        path: The file that says so.
        found: Its `format`.
        newest: The newest version that this package reads.

    Raises:
        NewerFormatError: Naming the file and both versions.
    """
    if isinstance(found, bool) or found not in range(1, newest + 1):
        raise NewerFormatError(
            f"{path} has format {json.dumps(found)}, and this version of notus-exp reads up to {newest}",
            "update notus-exp",
        )


def check_kinds(content: Any, kinds: Mapping[str, type], *, required: Iterable[str] = (), where: str = "it") -> None:
    """Check what readers rely on: that content is an object, and of which types its values are.

    Args:
        content: Parsed JSON.
        kinds: Key -> type of its value, where the key is there.
        required: Keys that must be there.
        where: What the content is, for the message.

    Raises:
        ValueError: Naming the key.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{where} is of type {type(content).__name__} where an object belongs")
    for key in required:
        if key not in content:
            raise ValueError(f"{where} has no '{key}'")
    for key, kind in kinds.items():
        if key in content and not isinstance(content[key], kind):
            raise ValueError(f"its '{key}' is of type {type(content[key]).__name__}, not {kind.__name__}")


def check_shape(value: Any, kind: Any, where: str = "it") -> None:
    """Check that parsed JSON is of a type: a TypedDict, list, dict with text as keys, union or plain type.

    Of a TypedDict the keys that are there are checked, all the way down; which must be there is for `check_kinds`.

    Args:
        value: Parsed JSON.
        kind: The type.
        where: What the value is, for the message.

    Raises:
        ValueError: Naming the place.
    """
    if not _fits(kind)(value):
        _tell_misfit(value, kind, where)


@cache
def _fits(kind: Any) -> Callable[[Any], bool]:
    """Return what says whether parsed JSON is of a type: without words, which take most of the time of a check."""
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: True
    if origin in (Union, types.UnionType):
        kinds = [_fits(one) for one in of]
        return lambda value: any(fits(value) for fits in kinds)
    if is_typeddict(kind):
        known = {key: _fits(one) for key, one in get_type_hints(kind).items()}
        return lambda value: (
            isinstance(value, dict) and all(known[key](item) for key, item in value.items() if key in known)
        )
    if origin is list:
        fits = _fits(of[0])
        return lambda value: isinstance(value, list) and all(map(fits, value))
    if origin is dict:
        fits = _fits(of[1])
        return lambda value: isinstance(value, dict) and all(map(fits, value.values()))
    if kind in (int, float):
        numbers = (int, float) if kind is float else int
        return lambda value: isinstance(value, numbers) and not isinstance(value, bool)
    return lambda value: isinstance(value, kind)


def _tell_misfit(value: Any, kind: Any, where: str) -> None:
    """Raise what says where a value is not of a type; it is not."""
    origin = get_origin(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        _tell_any(value, get_args(kind), where)
    elif is_typeddict(kind):
        check_kinds(value, {}, where=where)
        for key, of in get_type_hints(kind).items():
            if key in value:
                place = f"{'its' if where == 'it' else f'{where},'} '{key}'"
                if is_typeddict(of):
                    _check_plain(value[key], dict, place)
                _tell_misfit(value[key], of, place)
    elif origin is list:
        _check_plain(value, list, where)
        for number, item in enumerate(value, 1):
            _tell_misfit(item, get_args(kind)[0], f"{where}, number {number}")
    elif origin is dict:
        _check_plain(value, dict, where)
        for key, item in value.items():
            _tell_misfit(item, get_args(kind)[1], f"{where}, '{key}'")
    else:
        _check_plain(value, kind, where)


def _tell_any(value: Any, kinds: Iterable[Any], where: str) -> None:
    """Check that a value is of one of several types; a failure is told of the last, which is not None."""
    problem = None
    for kind in kinds:
        try:
            _tell_misfit(value, kind, where)
            return
        except ValueError as error:
            problem = error if problem is None or kind is not types.NoneType else problem
    assert problem is not None
    raise problem


def _check_plain(value: Any, kind: Any, where: str) -> None:
    number = kind in (int, float) and isinstance(value, (int, float) if kind is float else int)
    if isinstance(value, bool) if kind is bool else number and not isinstance(value, bool):
        return
    if kind in (int, float, bool) or not isinstance(value, kind):
        raise ValueError(f"{where} is of type {type(value).__name__}, not {kind.__name__}")


def refuse_newer(path: Path, newest: int) -> None:
    """Refuse to write over a file of a newer version; one that is missing or damaged may be written anew.

    Raises:
        NewerFormatError: Naming the file.
    """
    with suppress(FileNotFoundError, ValueError):
        read_object(path, newest)
