"""Exit statuses of the command line."""

from typing import Final

FAILED: Final = 1
WRONG: Final = 2
# Shells report these for programs that SIGINT or SIGPIPE ended.
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
