"""The place of a call, other than a request of marks, among the marks of its user."""

import math
from collections.abc import Callable

from chatmark.core.pending import Entry


class Turn:
    """
    The place of a call among the pending changes of its user.

    It begins when all changes that were accepted before it have their outcome, and the server
    executes none of their requests any more. Changes that are accepted after it wait behind it.

    Args:
        account: The From_Account.
        begin: Called when it begins.

    Attributes:
        may_run_until: Until when the server may still execute a request of the call.
        ends_at: When the changes behind it may go, infinity while it waits or lasts.
    """

    __slots__ = ("account", "begin", "behind", "ends_at", "has_begun", "may_run_until")

    def __init__(self, account: str, begin: Callable[[], None]) -> None:
        self.account = account
        self.begin = begin
        self.has_begun = False
        self.may_run_until = -math.inf
        self.ends_at = math.inf
        # Changes that were accepted after it and before the next turn, oldest first.
        self.behind: dict[Entry, None] = {}
