"""Answers that refuse what is asked: an item, the standard marks, or the whole application."""

import pytest
from engine_rig import BOB, EVE, FAVORITE, ZOE, EngineRig, answer, codes, crowd, error_of

from chatmark.conversations import Conversation
from chatmark.failures import AnswerError, ApplicationRefusedError, ItemRefusedError
from chatmark.wire.messages import HttpAnswer


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


@pytest.fixture
def refused(rig: EngineRig) -> EngineRig:
    """An engine whose application was refused at 0 s."""
    rig.submit()
    rig.send(answer(50003))
    return rig


class TestItem:
    @pytest.mark.parametrize("code", [50001, 51008, 99999])
    def test_ends_at_once(self, rig: EngineRig, code: int) -> None:
        """A code that is not worth a retry ends the item, with the server's text, and only it."""
        entry, other = rig.submit_all([BOB, EVE])
        rig.send({BOB: code})

        assert isinstance(error_of(entry), ItemRefusedError)
        assert [code, 0] == codes(entry, other)
        assert ("text of bob", 1) == (entry.report().info, entry.attempts)

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ([(ZOE, 50001), (EVE, 0), (BOB, 51008)], [51008, 0, 50001]),
            ([(BOB, 0), (BOB, 50001), (EVE, 50001), (EVE, 0), (ZOE, 0)], [50001, 50001, 0]),
        ],
        ids=["any order", "two lines"],
    )
    def test_lines(
        self, rig: EngineRig, lines: list[tuple[Conversation, int]], expected: list[int]
    ) -> None:
        """Lines are found by conversation; of two lines of one the failure counts."""
        entries = rig.submit_all([BOB, EVE, ZOE])
        rig.send(answer(0, lines))

        assert expected == codes(*entries)

    def test_line_of_another(self, rig: EngineRig) -> None:
        """A line for a conversation that was not asked about changes nothing."""
        entry = rig.submit()
        request = rig.take()
        waiting = rig.submit(EVE)
        rig.reply(request, answer(0, [(EVE, 50001), (BOB, 0)]))

        assert [0, "pending"] == codes(entry, waiting)

    def test_claims_under_a_refusal(self, rig: EngineRig) -> None:
        """In an answer that refuses the call a line's own refusal counts, its success does not."""
        entries = rig.submit_all([BOB, EVE, ZOE])
        rig.send(answer(50001, [(BOB, 0), (EVE, 51008)]))

        assert [50001, 51008, 50001] == codes(*entries)
        assert [False, True, False] == [
            getattr(error_of(entry), "names_peer", None) for entry in entries
        ]


class TestStandardMarks:
    def test_custom_marks_go_on(self, rig: EngineRig) -> None:
        """51013 ends the changes of standard marks; those of custom marks beside them succeed."""
        standard = [rig.submit(put=FAVORITE), rig.submit(account="bea", put=FAVORITE)]
        custom = [rig.submit(EVE), rig.submit(EVE, account="bea")]
        rig.send(answer(51013))
        rig.run()

        assert [51013, 51013, 0, 0] == codes(*standard, *custom)


class TestApplication:
    def test_everything_fails_with_one_reason(self, rig: EngineRig) -> None:
        """All that waits, of all users, fails at once with that one reason."""
        entries = rig.submit_all(crowd(250)) + rig.submit_all(crowd(50), "bea")
        settlement = rig.send(answer(50003))

        assert {50003} == set(codes(*entries))
        assert all(isinstance(error_of(entry), ApplicationRefusedError) for entry in entries)
        assert set(entries) == set(settlement.done)
        assert not rig.is_ready

    def test_in_a_line(self, rig: EngineRig) -> None:
        """A line can refuse the application; other lines of the answer stand."""
        entries = rig.submit_all([BOB, EVE, ZOE])
        request = rig.take()
        waiting = rig.submit(account="bea")
        rig.reply(request, {EVE: 50003, ZOE: 50004})

        assert [0, 50003, 50003, 50003] == codes(*entries, waiting)

    def test_wrong_server(self, rig: EngineRig) -> None:
        """A status that the API never gives ends everything, too."""
        entries = rig.submit_all(crowd(250))
        rig.send(HttpAnswer(404, b""))

        assert all(isinstance(error_of(entry), AnswerError) for entry in entries)

    def test_what_is_in_flight(self, rig: EngineRig) -> None:
        """Another request in flight keeps its own outcome."""
        rig.submit(account="ann")
        other = rig.submit(account="bea")
        first, second = rig.take_all()
        rig.reply(first, answer(50003))
        early = codes(other)
        rig.reply(second)

        assert (["pending"], [0]) == (early, codes(other))

    def test_new_changes_for_a_second(self, refused: EngineRig) -> None:
        """For a second new changes get the same answer without a request."""
        refused.now = 0.9375
        entry = refused.submit()

        assert ([50003], 0) == (codes(entry), entry.attempts)
        assert not refused.is_ready

    def test_then_one_asks_for_all(self, refused: EngineRig) -> None:
        """After that second one request asks anew, while the others wait for its answer."""
        refused.now = 1.0
        entries = [refused.submit(account=account) for account in ("ann", "bea")]
        (request,) = refused.take_all()
        refused.reply(request)
        refused.run()

        assert [0, 0] == codes(*entries)


class TestProbation:
    """A session that does not know yet whether the server serves it."""

    def test_one_request_first(self) -> None:
        """The first request goes alone, for a second at most, until any good answer."""
        rig = EngineRig(served=False)
        rig.submit_users(3)
        (first,) = rig.take_all()

        assert [False, True] == [rig.engine.has_ready(now) for now in (0.9375, 1.0)]
        assert 1.0 == rig.engine.wake_at(0.0)
        rig.reply(first)
        assert 2 == len(rig.take_all())
