"""A stand-in of the model hub's API on the loopback: it makes repositories, takes commits, and remembers both."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

TOKEN = "hf_token_of_the_tests"
USER = "me"


class HubServer:
    """Use as a context manager.

    Attributes:
        url: What HF_ENDPOINT is set to.
        private: (kind, full name) -> whether the repository is private; those that are there.
        files: (kind, full name) -> path in the repository -> content.
        requests: Method and path of each request, in order.
        refuse: Beginning of a path -> status with which it is refused.
        asked: What each request to make a repository held.
    """

    def __init__(self) -> None:
        self.private: dict[tuple[str, str], bool] = {}
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse: dict[str, int] = {}
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> HubServer:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    owner: HubServer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the parent's own name
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        hub, path = self.server.owner, self.path.partition("?")[0]
        hub.requests.append((self.command, path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid credentials"})
            return
        refused = next((status for begin, status in hub.refuse.items() if path.startswith(begin)), None)
        if refused:
            self._say(refused, {"error": "refused by the test"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._say(200, {"warnings": [], "errors": []})
        else:
            self._repository(path, body)

    def _create(self, asked: dict[str, Any]) -> None:
        hub = self.server.owner
        hub.asked.append(asked)
        kind = asked.get("type", "model")
        key = (kind, f"{asked['organization'] or USER}/{asked['name']}")
        there = key in hub.private
        if not there:
            hub.private[key], hub.files[key] = asked.get("visibility") == "private", {}
        place = f"{'datasets/' if kind == 'dataset' else ''}{key[1]}"
        self._say(409 if there else 200, {"url": f"{hub.url}/{place}", "error": "You already created this repo"})

    def _repository(self, path: str, body: bytes) -> None:
        """Answer /api/KINDs/OWNER/NAME, and the same with /preupload/main or /commit/main behind it."""
        hub = self.server.owner
        _, _, kinds, owner, name, *rest = path.split("/")
        key = (kinds.removesuffix("s"), f"{owner}/{name}")
        if key not in hub.private:
            self._say(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["preupload"]:
            files = [file["path"] for file in json.loads(body)["files"]]
            self._say(200, {"files": [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in files]})
        elif rest[:1] == ["commit"]:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines[1:]:
                hub.files[key][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = hashlib.sha1(body, usedforsecurity=False).hexdigest()
            self._say(200, {"commitUrl": f"{hub.url}/{key[1]}/commit/{oid}", "commitOid": oid, "success": True})
        else:
            self._say(200, {"id": key[1], "private": hub.private[key], "sha": "0" * 40, "siblings": [], "tags": []})

    def _say(self, status: int, content: dict[str, Any], **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
