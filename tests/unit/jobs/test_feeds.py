import asyncio
import io
import os
import threading
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.jobs.grouping import Unit
from chatmark.jobs.sending.feeds import ChangeStream, batches_to_send
from chatmark.jobs.sources.files import ChangeFile
from chatmark.marks import ConversationMark

GOOD = b'{"from_account": "a", "to_account": "b", "set_mark": 0}\n'


async def collect(stream: ChangeStream) -> list[MarkChange]:
    """Return all changes of an stream."""
    return [unit.change async for [unit] in stream.batches(bool)]


@attrs.define
class Disk:
    """A file of rows that notes how many of them are on the disk."""

    rows: int = 0
    safe: int = 0

    def sync(self) -> None:
        """Note them."""
        self.safe = self.rows

    def add(self, *_: object) -> bool:
        """Take the row of a unit that is to be sent."""
        self.rows += 1
        return True


class TestBatches:
    @pytest.mark.parametrize("interval", [0.0, 3600.0])
    async def test_of_users(self, monkeypatch: pytest.MonkeyPatch, interval: float) -> None:
        """A batch is what a request holds of one user, and comes behind its rows on the disk."""
        monkeypatch.setattr("chatmark.jobs.sending.feeds._SYNCED_EVERY", interval)
        sizes = (("amy", 150), ("amy", 130), ("eve", 1), ("zoe", 100))
        positions = iter(range(381))

        async def reading() -> AsyncGenerator[Any]:
            for user, size in sizes:
                peers = [Conversation.one_to_one(f"peer_{number}") for number in range(size)]
                changes = [MarkChange(user, each, ConversationMark.FAVORITE) for each in peers]
                yield [(Unit(next(positions), each, 1, 1), None) for each in changes]

        disk = Disk()
        found: list[list[Unit]] = []
        undo: Any = disk
        async for batch in batches_to_send(reading(), disk.add, undo):
            assert batch[-1].position < disk.safe
            found.append(batch)

        assert [100, 100, 80, 1, 100] == [len(batch) for batch in found]
        assert list(range(381)) == [unit.position for batch in found for unit in batch]


class TestStream:
    async def test_all_rows(self) -> None:
        """Each change of a stream comes, in order, many more of them than wait at once."""
        lines = [GOOD.replace(b'"b"', b'"b%d"' % number) for number in range(25_000)]
        stream = ChangeStream(ChangeFile.of("-"), io.BytesIO(b"".join(lines)))
        units = [unit async for [unit] in stream.batches(bool)]

        assert [(number, f"b{number}", number + 1) for number in range(25_000)] == [
            (unit.position, unit.change.conversation.id, unit.line) for unit in units
        ]

    async def test_as_they_come(self) -> None:
        """A row comes as soon as it is written, long before the stream ends."""
        source, sink = os.pipe()
        with os.fdopen(source, "rb") as stream, os.fdopen(sink, "wb", buffering=0) as writer:
            units = ChangeStream(ChangeFile.of("-"), stream).batches(bool)
            writer.write(GOOD)
            [first] = await asyncio.wait_for(anext(units), 5)
            writer.write(GOOD.replace(b'"b"', b'"c"'))
            [second] = await asyncio.wait_for(anext(units), 5)
            writer.close()

            assert await anext(units, None) is None
        assert ["b", "c"] == [each.change.conversation.id for each in (first, second)]

    async def test_bad_row(self) -> None:
        """A bad row ends it, and is kept."""
        stream = ChangeStream(ChangeFile.of("-"), io.BytesIO(GOOD + b"{}\n" + GOOD))

        assert 1 == len(await collect(stream))
        assert "<stdin>:2: from_account" in str(stream.error)

    async def test_set_aside(self) -> None:
        """As many bad rows as are allowed are set aside; the next is the end of it."""
        aside: list[dict[str, object]] = []
        stream = ChangeStream(
            ChangeFile.of("-"), io.BytesIO(b"x\n" + GOOD + b"{}\nyy\n"), max_errors=2
        )

        assert 1 == len([unit async for unit in stream.batches(aside.append)])
        assert (3, 2) == (stream.rows, stream.bad)
        assert ["x", "{}"] == [row["_raw"] for row in aside]
        assert "<stdin>:4: row" in str(stream.error)

    async def test_read_error(self) -> None:
        """What reading raises comes out after the rows before it."""

        class Broken(io.BytesIO):
            def readline(self, size: int | None = -1, /) -> bytes:
                line = super().readline(size)
                if not line:
                    raise OSError(5, "Input/output error")
                return line

        stream = ChangeStream(ChangeFile.of("-"), Broken(GOOD * 3))
        with pytest.raises(OSError, match="Input/output"):
            await collect(stream)

        assert 3 == stream.rows

    async def test_left_early(self) -> None:
        """The thread ends when nobody wants more rows."""
        units = ChangeStream(ChangeFile.of("-"), io.BytesIO(GOOD * 50_000)).batches(bool)
        await anext(units)
        [thread] = [each for each in threading.enumerate() if each.name == "chatmark-stream"]
        await units.aclose()
        await asyncio.to_thread(thread.join, 5)

        assert not thread.is_alive()
