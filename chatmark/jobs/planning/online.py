"""Plans with the server: all marked conversations of the file's users are read and compared."""

import collections
import contextlib
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, final

import attrs

from chatmark import (
    ChatmarkError,
    Event,
    MarkedConversation,
    MarkedPage,
    RefusedError,
    RequestEnded,
)
from chatmark.jobs.grouping.units import Unit, UserUnits, calls_for
from chatmark.jobs.planning.forecast import Conditions
from chatmark.jobs.planning.plan import OnServer, OverLimit, Plan, Planner
from chatmark.jobs.server.lookup import LOOKED_UP_AT_ONCE, MOST_MARKED, calls_of_lookup
from chatmark.jobs.server.prefetch import OutageGuard, read_ahead
from chatmark.session.reads import read_whole

if TYPE_CHECKING:
    from chatmark import MarkSession

_USERS_AT_ONCE: Final = 32
_MOST_KEPT: Final = 20
_MOST_DURATIONS: Final = 2_000
_NO_SUCH_USER: Final = 50001


@final
class RoundTrips:
    """A hook of a session that keeps the durations of the latest requests."""

    def __init__(self) -> None:
        self._durations: collections.deque[float] = collections.deque(maxlen=_MOST_DURATIONS)

    def __call__(self, event: Event) -> None:
        """Note the duration of an answered request."""
        if isinstance(event, RequestEnded) and event.reason == "0":
            self._durations.append(event.duration)

    @property
    def typical(self) -> float | None:
        """
        The lower quartile in seconds, None before the first answer.

        Reads of many users run in parallel, so some durations include waiting in this process.
        """
        if len(self._durations) <= 1:
            return next(iter(self._durations), None)
        return statistics.quantiles(self._durations, n=4)[0]


async def plan_online(
    planner: Planner,
    session: "MarkSession",
    round_trips: RoundTrips,
    conditions: Conditions,
    *,
    measured: bool = True,
    most_marked: int = MOST_MARKED,
) -> Plan:
    """
    Read all marked conversations of the file's users, and return the plan.

    Memory holds the conversations of a few users, however large the file is.

    Args:
        planner: Sums up the file.
        session: The session.
        round_trips: A hook of this session.
        conditions: The limits of the job.
        measured: Whether to take the round trip of the calls made here instead, if any.
        most_marked: How many marked conversations a user may have.

    Raises:
        ApplicationRefusedError: The server refuses the application.
        SessionError: The session is closed or broken.
    """
    server = OnServer()
    calls_before = session.stats.calls
    spool = planner.loaded.spool

    async def read(user: UserUnits) -> list[MarkedPage]:
        return await read_whole(session.pages, user.account)

    reading = read_ahead(read, spool.by_user(), OutageGuard(), at_once=_USERS_AT_ONCE)
    async with contextlib.aclosing(reading):
        async for user, pages in reading:
            planner.users += 1
            if isinstance(pages, ChatmarkError):
                _note_unread(server, user, pages)
            else:
                _compare(server, user, spool.read(user.first, user.count), pages, most_marked)
    server.calls_read = session.stats.calls - calls_before
    if measured and round_trips.typical is not None:
        conditions = attrs.evolve(conditions, round_trip=round_trips.typical)
    return planner.plan(conditions, server)


def _note_unread(server: OnServer, user: UserUnits, error: ChatmarkError) -> None:
    # With --skip-unchanged each part fails in one call, and all of it is sent.
    server.add_skip_calls(0, -(-user.count // LOOKED_UP_AT_ONCE), user.calls)
    if isinstance(error, RefusedError) and error.code == _NO_SUCH_USER:
        server.unknown_users += 1
        if len(server.first_unknown_users) < _MOST_KEPT:
            server.first_unknown_users.append(user.account)
        return
    server.unread_users += 1
    if len(server.errors) < _MOST_KEPT:
        server.errors[user.account] = error


def _compare(
    server: OnServer,
    user: UserUnits,
    units: Iterator[Unit],
    pages: Sequence[MarkedPage],
    most_marked: int,
) -> None:
    has = {each.conversation: each for page in pages for each in page.conversations}
    on_first_page = {each.conversation for each in pages[0].conversations}
    marked = now_marked = sum(bool(each.mark or each.custom_mark) for each in has.values())
    found_early = unchanged = refused = 0
    for unit in units:
        conversation = unit.change.conversation
        found_early += conversation in on_first_page
        found = has.get(conversation) or MarkedConversation(conversation)
        if found.satisfies(unit.change):
            unchanged += 1
            continue
        step = _step(found, unit)
        if step > 0 and marked >= most_marked:
            refused += 1
        else:
            marked += step
    server.unchanged += unchanged
    if refused:
        server.users_over_limit += 1
        server.conversations_over_limit += refused
        if len(server.first_over_limit) < _MOST_KEPT:
            server.first_over_limit.append(OverLimit(user.account, now_marked, refused))
    sizes = [len(page.conversations) for page in pages]
    reading = calls_of_lookup(user.count, found_early, sizes)
    server.add_skip_calls(*reading, calls_for(user.count - unchanged))


def _step(found: MarkedConversation, unit: Unit) -> int:
    """Return by how many the marked conversations of the user grow."""
    change = unit.change
    mark = (found.mark | change.set_mark) & ~change.clear_mark
    custom = found.custom_mark if change.custom_mark is None else change.custom_mark
    return bool(mark or custom) - bool(found.mark or found.custom_mark)
