"""One request and its answer, bounded in seconds and bytes; no other host is asked than the one that was named.

The body is read as it comes: a server that sends a byte now and then, or without an end, holds nobody longer than the
limits say. Compression is declined, since a few packed bytes may unpack to any number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from notus_exp.errors import UserError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3
"""Redirects within a host that are followed, such as from http to https."""


class HttpAnswer(NamedTuple):
    """What a server answered.

    Attributes:
        status: Its number.
        headers: By name in lower case.
        body: Decoded; bytes that are no UTF-8 are U+FFFD.
    """

    status: int
    headers: Mapping[str, str]
    body: str


class LostError(Exception):
    """A request without an answer that can be read.

    Args:
        reason: Why, without any secret.
        paid: A success had begun, for which an endpoint may charge.
    """

    def __init__(self, reason: str, *, paid: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.paid = reason, paid


class Exchange:
    """Sends JSON to one address.

    Args:
        url: The address.
        headers: Sent with each request; a redirect within the host gets them too.
        seconds: Within which the whole answer must have come.
        most_bytes: Of an answer's body.
        setting: The key that names the endpoint, for errors.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, seconds: float, most_bytes: int, setting: str) -> None:
        self._url, self._seconds, self._most_bytes, self._setting = url, seconds, most_bytes, setting
        self._client = httpx.AsyncClient(
            headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
            timeout=None,  # one limit holds for all of it
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
            # a proxy that the environment names does not reach servers of this machine
            mounts={f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def post(self, content: bytes) -> HttpAnswer:
        """Return the answer to a JSON body.

        Raises:
            LostError: None came in time, it was too long, or the connection failed.
            UserError: The server sends to another host.
        """
        begun: list[int] = []
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(content, begun)
        except TimeoutError:
            where = "the answer did not end" if begun else "no answer"
            success = bool(begun) and begun[-1] < HTTPStatus.MULTIPLE_CHOICES
            raise LostError(f"{where} within {self._seconds:g} s", paid=success) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # `from None`: what it was raised from holds the request, whose headers hold the key.
            raise LostError(f"the connection failed ({type(error).__name__})") from None

    async def _follow(self, content: bytes, begun: list[int]) -> HttpAnswer:
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            answered = await self._once(url, content, begun)
            location = answered.headers.get("location")
            if answered.status not in REDIRECTS or not location:
                return answered
            url = self._redirected(url, location)
        raise UserError(
            f"{_host(urlsplit(self._url))} redirects more than {MOST_REDIRECTS} times", f"check {self._setting}"
        )

    async def _once(self, url: str, content: bytes, begun: list[int]) -> HttpAnswer:
        headers = {"Content-Type": "application/json"}
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            begun.append(response.status_code)
            packed = response.headers.get("content-encoding", "identity")
            if packed != "identity":
                raise LostError(f"the answer is packed ({packed[:20]!r}) although that was declined", paid=True)
            parts, size = [], 0
            async for part in response.aiter_raw():
                size += len(part)
                if size > self._most_bytes:
                    reason = f"the answer is longer than {self._most_bytes:,} bytes"
                    raise LostError(reason, paid=response.is_success)
                parts.append(part)
        body = b"".join(parts).decode("utf-8", "replace")
        return HttpAnswer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    def _redirected(self, url: str, location: str) -> str:
        """Return where a redirect leads, unless that is another host, or the same without its encryption."""
        try:
            target = urljoin(url, location)
            before, after = urlsplit(url), urlsplit(target)
            same = "@" not in after.netloc and (_origin(before) == _origin(after) or _encrypted(before, after))
        except ValueError:
            raise UserError(f"{_host(urlsplit(url))} redirects to no address", f"check {self._setting}") from None
        if not same:
            raise UserError(
                f"{_host(before)} redirects to {_host(after)}, another host, and nothing is sent there",
                f"if that is the endpoint that you mean, give its address as {self._setting}",
            )
        return target


def _host(address: SplitResult) -> str:
    """Return scheme, host and port: what of an address may be shown, whatever else a server writes into it."""
    port = f":{address.port}" if address.port else ""
    return f"{address.scheme}://{(address.hostname or '')[:100]}{port}"


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port or {"http": 80, "https": 443}.get(address.scheme)


def _encrypted(before: SplitResult, after: SplitResult) -> bool:
    return (before.scheme, after.scheme) == ("http", "https") and before.hostname == after.hostname
