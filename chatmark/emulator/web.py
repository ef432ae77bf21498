"""The page of the emulator, its live events, and its buttons."""

import asyncio
import ipaddress
import json
import secrets
from collections.abc import Callable
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

import attrs
from aiohttp import web

from chatmark.emulator import faults
from chatmark.emulator.calls import CallBook
from chatmark.emulator.script import FaultScript
from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState

_SECONDS_BETWEEN_EVENTS: Final = 0.4
_MOST_USERS: Final = 100
_MOST_CONVERSATIONS: Final = 100
_MOST_VIOLATIONS: Final = 20
_MAX_BODY: Final = 1000
_MARKS: Final = {0: "favorite", 1: "unread", 2: "collapsed", 3: "hidden"}

SWITCHES: Final[dict[str, faults.Fault]] = {
    "Drop the connection before the request takes effect": faults.ResetBefore(),
    "Drop the connection after it took effect": faults.ResetAfter(),
    "Never answer": faults.Hang(),
    "Answer after 2 s": faults.Delay(2.0),
    "Cut the answer": faults.CutBody(),
    "502 with a page of HTML": faults.Status(502, html=True),
    "200 with a page of HTML": faults.Html(),
    "60007, too many calls": faults.Refuse(60007),
    "60008, try again": faults.Refuse(60008),
    "70001, UserSig expired": faults.Refuse(70001),
    "Leave out the first line": faults.DropLines(),
    "Lines in another order": faults.Shuffle(),
}
"""The faults of the page, by their titles."""


@attrs.frozen(eq=False)
class Page:
    """
    Shows an emulator, and lets its user switch faults and reset it.

    A page of another site must neither read nor change anything: a request needs a Host that no
    other site can have, and an Origin, if it has one, of the same host.
    """

    _settings: Settings
    _state: ChatState
    _script: FaultScript
    _book: CallBook
    _reset: Callable[[], object]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """Answer *request*, or return None if it is for the API."""
        asked = f"{request.method} {request.path}"
        if asked != "GET /" and not request.path.startswith("/_emulator/"):
            return None
        if not self._is_trusted(request):
            return web.Response(status=403, text="refused: open the page by the printed address\n")
        answer: web.StreamResponse
        match asked:
            case "GET /":
                answer = _whole()
            case "GET /_emulator/events":
                answer = await self._events(request)
            case "GET /_emulator/state":
                answer = web.json_response(self.overview())
            case "POST /_emulator/faults":
                answer = await self._switch(request)
            case "POST /_emulator/reset":
                self._reset()
                answer = web.json_response({})
            case _:
                answer = web.Response(status=404, text="there is no such page\n")
        return answer

    def overview(self) -> dict[str, object]:
        """Return what the page shows."""
        its, state = self._settings, self._state
        users = list(state.accounts)
        shown = [self._user(user) for user in users[: -_MOST_USERS - 1 : -1]]
        return {
            "application": f"{its.sdkappid}, {', '.join(its.admins)}",
            "users": shown,
            "more_users": len(users) - len(shown),
            "calls": [
                attrs.asdict(call, recurse=False, value_serializer=_to_json)
                for call in reversed(self._book.shown)
            ],
            "counts": dict(sorted(self._book.counts.items())),
            "violations": self._book.violations[: -_MOST_VIOLATIONS - 1 : -1],
            "violation_count": len(self._book.violations),
            "faults": {title: title in self._script.switched for title in SWITCHES},
            "pending": self._script.pending,
        }

    def _user(self, user: str) -> dict[str, object]:
        titles = _MARKS | dict(self._settings.mark_names)
        account = self._state.account(user)
        names, entries = dict(account.contact_groups), account.in_order()[::-1]
        conversations = [
            {
                "type": entry.conversation[0],
                "id": entry.conversation[1],
                "marks": [
                    titles.get(bit, f"bit {bit}") for bit in range(64) if entry.bits >> bit & 1
                ],
                "custom": entry.custom_mark,
                "groups": [names.get(id_, str(id_)) for id_ in entry.contact_group_ids],
                "time": entry.timestamp,
            }
            for entry in entries[:_MOST_CONVERSATIONS]
        ]
        return {
            "id": user,
            "count": len(entries),
            "conversations": conversations,
            "groups": {
                name: sum(id_ in entry.contact_group_ids for entry in entries)
                for id_, name in names.items()
            },
        }

    def _is_trusted(self, request: web.BaseRequest) -> bool:
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            same = origin is None or urlsplit(origin).netloc == host
            is_own = name in ("localhost", self._settings.name)
            return same and (is_own or bool(ipaddress.ip_address(name)))
        except ValueError:
            return False

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the state whenever it has changed, until the connection ends."""
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        sent = ""
        while True:
            state = json.dumps(self.overview())
            if state != sent:
                # This waits for a reader that does not read, so that no events pile up for it.
                await response.write(f"data: {state}\n\n".encode())
                sent = state
            await asyncio.sleep(_SECONDS_BETWEEN_EVENTS)

    async def _switch(self, request: web.BaseRequest) -> web.Response:
        try:
            asked = json.loads((await request.content.read(_MAX_BODY)).decode())
            title, fault, is_on = asked["fault"], SWITCHES[asked["fault"]], asked.get("on") is True
        except (ValueError, TypeError, LookupError):
            return web.Response(status=400, text="name one of the faults of the page\n")
        self._script.switch(title, fault if is_on else None)
        return web.json_response({})


def _whole() -> web.Response:
    text = resources.files("chatmark.emulator").joinpath("page.html").read_text("utf-8")
    nonce = secrets.token_urlsafe()
    own = f"'nonce-{nonce}'"
    policy = f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'"
    headers = {
        "Content-Security-Policy": f"{policy}; img-src data:; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    text = text.replace("NONCE", nonce)
    return web.Response(text=text, content_type="text/html", headers=headers)


def _to_json(_: object, __: object, value: object) -> object:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return repr(value) if isinstance(value, faults.Fault) else value
