"""What failed is seen: by the caller who waits, by the one who closes, and in the log."""

import asyncio
import gc
import logging

import pytest
from virtual_rig import BOB, VirtualRig, change, changes

from chatmark import (
    ConversationMark,
    DeadlineExceededError,
    ItemRefusedError,
    TransportError,
)
from chatmark.emulator import Hang, Refuse, Status

pytestmark = pytest.mark.virtual_time


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return what was logged at a level."""
    return [record.getMessage() for record in caplog.records if record.levelno == level]


class TestHandle:
    async def test_raises(self, rig: VirtualRig) -> None:
        """Awaiting a handle raises what failed, about its change; `settled` gives it as data."""
        rig.emulator.script.always(Refuse(51008))
        session = rig.session()
        handle = await session.submit(change("alice", "bob"))
        result = await handle.settled()
        with pytest.raises(ItemRefusedError, match="alice c2c_bob: 51008") as first:
            await handle
        with pytest.raises(ItemRefusedError) as second:
            await handle
        with pytest.raises(ItemRefusedError):
            result.raise_for_failure()

        assert not result.ok
        assert handle.change is first.value.change
        assert first.value is not second.value

    async def test_deadline_has_its_cause(self, rig: VirtualRig) -> None:
        """The last fault is the cause of an exceeded deadline."""
        rig.emulator.script.always(Status(503))
        with pytest.raises(DeadlineExceededError) as caught:
            await rig.session(deadline=3.0).mark("alice", BOB, custom_mark="x")

        assert caught.value.last is caught.value.__cause__
        assert "alice c2c_bob" in str(caught.value)

    async def test_never_sent(self, rig: VirtualRig) -> None:
        """A change whose requests never left is told apart from one that got no answer."""
        await rig.emulator.stop()
        handle = await rig.session(deadline=2.0).submit(change())
        result = await handle.settled()
        await rig.emulator.start()
        rig.emulator.script.always(Hang())
        other = await (await rig.session(deadline=2.0, timeout=1.0).submit(change())).settled()

        assert isinstance(result.error, DeadlineExceededError)
        assert isinstance(result.error.last, TransportError)
        assert (False, True) == (result.sent, other.sent)


class TestUnseen:
    async def test_dropped_handles(self, rig: VirtualRig, caplog: pytest.LogCaptureFixture) -> None:
        """
        A thousand failures that nobody looks at are a line with their codes and the first of them.
        """
        rig.emulator.script.always(Refuse(50001))
        session = rig.session()
        for each in changes(1000, 5):
            await session.submit(each)
        await session.flush()
        gc.collect()
        await asyncio.sleep(2)
        said = [line for line in lines(caplog, logging.WARNING) if "no caller read" in line]

        assert 1 <= len(said) <= 3
        assert "with 50001" in said[0]
        assert "user_" in said[0]

    async def test_seen(self, rig: VirtualRig, caplog: pytest.LogCaptureFixture) -> None:
        """What a caller looked at is not told again."""
        rig.emulator.script.always(Refuse(50001))
        session = rig.session()
        handles = [await session.submit(each) for each in changes(20)]
        results = [await handle.settled() for handle in handles]
        del handles
        await session.apply(changes(10))
        await session.close()

        assert {50001} == {result.code for result in results}
        assert [] == lines(caplog, logging.WARNING)


class TestLog:
    @pytest.mark.parametrize("users", [1, 100])
    async def test_outage(
        self, rig: VirtualRig, caplog: pytest.LogCaptureFixture, users: int
    ) -> None:
        """
        An outage is one WARNING when it begins, with its cause, and one when it ends.

        The number of users does not matter.
        """
        session = rig.session()
        await session.mark("alice", BOB, custom_mark="x")
        rig.emulator.script.always(Status(503))
        for each in changes(users, users):
            await session.submit(each)
        await asyncio.sleep(10)
        rig.emulator.script.clear()
        await session.flush()
        began, ended = lines(caplog, logging.WARNING)

        assert "an outage has begun" in began
        assert "HTTP 503" in began
        assert "the outage is over" in ended

    async def test_refusal(self, rig: VirtualRig, caplog: pytest.LogCaptureFixture) -> None:
        """A wrong key is one ERROR, however many changes fail with it."""
        rig.emulator.script.always(Refuse(70009))
        session = rig.session()
        await session.apply(changes(500, 50))
        await asyncio.sleep(5)
        await session.apply(changes(500, 50))

        assert 1 == len(lines(caplog, logging.ERROR))

    async def test_hook(self, rig: VirtualRig, caplog: pytest.LogCaptureFixture) -> None:
        """A hook that raises is logged with its place, and without its text."""

        def hook(_: object) -> None:
            raise LookupError("secret")

        await rig.session(hooks=[hook]).mark("alice", BOB, custom_mark="x")
        said = lines(caplog, logging.ERROR)[0]

        assert "LookupError" in said
        assert "test_unseen.py:" in said
        assert "secret" not in said


class TestCounters:
    async def test_retries_agree(self, rig: VirtualRig) -> None:
        """The number of retries is the sum of those by reason."""
        rig.emulator.script.next(Status(503), Refuse(50004))
        session = rig.session()
        await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)
        stats = session.stats

        assert 2 == stats.retries == sum(stats.retries_by_reason.values())
