"""One small question to a writer's endpoint before anything is made: what it does not take is told at once."""

from __future__ import annotations

import asyncio

from notus_exp.chat.messages import Messages, Unanswered
from notus_exp.config.made_settings import Writer
from notus_exp.disk.ledger import Ledger
from notus_exp.errors import UserError
from notus_exp.generation.served import chat_with, endpoint_reached
from notus_exp.making.responses import asked_as, endpoint_of, purse_of, told_of_writer
from notus_exp.stages.settings import ResponsesSettings

QUESTION = "Say hello."


def ask_first_answer(
    settings: ResponsesSettings, writer: Writer, key: str, ledger: Ledger, budget: float | None
) -> None:
    """Ask with the very settings of a writer, told something where it will be; it counts against the budget.

    Args:
        settings: The writer's stage.
        writer: How its endpoint is reached and paid.
        key: The writer's key, for errors.
        ledger: What the run has spent.
        budget: What it may spend; None for no limit.

    Raises:
        UserError: The endpoint does not answer, with the setting that mends it where its words tell; or there is no
            money left.
    """
    asked, endpoint, purse = (
        asked_as(settings),
        endpoint_of(writer, settings),
        purse_of(writer, settings, ledger, budget),
    )
    told = next((text for texts in settings.told.values() for text in texts), None)
    system = [{"role": "system", "content": told}] if told else []
    messages: Messages = [*system, {"role": "user", "content": QUESTION}]

    async def ask() -> None:
        reached = endpoint_reached(asked, endpoint)
        async with chat_with(asked, endpoint, reached, asked.temperature) as chat:
            await purse.pay(
                messages, lambda discard: chat.ask(messages, discard, seed=settings.seed), lambda reply: None
            )

    with told_of_writer(key):
        try:
            asyncio.run(ask())
        except Unanswered as error:
            named = f"{key}.model={writer.model} at {writer.base_url}"
            raise UserError(
                f"{named} does not answer a first question: {error.reason}",
                error.hint or f"check {key}.base_url and {key}.model, and that the endpoint is up; nothing was begun",
            ) from None
        if purse.unaffordable is not None:
            raise UserError(purse.unaffordable, "raise the budget")
