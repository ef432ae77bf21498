import json
from typing import Any

import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.failures import ItemRefusedError, TransportError
from chatmark.jobs.grouping import Unit
from chatmark.jobs.journal import Run
from chatmark.jobs.reports.progress import Counters, Timeline
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts, FailureLog
from chatmark.jobs.server import ReadBack
from chatmark.marks import ConversationMark
from chatmark.results import MarkResult

BOB = Conversation.one_to_one("bob")
CHANGE = MarkChange("amy", BOB, ConversationMark.FAVORITE)
UNIT = Unit(0, CHANGE, 2, 7)
REFUSED = MarkResult(CHANGE, 50001, "no such user", 1, ItemRefusedError(50001, "no such user"))


def accounts(**counts: Any) -> Accounts:
    """Return the books of a job of four changes."""
    return Accounts(total=4, **counts)


def timeline_of(samples: int, seconds: float) -> Timeline:
    """Return the timeline of a job that applies a change in so many seconds."""
    timeline = Timeline()
    for number in range(1, samples + 1):
        timeline.add(seconds * number, Counters(number, 2 * number))
    return timeline


class TestOk:
    def test_all_well(self) -> None:
        """A job is a success when everything took effect, or was so already."""
        fine = accounts(taken=4, applied=3, unchanged=1)
        report = JobReport(file="f", rows=4, accounts=fine, read_back=ReadBack(4))

        assert (True, "everything took effect") == (report.ok, report.verdict)

    @pytest.mark.parametrize(
        ("values", "verdict"),
        [
            ({"accounts": accounts(taken=4, applied=3, unconfirmed=1)}, "not everything took"),
            ({"accounts": accounts(taken=4, applied=3, returned=1)}, "not everything took"),
            ({"accounts": accounts(taken=3, applied=3)}, "not everything took"),
            ({"accounts": accounts(taken=3, applied=3, set_aside=1)}, "not everything took"),
            ({"accounts": accounts(taken=4, applied=3)}, "not everything took"),
            ({"read_back": ReadBack(2, 1)}, "the server has something else now"),
            ({"bad_row": "f:1: x: y"}, "ended by a bad row: f:1: x: y"),
            ({"interrupted": True}, "interrupted before its end"),
            ({"stopped": OSError(28, "No space left", "d")}, "stopped: d: No space left"),
            ({"stopped": REFUSED.error}, "the server refuses this application: 50001"),
            ({"unverified": TransportError("gone")}, "not everything took"),
        ],
    )
    def test_not_well(self, values: dict[str, object], verdict: str) -> None:
        """Whatever did not take effect, or is not known to have, is no success."""
        given: dict[str, object] = {"accounts": accounts(taken=4, applied=4)} | values
        report = JobReport(file="f", rows=4, **given)  # type: ignore[arg-type]

        assert not report.ok
        assert report.verdict.startswith(verdict)


class TestDocument:
    def test_failures(self) -> None:
        """
        Every change is in one of the counts, and failures have their meaning, row and place.
        """
        books = accounts(taken=4, applied=1, unconfirmed=1)
        books.refused[50001] = 2
        lost = MarkResult(CHANGE, None, "gone", 4, TransportError("gone"))
        report = JobReport(
            file="f", rows=4, accounts=books, failures=[(UNIT, REFUSED), (UNIT, lost)]
        )
        document = json.loads(json.dumps(report.document()))
        fine = JobReport(file="f", rows=1, accounts=Accounts(total=1, taken=1, applied=1))
        names = ("applied", "unchanged", "refused", "set_aside", "unconfirmed", "not_sent")

        assert list(fine.document()) == list(document)
        assert document["balanced"]
        assert [1, 0, 2, 0, 1, 0] == [document[name] for name in names]
        assert [(50001, 2)] == [(row["code"], row["count"]) for row in document["refused_by_code"]]
        assert "the user account is not imported" in document["refused_by_code"][0]["meaning"]
        assert "Import the account" in document["refused_by_code"][0]["advice"]
        assert {
            "from_account": "amy",
            "to_account": "bob",
            "set_mark": ["favorite"],
            "code": None,
            "info": "gone",
            "attempts": 4,
            "error": "gone",
            "subject": "",
            "line": 7,
            "rows": 2,
        } == document["failures"][1]

    def test_hours(self) -> None:
        """A long job is told by the hour, and its earlier runs by themselves."""
        report = JobReport(
            file="f",
            rows=4,
            accounts=accounts(earlier=3),
            timeline=timeline_of(150, 60),
            earlier_runs=[Run(5, 6, 7, 8.0), Run(1, 1, 1, 1.0)],
        )
        document = report.document()

        assert [(3600.0, 60), (3600.0, 60), (1800.0, 30)] == [
            (row["seconds"], row["applied"]) for row in document["by_hour"]
        ]
        assert {
            "runs": 2,
            "settled": 3,
            "calls": 6,
            "items_sent": 7,
            "retries": 8,
            "elapsed_seconds": 9.0,
            "each": [
                {"calls": 5, "items": 6, "retries": 7, "seconds": 8.0},
                {"calls": 1, "items": 1, "retries": 1, "seconds": 1.0},
            ],
        } == document["earlier_runs"]

    def test_bounded(self) -> None:
        """Of endless failures the first hundred are kept."""
        failures = FailureLog()
        for _ in range(1_000):
            failures.add(UNIT, REFUSED)

        assert 100 == len(failures.first)


class TestSpans:
    @pytest.mark.parametrize(
        ("samples", "seconds", "least", "spans"),
        [(30 * 24 * 60, 60, 0.0, 250), (9_000, 1, 3600.0, 3), (1, 0.25, 0.0, 1), (0, 1, 0.0, 0)],
    )
    def test_spans(self, samples: int, seconds: float, least: float, spans: int) -> None:
        """Spans go from the start to the end, nothing is lost, and there are some hundred."""
        found = timeline_of(samples, seconds).spans(least)

        assert spans <= len(found) <= 2 * spans
        assert [0.0, *(each.end for each in found)][:-1] == [each.start for each in found]
        assert all(each.end - each.start >= least for each in found[:-1])
        assert [each.end for each in found][-1:] == [samples * seconds][: len(found)]
        assert all(each.counts.applied * seconds == each.end - each.start for each in found)
