"""
Options for the calls of a session.
"""

from typing import Any

import attrs
import click

from chatmark.cli.options.groups import option_group, shared

_TITLE = "Calls"


def _limit(rate: float) -> float | None:
    return rate or None


@attrs.frozen
class Calling:
    """
    How a session calls.

    Args:
        rate: Calls a second, None without a limit.
        timeout: Seconds for one attempt.
        deadline: Seconds for one change or reading call, from its first attempt.
        max_in_flight: Requests at once.
    """

    rate: float | None = attrs.field(converter=_limit)
    timeout: float
    deadline: float
    max_in_flight: int

    @property
    def options(self) -> dict[str, Any]:
        """
        The options of `Target.session`.
        """
        return attrs.asdict(self)


calling_options = option_group(
    "calling",
    Calling,
    shared(
        _TITLE,
        "--rate",
        type=click.FloatRange(min=0),
        default=190.0,
        help="Calls a second, 0 for as many as go. The vendor allows 200 for a whole application.",
    ),
    shared(
        _TITLE,
        "--timeout",
        type=click.FloatRange(min=0.001),
        default=10.0,
        metavar="SECONDS",
        help="For one attempt.",
    ),
    shared(
        _TITLE,
        "--deadline",
        type=click.FloatRange(min=0),
        default=60.0,
        metavar="SECONDS",
        help="For one change or reading call, from its first attempt.",
    ),
    shared(
        _TITLE,
        "--max-in-flight",
        type=click.IntRange(min=1),
        default=32,
        metavar="N",
        help="Requests at once. What is in flight when the process is killed is sent again.",
    ),
)
