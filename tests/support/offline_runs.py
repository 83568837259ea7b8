"""Reads offline W&B runs back: LevelDB's log format, with W&B's header before it, around protocol buffers."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from notus_exp.config.schema import Tracking

TRACKING = Tracking(
    name="wandb",
    project="notus-exp",
    entity=None,
    group=None,
    tags=["mine"],
    mode="offline",
    artifacts=["pairs", "model"],
)
"""tracking=wandb offline; `dataclasses.replace` makes variants."""

FILE_HEADER, RECORD_HEADER, BLOCK = 7, 7, 32 * 1024
SECONDS = 10.0
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """What a .wandb file says: the last word on everything but the history, which is kept line by line."""

    path: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Return a metric's values with their steps on its stage's axis."""
        return self.history_of(metric, f"{metric.split('/')[0]}/step")

    def history_of(self, metric: str, axis: str) -> list[tuple[int, float]]:
        """Return a metric's values with those of the metric that it is drawn over."""
        return [(row[axis], row[metric]) for row in self.history if metric in row]

    def table(self, name: str) -> dict[str, Any]:
        """Return the media file of a logged table: `columns` and `data`."""
        content: dict[str, Any] = json.loads(self.media(name).read_text())
        return content

    def media(self, name: str) -> Path:
        """Return the file of a logged table or page."""
        file: str = next(row[f"{name}/path"] for row in self.history if f"{name}/path" in row)
        return self.path.parent / "files" / file

    def artifact_files(self, name: str) -> set[str]:
        return {entry.path for entry in self.artifacts[name].manifest.contents}


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep W&B out of the home folder, and the environment's wishes out of the tests."""
    keep_out(tmp_path_factory.mktemp("wandb_home"), monkeypatch)


def keep_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give W&B a folder in the place of the home folder, and none of the environment's wishes."""
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(place))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_RUN_GROUP", "WANDB_TAGS"):
        monkeypatch.delenv(name, raising=False)


def read_runs(folder: Path) -> list[OfflineRun]:
    """Return the offline runs below a folder, oldest first."""
    paths = sorted(folder.rglob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [read_run(path) for path in paths]


def read_run(path: Path) -> OfflineRun:
    """Return what a .wandb file says; W&B's own process may write its end a moment after `finish` returns."""
    from google.protobuf.message import DecodeError

    deadline = time.monotonic() + SECONDS
    while True:
        last = time.monotonic() > deadline
        try:
            found = _read(path)
            if found.exit_code is not None or last:
                return found
        except DecodeError:  # half of a record is there
            if last:
                raise
        time.sleep(0.05)


def _read(path: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    found = OfflineRun(path)
    for chunk in _chunks(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            _update(found.config, record.run.config.update)
        elif kind == "config":
            _update(found.config, record.config.update)
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            found.history.append(row)
        elif kind == "metric":
            found.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "artifact":
            found.artifacts[record.artifact.name] = record.artifact
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        target["/".join(item.nested_key) or item.key] = json.loads(item.value_json)


def _chunks(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B", "a .wandb file"
    position, parts = FILE_HEADER, b""
    while position + RECORD_HEADER <= len(data):
        if BLOCK - position % BLOCK < RECORD_HEADER:  # too short for a header: padding up to the next block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + RECORD_HEADER])
        position += RECORD_HEADER
        if kind not in (FULL, FIRST, MIDDLE, LAST):
            return
        parts += data[position : position + length]
        position += length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
