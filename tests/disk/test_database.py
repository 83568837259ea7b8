"""The two stores when their file is damaged: nothing false is read, nothing that cost money is lost, and it is said."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from notus_exp.chat.messages import Reply
from notus_exp.disk import database
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError
from notus_exp.judging.cache import ReplyCache
from notus_exp.models.store import ReferenceStore

KEYS = [digest(number) for number in range(120)]
REPLIES = {
    key: Reply(f"answer {place} " + "x" * (place * 97 % 9000), [("m", -0.5)], "snap", 10, 2, "stop")
    for place, key in enumerate(KEYS)
}
LOGPS = {key: -place / 7 for place, key in enumerate(KEYS)}


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A verdict cache's file."""
    path = tmp_path_factory.mktemp("paid") / "verdicts.sqlite"
    with ReplyCache(path) as cache:
        for key, reply in REPLIES.items():
            cache.put(key, reply)
    return path.read_bytes()


def damaged(kind: str, content: bytes, random: Random) -> bytes:
    found = bytearray(content)
    at = random.randrange(len(found))
    if kind == "a bit":
        found[at] ^= 1 << random.randrange(8)
    elif kind == "a bit of the header":
        found[random.randrange(100)] ^= 1 << random.randrange(8)
    elif kind == "cut":
        return bytes(found[:at])
    elif kind == "zeros":
        found[at : at + 5000] = bytes(len(found[at : at + 5000]))
    elif kind == "garbage":
        found[at : at + 400] = random.randbytes(len(found[at : at + 400]))
    elif kind == "other":
        return random.randbytes(len(found))
    return bytes(found)


@pytest.mark.parametrize("kind", ["a bit", "a bit of the header", "cut", "zeros", "garbage", "other"])
def test_of_a_damaged_cache_every_reply_is_right_or_missing_and_what_is_missing_is_said(
    kind: str, paid: bytes, tmp_path: Path
) -> None:
    random = Random(kind)
    for turn in range(6):
        path = tmp_path / str(turn) / "verdicts.sqlite"
        path.parent.mkdir()
        path.write_bytes(damaged(kind, paid, random))
        said: list[str] = []
        with ReplyCache(path, said.append) as cache:
            found = cache.get_many(KEYS)
            assert found == {key: REPLIES[key] for key in found}
            assert said or found == REPLIES
            for key in REPLIES.keys() - found.keys():
                cache.put(key, REPLIES[key])
        with ReplyCache(path, said.append) as again:
            assert again.get_many(KEYS) == REPLIES, "the second time there is nothing left to mend"
        assert len(said) <= 1


def test_a_bit_in_the_header_loses_no_reply_and_the_damaged_file_stays(paid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    said: list[str] = []
    for number in (1, 2):
        path.write_bytes(b"\0" + paid[1:])
        with ReplyCache(path, said.append) as cache:
            assert cache.get_many(KEYS) == REPLIES
        assert (tmp_path / f"verdicts.sqlite.damaged-{number}").read_bytes() == b"\0" + paid[1:]
        assert f"is set aside as verdicts.sqlite.damaged-{number}; 120 replies were saved" in said[-1]
        assert "lost" not in said[-1]
    assert len(said) == 2


def test_a_page_of_zeros_costs_the_rows_on_it_and_they_are_counted(paid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    page = paid.index(b"answer 60 ") // 4096 * 4096
    path.write_bytes(paid[:page] + bytes(4096) + paid[page + 4096 :])
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        lost = len(REPLIES) - len(cache.get_many(KEYS))
    assert 0 < lost < 10
    assert f"{120 - lost} replies were saved, at least {lost} are lost" in said[0]


def few(path: Path) -> bytes:
    """Make a cache of ten short replies, of three pages, and return its file."""
    with ReplyCache(path) as cache:
        for key in KEYS[:10]:
            cache.put(key, Reply("short", None, "snap", 10, 2, "stop"))
    return path.read_bytes()


def test_a_bit_in_the_index_loses_nothing_and_nothing_is_called_lost(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    content = bytearray(few(path))
    content[content.index(KEYS[4].encode(), 8192) + 7] ^= 1
    path.write_bytes(content)
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert len(cache.get_many(KEYS)) == 10
    assert said[0].endswith("; 10 replies were saved")


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (5000, "0 replies were saved, at least 10 are lost; what is missing is asked again"),
        (4096, "0 replies were saved, how many are lost cannot be told; what is missing is asked again"),
        (8192, "10 replies were saved, how many are lost cannot be told; what is missing is asked again"),
    ],
)
def test_of_a_cache_that_was_cut_it_is_said_what_is_lost_as_far_as_it_can_be_told(
    size: int, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts.sqlite"
    content = few(path)
    assert len(content) == 3 * 4096
    path.write_bytes(content[:size])
    said: list[str] = []
    with ReplyCache(path, said.append):
        pass
    assert said[0].endswith(f"; {says}")


def test_a_row_that_was_taken_out_before_is_not_lost_again(paid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(paid.replace(b"answer 60 ", b"answer 61 "))
    with ReplyCache(path, lambda line: None) as cache:
        cache.get_many(KEYS)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    said: list[str] = []
    with ReplyCache(path, said.append):
        pass
    assert said[0].endswith("; 119 replies were saved")


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        ("DROP TABLE logps; CREATE VIEW logps AS SELECT 'a' AS key, 0.5 AS logp, '' AS seal", "it holds a view logps"),
        ("ALTER TABLE logps RENAME TO other; CREATE VIEW logps AS SELECT * FROM other", "it holds a table other"),
        ("CREATE TRIGGER more AFTER INSERT ON logps BEGIN DELETE FROM logps; END", "it holds a trigger more"),
        ("DROP TABLE logps; CREATE TABLE logps (key TEXT, logp REAL, seal TEXT)", "its table has no key"),
    ],
)
def test_a_store_with_another_schema_is_set_aside_and_mended(statements: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "reference.sqlite"
    with ReferenceStore(path) as store:
        store.put_many(LOGPS)
    with sqlite3.connect(path) as connection:
        connection.executescript(statements)
    said: list[str] = []
    with ReferenceStore(path, said.append) as store:
        store.put_many(LOGPS)
        assert store.get_many(KEYS) == LOGPS
    assert len(said) == 1
    assert says in said[0]


def test_replies_that_lie_in_a_damaged_log_alone_are_saved_too(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    code = (
        "import os, sys; from pathlib import Path; from notus_exp.judging.cache import ReplyCache;"
        "from notus_exp.chat.messages import Reply; cache = ReplyCache(Path(sys.argv[1]));"
        "[cache.put(str(n) * 64, Reply('t' * 3000, None, 's', 1, 1, '')) for n in range(10)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.with_name("verdicts.sqlite-wal").stat().st_size > 30_000
    log = path.with_name("verdicts.sqlite-wal")
    content = bytearray(log.read_bytes())
    content[32 + 24 + 4000] ^= 1  # in the first page of the log: sqlite believes nothing from there on
    log.write_bytes(content)
    path.write_bytes(b"\0" * path.stat().st_size)
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert len(cache.get_many([str(number) * 64 for number in range(10)])) == 10
    assert "10 replies were saved" in said[0]
    assert (tmp_path / "verdicts.sqlite.damaged-1-wal").exists(), "the log is kept beside its file"


def test_a_damaged_reference_store_is_set_aside_and_computed_anew(tmp_path: Path) -> None:
    path = tmp_path / "reference.sqlite"
    with ReferenceStore(path) as store:
        store.put_many(LOGPS)
    content = path.read_bytes()
    path.write_bytes(content[:5000])
    said: list[str] = []
    with ReferenceStore(path, said.append) as store:
        assert store.get_many(KEYS) == {}
        store.put_many(LOGPS)
        assert store.get_many(KEYS) == LOGPS
    assert (tmp_path / "reference.sqlite.damaged-1").read_bytes() == content[:5000]
    assert "is set aside as reference.sqlite.damaged-1; its log-probs are computed anew" in said[0]


def test_a_flipped_log_prob_is_taken_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "reference.sqlite"
    with ReferenceStore(path) as store:
        store.put_many(LOGPS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE logps SET logp = logp + 0.5 WHERE key = ?", (KEYS[3],))
    said: list[str] = []
    with ReferenceStore(path, said.append) as store:
        assert store.get_many(KEYS) == {key: value for key, value in LOGPS.items() if key != KEYS[3]}
        store.put_many({KEYS[3]: LOGPS[KEYS[3]]})
        assert store.get_many(KEYS) == LOGPS
    assert said == [f"{path}: 1 log-probs are damaged and are computed anew"]


def test_a_changed_reply_is_not_believed_and_not_thrown_away(paid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(paid.replace(b"answer 60 ", b"answer 61 "))
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert cache.get_many(KEYS).keys() == REPLIES.keys() - {KEYS[60]}
    assert "1 replies are damaged and are asked again" in said[0]
    with sqlite3.connect(path) as connection:
        [(kept,)] = connection.execute("SELECT reply FROM replies WHERE key = ?", (f"damaged {KEYS[60]}",))
    assert "answer 61" in kept


@pytest.mark.parametrize(
    ("store", "table", "rows"),
    [
        (ReferenceStore, "logps (key TEXT PRIMARY KEY, logp REAL NOT NULL)", [("a", -1.5), ("b", float("inf"))]),
        (
            ReplyCache,
            "replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)",
            [
                (
                    "a",
                    '{"text": "t", "top_logprobs": null, "snapshot": "s", "prompt_tokens": 1, "completion_tokens": 1,'
                    ' "finish_reason": ""}',
                ),
                ("b", "{half"),
            ],
        ),
    ],
)
def test_a_store_from_before_there_were_seals_is_read_and_gets_them_in_place(
    store: Any, table: str, rows: list[tuple[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table}")
        connection.executemany(f"INSERT INTO {table.split()[0]} VALUES (?, ?)", rows)
    said: list[str] = []
    with store(path, said.append) as opened:
        assert set(opened.get_many(["a", "b"])) == {"a"}, "what is no value was none before"
    assert len(said) == 1
    with sqlite3.connect(path) as connection:
        [(seal,)] = connection.execute(f"SELECT seal FROM {table.split()[0]} WHERE key = 'a'")
    assert seal == database.seal_of("a", rows[0][1])


def test_a_table_of_another_kind_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE replies (number INTEGER, key TEXT)")
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert cache.get_many(KEYS) == {}
    assert "its table has the columns number, key" in said[0]


def test_damage_that_is_met_while_the_store_is_open_is_mended_there(
    paid: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECKED_BYTES", 0)
    path = tmp_path / "verdicts.sqlite"
    page = paid.index(b"answer 60 ") // 4096 * 4096
    path.write_bytes(paid[:page] + b"\xff" * 4096 + paid[page + 4096 :])
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert not said
        found = cache.get_many(KEYS)
        assert said
        assert found == {key: REPLIES[key] for key in found}
        assert len(found) > 100


def test_a_kill_between_setting_aside_and_putting_in_place_loses_nothing(paid: bytes, tmp_path: Path) -> None:
    (tmp_path / "verdicts.sqlite.salvaged").write_bytes(paid)
    with ReplyCache(tmp_path / "verdicts.sqlite") as cache:
        assert cache.get_many(KEYS) == REPLIES


def test_a_file_that_another_process_has_open_is_not_renamed_under_it(
    paid: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(paid)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with ReplyCache(path):
        path.write_bytes(b"\0" + paid[1:])
        with pytest.raises(UserError, match=r"verdicts\.sqlite cannot be used: it is damaged, and another") as caught:
            ReplyCache(path)
        assert caught.value.hint
    said: list[str] = []
    with ReplyCache(path, said.append) as cache:
        assert cache.get_many(KEYS) == REPLIES
    assert len(said) == 1


def test_a_locked_store_names_itself_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reference.sqlite"
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with ReferenceStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"reference\.sqlite cannot be used: database is locked") as caught:
            store.put_many({"a": -1.0})
        assert "another process holds it" in caught.value.hint
        other.close()
        store.put_many({"a": -1.0})


def test_a_folder_in_the_place_of_a_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "reference.sqlite").mkdir()
    with pytest.raises(UserError, match=r"reference\.sqlite cannot be used: it is a folder") as caught:
        ReferenceStore(tmp_path / "reference.sqlite")
    assert caught.value.hint == "move that folder away and give the command again"
