"""The models of a run as those who answer: base and policy, of one copy of the weights where the policy is an adapter.

An adapter that is merged cannot be taken out again to the last bit, so with both models it stays beside the weights,
and the base model is the same model with the adapter switched off. The policy alone is loaded as the stage
`generations` loads it; beside the base model its logits differ from the merged ones by the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerFast

from notus_exp.errors import UserError
from notus_exp.generation.conversation import Answer
from notus_exp.generation.decoding import Decoding, EncodedQuestion, end_tokens, generate
from notus_exp.generation.local import as_answer, most_positions, sampling_purpose
from notus_exp.models.encoding import encode_prompt
from notus_exp.models.pretrained import load_model, load_policy, load_tokenizer, pick_device, policy_folders
from notus_exp.models.rendering import Message
from notus_exp.talking.dialogue import Manner
from notus_exp.talking.models_of_run import ModelsOfRun

BASE, POLICY = "base", "policy"


class Voice:
    """One of a run's models, ready to answer.

    Args:
        model: On its device, in evaluation mode, and with `generation_config` as its own file has it.
        tokenizer: With the chat template.
        models: How the run speaks with it.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerFast, models: ModelsOfRun) -> None:
        self._model, self._tokenizer, self._models = model, tokenizer, models
        self._switched: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._end_ids = end_tokens(tokenizer, model, models.system_prompt, models.template_date)
        model.generation_config = GenerationConfig()  # what the model's own file says besides must not move an answer
        self._limit = most_positions(model)

    def without_adapter(self) -> Voice:
        """Return the voice of the same model with its adapter switched off."""
        other = copy(self)
        other._switched = self._model.disable_adapter
        return other

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation, as the run's chat template writes it.

        Raises:
            UserError: The template refuses it, or no room for an answer is left of what the model reads.
        """
        ids = encode_prompt(self._tokenizer, [*messages], self._models.system_prompt, self._models.template_date)
        if self._limit is not None and len(ids) >= self._limit:
            first = len(messages) == 1
            raise UserError(
                f"the {'prompt' if first else 'conversation'} has {len(ids)} tokens, which leaves no room for an "
                f"answer: the model reads {self._limit}",
                "ask in fewer words" if first else "/reset begins a new conversation",
            )
        return ids

    def answer(self, prompt_id: str, turn: int, ids: list[int], manner: Manner) -> Answer:
        """Return the answer to a conversation; sampled ones are those that the stage `generations` draws.

        Args:
            prompt_id: Of the conversation's first message.
            turn: From 1.
            ids: Of `encode`.
            manner: How it is asked for.
        """
        pad = int(self._tokenizer.pad_token_id)
        purpose = sampling_purpose(turn)
        decoding = Decoding(manner.max_new_tokens, manner.seed, purpose, self._end_ids, pad, self._limit)
        question = EncodedQuestion(prompt_id, ids, manner.temperature)
        with self._switched():
            [made] = generate(self._model, [question], decoding, self._models.precision)
        return as_answer(self._tokenizer, self._end_ids, ids, made)


def load_voices(models: ModelsOfRun, *, with_base: bool = True) -> dict[str, Voice]:
    """Load a run's models.

    Args:
        models: Which, and how.
        with_base: Whether the base model answers too; where there is no policy it does alone.

    Returns:
        `base`, `policy` or both, in this order.

    Raises:
        UserError: A model cannot be loaded, or the device is not to be had.
    """
    try:
        pick_device(models.hardware)
    except UserError as error:
        raise UserError(error.message, "answer on another device: --device cpu") from error

    def alone(base: Path, adapter: Path | None) -> Voice:
        return Voice(load_policy(base, adapter, models.precision, models.hardware), load_tokenizer(base), models)

    untrained = policy_folders(models.base, None)
    if models.policy is None:
        return {BASE: alone(*untrained)}
    base, adapter = policy_folders(models.base, models.policy)
    if not with_base:
        return {POLICY: alone(base, adapter)}
    if adapter is None:
        return {BASE: alone(*untrained), POLICY: alone(base, None)}
    model = load_model(base, adapter, models.precision, models.hardware)
    policy = Voice(model, load_tokenizer(base), models)
    return {BASE: policy.without_adapter(), POLICY: policy}
