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
from chatmark.jobs.server import Difference, ReadBack
from chatmark.marks import ConversationMark
from chatmark.results import MarkedConversation, MarkResult

BOB = Conversation.one_to_one("bob")
CHANGE = MarkChange("amy", BOB, ConversationMark.FAVORITE)
UNIT = Unit(0, CHANGE, 2, 7)
REFUSED = MarkResult(CHANGE, 50001, "no such user", 1, ItemRefusedError(50001, "no such user"))


def accounts(**counts: Any) -> Accounts:
    """Return the books of a job of four changes."""
    return Accounts(total=4, **counts)


class TestOk:
    def test_all_well(self) -> None:
        """A job is a success when everything took effect, or was so already."""
        fine = accounts(taken=4, applied=3, unchanged=1)

        assert JobReport(file="f", rows=4, accounts=fine, read_back=ReadBack(4)).ok

    @pytest.mark.parametrize(
        "values",
        [
            {"accounts": accounts(taken=4, applied=3, unconfirmed=1)},
            {"accounts": accounts(taken=4, applied=3, returned=1)},
            {"accounts": accounts(taken=3, applied=3)},
            {"accounts": accounts(taken=3, applied=3, set_aside=1)},
            {"accounts": accounts(taken=4, applied=3)},
            {"read_back": ReadBack(2, 1)},
            {"bad_row": "f:1: x: y"},
            {"interrupted": True},
            {"stopped": OSError(28, "No space left on device")},
            {"unverified": TransportError("gone")},
        ],
    )
    def test_not_well(self, values: dict[str, object]) -> None:
        """Whatever did not take effect, or is not known to have, is no success."""
        given: dict[str, object] = {"accounts": accounts(taken=4, applied=4)} | values

        assert not JobReport(file="f", rows=4, **given).ok  # type: ignore[arg-type]


class TestDocument:
    def test_accounts(self) -> None:
        """Every change is in one of the counts."""
        books = accounts(taken=2, applied=1, set_aside=1, unconfirmed=1)
        document = JobReport(file="f", rows=4, accounts=books).document()
        names = ("applied", "unchanged", "refused", "set_aside", "unconfirmed", "not_sent")

        assert document["balanced"]
        assert [1, 0, 0, 1, 1, 1] == [document[name] for name in names]
        assert document["changes"] == sum(document[name] for name in names)

    def test_failures(self) -> None:
        """Failures have their code with its meaning, their change as a row, and where it stands."""
        books = accounts(taken=4, applied=1, unconfirmed=1)
        books.refused[50001] = 2
        lost = MarkResult(CHANGE, None, "gone", 4, TransportError("gone"))
        report = JobReport(
            file="f", rows=4, accounts=books, failures=[(UNIT, REFUSED), (UNIT, lost)]
        )
        document = json.loads(json.dumps(report.document()))

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
        timeline = Timeline()
        for minute in range(1, 151):
            timeline.add(60.0 * minute, Throughput(applied=minute, calls=2 * minute))
        report = JobReport(
            file="f",
            rows=4,
            accounts=accounts(earlier=3),
            timeline=timeline,
            earlier_runs=[Run(5, 6, 7, 8.0, 2)],
        )
        document = report.document()

        assert [(3600.0, 60), (3600.0, 60), (1800.0, 30)] == [
            (row["seconds"], row["applied"]) for row in document["by_hour"]
        ]
        assert {
            "runs": 2,
            "settled": 3,
            "calls": 5,
            "items_sent": 6,
            "retries": 7,
            "elapsed_seconds": 8.0,
            "each": [{"calls": 5, "items": 6, "retries": 7, "seconds": 8.0}],
        } == document["earlier_runs"]

    def test_same_keys(self) -> None:
        """The keys are the same, in the same order, whatever happened."""
        fine = JobReport(file="f", rows=1, accounts=Accounts(total=1, taken=1, applied=1))
        found = MarkedConversation(BOB, custom_mark="x")
        sad = JobReport(
            file="f",
            rows=1,
            accounts=Accounts(total=1, taken=1, unconfirmed=1),
            failures=[(UNIT, REFUSED)],
            read_back=ReadBack(1, 1, differences=[Difference(CHANGE, found)]),
        )

        assert list(fine.document()) == list(sad.document())


class TestOutcome:
    def test_bounded(self) -> None:
        """Of endless failures the first hundred are kept."""
        failures = FailureLog()
        for _ in range(1_000):
            failures.add(UNIT, REFUSED)

        assert 100 == len(failures.first)


class TestSpans:
    def test_bounded(self) -> None:
        """
        A job of a month has some hundred spans, from its start to its end, and nothing is lost.
        """
        timeline = Timeline()
        for number in range(30 * 24 * 60):
            timeline.add(60.0 * number, Throughput(applied=number))
        spans = timeline.spans()

        assert 250 <= len(spans) <= 502
        assert [0.0, *(each.end for each in spans[:-1])] == [each.start for each in spans]
        assert 60.0 * (30 * 24 * 60 - 1) == spans[-1].end
        assert all(each.counts.applied * 60.0 == each.end - each.start for each in spans)

    def test_short(self) -> None:
        """The last counters count, however soon they come after the ones before."""
        timeline = Timeline()
        timeline.add(0.25, Throughput(applied=1))
        timeline.add(0.5, Throughput(applied=2))

        assert [(0.0, 0.5, 2)] == [(s.start, s.end, s.counts.applied) for s in timeline.spans()]

    def test_hours(self) -> None:
        """Spans of an hour hold what happened in it, and nothing is lost."""
        timeline = Timeline()
        for second in range(0, 9_001, 10):
            timeline.add(float(second), Throughput(second, second // 10, 2 * second, 1))
        hours = timeline.spans(3600.0)

        assert 3 == len(hours)
        assert 3600.0 <= hours[0].end <= 3700.0
        assert hours[0].end == hours[1].start
        assert 9_000.0 == hours[-1].end
        assert (9_000, 900, 18_000, 1) == tuple(
            sum(getattr(span.counts, name) for span in hours)
            for name in ("applied", "failed", "calls", "retries")
        )

    def test_nothing(self) -> None:
        """A job without a second look has no spans."""
        assert [] == Timeline().spans()
