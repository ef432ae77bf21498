"""
Arguments of a session: a wrong one is an error at once, and the text says what it must be.
"""

import inspect
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from chatmark.credentials import Credentials
from chatmark.errors import InputError
from chatmark.pacing.window import parse_rate
from chatmark.regions import server_from_env

_RATE = "CHATMARK_RATE"


def from_env(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a session; those that are missing come from the environment."""
    if "credentials" not in options:
        options["credentials"] = Credentials.from_env()
    if not options.keys() & {"region", "base_url", "transport"}:
        options |= server_from_env()
    if not options.keys() & {"calls_per_second", "budget"} and os.environ.get(_RATE):
        options["calls_per_second"] = parse_rate(os.environ[_RATE], _RATE) or None
    return options


def check_seconds(field: str, value: float, *, least: float = 0.0, endless: bool = False) -> None:
    """Refuse a value that is not a number of seconds; *endless* allows infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # An int may be larger than any float, and no timer goes off at infinity.
    is_endless = endless and value == math.inf
    if not is_number or not (is_endless or least <= value <= sys.float_info.max):
        raise InputError(field, f"must be a number of seconds from {least:g} up", value)


def check_count(field: str, value: int) -> None:
    """Refuse a value that is not a whole number from 1 up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(field, "must be a whole number from 1 up", value)


def check_kind(field: str, value: object, kind: Any) -> None:
    """Refuse a value of another kind; None is allowed."""
    if value is not None and not isinstance(value, kind):
        raise InputError(field, f"must be a {kind.__name__}", value)


def check_hooks(hooks: Sequence[Any]) -> None:
    """Refuse hooks that cannot be called, or whose call would only make a coroutine."""
    if not (isinstance(hooks, Sequence) and all(map(callable, hooks))):
        raise InputError("hooks", "must be a sequence of callables", hooks)
    if any(map(inspect.iscoroutinefunction, hooks)):
        raise InputError("hooks", "are called, not awaited: none may be a coroutine function")
