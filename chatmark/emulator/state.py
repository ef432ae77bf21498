"""The state of the server: users, groups, and the marks of their conversations."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final, SupportsInt

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire import (
    ONE_TO_ONE,
    OWN_RULE,
    Key,
    Named,
    Refusal,
    Result,
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
    """One page of a user's marked and grouped conversations."""

    entries: list[Entry]
    # StartIndex of the next page, or None on the last one.
    next_index: int | None
    # When the newest of the conversations changed, in seconds since 1970.
    complete_time: int


@attrs.define
class Account:
    """The marked and the grouped conversations of one user, and the groups."""

    entries: dict[Key, Entry] = attrs.field(factory=dict[Key, Entry])
    contact_groups: dict[int, str] = attrs.field(factory=dict[int, str])
    last_group_id: int = 0
    # The conversations that get_list leaves out.
    deleted: set[Key] = attrs.field(factory=set[Key])

    def entry(self, key: Key) -> Entry:
        return self.entries.get(key) or Entry(key)

    def put(self, entry: Entry) -> None:
        """Replace an entry; without marks and groups it is none."""
        self.entries.pop(entry.conversation, None)
        self.deleted.discard(entry.conversation)
        if entry.is_marked or entry.contact_group_ids:
            self.entries[entry.conversation] = entry

    def regroup(self, key: Key, groups: Iterable[int], seconds: int) -> None:
        ids = tuple(sorted(groups))
        self.put(attrs.evolve(self.entry(key), contact_group_ids=ids, timestamp=seconds))

    def in_order(self) -> list[Entry]:
        """Return the conversations, the last changed one last."""
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
        self._its = its = Settings() if settings is None else settings
        self.users = None if its.users is None else set(its.users)
        self.groups = its.groups
        self.max_marked = its.max_marked
        self.page_size = its.page_size
        self.accounts: defaultdict[str, Account] = defaultdict(Account)

    def now(self) -> int:
        """Return the time in seconds since 1970."""
        return int(self._its.clock())

    def import_users(self, users: Iterable[str]) -> None:
        """Let further users exist."""
        if self.users is not None:
            self.users.update(users)

    def knows_user(self, user_id: str) -> bool:
        """Return True if *user_id* is imported."""
        return self.users is None or user_id in self.users

    def account(self, user: str) -> Account:
        """Return the marks and groups of a user for reading; a user without any is not kept."""
        return self.accounts.get(user) or Account()

    def apply(
        self,
        from_account: str,
        conversation: Key | Named,
        set_bits: int,
        clear_bits: int,
        custom_mark: str | None,
    ) -> Result:
        """
        Apply one item of mark_contact and return its ResultCode and ResultInfo.

        The rules are those of https://www.tencentcloud.com/document/product/1047/53438.
        """
        key, account = key_of(conversation), self.account(from_account)
        before = account.entry(key)
        bits = (before.bits | set_bits) & ~clear_bits
        custom_mark = before.custom_mark if custom_mark is None else custom_mark
        after = Entry(key, bits, custom_mark, before.contact_group_ids, self.now())
        code = self._refusal(from_account, key)
        if not code and (set_bits or clear_bits) and not self._its.standard_marks:
            code = 51013
        if not code and after.is_marked and self._is_full(account, key, lambda it: it.is_marked):
            code = 51008
        if not code and (before.is_marked or after.is_marked):
            self.accounts[from_account].put(after)
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
        account = self.accounts[from_account]
        id_ = account.group_id(name)
        if id_ is None:
            require(len(account.contact_groups) < self._its.max_contact_groups, 51010)
            id_ = account.last_group_id = account.last_group_id + 1
            account.contact_groups[id_] = name
        return id_

    def contact_group_id(self, from_account: str, name: str) -> int:
        """Return the id of a conversation group, or refuse the request."""
        id_ = self.account(from_account).group_id(name)
        if id_ is None:
            raise Refusal(51009)
        return id_

    def rename_contact_group(self, from_account: str, id_: int, name: str) -> None:
        """Give a conversation group another name, or refuse the request."""
        self._check_group_name(name)
        account = self.accounts[from_account]
        is_free = self._its.lenient or account.group_id(name) in (None, id_)
        require(is_free, 50002, f"NewGroupName: another group has this name{OWN_RULE}")
        account.contact_groups[id_] = name

    def join(self, from_account: str, conversation: Key, group_id: int) -> Result:
        """Add a conversation to a conversation group; return its ResultCode and ResultInfo."""
        account = self.accounts[from_account]
        code = self._refusal(from_account, conversation)
        if not code and self._is_full(account, conversation, lambda it: it.contact_group_ids):
            code = 51008
        if not code:
            groups = account.entry(conversation).contact_group_ids
            account.regroup(conversation, {*groups, group_id}, self.now())
        return code, advice(code)

    def leave(self, from_account: str, conversation: Key, group_id: int) -> Result:
        """Remove a conversation from a conversation group, if it is in it."""
        account = self.accounts[from_account]
        groups = {*account.entry(conversation).contact_group_ids}
        if group_id in groups:
            account.regroup(conversation, groups - {group_id}, self.now())
        return 0, ""

    def page(self, from_account: str, start_index: int, *, recent: bool = False) -> Page:
        """
        Return the page of a user's conversations that begins at *start_index*.

        https://www.tencentcloud.com/document/product/1047/53440 leaves the page size open. In the
        one captured answer the conversations are in the order of their last change.
        """
        account = self.account(from_account)
        left_out = account.deleted if recent else ()
        entries = [each for each in account.in_order() if each.conversation not in left_out]
        stop = start_index + self.page_size
        next_index = stop if len(entries) > stop else None
        return Page(entries[start_index:stop], next_index, entries[-1].timestamp if entries else 0)

    def search(self, from_account: str, conversations: Iterable[Key | Named]) -> list[Entry]:
        """Return those of *conversations* that have marks or conversation groups, each once."""
        account = self.account(from_account)
        return [
            account.entry(key)
            for key in dict.fromkeys(key_of(each) for each in conversations)
            if self._its.return_unmarked or key in account.entries
        ]

    def snapshot(self) -> dict[tuple[str, int, str], tuple[int, str]]:
        """Return all marks: ``{(user, type, id): (bits, custom mark)}``."""
        # Each list is copied in one step, because the server's thread may change the dicts.
        return {
            (user, *key): (entry.bits, entry.custom_mark)
            for user, account in list(self.accounts.items())
            for key, entry in list(account.entries.items())
            if entry.is_marked
        }

    def contact_groups(self) -> dict[tuple[str, str], frozenset[Key]]:
        """Return all conversation groups: ``{(user, name): conversations}``."""
        return {
            (user, name): frozenset(
                [key for key, it in list(account.entries.items()) if id_ in it.contact_group_ids]
            )
            for user, account in list(self.accounts.items())
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
        account, key = self.accounts[from_account], key_of(conversation)
        groups = account.entry(key).contact_group_ids
        account.put(Entry(key, number, custom_mark, groups, seconds))

    def seed_contact_group(
        self, from_account: str, group_id: int, name: str, conversations: Iterable[Key | Named] = ()
    ) -> None:
        """Give the user a conversation group (GroupItem) that holds *conversations*."""
        account = self.accounts[from_account]
        account.contact_groups[group_id] = name
        account.last_group_id = max(account.last_group_id, group_id)
        for conversation in map(key_of, conversations):
            entry = account.entry(conversation)
            groups = {*entry.contact_group_ids, group_id}
            account.regroup(conversation, groups, entry.timestamp or self.now())

    def clear(self) -> None:
        """Forget all marks and conversation groups; users, groups and settings stay."""
        self.accounts.clear()

    def _check_group_name(self, name: str) -> None:
        most = self._its.max_group_name
        require(self._its.standard_marks, 51013)
        require(len(name.encode()) <= most, 51011, f"the name has more than {most} bytes")

    def _refusal(self, from_account: str, conversation: Key) -> int:
        """Return the code for a conversation that the user cannot have, or 0."""
        type_, id_ = conversation
        if type_ == ONE_TO_ONE:
            return 0 if self.knows_user(id_) else 50001
        # An unknown group has no members.
        members = None if self.groups is None else self.groups.get(id_, frozenset())
        return 0 if members is None or from_account in members else 51007

    def _is_full(self, account: Account, key: Key, uses: Callable[[Entry], object]) -> bool:
        """Return True if there is no room for one more conversation that *uses* a place."""
        if self._its.pool == "shared":
            return key not in account.entries and len(account.entries) >= self.max_marked
        if len(account.entries) < self.max_marked or uses(account.entry(key)):
            return False
        return sum(bool(uses(each)) for each in account.entries.values()) >= self.max_marked
