"""A model of this run answers in this process."""

from __future__ import annotations

from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from notus_exp.disk import files
from notus_exp.disk.keys import contents_of
from notus_exp.errors import UserError
from notus_exp.generation.conversation import Answer, AnswerTurn, Conversation
from notus_exp.generation.decoding import Decoding, EncodedQuestion, answer_all, end_tokens
from notus_exp.models.encoding import encode_prompt
from notus_exp.models.pretrained import load_policy, load_tokenizer, policy_folders
from notus_exp.stages.context import Context
from notus_exp.stages.settings import GenerationsSettings

TOO_LONG = "longer than the model reads"
"""Why a question has no answer."""


def local_answers(
    settings: GenerationsSettings, inputs: dict[str, Path], out: Path, context: Context, *, lenient: bool = False
) -> AnswerTurn:
    """Load the model and return the function that answers turns with it.

    A later turn whose conversation leaves no room for an answer is answered with an empty, truncated one.

    Args:
        settings: How it answers.
        inputs: Artifacts `base_model` and, for a policy's answers, `policy`.
        out: Where answers are kept while they come.
        context: Device and batch size.
        lenient: A question that leaves no room for the longest answer is not asked, as long as others are.

    Raises:
        UserError: A first turn and its answer are longer than the model reads.
    """
    base, adapter = policy_folders(inputs["base_model"], inputs.get("policy"))
    tokenizer = load_tokenizer(base)
    model = load_policy(base, adapter, settings.precision, context.hardware)
    end_ids = end_tokens(tokenizer, model, settings.system_prompt, settings.template_date)
    model.generation_config = GenerationConfig()  # what the model's own file says besides must not move a result
    made_from = [out.name, contents_of(inputs)]
    limit = most_positions(model)

    def answer_turn(turn: int, conversations: list[Conversation]) -> dict[str, Answer]:
        prompts = [
            EncodedQuestion(
                one.question.prompt_id,
                encode_prompt(tokenizer, [*one.messages()], one.system(settings.system_prompt), settings.template_date),
                one.question.temperature,
            )
            for one in conversations
        ]
        room = settings.max_new_tokens if lenient else 1
        fitting = [prompt for prompt in prompts if limit is None or len(prompt.ids) + room <= limit]
        if turn == 1 and not (lenient and fitting):
            _check_length(model, limit, prompts, settings)
        pad = int(tokenizer.pad_token_id)
        decoding = Decoding(settings.max_new_tokens, settings.seed, sampling_purpose(turn), end_ids, pad, limit)
        path = out / files.ANSWERS.format(turn)
        made = answer_all(model, fitting, decoding, settings.precision, path, context, made_from)
        answers = {
            prompt.prompt_id: as_answer(tokenizer, end_ids, prompt.ids, made.get(prompt.prompt_id, []))
            for prompt in prompts
        }
        if lenient:
            answers |= {key: one._replace(refused=TOO_LONG) for key, one in answers.items() if key not in made}
        return answers

    return answer_turn


def most_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model reads at most, prompt and answer together; None where it does not say."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def sampling_purpose(turn: int) -> str:
    """Return for what the sampled answers of a turn, from 1, are drawn (see `Decoding`)."""
    return "sampling" if turn == 1 else f"sampling/{turn}"


def as_answer(
    tokenizer: PreTrainedTokenizerFast, end_ids: list[int], prompt_ids: list[int], response_ids: list[int]
) -> Answer:
    """Return generated tokens as an answer; one without any of the end tokens was truncated."""
    ended = bool(response_ids) and response_ids[-1] in end_ids
    text_ids = response_ids[:-1] if ended else response_ids
    text = tokenizer.decode(text_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Answer(text, len(text_ids), not ended, prompt_ids, response_ids)


def _check_length(
    model: PreTrainedModel, limit: int | None, prompts: list[EncodedQuestion], settings: GenerationsSettings
) -> None:
    longest = max((len(prompt.ids) for prompt in prompts), default=0)
    key = f"evaluation.{settings.evaluation}.max_new_tokens"
    if limit is not None and longest + settings.max_new_tokens > limit:
        raise UserError(
            f"{key}={settings.max_new_tokens} after a prompt of {longest} tokens is more than the {limit} that "
            f"the model reads",
            f"use {key}={max(limit - longest, 1)} or less",
        )
