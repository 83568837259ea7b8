"""Answers of a model in this process: batches of similar length, greedy or sampled per prompt, resumed by batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from notus_exp.disk.hashing import uniform
from notus_exp.disk.json_lines import append_line, keep_lines, opened_line, read_lines, sealed_line
from notus_exp.generation.noise import gumbel
from notus_exp.machine.team import conducts, worked_together
from notus_exp.models.encoding import Limits, encode
from notus_exp.models.pretrained import autocast
from notus_exp.models.rendering import Message
from notus_exp.stages.context import Context


class EncodedQuestion(NamedTuple):
    """A prompt to answer: its id, the tokens of its templated form, and the temperature; 0 is greedy."""

    prompt_id: str
    ids: list[int]
    temperature: float = 0.0


class Decoding(NamedTuple):
    """How answers are decoded.

    Attributes:
        max_new_tokens: Tokens of an answer at most.
        seed: Moves sampled answers.
        purpose: Further moves them, so that two turns of a conversation are drawn independently.
        end_ids: Tokens of which any ends an answer.
        pad_id: Fills a batch at its left.
        limit: Tokens that the model reads at most, prompt and answer together, or None.
    """

    max_new_tokens: int
    seed: int
    purpose: str
    end_ids: list[int]
    pad_id: int
    limit: int | None = None


def make_batches(prompts: list[EncodedQuestion], size: int) -> list[list[EncodedQuestion]]:
    """Group prompts of similar length, the longest first: little padding, and too little memory shows at once."""
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.prompt_id))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def read_finished(
    path: Path,
    batches: list[list[EncodedQuestion]],
    made_from: object = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, list[int]]]:
    """Return the answers of the batches that a killed attempt finished, and cut the file after the last of them.

    A half-written or damaged line, or one of an attempt with other batches (another `hardware.generation_batch_size`)
    or from another model, and all after it are dropped: what goes on is what an uninterrupted attempt would have done.

    Args:
        path: The file.
        batches: What is to be answered.
        made_from: What else the answers depend on, as JSON.
        say: Told where complete lines are dropped.

    Returns:
        For the first so many of `batches`: prompt id -> generated token ids.
    """
    finished: list[dict[str, list[int]]] = []
    dropped: list[None] = []
    for line, batch in zip(read_lines(path, lambda: dropped.append(None)), batches, strict=False):
        answers = opened_line(line, [made_from, [prompt.ids for prompt in batch]])
        expected = [prompt.prompt_id for prompt in batch]
        if dropped or answers is None or list(answers) != expected or not all(map(_is_answer, answers.values())):
            dropped.append(None)
            break
        finished.append(answers)
    keep_lines(path, len(finished))
    if dropped:
        say(f"{path}: what follows batch {len(finished)} is damaged or of another attempt's batches, and is made again")
    return finished


def answer_all(
    model: PreTrainedModel,
    prompts: list[EncodedQuestion],
    decoding: Decoding,
    precision: str,
    path: Path,
    context: Context,
    made_from: object = None,
) -> dict[str, list[int]]:
    """Return prompt id -> generated token ids, adding each batch to the file at once; see `read_finished`.

    Of several processes each answers a batch at a time; process 0 writes, and all return all answers.
    """
    batches = make_batches(prompts, context.hardware.generation_batch_size)
    team = context.team
    finished = team.broadcast(lambda: read_finished(path, batches, made_from, context.events.say))
    answers = {prompt_id: ids for batch_answers in finished for prompt_id, ids in batch_answers.items()}
    start, tokens = time.monotonic(), 0
    context.events.progress(len(answers), len(prompts))

    def answer(batch: list[EncodedQuestion]) -> dict[str, list[int]]:
        return dict(zip((p.prompt_id for p in batch), generate(model, batch, decoding, precision), strict=True))

    for dealt, results in worked_together(team, batches[len(finished) :], answer):
        for batch, made in zip(dealt, results, strict=True):
            if conducts(team):
                append_line(path, sealed_line(made, [made_from, [prompt.ids for prompt in batch]]))
            answers |= made
            tokens += sum(map(len, made.values()))
        context.events.progress(len(answers), len(prompts), tokens_per_second=tokens / (time.monotonic() - start))
    return answers


def _is_answer(value: object) -> bool:
    return isinstance(value, list) and all(type(token) is int for token in value)


class GumbelNoise(LogitsProcessor):  # type: ignore[misc]
    """Turns greedy decoding into sampling at a temperature, with a random stream of its own for each row.

    argmax(logits / temperature + g), with g of the standard Gumbel distribution, is a sample of
    softmax(logits / temperature) (the Gumbel-max trick; Maddison, Tarlow and Minka 2014, "A* sampling"). So a prompt's
    answer is drawn from its own stream, whatever else is in the batch. Each call is a step.

    Args:
        temperatures: One per row; a row with 0 stays greedy.
        seeds: One per row.
        device: Where scores are.
    """

    def __init__(self, temperatures: list[float], seeds: list[int], device: torch.device | str = "cpu") -> None:
        warm = [row for row, temperature in enumerate(temperatures) if temperature]
        self._rows = torch.tensor(warm, dtype=torch.long, device=device)
        self._temperatures = torch.tensor([temperatures[row] for row in warm], device=device)[:, None]
        self._seeds = torch.tensor([seeds[row] for row in warm], dtype=torch.long, device=device)
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return perturbed scores; both have the shape (rows, vocabulary)."""
        noise = gumbel(self._seeds, self._step, scores.shape[1])
        self._step += 1
        perturbed = scores[self._rows] / self._temperatures.to(scores) + noise.to(scores)
        return scores.index_copy(0, self._rows, perturbed)


@torch.inference_mode()
def generate(
    model: PreTrainedModel, batch: list[EncodedQuestion], decoding: Decoding, precision: str
) -> list[list[int]]:
    """Return the generated token ids of each prompt, up to and with the first end token.

    Near the end of what the model reads, fewer tokens than `max_new_tokens` are made.

    Args:
        model: In evaluation mode, on its device.
        batch: Prompts that go through the model together, padded at the left.
        decoding: How to decode.
        precision: What the forward passes compute in.
    """
    width = max(len(prompt.ids) for prompt in batch)
    most = decoding.max_new_tokens if decoding.limit is None else min(decoding.max_new_tokens, decoding.limit - width)
    ids = torch.tensor([[decoding.pad_id] * (width - len(prompt.ids)) + prompt.ids for prompt in batch])
    mask = torch.tensor([[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in batch])
    processors = []
    temperatures = [prompt.temperature for prompt in batch]
    if any(temperatures):
        draws = uniform((prompt.prompt_id for prompt in batch), decoding.seed, decoding.purpose)
        processors.append(GumbelNoise(temperatures, [int(draw * 2**53) for draw in draws], model.device))
    config = GenerationConfig(
        do_sample=False,  # sampling is greedy decoding of noisy scores, see GumbelNoise
        num_beams=1,
        max_new_tokens=most,
        eos_token_id=decoding.end_ids,
        pad_token_id=decoding.pad_id,
        use_cache=True,
    )
    with autocast(precision, model.device):
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=LogitsProcessorList(processors),
        )
    return [_until_end(row, decoding.end_ids) for row in output[:, width:].tolist()]


def end_tokens(
    tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, system_prompt: str | None, date: str | None = None
) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's and the model's end tokens, and the template's end of turn.

    The last are the special tokens that the chat template writes after an assistant's text.
    """
    configured = model.generation_config.eos_token_id
    found = set(configured if isinstance(configured, list) else [] if configured is None else [configured])
    found.add(int(tokenizer.eos_token_id))
    asked: list[Message] = [{"role": "user", "content": "a"}]
    turn = encode(tokenizer, asked, "b", system_prompt, Limits(10**9, None, "drop"), date)
    if turn is not None:
        special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        found |= special.intersection(turn.completion_ids)
    return sorted(found)


def _until_end(ids: list[int], end_ids: list[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in end_ids), len(ids))
    return ids[: end + 1]
