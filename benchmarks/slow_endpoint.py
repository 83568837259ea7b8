"""A stand-in for an endpoint that takes its time: a process of its own on the loopback, which costs no cores here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SERVE = "--serve"
"""Flag by which a benchmark's own file is started as the server."""


def answer_slowly(latency: float, said: Callable[[dict[str, Any]], str]) -> None:
    """Answer every request after `latency` seconds; print the port first. It does not end by itself.

    Args:
        latency: Seconds between the end of a request and its answer.
        said: body of a request -> the text of its answer.
    """

    def reply(body: bytes) -> bytes:
        content = {
            "model": "benchmark",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said(json.loads(body))},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200},
        }
        data = json.dumps(content).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        return head.encode() + data

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                body = await reader.readexactly(int(request.split("content-length:")[1].split("\r\n")[0]))
                await asyncio.sleep(latency)
                writer.write(reply(body))
        except asyncio.IncompleteReadError:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def served(script: str, latency: float) -> Iterator[str]:
    """Start a benchmark's file with `SERVE` meanwhile; yield the address at which it answers."""
    command = [sys.executable, script, SERVE, "--latency", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.terminate()
