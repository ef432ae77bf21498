"""Reading marks back: walks over pages that move, and requests that are split."""

import datetime as dt
import logging
from collections.abc import Callable

import pytest
from virtual_rig import HIDDEN, VirtualRig

from chatmark import (
    AnswerError,
    Conversation,
    ItemRefusedError,
    MarkedConversation,
    MarkSession,
)
from chatmark.emulator import Emulator, Status
from chatmark.session.reads import _Walk
from chatmark.wire.messages import Page

pytestmark = pytest.mark.virtual_time


def peer(number: int) -> Conversation:
    """Return a conversation."""
    return Conversation.one_to_one(f"peer_{number}")


def forget(rig: VirtualRig) -> None:
    """Let the rig not check marks that no session made."""
    rig.results.clear()
    rig.emulator.state.clear()


def seed(emulator: Emulator, count: int, page_size: int) -> None:
    """Give alice marked conversations, the older the lower their number."""
    emulator.state.page_size = page_size
    for number in range(count):
        emulator.state.seed_mark("alice", (1, f"peer_{number}"), 1, timestamp=1_000 + number)


def after_page(rig: VirtualRig, act: Callable[[int], None]) -> None:
    """Call something with the number of the walk, each time a first page was answered."""
    state = rig.emulator.state
    page, walks = state.page, []

    def spy(account: str, start: int) -> object:
        found = page(account, start)
        if start == 0:
            walks.append(start)
            act(len(walks))
        return found

    state.page = spy  # type: ignore[method-assign, assignment]


def again(rig: VirtualRig, number: int) -> None:
    """Change a conversation, which moves to the end."""
    rig.emulator.state.apply("alice", (1, f"peer_{number}"), 2, 0, None)


async def marked(session: MarkSession) -> list[str]:
    """Return the ids of alice's marked conversations."""
    return [each.conversation.id async for each in session.marked("alice")]


class TestMarked:
    async def test_may_be_changed_while_they_are_yielded(self, rig: VirtualRig) -> None:
        """A caller that changes each conversation it gets meets all of them once."""
        seed(rig.emulator, 250, 100)
        session = rig.session()
        found = []
        async for each in session.marked("alice"):
            found.append(each.conversation)
            await session.mark("alice", each.conversation, set_mark=HIDDEN)
        forget(rig)

        assert [peer(number) for number in range(250)] == found

    async def test_that_move_are_read_again(
        self, rig: VirtualRig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A change that moves a conversation hides another from the pages: all are read again."""
        seed(rig.emulator, 25, 10)
        after_page(rig, lambda walk: again(rig, 3) if walk == 1 else None)
        found = await marked(rig.session())
        forget(rig)

        assert {f"peer_{number}" for number in range(25)} == set(found)
        assert 25 == len(found)
        assert not caplog.records

    async def test_that_keep_moving(
        self, rig: VirtualRig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Three readings, then what was found and a WARNING."""
        seed(rig.emulator, 25, 10)
        after_page(rig, lambda walk: again(rig, walk))
        with caplog.at_level(logging.WARNING, "chatmark"):
            found = await marked(rig.session())
        forget(rig)

        assert 9 == len(rig.emulator.calls)
        assert len(found) == len(set(found)) == 24
        assert "the marks of alice changed during each of 3 readings" in caplog.text

    async def test_pages_say_so(self, rig: VirtualRig) -> None:
        """Pages stream as before, and tell that others moved."""
        seed(rig.emulator, 25, 10)
        after_page(rig, lambda walk: again(rig, 3) if walk == 1 else None)
        session = rig.session()
        moved = [page.has_moved async for page in session.pages("alice")]
        forget(rig)

        assert [False, False, True] == moved

    async def test_that_never_end(self, rig: VirtualRig) -> None:
        """What is read before it is yielded has a bound."""
        seed(rig.emulator, 50_001, 5_000)
        with pytest.raises(AnswerError, match="more than 50,000 conversations"):
            await marked(rig.session())
        forget(rig)


def page_of(*times: int, complete_time: int | None) -> Page:
    """Return a page of conversations that changed at these times."""
    return Page(
        0,
        contact_item=[MarkedConversation(peer(at), updated_at=moment(at)) for at in times],
        complete_time=None if complete_time is None else moment(complete_time),
    )


def moment(seconds: int) -> dt.datetime:
    """Return a time of the server."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


class TestWalk:
    @pytest.mark.parametrize(
        ("pages", "moved"),
        [
            ([page_of(1, 2, complete_time=4), page_of(3, 4, complete_time=4)], False),
            ([page_of(1, 2, complete_time=None), page_of(3, 4, complete_time=4)], False),
            # Something changed that is on none of the two pages.
            ([page_of(1, 2, complete_time=4), page_of(3, complete_time=5)], True),
            ([page_of(1, 2, complete_time=4), page_of(3, 5, complete_time=None)], True),
            ([page_of(1, 2, complete_time=None), page_of(3, 1, complete_time=None)], True),
            # The newest of each page says nothing of the others.
            ([page_of(1, 2, complete_time=2), page_of(3, 4, complete_time=4)], False),
        ],
    )
    def test_has_moved(self, pages: list[Page], moved: bool) -> None:
        """Times that are newer than the walk, and conversations that come again, are a change."""
        walk = _Walk()

        assert [False, moved] == [walk.has_moved(page) for page in pages]


class TestSearch:
    async def test_is_split_where_it_is_too_large(self, rig: VirtualRig) -> None:
        """A server that takes no search of 300 gets parts until they fit."""
        seed(rig.emulator, 300, 100)
        rig.emulator.script.next(Status(413), Status(413), command="search_contact_group")
        found = await rig.session().search("alice", [peer(number) for number in range(300)])
        forget(rig)

        assert 300 == sum(each.mark.bits == (0,) for each in found.values())
        assert [300, 150, 75, 75, 75, 75] == [len(c.conversations) for c in rig.emulator.calls]

    async def test_names_three_hundred_in_a_call(self, rig: VirtualRig) -> None:
        """A search is cut into calls of 300; an unmarked conversation is there, empty."""
        session = rig.session()
        await session.mark("alice", peer(0), set_mark=HIDDEN, custom_mark="vip")
        asked = [peer(number) for number in range(601)]
        found = await session.search("alice", asked)

        assert asked == list(found)
        assert (HIDDEN, "vip") == (found[peer(0)].mark, found[peer(0)].custom_mark)
        assert not found[peer(1)].mark
        assert [1, 300, 300, 1] == [len(call.conversations) for call in rig.emulator.calls]

    async def test_a_refusal_is_raised(self, rig: VirtualRig) -> None:
        """A refused page raises the code."""
        rig.emulator.state.users = {"bob"}
        with pytest.raises(ItemRefusedError, match="50001"):
            await marked(rig.session())
