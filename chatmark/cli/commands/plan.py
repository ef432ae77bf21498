"""`chatmark plan`: predict the effect of a file."""

import math
import time
from typing import Final

import attrs
import click

from chatmark import InputError
from chatmark.cli.exit_status import FAILED, status_of_unread
from chatmark.cli.options.access import Target
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.options.shared import ComparingOptions
from chatmark.cli.render.console import print_json, stdout_console
from chatmark.cli.render.plan import print_plan
from chatmark.cli.running.loading import read_to_end
from chatmark.cli.running.reading import reading_session, run_to_end
from chatmark.jobs.planning.forecast import Conditions
from chatmark.jobs.planning.online import RoundTrips, plan_online
from chatmark.jobs.planning.plan import Plan, Planner, plan_offline
from chatmark.jobs.server.lookup import MOST_MARKED

_ROUND_TRIP: Final = 50.0
_MILLISECONDS: Final = 1_000


@attrs.frozen(kw_only=True)
class _Options(ComparingOptions):
    offline: bool = option("Do not ask the server.", False)
    round_trip: float | None = option(
        "Assume so many milliseconds from a request to its answer.  [default: measured, "
        f"or {_ROUND_TRIP:g} with --offline]",
        type=click.FloatRange(min=0),
        metavar="MS",
    )
    max_marked: int = option(
        "The most marked conversations of a user.",
        MOST_MARKED,
        type=click.IntRange(min=1),
        metavar="N",
    )

    @property
    def conditions(self) -> Conditions:
        round_trip = _ROUND_TRIP if self.round_trip is None else self.round_trip
        if not math.isfinite(round_trip):
            raise InputError("round_trip", "must be a finite number of milliseconds")
        return Conditions(self.calling.rate, round_trip / _MILLISECONDS, self.calling.max_in_flight)


@click.command(
    cls=GroupedCommand,
    help="""
    Predict the effect and the duration of applying FILE; nothing is sent.

    Without --offline the command reads all marked conversations of the file's users. Exit status 1
    means that a change would be refused, or that a user could not be read.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@takes_options(_Options)
def plan(paths: tuple[str, ...], options: _Options) -> int:
    target = None if options.offline else options.access.target()
    started = time.monotonic()
    with read_to_end(paths, options.inputs, quiet=options.quiet) as read:
        planner = Planner(read, time.monotonic() - started)
        if target is None:
            made = plan_offline(planner, options.conditions)
        else:
            made = run_to_end(_read(planner, target, options))
    if options.as_json:
        print_json(made.document(options.inputs.names))
    else:
        print_plan(stdout_console(), made, options.inputs.names, options.max_marked)
    unread = {} if made.server is None else made.server.errors
    return 0 if made.ok else status_of_unread(unread.values()) or FAILED


async def _read(planner: Planner, target: Target, options: _Options) -> Plan:
    round_trips = RoundTrips()
    async with reading_session(
        target,
        options,
        "read",
        "users",
        planner.loaded.spool.users,
        lambda: planner.users,
        hooks=[round_trips],
    ) as session:
        return await plan_online(
            planner,
            session,
            round_trips,
            options.conditions,
            measured=options.round_trip is None,
            most_marked=options.max_marked,
        )
