import asyncio
import io
import os
import pathlib
import threading

import pytest

from chatmark.jobs.files import ChangeFile
from chatmark.jobs.intake import Intake
from chatmark.models import MarkChange

GOOD = b'{"from_account": "a", "to_account": "b", "set_mark": 0}\n'


async def collect(intake: Intake) -> list[MarkChange]:
    """
    Return all changes of an intake.
    """
    return [change async for change in intake]


class TestFile:
    async def test_all_rows(self, tmp_path: pathlib.Path) -> None:
        """
        Each change of a file comes, and is counted.
        """
        path = tmp_path / "f.jsonl"
        path.write_bytes(GOOD * 1_000)
        intake = Intake(ChangeFile.of(str(path)))
        changes = await collect(intake)

        assert (1_000, 1_000, 1_000, None) == (
            len(changes),
            intake.rows,
            intake.changes,
            intake.error,
        )

    async def test_turns(self, tmp_path: pathlib.Path) -> None:
        """
        The event loop gets its turn while a file is read.
        """
        path = tmp_path / "f.jsonl"
        path.write_bytes(GOOD * 2_000)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await collect(Intake(ChangeFile.of(str(path))))
        task.cancel()

        assert turns >= 10

    async def test_bad_row(self, tmp_path: pathlib.Path) -> None:
        """
        A bad row ends it, and is kept.
        """
        path = tmp_path / "f.jsonl"
        path.write_bytes(GOOD + b"x\n" + GOOD)
        intake = Intake(ChangeFile.of(str(path)))

        assert 1 == len(await collect(intake))
        assert f"{path}:2: row" in str(intake.error)

    async def test_missing(self, tmp_path: pathlib.Path) -> None:
        """
        A file that went away is an error.
        """
        with pytest.raises(FileNotFoundError):
            await collect(Intake(ChangeFile.of(str(tmp_path / "f.jsonl"))))


class TestStream:
    async def test_all_rows(self) -> None:
        """
        Each change of a stream comes, in order, many more of them than wait at once.
        """
        lines = [GOOD.replace(b'"b"', b'"b%d"' % number) for number in range(25_000)]
        intake = Intake(ChangeFile.of("-"), io.BytesIO(b"".join(lines)))
        ids = [change.conversation.id async for change in intake]

        assert [f"b{number}" for number in range(25_000)] == ids

    async def test_as_they_come(self) -> None:
        """
        A row comes as soon as it is written, long before the stream ends.
        """
        source, sink = os.pipe()
        with os.fdopen(source, "rb") as stream, os.fdopen(sink, "wb", buffering=0) as writer:
            changes = aiter(Intake(ChangeFile.of("-"), stream))
            writer.write(GOOD)
            first = await asyncio.wait_for(anext(changes), 5)
            writer.write(GOOD.replace(b'"b"', b'"c"'))
            second = await asyncio.wait_for(anext(changes), 5)
            writer.close()

            assert await anext(changes, None) is None
        assert ["b", "c"] == [each.conversation.id for each in (first, second)]

    async def test_bad_row(self) -> None:
        """
        A bad row ends it, and is kept.
        """
        intake = Intake(ChangeFile.of("-"), io.BytesIO(GOOD + b"{}\n" + GOOD))

        assert 1 == len(await collect(intake))
        assert "<stdin>:2: from_account" in str(intake.error)

    async def test_read_error(self) -> None:
        """
        What reading raises comes out after the rows before it.
        """

        class Broken(io.BytesIO):
            def readline(self, size: int | None = -1, /) -> bytes:
                line = super().readline(size)
                if not line:
                    raise OSError(5, "Input/output error")
                return line

        intake = Intake(ChangeFile.of("-"), Broken(GOOD * 3))
        with pytest.raises(OSError, match="Input/output"):
            await collect(intake)

        assert 3 == intake.rows

    async def test_left_early(self) -> None:
        """
        The thread ends when nobody wants more rows.
        """
        changes = aiter(Intake(ChangeFile.of("-"), io.BytesIO(GOOD * 50_000)))
        await anext(changes)
        [thread] = [each for each in threading.enumerate() if each.name == "chatmark-intake"]
        await changes.aclose()
        await asyncio.to_thread(thread.join, 5)

        assert not thread.is_alive()
