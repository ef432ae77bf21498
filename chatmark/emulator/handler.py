"""Handle one request: query, rate, body, fault, effect, answer."""

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from chatmark.emulator.calls import Call, CallBook
from chatmark.emulator.delivery.reply import Reply
from chatmark.emulator.delivery.send import deliver
from chatmark.emulator.faults.fault import NO_FAULT, Delay, Fault, Later
from chatmark.emulator.faults.lines import shuffled
from chatmark.emulator.faults.script import FaultScript
from chatmark.emulator.rate import RateLimit
from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire.answers import (
    Answer,
    Line,
    entry_lines,
    envelope,
    mark_answer,
    page_answer,
    result_line,
    search_answer,
    to_json,
)
from chatmark.emulator.wire.refusals import Refusal, advice
from chatmark.emulator.wire.requests import (
    MarkRequest,
    PageRequest,
    SearchRequest,
    read_mark_request,
    read_page_request,
    read_search_request,
)
from chatmark.emulator.wire.signature import QueryCheck

_PREFIX: Final = "/v4/recentcontact/"
_COMMANDS: Final = frozenset({"mark_contact", "get_contact_group", "search_contact_group"})

_Asked = MarkRequest | PageRequest | SearchRequest


class ChatApp:
    """The three calls over HTTP."""

    def __init__(
        self,
        settings: Settings,
        state: ChatState,
        script: FaultScript,
        rate: RateLimit,
        book: CallBook,
    ) -> None:
        round_trip = settings.round_trip
        self._settings = settings
        self._state = state
        self._script = script
        self._query_check = QueryCheck(settings)
        self._rate = rate
        self._book = book
        self._round_trip = round_trip if callable(round_trip) else lambda: round_trip
        self._sleep = settings.sleep
        self._late: set[asyncio.Task[Answer | None]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer *request*, unless the script orders silence."""
        call = self._book.begin(request.path.removeprefix(_PREFIX))
        try:
            try:
                asked = await self._read(request, call)
                reply = await self._reply(asked, call)
            except Refusal as refusal:
                if refusal.violation:
                    self._book.violation(call, refusal.violation)
                body = to_json(envelope(refusal.code, refusal.info))
                reply = Reply(body=body, code=refusal.code)
            call.code = reply.code
            return await deliver(request, reply, self._sleep, lambda: self._book.end(call))
        finally:
            self._book.end(call)

    def forget_late(self) -> None:
        """Cancel the effects that are still delayed."""
        for task in self._late:
            task.cancel()

    async def _read(self, request: web.BaseRequest, call: Call) -> _Asked:
        """Check the query, the rate and the body of *request*, and return its content."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(93000) from None
        if not request.path.startswith(_PREFIX) or call.command not in _COMMANDS:
            raise Refusal(60009)
        if request.method != "POST":
            raise Refusal(60002, f"{request.method}: must be POST")
        self._book.admit(call, self._query_check.admit(request.query.items()))
        self._rate.admit(call.command)
        asked = self._parse(call.command, body)
        self._book.claim(call, asked.from_account, asked.conversations)
        if not self._state.knows_user(asked.from_account):
            raise Refusal(50001, "From_Account: " + advice(50001))
        return asked

    def _parse(self, command: str, body: bytes) -> _Asked:
        if command == "mark_contact":
            return read_mark_request(body, max_items=self._settings.max_items)
        if command == "get_contact_group":
            return read_page_request(body)
        return read_search_request(body, max_contacts=self._settings.max_contacts)

    async def _reply(self, asked: _Asked, call: Call) -> Reply:
        """Apply the request as far as the script lets it take effect, and return the reply."""
        call.fault = self._script.take(call.command, asked.from_account)
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
            answer = await self._effect_late(asked, last, seconds)
            seconds = 0.0
        else:
            answer = self._effect(asked, last)
        seconds += self._round_trip()
        if seconds > 0:
            await self._sleep(seconds)
        return last.reply(answer)

    async def _effect_late(self, asked: _Asked, fault: Fault, seconds: float) -> Answer | None:
        # The request takes effect even if the client disconnects.
        return await asyncio.shield(self._effect_after(asked, fault, seconds))

    def _effect_after(
        self, asked: _Asked, fault: Fault, seconds: float
    ) -> "asyncio.Task[Answer | None]":
        async def late() -> Answer | None:
            await self._sleep(seconds)
            return self._effect(asked, fault)

        task = asyncio.ensure_future(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return task

    def _effect(self, asked: _Asked, fault: Fault) -> Answer | None:
        if not fault.applied:
            return None
        if isinstance(asked, MarkRequest):
            return mark_answer(self._changed(list(self._mark(asked, fault)), asked, fault))
        if isinstance(asked, PageRequest):
            page = self._state.page(asked.from_account, asked.start_index)
            return page_answer(page, self._changed(entry_lines(page.entries), asked, fault))
        entries = self._state.search(asked.from_account, asked.conversations)
        names = self._state.contact_group_names(asked.from_account, entries)
        return search_answer(names, self._changed(entry_lines(entries), asked, fault))

    def _mark(self, asked: MarkRequest, fault: Fault) -> Iterator[Line]:
        account = asked.from_account
        skipped = fault.skipped(asked.conversations)
        scripted = self._script.concerns_items
        for item in asked.items:
            code, info = 0, ""
            if scripted:
                code = self._script.take_item(account, item.conversation)
                info = advice(code) if code else ""
            if not code and item.conversation not in skipped:
                code, info = self._state.apply(
                    account, item.conversation, item.set_bits, item.clear_bits, item.custom_mark
                )
            yield result_line(item.opt_type, item.conversation, code, info)

    def _changed(self, lines: list[Line], asked: _Asked, fault: Fault) -> list[Line]:
        rng = self._script.line_rng
        lines = fault.lines(lines, asked.conversations, rng)
        return shuffled(lines, rng) if self._script.shuffle_lines else lines
