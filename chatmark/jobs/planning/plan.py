"""The effects, calls and time of applying a file, foretold from the file and the server."""

import collections
from typing import Any, Final

import attrs

from chatmark import ChatmarkError, Conversation, ConversationMark, MarkNames
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.grouping.units import Size
from chatmark.jobs.planning.forecast import Conditions, Seconds, forecast

_MOST_KEPT: Final = 20


@attrs.frozen
class Contradiction:
    """Rows of one conversation, the first of them on *line*, that undo each other."""

    from_account: str
    conversation: Conversation
    line: int
    rows: int


@attrs.frozen
class OverLimit:
    """A user that would exceed the limit of marked conversations (51008)."""

    from_account: str
    marked: int
    refused: int


@attrs.define
class Effects:
    """
    The changes that the file asks for, all rows of a conversation taken together.

    Args:
        set: Conversations in which a bit is set, by its number.
        cleared: Conversations in which a bit is cleared, by its number.
        custom_set: Conversations that get a custom mark.
        custom_cleared: Conversations that lose theirs.
        repeated: Changes of a conversation that an earlier change names.
        contradicting: Conversations whose rows contradict each other.
        contradictions: The first of these.
    """

    set: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    cleared: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    custom_set: int = 0
    custom_cleared: int = 0
    repeated: int = 0
    contradicting: int = 0
    contradictions: list[Contradiction] = attrs.field(factory=list[Contradiction])

    @classmethod
    def of(cls, spool: Spool) -> "Effects":
        """Return the effects of all units."""
        effects = cls()
        for set_mark, clear_mark, custom, units, rows, contradicting in spool.kinds():
            for counter, mark in ((effects.set, set_mark), (effects.cleared, clear_mark)):
                counter.update(dict.fromkeys(mark.bits, units))
            effects.custom_set += units if custom else 0
            effects.custom_cleared += units if custom == 0 else 0
            effects.repeated += rows - units
            effects.contradicting += contradicting
        effects.contradictions = [
            Contradiction(unit.change.from_account, unit.change.conversation, unit.line, unit.rows)
            for unit in spool.contradicting(_MOST_KEPT)
        ]
        return effects

    def labelled(self, names: MarkNames) -> list[tuple[str, int, int, int]]:
        """Return name, number, count set and count cleared of each bit that is named, ascending."""
        return [
            (names.labels(ConversationMark(1 << bit))[0], bit, self.set[bit], self.cleared[bit])
            for bit in sorted(self.set.keys() | self.cleared.keys())
        ]


@attrs.define
class OnServer:
    """
    The file compared with the server.

    Args:
        calls_read: Calls made to compare them.
        unchanged: Conversations that are as the file wants them.
        unknown_users: Users that the server does not know.
        unread_users: Users that could not be read for another reason.
        users_over_limit: Users that would exceed the limit of marked conversations.
        conversations_over_limit: Conversations that would be refused for that.
        skip_reading: Calls of --skip-unchanged to read.
        skip_pages: Those of them that read pages; the others search.
        skip_sending: Calls of --skip-unchanged to send.
        skip_longest: Calls of --skip-unchanged of the user that has most of them.
    """

    calls_read: int = 0
    unchanged: int = 0
    unknown_users: int = 0
    first_unknown_users: list[str] = attrs.field(factory=list[str])
    unread_users: int = 0
    errors: dict[str, ChatmarkError] = attrs.field(factory=dict[str, ChatmarkError])
    users_over_limit: int = 0
    conversations_over_limit: int = 0
    first_over_limit: list[OverLimit] = attrs.field(factory=list[OverLimit])
    skip_reading: int = 0
    skip_pages: int = 0
    skip_sending: int = 0
    skip_longest: int = 0

    def add_skip_calls(self, pages: int, searches: int, sending: int) -> None:
        """Count the calls of one user with --skip-unchanged."""
        self.skip_reading += pages + searches
        self.skip_pages += pages
        self.skip_sending += sending
        self.skip_longest = max(self.skip_longest, pages + searches + sending)

    @property
    def skip_busiest(self) -> int:
        """Calls of --skip-unchanged of the command that has most of them."""
        return max(self.skip_pages, self.skip_reading - self.skip_pages, self.skip_sending)

    @property
    def skip_calls(self) -> int:
        """Calls of --skip-unchanged."""
        return self.skip_reading + self.skip_sending


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
                attrs.asdict(each, recurse=False) | {"conversation": str(each.conversation)}
                for each in effects.contradictions
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
        """
        Return the plan.

        Args:
            conditions: The limits of the session.
            server: The file compared with the server.
        """
        loaded, spool = self.loaded, self.loaded.spool
        longest = max((user.calls for user in spool.by_user()), default=0)
        skip_seconds = None
        if server is not None:
            skip_seconds = forecast(
                server.skip_calls, server.skip_longest, conditions, server.skip_busiest
            )
        return Plan(
            file=loaded.name,
            rows=loaded.rows,
            set_aside=loaded.bad,
            size=spool.size,
            effects=Effects.of(spool),
            checking_seconds=self.checking_seconds,
            sending_seconds=forecast(spool.calls, longest, conditions),
            skip_seconds=skip_seconds,
            conditions=conditions,
            server=server,
        )


def plan_offline(planner: Planner, conditions: Conditions) -> Plan:
    """Return the plan of the file alone."""
    return planner.plan(conditions)
