"""The state of the server: users, groups, and the marks of their conversations."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, SupportsInt

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire import (
    ONE_TO_ONE,
    OWN_RULE,
    Key,
    Named,
    Refusal,
    advice,
    key_of,
    require,
)

_ALL_BITS: Final = (1 << 64) - 1


@attrs.frozen
class Entry:
    """One conversation of a reading call, with the time of its last change in Unix seconds."""

    conversation: Key
    bits: int = 0
    custom_mark: str = ""
    contact_group_ids: tuple[int, ...] = ()
    timestamp: int = 0

    @property
    def is_marked(self) -> bool:
        return bool(self.bits or self.custom_mark)


@attrs.frozen
class Page:
    """One page of a user's marked conversations, and all conversation groups."""

    entries: list[Entry]
    contact_groups: dict[int, str]
    # StartIndex of the next page, or None on the last one.
    next_index: int | None
    # When the newest of the conversations changed, in seconds since 1970.
    complete_time: int


@attrs.define
class _Account:
    """The marked and the grouped conversations of one user, and the groups."""

    entries: dict[Key, Entry] = attrs.field(factory=dict[Key, Entry])
    contact_groups: dict[int, str] = attrs.field(factory=dict[int, str])
    last_group_id: int = 0
    # The numbers of marked and of grouped conversations.
    marked: int = 0
    grouped: int = 0
    # The conversations that get_list leaves out.
    deleted: set[Key] = attrs.field(factory=set[Key])

    def entry(self, key: Key) -> Entry:
        return self.entries.get(key) or Entry(key)

    def put(self, after: Entry) -> None:
        """Replace an entry; without marks and groups it is none."""
        key = after.conversation
        before = self.entry(key)
        self.entries.pop(key, None)
        self.deleted.discard(key)
        self.marked += after.is_marked - before.is_marked
        self.grouped += bool(after.contact_group_ids) - bool(before.contact_group_ids)
        if after.is_marked or after.contact_group_ids:
            self.entries[key] = after

    def regroup(self, key: Key, groups: Iterable[int], seconds: int) -> None:
        it = self.entry(key)
        self.put(Entry(key, it.bits, it.custom_mark, tuple(sorted(groups)), seconds))

    def leave(self, key: Key, group_id: int, seconds: int) -> None:
        groups = self.entry(key).contact_group_ids
        if group_id in groups:
            self.regroup(key, [each for each in groups if each != group_id], seconds)

    def in_order(self) -> list[Entry]:
        """Return the entries, the last changed one last."""
        return sorted(self.entries.values(), key=lambda entry: entry.timestamp)

    def group_id(self, name: str) -> int | None:
        return next((id_ for id_, each in self.contact_groups.items() if each == name), None)


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
            given = settings.groups.items()
            self.groups = {id_: each if each is None else frozenset(each) for id_, each in given}
        self.standard_marks = settings.standard_marks
        self.max_marked = settings.max_marked
        self.pool = settings.pool
        self.max_contact_groups = settings.max_contact_groups
        self.max_group_name = settings.max_group_name
        self.page_size = settings.page_size
        self.return_unmarked = settings.return_unmarked
        self._strict = settings.strict
        self._clock = settings.clock
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)

    def now(self) -> int:
        """Return the time in seconds since 1970."""
        return int(self._clock())

    def import_users(self, users: Iterable[str]) -> None:
        """Let further users exist."""
        if self.users is not None:
            self.users.update(users)

    def knows_user(self, user_id: str) -> bool:
        """Return True if *user_id* is imported."""
        return self.users is None or user_id in self.users

    def apply(
        self,
        from_account: str,
        conversation: Key | Named,
        set_bits: int,
        clear_bits: int,
        custom_mark: str | None,
    ) -> tuple[int, str]:
        """
        Apply one item of mark_contact and return its ResultCode and ResultInfo.

        The rules are those of https://www.tencentcloud.com/document/product/1047/53438.
        """
        key, account = key_of(conversation), self._account(from_account)
        before = account.entry(key)
        bits = (before.bits | set_bits) & ~clear_bits
        custom_mark = before.custom_mark if custom_mark is None else custom_mark
        after = Entry(key, bits, custom_mark, before.contact_group_ids, self.now())
        used = account.marked if after.is_marked and not before.is_marked else -1
        code = self._refusal(from_account, key, used, set_bits | clear_bits)
        if not code and (before.is_marked or after.is_marked):
            self._accounts[from_account].put(after)
        return code, advice(code)

    def create_contact_group(self, from_account: str, name: str) -> int:
        """
        Give the user a conversation group, unless there is one of this name, and return its id.

        https://www.tencentcloud.com/document/product/1047/53437 does not say what a second group of
        a name is; the error codes of the vendor have none for it.

        Raises:
            Refusal: The edition has no groups, the name is too long, or there are too many groups.
        """
        self._check_group_name(name)
        account = self._accounts[from_account]
        id_ = account.group_id(name)
        if id_ is None:
            require(len(account.contact_groups) < self.max_contact_groups, 51010)
            id_ = account.last_group_id = account.last_group_id + 1
            account.contact_groups[id_] = name
        return id_

    def contact_group_id(self, from_account: str, name: str) -> int:
        """Return the id of a conversation group, or refuse the request."""
        id_ = self._account(from_account).group_id(name)
        if id_ is None:
            raise Refusal(51009)
        return id_

    def rename_contact_group(self, from_account: str, id_: int, name: str) -> None:
        """Give a conversation group another name, or refuse the request."""
        self._check_group_name(name)
        account = self._accounts[from_account]
        is_free = not self._strict or account.group_id(name) in (None, id_)
        require(is_free, 50002, f"NewGroupName: another group has this name{OWN_RULE}")
        account.contact_groups[id_] = name

    def delete_contact_group(self, from_account: str, name: str) -> int:
        """Delete a conversation group and return its id, or refuse the request."""
        id_ = self.contact_group_id(from_account, name)
        account, now = self._accounts[from_account], self.now()
        del account.contact_groups[id_]
        for conversation in list(account.entries):
            account.leave(conversation, id_, now)
        return id_

    def join(self, from_account: str, conversation: Key, group_id: int) -> tuple[int, str]:
        """Add a conversation to a conversation group; return its ResultCode and ResultInfo."""
        account = self._accounts[from_account]
        groups = account.entry(conversation).contact_group_ids
        code = self._refusal(from_account, conversation, -1 if groups else account.grouped)
        if not code:
            account.regroup(conversation, {*groups, group_id}, self.now())
        return code, advice(code)

    def leave(self, from_account: str, conversation: Key, group_id: int) -> tuple[int, str]:
        """Remove a conversation from a conversation group, if it is in it."""
        self._accounts[from_account].leave(conversation, group_id, self.now())
        return 0, ""

    def delete_recent(self, from_account: str, conversation: Key) -> None:
        """
        Take a conversation out of the recent ones of get_list until it changes again.

        The vendor does not say what becomes of its marks. They are said to be independent of the
        recent conversations, so they stay.
        """
        self._accounts[from_account].deleted.add(conversation)

    def page(self, from_account: str, start_index: int, *, recent: bool = False) -> Page:
        """
        Return the page of a user's conversations that begins at *start_index*.

        https://www.tencentcloud.com/document/product/1047/53440 leaves the page size open. In the
        one captured answer the conversations are in the order of their last change.
        """
        account = self._account(from_account)
        stop = start_index + self.page_size
        left_out = account.deleted if recent else ()
        entries = [each for each in account.in_order() if each.conversation not in left_out]
        return Page(
            entries[start_index:stop],
            dict(account.contact_groups),
            stop if len(entries) > stop else None,
            entries[-1].timestamp if entries else 0,
        )

    def search(self, from_account: str, conversations: Iterable[Key | Named]) -> list[Entry]:
        """Return those of *conversations* that have marks or conversation groups, each once."""
        account = self._account(from_account)
        return [
            account.entry(key)
            for key in dict.fromkeys(key_of(each) for each in conversations)
            if self.return_unmarked or key in account.entries
        ]

    def contact_group_names(
        self, from_account: str, entries: Iterable[Entry] | None = None
    ) -> dict[int, str]:
        """Return the names of the user's conversation groups, or of those of *entries*, by id."""
        names = dict(self._account(from_account).contact_groups)
        if entries is None:
            return names
        wanted = {id_ for entry in entries for id_ in entry.contact_group_ids}
        return {id_: name for id_, name in names.items() if id_ in wanted}

    def snapshot(self) -> dict[tuple[str, int, str], tuple[int, str]]:
        """Return all marks: ``{(user, type, id): (bits, custom mark)}``."""
        # Each list is copied in one step, because the server's thread may change the dicts.
        return {
            (user, *key): (entry.bits, entry.custom_mark)
            for user, account in list(self._accounts.items())
            for key, entry in list(account.entries.items())
            if entry.is_marked
        }

    def active_users(self) -> list[str]:
        """Return the users that have or had marks or conversation groups."""
        return list(self._accounts)

    def latest(self, user: str) -> list[Entry]:
        """Return the user's conversations with marks or groups, the last changed first."""
        return self._account(user).in_order()[::-1]

    def contact_groups(self) -> dict[tuple[str, str], frozenset[Key]]:
        """Return all conversation groups: ``{(user, name): conversations}``."""
        return {
            (user, name): frozenset(
                [key for key, it in list(account.entries.items()) if id_ in it.contact_group_ids]
            )
            for user, account in list(self._accounts.items())
            for id_, name in list(account.contact_groups.items())
        }

    def seed_mark(
        self,
        from_account: str,
        conversation: Key | Named,
        bits: SupportsInt = 0,
        custom_mark: str = "",
        *,
        timestamp: int | None = None,
    ) -> None:
        """
        Give *conversation* these marks without any check.

        The standard mark *bits* is a number or a ConversationMark; *timestamp* is in seconds since
        1970, now by default.

        Raises:
            ValueError: If *bits* has more than 64 bits.
        """
        number = int(bits)
        if not 0 <= number <= _ALL_BITS:
            raise ValueError(f"bits must fit into 64 bits, not {number:#x}")
        seconds = self.now() if timestamp is None else timestamp
        account, key = self._accounts[from_account], key_of(conversation)
        groups = account.entry(key).contact_group_ids
        account.put(Entry(key, number, custom_mark, groups, seconds))

    def seed_contact_group(
        self, from_account: str, group_id: int, name: str, conversations: Iterable[Key | Named] = ()
    ) -> None:
        """Give the user a conversation group (GroupItem) that holds *conversations*."""
        account = self._accounts[from_account]
        account.contact_groups[group_id] = name
        account.last_group_id = max(account.last_group_id, group_id)
        for conversation in map(key_of, conversations):
            entry = account.entry(conversation)
            seconds = entry.timestamp if conversation in account.entries else self.now()
            account.regroup(conversation, {*entry.contact_group_ids, group_id}, seconds)

    def clear(self) -> None:
        """Forget all marks and conversation groups; users, groups and settings stay."""
        self._accounts.clear()

    def _account(self, user: str) -> _Account:
        """Return the account for reading; there is none to keep for a user without marks."""
        return self._accounts.get(user) or _Account()

    def _check_group_name(self, name: str) -> None:
        most = self.max_group_name
        require(self.standard_marks, 51013)
        require(len(name.encode()) <= most, 51011, f"the name has more than {most} bytes")

    def _refusal(self, from_account: str, conversation: Key, used: int, bits: int = 0) -> int:
        """Return the code of a change, 0 for success; *used* places are taken if it needs one."""
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
        if used >= 0 and self.pool == "shared":
            entries = self._account(from_account).entries
            used = -1 if conversation in entries else len(entries)
        return 51008 if used >= self.max_marked else 0
