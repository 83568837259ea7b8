import subprocess
import sys

import pytest

from notus_exp.config.data_settings import ENDINGS, RepeatedPrompts, Simulated, UltraFeedback
from notus_exp.errors import UserError
from notus_exp.feedback import data_files as sources
from support.places import CASES, ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def ultrafeedback(path=None, hub_id=None, revision="main"):
    place = str(path) if path else None
    keep = RepeatedPrompts.keep
    return UltraFeedback("ultrafeedback", ["helpfulness"], 0, place, hub_id, "train", revision, keep)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub, and an empty hub cache."""
    from huggingface_hub import HfApi, constants

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "repo_info", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_importing_it_loads_no_dataframe_dataset_or_training_library():
    heavy = "{'polars', 'datasets', 'torch', 'transformers', 'pyarrow', 'huggingface_hub'}"
    code = f"import sys, notus_exp.feedback.data_files; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_same_content_at_another_place_and_name_has_the_same_digest_and_an_edit_another(tmp_path):
    first, second = tmp_path / "a" / "one.jsonl", tmp_path / "b" / "c" / "two.jsonl"
    for file in (first, second):
        file.parent.mkdir(parents=True)
        file.write_text('{"x": 1}\n')
    assert sources.data_digest([first]) == sources.data_digest([second])
    assert sources.data_digest(sources.resolve_files(str(first.parent))) == sources.data_digest([first])
    before = sources.data_digest([first])
    first.write_text('{"x": 2}\n')
    assert sources.data_digest([first]) != before


def test_the_same_bytes_read_in_another_format_have_another_digest(tmp_path):
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text("{}")
    assert sources.data_digest([tmp_path / "a.json"]) != sources.data_digest([tmp_path / "a.jsonl"])


def test_a_folder_gives_its_data_files_by_sorted_name_without_hidden_and_other_files(tmp_path):
    for name in ("b.jsonl", "a/z.parquet", "a.json.gz", "README.md", ".cache/x.jsonl", ".hidden.json"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    names = [file.relative_to(tmp_path).as_posix() for file in sources.resolve_files(str(tmp_path))]
    assert names == ["a/z.parquet", "a.json.gz", "b.jsonl"]


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert sources.resolve_files("a.jsonl") == [tmp_path / "a.jsonl"]


def test_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "feedback.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"no file or folder '.*feedbak.jsonl'") as error:
        sources.resolve_files(str(tmp_path / "feedbak.jsonl"))
    assert "feedback.jsonl" in error.value.hint


def test_a_missing_file_lists_data_files_alone_and_few_of_them(tmp_path):
    for name in (".hidden.jsonl", "etc.conf", "passwd"):
        (tmp_path / name).write_text("x")
    (tmp_path / "usr").mkdir()
    with pytest.raises(UserError) as error:
        sources.resolve_files(str(tmp_path / "wanted.jsonl"))
    assert error.value.hint == f"there is no data file ({ENDINGS}) in '{tmp_path}'"
    for number in range(7):
        (tmp_path / f"{number}.json").write_text("x")
    with pytest.raises(UserError) as error:
        sources.resolve_files(str(tmp_path / "wanted.jsonl"))
    assert error.value.hint == f"data files in '{tmp_path}': 0.json, 1.json, 2.json, 3.json, 4.json, ..."


def test_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError) as error:
        sources.resolve_files(str(tmp_path / "nowhere" / "a.jsonl"))
    assert "no folder" in error.value.hint


@pytest.mark.parametrize("path", ["a.tsv", "folder", "empty.jsonl", "mixed", ""])
def test_unsupported_and_empty_files_and_folders_are_errors_that_name_them(path, tmp_path):
    (tmp_path / "a.tsv").write_text("x")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "good.json").write_text("{}")
    (tmp_path / "mixed" / "hollow.json").write_text("")
    with pytest.raises(UserError, match="hollow.json" if path == "mixed" else path or "''"):
        sources.resolve_files(str(tmp_path / path) if path else "")


def test_local_data_gives_digest_and_files(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}")
    found = sources.sources(ultrafeedback(path=file, hub_id="openbmb/UltraFeedback"))
    assert found == (sources.data_digest([file]), [str(file)])


def test_simulated_data_has_no_source():
    spec = Simulated("simulated", ["a"], 0, 0, 1, 1, 1, 1, {"m": 0.5}, 0.1, 0.1, 0.0, 0.0, 0.0)
    assert sources.sources(spec) == (None, [])


def test_neither_path_nor_hub_id_is_an_error():
    with pytest.raises(UserError, match="both null"):
        sources.sources(ultrafeedback())


def test_a_commit_is_taken_without_asking_the_hub(offline):
    assert sources.sources(ultrafeedback(hub_id="openbmb/UltraFeedback", revision=COMMIT)) == (COMMIT, [])


def test_the_hub_is_asked_for_the_commit_of_a_branch(monkeypatch):
    from types import SimpleNamespace

    from huggingface_hub import HfApi

    asked = []
    monkeypatch.setattr(
        HfApi, "repo_info", lambda self, *args, **kwargs: asked.append((args, kwargs)) or SimpleNamespace(sha=COMMIT)
    )
    assert sources.hub_commit("org/name", "main", "model") == COMMIT
    assert asked[0][0] == ("org/name",)
    assert (asked[0][1]["repo_type"], asked[0][1]["revision"]) == ("model", "main")


def test_offline_takes_the_commit_that_the_hub_cache_noted(offline):
    note = offline / "datasets--openbmb--UltraFeedback" / "refs" / "main"
    note.parent.mkdir(parents=True)
    note.write_text(COMMIT)
    assert sources.sources(ultrafeedback(hub_id="openbmb/UltraFeedback")).digest == COMMIT


def test_offline_without_a_note_is_one_error_with_the_remedy(offline):
    with pytest.raises(UserError, match="openbmb/UltraFeedback cannot be reached") as error:
        sources.sources(ultrafeedback(hub_id="openbmb/UltraFeedback"))
    assert "data.path=FILE" in error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("name", "message"), [("RevisionNotFoundError", "no revision 'mian'"), ("RepositoryNotFoundError", "org/name")]
)
def test_what_the_hub_does_not_have_is_an_error_and_not_an_outage(name, message, monkeypatch):
    from huggingface_hub import HfApi, errors

    kind = getattr(errors, name)

    def answer(*args, **kwargs):
        raise kind.__new__(kind)

    monkeypatch.setattr(HfApi, "repo_info", answer)
    with pytest.raises(UserError, match=message):
        sources.hub_commit("org/name", "mian", "dataset")


def test_an_id_that_cannot_be_one_is_an_error():
    with pytest.raises(UserError, match="a/b/c"):
        sources.hub_commit("a/b/c", "main", "dataset")


@pytest.mark.parametrize("asked", ["train", None])
def test_a_folder_of_several_splits_asks_which_is_read(asked, tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    if asked:
        found = sources.resolve_files(str(tmp_path), asked)
        assert [file.name for file in found] == [f"train-0000{number}-of-00002.jsonl" for number in (0, 1)]
        return
    with pytest.raises(UserError, match="holds the splits test, train") as error:
        sources.resolve_files(str(tmp_path))
    assert "data.hub_split=train" in error.value.hint


def test_a_split_that_a_folder_has_not_is_refused_with_those_it_has(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"hub_split=trian.*no such split, it holds train") as error:
        sources.resolve_files(str(tmp_path), "trian")
    assert error.value.hint == "did you mean 'train'?"
    (tmp_path / "train.jsonl").rename(tmp_path / "mine.jsonl")
    with pytest.raises(UserError, match="no name in it tells of a split") as error:
        sources.resolve_files(str(tmp_path), "train")
    assert "leave data.hub_split out" in error.value.hint


def test_a_folder_of_one_split_and_one_without_keep_their_digest(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    (tmp_path / "notes.jsonl").write_text('{"a": 1}\n')
    whole = [tmp_path / "notes.jsonl", tmp_path / "train.jsonl"]
    assert sources.resolve_files(str(tmp_path)) == whole
    asked = ultrafeedback(path=tmp_path)
    asked.hub_split = None
    assert sources.sources(asked) == (sources.data_digest(whole), [str(file) for file in whole])
    asked.hub_split = "train"
    assert sources.sources(asked) == (sources.data_digest(whole[1:]), [str(whole[1])])


def test_beside_files_of_former_formats_later_ones_stay_unread(tmp_path):
    for name in ("a.jsonl", "b.csv", "c.jsonl.zst"):
        (tmp_path / name).write_text("x")
    assert [file.name for file in sources.resolve_files(str(tmp_path))] == ["a.jsonl"]
    (tmp_path / "a.jsonl").unlink()
    assert [file.name for file in sources.resolve_files(str(tmp_path))] == ["b.csv", "c.jsonl.zst"]


@pytest.mark.skipif(not CASES.exists(), reason="the cases do not lie beside the checkout")
@pytest.mark.parametrize(("split", "rows"), [("test", 3), ("train", 9)])
def test_a_clone_of_a_dataset_gives_the_split_that_is_asked_for(split, rows):
    found = sources.resolve_files(str(CASES / "hub_clone"), split)
    assert sum(len(file.read_text().splitlines()) for file in found) == rows
    with pytest.raises(UserError, match="holds the splits test, train"):
        sources.resolve_files(str(CASES / "hub_clone"))
