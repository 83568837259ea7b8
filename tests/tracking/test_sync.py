"""`wandb sync` itself, against a server that only notes what it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from notus_exp.disk.files import CURATION_HTML, CURATION_JSON, MODEL, PAIRS
from notus_exp.tracking import Ending, Membership, open_tracker
from support.offline_runs import TRACKING, own_places  # noqa: F401  (a fixture)

BUCKET = {"id": "1", "displayName": "", "description": "", "config": "{}", "sweepName": None, "historyLineCount": 0}
SEQUENCE = {"id": "1", "latestArtifact": None}
PROJECT = {"id": "1", "name": "notus-exp", "entity": {"id": "1", "name": "me"}}


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]]:
    """A server's address, the variables of each `upsertBucket`, with which W&B makes and changes a run, and artifacts.

    Of these it notes that one was `created` or `used`, with what it was told.
    """
    runs: list[dict[str, Any]] = []
    artifacts: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer: dict[str, Any] = {}
            if self.path.startswith("/graphql"):
                answer = {"data": {"serverInfo": {"features": []}}}
                request = json.loads(body)
                if "upsertBucket" in request["query"]:
                    runs.append(request["variables"])
                    bucket = {**BUCKET, "name": request["variables"]["name"], "project": PROJECT}
                    answer = {"data": {"upsertBucket": {"inserted": True, "bucket": bucket}}}
                elif "createRunFiles" in request["query"]:
                    files = [{"name": name, "uploadUrl": f"{here()}/{name}"} for name in request["variables"]["files"]]
                    answer = {"data": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}}
                elif "createArtifact(" in request["query"]:
                    artifacts.append(("created", request["variables"]["input"]))
                    made = {"id": f"made {len(artifacts)}", "state": "COMMITTED", "artifactSequence": SEQUENCE}
                    answer = {"data": {"createArtifact": {"artifact": made}}}
                elif "useArtifact(" in request["query"]:
                    artifacts.append(("used", request["variables"]["input"]))
                    answer = {
                        "data": {"useArtifact": {"artifact": {"id": request["variables"]["input"]["artifactID"]}}}
                    }
            self.reply(answer)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.reply({})

        def reply(self, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def here() -> str:
        return f"http://127.0.0.1:{listening.server_port}"

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield here(), runs, artifacts
    listening.shutdown()
    thread.join()


def sync(tmp_path: Path, address: str) -> None:
    """Send all offline runs as conf/tracking/wandb.yaml says."""
    folders = sorted(map(str, tmp_path.glob("outputs/*/*/wandb/offline-run-*")))
    places = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "local-" + "0" * 40}
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--yes", *folders],
        env={**os.environ, **places},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_offline_runs_keep_their_group_when_they_are_sent(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]
) -> None:
    address, told, _ = server
    for arm in ("average", "critique"):
        folder = tmp_path / "outputs" / "runs" / arm
        folder.mkdir(parents=True)
        config = {"dpo": {"beta": 0.1}}
        tracker = open_tracker(
            TRACKING, "x", ["selection=x"], config, folder, pytest.fail, Membership("which_score", arm, 0)
        )
        tracker.finish(Ending("finished", {"verifiable/strict": {"value": 1, "low": 0, "high": 1, "n": 2}}, [], {}))
    sync(tmp_path, address)
    created = [run for run in told if run["displayName"]]
    assert sorted((run["displayName"], run["groupName"], run["jobType"]) for run in created) == [
        ("average-s0", "which_score", "run"),
        ("critique-s0", "which_score", "run"),
    ]
    assert {"study=which_score", "selection=x"} <= set(created[0]["tags"])
    assert json.loads(created[0]["config"])["dpo"]["value"] == {"beta": 0.1}


def test_an_offline_run_that_is_sent_declares_its_pairs_an_input(
    tmp_path: Path, server: tuple[str, list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]
) -> None:
    address, _, artifacts = server
    folder = tmp_path / "outputs/studies/mine"
    stages: dict[str, Any] = {}
    for stage, file in (("pairs", PAIRS), ("policy", f"{MODEL}/config.json")):
        place = tmp_path / f"{stage}-0011223344556677"
        (place / file).parent.mkdir(parents=True)
        (place / file).write_text("{}")
        stages[stage] = {"key": "00", "path": str(place), "inputs": {}}
    (tmp_path / "pairs-0011223344556677" / CURATION_JSON).write_text("{}")
    (tmp_path / "pairs-0011223344556677" / CURATION_HTML).write_text("<p>")
    tracker = open_tracker(TRACKING, "x", [], {}, folder, pytest.fail, Membership("mine", "average", 0))
    tracker.finish(Ending("finished", {}, [], stages))
    sync(tmp_path, address)
    created = [told for kind, told in artifacts if kind == "created"]
    names = {told["artifactTypeName"]: told["artifactCollectionName"] for told in created}
    assert names == {"pairs": "mine.average.pairs", "model": "mine.average.model"}
    aliases = {one["alias"] for one in created[0]["aliases"]}
    assert aliases == {"latest", "s0", "0011223344556677"}
    (used,) = [told for kind, told in artifacts if kind == "used"]
    (model,) = [told for told in created if told["artifactTypeName"] == "model"]
    assert used["runName"] == model["runName"], "the run that made the model"
    assert used["artifactID"] == f"made {1 + [one['artifactTypeName'] for one in created].index('pairs')}"
