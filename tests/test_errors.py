"""Errors of libraries in one line, also those that say nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import datasets
import huggingface_hub
import polars as pl
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hypothesis import given
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException
from sqlalchemy.exc import SQLAlchemyError

from notus_exp.config import loading, own_files
from notus_exp.curation import contamination
from notus_exp.errors import UserError, first_line, named_line, nearest, strike, without_secret
from notus_exp.evaluation import hub_files
from notus_exp.evaluation.kit import published_files
from notus_exp.external import verdict_files
from notus_exp.feedback import records
from notus_exp.models import base_model, pretrained
from notus_exp.run.outcome import disk_errors
from notus_exp.study.launching import jobs
from notus_exp.study.search import storage
from notus_exp.tracking import opening


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class NumberError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  \n\t two \nthree"), "two"),
        (ValueError("windows\r\nlines"), "windows"),
        (ValueError(), "ValueError"),
        (ValueError(" \n "), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (MuteError("words"), "MuteError"),
        (NumberError(), "NumberError"),
        (UserError("message", "hint"), "message"),
        ("a text\nof two lines", "a text"),
        ("", ""),
    ],
)
def test_an_error_in_one_line_is_its_first_words_or_its_type(error: BaseException | str, line: str) -> None:
    assert first_line(error) == line


@given(st.text())
def test_the_first_line_is_one_line_of_any_text(text: str) -> None:
    line = first_line(ValueError(text))
    assert line
    assert line.splitlines() == [line]
    assert line in text or line == "ValueError"


def test_an_unexpected_error_is_told_with_its_type_once() -> None:
    assert named_line(ValueError("one\ntwo")) == "ValueError: one"
    assert named_line(ValueError()) == "ValueError"


def _outcome(error: Exception) -> str:
    job = JobReturn()
    job.status, job._return_value = JobStatus.FAILED, error
    return str(jobs._ended(job).reason)


def _storage(error: Exception) -> None:
    with storage.explained("sqlite:///search.db"):
        raise error


def _disk(error: Exception) -> None:
    with disk_errors("outputs"):
        raise error


def _base_model(error: Exception) -> None:
    class Settings:
        class model:  # noqa: N801
            hub_id = "a/b"

        model_digest = "commit"

    base_model._from_hub(Settings, Path("out"), None)  # type: ignore[arg-type]


Provoke = Callable[[Exception], Any]
FILE = Path(__file__)
SILENT: dict[str, tuple[Exception, tuple[Any, str] | None, Provoke]] = {
    "a published csv": (
        pl.exceptions.ComputeError(""), (pl, "read_csv"), lambda _: published_files.read_csv(FILE, "x")
    ),
    "verdicts as parquet": (
        pl.exceptions.ComputeError(""),
        (pl, "read_parquet"),
        lambda _: verdict_files.read_table(FILE.with_suffix(".parquet")),
    ),
    "a benchmark's prompts": (
        OSError(), (contamination, "_text_lines"), lambda _: contamination.read_prompts(FILE.with_suffix(".txt"), None)
    ),
    "a hub's dataset": (
        OSError(),
        (datasets, "load_dataset"),
        lambda _: list(records.read_hub("a/b", "train", "commit", lambda share: None)),
    ),
    "a file of feedback": (OSError(), (records, "_json_lines"), lambda _: list(records._items(Path("data.jsonl")))),
    "a hub's file": (
        RuntimeError(), (huggingface_hub, "hf_hub_download"), lambda _: hub_files.locate("hf://datasets/a/b/c", "key")
    ),
    "a hub's model": (OSError(), (huggingface_hub, "snapshot_download"), _base_model),
    "a tokenizer": (
        OSError(), (pretrained.AutoTokenizer, "from_pretrained"), lambda _: pretrained.load_tokenizer(FILE)
    ),
    "a file of configs": (OSError(), (yaml, "compose"), lambda _: own_files.check_file(FILE)),
    "a search's storage": (SQLAlchemyError(""), None, _storage),
    "a full disk": (OSError(), None, _disk),
}  # fmt: skip


@pytest.mark.parametrize("place", SILENT)
def test_a_library_that_says_nothing_is_still_told_of(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error, patched, provoke = SILENT[place]

    def silent(*_: Any, **__: Any) -> Any:
        raise error

    if patched:
        monkeypatch.setattr(*patched, silent)
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.setattr(hub_files, "hub_commit", lambda *_: "commit")
    with pytest.raises(UserError) as caught:
        provoke(error)
    assert type(error).__name__ in caught.value.message


def test_a_failed_job_and_a_silent_config_error_have_a_reason() -> None:
    assert _outcome(ValueError()) == "ValueError"
    assert loading.explain(OmegaConfBaseException()).message == "OmegaConfBaseException"
    assert loading.explain(ValueError("\n")).message == "ValueError"


def test_tracking_that_fails_without_a_word_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Run:
        def finish(self, exit_code: int) -> None:
            raise ValueError

    def tell() -> None:
        raise ValueError

    said: list[str] = []
    opening.conclude(Run(), tell, said.append, failed=False)
    assert len(said) == 2
    assert all("ValueError" in line for line in said)


SECRET = "sk-top/secret+0123456789"


@pytest.mark.parametrize("before", ["", "u", "us", "Bearer ", "user:"])
def test_a_secret_in_base64_is_struck_wherever_it_begins(before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = without_secret(f"denied: {encode((before + SECRET + ' and more').encode()).decode()}", SECRET)
        assert "***" in shown
        assert "denied: " in shown
        left = shown.removeprefix("denied: ").split("***")
        assert all(len(part) <= 4 * (len(before) // 3 + 2) for part in left[:1])


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        "".join(f"\\u{ord(one):04x}" for one in SECRET),
        "".join(f"\\\\u{ord(one):04X}" for one in SECRET),
        "".join(f"\\x{ord(one):02x}" for one in SECRET),
        SECRET.replace("/", "\\/").replace("t", "\\u0074"),
        "".join(f"&#{ord(one)};" for one in SECRET),
        SECRET.replace("/", "%2F").replace("+", "%2b"),
        "".join(f"%{ord(one):02x}" for one in SECRET),
        quote(quote(SECRET, safe=""), safe=""),
        quote_plus(SECRET),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        SECRET.encode().hex(":"),
        SECRET.encode().hex(" ").upper(),
    ],
)
def test_a_secret_is_struck_however_its_characters_are_written(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    assert without_secret(f"the key {spelt} is wrong", SECRET) == "the key *** is wrong"
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    assert strike(f"the key {spelt} is wrong") == "the key *** is wrong"
    assert UserError(f"the key {spelt} is wrong").message == "the key *** is wrong"


def test_a_text_without_the_secret_and_a_placeholder_stay_as_they_are() -> None:
    said = r"100%25 of C:\\users\\x41 &amp; more \u0041"
    assert without_secret(said, SECRET) == said
    assert without_secret("EMPTY is empty", "EMPTY") == "EMPTY is empty"


def test_an_error_shows_the_ends_of_what_nobody_reads_to_the_end() -> None:
    error = UserError("a" * 300_000 + "b" * 10, "\n".join(["c" * 1_000] * 900))
    assert error.message == "a" * 1_000 + " [... 298,510 characters ...] " + "a" * 490 + "b" * 10
    assert len(error.hint) < 20_000
    assert len(first_line("d" * 3_000)) < 2_000
    assert UserError("e" * 2_000, "f").message == "e" * 2_000


METRICS = ["preferences/accuracy/average", "preferences/accuracy/critique", "verifiable/strict", "verifiable/words"]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("preferences/accuracy/averag", "did you mean 'preferences/accuracy/average'?"),
        ("strict", "did you mean 'verifiable/strict'?"),
        (
            "preferences/accuracy",
            "did you mean 'preferences/accuracy/average', 'preferences/accuracy/critique' or 'verifiable/words'?",
        ),
    ],
)
def test_of_a_wrong_name_the_three_nearest_are_shown_and_of_a_slip_the_one_that_is_meant(
    word: str, wanted: str
) -> None:
    assert nearest(word, METRICS) == wanted


def test_there_is_nothing_nearest_among_nothing() -> None:
    assert nearest("strict", []) == ""
