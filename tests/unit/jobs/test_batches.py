from collections.abc import AsyncGenerator, Mapping

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.jobs.grouping import Unit
from chatmark.jobs.sending.feeds import batches_as_read, batches_of
from chatmark.marks import ConversationMark


async def units(sizes: Mapping[str, int]) -> AsyncGenerator[Unit]:
    """Yield so many units of each user."""
    position = 0
    for user, size in sizes.items():
        for number in range(size):
            peer = Conversation.one_to_one(f"peer_{number}")
            change = MarkChange(user, peer, ConversationMark.FAVORITE)
            yield Unit(position, change, 1, position + 1)
            position += 1


class TestPortions:
    async def test_requests(self) -> None:
        """A batch is what one request can take: a hundred units at most, of one user."""
        batches = [
            each async for each in batches_as_read(units({"amy": 250, "eve": 1, "zoe": 100}))
        ]

        assert [100, 100, 50, 1, 100] == [len(batch) for batch in batches]
        assert all(len({unit.change.from_account for unit in each}) == 1 for each in batches)
        assert list(range(351)) == [unit.position for each in batches for unit in each]

    async def test_end_of_a_user(self) -> None:
        """A batch that no unit can join any more goes at once, and does not wait for the next."""
        taken = 0

        async def some() -> AsyncGenerator[Unit | None]:
            nonlocal taken
            yield None
            async for unit in units({"amy": 2, "eve": 1}):
                taken += 1
                yield unit
                if unit.position:
                    yield None
                    yield None

        found = [(len(each), taken) async for each in batches_as_read(some())]

        assert [(2, 2), (1, 3)] == found

    async def test_ready(self) -> None:
        """Units that are there already come in the same batches."""
        sizes = {"amy": 250, "eve": 1, "zoe": 100}
        ready = [each async for each in units(sizes)]

        assert [each async for each in batches_as_read(units(sizes))] == [
            each async for each in batches_of(ready)
        ]

    async def test_nothing(self) -> None:
        """Without units there is no batch."""
        assert [] == [each async for each in batches_as_read(units({}))]

    async def test_one_by_one(self) -> None:
        """What comes from a stream goes as it comes."""
        batches = [each async for each in batches_as_read(units({"amy": 3}), most=1)]

        assert [1, 1, 1] == [len(batch) for batch in batches]
