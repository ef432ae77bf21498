"""
A server in memory: a `Transport` that answers from the emulator's `ChatState` by a script.

It reads and writes JSON by itself, so that nothing of the client's wire layer is trusted, and keeps
a record of each request: what it held, when it took effect, and what the client was told. A request
without an answer may still take effect, up to three seconds later and behind the next request of
its user, as with a real server.
"""

import asyncio
import collections
import enum
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from chatmark.emulator import ChatState
from chatmark.failures import AttemptTimeoutError, TransportError
from chatmark.wire.messages import HttpAnswer, NoAnswer, Reply

Key = tuple[int, str]

# Claims that may be wrong: the server can have done what it says it has not, or says nothing of.
_DOUBTFUL: Final = frozenset({None, 50004, 50005, 60008})
_QUERY: Final = frozenset({"sdkappid", "identifier", "usersig", "random", "contenttype"})


class Effect(enum.Enum):
    """When a request takes effect."""

    NOW = "at its arrival"
    LATE = "some time after the client has gone"
    NEVER = "never"


@attrs.frozen(repr=False)
class Plan:
    """
    How one request fares.

    Args:
        travel: Seconds until it arrives.
        delay: Seconds from its arrival to the answer.
        late: Seconds from the client's having no answer to a late effect, less than 3.
        effect: When it takes effect.
        codes: What the lines of the items say, over and over; 0 lets the state decide, None leaves
            a line out.
        lying: Whether an item takes effect although its line is missing or claims a fault.
        second: The code of a second line for the first conversation, None for no such line.
        extra: Whether there are lines for conversations that nobody named.
        turned: Whether the lines come in the reverse order.
        code: ErrorCode.
        bare: Whether there are no lines at all.
        status: The HTTP status; any but 200 has no body.
        retry_after: The header of that name.
        action_status: ActionStatus, None for the one that goes with *code*.
        body: What comes in place of an answer.
        lost: Whether the connection is lost in place of an answer.
        silent: Whether nothing comes until the client's time is up.
    """

    travel: float = 0.0
    delay: float = 0.0
    late: float = 0.0
    effect: Effect = Effect.NOW
    codes: tuple[int | None, ...] = (0,)
    lying: bool = False
    second: int | None = None
    extra: bool = False
    turned: bool = False
    code: int = 0
    bare: bool = False
    status: int = 200
    retry_after: str | None = None
    action_status: str | None = None
    body: bytes | None = None
    lost: bool = False
    silent: bool = False

    def __repr__(self) -> str:
        fields = ((each.name, each.default) for each in attrs.fields(Plan))
        said = [f"{k}={getattr(self, k)!r}" for k, usual in fields if getattr(self, k) != usual]
        return f"Plan({', '.join(said)})"


@attrs.frozen
class Item:
    """One item of a request: masks of bits, and the custom mark or None."""

    set_bits: int
    clear_bits: int
    custom_mark: str | None


@attrs.define(eq=False)
class Request:
    """
    One request and what became of it.

    Args:
        number: Its number, from 0.
        account: From_Account.
        items: What it asks for, by conversation.
        plan: How it fares.
        sent_at: When the client sent it.
        arrived_at: When it arrived, None if it has not.
        ended_at: When the client had its answer, or no answer; None before, and when it was
            cancelled.
        whole: What the client was told of the call as a whole: 0, an ErrorCode, or in words why
            there is no answer that could be read.
        lines: The codes of the lines of each conversation.
    """

    number: int
    account: str
    items: dict[Key, Item]
    plan: Plan
    sent_at: float
    arrived_at: float | None = None
    ended_at: float | None = None
    whole: int | str = "nothing yet"
    lines: dict[Key, list[int]] = attrs.field(factory=dict)


class ScriptedServer:
    """
    Answers requests of mark_contact, each by the next plan of the script.

    Args:
        state: What the server knows.
        timeout: Seconds after which the client gives an attempt up.
        max_items: Most items of one request (51006 beyond).

    Attributes:
        script: The plans of the requests to come; when there are none, `mood` is the plan.
        requests: All requests.
        violations: What the client did that a correct client never does, in words.
        most_at_once: The most requests that were in flight at once.
        on_request: Called when a request is sent.
        on_effect: Called when an item of a request has taken effect.
        on_answer: Called before the client gets its answer, or no answer.
    """

    def __init__(self, state: ChatState, *, timeout: float = 10.0, max_items: int = 100) -> None:
        self.state = state
        self.script: collections.deque[Plan] = collections.deque()
        self.mood = Plan()
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.most_at_once = 0
        self.closed = False
        self.on_request: Callable[[Request], None] = lambda _: None
        self.on_effect: Callable[[Request, Key], None] = lambda _, __: None
        self.on_answer: Callable[[Request], None] = lambda _: None
        self._timeout = timeout
        self._max_items = max_items
        self._active: dict[str, Request] = {}
        self._late: set[Request] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._randoms: set[str] = set()

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Answer a request as the next plan says."""
        loop = asyncio.get_running_loop()
        plan = self.script.popleft() if self.script else self.mood
        account, items = self._read(path, query, body)
        request = Request(len(self.requests), account, items, plan, loop.time())
        self.requests.append(request)
        if account in self._active:
            self._violation(request, "the user has a request in flight already")
        self._active[account] = request
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.on_request(request)
        gone = True
        try:
            await asyncio.sleep(plan.travel)
            self._arrive(request)
            seconds = self._timeout if plan.silent else plan.delay
            await asyncio.sleep(min(seconds, self._timeout - plan.travel))
            timed_out = plan.travel + seconds >= self._timeout
            reply = self._reply(request, timed_out=timed_out)
            request.ended_at = loop.time()
            gone = isinstance(reply, NoAnswer) or reply.status != 200 or plan.body is not None
            self.on_answer(request)
            return reply
        finally:
            del self._active[account]
            if gone and self._has_effect_to_come(request):
                self._late.add(request)
                self._timers.append(loop.call_later(plan.late, self._land, request))

    async def aclose(self) -> None:
        """Take note that the client has closed it."""
        self.closed = True

    def land_all(self) -> None:
        """Let everything take effect that was still under way."""
        for request in list(self._late):
            self._land(request)
        for timer in self._timers:
            timer.cancel()

    @property
    def at_once(self) -> int:
        """How many requests are in flight."""
        return len(self._active)

    def _violation(self, request: Request, text: str) -> None:
        self.violations.append(f"request {request.number} of {request.account}: {text}")

    # Its way in.

    def _read(
        self, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[str, dict[Key, Item]]:
        """Read a request by hand; what a correct client never sends is a violation."""
        document = json.loads(body.decode())
        account = document["From_Account"]
        rows = document["MarkItem"]
        items = {_key(row["ContactItem"]): _item(row) for row in rows}
        where = f"request {len(self.requests)} of {account}"
        complaints = {
            f"goes to {path}": not path.endswith("mark_contact"),
            f"has the query {sorted(query)}": query.keys() != _QUERY,
            "repeats a random": query["random"] in self._randoms,
            f"has {len(rows)} items": not 1 <= len(rows) <= 100,
            "names a conversation twice": len(items) < len(rows),
            "has an item with the wrong OptType": any(
                row["OptType"] != _opt_type(_item(row)) for row in rows
            ),
            "sets and clears a bit": any(i.set_bits & i.clear_bits for i in items.values()),
        }
        self._randoms.add(query["random"])
        self.violations += [f"{where} {text}" for text, is_true in complaints.items() if is_true]
        return account, items

    def _arrive(self, request: Request) -> None:
        request.arrived_at = asyncio.get_running_loop().time()
        if request.plan.effect is Effect.NOW:
            self._take_effect(request)

    def _has_effect_to_come(self, request: Request) -> bool:
        if request.arrived_at is None:
            return request.plan.effect is not Effect.NEVER
        return request.plan.effect is Effect.LATE

    def _land(self, request: Request) -> None:
        if request in self._late:
            self._late.remove(request)
            self._take_effect(request)

    def _take_effect(self, request: Request) -> None:
        if len(request.items) > self._max_items:
            return
        for (key, item), code in self._coded(request):
            said = code
            if code == 0 or (request.plan.lying and code in _DOUBTFUL):
                done, _ = self.state.apply(
                    request.account, key, item.set_bits, item.clear_bits, item.custom_mark
                )
                said = done or code
                if not done:
                    self.on_effect(request, key)
            if said is not None:
                request.lines[key] = [said]

    @staticmethod
    def _coded(request: Request) -> Iterable[tuple[tuple[Key, Item], int | None]]:
        return zip(request.items.items(), itertools.cycle(request.plan.codes), strict=False)

    # Its way back.

    def _reply(self, request: Request, *, timed_out: bool) -> Reply:
        plan = request.plan
        if timed_out:
            request.whole = "timeout"
            return NoAnswer(AttemptTimeoutError("no answer in time"), "timeout")
        if plan.lost:
            request.whole = "lost"
            return NoAnswer(TransportError("lost"), "dropped", dropped=True)
        if plan.status != 200:
            request.whole = f"HTTP {plan.status}"
            return HttpAnswer(plan.status, b"", plan.retry_after)
        if plan.body is not None:
            request.whole = "unreadable"
            return HttpAnswer(200, plan.body)
        code = 51006 if len(request.items) > self._max_items else plan.code
        request.whole = code if plan.action_status is None else "FAIL"
        if plan.effect is Effect.NEVER:
            coded = self._coded(request)
            request.lines = {key: [code] for (key, _), code in coded if code is not None}
        if plan.bare or len(request.items) > self._max_items:
            request.lines.clear()
        elif plan.second is not None and request.lines:
            next(iter(request.lines.values())).append(plan.second)
        status = plan.action_status or ("FAIL" if code else "OK")
        answer = {
            "ActionStatus": status,
            "ErrorCode": code,
            "ErrorInfo": "",
            "ResultItem": list(self._lines(request)),
        }
        return HttpAnswer(200, json.dumps(answer).encode(), plan.retry_after)

    @staticmethod
    def _lines(request: Request) -> Iterator[dict[str, Any]]:
        plan = request.plan
        said = [(key, code) for key, codes in request.lines.items() for code in codes]
        if plan.turned:
            # Of two lines the one that speaks against success counts, wherever it stands.
            said.reverse()
        if plan.extra:
            yield _line((2, "stranger"), 50001)
            yield {"ResultCode": 50001, "ContactItem": {"Type": 7}}
        for key, code in said:
            yield _line(key, code)


def _key(contact: Mapping[str, Any]) -> Key:
    (name,) = contact.keys() - {"Type"}

    assert name == {1: "To_Account", 2: "ToGroupId"}[contact["Type"]]
    return contact["Type"], contact[name]


def _item(row: Mapping[str, Any]) -> Item:
    set_bits, clear_bits = _mask(row.get("SetMark", ())), _mask(row.get("ClearMark", ()))
    return Item(set_bits, clear_bits, row.get("CustomMark"))


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def _opt_type(item: Item) -> int:
    if item.custom_mark is None:
        return 1
    return 3 if item.set_bits | item.clear_bits else 2


def _line(key: Key, code: int) -> dict[str, Any]:
    name = "To_Account" if key[0] == 1 else "ToGroupId"
    return {
        "OptType": 1,
        "ContactItem": {"Type": key[0], name: key[1]},
        "ResultCode": code,
        "ResultInfo": "",
    }
