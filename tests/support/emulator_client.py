"""A client of the emulator that shares nothing with chatmark."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator import Emulator, EmulatorThread

PATH = "v4/recentcontact/"
BOB = {"Type": 1, "To_Account": "bob"}
RED = {"Type": 2, "ToGroupId": "@TGS#red"}
OK = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
DONE = {**OK, "ErrorDisplay": ""}


def item(**fields: Any) -> dict[str, Any]:
    """Return an item of mark_contact, with *fields* replaced; an ellipsis leaves one out."""
    return whole({"OptType": 1, "ContactItem": BOB, "SetMark": [0], **fields})


def whole(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave the fields out whose value is an ellipsis."""
    return {name: value for name, value in fields.items() if value is not ...}


def valid_query(emulator: Emulator | EmulatorThread, random: int) -> dict[str, str]:
    """Return a valid query."""
    settings = emulator.settings
    signer = TLSSigAPIv2(settings.sdkappid, settings.secret_key)
    return {
        "sdkappid": str(settings.sdkappid),
        "identifier": "administrator",
        "usersig": signer.gen_sig("administrator", 86400),
        "random": str(random),
        "contenttype": "json",
    }


class Client:
    """Sends valid and other requests."""

    def __init__(self, emulator: Emulator, http: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.http = http
        self.random = 0

    def post(
        self, path: str, body: bytes | io.BytesIO, method: str = "POST", **query: str
    ) -> "aiohttp.client._RequestContextManager":
        """Send raw bytes to any path."""
        self.random += 1
        params = valid_query(self.emulator, self.random) | query
        url = f"{self.emulator.url}/{path}"
        return self.http.request(method, url, params=params, data=body, allow_redirects=False)

    async def send(
        self, path: str, body: bytes | io.BytesIO, method: str = "POST", **query: str
    ) -> Any:
        """Send raw bytes to any path and return the answer."""
        async with self.post(path, body, method, **query) as response:
            assert response.status == 200
            return json.loads(await response.read())

    async def ask(self, command: str, body: object, **query: str) -> Any:
        """Call a command and return the answer."""
        return await self.send(f"{PATH}{command}", json.dumps(body).encode(), **query)

    async def mark(self, *items: dict[str, Any], account: str = "alice") -> Any:
        """Call mark_contact and return the answer."""
        return await self.ask("mark_contact", {"From_Account": account, "MarkItem": items})


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until *condition* holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
