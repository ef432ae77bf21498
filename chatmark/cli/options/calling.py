"""Options for the calls of a session."""

import functools
from typing import Any

import attrs
import click

from chatmark.cli.options.groups import group, option
from chatmark.pacing.window import parse_rate

_call = functools.partial(option, title="Calls")


def _limit(rate: str | float) -> float | None:
    number: float = parse_rate(rate, "--rate")
    return number or None


@attrs.frozen
class Calling:
    """The calls of a session: their rate (None without a limit), their times and their number."""

    rate: float | None = _call(
        "Calls a second, or a share such as 190/8 for each of eight processes; 0 without a limit. "
        "The vendor allows 200 for a whole application.",
        "190",
        metavar="RATE",
        converter=_limit,
    )
    timeout: float = _call(
        "The time of one attempt.", 10.0, metavar="SECONDS", type=click.FloatRange(min=0.001)
    )
    deadline: float = _call(
        "The time of one change or reading call, from its first attempt.", 60.0, metavar="SECONDS"
    )
    max_in_flight: int | None = _call(
        "The most requests at once; by default they follow the rate and the round trip. Requests "
        "in flight when the process is killed are sent again.",
        metavar="N",
        type=click.IntRange(min=1),
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of `Target.session`."""
        return attrs.asdict(self)


CALLING = group(Calling)
