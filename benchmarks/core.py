"""
The core of a session by itself, without a loop or a socket: the one place that knows its insides.

Who changes the core changes this with it.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from chatmark import MarkChange
from chatmark.entries import Entry
from chatmark.exchange import HttpAnswer
from chatmark.lanes import Batch, Lanes
from chatmark.verdicts import judge
from chatmark.wire import MarkAnswer, encode_marks

_STATUS: Final = 200


class Core:
    """
    Lanes at one moment of time, with requests that all succeed.
    """

    def __init__(self) -> None:
        self._lanes = Lanes(backoff=lambda _: 1.0)

    def admit(self, changes: Iterable[MarkChange]) -> None:
        """
        Admit changes as rows of a job.
        """
        admit = self._lanes.admit
        for change in changes:
            admit(Entry(change, bulk=True), 0.0)

    def take(self) -> Batch:
        """
        Return the next request.
        """
        batch = self._lanes.take(0.0)
        if batch is None:
            raise RuntimeError("nothing is ready")
        return batch

    @staticmethod
    def encode(batch: Batch) -> bytes:
        """
        Return the body of a request.
        """
        return encode_marks(batch.lane.account, batch.changes)

    def settle(self, batch: Batch, answer: bytes) -> None:
        """
        Read the answer to a request, and settle its changes.
        """
        self._lanes.settle(batch, judge(HttpAnswer(_STATUS, answer), MarkAnswer), 0.0)

    @staticmethod
    def decode(answer: bytes) -> object:
        """
        Read an answer.
        """
        return judge(HttpAnswer(_STATUS, answer), MarkAnswer)

    @property
    def pending(self) -> int:
        """
        How many changes have no outcome.
        """
        return self._lanes.ledger.pending


def answer_to(body: bytes) -> bytes:
    """
    Return the answer in which all items of a request succeeded.
    """
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
