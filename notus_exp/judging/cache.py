"""The verdict cache: raw replies of judges, kept between runs in one sqlite file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from notus_exp.chat.messages import Messages, Reply
from notus_exp.config.generation_settings import TOKEN_LIMITS
from notus_exp.config.judge_settings import VERDICTS_BY, ChatJudge, MockJudge, OpenAIJudge
from notus_exp.disk.database import Database, Say, StoreTable, to_stderr
from notus_exp.disk.hashing import digest


def reply_key(
    judge: ChatJudge,
    messages: Messages,
    top_logprobs: int | None,
    again: int = 0,
    schema: Mapping[str, Any] | None = None,
) -> str:
    """Return the sha256 (hex) that names a reply: of everything that it depends on.

    Template and ordered answers are in the messages. The endpoint's address is not part of it, nor what is read of a
    reply (parser, thinking).

    Args:
        judge: Its name, model, snapshot and decoding parameters enter the key; of the mock, which writes for a
            parser, the parser and what it judges by too.
        messages: What is sent.
        top_logprobs: How many log-probs are asked for; None for none.
        again: How often the same was asked before and got a reply without a verdict.
        schema: The form of a reply that is asked for; None for none.
    """
    decoding: list[Any] = [judge.temperature, judge.max_tokens, judge.seed, top_logprobs]
    if isinstance(judge, OpenAIJudge) and judge.token_limit_parameter != TOKEN_LIMITS[0]:
        decoding.append(judge.token_limit_parameter)  # came later: replies under the first name are paid for
    if schema:
        decoding.append(schema)
    written_for = [judge.parser] if isinstance(judge, MockJudge) else []
    if isinstance(judge, MockJudge) and judge.verdicts_by != VERDICTS_BY[0]:
        written_for.append(judge.verdicts_by)
    return digest(
        [judge.name, judge.model, judge.snapshot, decoding, messages, *written_for, *([again] if again else [])]
    )


def kept_replies(
    cache: ReplyCache,
    judge: ChatJudge,
    asked: Mapping[str, Messages],
    top_logprobs: int | None,
    again: int,
    schema: Mapping[str, Any] | None = None,
) -> dict[str, Reply]:
    """Return the replies that are kept, by key.

    Those that `judge.snapshot` gave when any snapshot was asked for (null) are its own: they are paid for.

    Args:
        cache: Where replies are kept.
        judge: Who is asked.
        asked: `reply_key` -> messages.
        top_logprobs: As for `reply_key`.
        again: As for `reply_key`.
        schema: As for `reply_key`.
    """
    known = cache.get_many(asked)
    if judge.snapshot is None or len(known) == len(asked):
        return known
    anyone = replace(judge, snapshot=None)
    other = {
        reply_key(anyone, messages, top_logprobs, again, schema): key
        for key, messages in asked.items()
        if key not in known
    }
    found = cache.get_many(other)
    return known | {other[key]: reply for key, reply in found.items() if reply.snapshot == judge.snapshot}


_TABLE = StoreTable("replies", "reply", "TEXT", "replies", costly=True)


class ReplyCache(Database):
    """A transactional map from `reply_key` to a reply, safe under threads, processes and `kill -9`.

    The first writer of a key wins, so that every reader sees one reply. Of a damaged file every reply that is whole is
    kept; see `Database`.

    Args:
        path: The sqlite file; it and its folder are made where missing.
        say: Told of damage.

    Raises:
        UserError: The file cannot be used; see `Database`.
    """

    def __init__(self, path: Path, say: Say = to_stderr) -> None:
        super().__init__(path, _TABLE, _is_reply, say)

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the replies of those keys that the cache has."""
        return {key: _from_json(reply) for key, reply in self.read(keys).items()}

    def put(self, key: str, reply: Reply) -> Reply:
        """Keep a reply at once and return the one that the cache has: an earlier one of the same key stays."""
        self.add({key: json.dumps({name: value for name, value in reply._asdict().items() if name != "refused"})})
        return self.get_many([key])[key]


def _from_json(text: str) -> Reply:
    fields = json.loads(text)
    if fields["top_logprobs"] is not None:
        fields["top_logprobs"] = [(token, logprob) for token, logprob in fields["top_logprobs"]]
    if not fields["prompt_tokens"]:  # before, 0 stood for what nobody told
        fields |= {"prompt_tokens": None, "completion_tokens": None}
    return Reply(**fields)


def _is_reply(value: object) -> bool:
    try:
        reply = _from_json(value) if isinstance(value, str) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return reply is not None and isinstance(reply.text, str) and isinstance(reply.snapshot, str)
