import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError
from chatmark.failures import (
    AnswerError,
    ApplicationRefusedError,
    DeadlineExceededError,
    ItemRefusedError,
    OutcomeUnknownError,
    SignatureError,
    TransportError,
    UnsentError,
    WithdrawnError,
)
from chatmark.jobs.sending.accounts import FINAL, Accounts, UnitOutcome, outcome_of, refuses_all
from chatmark.marks import ConversationMark
from chatmark.results import MarkResult

CHANGE = MarkChange("amy", Conversation.group("g"), ConversationMark.FAVORITE)


class TestAccounts:
    def test_every_outcome(self) -> None:
        """A change is in exactly one place, whatever became of it."""
        accounts = Accounts(total=100, set_aside=3, taken=21)
        for number, outcome in enumerate(UnitOutcome, 1):
            accounts.add(outcome, number, 50001 if outcome is UnitOutcome.REFUSED else None)

        assert (1, 2, 3 + 5, 4, 6) == (
            accounts.applied,
            accounts.unchanged,
            accounts.all_refused,
            accounts.unconfirmed,
            accounts.returned,
        )
        assert {50001: 3, None: 5} == accounts.refused
        assert (1 + 2 + 3, 1 + 2 + 3 + 4 + 5) == (accounts.settled, accounts.ended)
        assert 100 - 3 - 15 == accounts.not_sent
        assert accounts.is_balanced
        assert not accounts.ok

    @pytest.mark.parametrize(
        "accounts",
        [
            Accounts(total=2, taken=2, applied=1),
            Accounts(total=2, taken=1, applied=2),
            Accounts(total=1, taken=2, applied=2),
        ],
    )
    def test_unbalanced(self, accounts: Accounts) -> None:
        """A change that was lost, or counted twice, is noticed."""
        assert not accounts.is_balanced
        assert not accounts.ok

    def test_nothing(self) -> None:
        """A job of nothing is a success."""
        assert Accounts().ok


class TestOutcome:
    @pytest.mark.parametrize(
        ("outcome", "attempts", "error"),
        [
            (UnitOutcome.APPLIED, 2, None),
            (UnitOutcome.REFUSED, 1, ItemRefusedError(51008)),
            (UnitOutcome.REJECTED, 1, ApplicationRefusedError(60006)),
            (UnitOutcome.NOT_SENT, 0, ApplicationRefusedError(60006)),
            (UnitOutcome.NOT_SENT, 0, WithdrawnError()),
            (UnitOutcome.NOT_SENT, 0, UnsentError()),
            (UnitOutcome.NOT_SENT, 0, DeadlineExceededError(60, None)),
            (UnitOutcome.UNCONFIRMED, 1, UnsentError()),
            (UnitOutcome.UNCONFIRMED, 3, DeadlineExceededError(60, ItemRefusedError(60008))),
            (UnitOutcome.UNCONFIRMED, 3, OutcomeUnknownError(3)),
            (UnitOutcome.UNCONFIRMED, 1, TransportError("gone")),
            # Attempts that did not reach the server cannot have taken effect.
            (UnitOutcome.NOT_SENT, -4, DeadlineExceededError(60, TransportError("", sent=False))),
        ],
    )
    def test_of_result(
        self, outcome: UnitOutcome, attempts: int, error: ChatmarkError | None
    ) -> None:
        """Only what the server confirmed counts as applied or refused."""
        result = MarkResult(CHANGE, None, attempts=abs(attempts), error=error, sent=attempts > 0)

        assert outcome is outcome_of(result)

    def test_final(self) -> None:
        """What a later run does not send again fits into a byte of the journal."""
        assert {1, 2, 3} == FINAL


class TestRefusesAll:
    @pytest.mark.parametrize(
        ("error", "refuses"),
        [
            (ApplicationRefusedError(50003), True),
            (SignatureError("the provider raised"), True),
            (TransportError("the certificate is not trusted"), True),
            (AnswerError("this is not an answer of the API", status=404), True),
            (AnswerError("too large", status=413), False),
            (ItemRefusedError(50001), False),
            (DeadlineExceededError(60, TransportError("lost")), False),
            (WithdrawnError(), False),
        ],
    )
    def test_errors(self, error: ChatmarkError, refuses: bool) -> None:
        """What no other change would fare better with is told from what is one change's affair."""
        assert refuses == refuses_all(error)
