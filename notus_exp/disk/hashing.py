"""Hashes that decide: prompt ids, file digests, and a uniform number per prompt that nothing else can move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from notus_exp.contracts.file_states import State, settled_state

if TYPE_CHECKING:
    import numpy as np


_digests: dict[State, str] = {}
"""What files hold that were read."""


def prompt_id(instruction: str, context: Iterable[tuple[str, str]] = ()) -> str:
    """Return the first 16 hex digits of the sha256 of an instruction, or of all turns where there are earlier ones.

    Args:
        instruction: The user's last message.
        context: Role and content of each turn before it, without the system turn. With any the hash is that of the
            canonical JSON of all turns as `{role, content}`.
    """
    turns = [{"role": role, "content": content} for role, content in context]
    text = canonical([*turns, {"role": "user", "content": instruction}]) if turns else instruction
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def canonical(value: Any) -> str:
    """Return JSON that is the same for the same value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 (hex) of a JSON value's canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 (hex) of a file's content, which is read once in a process while it stays as it is.

    What was written in the last seconds is read each time (`contracts.file_states`).
    """
    with path.open("rb") as stream:
        state = settled_state(stream.fileno())
        found = _digests.get(state) if state else None
        if found is None:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if state:
            _digests[state] = found
        return found


def content_hash(path: Path, on_read: Callable[[int], None] | None = None) -> str:
    """Return the xxh3-128 (hex) of a file's content: fast, and made to notice damage, not to withstand an attacker.

    Args:
        path: The file.
        on_read: Told how many bytes were read, each time.
    """
    state = xxh3_128()
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(buffer):
            state.update(buffer[:size])
            if on_read:
                on_read(size)
    return state.hexdigest()


def uniform(prompt_ids: Iterable[str], seed: int, salt: str) -> np.ndarray:
    """Return one number in [0, 1) per prompt id, a function of (prompt id, seed, salt) alone.

    The id's 64 bits and a sha256 of seed and salt go through the splitmix64 finaliser (Steele, Lea and Flood 2014,
    "Fast splittable pseudorandom number generators"), so 256,000 draws take milliseconds and no library's hash matters.

    Args:
        prompt_ids: Ids of 16 hex digits, shape (n,).
        seed: The user's seed for this purpose.
        salt: The purpose, such as "rejected"; different purposes draw independently.
    """
    import numpy as np

    stream = int.from_bytes(hashlib.sha256(f"{seed}/{salt}".encode()).digest()[:8], "big")
    bits = np.fromiter((int(pid, 16) for pid in prompt_ids), dtype=np.uint64)
    z = bits ^ np.uint64(stream)
    for _ in range(2):  # two rounds: one alone leaves a visible structure between ids that differ in few bits
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
