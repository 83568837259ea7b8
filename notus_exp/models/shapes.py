"""What a model is made of, as its config.json says: sizes of its layers and their parameters, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from notus_exp.config.told_shape import FAMILIES, is_size

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


class Shape(NamedTuple):
    """Sizes of a decoder of one of `FAMILIES`.

    Attributes:
        layers: Blocks.
        hidden: Width of the residual stream.
        intermediate: Width of the MLP.
        heads: Of queries.
        kv_heads: Of keys and values.
        head_dim: Width of a head.
        vocabulary: Tokens that it embeds.
        tied: Whether the head is the embedding.
        biased: Linear layers of a block that have a bias.
        head_norms: Whether queries and keys have a norm of their own.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    biased: tuple[str, ...] = ()
    head_norms: bool = False

    @property
    def queries(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys, or all values, together."""
        return self.kv_heads * self.head_dim

    def linear(self) -> dict[str, tuple[int, int]]:
        """Return name -> (width in, width out) of a block's linear layers."""
        h, i, q, k = self.hidden, self.intermediate, self.queries, self.keys
        widths = [(h, q), (h, k), (h, k), (q, h), (h, i), (h, i), (i, h)]
        return dict(zip((*ATTENTION, *MLP), widths, strict=True))

    @property
    def block_linear(self) -> int:
        """Weights of a block's linear layers, biases apart."""
        return sum(wide * out for wide, out in self.linear().values())

    @property
    def block(self) -> int:
        """Parameters of a block."""
        biases = sum(out for name, (_, out) in self.linear().items() if name in self.biased)
        return self.block_linear + biases + 2 * self.hidden + (2 * self.head_dim if self.head_norms else 0)

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head too where it has weights of its own."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, tied ones counted once."""
        return self.layers * self.block + self.embedding * (1 if self.tied else 2) + self.hidden

    def adapter(self, rank: int, targets: Sequence[str], every: str) -> int:
        """Return the parameters of a LoRA adapter on the layers of these names; `every` names all linear layers."""
        return self.layers * sum(rank * (wide + out) for wide, out in self.adapted(targets, every).values())

    def adapted(self, targets: Sequence[str], every: str) -> dict[str, tuple[int, int]]:
        """Return those of a block's linear layers that have an adapter."""
        return {name: widths for name, widths in self.linear().items() if every in targets or name in targets}


def shape_of(config: Mapping[str, Any] | None) -> Shape | None:
    """Return a model's shape; None where config.json is not at hand, or tells of none that is known here."""
    if not config or config.get("model_type") not in FAMILIES:
        return None
    kind = config["model_type"]
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    sizes = [config.get(name) for name in names]
    others = [config.get(name) for name in ("num_key_value_heads", "head_dim")]
    if not all(map(is_size, [*sizes, *(size for size in others if size is not None)])):
        return None
    layers, hidden, intermediate, heads, vocabulary = (int(size) for size in sizes if size)
    biased: tuple[str, ...] = ATTENTION if config.get("attention_bias") else ()
    if kind == "qwen2":
        biased = ATTENTION[:3]  # whatever its config says: transformers' Qwen2 has them
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=others[0] or heads,
        head_dim=others[1] or (128 if kind == "qwen3" else hidden // heads),
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", kind == "smollm3")),
        biased=(*biased, *(MLP if config.get("mlp_bias") else ())),
        head_norms=kind == "qwen3",
    )
