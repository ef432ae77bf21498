from collections.abc import Sequence

from chatmark.core.pending import Entry
from chatmark.failures import UnsentError


def unsent(entries: Sequence[Entry]) -> UnsentError:
    """
    Return the error of changes that closing gives up.
    """
    return UnsentError([entry.change for entry in entries])
