"""The effects, calls and time of applying a file, foretold from the file and the server."""

import collections
import contextlib
import statistics
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from chatmark import ChatmarkError, ConversationMark, Event, MarkNames, RequestEnded
from chatmark.jobs.forecast import Conditions, OnServer, Seconds, forecast
from chatmark.jobs.grouping import Loaded, Size, Spool, Unit, calls_for
from chatmark.jobs.server import read_marks

if TYPE_CHECKING:
    from chatmark import MarkSession

_MOST_KEPT: Final = 20
_MOST_DURATIONS: Final = 2_000
# https://www.tencentcloud.com/document/product/1047/53438
MOST_MARKED: Final = 1000


@attrs.define
class Effects:
    """
    How many conversations change in which way, all rows of a conversation taken together.

    Bits are counted by their number. *repeated* are changes of a conversation that an earlier
    change names; *contradictions* are the first of those whose rows contradict each other.
    """

    set: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    cleared: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    custom_set: int = 0
    custom_cleared: int = 0
    repeated: int = 0
    contradicting: int = 0
    contradictions: list[Unit] = attrs.field(factory=list[Unit])

    @classmethod
    def of(cls, spool: Spool) -> "Effects":
        effects = cls(contradictions=list(spool.contradicting(_MOST_KEPT)))
        for set_mark, clear_mark, custom, units, rows, contradicting in spool.kinds():
            effects.set.update(dict.fromkeys(set_mark.bits, units))
            effects.cleared.update(dict.fromkeys(clear_mark.bits, units))
            effects.custom_set += units if custom else 0
            effects.custom_cleared += units if custom == 0 else 0
            effects.repeated += rows - units
            effects.contradicting += contradicting
        return effects

    def labelled(self, names: MarkNames) -> list[tuple[str, int, int, int]]:
        """Return name, number, count set and count cleared of each bit that is named, ascending."""
        return [
            (names.labels(ConversationMark(1 << bit))[0], bit, self.set[bit], self.cleared[bit])
            for bit in sorted(self.set.keys() | self.cleared.keys())
        ]


@attrs.define(kw_only=True)
class Plan:
    """
    The effects, calls and time of a job.

    Args:
        file: The file's name.
        rows: Its rows.
        set_aside: Rows that cannot be applied.
        size: The changes in the others, and the calls that send them.
        effects: The changes that the file asks for.
        checking_seconds: Time of reading and checking the file, which applying it takes, too.
        sending_seconds: Time of the calls.
        skip_seconds: The same with --skip-unchanged, None if the server was not read.
        conditions: The conditions of the estimate.
        server: The file compared with the server, None if that was not read.
    """

    file: str
    rows: int
    set_aside: int
    size: Size
    effects: Effects
    checking_seconds: float
    sending_seconds: Seconds
    skip_seconds: Seconds | None
    conditions: Conditions
    server: OnServer | None

    @property
    def ok(self) -> bool:
        """Whether no refusal is foreseen."""
        server = self.server
        return server is None or not (
            server.unknown_users or server.users_over_limit or server.unread_users
        )

    @property
    def seconds(self) -> Seconds:
        """Time of applying the file."""
        return self.sending_seconds + self.checking_seconds

    def document(self, names: MarkNames) -> dict[str, Any]:
        """Return the plan for `json.dumps`; the keys are always the same, in the same order."""
        size, effects = self.size, self.effects
        return {
            "file": self.file,
            "ok": self.ok,
            "rows": self.rows,
            "set_aside": self.set_aside,
            "changes": size.changes,
            "users": size.users,
            "conversations": size.units,
            "repeated": effects.repeated,
            "contradicting": effects.contradicting,
            "contradictions": [
                {
                    "from_account": unit.change.from_account,
                    "conversation": str(unit.change.conversation),
                    "line": unit.line,
                    "rows": unit.rows,
                }
                for unit in effects.contradictions
            ],
            "marks": [
                dict(zip(("name", "bit", "set", "cleared"), mark, strict=True))
                for mark in effects.labelled(names)
            ],
            "custom_marks_set": effects.custom_set,
            "custom_marks_cleared": effects.custom_cleared,
            "calls": size.calls,
            "seconds": round(self.seconds.least, 3),
            "seconds_at_most": round(self.seconds.most, 3),
            "seconds_checking": round(self.checking_seconds, 3),
            "seconds_sending": round(self.sending_seconds.least, 3),
            "calls_per_second": self.conditions.calls_per_second,
            "round_trip_seconds": round(self.conditions.round_trip, 4),
            "server": None if self.server is None else self._server_document(self.server),
        }

    def _server_document(self, server: OnServer) -> dict[str, Any]:
        document = attrs.asdict(server, filter=attrs.filters.exclude("skip_longest"))
        document["errors"] = [
            {"from_account": account, "error": str(error)}
            for account, error in server.errors.items()
        ]
        skipping = (self.skip_seconds or Seconds()) + self.checking_seconds
        document["skip_unchanged"] = {
            "calls_reading": document.pop("skip_reading"),
            "calls_sending": document.pop("skip_sending"),
            "calls": server.skip_calls,
            "calls_saved": self.size.calls - server.skip_calls,
            "seconds": round(skipping.least, 3),
            "seconds_at_most": round(skipping.most, 3),
        }
        return document


@attrs.define
class Planner:
    """
    Sums up a file.

    Args:
        loaded: The file.
        checking_seconds: The time that loading it took.

    Attributes:
        users: Users that were compared with the server, for progress.
    """

    loaded: Loaded
    checking_seconds: float
    users: int = attrs.field(default=0, init=False)

    def plan(self, conditions: Conditions, server: OnServer | None = None) -> Plan:
        """Return the plan for the limits of a session, and the file compared with its server."""
        loaded, spool = self.loaded, self.loaded.spool
        longest = calls_for(max((user.count for user in spool.by_user()), default=0))
        return Plan(
            file=loaded.name,
            rows=loaded.rows,
            set_aside=loaded.bad,
            size=spool.size,
            effects=Effects.of(spool),
            checking_seconds=self.checking_seconds,
            sending_seconds=forecast(spool.size.calls, longest, conditions),
            skip_seconds=None if server is None else server.forecast(conditions),
            conditions=conditions,
            server=server,
        )


def plan_offline(planner: Planner, conditions: Conditions) -> Plan:
    """Return the plan of the file alone."""
    return planner.plan(conditions)


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

    reading = read_marks(session, spool.by_user(), attrgetter("account"))
    async with contextlib.aclosing(reading):
        async for user, marked in reading:
            planner.users += 1
            if isinstance(marked, ChatmarkError):
                server.add_unread(user, marked)
            else:
                server.add(user, spool.read(user.first, user.count), marked, most_marked)
    server.calls_read = session.stats.calls - calls_before
    if measured and round_trips.typical is not None:
        conditions = attrs.evolve(conditions, round_trip=round_trips.typical)
    return planner.plan(conditions, server)
