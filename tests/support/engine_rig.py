"""The engine with a clock that is set by hand, and what a server may answer it."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from sinks import Job

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation, ConversationType
from chatmark.core.engine import Engine
from chatmark.core.pending import Entry
from chatmark.core.request import Request
from chatmark.core.settlement import Settlement
from chatmark.failures import TransportError
from chatmark.marks import ConversationMark
from chatmark.wire.classify import classify_marks
from chatmark.wire.messages import HttpAnswer, NoAnswer, Reply

BOB: Final = Conversation.one_to_one("bob")
EVE: Final = Conversation.one_to_one("eve")
ZOE: Final = Conversation.one_to_one("zoe")
FAVORITE, HIDDEN = ConversationMark.FAVORITE, ConversationMark.HIDDEN
NOTHING: Final = ConversationMark(0)

LOST: Final = NoAnswer(TransportError("lost"), "connection")
UNSENT: Final = NoAnswer(TransportError("refused"), "connection", sent=False)
DROPPED: Final = NoAnswer(TransportError("dropped"), "dropped", dropped=True)
SLOW_DOWN: Final = HttpAnswer(429, b"")

#: The codes of lines, where None is no line, or a whole answer; what is not named succeeds.
Said = Reply | Mapping[Conversation, int | None]
ALL_WELL: Final[Mapping[Conversation, int | None]] = {}


def crowd(count: int, first: int = 0) -> list[Conversation]:
    """Return so many conversations."""
    return [Conversation.one_to_one(f"c{number}") for number in range(first, first + count)]


def change(
    conversation: Conversation = BOB,
    account: str = "ann",
    *,
    put: ConversationMark = NOTHING,
    clear: ConversationMark = NOTHING,
    text: str | None = None,
) -> MarkChange:
    """Return a change: of the custom mark, where no bits are named."""
    custom = "x" if text is None and not (put or clear) else text
    return MarkChange(account, conversation, put, clear, custom)


def changes(conversations: Iterable[Conversation], account: str = "ann") -> list[MarkChange]:
    """Return a change of each."""
    return [change(each, account) for each in conversations]


def answer(
    code: int = 0, lines: Iterable[tuple[Conversation, int]] = (), *, status: str | None = None
) -> HttpAnswer:
    """Return an answer of the server with these lines, and a text in each that is a fault."""
    document = {
        "ActionStatus": status or ("FAIL" if code else "OK"),
        "ErrorCode": code,
        "ErrorInfo": "",
        "ResultItem": [
            {
                "ResultCode": line,
                "ResultInfo": f"text of {to.id}" if line else "",
                "ContactItem": {
                    "Type": int(to.type),
                    "To_Account" if to.type is ConversationType.ONE_TO_ONE else "ToGroupId": to.id,
                },
            }
            for to, line in lines
        ],
    }
    return HttpAnswer(200, json.dumps(document).encode())


def doubling(retry: int) -> float:
    """Return the ceilings themselves, without jitter."""
    return min(8.0, 0.25 * 2.0 ** (retry - 1))


class EngineRig:
    """
    An engine and its time.

    Args:
        served: Whether the server has already shown that it serves.
    """

    def __init__(
        self,
        *,
        backoff: Callable[[int], float] = doubling,
        deadline: float = 60.0,
        linger: float = 0.0,
        served: bool = True,
    ) -> None:
        self.engine = Engine(backoff=backoff, deadline=deadline, linger=linger, max_in_flight=1000)
        self.now = 0.0
        if served:
            self.engine.breaker.succeeded(0.0)

    @property
    def is_ready(self) -> bool:
        """Whether a request may be sent now."""
        return self.engine.has_ready(self.now)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of what was done."""
        scheduler, ledger = self.engine.scheduler, self.engine.ledger
        is_left = scheduler._lanes or scheduler._timers or ledger.pending or ledger._older
        return not is_left and self.engine.wake_at(self.now) is None

    def submit(
        self,
        conversation: Conversation = BOB,
        account: str = "ann",
        *,
        put: ConversationMark = NOTHING,
        clear: ConversationMark = NOTHING,
        text: str | None = None,
        bulk: bool = False,
    ) -> Entry:
        """Admit a change, which may be refused at once."""
        made = change(conversation, account, put=put, clear=clear, text=text)
        entry = Entry(made, Job() if bulk else None)
        refused = self.engine.admit([entry], self.now)

        assert refused == ([] if entry.outcome is None else [entry])

        return entry

    def submit_all(
        self, conversations: Iterable[Conversation], account: str = "ann", *, bulk: bool = False
    ) -> list[Entry]:
        """Admit a change of each."""
        return [self.submit(each, account, bulk=bulk) for each in conversations]

    def submit_users(self, count: int) -> list[Entry]:
        """Admit a change of each of so many users."""
        return [self.submit(account=f"user{number}") for number in range(count)]

    def submit_rows(self, job: Job, *rows: MarkChange) -> list[Entry]:
        """Admit rows of a job together; return those that were refused at once."""
        return self.engine.admit_many(rows, job, self.now)

    def take(self) -> Request:
        """Take the next request, which must be there."""
        request = self.engine.take(self.now)

        assert request is not None

        return request

    def take_all(self) -> list[Request]:
        """Take all requests that may be sent now."""
        return list(iter(lambda: self.engine.take(self.now), None))

    def reply(self, request: Request, said: Said = ALL_WELL) -> Settlement:
        """Answer a request."""
        if isinstance(said, Mapping):
            lines = [
                (each.conversation, said.get(each.conversation, 0)) for each in request.changes
            ]
            said = answer(0, [(to, code) for to, code in lines if code is not None])
        verdict = classify_marks(said, request.changes)
        settlement = self.engine.settle(request, verdict, self.now)

        assert settlement.error is None

        return settlement

    def send(self, said: Said = ALL_WELL) -> Settlement:
        """Take the next request and answer it."""
        return self.reply(self.take(), said)

    def sleep(self) -> float:
        """Sleep until a request may be sent; return for how long."""
        slept_at = self.now
        while not self.is_ready:
            wake = self.engine.wake_at(self.now)

            assert wake is not None

            self.now = wake
        return self.now - slept_at

    def waits(self, *said: Said) -> list[float]:
        """Send a request for each answer; return how long each lets the next one wait."""
        return [(self.send(each), self.sleep())[1] for each in said]

    def run(self, serve: Callable[[Request], Said] = lambda _: ALL_WELL) -> list[int]:
        """Send until nothing is pending; return the sizes of the requests."""
        sizes = []
        while self.engine.ledger.pending:
            self.sleep()
            request = self.take()
            sizes.append(len(request.changes))
            self.reply(request, serve(request))
        return sizes


def names(request: Request) -> list[str]:
    """Return whom a request names."""
    return [each.conversation.id for each in request.changes]


def texts(request: Request) -> dict[str, str | None]:
    """Return the custom marks of a request by the name of their conversation."""
    return {each.conversation.id: each.custom_mark for each in request.changes}


def codes(*entries: Entry) -> list[int | Literal["pending"] | None]:
    """Return how changes ended."""
    return ["pending" if each.outcome is None else each.report().code for each in entries]


def error_of(entry: Entry) -> BaseException | None:
    """Return what became of a change, which must have an outcome."""
    assert entry.outcome is not None

    return entry.outcome.error
