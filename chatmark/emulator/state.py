"""What the server knows: users, groups and the marks of their conversations."""

from collections.abc import Iterable
from typing import Final, SupportsInt

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire.entries import Entry, Page
from chatmark.emulator.wire.fields import ONE_TO_ONE, Key
from chatmark.emulator.wire.refusals import advice

_ALL_BITS: Final = (1 << 64) - 1
_OK: Final = (0, "")


@attrs.define
class _Mark:
    bits: int
    custom_mark: str


@attrs.define
class _Account:
    """The conversations of one user that carry a mark, and those sorted into contact groups."""

    marks: dict[Key, _Mark] = attrs.field(factory=dict[Key, _Mark])
    contact_groups: dict[int, str] = attrs.field(factory=dict[int, str])
    memberships: dict[Key, list[int]] = attrs.field(factory=dict[Key, list[int]])
    # When the marks or contact groups of a conversation last changed, in that order.
    changed_at: dict[Key, int] = attrs.field(factory=dict[Key, int])

    def touch(self, key: Key, seconds: int) -> None:
        self.changed_at.pop(key, None)
        if key in self.marks or key in self.memberships:
            self.changed_at[key] = seconds

    def conversations(self) -> list[Key]:
        return sorted(self.changed_at, key=self.changed_at.__getitem__)


class ChatState:
    """
    The users, groups and marks of one application.

    A test may call any method from another thread while the server runs.

    Args:
        settings: Users, groups and limits.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = Settings() if settings is None else settings
        self.users = None if settings.users is None else set(settings.users)
        self.groups: dict[str, frozenset[str] | None] | None = None
        if settings.groups is not None:
            self.groups = {
                id_: None if members is None else frozenset(members)
                for id_, members in settings.groups.items()
            }
        self.standard_marks = settings.standard_marks
        self.max_marked = settings.max_marked
        self.page_size = settings.page_size
        self.return_unmarked = settings.return_unmarked
        self._clock = settings.clock
        self._accounts: dict[str, _Account] = {}

    def knows_user(self, user_id: str) -> bool:
        """Tell whether *user_id* is imported."""
        return self.users is None or user_id in self.users

    def apply(
        self,
        from_account: str,
        conversation: Key,
        set_bits: int,
        clear_bits: int,
        custom_mark: str | None,
    ) -> tuple[int, str]:
        """
        Apply one item of mark_contact and return its ResultCode and ResultInfo.

        The rules are those of https://www.tencentcloud.com/document/product/1047/53438.
        """
        code = self._refusal(from_account, conversation, set_bits | clear_bits)
        if code:
            return code, advice(code)
        account = self._account(from_account)
        mark = account.marks.get(conversation)
        if mark is None:
            bits, text = set_bits, custom_mark or ""
            if not bits and not text:
                return _OK
            if len(account.marks) >= self.max_marked:
                return 51008, advice(51008)
            account.marks[conversation] = _Mark(bits, text)
            account.touch(conversation, int(self._clock()))
            return _OK
        mark.bits = (mark.bits | set_bits) & ~clear_bits
        if custom_mark is not None:
            mark.custom_mark = custom_mark
        if not mark.bits and not mark.custom_mark:
            del account.marks[conversation]
        account.touch(conversation, int(self._clock()))
        return _OK

    def page(self, from_account: str, start_index: int) -> Page:
        """
        Return the page of a user's conversations that begins at *start_index*.

        https://www.tencentcloud.com/document/product/1047/53440 leaves the page size open. In the
        one captured answer the conversations are in the order of their last change.
        """
        account = self._accounts.get(from_account) or _Account()
        stop = start_index + self.page_size
        # One more than the page tells whether another one follows.
        conversations = account.conversations()
        keys = conversations[start_index : stop + 1]
        return Page(
            [self._entry(account, key) for key in keys[: self.page_size]],
            dict(account.contact_groups),
            stop if len(keys) > self.page_size else None,
            account.changed_at[conversations[-1]] if conversations else 0,
        )

    def search(self, from_account: str, conversations: Iterable[Key]) -> list[Entry]:
        """Return those of *conversations* that have marks or contact groups, each once."""
        account = self._accounts.get(from_account) or _Account()
        return [
            self._entry(account, key)
            for key in dict.fromkeys(conversations)
            if self.return_unmarked or key in account.marks or key in account.memberships
        ]

    def contact_group_names(self, from_account: str, entries: Iterable[Entry]) -> dict[int, str]:
        """Return the names of the contact groups that *entries* are in, by id."""
        account = self._accounts.get(from_account) or _Account()
        wanted = {id_ for entry in entries for id_ in entry.contact_group_ids}
        return {id_: name for id_, name in account.contact_groups.items() if id_ in wanted}

    def snapshot(self) -> dict[tuple[str, int, str], tuple[int, str]]:
        """Return all marks: ``{(user, type, id): (bits, custom mark)}``."""
        # The inner lists are taken in one step each, so that the server's thread may go on.
        return {
            (user, *key): (mark.bits, mark.custom_mark)
            for user, account in list(self._accounts.items())
            for key, mark in list(account.marks.items())
        }

    def seed_mark(
        self,
        from_account: str,
        conversation: Key,
        bits: SupportsInt = 0,
        custom_mark: str = "",
        *,
        timestamp: int | None = None,
    ) -> None:
        """
        Give *conversation* these marks, past every check.

        Args:
            from_account: Whose conversation it is.
            conversation: The conversation.
            bits: The standard mark, a number or a ConversationMark.
            custom_mark: The custom mark.
            timestamp: Seconds since 1970; now by default.

        Raises:
            ValueError: If *bits* has more than 64 bits.
        """
        number = int(bits)
        if not 0 <= number <= _ALL_BITS:
            raise ValueError(f"bits must fit into 64 bits, not {number:#x}")
        account = self._account(from_account)
        if not number and not custom_mark:
            account.marks.pop(conversation, None)
        else:
            account.marks[conversation] = _Mark(number, custom_mark)
        account.touch(conversation, int(self._clock()) if timestamp is None else timestamp)

    def seed_contact_group(
        self, from_account: str, group_id: int, name: str, conversations: Iterable[Key] = ()
    ) -> None:
        """Give the user a contact group (GroupItem) that holds *conversations*."""
        account = self._account(from_account)
        account.contact_groups[group_id] = name
        for conversation in conversations:
            ids = account.memberships.setdefault(conversation, [])
            if group_id not in ids:
                ids.append(group_id)
            account.touch(conversation, account.changed_at.get(conversation, int(self._clock())))

    def clear(self) -> None:
        """Forget all marks and contact groups; users, groups and settings stay."""
        self._accounts.clear()

    def _refusal(self, from_account: str, conversation: Key, bits: int) -> int:
        type_, id_ = conversation
        if type_ == ONE_TO_ONE:
            if self.users is not None and id_ not in self.users:
                return 50001
        elif self.groups is not None:
            # An unknown group has no members.
            members = self.groups.get(id_, frozenset())
            if members is not None and from_account not in members:
                return 51007
        if bits and not self.standard_marks:
            return 51013
        return 0

    def _account(self, user_id: str) -> _Account:
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = _Account()
        return account

    @staticmethod
    def _entry(account: _Account, key: Key) -> Entry:
        mark = account.marks.get(key) or _Mark(0, "")
        ids = tuple(account.memberships.get(key, ()))
        return Entry(key, mark.bits, mark.custom_mark, ids, account.changed_at.get(key, 0))
