"""Files of JSON lines, cut anywhere by a kill: complete lines are read, and what is appended stands on its own line."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from notus_exp.disk.events import EventWriter, read
from notus_exp.disk.json_lines import append_line, keep_lines, read_lines, take_lines, write_lines
from notus_exp.disk.ledger import Ledger

CONTENTS = st.lists(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none()), max_size=3), max_size=6)


@given(CONTENTS, st.data())
def test_wherever_a_file_was_cut_its_complete_lines_are_read_and_a_writer_goes_on(contents, data):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        for content in contents:
            append_line(path, content)
        written = path.read_bytes() if contents else b""
        cut = data.draw(st.integers(0, len(written)))
        path.write_bytes(written[:cut])
        whole = contents[: written[:cut].count(b"\n")]
        assert list(read_lines(path)) == whole
        keep_lines(path)
        append_line(path, {"after": 1}, sync=False)
        assert list(read_lines(path)) == [*whole, {"after": 1}]


@given(CONTENTS, st.integers(0, 7))
def test_the_first_lines_are_kept(contents, most):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        write_lines(path, contents)
        keep_lines(path, most)
        assert list(read_lines(path)) == contents[:most]


def test_a_file_that_is_not_there_has_no_lines_and_is_not_made(tmp_path):
    keep_lines(tmp_path / "none")
    assert list(read_lines(tmp_path / "none")) == []
    assert not list(tmp_path.iterdir())


def test_a_stream_is_taken_line_by_line_as_it_grows(tmp_path):
    path = tmp_path / "lines"
    whole = '{"text": "é"}\n'.encode()
    path.write_bytes(whole[:11])  # in the middle of a letter
    with path.open("rb") as stream:
        assert list(take_lines(stream)) == []
        with path.open("ab") as more:
            more.write(whole[11:] + b'[1]\n{"hal')
        assert next(take_lines(stream)) == {"text": "é"}
        assert list(take_lines(stream)) == [[1]]
        assert list(take_lines(stream)) == []


def test_a_payment_after_a_kill_is_not_lost_in_the_half_line(tmp_path):
    path = tmp_path / "spending"
    path.write_text('{"usd": 1.0, "tokens": 2}\n{"usd": 9, "tok')
    again = Ledger(path)
    assert path.read_text().endswith('"tok'), "who only reads, leaves the file as it is"
    again.add(0.5, 3)
    again.add(0.25, 1)
    assert (Ledger(path).usd, Ledger(path).tokens) == (again.usd, again.tokens) == (1.75, 6)


def test_an_event_after_a_kill_is_not_lost_in_the_half_line(tmp_path):
    EventWriter("policy", tmp_path / "kept").emit(1, {"a": 1.0})
    with (tmp_path / "kept").open("a") as stream:
        stream.write('{"time": 1, "sta')
    EventWriter("policy", tmp_path / "kept").emit(2, {"a": float("nan")})
    assert [event.step for event in read(tmp_path / "kept")] == [1, 2]
