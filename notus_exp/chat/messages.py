"""A chat, who answers it, and what came back."""

from __future__ import annotations

from typing import NamedTuple, Protocol

Messages = list[dict[str, str]]
"""A chat: `role` and `content` of each message."""


class Reply(NamedTuple):
    """What a chat model answered.

    Attributes:
        text: The message, "" where it is empty.
        top_logprobs: Likeliest first tokens with their log-probs (nats); None where none were asked for or given.
        snapshot: The model as the endpoint names it.
        prompt_tokens: Tokens read, 0 where the endpoint does not say.
        completion_tokens: Tokens written, 0 where the endpoint does not say.
        finish_reason: "stop", "length", ...; "" where the endpoint does not say.
    """

    text: str
    top_logprobs: list[tuple[str, float]] | None
    snapshot: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class Unanswered(Exception):  # noqa: N818 - the name says what happened to the request
    """A request that got no valid answer although it was repeated.

    Args:
        reason: What happened, without any secret.
        hint: The setting that mends it, where that is known.
        refused: The server answers, and does not take this request, as it would not another time.
    """

    def __init__(self, reason: str, hint: str = "", *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.refused = reason, hint, refused


class OnDiscarded(Protocol):
    """Told of an answer that was paid for and cannot be used, before the request is repeated."""

    async def __call__(self, prompt_tokens: int | None, completion_tokens: int | None, *, again: bool) -> None:
        """Count it.

        Args:
            prompt_tokens: Tokens read, None where the answer does not tell both numbers.
            completion_tokens: Tokens written, likewise.
            again: The request is repeated next; what this raises then ends it.
        """
        ...


class ChatBackend(Protocol):
    """Whoever answers a chat."""

    async def ask(self, messages: Messages, on_discarded: OnDiscarded | None = None) -> Reply:
        """Return the answer.

        Args:
            messages: The chat.
            on_discarded: Awaited for every success whose body is no answer.

        Raises:
            Unanswered: No valid answer came, also not when asked again.
            UserError: No request of this kind can succeed, such as with a wrong key.
        """
        ...
