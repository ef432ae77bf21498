from collections.abc import AsyncGenerator, Iterable
from typing import Any

import pytest
from rig import Rig
from spools import peer

from chatmark import Conversation, ConversationMark, MarkedConversation, MarkedPage, RefusedError
from chatmark.emulator import Refuse
from chatmark.jobs.server.lookup import Lookup, calls_of_lookup

FAVORITE = ConversationMark.FAVORITE


def seed(rig: Rig, count: int) -> None:
    """Let amy have so many favorites."""
    for number in range(count):
        rig.emulator.state.seed_mark("amy", (1, peer(number).id), 1)


class TestLookup:
    @pytest.mark.parametrize(
        ("marked", "wanted", "page_size", "calls"),
        [
            (0, 1, 100, {"search": 1}),
            (500, 300, 100, {"search": 1}),
            (7, 301, 100, {"get": 1}),
            (80, 900, 100, {"get": 1}),
            (1000, 900, 100, {"get": 1, "search": 3}),
            (1000, 400, 100, {"get": 1, "search": 1}),
            (1000, 1000, 400, {"get": 2, "search": 1}),
            (1000, 1000, 500, {"get": 2}),
            (600, 1000, 200, {"get": 1, "search": 3}),
        ],
    )
    async def test_calls(
        self, rig: Rig, marked: int, wanted: int, page_size: int, calls: dict[str, int]
    ) -> None:
        """Every conversation is found, in as many calls as the estimate says."""
        rig.emulator.state.page_size = page_size
        seed(rig, marked)
        conversations = [peer(number) for number in range(wanted)]
        lookup = Lookup(rig.session(), "amy")
        found = await lookup.find(conversations)
        await lookup.aclose()
        sizes = [min(page_size, marked - start) for start in range(0, max(marked, 1), page_size)]
        early = min(page_size, marked, wanted)

        assert conversations == sorted(found)
        assert min(marked, wanted) == sum(each.mark == FAVORITE for each in found.values())
        assert calls == {
            command.split("_")[0]: count for command, count in rig.emulator.counts.items()
        }
        assert sum(calls.values()) == sum(calls_of_lookup(wanted, early, sizes))

    async def test_empty_page(self) -> None:
        """
        A page without conversations that is not the last says nothing, and divides by nothing.
        """

        class Session:
            async def pages(self, _: str) -> AsyncGenerator[MarkedPage]:
                yield MarkedPage((), is_last=False)

            async def search(self, _: str, wanted: Iterable[Conversation]) -> dict[Any, Any]:
                return {each: MarkedConversation(each, FAVORITE) for each in wanted}

        lookup = Lookup(Session(), "amy")  # type: ignore[arg-type]
        found = await lookup.find(peer(number) for number in range(1000))
        await lookup.aclose()

        assert [FAVORITE] * 1000 == [each.mark for each in found.values()]

    async def test_parts(self, rig: Rig) -> None:
        """Pages that came for one part serve the next."""
        seed(rig, 50)
        lookup = Lookup(rig.session(), "amy")
        await lookup.find(peer(number) for number in range(301))
        found = await lookup.find([peer(9), peer(999)])
        await lookup.aclose()

        assert {peer(9): FAVORITE, peer(999): ConversationMark(0)} == {
            place: each.mark for place, each in found.items()
        }
        assert 1 == rig.emulator.counts.total()

    async def test_a_part_that_was_sent(self, rig: Rig) -> None:
        """Pages that move because the part before was sent hide nothing of the next."""
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
        """Who asks again after a page that failed is answered."""
        seed(rig, 5)
        rig.emulator.script.next(Refuse(50001))
        lookup = Lookup(rig.session(), "amy")
        conversations = [peer(number) for number in range(301)]
        with pytest.raises(RefusedError, match="50001"):
            await lookup.find(conversations)
        found = await lookup.find(conversations)
        await lookup.aclose()

        assert 5 == sum(bool(each.mark) for each in found.values())
