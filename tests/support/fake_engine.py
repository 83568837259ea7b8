"""A program that serves chats as an inference engine does, quick to start; `python fake_engine.py --port N ...`.

--model FOLDER      what is served as `base`; --adapter FOLDER serves `policy` too
--slow SECONDS      is ready only after so long
--die CODE          prints why and ends at once
--die-after N       ends by kill -9 in the midst of answer N + 1, once: the file --once tells that it did
--never             is never ready
--orphan FILE       starts a process of a session of its own, and writes its id to a file
--squat FILE        the first time listens nowhere, lets another process take the port, and ends
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = "1.2.3"


def parsed():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--model", default="")
    parser.add_argument("--adapter", default="")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--die", type=int)
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--once")
    parser.add_argument("--never", action="store_true")
    parser.add_argument("--orphan")
    parser.add_argument("--squat")
    parser.add_argument("--version", default=VERSION)
    parser.add_argument("--log")
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        ready = time.monotonic() - server.begun >= server.given.slow and not server.given.never
        if self.path == "/health":
            return self.reply(200 if ready else 503, {})
        if self.path == "/version":
            return self.reply(200, {"version": server.given.version})
        return self.reply(404, {})

    def do_POST(self):
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served = {"base": server.given.model, **({"policy": server.given.adapter} if server.given.adapter else {})}
        with server.lock:
            server.answers += 1
            number = server.answers
        if body["model"] not in served:
            return self.reply(404, {"error": {"message": "no such model"}})
        dying = server.given.die_after is not None and number > server.given.die_after
        if dying and not (server.given.once and Path(server.given.once).exists()):
            if server.given.once:
                Path(server.given.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if server.given.log:
            with Path(server.given.log).open("a") as log:
                log.write(json.dumps({"authorization": self.headers.get("Authorization"), **body}) + "\n")
        text = f"{served[body['model']]} says {body['messages'][-1]['content']}"
        message = {"role": "assistant", "content": text}
        return self.reply(200, {
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5},
        })  # fmt: skip

    def reply(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    given = parsed()
    print("fake engine, password=", os.environ.get("NOTUS_TEST_SECRET"), "rank", os.environ.get("RANK"), flush=True)
    if given.die is not None:
        print("ValueError: this head is too small\nCUDA out of memory, as it were", flush=True)
        sys.exit(given.die)
    if given.orphan:
        asleep = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(given.orphan).write_text(str(asleep.pid))
    if given.squat and not Path(given.squat).exists():
        Path(given.squat).write_text(str(given.port))
        time.sleep(0.3)
        sys.exit(1)
    server = Server(("127.0.0.1", given.port), Handler)
    server.given, server.begun, server.answers, server.lock = given, time.monotonic(), 0, threading.Lock()
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
