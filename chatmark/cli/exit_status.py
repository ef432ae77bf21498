"""Exit statuses of the command line."""

import errno
import signal
from collections.abc import Iterable
from typing import Final

from chatmark import BudgetError, ChatmarkError, InputError, ItemRefusedError, RefusedError

FAILED: Final = 1
WRONG: Final = 2
STOPPED: Final = 3
# Shells report these for programs that a signal ended.
INTERRUPTED: Final = 128 + signal.SIGINT
TERMINATED: Final = 128 + signal.SIGTERM
BROKEN_PIPE: Final = 128 + 13

# A command that names the wrong file gets one of these; others are of the machine.
_OF_COMMAND: Final = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EADDRINUSE),
}


def status_of(error: BaseException) -> int:
    """Return the exit status for an error that ended a command."""
    # A budget refuses before anything is sent: its URL is wrong.
    if isinstance(error, InputError | BudgetError | UnicodeError):
        return WRONG
    if isinstance(error, OSError) and not isinstance(error, ChatmarkError):
        return WRONG if error.errno in _OF_COMMAND else STOPPED
    return FAILED if isinstance(error, ItemRefusedError) else STOPPED


def status_of_unread(errors: Iterable[object]) -> int:
    """Return the exit status for users that could not be read: refused ones, or no answers."""
    found = [FAILED if isinstance(error, RefusedError) else STOPPED for error in errors]
    return max(found, default=0)
