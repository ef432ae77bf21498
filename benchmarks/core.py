"""
The core of a session by itself, without a loop or a socket: the one place that knows its insides.

Who changes the core changes this with it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chatmark import MarkChange
from chatmark.core.engine import Engine
from chatmark.core.pending import Entry
from chatmark.core.request import Request
from chatmark.wire.classify import Verdict, classify_marks
from chatmark.wire.converter import to_json
from chatmark.wire.messages import HttpAnswer, MarkAnswer, MarkContact

_STATUS: Final = 200


class _Silent:
    """A job that takes no note of its rows."""

    is_urgent = False

    def settled(self, row: Entry) -> None:
        """Take no note."""

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """Take no note."""


class Core:
    """Engine at one moment of time, with requests that all succeed."""

    def __init__(self) -> None:
        self._engine = Engine(backoff=lambda _: 1.0)

    def admit(self, changes: Iterable[MarkChange]) -> None:
        """Admit changes as rows of a job."""
        self._engine.admit_many(list(changes), _Silent(), 0.0)

    def take(self) -> Request:
        """Return the next request."""
        batch = self._engine.take(0.0)
        if batch is None:
            raise RuntimeError("nothing is ready")
        return batch

    @staticmethod
    def encode(batch: Request) -> bytes:
        """Return the body of a request."""
        return to_json(MarkContact(batch.account, batch.changes))

    def settle(self, batch: Request, answer: bytes) -> None:
        """Read the answer to a request, and settle its changes."""
        self._engine.settle(batch, self.decode(batch, answer), 0.0)

    @staticmethod
    def decode(batch: Request, answer: bytes) -> Verdict[MarkAnswer]:
        """Read the answer to a request."""
        return classify_marks(HttpAnswer(_STATUS, answer), batch.changes)

    @property
    def pending(self) -> int:
        """How many changes have no outcome."""
        return self._engine.ledger.pending


def answer_to(body: bytes) -> bytes:
    """Return the answer in which all items of a request succeeded."""
    lines: list[dict[str, Any]] = [
        {
            "OptType": item["OptType"],
            "ContactItem": item["ContactItem"],
            "ResultCode": 0,
            "ResultInfo": "",
        }
        for item in json.loads(body)["MarkItem"]
    ]
    answer = {"ResultItem": lines, "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
    return json.dumps(answer, separators=(",", ":")).encode()
