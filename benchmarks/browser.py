"""A headless Chromium that shows pages to tests and takes their pictures, told by its DevTools protocol over two pipes.

https://chromedevtools.github.io/devtools-protocol: JSON messages that end in a zero byte, in on descriptor 3, out on 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 768, 1280)
"""Pixels of a phone, a tablet and a laptop."""
PAPER = 1032
"""Pixels across a page of A4 that lies, without its margins of 12 mm."""
SCHEMES = ("light", "dark")
PATIENCE = 60.0
"""Seconds that a page may take to load."""

_HEIGHT = 900
_FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
_WITH_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One browser with one page; use it in a `with`."""

    def __init__(self) -> None:
        program = installed()
        if program is None:
            raise FileNotFoundError(f"no browser is installed: none of {', '.join(PROGRAMS)}")
        self._home = tempfile.mkdtemp(prefix="notus-browser-")
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for pair in (os.pipe(), os.pipe()) for end in _closing(pair)]
        told, tell, answered, answer = ends
        words = [program, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self._home}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WITH_PIPES, str(told), str(answer), *words],
            pass_fds=(told, answer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(told)
        os.close(answer)
        self._tell, self._answered = tell, answered
        self._said, self._count, self._session = b"", 0, ""
        page = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self._ask("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._tell)
        os.close(self._answered)
        shutil.rmtree(self._home, ignore_errors=True)

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Show a file as a screen of so many pixels does that prefers a scheme, `light` or `dark`."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=_HEIGHT, deviceScaleFactor=1, mobile=width < 600
        )
        self._ask(
            "Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self._ask("Page.navigate", url=path.resolve().as_uri())
        since = time.monotonic()
        while self.ask_page("document.readyState + location.protocol") != "completefile:":
            if time.monotonic() - since > PATIENCE:
                raise TimeoutError(f"{path} did not load")

    def open_on_paper(self, path: Path) -> None:
        """Show a file as it is printed, however dark the screen is."""
        self.open(path, PAPER, "dark")
        dark = {"name": "prefers-color-scheme", "value": "dark"}
        self._ask("Emulation.setEmulatedMedia", media="print", features=[dark])

    def ask_page(self, script: str) -> Any:
        """Return the value of a script, as JSON's types."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def picture(self, most: int) -> bytes:
        """Return the page from its top down, at most so many pixels high, as a PNG file."""
        width, height = self.ask_page("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most), "scale": 1}
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._tell, json.dumps(message).encode() + b"\0")
        while (found := self._heard()).get("id") != self._count:
            pass
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return dict(found["result"])

    def _heard(self) -> dict[str, Any]:
        while b"\0" not in self._said:
            part = os.read(self._answered, 1 << 16)
            if not part:
                raise RuntimeError("the browser is gone")
            self._said += part
        message, _, self._said = self._said.partition(b"\0")
        return dict(json.loads(message))


def installed() -> str | None:
    """Return the path of an installed browser, None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def _closing(pair: tuple[int, int]) -> list[int]:
    """Return both ends of a pipe, to be copied beyond the descriptors that the browser reads and writes."""
    return list(pair)
