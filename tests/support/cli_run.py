"""A run of the command line inside the test's process."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """The exit status of a command, and the text of its two streams."""

    status: int
    out: str
    err: str


#: Runs a line of the command line, with a standard input.
Run = Callable[..., Ended]


def write_lines(name: str, *rows: dict[str, Any]) -> None:
    """Write rows as JSON Lines into the working directory."""
    pathlib.Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
