"""Handle one request: query, rate, body, fault, effect, answer."""

import asyncio
from collections.abc import Callable

import attrs
from aiohttp import web

from chatmark.emulator.calls import SHOWN_BYTES, Call, CallBook
from chatmark.emulator.commands import COMMANDS, SERVICES, Command
from chatmark.emulator.delivery import Reply, deliver
from chatmark.emulator.faults.fault import NO_FAULT, Delay, Fault, Later
from chatmark.emulator.faults.lines import shuffled
from chatmark.emulator.faults.script import FaultScript
from chatmark.emulator.rate import RateLimit
from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire.answers import Answer, envelope, to_json
from chatmark.emulator.wire.fields import Key
from chatmark.emulator.wire.refusals import Refusal, advice
from chatmark.emulator.wire.requests import Request
from chatmark.emulator.wire.signature import QueryCheck

_Asked = tuple[Command, Request]


@attrs.define(eq=False)
class ChatApp:
    """The calls over HTTP."""

    _settings: Settings
    _state: ChatState
    _script: FaultScript
    _rate: RateLimit
    _book: CallBook
    _query_check: QueryCheck = attrs.field(init=False)
    _round_trip: Callable[[], float] = attrs.field(init=False)
    _late: set["asyncio.Task[Answer | None]"] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        round_trip = self._settings.round_trip
        self._query_check = QueryCheck(self._settings)
        self._round_trip = round_trip if callable(round_trip) else lambda: round_trip

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer *request*, unless the script orders silence."""
        known = request.path in COMMANDS
        name = request.path.rpartition("/")[2] if known else request.path
        call = self._book.begin(name, known=known)
        try:
            try:
                asked = await self._read(request, call)
                reply = await self._reply(asked, call)
            except Refusal as refusal:
                if refusal.violation:
                    self._book.violation(call, refusal.violation)
                body = to_json(envelope(refusal.code, refusal.info))
                reply = Reply(body=body, code=refusal.code)
            if self._settings.request_ids and reply.is_plain and reply.code is not None:
                # In the form of a sibling of Chat.
                id_ = f',"RequestId":"Id-{call.sequence:032x}-O-Seq-{call.sequence}"}}'
                reply = attrs.evolve(reply, body=reply.body[:-1] + id_.encode())
            call.code = reply.code
            call.answer = reply.body[:SHOWN_BYTES] if call.random is not None else b""
            return await deliver(request, reply, self._settings.sleep, lambda: self._book.end(call))
        finally:
            self._book.end(call)

    def forget_late(self) -> None:
        """Cancel the effects that are still delayed."""
        for task in self._late:
            task.cancel()

    async def _read(self, request: web.BaseRequest, call: Call) -> _Asked:
        """Check the query, the rate and the body of *request*, and return its content."""
        command = COMMANDS.get(request.path)
        if command is None:
            service = request.path.removeprefix("/v4/").partition("/")[0]
            known = request.path.startswith("/v4/") and service in SERVICES
            raise Refusal(60009, "the emulator does not have this call of Chat" if known else "")
        if request.method != "POST":
            raise Refusal(60002, f"{request.method}: must be POST")
        random = self._query_check.admit(request.query.items(), call.notes.append)
        body = await self._body(request)
        self._book.admit(call, random, body)
        self._rate.admit(call.command)
        asked = command.read(body, self._settings)
        if not asked.from_account:
            return command, asked
        self._book.claim(call, asked.from_account, asked.conversations, changes=command.changes)
        if not self._state.knows_user(asked.from_account):
            raise Refusal(50001, "From_Account: " + advice(50001))
        return command, asked

    async def _body(self, request: web.BaseRequest) -> bytes:
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

    async def _reply(self, asked: _Asked, call: Call) -> Reply:
        """Apply the request as far as the script lets it take effect, and return the reply."""
        call.fault = self._script.take(call.command, asked[1].from_account)
        delays: list[Delay] = []
        fault = call.fault
        while isinstance(fault, Delay):
            delays.append(fault)
            fault = fault.then
        last = fault or NO_FAULT
        if isinstance(last, Later):
            self._effect_after(asked, NO_FAULT, last.seconds)
            return last.then.reply(None)
        seconds = sum(delay.seconds for delay in delays)
        if any(delay.late for delay in delays):
            # The request takes effect even if the client disconnects.
            answer = await asyncio.shield(self._effect_after(asked, last, seconds))
            seconds = 0.0
        else:
            answer = self._effect(asked, last)
        seconds += self._round_trip()
        if seconds > 0:
            await self._settings.sleep(seconds)
        return last.reply(answer)

    def _effect_after(
        self, asked: _Asked, fault: Fault, seconds: float
    ) -> "asyncio.Task[Answer | None]":
        async def late() -> Answer | None:
            await self._settings.sleep(seconds)
            return self._effect(asked, fault)

        task = asyncio.ensure_future(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return task

    def _effect(self, asked: _Asked, fault: Fault) -> Answer | None:
        if not fault.applied:
            return None
        command, request = asked
        skipped = fault.skipped(request.conversations)
        take_item = self._script.take_item if self._script.concerns_items else None

        def attempt(
            key: Key, apply: Callable[..., tuple[int, str]], *args: object
        ) -> tuple[int, str]:
            code = take_item(request.from_account, key) if take_item else 0
            if code:
                return code, advice(code)
            return (0, "") if key in skipped else apply(*args)

        try:
            lines, answer = command.apply(self._state, request, attempt)
        except Refusal as refusal:
            return envelope(refusal.code, refusal.info)
        rng = self._script.line_rng
        lines = fault.lines(lines, request.conversations, rng)
        return answer(shuffled(lines, rng) if self._script.shuffle_lines else lines)
