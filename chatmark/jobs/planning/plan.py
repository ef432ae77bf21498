"""
What applying a file would do, as far as the file and the server tell it before.
"""

import array
import collections
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.grouping.spool import Unit
from chatmark.jobs.planning.forecast import Conditions, Seconds, forecast
from chatmark.marks import ConversationMark
from chatmark.models import Conversation
from chatmark.names import MarkNames

_MOST_KEPT: Final = 20


@attrs.frozen
class Contradiction:
    """
    Rows of one conversation of which a later one undoes what an earlier one did.

    Args:
        from_account: The user.
        conversation: The conversation.
        line: The line of the first of the rows.
        rows: How many they are.
    """

    from_account: str
    conversation: Conversation
    line: int
    rows: int


@attrs.frozen
class OverLimit:
    """
    A user who would have more marked conversations than a user may have.

    Args:
        from_account: The user.
        marked: How many marked conversations there are now.
        refused: How many of the file's conversations would be refused with 51008.
    """

    from_account: str
    marked: int
    refused: int


@attrs.define
class Effects:
    """
    What the file asks for, each conversation's rows taken together.

    Args:
        set: How many conversations a bit is set in, by its number.
        cleared: How many conversations a bit is cleared in, likewise.
        custom_set: How many get a custom mark.
        custom_cleared: How many lose theirs.
    """

    set: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    cleared: collections.Counter[int] = attrs.field(factory=collections.Counter[int])
    custom_set: int = 0
    custom_cleared: int = 0

    def add(self, unit: Unit) -> None:
        """
        Count one conversation.
        """
        change = unit.change
        self.set.update(change.set_mark.bits)
        self.cleared.update(change.clear_mark.bits)
        if change.custom_mark is not None:
            self.custom_set += bool(change.custom_mark)
            self.custom_cleared += not change.custom_mark

    def labelled(self, names: MarkNames) -> list[tuple[str, int, int, int]]:
        """
        Return name, number, count set and count cleared of each bit that is named, ascending.
        """
        return [
            (names.labels(ConversationMark(1 << bit))[0], bit, self.set[bit], self.cleared[bit])
            for bit in sorted(self.set.keys() | self.cleared.keys())
        ]


@attrs.define
class OnServer:
    """
    What the server's state makes of it.

    Args:
        unchanged: How many conversations are as the file wants them already.
        unknown_users: How many users the server does not know.
        first_unknown: The first of them.
        unread_users: How many users could not be read for another reason.
        errors: Why not, of the first of them.
        over_limit: The first users who would have too many marked conversations.
        users_over_limit: How many these users are.
        refused: How many conversations would be refused for that.
        calls: How many calls were made to learn all this.
        round_trip: Seconds from a request to its answer, as these calls took.
        skip_reading: How many calls --skip-unchanged reads with.
        skip_sending: How many calls it sends with.
    """

    unchanged: int = 0
    unknown_users: int = 0
    first_unknown: list[str] = attrs.field(factory=list[str])
    unread_users: int = 0
    errors: dict[str, str] = attrs.field(factory=dict[str, str])
    over_limit: list[OverLimit] = attrs.field(factory=list[OverLimit])
    users_over_limit: int = 0
    refused: int = 0
    calls: int = 0
    round_trip: float | None = None
    skip_reading: int = 0
    skip_sending: int = 0


@attrs.define(kw_only=True)
class Plan:
    """
    What a job would do.

    Args:
        file: The file's name.
        rows: Its rows.
        set_aside: How many of them cannot be applied.
        changes: The changes in the others; a request body has several.
        users: How many users they are of.
        conversations: How many conversations they are of.
        calls: How many calls send them, none repeated.
        repeated: How many changes repeat a conversation that an earlier one named.
        contradicting: How many conversations have rows that contradict each other.
        contradictions: The first of these.
        effects: What the file asks for.
        checking_seconds: How long reading and checking the file took; applying it does the same.
        sending_seconds: How long the calls take.
        skip_seconds: The same with --skip-unchanged, None where the server was not read.
        conditions: What this was reckoned with.
        server: What the server's state makes of it, None where it was not read.
    """

    file: str
    rows: int
    set_aside: int
    changes: int
    users: int
    conversations: int
    calls: int
    repeated: int
    contradicting: int
    contradictions: list[Contradiction]
    effects: Effects
    checking_seconds: float
    sending_seconds: Seconds
    skip_seconds: Seconds | None
    conditions: Conditions
    server: OnServer | None

    @property
    def ok(self) -> bool:
        """
        Whether nothing is foreseen that would be refused.
        """
        server = self.server
        return server is None or not (
            server.unknown_users or server.users_over_limit or server.unread_users
        )

    @property
    def seconds(self) -> Seconds:
        """
        How long applying the file takes.
        """
        return self.sending_seconds + self.checking_seconds

    def document(self, names: MarkNames) -> dict[str, Any]:
        """
        Return the plan for `json.dumps`; the keys are always the same, in the same order.
        """
        return {
            "file": self.file,
            "ok": self.ok,
            "rows": self.rows,
            "set_aside": self.set_aside,
            "changes": self.changes,
            "users": self.users,
            "conversations": self.conversations,
            "repeated": self.repeated,
            "contradicting": self.contradicting,
            "contradictions": [
                {
                    "from_account": each.from_account,
                    "conversation": str(each.conversation),
                    "line": each.line,
                    "rows": each.rows,
                }
                for each in self.contradictions
            ],
            "marks": [
                {"name": name, "bit": bit, "set": is_set, "cleared": cleared}
                for name, bit, is_set, cleared in self.effects.labelled(names)
            ],
            "custom_marks_set": self.effects.custom_set,
            "custom_marks_cleared": self.effects.custom_cleared,
            "calls": self.calls,
            "seconds": round(self.seconds.least, 3),
            "seconds_at_most": round(self.seconds.most, 3),
            "seconds_checking": round(self.checking_seconds, 3),
            "seconds_sending": round(self.sending_seconds.least, 3),
            "calls_per_second": self.conditions.calls_per_second,
            "round_trip_seconds": round(self.conditions.round_trip, 4),
            "server": None if self.server is None else self._server_document(self.server),
        }

    def _server_document(self, server: OnServer) -> dict[str, Any]:
        calls = server.skip_reading + server.skip_sending
        skipping = (self.skip_seconds or Seconds()) + self.checking_seconds
        return {
            "calls_read": server.calls,
            "unchanged": server.unchanged,
            "unknown_users": server.unknown_users,
            "first_unknown_users": server.first_unknown,
            "unread_users": server.unread_users,
            "errors": [
                {"from_account": account, "error": error}
                for account, error in server.errors.items()
            ],
            "users_over_limit": server.users_over_limit,
            "conversations_over_limit": server.refused,
            "first_over_limit": [attrs.asdict(each) for each in server.over_limit],
            "skip_unchanged": {
                "calls_reading": server.skip_reading,
                "calls_sending": server.skip_sending,
                "calls": calls,
                "calls_saved": self.calls - calls,
                "seconds": round(skipping.least, 3),
                "seconds_at_most": round(skipping.most, 3),
            },
        }


@attrs.define
class _Repeats:
    repeated: int = 0
    contradicting: int = 0
    contradictions: list[Contradiction] = attrs.field(factory=list[Contradiction])

    def add(self, unit: Unit) -> None:
        self.repeated += unit.rows - 1
        if unit.contradicts:
            self.contradicting += 1
            if len(self.contradictions) < _MOST_KEPT:
                change = unit.change
                self.contradictions.append(
                    Contradiction(change.from_account, change.conversation, unit.line, unit.rows)
                )


@attrs.define
class Planner:
    """
    Sums up a file, unit by unit.

    Args:
        loaded: The file.
        checking_seconds: How long loading it took.

    Attributes:
        users: How many users are counted already.
    """

    loaded: Loaded
    checking_seconds: float
    users: int = attrs.field(default=0, init=False)
    _effects: Effects = attrs.field(factory=Effects, init=False)
    _repeats: _Repeats = attrs.field(factory=_Repeats, init=False)

    def counted(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """
        Pass units on, and count what they ask for.
        """
        for unit in units:
            self._effects.add(unit)
            self._repeats.add(unit)
            yield unit

    def plan(
        self,
        conditions: Conditions,
        server: OnServer | None = None,
        skip_lanes: Iterable[int] | None = None,
    ) -> Plan:
        """
        Return the plan, once all units were counted.

        Args:
            conditions: What limits the session.
            server: What the server's state makes of it.
            skip_lanes: What each user is to `forecast` with --skip-unchanged.
        """
        spool = self.loaded.spool
        lanes = array.array("L", (user.count for user in spool.by_user()))
        return Plan(
            file=self.loaded.name,
            rows=self.loaded.rows,
            set_aside=self.loaded.bad,
            changes=spool.changes,
            users=spool.users,
            conversations=spool.units,
            calls=spool.calls,
            repeated=self._repeats.repeated,
            contradicting=self._repeats.contradicting,
            contradictions=self._repeats.contradictions,
            effects=self._effects,
            checking_seconds=self.checking_seconds,
            sending_seconds=forecast(lanes, conditions),
            skip_seconds=None if skip_lanes is None else forecast(skip_lanes, conditions),
            conditions=conditions,
            server=server,
        )


def plan_offline(planner: Planner, conditions: Conditions) -> Plan:
    """
    Return what the file alone tells.
    """
    collections.deque(planner.counted(planner.loaded.spool), maxlen=0)
    return planner.plan(conditions)
