"""Handle one request: query, rate, body, fault, effect, and the bytes of the answer."""

import asyncio
import base64
import functools
import hmac
import json
import re
import socket
import struct
import zlib
from collections.abc import Callable, Collection
from typing import Final

import attrs
from aiohttp import web
from aiohttp.web import BaseRequest, StreamResponse

from chatmark.emulator.calls import SHOWN_BYTES, Call, CallBook
from chatmark.emulator.commands import COMMANDS, Steps, take_effect
from chatmark.emulator.faults import Delay, Fault, Later, Reply, shuffled
from chatmark.emulator.script import FaultScript
from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire import (
    OWN_RULE,
    Answer,
    Fields,
    Key,
    Refusal,
    Result,
    advice,
    envelope,
    parse,
    require,
)

_NAMES: Final = frozenset({"sdkappid", "identifier", "usersig", "random", "contenttype"})
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_RANDOM: Final = 2**32 - 1
_MAX_TICKET_BYTES: Final = 8192
_KEPT_TICKETS: Final = 64
_MAX_NOTES: Final = 5
_FROM_URL: Final = str.maketrans("*-_", "+/=")
_SIGNED: Final = ("TLS.identifier", "TLS.sdkappid", "TLS.time", "TLS.expire", "TLS.userbuf")
# The types of these fields; userbuf may be absent.
_TYPES: Final = ([str, int, int, int, str], [str, int, int, int, type(None)])
_CHUNK: Final = b" " * 65536
# A linger time of zero turns a close into a reset.
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_NO_FAULT: Final = Fault()

_Effect = asyncio.Task[Answer | None]


def check_query(
    query: Collection[tuple[str, str]], its: Settings, note: Callable[[str], object] = str
) -> int:
    """
    Return the ``random`` of a valid query, and refuse others; *note* unknown parameters.

    The query is that of https://www.tencentcloud.com/document/product/1047/34620.
    """
    values = dict(query)
    require(values.get("sdkappid"), 60012)
    for name in sorted(_NAMES - values.keys()):
        raise Refusal(60025, f"{name}: missing")
    is_single = its.lenient or len(values) == len(query)
    require(is_single, 60025, "a query parameter is given twice" + OWN_RULE)
    require(values["sdkappid"] == str(its.sdkappid), 60006)
    require(values["identifier"], 60025, "identifier: empty")
    require(values["contenttype"] == "json", 60025, "contenttype: must be json")
    random = values["random"]
    is_random = _DECIMAL.fullmatch(random) and int(random) <= _MAX_RANDOM
    require(is_random, 60025, f"random: must be an integer from 0 to {_MAX_RANDOM}")
    require(values["usersig"], 70002)
    identifier, sdkappid, expires = verify(values["usersig"], its.secret_key)
    require(identifier == values["identifier"], 70013)
    require(sdkappid == its.sdkappid, 70014)
    require(its.clock() <= expires, 70001)
    require(identifier in its.admins, 60010)
    for name in sorted(values.keys() - _NAMES)[:_MAX_NOTES]:
        note(f"unknown query parameter {name[:40]!r}")
    return int(random)


# A client uses a UserSig for thousands of calls, so the emulator unpacks it once.
@functools.lru_cache(_KEPT_TICKETS)
def verify(usersig: str, secret_key: str) -> tuple[str, int, int]:
    """
    Return the identifier, the SDKAppID and the expiry of a genuine UserSig.

    The scheme is that of https://www.tencentcloud.com/document/product/1047/34385.
    """
    unpacker = zlib.decompressobj()
    try:
        packed = base64.b64decode(usersig.translate(_FROM_URL), validate=True)
        content = json.loads(unpacker.decompress(packed, _MAX_TICKET_BYTES).decode())
        values = [content.get(name) for name in _SIGNED]
        fields = zip(_SIGNED, values, strict=True)
        text = "".join([f"{name}:{value}\n" for name, value in fields if value is not None])
        signed = text.encode()
    except (AttributeError, ValueError, RecursionError, zlib.error):
        raise Refusal(70003) from None
    is_whole = unpacker.eof and not any(character in usersig for character in "+/=")
    is_known = content.get("TLS.ver") == "2.0" and [type(value) for value in values] in _TYPES
    require(is_whole and is_known, 70003)
    expected = base64.b64encode(hmac.digest(secret_key.encode(), signed, "sha256"))
    given = str(content.get("TLS.sig")).encode(errors="replace")
    require(hmac.compare_digest(expected, given), 70009)
    identifier, sdkappid, made, lasts, _ = values
    return identifier, sdkappid, made + lasts


@attrs.define(eq=False)
class ChatApp:
    """The calls over HTTP."""

    _settings: Settings
    _state: ChatState
    _script: FaultScript
    _book: CallBook
    _late: set[_Effect] = attrs.field(init=False, factory=set[_Effect])
    _round_trip: Callable[[], float] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        seconds = self._settings.round_trip
        self._round_trip = seconds if callable(seconds) else lambda: seconds

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer *request*, unless the script orders silence."""
        known = request.path in COMMANDS
        name = request.path.rpartition("/")[2] if known else request.path
        call = self._book.begin(name, known=known)
        try:
            try:
                reply = await self._reply(await self._read(request, call), call)
            except Refusal as refusal:
                if refusal.violation:
                    self._book.violation(call, refusal.violation)
                reply = Reply.of(envelope(refusal.code, refusal.info))
            if self._settings.request_ids and reply.code is not None:
                # In the form of a sibling of Chat.
                id_ = f',"RequestId":"Id-{call.sequence:032x}-O-Seq-{call.sequence}"}}'
                reply = attrs.evolve(reply, body=reply.body[:-1] + id_.encode())
            call.code = reply.code
            call.answer = reply.body[:SHOWN_BYTES] if call.random is not None else b""
            return await self._deliver(request, reply, call)
        finally:
            self._book.end(call)

    def forget_late(self) -> None:
        """Cancel the effects that are still delayed."""
        for task in self._late:
            task.cancel()

    async def _read(self, request: BaseRequest, call: Call) -> Steps:
        """Check the query, the rate and the body of *request*, and return what is left of it."""
        command = COMMANDS.get(request.path)
        if command is None:
            raise Refusal(60009)
        require(request.method == "POST", 60002, f"{request.method}: must be POST")
        random = check_query(request.query.items(), self._settings, call.notes.append)
        body = await self._body(request)
        self._book.admit(call, random, body)
        fields = Fields(parse(body), command.known, lenient=self._settings.lenient)
        steps = command.call(fields, self._settings)
        account, conversations = next(steps)
        if account:
            self._book.claim(call, account, conversations, changes=command.changes)
            is_known = self._state.knows_user(account)
            require(is_known, 50001, f"From_Account: {advice(50001)}")
        return steps

    async def _body(self, request: BaseRequest) -> bytes:
        """Return the body, which must arrive in time."""
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(93000) from None
        except web.RequestPayloadError:
            raise Refusal(60002) from None
        except TimeoutError:
            raise Refusal(60008, "the body did not arrive in time") from None

    async def _reply(self, steps: Steps, call: Call) -> Reply:
        """Apply the request as far as the script lets it take effect, and return the reply."""
        call.fault = self._script.take(call.command, call.account or "")
        fault, seconds, is_late = call.fault or _NO_FAULT, 0.0, False
        while isinstance(fault, Delay):
            seconds += fault.seconds
            is_late = is_late or fault.late
            fault = fault.then or _NO_FAULT
        if isinstance(fault, Later):
            self._effect_after(steps, call, _NO_FAULT, fault.seconds)
            return fault.then.reply(None)
        if is_late:
            # The request takes effect even if the client disconnects.
            answer = await asyncio.shield(self._effect_after(steps, call, fault, seconds))
            seconds = 0.0
        else:
            answer = self._effect(steps, call, fault)
        seconds += self._round_trip()
        if seconds > 0:
            await self._settings.sleep(seconds)
        return fault.reply(answer)

    def _effect_after(self, steps: Steps, call: Call, fault: Fault, seconds: float) -> _Effect:
        async def late() -> Answer | None:
            await self._settings.sleep(seconds)
            return self._effect(steps, call, fault)

        task = asyncio.ensure_future(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return task

    def _effect(self, steps: Steps, call: Call, fault: Fault) -> Answer | None:
        if not fault.applied:
            return None
        account, skipped = call.account or "", fault.skipped(call.conversations)

        def attempt(apply: Callable[..., Result], key: Key, *change: object) -> Result:
            if code := self._script.take_item(account, key):
                return code, advice(code)
            return (0, "") if key in skipped else apply(account, key, *change)

        try:
            lines, answer = take_effect(steps, self._state, attempt)
        except Refusal as refusal:
            return envelope(refusal.code, refusal.info)
        rng = self._script.line_rng
        lines[:] = fault.lines(lines, call.conversations, rng)
        if self._script.shuffle_lines:
            lines[:] = shuffled(lines, rng)
        return answer

    async def _deliver(self, request: BaseRequest, reply: Reply, call: Call) -> StreamResponse:
        headers = {"Content-Type": reply.content_type, **reply.headers}
        is_special = reply.missing or reply.pause or reply.filler or reply.ending != "keep"
        if reply.status is not None and not is_special:
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        response = StreamResponse(headers=headers)
        try:
            if reply.status is not None:
                response.set_status(reply.status)
                await self._stream(request, response, reply)
        except ConnectionError:
            await _until_gone()
        if reply.ending == "keep":
            return response
        if reply.ending != "hang":
            # The client of a dropped connection may be back before the handler has ended.
            self._book.end(call)
            _drop(request.transport, reset=reply.ending == "reset")
        await _until_gone()
        return response

    async def _stream(self, request: BaseRequest, response: StreamResponse, reply: Reply) -> None:
        if not reply.filler:
            response.content_length = len(reply.body) + reply.missing
        await response.prepare(request)
        for start in range(0, reply.filler, len(_CHUNK)):
            await response.write(_CHUNK[: reply.filler - start])
        if reply.pause:
            for byte in reply.body:
                # No wait after the last byte: the client may send its next request at once.
                await self._settings.sleep(reply.pause)
                await response.write(bytes([byte]))
        elif reply.body:
            await response.write(reply.body)
        if not reply.missing:
            await response.write_eof()


def _drop(transport: asyncio.Transport | None, *, reset: bool) -> None:
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if reset and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort() if reset else transport.close()


async def _until_gone() -> None:
    """Wait until aiohttp cancels the handler, because the connection is gone."""
    await asyncio.get_running_loop().create_future()
