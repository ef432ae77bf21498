import json

import pytest
from rig import Rig
from spools import FAVORITE, peer, spool_of, spool_of_sizes

from chatmark import ApplicationRefusedError, ConversationMark, MarkChange, MarkedConversation
from chatmark.emulator import Refuse
from chatmark.jobs.server import Difference, read_back

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
        told: list[Difference] = []
        with spool_of_sizes({"amy": 300, "zoe": 400}) as spool:
            result = await read_back(rig.session(), spool, on_difference=told.append)

        assert (700, 700, 20, 700) == (
            result.conversations,
            result.differing,
            len(result.differences),
            len(told),
        )

    async def test_unread(self, rig: Rig) -> None:
        """Conversations that could not be read are neither as wanted nor different."""
        rig.emulator.script.always(Refuse(50001), account="eve")
        with spool_of_sizes({"amy": 1, "eve": 3}) as spool:
            result = await read_back(rig.session(), spool)
        document = json.loads(json.dumps(result.document()))

        assert (4, 1, 3) == (result.conversations, result.differing, result.unread)
        assert (4, 1, 3) == (
            document["conversations"],
            document["differing"],
            document["unread"],
        )
        assert "50001" in document["errors"][0]["error"]
        assert not result.ok

    async def test_refusal(self, rig: Rig) -> None:
        """A server that refuses the application is one plain error."""
        rig.emulator.script.always(Refuse(60006))
        sizes = {f"user_{number}": 1 for number in range(40)}
        with spool_of_sizes(sizes) as spool, pytest.raises(ApplicationRefusedError, match="60006"):
            await read_back(rig.session(), spool)
