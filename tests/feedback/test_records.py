import gzip
import json
import sys
from types import SimpleNamespace

import polars as pl
import pyarrow
import pytest

from notus_exp.errors import UserError
from notus_exp.feedback.data_files import resolve_files
from notus_exp.feedback.records import Malformed, Record, read_files, read_hub
from support.places import CASES

ROWS = [{"text": "ä one", "n": 1, "list": [{"a": "x"}]}, {"text": "two", "n": None, "list": []}]


def read(*files):
    return list(read_files(list(files), lambda share: None))


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def zstd(text):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


def arrow_stream(rows):
    table = pyarrow.Table.from_pylist(rows)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def test_every_format_gives_the_same_records(tmp_path):
    plain = write(tmp_path / "a.jsonl", lines(ROWS))
    array = write(tmp_path / "a.json", json.dumps(ROWS))
    pretty = write(tmp_path / "b.json", json.dumps(ROWS, indent=2))
    misnamed = write(tmp_path / "c.json", lines(ROWS))
    marked = write(tmp_path / "d.jsonl", "\ufeff" + lines(ROWS))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(lines(ROWS).encode()))
    (tmp_path / "f.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    pl.DataFrame(ROWS).write_parquet(tmp_path / "g.parquet")
    pl.DataFrame(ROWS).write_ipc(tmp_path / "h.arrow")
    (tmp_path / "i.arrow").write_bytes(arrow_stream(ROWS))
    (tmp_path / "j.jsonl.zst").write_bytes(zstd(lines(ROWS)))
    (tmp_path / "k.json.zst").write_bytes(zstd(json.dumps(ROWS)))
    (tmp_path / "l.jsonl.zst").write_bytes(zstd(lines(ROWS[:1])) + zstd(lines(ROWS[1:])))  # two frames
    later = ("h.arrow", "i.arrow", "j.jsonl.zst", "k.json.zst", "l.jsonl.zst")
    rest = [tmp_path / name for name in ("e.jsonl.gz", "f.json.gz", "g.parquet", *later)]
    for file in (plain, array, pretty, misnamed, marked, *rest):
        records = read(file)
        assert [record.value for record in records] == ROWS, file.name
        assert [(record.row, record.line) for record in records] == [(0, 1), (1, 2)]
        assert {record.file for record in records} == {file.name}


def test_an_object_is_one_record(tmp_path):
    (record,) = read(write(tmp_path / "a.json", json.dumps(ROWS[0], indent=1)))
    assert record.value == ROWS[0]


def test_malformed_lines_keep_their_number_reason_and_text_and_take_a_row_number(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": \n[1, 2]\n{"a": "\xff"}\n' + b"[" * 100_000 + b'\n{"a": 2}')
    good, cut, array, binary, deep, last = read(file)
    assert (good.row, good.line, last.row, last.line) == (0, 1, 5, 7)
    assert [type(item) for item in (cut, array, binary, deep)] == [Malformed] * 4
    assert (cut.line, cut.raw) == (3, '{"a": ')
    assert cut.reason.startswith("not JSON")
    assert (array.line, array.reason, array.raw) == (4, "not an object but list", "[1, 2]")
    assert binary.reason.startswith("not UTF-8") and binary.raw == '{"a": "\\xff"}'
    assert deep.line == 6


def test_a_list_element_that_is_no_object_is_malformed(tmp_path):
    first, second = read(write(tmp_path / "a.json", '[{"a": 1}, 5]'))
    assert isinstance(first, Record)
    assert second == Malformed("a.json", 2, "not an object but int", "5")


def test_rows_are_numbered_through_all_files_and_names_are_relative(tmp_path):
    files = [write(tmp_path / name, lines(ROWS)) for name in ("x/a.jsonl", "x/y/b.jsonl")]
    records = read(*files)
    assert [record.row for record in records] == [0, 1, 2, 3]
    assert [record.file for record in records] == ["a.jsonl"] * 2 + ["y/b.jsonl"] * 2
    assert [record.line for record in records] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'[{"a": 1}, {"a": '),
        ("b.json", b"not json"),
        ("c.json", b'"\xff"'),
        ("d.jsonl.gz", b"not gzip"),
        ("e.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20]),
        ("f.parquet", b"PAR1 broken"),
        ("g.jsonl.zst", b"not zstd"),
        ("h.jsonl.zst", zstd('{"a": 1}\n' * 1000)[:-9]),
        ("i.jsonl.zst", zstd('{"a": 1}\n') + b"more"),
        ("j.arrow", b"not arrow"),
        ("k.arrow", arrow_stream(ROWS)[:-8]),  # between two messages
        ("l.arrow", arrow_stream(ROWS)[:200]),
        ("m.arrow", b"ARROW1 broken"),
        ("n.csv", b'a,b\n1,"not closed\n2,3\n'),
        ("o.csv", b"a,a\n1,2\n"),
        ("p.csv", b"\n\n"),
        ("q.csv.gz", b"not gzip"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_an_error_that_names_it(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)


def test_progress_grows_over_files_to_less_than_one(tmp_path):
    files = [write(tmp_path / name, lines(ROWS * 1000)) for name in ("a.jsonl", "b.jsonl")]
    shares = []
    list(read_files(files, shares.append))
    assert shares == sorted(shares)
    assert len(shares) == 4
    assert 0.5 <= shares[2] <= shares[3] <= 1.0


def test_hub_records_come_from_the_split_at_the_commit_without_remote_code(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = {}

    def load_dataset(hub_id, **settings):
        asked.update(settings, hub_id=hub_id)
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    records = list(read_hub("org/name", "train", "c" * 40, lambda share: None))
    assert [record.value for record in records] == ROWS
    assert records[1][:3] == (1, "org/name/train", 2)
    assert asked == {"hub_id": "org/name", "split": "train", "revision": "c" * 40}


def test_a_hub_dataset_that_does_not_load_is_one_clean_error(monkeypatch):
    def load_dataset(hub_id, **settings):
        raise ValueError("Unknown split \"trian\". Should be one of ['train'].\nmore")

    errors = SimpleNamespace(DatasetsError=OSError)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, exceptions=errors))
    with pytest.raises(UserError, match=r"data\.hub_split=trian") as error:
        list(read_hub("org/name", "trian", "c" * 40, lambda share: None))
    assert "\n" not in error.value.message


def test_a_key_that_stands_twice_sets_the_line_aside_and_nothing_is_taken_silently(tmp_path):
    good, twice = '{"a": {"b": 1}}\n', '{"a": {"b": 1, "c": 2, "b": 3}}\n'
    for name in ("a.jsonl", "a.json"):  # JSON lines both
        for first, second in ((good, twice), (twice, good)):
            records = read(write(tmp_path / name, first + second))
            bad = records[(first, second).index(twice)]
            assert (bad.rule, bad.raw) == ("duplicate_key", twice.strip())
            assert bad.reason == "the key 'b' stands twice in one object"
            assert [type(record) for record in records].count(Record) == 1
    with pytest.raises(UserError, match="the key 'b' stands twice"):
        read(write(tmp_path / "b.json", f"[{good}, {twice}]"))


def test_csv_gives_texts_by_the_names_of_its_header_and_the_line_where_a_record_begins(tmp_path):
    file = tmp_path / "a.csv"
    text = '\ufeffprompt,rating\r\n"two\nlines, ""so""",4\r\n\r\nplain,\r\n"' + "x" * 200_000 + '",N/A\r\n'
    file.write_bytes(text.encode())
    first, second, long = read(file)
    assert first.value == {"prompt": 'two\nlines, "so"', "rating": "4"}
    assert second.value == {"prompt": "plain", "rating": ""}
    assert len(long.value["prompt"]) == 200_000
    assert [(record.row, record.line) for record in (first, second, long)] == [(0, 2), (1, 5), (2, 6)]


def test_a_csv_record_that_does_not_fit_is_malformed_with_its_line(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"a,b\n1,2,3\n\xff,2\n1,2\n")
    many, binary, good = read(file)
    assert (many.line, many.reason, many.raw) == (2, "has 3 fields, and the header 2", '["1", "2", "3"]')
    assert (binary.line, binary.reason) == (3, "a is not UTF-8")
    assert json.loads(binary.raw) == {"a": "\\xff", "b": "2"}
    assert (good.row, good.value) == (2, {"a": "1", "b": "2"})


def test_an_error_of_csv_names_file_and_line(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,2\n3,"open\n4,5\n')
    with pytest.raises(UserError, match=r"a\.csv' is not CSV at line 3"):
        read(tmp_path / "a.csv")


def test_an_arrow_file_is_read_in_parts(tmp_path):
    rows = [{"n": number} for number in range(2500)]
    (tmp_path / "a.arrow").write_bytes(arrow_stream(rows))
    assert [record.value for record in read(tmp_path / "a.arrow")] == rows


@pytest.mark.skipif(not CASES.exists(), reason="the cases do not lie beside the checkout")
def test_a_saved_dataset_is_read():
    records = read(*resolve_files(str(CASES / "saved_one")))
    assert len(records) == 12 and all(set(record.value) == {"prompt", "chosen", "rejected"} for record in records)
