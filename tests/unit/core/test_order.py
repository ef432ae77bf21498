"""Changes of one conversation: merged, and never overtaken, whatever fails between them."""

import pytest
from engine_rig import (
    BOB,
    DROPPED,
    EVE,
    FAVORITE,
    HIDDEN,
    UNSENT,
    ZOE,
    EngineRig,
    change,
    codes,
    crowd,
    names,
    texts,
)

from chatmark.conversations import Conversation


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


class TestMerging:
    def test_hot_conversation(self, rig: EngineRig) -> None:
        """
        Ten thousand changes of one conversation are one item, and each has a result of its own.
        """
        entries = [rig.submit(text=str(number)) for number in range(10_000)]
        request = rig.take()
        rig.reply(request)

        assert {"bob": "9999"} == texts(request)
        assert all(entry.report().ok for entry in entries)
        assert rig.is_empty

    def test_newest_wins_bit_by_bit(self, rig: EngineRig) -> None:
        """A bit goes where the newest change that names it sends it."""
        rig.submit(put=FAVORITE | HIDDEN)
        rig.submit(clear=FAVORITE)

        assert [change(put=HIDDEN, clear=FAVORITE)] == rig.take().changes

    def test_user_and_group_of_one_name(self, rig: EngineRig) -> None:
        """User a and group a are different items, with verdicts of their own."""
        both = [Conversation.one_to_one("a"), Conversation.group("a")]
        entries = rig.submit_all(both)
        request = rig.take()
        rig.reply(request, {both[1]: 50001})

        assert both == [each.conversation for each in request.changes]
        assert [0, 50001] == codes(*entries)

    def test_nothing_joins_what_is_in_flight(self, rig: EngineRig) -> None:
        """A change that comes while an older one is in flight goes in the next request."""
        first = rig.submit(text="1")
        request = rig.take()
        second = rig.submit(text="2")
        rig.reply(request)

        assert [0, "pending"] == codes(first, second)
        assert {"bob": "2"} == texts(rig.take())

    def test_all_fail_together(self, rig: EngineRig) -> None:
        """When an item is refused, every change that was merged into it is told."""
        entries = [rig.submit(text=str(number)) for number in range(3)]
        rig.send({BOB: 50001})

        assert [50001] * 3 == codes(*entries)


class TestRetries:
    def test_failed_change_goes_under_the_newer(self, rig: EngineRig) -> None:
        """A change whose request certainly failed is merged under the one that came meanwhile."""
        rig.submit(put=FAVORITE | HIDDEN)
        request = rig.take()
        rig.submit(clear=FAVORITE, text="new")
        rig.reply(request, UNSENT)
        rig.sleep()

        assert [change(put=HIDDEN, clear=FAVORITE, text="new")] == rig.take().changes

    def test_failed_item_goes_under_the_newer(self, rig: EngineRig) -> None:
        """So is one whose line said "again", although others of its request succeeded."""
        rig.submit(text="old")
        other = rig.submit(EVE)
        request = rig.take()
        rig.submit(text="new")
        rig.reply(request, {BOB: 50004})
        rig.sleep()

        assert {"bob": "new"} == texts(rig.take())
        assert other.report().ok

    def test_newer_joins_what_waits_for_a_backoff(self, rig: EngineRig) -> None:
        """A change cannot overtake an older one that waits to be sent again: it joins it."""
        entries = [rig.submit(text="old")]
        rig.send({BOB: 50005})
        entries.append(rig.submit(text="new"))
        early = rig.take_all()
        rig.now = 0.25
        request = rig.take()
        rig.reply(request)

        assert ([], {"bob": "new"}) == (early, texts(request))
        assert [(0, 2), (0, 1)] == [(each.report().code, each.attempts) for each in entries]

    def test_retry_goes_first(self, rig: EngineRig) -> None:
        """What was put back goes before what came later, in its old order."""
        rig.submit_all([ZOE, EVE])
        request = rig.take()
        rig.submit(BOB)
        rig.reply(request, DROPPED)

        assert ["zoe", "eve", "bob"] == names(rig.take())

    def test_success_is_final(self, rig: EngineRig) -> None:
        """Of a request with one fault only that item is sent again."""
        rig.submit_all(crowd(100))
        rig.send({crowd(100)[42]: 50004})
        rig.sleep()

        assert ["c42"] == names(rig.take())

    def test_joined_row_is_not_sent_early(self, rig: EngineRig) -> None:
        """A bulk job's row that a caller joined leaves no trace that would skip its backoff."""
        rig.submit(BOB, bulk=True)
        rig.submit_all([BOB, *crowd(100)])
        rig.send({BOB: 50004})
        rig.submit(EVE, bulk=True)

        assert ["c99", "eve"] == names(rig.take())
        assert [BOB] == [item.conversation for item in rig.engine.scheduler.find("ann").items()]

    def test_backoffs_end_in_their_order(self) -> None:
        """Of two items that wait, the one with the shorter wait goes first."""
        waits = iter([8.0, 1.0])
        rig = EngineRig(backoff=lambda _: next(waits))
        for each in (BOB, EVE):
            rig.submit(each)
            rig.send({each: 50004})

        assert (1.0, ["eve"]) == (rig.sleep(), names(rig.take()))


class TestDoubts:
    """A request without an answer may still run, for three seconds."""

    def test_holds_back_what_is_newer(self, rig: EngineRig) -> None:
        """The same change goes again meanwhile; the newer ones go merged, when it is over."""
        rig.submit(text="1")
        request = rig.take()
        newer = [rig.submit(text="2")]
        rig.reply(request, DROPPED)
        again = rig.take()
        rig.reply(again)
        early = rig.take_all()
        newer.append(rig.submit(text="3"))

        assert ({"bob": "1"}, [], 3.0) == (texts(again), early, rig.sleep())
        request = rig.take()
        rig.reply(request)
        assert {"bob": "3"} == texts(request)
        assert [0, 0] == codes(*newer)

    def test_outlives_the_change(self, rig: EngineRig) -> None:
        """A change that is submitted when the one in doubt has ended waits as well."""
        rig.submit(text="1")
        rig.send(DROPPED)
        rig.send()
        rig.now = 2.9
        rig.submit(text="2")

        assert [] == rig.take_all()
        rig.now = 3.0
        assert {"bob": "2"} == texts(rig.take())

    def test_is_of_one_conversation(self, rig: EngineRig) -> None:
        """Other conversations of the user go on."""
        rig.submit(text="1")
        request = rig.take()
        rig.submit(text="2")
        rig.submit(EVE)
        rig.reply(request, DROPPED)

        assert {"bob": "1", "eve": "x"} == texts(rig.take())

    def test_same_change_again(self, rig: EngineRig) -> None:
        """A caller that asks for the very change that is in doubt need not wait."""
        rig.submit(text="1")
        rig.send(DROPPED)
        rig.send()
        again = rig.submit(text="1")
        rig.send()

        assert again.report().ok

    def test_is_forgotten(self, rig: EngineRig) -> None:
        """A lane whose last doubt is over is forgotten."""
        rig.submit()
        rig.send(DROPPED)
        rig.send()
        rig.now = 3.0

        assert not rig.is_ready
        assert rig.is_empty
