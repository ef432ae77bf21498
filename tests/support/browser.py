"""A headless Chromium, driven by its DevTools protocol; tests skip where it is not installed."""

import asyncio
import base64
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import attrs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)
_SECONDS = 30


@attrs.define
class Tab:
    """One page of the browser."""

    _socket: aiohttp.ClientWebSocketResponse
    _sent: int = 0
    #: What the page wrote to its console, errors of its own included.
    complaints: list[str] = attrs.field(factory=list)

    async def call(self, method: str, **params: Any) -> Any:
        """Make one call of the protocol."""
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": params})
        async with asyncio.timeout(_SECONDS):
            while True:
                answer = json.loads(await self._socket.receive_str())
                if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                    self.complaints.append(json.dumps(answer["params"]))
                if answer.get("id") == self._sent:
                    assert "error" not in answer, answer
                    return answer["result"]

    async def open(self, url: str, **size: int) -> None:
        """Open a page."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        shape = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False} | size
        await self.call("Emulation.setDeviceMetricsOverride", **shape)
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        async with asyncio.timeout(_SECONDS):
            while not (value := await self.run(script)):
                await self.call(
                    "Runtime.evaluate",
                    expression="new Promise(requestAnimationFrame)",
                    awaitPromise=True,
                )
        return value

    async def picture(self, scheme: str) -> bytes:
        """Return a screenshot as PNG, in the "light" or "dark" scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@contextlib.asynccontextmanager
async def browser() -> AsyncGenerator[Tab]:
    """Run the browser with one empty page."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank",
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_SECONDS):
                assert process.stderr is not None
                while b"DevTools listening on" not in (line := await process.stderr.readline()):
                    assert line, "the browser ended"
            port = line.decode().split(":")[2].split("/")[0]
            async with aiohttp.ClientSession() as http:
                async with http.get(f"http://127.0.0.1:{port}/json/list") as listed:
                    pages = await listed.json()
                address = next(each for each in pages if each["type"] == "page")
                async with http.ws_connect(
                    address["webSocketDebuggerUrl"], max_msg_size=0
                ) as socket:
                    yield Tab(socket)
        finally:
            process.terminate()
            await process.communicate()
