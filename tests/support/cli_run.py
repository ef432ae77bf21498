"""A run of the command line inside the test's process."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """The exit status of a command, and the text of its two streams."""

    status: int
    out: str
    err: str


Run = Callable[[Sequence[str]], Ended]
