import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.core.ledger import Ledger
from chatmark.core.pending import SUCCESS, WITHDRAWN, Entry, Outcome, failure
from chatmark.failures import DeadlineExceededError, ItemRefusedError, SessionError, TransportError

CHANGE = MarkChange("ann", Conversation.one_to_one("bob"), custom_mark="x")
REFUSED = failure(ItemRefusedError(50001, "not there"))
LOST = failure(TransportError("lost"))


def accept(ledger: Ledger, count: int = 1) -> list[Entry]:
    """Enter so many changes."""
    entries = [Entry(CHANGE) for _ in range(count)]
    for entry in entries:
        ledger.accept([entry])
    return entries


class TestCounts:
    """The books."""

    def test_accepted(self) -> None:
        """A change that was accepted is pending."""
        ledger = Ledger()
        accept(ledger, 3)

        assert (3, 3) == (ledger.accepted, ledger.pending)

    @pytest.mark.parametrize(
        ("outcome", "counts"),
        [(SUCCESS, (1, 0, 0)), (REFUSED, (0, 1, 0)), (LOST, (0, 1, 0)), (WITHDRAWN, (0, 0, 1))],
    )
    def test_outcome(self, outcome: Outcome, counts: tuple[int, int, int]) -> None:
        """A change that ended is one of succeeded, failed and withdrawn."""
        ledger = Ledger()
        (entry,) = accept(ledger)
        ledger.finish(entry, outcome)

        assert counts == (ledger.succeeded, ledger.failed, ledger.withdrawn)
        assert 0 == ledger.pending
        assert outcome is entry.outcome

    def test_success_of_a_request(self) -> None:
        """What a request brought to success together counts as if each had been entered alone."""
        ledger = Ledger()
        entries = accept(ledger, 5)
        ledger.succeed(entries[:2])
        ledger.succeed(entries[2:4])

        assert (4, 1) == (ledger.succeeded, ledger.pending)
        assert [SUCCESS] * 4 == [entry.outcome for entry in entries[:4]]

    def test_failures_by_code(self) -> None:
        """Failures are counted by code, those without one under None."""
        ledger = Ledger()
        outcomes = (REFUSED, REFUSED, LOST, SUCCESS, WITHDRAWN)
        for entry, outcome in zip(accept(ledger, 5), outcomes, strict=True):
            ledger.finish(entry, outcome)

        assert {50001: 2, None: 1} == ledger.failures_by_code

    def test_lets_the_item_go(self) -> None:
        """A change that ended keeps nothing of its lane alive."""
        ledger = Ledger()
        (entry,) = accept(ledger)
        ledger.finish(entry, SUCCESS)


class TestEpochs:
    """What a flush waits for."""

    def test_nothing(self) -> None:
        """With nothing accepted a flush is settled at once."""
        ledger = Ledger()

        assert ledger.is_settled(ledger.start_epoch())

    def test_covers_what_was_before(self) -> None:
        """It is settled when all that was accepted before it has ended."""
        ledger = Ledger()
        first, second = accept(ledger, 2)
        ticket = ledger.start_epoch()
        ledger.finish(first, REFUSED)
        half = ledger.is_settled(ticket)
        ledger.finish(second, WITHDRAWN)

        assert not half
        assert ledger.is_settled(ticket)

    def test_leaves_out_what_comes_after(self) -> None:
        """What was accepted after it does not matter."""
        ledger = Ledger()
        ticket = ledger.start_epoch()
        accept(ledger)

        assert ledger.is_settled(ticket)

    def test_several(self) -> None:
        """A later flush waits for what an earlier one waits for, not the other way round."""
        ledger = Ledger()
        (first,) = accept(ledger)
        early = ledger.start_epoch()
        accept(ledger)
        late = ledger.start_epoch()
        ledger.finish(first, SUCCESS)

        assert ledger.is_settled(early)
        assert not ledger.is_settled(late)

    def test_success_of_a_request(self) -> None:
        """So does what was brought to success with others of earlier and later flushes."""
        ledger = Ledger()
        first, second = accept(ledger, 2)
        early = ledger.start_epoch()
        (third,) = accept(ledger)
        late = ledger.start_epoch()
        (fourth,) = accept(ledger)
        ledger.succeed([first, fourth])
        half = [ledger.is_settled(early), ledger.is_settled(late)]
        ledger.succeed([second, third])

        assert [False, False] == half
        assert [True, True] == [ledger.is_settled(early), ledger.is_settled(late)]

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
    """How an error becomes an outcome."""

    def test_refusal(self) -> None:
        """A refusal keeps the server's code and text."""
        assert (50001, "not there") == (REFUSED.code, REFUSED.info)

    def test_no_answer(self) -> None:
        """Without an answer there is no code, and the reason stands in its place."""
        assert (None, "lost") == (LOST.code, LOST.info)

    def test_deadline_after_a_refusal(self) -> None:
        """A deadline tells the code that the server gave last."""
        error = DeadlineExceededError(60.0, ItemRefusedError(50004, "busy"))
        outcome = failure(error)

        assert (50004, "busy", error) == (outcome.code, outcome.info, outcome.error)

    def test_deadline_without_an_answer(self) -> None:
        """Without an answer it has no code."""
        assert failure(DeadlineExceededError(60.0, TransportError("lost"))).code is None


class TestEntry:
    """One accepted change."""

    def test_result(self) -> None:
        """The result is the outcome with the change and its attempts."""
        ledger = Ledger()
        (entry,) = accept(ledger)
        entry.attempts = 3
        ledger.finish(entry, REFUSED)
        result = entry.report()

        assert (CHANGE, 50001, "not there", 3) == (
            result.change,
            result.code,
            result.info,
            result.attempts,
        )
        assert not result.ok

    def test_too_early(self) -> None:
        """A change that has no outcome has no result."""
        with pytest.raises(SessionError, match="not settled"):
            _ = Entry(CHANGE).report()
