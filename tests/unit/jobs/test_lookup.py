import pytest
from rig import Rig
from spools import peer

from chatmark import ConversationMark, MarkedConversation, MarkedPage, RefusedError
from chatmark.emulator import Refuse
from chatmark.jobs.server.lookup import Inquiry, Lookup, LookupCosts

FAVORITE = ConversationMark.FAVORITE


def pages_of(marked: int, size: int) -> list[MarkedPage]:
    """
    Return the pages of a user with so many marked conversations.
    """
    return [
        MarkedPage(
            tuple(
                MarkedConversation(peer(number), FAVORITE)
                for number in range(start, min(start + size, marked))
            ),
            start + size >= marked,
        )
        for start in range(0, max(marked, 1), size)
    ]


def seed(rig: Rig, count: int) -> None:
    """
    Let amy have so many favorites.
    """
    for number in range(count):
        rig.emulator.state.seed_mark("amy", (1, peer(number).id), 1)


class TestInquiry:
    def test_search_to_300(self) -> None:
        """
        Up to 300 conversations are one search.
        """
        step = next(Inquiry().steps(peer(number) for number in range(300)))

        assert 300 == len(step or ())

    def test_page_for_more(self) -> None:
        """
        More than that begin with a page, since it may be the only one.
        """
        steps = Inquiry().steps(peer(number) for number in range(301))

        assert next(steps) is None
        with pytest.raises(StopIteration) as end:
            steps.send(pages_of(7, 100)[0])
        answer = end.value.value
        assert 301 == len(answer)
        assert FAVORITE == answer[peer(6)].mark
        assert MarkedConversation(peer(7)) == answer[peer(7)]

    @pytest.mark.parametrize(("size", "searched"), [(50, 950), (400, None)])
    def test_size_decides(self, size: int, searched: int | None) -> None:
        """
        A first page that is not the last tells by its size whether searching is the shorter way.
        """
        steps = Inquiry().steps(peer(number) for number in range(1000))
        next(steps)
        step = steps.send(pages_of(1000, size)[0])

        assert searched == (None if step is None else len(step))

    def test_empty_page(self) -> None:
        """
        A page without conversations that is not the last says nothing, and divides by nothing.
        """
        steps = Inquiry().steps(peer(number) for number in range(1000))
        next(steps)

        assert 1000 == len(steps.send(MarkedPage((), is_last=False)) or ())

    def test_parts(self) -> None:
        """
        Pages that came for one part serve the next; what was searched for is known no more.
        """
        inquiry = Inquiry()
        steps = inquiry.steps(peer(number) for number in range(301))
        next(steps)
        with pytest.raises(StopIteration):
            steps.send(pages_of(50, 100)[0])
        with pytest.raises(StopIteration) as end:
            next(inquiry.steps([peer(9), peer(999)]))

        assert {peer(9): FAVORITE, peer(999): ConversationMark()} == {
            each.conversation: each.mark for each in end.value.value.values()
        }


class TestLookup:
    @pytest.mark.parametrize(
        ("marked", "wanted", "page_size", "calls"),
        [
            (0, 1, 100, {"search": 1}),
            (500, 300, 100, {"search": 1}),
            (80, 900, 100, {"get": 1}),
            (1000, 900, 100, {"get": 1, "search": 3}),
            (1000, 400, 100, {"get": 1, "search": 1}),
            (1000, 1000, 500, {"get": 2}),
            (600, 1000, 200, {"get": 1, "search": 3}),
        ],
    )
    async def test_calls(
        self, rig: Rig, marked: int, wanted: int, page_size: int, calls: dict[str, int]
    ) -> None:
        """
        Every conversation is found, in the calls that the costs foretell.
        """
        rig.emulator.state.page_size = page_size
        seed(rig, marked)
        conversations = [peer(number) for number in range(wanted)]
        lookup = Lookup(rig.session(), "amy")
        found = await lookup.find(conversations)
        await lookup.aclose()
        costs = LookupCosts(pages_of(marked, page_size))
        costs.find(conversations)

        assert conversations == sorted(found)
        assert min(marked, wanted) == sum(each.mark == FAVORITE for each in found.values())
        assert calls == {
            command.split("_")[0]: count for command, count in rig.emulator.counts.items()
        }
        assert costs.calls == sum(calls.values())

    async def test_a_part_that_was_sent(self, rig: Rig) -> None:
        """
        Pages that move because the part before was sent hide nothing of the next.
        """
        rig.emulator.state.page_size = 700
        seed(rig, 2400)
        lookup = Lookup(rig.session(), "amy")
        await lookup.find(peer(number) for number in range(1200))
        for number in range(1200):
            rig.emulator.state.apply("amy", (1, peer(number).id), 0, 1, None)
        found = await lookup.find(peer(number) for number in range(1200, 2400))
        await lookup.aclose()

        assert {FAVORITE} == {each.mark for each in found.values()}

    async def test_after_a_failure(self, rig: Rig) -> None:
        """
        Who asks again after a page that failed is answered.
        """
        seed(rig, 5)
        rig.emulator.script.next(Refuse(50001))
        lookup = Lookup(rig.session(), "amy")
        conversations = [peer(number) for number in range(301)]
        with pytest.raises(RefusedError, match="50001"):
            await lookup.find(conversations)
        found = await lookup.find(conversations)
        await lookup.aclose()

        assert 5 == sum(bool(each.mark) for each in found.values())
