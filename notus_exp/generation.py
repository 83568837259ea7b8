"""Stage `generations`: a model's answers to constraint prompts that no training data holds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from notus_exp import constraints, files
from notus_exp.errors import UserError
from notus_exp.feedback.simulated import ConstraintPrompt, constraint_prompts
from notus_exp.hashing import uniform
from notus_exp.slices import GenerationsSlice
from notus_exp.stage import Context
from notus_exp.training.encoding import Limits, encode, encode_prompt
from notus_exp.training.models import autocast, load_policy, load_tokenizer, policy_folders

ANSWERS = "answers.jsonl"
"""Finished batches of an attempt, one a line; gone from the finished artifact."""

GENERATIONS_SCHEMA = pl.Schema(
    {
        "prompt_id": pl.String(),
        "instruction": pl.String(),
        "constraints": pl.String(),
        "response": pl.String(),
        "tokens": pl.Int64(),
        "truncated": pl.Boolean(),
        "prompt_ids": pl.List(pl.Int64),
        "response_ids": pl.List(pl.Int64),
    }
)


class Encoded(NamedTuple):
    """A prompt to answer: its id and the tokens of its templated form."""

    prompt_id: str
    ids: list[int]


class Decoding(NamedTuple):
    """How answers are decoded: `end_ids` are the tokens of which any ends an answer; temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float
    seed: int
    end_ids: list[int]
    pad_id: int


def run(slice: GenerationsSlice, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Answer the constraint prompts and write `generations.parquet`, one row a prompt in the prompts' order.

    `prompt_ids` are the templated prompt's tokens, `response_ids` the generated ones with the end token where there is
    one, `tokens` their number without it; an answer without an end token was `truncated` at `max_new_tokens`.
    Each finished batch is kept at once, so a killed attempt goes on with the batch that it was at.

    Args:
        slice: Which prompts, how long and how hot the answers are, and the precision.
        inputs: Artifacts `base_model`, `feedback` (its prompts are not asked) and, for a policy's answers, `policy`.
        out: Folder to write into, perhaps with the work of a killed attempt.
        context: Device, batch size, events.

    Returns:
        Facts: prompts, tokens (generated, without end tokens), truncated, seconds (of this attempt).

    Raises:
        UserError: There are not enough unseen prompts, or a prompt and its answer are longer than the model reads.
    """
    start = time.monotonic()
    asked = slice.verifiable
    feedback = pl.read_parquet(inputs["feedback"] / files.COMPLETIONS, columns=["prompt_id"])
    prompts = constraint_prompts(asked.prompts, asked.seed, feedback["prompt_id"].unique().to_list())
    base, adapter = policy_folders(inputs["base_model"], inputs.get("policy"))
    tokenizer = load_tokenizer(base)
    model = load_policy(base, adapter, slice.precision, context.hardware)
    decoding = Decoding(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        end_ids=end_tokens(tokenizer, model, slice.system_prompt),
        pad_id=int(tokenizer.pad_token_id),
    )
    model.generation_config = GenerationConfig()  # what the model's own file says besides must not move a result
    encoded = [_encode(tokenizer, prompt, slice.system_prompt) for prompt in prompts]
    _check_length(model, encoded, asked.max_new_tokens)
    answers = _answer_all(model, encoded, decoding, slice.precision, out / ANSWERS, context)
    table = _table(prompts, encoded, answers, decoding.end_ids, tokenizer)
    table.write_parquet(out / files.GENERATIONS)
    (out / ANSWERS).unlink()
    return {
        "prompts": len(table),
        "tokens": int(table["tokens"].sum()),
        "truncated": int(table["truncated"].sum()),
        "seconds": round(time.monotonic() - start, 3),
    }


def _encode(tokenizer: PreTrainedTokenizerFast, prompt: ConstraintPrompt, system_prompt: str | None) -> Encoded:
    return Encoded(
        prompt.prompt_id, encode_prompt(tokenizer, [{"role": "user", "content": prompt.instruction}], system_prompt)
    )


# ---------------------------------------------------------------------------------------------------------- the batches
def make_batches(prompts: list[Encoded], size: int) -> list[list[Encoded]]:
    """Group prompts of similar length, the longest first: little padding, and too little memory shows at once."""
    ordered = sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.prompt_id))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def read_finished(path: Path, batches: list[list[Encoded]]) -> list[dict[str, list[int]]]:
    """Return the answers of the batches that a killed attempt finished, and cut the file after the last of them.

    A half-written line, or one of an attempt with other batches (another `hardware.generation_batch_size`), and all
    after it are dropped: what goes on is what an uninterrupted attempt would have done.

    Returns:
        For the first so many of `batches`: prompt id -> generated token ids.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    finished: list[dict[str, list[int]]] = []
    for line, batch in zip(lines, batches, strict=False):
        if not line.endswith("\n"):
            break
        answers: dict[str, list[int]] = json.loads(line)
        if list(answers) != [prompt.prompt_id for prompt in batch]:
            break
        finished.append(answers)
    path.write_text("".join(lines[: len(finished)]), encoding="utf-8")
    return finished


def _answer_all(
    model: PreTrainedModel, prompts: list[Encoded], decoding: Decoding, precision: str, path: Path, context: Context
) -> dict[str, list[int]]:
    """Return prompt id -> generated token ids, adding each batch to the file as soon as it is there."""
    batches = make_batches(prompts, context.hardware.generation_batch_size)
    answers: dict[str, list[int]] = {}
    for batch_answers in read_finished(path, batches):
        answers |= batch_answers
    resumed, start, tokens = len(answers), time.monotonic(), 0
    context.events.progress(resumed, len(prompts))
    for batch in batches:
        if batch[0].prompt_id in answers:
            continue
        made = dict(zip((p.prompt_id for p in batch), generate(model, batch, decoding, precision), strict=True))
        _append(path, made)
        answers |= made
        tokens += sum(map(len, made.values()))
        speed = tokens / (time.monotonic() - start)
        context.events.progress(len(answers), len(prompts), tokens_per_second=speed)
    return answers


def _append(path: Path, answers: dict[str, list[int]]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(answers) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


# ----------------------------------------------------------------------------------------------------------- generation
class GumbelNoise(LogitsProcessor):  # type: ignore[misc]
    """Turns greedy decoding into sampling at a temperature, with a random stream of its own for each row.

    argmax(logits / temperature + g), with g = -log(e) and e drawn from the unit exponential distribution, is a sample
    of softmax(logits / temperature) (the Gumbel-max trick; Maddison, Tarlow and Minka 2014, "A* sampling"). So a
    prompt's answer is drawn from its own stream, whatever else is in the batch.

    Args:
        temperature: Above 0.
        seeds: One per row.
    """

    def __init__(self, temperature: float, seeds: list[int]) -> None:
        self._temperature = temperature
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return perturbed scores; both have the shape (rows, vocabulary)."""
        waits = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=stream) for stream in self._streams])
        smallest = torch.finfo(waits.dtype).tiny  # a draw of exactly 0 would be an infinite score
        return scores / self._temperature - waits.clamp_min(smallest).log().to(scores)


@torch.inference_mode()
def generate(model: PreTrainedModel, batch: list[Encoded], decoding: Decoding, precision: str) -> list[list[int]]:
    """Return the generated token ids of each prompt, up to and with the first end token.

    Args:
        model: In evaluation mode, on its device.
        batch: Prompts that go through the model together, padded at the left.
        decoding: How to decode.
        precision: What the forward passes compute in.
    """
    width = max(len(prompt.ids) for prompt in batch)
    ids = torch.tensor([[decoding.pad_id] * (width - len(prompt.ids)) + prompt.ids for prompt in batch])
    mask = torch.tensor([[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in batch])
    processors = []
    if decoding.temperature > 0:
        draws = uniform((prompt.prompt_id for prompt in batch), decoding.seed, "sampling")
        processors.append(GumbelNoise(decoding.temperature, [int(draw * 2**53) for draw in draws]))
    with autocast(precision, model.device):
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=_generation_config(decoding),
            logits_processor=LogitsProcessorList(processors),
        )
    return [_until_end(row, decoding.end_ids) for row in output[:, width:].tolist()]


def end_tokens(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, system_prompt: str | None) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's and the model's end tokens, and the template's end of turn.

    The last are the special tokens that the chat template writes after an assistant's text.
    """
    configured = model.generation_config.eos_token_id
    found = set(configured if isinstance(configured, list) else [] if configured is None else [configured])
    found.add(int(tokenizer.eos_token_id))
    turn = encode(tokenizer, [{"role": "user", "content": "a"}], "b", system_prompt, Limits(10**9, None, "drop"))
    if turn is not None:
        special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        found |= special.intersection(turn.completion_ids)
    return sorted(found)


def _generation_config(decoding: Decoding) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,  # sampling is greedy decoding of noisy scores, see GumbelNoise
        num_beams=1,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=decoding.end_ids,
        pad_token_id=decoding.pad_id,
        use_cache=True,
    )


def _check_length(model: PreTrainedModel, prompts: list[Encoded], max_new_tokens: int) -> None:
    longest = max(len(prompt.ids) for prompt in prompts)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and longest + max_new_tokens > limit:
        raise UserError(
            f"evaluation.verifiable.max_new_tokens={max_new_tokens} after a prompt of {longest} tokens is more than "
            f"the {limit} that the model reads",
            f"use evaluation.verifiable.max_new_tokens={max(limit - longest, 1)} or less",
        )


def _until_end(ids: list[int], end_ids: list[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in end_ids), len(ids))
    return ids[: end + 1]


# ------------------------------------------------------------------------------------------------------------ the table
def _table(
    prompts: list[ConstraintPrompt],
    encoded: list[Encoded],
    answers: dict[str, list[int]],
    end_ids: list[int],
    tokenizer: PreTrainedTokenizerFast,
) -> pl.DataFrame:
    rows = []
    for prompt, tokens in zip(prompts, encoded, strict=True):
        response_ids = answers[prompt.prompt_id]
        ended = bool(response_ids) and response_ids[-1] in end_ids
        text_ids = response_ids[:-1] if ended else response_ids
        rows.append(
            {
                "prompt_id": prompt.prompt_id,
                "instruction": prompt.instruction,
                "constraints": constraints.to_json(prompt.constraints),
                "response": tokenizer.decode(text_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                "tokens": len(text_ids),
                "truncated": not ended,
                "prompt_ids": tokens.ids,
                "response_ids": response_ids,
            }
        )
    return pl.DataFrame(rows, schema=GENERATIONS_SCHEMA)
