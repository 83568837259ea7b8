"""The verdict cache: raw replies of judges, kept between runs in one sqlite file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

from notus_exp.chat.messages import Messages, Reply
from notus_exp.config.schema import TOKEN_LIMITS, ChatJudge, MockJudge, OpenAIJudge
from notus_exp.disk.database import Database
from notus_exp.disk.hashing import digest


def reply_key(judge: ChatJudge, messages: Messages, top_logprobs: int | None) -> str:
    """Return the sha256 (hex) that names a reply: of everything that it depends on.

    Template and ordered answers are in the messages. The endpoint's address is not part of it, nor what is read of a
    reply (parser, thinking).

    Args:
        judge: Its name, model, snapshot and decoding parameters enter the key; of the mock, which writes for a
            parser, the parser too.
        messages: What is sent.
        top_logprobs: How many log-probs are asked for; None for none.
    """
    decoding: list[Any] = [judge.temperature, judge.max_tokens, judge.seed, top_logprobs]
    if isinstance(judge, OpenAIJudge) and judge.token_limit_parameter != TOKEN_LIMITS[0]:
        decoding.append(judge.token_limit_parameter)  # came later: replies under the first name are paid for
    written_for = [judge.parser] if isinstance(judge, MockJudge) else []
    return digest([judge.name, judge.model, judge.snapshot, decoding, messages, *written_for])


class ReplyCache(Database):
    """A transactional map from `reply_key` to a reply, safe under threads, processes and `kill -9`.

    The first writer of a key wins, so that every reader sees one reply.

    Args:
        path: The sqlite file; it and its folder are made where missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)", threads=True
        )
        self._lock = Lock()

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the replies of those keys that the cache has."""
        query = "SELECT key, reply FROM replies WHERE key IN (SELECT value FROM json_each(?))"
        with self._lock, closing(self._connection.execute(query, (json.dumps(list(keys)),))) as rows:
            return {key: _from_json(reply) for key, reply in rows}

    def put(self, key: str, reply: Reply) -> Reply:
        """Keep a reply at once and return the one that the cache has: an earlier one of the same key stays."""
        with self._lock:  # each statement is a transaction of its own
            self._connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, json.dumps(reply._asdict())))
            [(kept,)] = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,))
        return _from_json(kept)


def _from_json(text: str) -> Reply:
    fields = json.loads(text)
    if fields["top_logprobs"] is not None:
        fields["top_logprobs"] = [(token, logprob) for token, logprob in fields["top_logprobs"]]
    return Reply(**fields)
