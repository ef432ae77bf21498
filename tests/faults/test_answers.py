import asyncio
from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from virtual_rig import BOB, VirtualRig, change, changes

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    Conversation,
    DeadlineExceededError,
    ItemRefusedError,
    OutcomeUnknownError,
)
from chatmark.emulator import (
    DropLines,
    DuplicateLines,
    Emulator,
    Envelope,
    ExtraLines,
    Fault,
    NamelessLines,
    Refuse,
    Shuffle,
)

pytestmark = pytest.mark.virtual_time


class TestWholeAnswer:
    @pytest.mark.parametrize(
        ("fault", "reason", "seconds"),
        [
            # Another attempt.
            *((Refuse(code), str(code), 1.0) for code in (50004, 50005, 60008, 60014, 70500)),
            # Slow down.
            *((Refuse(code), str(code), 1.1) for code in (60007, 60011, 60018, 60019)),
            (Refuse(70050), "70050", 60.1),
            # A new signature.
            *((Refuse(code), str(code), 0.0) for code in (70001, 60004)),
            # Neither yes nor no.
            (Envelope({"ActionStatus": "FAIL"}, applied=True), "FAIL", 1.0),
            (Envelope({"ErrorCode": 60008}, applied=True), "60008", 1.0),
            (Envelope({"ErrorCode": "0"}, applied=True), "unreadable", 1.0),
            (Envelope({"ErrorCode": "60008"}), "unreadable", 1.0),
            (Envelope(omit=["ErrorCode"], applied=True), "unreadable", 1.0),
        ],
        ids=repr,
    )
    async def test_is_asked_again(
        self, rig: VirtualRig, fault: Fault, reason: str, seconds: float
    ) -> None:
        """
        Each class of code that is worth another attempt, of the whole call: the second succeeds.

        So do FAIL with code 0, OK with a code that is not 0, and codes that are text or not there.
        """
        rig.emulator.script.next(fault)
        session = rig.session(deadline=120.0)
        result = await session.mark("alice", BOB, custom_mark="x")

        assert (True, 2) == (result.ok, result.attempts)
        assert {reason: 1} == dict(session.stats.retries_by_reason)
        assert rig.now <= seconds

    @pytest.mark.parametrize("code", [50001, 51008, 60003, 12345, 99999])
    async def test_refuses_the_items(self, rig: VirtualRig, code: int) -> None:
        """A code against the items, or an unknown code, is final for its request and no other."""
        rig.emulator.script.next(Refuse(code))
        session = rig.session()
        with pytest.raises(ItemRefusedError, match=str(code)):
            await session.mark("alice", BOB, custom_mark="x")
        report = await session.apply(changes(200, 2))

        assert (200, 3) == (report.succeeded, session.stats.calls)

    async def test_doubts_a_group(self, rig: VirtualRig) -> None:
        """51007, on which the vendor's pages disagree, is asked once more, and then believed."""
        rig.emulator.script.item((2, "gone"), 51007, times=None)
        rig.emulator.script.item((2, "busy"), 51007)
        session = rig.session()
        results = await asyncio.gather(
            session.mark("alice", Conversation.group("busy"), custom_mark="x"),
            session.mark("alice", Conversation.group("gone"), custom_mark="x"),
            return_exceptions=True,
        )

        assert not isinstance(results[0], BaseException)
        assert (True, 2) == (results[0].ok, results[0].attempts)
        assert isinstance(results[1], ItemRefusedError)
        assert 2 == session.stats.calls

    @pytest.mark.parametrize(
        "code",
        [50003, 51013, 60006, 60010, 60016, 60020, 60021, 70003, 70009, 70013, 70014, 70020, 70051],
    )
    async def test_refuses_the_application(self, rig: VirtualRig, code: int) -> None:
        """A code against the application, whatever its status says: one request for all users."""
        fields = {"ActionStatus": "OK", "ErrorCode": code, "ErrorInfo": "", "ResultItem": []}
        rig.emulator.script.always(Envelope(fields))
        session = rig.session()
        handles = [await session.submit(each) for each in changes(300, 30)]
        results = [await handle.settled() for handle in handles]

        assert {ApplicationRefusedError} == {type(each.error) for each in results}
        assert ({code}, 1) == ({each.code for each in results}, session.stats.calls)

    @pytest.mark.parametrize(
        "fields",
        [{"ActionStatus": "FAIL"}, {"ErrorCode": "0"}, {"ErrorCode": None}, {"ResultItem": "none"}],
        ids=repr,
    )
    async def test_never_makes_sense(self, rig: VirtualRig, fields: dict[str, Any]) -> None:
        """
        FAIL with code 0, and codes or lines of a wrong type, for ever: an error, never success.
        """
        rig.emulator.script.always(Envelope(fields, applied=True))
        session = rig.session(deadline=5.0)
        with pytest.raises(DeadlineExceededError) as caught:
            await session.mark("alice", BOB, custom_mark="x")

        assert isinstance(caught.value.last, AnswerError)
        assert 5.0 <= rig.now <= 6.0


@attrs.frozen
class Lines:
    """
    An answer to a request of a hundred items in which some lines are amiss.

    Args:
        name: What is amiss.
        order: Makes it so.
        requests: The sizes of all requests.
        error: What the items that failed are told, None when none fails.
        failed: How many fail.
    """

    name: str
    order: Callable[[Emulator], object]
    requests: tuple[int, ...]
    error: type[ChatmarkError] | None = None
    failed: int = 0


def _codes(
    *orders: tuple[int, range | tuple[int, ...]], ever: bool = False
) -> Callable[[Emulator], object]:
    def order(emulator: Emulator) -> None:
        for code, peers in orders:
            for peer in peers:
                key = (1, f"peer_{peer}")
                emulator.script.item(key, code, times=None if ever else 1)

    return order


def _fault(*faults: Fault) -> Callable[[Emulator], object]:
    return lambda emulator: emulator.script.next(*faults)


def _always(fault: Fault) -> Callable[[Emulator], object]:
    return lambda emulator: emulator.script.always(fault)


LINES: Final = (
    Lines("one retryable in a hundred", _codes((50004, (42,))), (100, 1)),
    Lines("all retryable", _codes((50005, range(100))), (100, 100)),
    Lines("one permanent", _codes((50001, (7,))), (100,), ItemRefusedError, 1),
    Lines("one permanent, unknown code", _codes((98765, (7,))), (100,), ItemRefusedError, 1),
    Lines(
        "mixed",
        _codes((50004, range(10)), (50001, range(10, 15)), (60008, range(20, 30))),
        (100, 20),
        ItemRefusedError,
        5,
    ),
    Lines("a missing line", _fault(DropLines(1)), (100, 1)),
    Lines("a missing line that was not applied", _fault(DropLines(1, applied=False)), (100, 1)),
    Lines("all lines missing", _fault(DropLines(100)), (100, 100)),
    Lines(
        "a line that is always missing",
        _always(DropLines(conversations=[(1, "peer_5")])),
        (100, 1, 1),
        OutcomeUnknownError,
        1,
    ),
    Lines("extra lines", _fault(ExtraLines(7)), (100,)),
    Lines("duplicate lines", _fault(DuplicateLines(100)), (100,)),
    Lines("reordered lines", _fault(Shuffle()), (100,)),
    Lines("lines without a name", _fault(NamelessLines(3)), (100, 3)),
)


class TestLines:
    @pytest.mark.parametrize("lines", LINES, ids=lambda lines: lines.name)
    async def test_are_matched_by_conversation(self, rig: VirtualRig, lines: Lines) -> None:
        """
        Of a hundred items some lines are retryable, permanent, mixed, missing, extra or twice.

        Each item gets its own verdict, and only what has none yet is sent again.
        """
        lines.order(rig.emulator)
        session = rig.session()
        report = await session.apply(changes(100))

        assert (100 - lines.failed, lines.failed) == (report.succeeded, report.failed)
        assert list(lines.requests) == [len(call.conversations) for call in rig.emulator.calls]
        assert {lines.error} - {None} == {type(each.error) for each in report.failures}

    async def test_of_a_group_without_its_id(
        self, rig: VirtualRig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        A group's line without ToGroupId is nobody's: its item is asked again, a user's is not.
        """
        rig.emulator.script.next(NamelessLines(1))
        session = rig.session()
        handles = [
            await session.submit(each)
            for each in (
                attrs.evolve(change("alice"), conversation=Conversation.group("bob")),
                change("alice", "bob"),
            )
        ]
        results = [await handle.settled() for handle in handles]

        assert [(True, 2), (True, 1)] == [(each.ok, each.attempts) for each in results]
        assert [2, 1] == [len(call.conversations) for call in rig.emulator.calls]
        assert "mark_contact of alice: left out 1 element of the answer that cannot" in caplog.text
