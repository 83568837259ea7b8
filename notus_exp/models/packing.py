"""A prompt and its completions in one row of a forward pass, so that the prompt is read once: a tree of tokens.

The completions stand one after the other behind the prompt. Each sees the prompt and itself alone, and is numbered as
if it stood behind the prompt directly, so a model of full attention gives each token what it would without the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from notus_exp.models.encoding import Encoded

ROW_TOKENS = 4096
"""Tokens of a row at most, where it holds several completions: attention grows with their square."""


class Packed(NamedTuple):
    """Rows of a pass, and what to read where.

    Attributes:
        input_ids: Shape (rows, width).
        positions: Of each token in its own text, shape (rows, width).
        sees: Whether a token attends to another, shape (rows, 1, width, width); padding sees itself alone.
        taken: Flat places (row * width + column) whose outputs predict the completions' tokens, shape (tokens,).
        tokens: The ids that are predicted there, shape (tokens,).
        owners: Which completion each is of, by its place in the batch, shape (tokens,).
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    sees: torch.Tensor
    taken: torch.Tensor
    tokens: torch.Tensor
    owners: torch.Tensor


def rows_of(encoded: Sequence[Encoded]) -> list[list[int]]:
    """Return the places of completions of one prompt together, in the order in which prompts come first."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for place, item in enumerate(encoded):
        rows.setdefault(tuple(item.prompt_ids), []).append(place)
    return list(rows.values())


def row_tokens(encoded: Sequence[Encoded]) -> int:
    """Return how many tokens a prompt takes in a row with these completions; their last tokens predict nothing."""
    return len(encoded[0].prompt_ids) + sum(max(0, len(item.completion_ids) - 1) for item in encoded)


def prompt_batches(encoded: Sequence[Encoded], keys: Sequence[str], size: int) -> list[list[int]]:
    """Return places in batches of at most `size` completions, those of a prompt together where they fit.

    Rows of like lengths meet, and what is in a batch is a function of what is given, whatever its order.
    """
    rows: list[list[int]] = []
    for row in rows_of(encoded):
        rows += _split(encoded, sorted(row, key=lambda i: (len(encoded[i].completion_ids), keys[i])), size)
    rows.sort(key=lambda row: (row_tokens([encoded[i] for i in row]), keys[row[0]]))
    found: list[list[int]] = []
    for row in rows:
        last = found[-1] if found else []
        split = any(encoded[place].prompt_ids == encoded[row[0]].prompt_ids for place in last)
        if last and len(last) + len(row) <= size and not split:  # which would be one row again
            last += row
        else:
            found.append([*row])
    return found


def _split(encoded: Sequence[Encoded], row: Sequence[int], size: int) -> list[list[int]]:
    """Split a row of one prompt that is too long, or holds more completions than a batch."""
    parts: list[list[int]] = []
    for place in row:
        longer = [*parts[-1], place] if parts else []
        if longer and len(longer) <= size and row_tokens([encoded[i] for i in longer]) <= ROW_TOKENS:
            parts[-1] = longer
        else:
            parts.append([place])
    return parts


def pack(encoded: Sequence[Encoded], device: torch.device) -> Packed:
    """Pack completions behind their prompts, a row a prompt.

    Args:
        encoded: Prompts (at least one token each) with their completions, n of them.
        device: Where the tensors are to be.
    """
    rows = rows_of(encoded)
    width = max(row_tokens([encoded[i] for i in row]) for row in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    # A token's branch: 0 is the prompt, which all see; others see their own branch up to themselves.
    branches = torch.full((len(rows), width), -1)
    taken: list[int] = []
    tokens: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(rows):
        prompt = encoded[row[0]].prompt_ids
        end = len(prompt)
        input_ids[number, :end] = torch.tensor(prompt)
        positions[number, :end] = torch.arange(end)
        branches[number, :end] = 0
        for branch, place in enumerate(row, start=1):
            completion = encoded[place].completion_ids
            if not completion:
                continue
            start, end = end, end + len(completion) - 1
            input_ids[number, start:end] = torch.tensor(completion[:-1], dtype=torch.long)
            positions[number, start:end] = torch.arange(len(prompt), len(prompt) + end - start)
            branches[number, start:end] = branch
            first = number * width
            taken += [first + len(prompt) - 1, *range(first + start, first + end)]
            tokens += completion
            owners += [place] * len(completion)
    branches = branches.to(device)
    earlier = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    own, other = branches[:, :, None], branches[:, None, :]
    sees = (((own == other) | (other == 0)) & (own >= 0) & earlier) | torch.eye(width, dtype=torch.bool, device=device)
    return Packed(
        input_ids.to(device),
        positions.to(device),
        sees[:, None],
        torch.tensor(taken, dtype=torch.long, device=device),
        torch.tensor(tokens, dtype=torch.long, device=device),
        torch.tensor(owners, dtype=torch.long, device=device),
    )
