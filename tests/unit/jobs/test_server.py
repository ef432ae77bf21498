import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest
from rig import Rig
from spools import FAVORITE, peer, spool_of, spool_of_sizes

from chatmark import (
    ApplicationRefusedError,
    ChatmarkError,
    ConversationMark,
    MarkChange,
    MarkedConversation,
    MarkSession,
)
from chatmark.emulator import Refuse, Status
from chatmark.jobs.grouping import Spool, Unit
from chatmark.jobs.server import Difference, read_ahead, read_back, read_units


class TestReadAhead:
    async def test_order(self) -> None:
        """Results come in the order of the items, of which no more are read than are asked."""
        read: list[int] = []

        def items() -> Iterator[int]:
            for number in range(100):
                read.append(number)
                yield number

        async def after_turns(number: int) -> int:
            for _ in range(number * 7 % 10):
                await asyncio.sleep(0)
            return -number

        async with contextlib.aclosing(read_ahead(after_turns, items(), at_once=4)) as results:
            found = [await anext(results), await anext(results)]

            assert 5 == len(read)

            found += [each async for each in results]

        assert [(number, -number) for number in range(100)] == found

    async def test_failure(self) -> None:
        """What an item's call raises comes at its turn, and the calls behind it are ended."""
        ended: list[int] = []

        async def call(number: int) -> int:
            if number == 1:
                raise ValueError(number)
            try:
                await asyncio.sleep(3600 if number else 0)
            except asyncio.CancelledError:
                ended.append(number)
                raise
            return number

        results = read_ahead(call, range(10), at_once=4)

        assert (0, 0) == await anext(results)
        with pytest.raises(ValueError, match="1"):
            await anext(results)
        assert [2, 3] == ended
        assert 1 == len(asyncio.all_tasks())


async def looked_up(session: MarkSession, spool: Spool) -> list[tuple[Unit, bool | str]]:
    """Return the units, and whether the server has each already, or the error of reading it."""
    return [
        (unit, str(found) if isinstance(found, ChatmarkError) else found.satisfies(unit.change))
        async for part in read_units(session, spool)
        for unit, found in part
    ]


class TestReadUnits:
    async def test_many_units_of_a_user(self, rig: Rig) -> None:
        """
        Every unit comes once and in order, with what is there; many of a user are asked in parts.
        """
        for number in range(90):
            rig.emulator.state.seed_mark("amy", (1, peer(number * 30).id), 1)
        with spool_of_sizes({"amy": 2_700, "zoe": 1}) as spool:
            found = await looked_up(rig.session(), spool)

        assert list(range(2_701)) == [unit.position for unit, _ in found]
        assert list(range(0, 2_700, 30)) == [unit.position for unit, same in found if same is True]
        assert {"search_contact_group": 10} == dict(rig.emulator.counts)

    async def test_outage(self, rig: Rig) -> None:
        """A server that answers nobody is not asked about everybody."""
        rig.emulator.script.always(Status(502))
        with spool_of_sizes({f"user_{number:03}": 1 for number in range(400)}) as spool:
            found = await looked_up(rig.session(deadline=0.0), spool)

        assert [str] * 400 == [type(same) for _, same in found]
        assert sum(rig.emulator.counts.values()) < 120


HIDDEN, UNREAD = ConversationMark.HIDDEN, ConversationMark.UNREAD


class TestDifference:
    @pytest.mark.parametrize(
        ("wanted", "found", "is_of_clients"),
        [
            ({"set_mark": HIDDEN | FAVORITE}, {"mark": FAVORITE}, True),
            ({"set_mark": HIDDEN | UNREAD}, {}, True),
            ({"set_mark": HIDDEN | FAVORITE}, {}, False),
            ({"set_mark": HIDDEN, "clear_mark": FAVORITE}, {"mark": FAVORITE}, False),
            ({"set_mark": HIDDEN, "custom_mark": "x"}, {}, False),
            ({"clear_mark": HIDDEN}, {"mark": HIDDEN}, False),
        ],
    )
    def test_cleared_by_clients(
        self,
        wanted: dict[str, ConversationMark],
        found: dict[str, ConversationMark],
        is_of_clients: bool,
    ) -> None:
        """What the vendor's own clients clear is told from what else may differ."""
        change = MarkChange("amy", peer(0), **wanted)  # type: ignore[arg-type]
        has = MarkedConversation(peer(0), **found)  # type: ignore[arg-type]

        assert is_of_clients == Difference(change, has).is_of_clients

    def test_document(self) -> None:
        """A difference says what is wanted, what is there, and what clients clear."""
        change = MarkChange("amy", peer(0), HIDDEN | FAVORITE, UNREAD, "x")
        has = MarkedConversation(peer(0), UNREAD)

        assert {
            "line": 4,
            "rows": 2,
            "wanted": {
                "from_account": "amy",
                "to_account": "peer_00000",
                "set_mark": ["favorite", "hidden"],
                "clear_mark": ["unread"],
                "custom_mark": "x",
            },
            "found": {"mark": [1], "custom_mark": ""},
            "missing": [0, 3],
            "extra": [1],
            "cleared_by_clients": [3],
        } == json.loads(json.dumps(Difference(change, has, 4, 2).document()))


class TestReadBack:
    async def test_compares(self, rig: Rig) -> None:
        """Every conversation is compared once with the net effect of its rows."""
        rig.emulator.state.seed_mark("amy", (1, peer(0).id), 1, "x")
        rig.emulator.state.seed_mark("zoe", (1, peer(1).id), 9)
        changes = [
            MarkChange("amy", peer(0), HIDDEN, custom_mark="x"),
            MarkChange("amy", peer(0), FAVORITE, HIDDEN),
            MarkChange("zoe", peer(0), HIDDEN),
            MarkChange("zoe", peer(1), clear_mark=HIDDEN),
            MarkChange("zoe", peer(2), clear_mark=HIDDEN, custom_mark=""),
        ]
        told: list[Difference] = []
        with spool_of(changes) as spool:
            result = await read_back(rig.session(), spool, on_difference=told.append)

        assert (4, 2, 1, 0) == (
            result.conversations,
            result.differing,
            result.of_clients,
            result.unread,
        )
        assert 2 == result.as_wanted
        assert not result.ok
        assert changes[2:4] == [each.wanted for each in result.differences]
        assert told == result.differences
        assert [3, 4] == [each.line for each in told]
        assert (0, 3) == told[1].found.mark.bits

    async def test_many(self, rig: Rig) -> None:
        """Of many differences the first are kept, and all are counted and told."""
        rig.emulator.script.always(Refuse(50001), account="eve")
        told: list[Difference] = []
        with spool_of_sizes({"amy": 300, "eve": 3, "zoe": 400}) as spool:
            result = await read_back(rig.session(), spool, on_difference=told.append)
        document = json.loads(json.dumps(result.document()))

        assert (703, 700, 3) == (
            *(document["conversations"], document["differing"], document["unread"]),
        )
        assert (20, 700, 0) == (len(result.differences), len(told), result.as_wanted)
        assert ["eve"] == [each["from_account"] for each in document["errors"]]
        assert "50001" in document["errors"][0]["error"]
        assert not result.ok

    async def test_refusal(self, rig: Rig) -> None:
        """A server that refuses the application is one plain error."""
        rig.emulator.script.always(Refuse(60006))
        sizes = {f"user_{number}": 1 for number in range(40)}
        with spool_of_sizes(sizes) as spool, pytest.raises(ApplicationRefusedError, match="60006"):
            await read_back(rig.session(), spool)
