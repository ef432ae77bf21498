import pytest
from engine_rig import change
from hypothesis import given
from hypothesis import strategies as st

from chatmark.core.ledger import Ledger
from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry, Outcome, failure
from chatmark.errors import ChatmarkError
from chatmark.failures import DeadlineExceededError, ItemRefusedError, SessionError, TransportError

REFUSED = failure(ItemRefusedError(50001, "not there"))
LOST = failure(TransportError("lost"))


def accept(ledger: Ledger, count: int = 1) -> list[Entry]:
    """Enter so many changes."""
    entries = [Entry(change()) for _ in range(count)]
    ledger.accept(entries)
    return entries


class TestCounts:
    def test_each_outcome(self) -> None:
        """A change that was accepted is pending, then one of succeeded, failed and withdrawn."""
        ledger = Ledger()
        outcomes = [SUCCESS] * 3 + [WITHDRAWN] * 2 + [REFUSED, REFUSED, LOST, LOST]
        entries = accept(ledger, 10)
        pending = ledger.pending
        for entry, outcome in zip(entries, outcomes, strict=False):
            ledger.finish(entry, outcome)

        assert [*outcomes, None] == [entry.outcome for entry in entries]
        assert (10, 10, 1) == (ledger.accepted, pending, ledger.pending)
        assert (3, 2, 4) == (ledger.succeeded, ledger.withdrawn, ledger.failed)
        assert {50001: 2, None: 2} == ledger.failures_by_code

    def test_success_of_a_request(self) -> None:
        """What a request brought to success together counts as if each had been entered alone."""
        ledger = Ledger()
        entries = accept(ledger, 5)
        ledger.succeed(entries[:2])
        ledger.succeed(entries[2:4])

        assert (4, 1) == (ledger.succeeded, ledger.pending)
        assert [SUCCESS] * 4 == [entry.outcome for entry in entries[:4]]


class TestEpochs:
    """What a flush waits for."""

    def test_success_of_a_request(self) -> None:
        """It waits for what was brought to success with others of earlier and later flushes."""
        ledger = Ledger()
        first, second = accept(ledger, 2)
        early = ledger.start_epoch()
        (third,) = accept(ledger)
        late = ledger.start_epoch()
        (fourth,) = accept(ledger)
        settled = []
        for entries in ([first, fourth], [second], [third]):
            ledger.succeed(entries)
            settled.append((ledger.is_settled(early), ledger.is_settled(late)))

        assert [(False, False), (True, False), (True, True)] == settled

    @given(
        st.lists(st.sampled_from(["accept", "finish first", "finish last", "flush"]), max_size=60)
    )
    def test_any_order(self, steps: list[str]) -> None:
        """A ticket is settled exactly when none of the changes before it is pending."""
        ledger = Ledger()
        pending: list[Entry] = []
        flushes: list[tuple[int, list[Entry]]] = []
        for step in steps:
            if step == "accept":
                pending += accept(ledger)
            elif step == "flush":
                flushes.append((ledger.start_epoch(), list(pending)))
            elif pending:
                ledger.finish(pending.pop(0 if step == "finish first" else -1), SUCCESS)

            for ticket, before in flushes:
                assert ledger.is_settled(ticket) == all(entry.outcome for entry in before)
        assert len(pending) == ledger.pending


class TestOutcome:
    @pytest.mark.parametrize(
        ("error", "code", "info"),
        [
            (ItemRefusedError(50001, "not there"), 50001, "not there"),
            (TransportError("lost"), None, "lost"),
            (DeadlineExceededError(60.0, ItemRefusedError(50004, "busy")), 50004, "busy"),
            (DeadlineExceededError(60.0, TransportError("lost")), None, None),
        ],
    )
    def test_failure(self, error: ChatmarkError, code: int | None, info: str | None) -> None:
        """It has the server's last code and text; without an answer the reason is its text."""
        expected = Outcome(code, str(error) if info is None else info, error)

        assert expected == failure(error)

    def test_report(self) -> None:
        """The result is the outcome with the change and its attempts."""
        entry = Entry(change())
        entry.attempts, entry.outcome = 3, REFUSED
        result = entry.report()

        assert (False, change(), 50001) == (result.ok, result.change, result.code)
        assert ("not there", 3) == (result.info, result.attempts)

    def test_too_early(self) -> None:
        """A change that has no outcome has no result."""
        with pytest.raises(SessionError, match="not settled"):
            _ = Entry(change()).report()
