"""Which splits the names of files tell of, and what a folder that `datasets` saved holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from notus_exp.config.data_folders import data_files, file_format, splits
from notus_exp.config.data_settings import FORMATS
from notus_exp.config.doubts import doubts
from notus_exp.config.folders import conf_dir
from notus_exp.errors import UserError
from support.configs import composed


def write(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}", encoding="utf-8")
    return files


def saved(folder: Path, files: list[str], split: str | None = None) -> None:
    """Write what `datasets` writes beside its data."""
    write(folder, *files, "dataset_info.json")
    state = {"_data_files": [{"filename": name} for name in files], "_split": split}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("z_Train-00000.jsonl.gz", "train"),
        ("my_test-01.parquet", "test"),
        ("dev.csv", "validation"),
        ("val.2024.jsonl.zst", "validation"),
        ("Training/part-00000-of-00002.jsonl", "train"),
        ("en/test/a.json", "test"),
        ("train_prefs-00000-of-00001.parquet", "train_prefs"),
        ("test_sft-00001-of-00002-b42a775f407cee45.parquet", "test_sft"),
        ("data/human-00000-of-00001.parquet", "human"),
        ("human-00000-of-00001.parquet", None),
        ("constraints.jsonl", None),
        ("restrained.json", None),
        ("latest/pretrained.jsonl", None),
        ("devices.csv", None),
    ],
)
def test_a_name_tells_of_a_split_by_its_word(name: str, split: str | None, tmp_path: Path) -> None:
    (file,) = write(tmp_path / "test", name)  # the folder's own name tells nothing
    assert splits(tmp_path / "test", [file]) == ({split: [file]} if split else {})


def test_a_saved_dataset_is_the_files_that_it_lists(tmp_path: Path) -> None:
    saved(tmp_path, ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"], split="train")
    write(tmp_path, "cache-1234.arrow", ".hidden.arrow")
    read, left_out = data_files(tmp_path)
    assert [file.name for file in read] == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    assert left_out == []
    assert list(splits(tmp_path, read)) == ["train"]


def test_a_saved_dictionary_of_datasets_has_a_split_a_folder(tmp_path: Path) -> None:
    for name in ("gold", "noisy"):
        saved(tmp_path / name, ["data-00000-of-00001.arrow"])
    write(tmp_path, "dataset_dict.json")
    found = splits(tmp_path, data_files(tmp_path)[0])
    assert {name: [file.parent.name for file in files] for name, files in found.items()} == {
        "gold": ["gold"],
        "noisy": ["noisy"],
    }


def test_a_saved_dataset_that_lacks_a_file_or_its_list_is_an_error(tmp_path: Path) -> None:
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    saved(tmp_path, names)
    (tmp_path / names[1]).unlink()
    with pytest.raises(UserError, match=r"data-00001-of-00002\.arrow' is missing"):
        data_files(tmp_path)
    (tmp_path / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"state\.json' cannot be read"):
        data_files(tmp_path)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}', encoding="utf-8")
    with pytest.raises(UserError, match="does not list the files"):
        data_files(tmp_path)


def test_the_ending_says_how_a_file_is_read(tmp_path: Path) -> None:
    assert {ending: file_format(Path(f"A{ending.upper()}")) for ending in FORMATS} == FORMATS
    assert file_format(Path("a.tsv")) is None


def test_files_that_stay_unread_beside_others_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "b.csv")
    (told,) = [one for one in doubts(composed("data=rated", f"data.path={tmp_path}"), {}) if "data.path" in one]
    assert "is read without b.csv, since it holds a.jsonl" in told


def test_no_option_chooses_a_split_of_a_folder_for_the_user() -> None:
    for path in (conf_dir() / "data").glob("*.yaml"):
        assert OmegaConf.load(path).get("hub_split") is None, path.name


def test_of_the_hub_a_split_is_read_where_none_is_asked_for() -> None:
    critique = "selection=critique"
    splits = {
        ("data=rated",): "train",
        ("data=rated", "data.hub_id=HuggingFaceH4/ultrafeedback_binarized"): "train_prefs",
        ("data=pairs", critique): "train_prefs",
        ("data=pairs", critique, "data.hub_split=test_prefs"): "test_prefs",
    }
    for overrides, split in splits.items():
        assert composed(*overrides).data.hub_split == split
    assert composed("data=rated", "data.path=x").data.hub_split is None
