"""
Conversation groups of users: `MarkSession.groups`.

- https://www.tencentcloud.com/document/product/1047/53437 create_contact_group
- https://www.tencentcloud.com/document/product/1047/53439 update_contact_group
- https://www.tencentcloud.com/document/product/1047/53441 del_contact_group
"""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Final

import attrs

from chatmark.codes import Handling
from chatmark.conversations import Conversation, check_id, check_text, distinct, exact
from chatmark.core.item_outcomes import decide
from chatmark.core.pending import Outcome, Timed, Turn, failure
from chatmark.core.settlement import MAY_RUN, TOO_MANY_ITEMS
from chatmark.errors import ChatmarkError
from chatmark.failures import DeadlineExceededError, RefusedError
from chatmark.lazy import publish
from chatmark.limits import MAX_GROUP_NAME_BYTES, MAX_ITEMS, MAX_USER_ID_BYTES
from chatmark.results import ConversationGroup, GroupReport, GroupResult
from chatmark.session.caller import AGAIN, Caller, error_of
from chatmark.session.dispatcher import Dispatcher
from chatmark.session.reads import MarkReader, read_whole
from chatmark.wire.classify import Verdict
from chatmark.wire.messages import (
    ADD,
    REMOVE,
    CreateContactGroup,
    DeleteContactGroup,
    GroupAnswer,
    MarkAnswer,
    Message,
    UpdateContactGroup,
)

_NO_SUCH_GROUP: Final = "51009"

Groups = list[ConversationGroup]


@attrs.frozen(eq=False)
class ConversationGroups:
    """
    Reads and changes the conversation groups of users.

    A user has 20 groups at most, and a conversation may be in several. A call that changes a group
    has its place among the marks of its user: it waits for those that were accepted before it, and
    those accepted after it wait for it. It takes as many requests of 100 conversations as it needs,
    at the pace of the session, and repeats them as marks are repeated. If it fails and it is not
    known what the server did, `possibly_applied` of the error is true and its text says so.

    All methods raise `InputError` for a wrong argument before anything is sent, and `ChatmarkError`
    if the server refuses the group or a request could not be made. The failures of single
    conversations are in the report.

    A name may have 64 bytes of UTF-8. Pages older than 2026-04-14 allow 32 only
    (https://www.tencentcloud.com/document/product/1047/53437): the server decides on longer names,
    and refuses those that it does not take with 51011.

    Args:
        caller: Makes the calls.
        reader: Reads the groups.
        use: Returns the dispatcher of the session.
    """

    _caller: Caller
    _reader: MarkReader
    _use: Callable[[], Dispatcher]

    async def list(self, user: str) -> Groups:
        """Return all groups of a user with their conversations, in the order of their numbers."""
        self._use()
        return await read_groups(self._reader, user)

    async def create(
        self, user: str, name: str, conversations: Iterable[Conversation] = ()
    ) -> GroupReport:
        """
        Create a group of these conversations.

        The vendor does not say what happens if the user has a group of this name. After a lost
        answer the groups are read, and the group is created again only if it is not there.
        """
        members = _members(conversations)
        async with self._turn(user, name) as call:
            await call.create(members)
            return call.report(members)

    async def rename(self, user: str, old: str, new: str) -> None:
        """Rename a group."""
        check_text("new", new, MAX_GROUP_NAME_BYTES, least=1)
        async with self._turn(user, old, "old") as call:
            await call.rename(exact(new))

    async def add(self, user: str, name: str, conversations: Iterable[Conversation]) -> GroupReport:
        """Add conversations to a group."""
        return await self._update(ADD, user, name, conversations)

    async def remove(
        self, user: str, name: str, conversations: Iterable[Conversation]
    ) -> GroupReport:
        """Remove conversations from a group."""
        return await self._update(REMOVE, user, name, conversations)

    async def delete(self, user: str, name: str) -> None:
        """Delete a group; its conversations keep their marks and their other groups."""
        async with self._turn(user, name) as call:
            await call.delete()

    async def _update(
        self, opt_type: int, user: str, name: str, conversations: Iterable[Conversation]
    ) -> GroupReport:
        members = _members(conversations)
        async with self._turn(user, name) as call:
            await call.update(opt_type, members)
            return call.report(members)

    @contextlib.asynccontextmanager
    async def _turn(self, user: str, name: str, field: str = "name") -> AsyncGenerator["_Call"]:
        check_id("from_account", user, MAX_USER_ID_BYTES)
        check_text(field, name, MAX_GROUP_NAME_BYTES, least=1)
        call = _Call(self._caller, self._reader, exact(user), exact(name))
        try:
            async with self._use().turn(call.user) as call.turn:
                try:
                    yield call
                except asyncio.CancelledError:
                    # A request may have been in flight.
                    call.note_may_run()
                    raise
        except ChatmarkError as error:
            raise call.about(error, possibly_applied=call.is_applied) from error.__cause__


@attrs.define
class _Member:
    """A conversation that is to be added or removed."""

    conversation: Conversation
    missing: int = 0
    retries: int = 0
    has_used_retry_once: bool = False
    has_standard: bool = False


@attrs.define(eq=False)
class _Call:
    """One call, while it has its turn; `is_applied` if something of it may have taken effect."""

    caller: Caller
    reader: MarkReader
    user: str
    name: str
    turn: Turn = attrs.field(init=False)
    is_applied: bool = attrs.field(default=False, init=False)
    id: int | None = attrs.field(default=None, init=False)
    outcomes: dict[Conversation, Outcome] = attrs.field(
        factory=dict[Conversation, Outcome], init=False
    )

    async def create(self, members: Sequence[_Member]) -> None:
        timed, first = _timed(), members[:MAX_ITEMS]
        for retry in itertools.count(1):
            request = CreateContactGroup(self.user, self.name, [it.conversation for it in first])
            verdict = await self.ask(request, timed, may_repeat=False)
            if verdict.handling is Handling.DONE:
                again = await self.settle(first, verdict, timed)
                await self.update(ADD, [*again, *members[len(first) :]])
                return
            if verdict.handling is Handling.SPLIT and first:
                first = first[: len(first) // 2]
                continue
            if verdict.handling not in AGAIN:
                raise error_of(verdict)
            await self.caller.rest(verdict, timed, retry)
            await asyncio.sleep(self.turn.may_run_until - asyncio.get_running_loop().time())
            for group in await read_groups(self.reader, self.user, timed):
                if group.name == self.name:
                    self.id = group.id
                    await self.update(ADD, members)
                    return
            self.is_applied = False

    async def rename(self, new: str) -> None:
        request, timed = UpdateContactGroup(self.user, self.name, new_group_name=new), _timed()
        verdict = await self.ask(request, timed)
        if verdict.reason == _NO_SUCH_GROUP and self.is_applied:
            names = {each.name for each in await read_groups(self.reader, self.user, timed)}
            if new in names and self.name not in names:
                return
            self.is_applied = False
        if verdict.handling is not Handling.DONE:
            raise error_of(verdict)

    async def delete(self) -> None:
        verdict = await self.ask(DeleteContactGroup(self.user, self.name), _timed())
        was_deleted = verdict.reason == _NO_SUCH_GROUP and self.is_applied
        if not (was_deleted or verdict.handling is Handling.DONE):
            raise error_of(verdict)

    async def update(self, opt_type: int, members: Sequence[_Member]) -> None:
        waiting, most, limit = list(members), MAX_ITEMS, MAX_ITEMS
        while waiting:
            some, waiting, timed = waiting[:most], waiting[most:], _timed()
            while some:
                rows = [(opt_type, each.conversation) for each in some]
                request = UpdateContactGroup(self.user, self.name, rows)
                verdict = await self.ask(request, timed)
                if verdict.handling is Handling.SPLIT and len(some) > 1:
                    most, waiting = len(some) // 2, some + waiting
                    limit = most if verdict.reason == TOO_MANY_ITEMS else limit
                    break
                if verdict.handling is Handling.DONE:
                    # Only some conversations may be at fault.
                    most = min(limit, 2 * most)
                elif verdict.handling is not Handling.SPLIT:
                    raise error_of(verdict)
                some = await self.settle(some, verdict, timed)

    async def ask(
        self, request: Message, timed: Timed, *, may_repeat: bool = True
    ) -> Verdict[MarkAnswer]:
        """
        Make one request, repeated even if it may have taken effect unless *may_repeat* is False.
        """

        def note(verdict: Verdict[MarkAnswer]) -> bool:
            if verdict.may_run:
                self.note_may_run()
            is_again, is_answered = verdict.handling is Handling.RETRY, verdict.answer is not None
            is_lost = verdict.may_run or (is_again and is_answered)
            self.is_applied |= is_lost or verdict.handling is Handling.DONE
            return may_repeat or not is_lost

        kind: type[MarkAnswer] = GroupAnswer
        verdict = await self.caller.call(request, kind, timed, note)
        if verdict.answer is not None:
            self.id = next(iter(verdict.answer.group_item), self.id)
        return verdict

    async def settle(
        self, members: Sequence[_Member], verdict: Verdict[MarkAnswer], timed: Timed
    ) -> list[_Member]:
        """Note what an answer says of conversations; return those to ask for again, when due."""
        found = decide(members, verdict)
        ended = {each.conversation: outcome for each, outcome in found.ended}
        again = [each for each, _ in found.again]
        if again:
            failed = Verdict[MarkAnswer](Handling.RETRY, None, found.again[0][1])
            try:
                await self.caller.rest(failed, timed, max(each.retries for each in again))
            except DeadlineExceededError as error:
                ended |= dict.fromkeys([each.conversation for each in again], failure(error))
                again = []
        self.outcomes |= ended
        return again

    def note_may_run(self) -> None:
        self.turn.may_run_until = asyncio.get_running_loop().time() + MAY_RUN

    def about(
        self, error: ChatmarkError, conversation: str = "", *, possibly_applied: bool
    ) -> ChatmarkError:
        about = error.fresh()
        about.subject = f"{self.user}, group {self.name!r}{conversation}"
        about.possibly_applied = possibly_applied
        return about

    def report(self, members: Sequence[_Member]) -> GroupReport:
        results: list[GroupResult] = []
        for conversation in (each.conversation for each in members):
            outcome = self.outcomes[conversation]
            error = outcome.error
            if error is not None:
                is_unknown = not isinstance(error, RefusedError)
                error = self.about(error, f", {conversation}", possibly_applied=is_unknown)
            results.append(GroupResult(conversation, outcome.code, outcome.info, error))
        return GroupReport(self.name, self.id, tuple(results))


async def read_groups(reader: MarkReader, user: str, timed: Timed | None = None) -> Groups:
    pages = await read_whole(functools.partial(reader.pages, timed=timed), user)
    names = {id_: name for page in pages for id_, name in page.groups.items()}
    members: dict[int, dict[Conversation, None]] = {id_: {} for id_ in names}
    for each in itertools.chain.from_iterable(page.conversations for page in pages):
        for id_ in each.group_ids:
            members.setdefault(id_, {})[each.conversation] = None
    return [
        ConversationGroup(names.get(id_, ""), id_, tuple(some))
        for id_, some in sorted(members.items())
    ]


def _members(conversations: Iterable[Conversation]) -> list[_Member]:
    return [_Member(each) for each in distinct(conversations)]


def _timed() -> Timed:
    return Timed(asyncio.get_running_loop().time())


publish(__name__)
