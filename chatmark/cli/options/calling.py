"""
Options for the calls of a session.
"""

from typing import Any

import attrs
import click

from chatmark.cli.options.groups import option_group, options_of


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
        max_in_flight: The most requests at once.
    """

    rate: float | None = attrs.field(default=190.0, converter=_limit)
    timeout: float = 10.0
    deadline: float = 60.0
    max_in_flight: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of `Target.session`."""
        return attrs.asdict(self)


calling_options = option_group(
    "calling",
    Calling,
    *options_of(
        Calling,
        "Calls",
        {
            "rate": "Calls a second, 0 for as many as go. The vendor allows 200 for a whole "
            "application.",
            "timeout": "For one attempt.",
            "deadline": "For one change or reading call, from its first attempt.",
            "max_in_flight": "The most requests at once; without it they follow the rate and the "
            "round trip. Requests in flight when the process is killed are sent again.",
        },
        timeout={"metavar": "SECONDS", "type": click.FloatRange(min=0.001)},
        deadline={"metavar": "SECONDS"},
        max_in_flight={"metavar": "N", "type": click.IntRange(min=1)},
    ),
)
