"""A model that scores completions: one pass gives what predicts each of their tokens, and logits are made in chunks.

A vocabulary is large beside a hidden state: the logits of all positions at once, in float32, are what memory would be
needed for. They are made of some positions at a time, by the model's own code after its layers, so that whatever it
does to them (a scale, a cap) is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from notus_exp.config.precisions import working_of
from notus_exp.models.encoding import Encoded
from notus_exp.models.logprobs import batches, tokens_of
from notus_exp.models.packing import Packed, pack, prompt_batches, rows_of
from notus_exp.models.pretrained import autocast

CHUNK_NUMBERS = 2**23
"""Logits that are held at once in float32: 32 MiB."""
_MASKED = ("sdpa", "eager")
"""Ways of attention that take a mask of any shape."""
_CLOSE = 1e-3
"""How far two passes over the same text may be apart in float32, of its log-prob."""

_UNFIT = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What a model raises that cannot be called in a way that is tried."""


class PackingPlan(NamedTuple):
    """Batches of places, and whether completions of one prompt share a row of the pass."""

    batches: list[list[int]]
    shared: bool


class Predictions(NamedTuple):
    """What predicts the tokens of completions, a row a token, completion after completion.

    Attributes:
        rows: Hidden states, shape (tokens, hidden size); logits where the model's head cannot be called alone.
        tokens: The ids that are predicted, shape (tokens,).
        owners: Which completion each is of, by its place in the batch, shape (tokens,).
        logits: Makes logits (n, vocabulary) of n rows.
    """

    rows: torch.Tensor
    tokens: torch.Tensor
    owners: torch.Tensor
    logits: Callable[[torch.Tensor], torch.Tensor]


class Scorer:
    """A model in evaluation mode on its device, and how it is to be called.

    Args:
        model: As `pretrained.load_model` returns it.
        precision: What forward passes compute in.
        device: Where the model is.
    """

    def __init__(self, model: PreTrainedModel, precision: str, device: torch.device) -> None:
        self.model, self.precision, self.device = model, precision, device

    @property
    def vocabulary(self) -> int:
        """Return how many tokens the model knows."""
        return int(self._inner.config.get_text_config().vocab_size)

    def plan(self, encoded: Sequence[Encoded], keys: Sequence[str], size: int) -> PackingPlan:
        """Return the batches in which texts are scored: functions of the texts and keys, whatever their order.

        Completions of one prompt stand behind it in one row, where there are any and the model reads such rows, in
        float32. In 16 bits another way of computing moves a log-prob by 0.2 nats, thrice what another batch does, and a
        reward is the difference to a policy's log-prob, which training computes a text a row.

        Args:
            encoded: Prompts with their completions.
            keys: Order those of equal length.
            size: Completions of a batch at most.
        """
        repeated = len(encoded) > len(rows_of(encoded))
        within = self._window is None or max(map(tokens_of, encoded), default=0) <= self._window
        exact = working_of(self.precision).computed == "float32"
        shared = exact and repeated and within and self._reads_trees
        return PackingPlan([*(prompt_batches if shared else batches)(encoded, keys, size)], shared)

    @torch.inference_mode()
    def logps(self, encoded: Sequence[Encoded], *, shared: bool) -> list[float]:
        """Return log p(completion | prompt) of each item: the sum over its tokens, in nats.

        The same quantity as TRL's `compute_ref_log_probs`: log-softmax in float32, summed here in float64.

        Args:
            encoded: The batch, n prompts (at least one token each) with their completions.
            shared: Read a prompt once for all of its completions; as its `plan` says.
        """
        return self._logps_of(self.predictions(encoded, shared=shared), len(encoded))

    @torch.inference_mode()
    def predictions(self, encoded: Sequence[Encoded], *, shared: bool = False) -> Predictions:
        """Return what predicts the completions' tokens, from one pass; args as of `logps`."""
        if any(not item.prompt_ids for item in encoded):
            raise ValueError("a prompt without tokens: nothing predicts the completion's first token")
        if not any(item.completion_ids for item in encoded):
            nothing = torch.zeros(0, dtype=torch.long, device=self.device)
            return Predictions(torch.zeros(0, self.vocabulary), nothing, nothing, lambda rows: rows)
        if shared:
            return self._from_tree(pack(encoded, self.device))
        return self._from_rows(encoded)

    def _from_tree(self, packed: Packed) -> Predictions:
        sees = packed.sees
        if self._inner.config.get_text_config()._attn_implementation == "eager":  # which adds its mask
            lowest = torch.finfo(self._inner.dtype).min
            sees = torch.zeros(sees.shape, dtype=self._inner.dtype, device=self.device).masked_fill(~sees, lowest)
        with autocast(self.precision, self.device):
            states = self._layers(
                input_ids=packed.input_ids, attention_mask=sees, position_ids=packed.positions, use_cache=False
            ).last_hidden_state
        return Predictions(states.flatten(0, 1)[packed.taken], packed.tokens, packed.owners, self._head)

    def _from_rows(self, encoded: Sequence[Encoded]) -> Predictions:
        """Read each prompt with its completion in a row of its own.

        The batch is padded at the right, where causal attention lets no padding reach a real position.
        """
        rows = [(item.prompt_ids + item.completion_ids)[:-1] for item in encoded]  # the last token predicts nothing
        lengths = [len(row) for row in rows]
        width = max(lengths)
        input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.device)
        mask = None  # without padding the causal mask is all there is, and attention takes its fast path
        if min(lengths) < width:
            mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
            mask = mask.to(device=self.device, dtype=torch.long)
        first = min(len(item.prompt_ids) for item in encoded) - 1
        with autocast(self.precision, self.device):
            if self._head_apart:
                found = self._layers(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
                found, head = found[:, first:], self._head
            else:
                kept = torch.arange(first, width, device=self.device)
                found = self.model(
                    input_ids=input_ids, attention_mask=mask, use_cache=False, logits_to_keep=kept
                ).logits
                head = _same
        starts = [len(item.prompt_ids) - 1 - first for item in encoded]
        parts = [
            found[place, start : start + len(item.completion_ids)]
            for place, (start, item) in enumerate(zip(starts, encoded, strict=True))
        ]
        tokens = [token for item in encoded for token in item.completion_ids]
        owners = [place for place, item in enumerate(encoded) for _ in item.completion_ids]
        return Predictions(
            torch.cat(parts),
            torch.tensor(tokens, dtype=torch.long, device=self.device),
            torch.tensor(owners, dtype=torch.long, device=self.device),
            head,
        )

    def _logps_of(self, predictions: Predictions, items: int) -> list[float]:
        sums = torch.zeros(items, dtype=torch.float64, device=self.device)
        for part in parts(predictions, self.vocabulary):
            logits = predictions.logits(predictions.rows[part]).float()
            logps = logits.log_softmax(dim=-1).gather(1, predictions.tokens[part, None])[:, 0]
            sums.index_add_(0, predictions.owners[part], logps.double())
        return sums.tolist()

    # ------------------------------------------------------------------------------------------------------- the model
    @cached_property
    def _reads_trees(self) -> bool:
        """Say whether the model heeds mask and positions, so that completions may stand behind one prompt in a row.

        It is tried: of two equal completions in one row, the second would be far likelier to a model that saw the
        first, or that numbered it otherwise. A recurrence, positions that are counted, attention without a free mask:
        such models are given each text alone.
        """
        config = self._inner.config.get_text_config()
        if config._attn_implementation not in _MASKED or not self._head_apart:
            return False
        most = min(config.vocab_size, 64)
        probe = Encoded([*range(1, most // 4)], [*range(most // 4, most)])
        [alone] = self.logps([probe], shared=False)
        try:
            together = self.logps([probe, probe], shared=True)
        except _UNFIT:
            return False
        return all(abs(logp - alone) <= _CLOSE * abs(alone) for logp in together)

    @property
    def _inner(self) -> Any:
        """The transformers model, without PEFT's wrapper; adapters are inside its layers."""
        unwrap = getattr(self.model, "get_base_model", None)
        return unwrap() if unwrap else self.model

    @property
    def _layers(self) -> Any:
        return self._inner.base_model

    @property
    def _window(self) -> int | None:
        """Tokens that some layer sees back at most, where there is a limit: a mask of our own would lift it."""
        config = self._inner.config.get_text_config()
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return min((window for window in windows if window), default=None)

    @cached_property
    def _head_apart(self) -> bool:
        """Say whether the model's own code makes the same logits of its layers' outputs alone. It is tried."""
        inner = self._inner
        if inner.base_model is inner:
            return False
        ids = torch.tensor([[1, 2]], device=self.device)
        with torch.inference_mode(), autocast(self.precision, self.device):
            whole = inner(input_ids=ids, use_cache=False).logits[0].float()
            try:
                parts = self._head(self._layers(input_ids=ids, use_cache=False).last_hidden_state[0]).float()
            except _UNFIT:
                return False
        return parts.shape == whole.shape and bool(torch.allclose(parts, whole, rtol=1e-2, atol=1e-2))

    @torch.inference_mode()
    def _head(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, vocabulary) of hidden states (n, size): the model's forward, its layers left out."""
        inner = self._inner
        name = inner.base_model_prefix
        layers = inner._modules[name]
        inner._modules[name] = _KnownStates(rows[None])
        try:
            with autocast(self.precision, self.device):
                ids = torch.zeros(1, len(rows), dtype=torch.long, device=self.device)
                logits: torch.Tensor = inner(input_ids=ids, use_cache=False).logits[0]
                return logits
        finally:
            inner._modules[name] = layers


class _KnownStates(torch.nn.Module):
    """Stands in for a model's layers: their output is known."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self._states = states

    def forward(self, *args: Any, **named: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=self._states)


def parts(predictions: Predictions, vocabulary: int, numbers: int = CHUNK_NUMBERS) -> Iterator[slice]:
    """Yield the rows whose logits are to be held at once, so many numbers at most."""
    size = max(1, numbers // vocabulary)
    for start in range(0, len(predictions.tokens), size):
        yield slice(start, start + size)


def _same(rows: torch.Tensor) -> torch.Tensor:
    return rows
