"""A file's digest: read once while the file stays, and never an old one for a file that was written again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from notus_exp.contracts import file_states
from notus_exp.disk import hashing
from notus_exp.disk.hashing import file_digest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read to its end."""
    made: list[str] = []
    real = hashlib.file_digest

    def counted(stream, name):  # type: ignore[no-untyped-def]
        made.append(stream.name)
        return real(stream, name)

    monkeypatch.setattr(hashing.hashlib, "file_digest", counted)
    return made


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_that_stays_is_read_once(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_text("first")
    monkeypatch.setattr(file_states, "SETTLED", 0)
    assert [file_digest(path) for _ in range(3)] == [sha256("first")] * 3
    assert len(reads) == 1


def test_one_that_was_written_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_text("first")
    monkeypatch.setattr(file_states, "SETTLED", 0)
    then = path.stat()
    assert file_digest(path) == sha256("first")
    time.sleep(0.02)  # the inode's time moves by ticks
    path.write_text("other")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))  # as `cp -p` over it does
    assert file_digest(path) == sha256("other")


def test_one_written_a_moment_ago_is_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "weights"
    for text in ("first", "other"):  # perhaps within one tick of the file system's clock
        path.write_text(text)
        assert file_digest(path) == sha256(text)
    assert file_digest(path) == sha256("other")
    assert len(reads) == 3
