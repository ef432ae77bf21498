"""
Options that say how a session calls, for every command that makes many calls.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

T = TypeVar("T")


@attrs.frozen
class Calling:
    """
    What the options say of a session's calls.

    Args:
        rate: Calls a second, None for as many as go.
        timeout: Seconds for one attempt.
        deadline: Seconds for one change or reading call, from its first attempt.
    """

    rate: float | None
    timeout: float
    deadline: float

    @property
    def options(self) -> dict[str, Any]:
        """
        The options of `Target.session`.
        """
        return attrs.asdict(self)


def calling_options(command: Callable[..., T]) -> Callable[..., T]:
    """
    Add the options that say how a session calls; the command gets them as `calling`.
    """

    @functools.wraps(command)
    def with_calling(*args: Any, **given: Any) -> T:
        rate: float = given.pop("rate")
        calling = Calling(rate or None, given.pop("timeout"), given.pop("deadline"))
        return command(*args, calling=calling, **given)

    wrapped: Callable[..., T] = with_calling
    for option in (
        click.option(
            "--deadline",
            type=click.FloatRange(min=0),
            default=60.0,
            show_default=True,
            envvar="CHATMARK_DEADLINE",
            metavar="SECONDS",
            help="For one change or reading call, from its first attempt.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.001),
            default=10.0,
            show_default=True,
            envvar="CHATMARK_TIMEOUT",
            metavar="SECONDS",
            help="For one attempt.",
        ),
        click.option(
            "--rate",
            type=click.FloatRange(min=0),
            default=190.0,
            show_default=True,
            envvar="CHATMARK_RATE",
            help="Calls a second, 0 for as many as go. The vendor allows 200 for a whole "
            "application.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def in_flight_option(command: Callable[..., T]) -> Callable[..., T]:
    """
    Add `--max-in-flight`.
    """
    return click.option(
        "--max-in-flight",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        envvar="CHATMARK_MAX_IN_FLIGHT",
        metavar="N",
        help="Requests at once. What is in flight when the process is killed is sent again.",
    )(command)
