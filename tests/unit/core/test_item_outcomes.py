import json

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.core.item_outcomes import decide, reason_of
from chatmark.core.lane import Lane
from chatmark.core.ledger import Ledger
from chatmark.core.pending import WITHDRAWN, Entry, Item, Outcome, failure
from chatmark.failures import ItemRefusedError, OutcomeUnknownError
from chatmark.marks import ConversationMark
from chatmark.wire.classify import classify
from chatmark.wire.messages import HttpAnswer, MarkAnswer


def items(*peers: str) -> list[Item]:
    """Return items in flight of these conversations."""
    lane = Lane("alice", 0)
    for peer in peers:
        conversation = Conversation.one_to_one(peer)
        lane.push(Entry(MarkChange("alice", conversation, ConversationMark.HIDDEN)))
    return lane.pop(100).items()


def answer(code: int = 0, **lines: int) -> HttpAnswer:
    """Return an answer with a code for each of some conversations."""
    document = {
        "ActionStatus": "FAIL" if code else "OK",
        "ErrorCode": code,
        "ResultItem": [
            {
                "ContactItem": {"Type": 1, "To_Account": peer},
                "ResultCode": line,
                "ResultInfo": f"text of {peer}",
            }
            for peer, line in lines.items()
        ],
    }
    return HttpAnswer(200, json.dumps(document).encode())


class TestDecide:
    def test_keeps_the_servers_text(self) -> None:
        """A refused item has its own code and the server's own text."""
        fates = decide(items("bob"), classify(answer(bob=51008), MarkAnswer))
        outcomes = [outcome for _, outcome in fates.ended]

        assert [(51008, "text of bob")] == [(each.code, each.info) for each in outcomes]

    def test_counts_the_answers_without_a_line(self) -> None:
        """An item that no answer mentions ends as unknown, with the number of answers."""
        flying = items("bob")
        for _ in range(2):
            decide(flying, classify(answer(), MarkAnswer))
        (_, outcome), *_ = decide(flying, classify(answer(), MarkAnswer)).ended

        assert isinstance(outcome.error, OutcomeUnknownError)
        assert 3 == outcome.error.answers

    def test_a_refused_application_ends_what_would_be_sent_again(self) -> None:
        """When one item tells that the application is refused, none of the others is sent again."""
        fates = decide(items("bob", "eve"), classify(answer(bob=50004, eve=50003), MarkAnswer))

        assert fates.refused is not None
        assert ([], 2) == (fates.again, len(fates.ended))
        assert {50003} == {outcome.code for _, outcome in fates.ended}

    def test_a_refused_call_is_not_believed_to_have_succeeded(self) -> None:
        """In a call that was refused as a whole, a line that claims success counts as refused."""
        fates = decide(items("bob", "eve"), classify(answer(50001, bob=0, eve=51008), MarkAnswer))

        assert {"bob": 50001, "eve": 51008} == {
            item.conversation.id: outcome.code for item, outcome in fates.ended
        }

    def test_reasons_are_codes(self) -> None:
        """A retry is counted by its code, or as a missing line."""
        errors = (ItemRefusedError(50004), OutcomeUnknownError(1))

        assert ["50004", "missing line"] == [reason_of(error) for error in errors]


class TestLedger:
    def test_counts_each_outcome(self) -> None:
        """Every outcome adds one to its own count."""
        ledger = Ledger()
        bob = Conversation.one_to_one("bob")
        outcomes = [Outcome(0)] * 3 + [WITHDRAWN] * 2 + [failure(ItemRefusedError(51008))] * 2
        for outcome in outcomes:
            entry = Entry(MarkChange("alice", bob, custom_mark="x"))
            ledger.accept([entry])
            ledger.finish(entry, outcome)

        assert (7, 0, 3, 2, 2) == (
            ledger.accepted,
            ledger.pending,
            ledger.succeeded,
            ledger.withdrawn,
            ledger.failed,
        )
        assert {51008: 2} == ledger.failures_by_code
