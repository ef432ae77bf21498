"""Reading marks back: pages of get_contact_group, and search_contact_group."""

import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final, TypeVar

import attrs

from chatmark.codes import Handling
from chatmark.conversations import Conversation, check_id, distinct, exact
from chatmark.core.pending import Timed
from chatmark.events import logger
from chatmark.failures import AnswerError
from chatmark.limits import MAX_SEARCHED, MAX_USER_ID_BYTES
from chatmark.results import MarkedConversation, MarkedPage
from chatmark.session.caller import Caller, error_of
from chatmark.wire.classify import Verdict
from chatmark.wire.messages import (
    Envelope,
    Found,
    GetContactGroup,
    Page,
    SearchContactGroup,
    unread_of,
)

E = TypeVar("E", bound=Envelope)

# Readings of a user's marks that keep changing.
_MOST_WALKS: Final = 3
# A user has some thousand conversations in all: pages that go on and on are a fault of the server.
_MOST_PAGES: Final = 1_000
# A reading of all pages keeps at most this many conversations in memory.
_MOST_CONVERSATIONS: Final = 50_000


@attrs.frozen(eq=False)
class MarkReader:
    """
    Makes the reading calls of a session.

    Args:
        caller: Makes the calls, with retries.
    """

    _caller: Caller

    async def pages(
        self, account: str, timed: Timed | None = None
    ) -> AsyncGenerator[MarkedPage, None]:
        """Yield the pages of a user; *timed* is the deadline of all calls together, if any."""
        check_id("from_account", account, MAX_USER_ID_BYTES)
        account = exact(account)
        start = conversations = 0
        walk = _Walk()
        for _ in range(_MOST_PAGES):
            request = GetContactGroup(account, start)
            page = _answer_of(await self._caller.call(request, Page, timed))
            conversations += len(page.contact_item)
            if conversations > _MOST_CONVERSATIONS:
                reason = f"there are more than {_MOST_CONVERSATIONS:,} conversations"
                raise AnswerError(reason, path="$.ContactItem", request_id=page.request_id)
            yield MarkedPage(
                tuple(each for each in page.contact_item if isinstance(each, MarkedConversation)),
                bool(page.complete_flag),
                tuple(each.reason for each in unread_of(page)),
                walk.has_moved(page),
                page.group_item,
            )
            if page.complete_flag:
                return
            if page.next_start_index <= start:
                reason, id_ = "the page does not lead on", page.request_id
                raise AnswerError(reason, path="$.NextStartIndex", request_id=id_)
            start = page.next_start_index
        raise AnswerError(f"there are more than {_MOST_PAGES:,} pages", path="$.NextStartIndex")

    async def marked(self, account: str) -> Iterable[MarkedConversation]:
        """Return all of a user's marked conversations, each once; see `read_whole`."""
        read = await read_whole(self.pages, account)
        return {each.conversation: each for page in read for each in page.conversations}.values()

    async def search(
        self, account: str, conversations: Iterable[Conversation]
    ) -> dict[Conversation, MarkedConversation]:
        """
        Return the marks of each of a user's conversations; one without marks is there, and empty.

        One of which the server's answer cannot be read is not there, and the log says so. A request
        that is too large for the server is halved.

        Raises:
            InputError: No user can have this id, or an element is not a Conversation.
            ChatmarkError: A call could not be made.
        """
        check_id("from_account", account, MAX_USER_ID_BYTES)
        account = exact(account)
        found = {each: MarkedConversation(each) for each in distinct(conversations)}
        wanted, start, most = list(found), 0, MAX_SEARCHED
        while some := wanted[start : start + most]:
            verdict = await self._caller.call(SearchContactGroup(account, some), Found)
            if verdict.handling is Handling.SPLIT and len(some) > 1:
                most = len(some) // 2
                continue
            _take(found, some, _answer_of(verdict))
            start += len(some)
        return found


async def read_whole(
    pages: Callable[[str], AsyncGenerator[MarkedPage, None]], account: str
) -> list[MarkedPage]:
    """
    Return all pages of a user, read while none of the user's marks changed.

    They are read again if some changed; the log says so if that goes on.

    Args:
        pages: Reads them, as `MarkSession.pages` does.
        account: The user.

    Raises:
        ChatmarkError: A page could not be read.
    """
    read: list[MarkedPage] = []
    for _ in range(_MOST_WALKS):
        async with contextlib.aclosing(pages(account)) as reading:
            read = [page async for page in reading]
        if not any(page.has_moved for page in read):
            return read
    logger.warning(
        "the marks of %s changed during each of %d readings: some may be missing",
        account,
        _MOST_WALKS,
    )
    return read


@attrs.define(eq=False)
class _Walk:
    """
    Notices that a user's marks change while their pages are read.

    The server's pages are in the order of the last change, and `CompleteTime` is the newest: a
    conversation that changes moves to the end, and the others move up by one. A conversation that
    loses its last mark leaves no trace.
    """

    _seen: set[Conversation] = attrs.field(factory=set[Conversation], init=False)
    _completed_at: dt.datetime | None = attrs.field(default=None, init=False)
    _has_moved: bool = attrs.field(default=False, init=False)

    def has_moved(self, page: Page) -> bool:
        """Take the next page; return whether anything has changed since the first."""
        came = [each for each in page.contact_item if isinstance(each, MarkedConversation)]
        completed_at = self._completed_at
        if not self._seen:
            # Only one answer was captured, of a single page: the newest may be that of each page.
            is_of_page = page.complete_time in {each.updated_at for each in came}
            self._completed_at = None if is_of_page else page.complete_time
        elif completed_at is not None:
            self._has_moved |= page.complete_time not in (None, completed_at) or any(
                each.updated_at is not None and each.updated_at > completed_at for each in came
            )
        self._has_moved |= not self._seen.isdisjoint(each.conversation for each in came)
        self._seen.update(each.conversation for each in came)
        return self._has_moved


def _answer_of(verdict: Verdict[E]) -> E:
    if verdict.handling is Handling.DONE and verdict.answer is not None:
        return verdict.answer
    raise error_of(verdict)


def _take(
    found: dict[Conversation, MarkedConversation], asked: list[Conversation], answer: Found
) -> None:
    """
    Enter what an answer says of the conversations that were asked for.

    Nothing is claimed of a conversation whose element cannot be read; where it is not known whose
    that is, of none without an element of its own.
    """
    unread = {each.conversation for each in unread_of(answer)}
    marked = {
        each.conversation: each
        for each in answer.contact_result_item
        if isinstance(each, MarkedConversation)
    }
    for each in asked:
        if each in unread or (None in unread and each not in marked):
            del found[each]
        elif each in marked:
            found[each] = marked[each]
