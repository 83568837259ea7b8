"""An OpenAI-compatible server of the tests on the loopback, which fails on demand and remembers what it did."""

import hashlib
import json
import socket
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SNAPSHOT = "judge-2026-01-01"
FAULTS = ("429", "500", "408", "timeout", "cut", "half", "malformed", "wrong_keys", "no_choices")
"""What a server may do instead of answering; "empty" (a valid answer without text) is no fault."""
USAGE = {"prompt_tokens": 100, "completion_tokens": 1}


def token(prompt):
    """The verdict of this server on a prompt."""
    return "m" if hashlib.sha256(prompt.encode()).digest()[0] % 2 else "M"


class FaultServer:
    """Use as a context manager.

    Args:
        plan: (prompt, how many requests it had before) -> "ok", "empty", one of FAULTS, "told" (no choices, but
            the usage), "drip" (a byte now and then), "flood" (a body without an end), "401",
            "403", "404" or "400", or a redirect to `location`: "301", "302", "307", "308".
        answer: prompt -> text.
        latency: Seconds before an answer.
        retry_after: Value of the header of a 429.
        refuse: body of a request -> why it is refused with status 400, or None.
    """

    def __init__(
        self,
        plan=lambda prompt, nth: "ok",
        answer=token,
        latency=0.0,
        retry_after="0.02",
        refuse=lambda body: None,
    ):
        self.plan, self.answer, self.latency, self.retry_after = plan, answer, latency, retry_after
        self.refuse = refuse
        self.reply = None  # body of a request -> text, in the place of `answer`
        self.location = None
        self.finish_reason = "stop"
        self.snapshot = SNAPSHOT
        self.top_logprobs = None
        self.usage = USAGE  # None: not told
        self.requests = []  # (time, prompt, body, authorization)
        self.said = {}  # prompt -> text, of valid answers only
        self.sent = 0  # bytes of bodies without an end
        self.now = self.most = 0  # requests under way
        self._counts = defaultdict(int)
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, body, authorization):
        prompt = body["messages"][-1]["content"]
        with self._lock:
            self.requests.append((time.monotonic(), prompt, body, authorization))
            nth, self._counts[prompt] = self._counts[prompt], self._counts[prompt] + 1
            self.now += 1
            self.most = max(self.most, self.now)
            return prompt, self.plan(prompt, nth)

    def end(self):
        with self._lock:
            self.now -= 1

    def wait(self, seconds):
        self._closed.wait(seconds)

    def closed(self):
        return self._closed.is_set()

    def completion(self, prompt, text):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish_reason}
        if self.top_logprobs is not None:
            top = [{"token": name, "logprob": number, "bytes": None} for name, number in self.top_logprobs]
            choice["logprobs"] = {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": top}]}
        with self._lock:
            self.said[prompt] = text
        return {"id": "x", "object": "chat.completion", "created": 0, "model": self.snapshot, "choices": [choice],
                "usage": self.usage}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that went away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def do_POST(self):
        server = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, fault = server.begin(body, self.headers.get("Authorization"))
        try:
            refusal = server.refuse(body)
            if refusal is not None:
                self._send(400, json.dumps({"error": {"message": refusal}}))
            else:
                self._act(server, prompt, fault, body)
        finally:
            server.end()

    def _act(self, server, prompt, fault, body):
        if fault in ("drip", "flood"):
            return self._go_on(server, *{"drip": (b" ", 0.05), "flood": (b" " * 65_536, 0)}[fault])
        if fault in ("301", "302", "307", "308"):
            return self._send(int(fault), "", {"Location": server.location})
        if fault in ("ok", "empty"):
            server.wait(server.latency)
            text = "" if fault == "empty" else server.reply(body) if server.reply else server.answer(prompt)
            return self._send(200, json.dumps(server.completion(prompt, text)))
        if fault == "timeout":
            server.wait(1.5)
            self.close_connection = True
            return None
        if fault == "cut":
            return self._cut()
        if fault == "half":
            self._write(200, '{"choices": [{"mess', length=500)
            return self._cut()
        broken = {
            "malformed": '{"choices": [{"message": ',
            "wrong_keys": '{"model": "x", "choices": [{"text": "m"}]}',
            "no_choices": '{"model": "x", "choices": []}',
            "told": json.dumps({"model": "x", "choices": [], "usage": server.usage}),
        }
        if fault in broken:
            return self._send(200, broken[fault])
        headers = {"Retry-After": server.retry_after} if fault == "429" else {}
        said = f"no: {fault}, and the key is {self.headers.get('Authorization')}"  # as careless as a server can be
        return self._send(int(fault), json.dumps({"error": {"message": said}}), headers)

    def _go_on(self, server, part, seconds):
        """Send parts of a body until the client goes away."""
        self._write(200, "{", length=10**9)
        self.close_connection = True
        while not server.closed():
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                return
            server.sent += len(part)
            server.wait(seconds)

    def _send(self, status, text, headers=None):
        self._write(status, text, headers)

    def _write(self, status, text, headers=None, length=None):
        data = text.encode()
        lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {length or len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + data)

    def _cut(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
