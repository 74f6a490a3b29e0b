"""A headless Chromium, driven over a pipe with its own debugging protocol."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from integration_tests.polling import until

_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]


class Browser:
    """A browser with one page. Use as a context manager.

    Args:
        profile: Directory for its profile.
    """

    def __init__(self, profile: Path) -> None:
        reading, to_browser = os.pipe()
        from_browser, writing = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4; the shell puts the pipes there.
        script = f'exec "$0" "$@" 3<&{reading} 4>&{writing}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "chromium", *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(reading, writing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
        os.close(writing)
        self._out = os.fdopen(to_browser, "wb")
        self._in = os.fdopen(from_browser, "rb")
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session = ""

    def __enter__(self) -> Browser:
        pages = until(self._pages, "a page of the browser")
        attach = {"targetId": pages[0]["targetId"], "flatten": True}
        self._session = self._call("Target.attachToTarget", attach)["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()  # without its pipe it ends
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._in.close()

    def _pages(self) -> list[dict[str, Any]]:
        found = self._call("Target.getTargets", {})["targetInfos"]
        return [target for target in found if target["type"] == "page"]

    def open(self, url: str) -> None:
        """Goes to an address."""
        self._call("Page.navigate", {"url": url})

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page; None when it fails."""
        answer = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        return answer["result"].get("value")

    def until(self, script: str, what: str) -> Any:
        """Waits until an expression is true, and returns its value."""
        return until(lambda: self.evaluate(script), what, 60)

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._in.fileno(), 65536)
            assert piece, f"the browser ended with {self._process.poll()}"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(text))
