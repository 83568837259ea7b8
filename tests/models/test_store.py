import os
import signal
import subprocess
import sys
import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from notus_exp.models.store import ReferenceStore, completion_key

WRITER = """
import sys
from pathlib import Path
from notus_exp.models.store import ReferenceStore
store = ReferenceStore(Path(sys.argv[1]))
start = int(sys.argv[2])
for batch in range(100000):
    store.put_many({f"{start}-{batch}-{i}": float(batch) for i in range(8)})
    print(batch, flush=True)
"""


def test_what_was_put_is_found_and_nothing_else(tmp_path):
    with ReferenceStore(tmp_path / "folder" / "store.sqlite") as store:
        store.put_many({"a": -1.5, "b": -2.0})
        assert store.get_many(["b", "c", "a"]) == {"a": -1.5, "b": -2.0}
        assert store.get_many([]) == {}


def test_values_survive_to_the_last_bit(tmp_path):
    values = {"x": -0.1 - 0.2, "y": -1e-300, "z": -123456.78901234567}
    with ReferenceStore(tmp_path / "store.sqlite") as store:
        store.put_many(values)
    with ReferenceStore(tmp_path / "store.sqlite") as store:
        assert store.get_many(values) == values


def test_the_first_writer_of_a_key_wins(tmp_path):
    with ReferenceStore(tmp_path / "store.sqlite") as one, ReferenceStore(tmp_path / "store.sqlite") as two:
        one.put_many({"a": -1.0})
        two.put_many({"a": -1.00001, "b": -2.0})
        assert one.get_many(["a", "b"]) == {"a": -1.0, "b": -2.0}


def test_more_keys_than_sqlite_takes_as_parameters(tmp_path):
    values = {f"key-{i}": -float(i) for i in range(40_000)}
    with ReferenceStore(tmp_path / "store.sqlite") as store:
        store.put_many(values)
        assert store.get_many(values) == values


def test_threads_that_open_and_write_at_once_lose_nothing(tmp_path):
    errors = []

    def write(number):
        try:
            with ReferenceStore(tmp_path / "store.sqlite") as store:
                for batch in range(10):
                    store.put_many({f"{number}-{batch}": -float(number)})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with ReferenceStore(tmp_path / "store.sqlite") as store:
        assert len(store.get_many([f"{n}-{b}" for n in range(6) for b in range(10)])) == 60


def test_two_processes_killed_while_writing_leave_whole_batches_and_a_usable_store(tmp_path):
    path = tmp_path / "store.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(2)]
    told = []
    for writer in writers:
        told.append(int(writer.stdout.readline()))
    time.sleep(0.3)
    for number, writer in enumerate(writers):
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        told[number] = max([told[number], *map(int, rest)])
    with ReferenceStore(path) as store:
        for number, last in enumerate(told):
            for batch in range(last + 2):  # one more than the writer told of: it may have been committed, or not
                found = len(store.get_many([f"{number}-{batch}-{i}" for i in range(8)]))
                assert found == 8 if batch <= last else found in (0, 8)
        store.put_many({"after": -1.0})
        assert store.get_many(["after"]) == {"after": -1.0}


ids = st.lists(st.integers(0, 99), max_size=6)


@settings(max_examples=200)
@given(st.tuples(st.sampled_from("ab"), st.sampled_from(["float32", "bfloat16"]), ids, ids), st.data())
def test_keys_are_the_same_only_for_the_same_completion(item, data):
    other = data.draw(st.tuples(st.sampled_from("ab"), st.sampled_from(["float32", "bfloat16"]), ids, ids))
    assert (completion_key(*item) == completion_key(*other)) == (item == other)


def test_moving_a_token_from_prompt_to_completion_changes_the_key():
    assert completion_key("m", "float32", [1, 2], [3]) != completion_key("m", "float32", [1], [2, 3])
