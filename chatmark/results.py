"""The values that a session gives back: results, reports and marks as the server has them."""

import datetime as dt
from collections.abc import Mapping

import attrs

from chatmark.changes import NO_MARK, MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError
from chatmark.failures import ChangesFailedError, WithdrawnError
from chatmark.lazy import publish
from chatmark.marks import ConversationMark


@attrs.frozen
class MarkResult:
    """
    The fate of one change.

    Args:
        change: The change.
        code: The vendor's code: 0 when it took effect, None when the server never gave one.
        info: The server's own text, or why there is none.
        attempts: In how many requests it was sent.
        error: The error that `MarkSession.mark` would raise, None when it took effect.
        sent: Whether the change may have reached the server.
    """

    change: MarkChange
    code: int | None
    info: str = ""
    attempts: int = 1
    # Each caller gets an error of its own, and those have no equality.
    error: ChatmarkError | None = attrs.field(default=None, eq=False)
    sent: bool = attrs.field(default=True, kw_only=True)

    @property
    def ok(self) -> bool:
        """Whether the change took effect."""
        return self.error is None

    @property
    def withdrawn(self) -> bool:
        """Whether the change was withdrawn before it was sent."""
        return isinstance(self.error, WithdrawnError)

    def raise_for_failure(self) -> None:
        """
        Raise the error if the change did not take effect.

        Raises:
            ChatmarkError: It failed or was withdrawn.
        """
        if self.error is not None:
            raise self.error.fresh()


@attrs.frozen
class MarkReport:
    """
    The summary of many changes.

    Args:
        succeeded: Changes that took effect.
        failed: Changes that failed; those in flight at a failure may have taken effect.
        withdrawn: Changes whose callers were gone before they were sent.
        calls: Requests made, retries among them.
        retries: Changes sent again, counted each time.
        failures: The first failures; `failed` has the true total.
        failures_by_code: How many failed by code; None is the key of those without one.
        elapsed: Wall time in seconds.
    """

    succeeded: int = 0
    failed: int = 0
    withdrawn: int = 0
    calls: int = 0
    retries: int = 0
    failures: tuple[MarkResult, ...] = ()
    failures_by_code: dict[int | None, int] = attrs.field(factory=dict)
    elapsed: float = 0.0

    @property
    def total(self) -> int:
        """How many changes these are."""
        return self.succeeded + self.failed + self.withdrawn

    @property
    def ok(self) -> bool:
        """Whether every change took effect."""
        return not (self.failed or self.withdrawn)

    def raise_for_failures(self) -> None:
        """
        Raise the failures that are kept as one group, if there are any.

        Raises:
            ChangesFailedError: Something failed.
        """
        if self.failed:
            message = f"{self.failed} of {self.total} changes failed"
            errors = [result.error.fresh() for result in self.failures if result.error is not None]
            # A group cannot be empty, and a report may have kept none of its failures.
            raise ChangesFailedError(message, errors or [ChatmarkError(message)], self.failed)


@attrs.frozen
class MarkedConversation:
    """
    A conversation's marks as the server has them.

    Args:
        conversation: The conversation.
        mark: Its standard mark, bits that belong to Chat included.
        custom_mark: Its custom mark, "" when there is none.
        group_ids: The conversation groups that it is in.
        updated_at: When it was last changed, UTC; None when the server did not say.
        group_names: A name for each id, "" where the server gave none. Only ids are compared.
    """

    conversation: Conversation
    mark: ConversationMark = NO_MARK
    custom_mark: str = ""
    group_ids: tuple[int, ...] = ()
    updated_at: dt.datetime | None = None
    group_names: tuple[str, ...] = attrs.field(default=(), eq=False)

    def satisfies(self, change: MarkChange) -> bool:
        """Whether *change* would leave this conversation as it is."""
        return (
            change.set_mark in self.mark
            and not change.clear_mark & self.mark
            and change.custom_mark in (None, self.custom_mark)
        )


@attrs.frozen
class MarkedPage:
    """
    One answer of get_contact_group.

    Args:
        conversations: Some of a user's marked conversations.
        is_last: Whether there are no more of them.
        unreadable: Where and why others could not be read; those are left out.
        has_moved: Whether the user's marks changed since the first page was read. Pages are in the
            order of the last change, so some conversations may then be on no page.
        groups: The names of the user's conversation groups by id, as far as the page has them.
    """

    conversations: tuple[MarkedConversation, ...]
    is_last: bool
    unreadable: tuple[str, ...] = ()
    has_moved: bool = False
    groups: Mapping[int, str] = attrs.field(factory=dict[int, str], eq=False)


@attrs.frozen
class ConversationGroup:
    """
    A conversation group of a user, as the server has it.

    Args:
        name: Its name; "" where the server gave only the number.
        id: Its number.
        conversations: The conversations in it.
    """

    name: str
    id: int
    conversations: tuple[Conversation, ...] = ()


@attrs.frozen
class GroupResult:
    """
    The fate of one conversation in a call of `MarkSession.groups`.

    Args:
        conversation: The conversation.
        code: The vendor's code: 0 when it was added or removed, None when the server gave none.
        info: The server's own text, or why there is none.
        error: The error, None when it was added or removed.
    """

    conversation: Conversation
    code: int | None
    info: str = ""
    error: ChatmarkError | None = attrs.field(default=None, eq=False)

    @property
    def ok(self) -> bool:
        """Whether the conversation was added or removed."""
        return self.error is None


@attrs.frozen
class GroupReport:
    """
    The outcome of a call of `MarkSession.groups` for each conversation.

    Args:
        name: The name of the group.
        id: Its number, None where the server did not say.
        results: The result of each conversation, in the order in which they were given.
    """

    name: str
    id: int | None
    results: tuple[GroupResult, ...] = ()

    @property
    def failures(self) -> tuple[GroupResult, ...]:
        """The results of the conversations that failed."""
        return tuple(each for each in self.results if not each.ok)

    @property
    def ok(self) -> bool:
        """Whether no conversation failed."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """
        Raise the failures as one group, if there are any.

        Raises:
            ChangesFailedError: A conversation failed.
        """
        errors = [each.error.fresh() for each in self.results if each.error is not None]
        if errors:
            message = f"{len(errors)} of {len(self.results)} conversations failed"
            raise ChangesFailedError(message, errors)


publish(__name__)
