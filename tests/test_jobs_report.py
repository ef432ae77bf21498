import json

from chatmark.errors import (
    ApplicationRefusedError,
    ItemRefusedError,
    TransportError,
    WithdrawnError,
)
from chatmark.jobs.outcome import Outcome
from chatmark.jobs.readback import Difference, ReadBack
from chatmark.jobs.report import JobReport, by_count
from chatmark.marks import ConversationMark
from chatmark.models import (
    Conversation,
    MarkChange,
    MarkedConversation,
    MarkReport,
    MarkResult,
)

BOB = Conversation.one_to_one("bob")
CHANGE = MarkChange("amy", BOB, ConversationMark.FAVORITE)
REFUSED = MarkResult(CHANGE, 50001, "no such user", 1, ItemRefusedError(50001, "no such user"))


class TestByCount:
    def test_order(self) -> None:
        """
        The most frequent comes first, and equals in a fixed order.
        """
        assert [(3, 2), (7, 1), (None, 1)] == by_count({None: 1, 7: 1, 3: 2})


class TestOk:
    def test_all_well(self) -> None:
        """
        A job is a success when nothing stands in the way of it.
        """
        assert JobReport(file="f", rows=1, changes=1, marks=MarkReport(succeeded=1)).ok

    def test_not_well(self) -> None:
        """
        A failure, a withdrawn change, a difference, a bad row or an interruption is no success.
        """
        fine = MarkReport(succeeded=1)
        reports = [
            JobReport(file="f", rows=1, changes=1, marks=MarkReport(failed=1)),
            JobReport(file="f", rows=1, changes=1, marks=MarkReport(withdrawn=1)),
            JobReport(file="f", rows=1, changes=1, marks=fine, read_back=ReadBack(2, 1)),
            JobReport(file="f", rows=1, changes=1, marks=fine, bad_row="f:1: x: y"),
            JobReport(file="f", rows=1, changes=1, marks=fine, interrupted=True),
        ]

        assert not any(report.ok for report in reports)


class TestDocument:
    def test_failures(self) -> None:
        """
        Failures have their code with its meaning, and their change as a row.
        """
        marks = MarkReport(
            succeeded=3, failed=2, calls=2, failures_by_code={50001: 1, None: 1}, elapsed=1.23456
        )
        lost = MarkResult(CHANGE, None, "gone", 4, TransportError("gone"))
        report = JobReport(file="f", rows=5, changes=5, marks=marks, failures=[REFUSED, lost])
        document = json.loads(json.dumps(report.document()))

        assert (False, 3, 2, 1.235) == (
            document["ok"],
            document["succeeded"],
            document["failed"],
            document["elapsed_seconds"],
        )
        assert {50001, None} == {row["code"] for row in document["failures_by_code"]}
        assert "the user account is not imported" in str(document["failures_by_code"])
        assert {
            "from_account": "amy",
            "to_account": "bob",
            "set_mark": ["favorite"],
            "code": None,
            "info": "gone",
            "attempts": 4,
            "error": "gone",
        } == document["failures"][1]

    def test_same_keys(self) -> None:
        """
        The keys are the same, in the same order, whatever happened.
        """
        fine = JobReport(file="f", rows=1, changes=1, marks=MarkReport(succeeded=1))
        found = MarkedConversation(BOB, custom_mark="x")
        sad = JobReport(
            file="f",
            rows=1,
            changes=1,
            marks=MarkReport(failed=1, failures_by_code={50001: 1}),
            failures=[REFUSED],
            read_back=ReadBack(1, 1, differences=[Difference(CHANGE, found)]),
        )

        assert list(fine.document()) == list(sad.document())


class TestOutcome:
    def test_bounded(self) -> None:
        """
        Of endless failures the first hundred are kept.
        """
        outcome = Outcome()
        for _ in range(1_000):
            outcome.add(REFUSED)

        assert 100 == len(outcome.failures)

    def test_no_failures(self) -> None:
        """
        What took effect or was withdrawn is no failure.
        """
        outcome = Outcome()
        outcome.add(MarkResult(CHANGE, 0))
        outcome.add(MarkResult(CHANGE, None, error=WithdrawnError()))

        assert [] == outcome.failures

    def test_refused_application(self) -> None:
        """
        What the server has against the application is kept.
        """
        outcome = Outcome()
        error = ApplicationRefusedError(60006)
        outcome.add(MarkResult(CHANGE, 60006, error=error))

        assert error is outcome.refused
