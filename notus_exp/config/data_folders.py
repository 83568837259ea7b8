"""Which files of a folder are data, and which splits their names tell of: what datasets on the hub call their files.

A name tells of a split where it has its word, as `train.jsonl`, `my_test-01.parquet` or `validation/a.csv` have
(`dev`, `val` and `valid` are validation, `eval` is test). Names of shards are taken whole, as in
`train_prefs-00000-of-00002.parquet`, and so are the folders of a saved `DatasetDict`. A folder that `datasets` saved
(`save_to_disk`) holds the files that its state.json lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from notus_exp.config.data_settings import FORMATS, FORMER, FileData, Pairs
from notus_exp.errors import UserError

STATE, INFO, DICT = "state.json", "dataset_info.json", "dataset_dict.json"
"""What `datasets` writes beside the data of a dataset that it saves, and beside the folders of several."""
WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Word in a name -> the split that it tells of; those that the library `datasets` knows."""
HUB_SPLITS = {"HuggingFaceH4/ultrafeedback_binarized": "train_prefs"}
"""Dataset on the hub -> its split for training, where that is not `train`."""
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(WORDS, key=len, reverse=True))})(?![a-z])")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?")
_PLAIN_SPLIT = re.compile(r"[\w.-]+")


def hub_default(data: FileData) -> str:
    """Return the split of a dataset on the hub that is read where none is asked for."""
    return HUB_SPLITS.get(str(data.hub_id), "train_prefs" if isinstance(data, Pairs) else "train")


def file_format(path: Path) -> str | None:
    """Return how a file is read, by the ending of its name: one of the values of `FORMATS`, or None for another."""
    name = path.name.lower()
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


def data_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the data files of a folder and of its subfolders in reading order, and those that are left out.

    Hidden files and files of other types are not data. The order is that of the sorted names relative to the folder.
    Left out are files of a format that is read since later, where there are others: what such a folder holds stays as
    it was. A folder that `datasets` saved is data of the later kind, without what describes it.

    Raises:
        UserError: Of a dataset that `datasets` saved a file is missing, or it cannot be read as it lies there.
    """
    found = [file for file in folder.rglob("*") if file.is_file() and file_format(file) and not _hidden(file, folder)]
    saved = {file.parent for file in found if file.name == INFO and (file.parent / STATE).is_file()}
    saved = {place for place in saved if any(place.glob("*.arrow"))}
    named = {place.parent / DICT for place in saved}
    plain = [file for file in found if file.parent not in saved and file not in named]
    plain += [file for place in saved for file in _saved_files(place)]
    plain.sort(key=lambda file: file.relative_to(folder).parts)
    former = [file for file in plain if file.name.lower().endswith(FORMER)]
    return (former, [file for file in plain if file not in set(former)]) if former else (plain, [])


def splits(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the splits that the names of a folder's files tell of, each with its files in their order.

    Files whose names tell of none are in none.
    """
    found: dict[str, list[Path]] = {}
    for file in files:
        name = _split(folder, file)
        if name:
            found.setdefault(name, []).append(file)
    return dict(sorted(found.items()))


def asked_split(name: str) -> str:
    """Return the name under which `splits` has a split that is asked for."""
    return WORDS.get(name.lower(), name)


def _split(folder: Path, file: Path) -> str | None:
    if (file.parent.parent / DICT).is_file() and (file.parent / STATE).is_file():
        return asked_split(file.parent.name)
    stem = file.name[: len(file.name) - len(_ending(file))]
    shard = _SHARD.fullmatch(stem)
    if shard and _WORD.search(shard[1].lower()):
        return asked_split(shard[1])
    for part in (stem, *reversed(file.relative_to(folder).parts[:-1])):
        if word := _WORD.search(part.lower()):
            return WORDS[word[1]]
    if (file.parent / STATE).is_file():
        named = _state(file.parent).get("_split")
        return asked_split(named) if isinstance(named, str) and _PLAIN_SPLIT.fullmatch(named) else None
    return shard[1] if shard and file.absolute().parent.name == "data" else None


def _ending(file: Path) -> str:
    return next((ending for ending in FORMATS if file.name.lower().endswith(ending)), "")


def _saved_files(place: Path) -> list[Path]:
    """Return the data files of a dataset that `datasets` saved; others lie beside them where it was worked on."""
    state = _state(place)
    listed = state.get("_data_files")
    names = [item.get("filename") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    files = [place / name for name in names if isinstance(name, str) and Path(name).name == name]
    hint = "save it again with datasets' save_to_disk"
    if not files or len(files) != len(listed or []):
        raise UserError(f"data.path: '{place / STATE}' does not list the files of the dataset", hint)
    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        raise UserError(f"data.path: '{missing}' is missing, which {STATE} beside it lists", "copy the folder again")
    if state.get("_indices_data_files"):
        raise UserError(f"data.path: '{place}' holds a selection of rows apart from them, which is not read", hint)
    return files


def _state(place: Path) -> dict[str, Any]:
    try:
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"data.path: '{place / STATE}' cannot be read", "copy the folder again") from problem
    return state if isinstance(state, dict) else {}


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
