"""`chatmark plan`: predict the effect of a file."""

import math
import time
from collections.abc import Iterator
from typing import Final

import attrs
import click

from chatmark import InputError, MarkNames
from chatmark.cli.exit_status import FAILED, status_of_unread
from chatmark.cli.options.access import Target
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.options.shared import ComparingOptions
from chatmark.cli.render.console import Console, first_of, print_json, stdout_console
from chatmark.cli.running.reading import read_to_end, reading_session, run_to_end
from chatmark.jobs.counting import counted, precise
from chatmark.jobs.forecast import Conditions, OnServer, Seconds
from chatmark.jobs.planning import (
    MOST_MARKED,
    Plan,
    Planner,
    RoundTrips,
    plan_offline,
    plan_online,
)

_ROUND_TRIP: Final = 50.0
_MILLISECONDS: Final = 1_000
_MOST_SHOWN: Final = 5
_COUNTS: Final = ("set in", "cleared in")
_REFUSALS: Final = ("marked now", "refused")


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
        _print(stdout_console(), made, options.inputs.names, options.max_marked)
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


def _print(console: Console, plan: Plan, names: MarkNames, max_marked: int) -> None:
    size, effects = plan.size, plan.effects
    changes, rows = counted(size.changes, "change"), counted(plan.rows, "row")
    console.say(f"{plan.file}: {changes} in {rows}", "bold")
    repeated = "{change names|changes name} a conversation that an earlier row named"
    contradicting = "{conversation has|conversations have} contradicting rows: the later row wins"
    console.say_counts(
        (plan.set_aside, "{row|rows} cannot be applied and would be set aside", "red"),
        (size.users, "{user|users}", ""),
        (size.units, "{conversation|conversations}", ""),
        (effects.repeated, repeated, ""),
        (effects.contradicting, contradicting, "yellow"),
    )
    for each in effects.contradictions[:_MOST_SHOWN]:
        first = f"{each.change.from_account} {each.change.conversation}"
        console.say(f"            line {each.line:,}: {first}, {each.rows} rows")
    console.print_table("", ("mark", "bit", *_COUNTS), _marks(plan, names), numbers=_COUNTS)
    _print_calls(console, plan)
    if plan.server is not None:
        _print_server(console, plan, plan.server, max_marked)


def _marks(plan: Plan, names: MarkNames) -> Iterator[tuple[str, str, str, str]]:
    for name, bit, is_set, cleared in plan.effects.labelled(names):
        yield name, str(bit), f"{is_set:,}", f"{cleared:,}"
    effects = plan.effects
    if effects.custom_set or effects.custom_cleared:
        yield "custom mark", "", f"{effects.custom_set:,}", f"{effects.custom_cleared:,}"


def _print_calls(console: Console, plan: Plan) -> None:
    conditions = plan.conditions
    rate = conditions.calls_per_second
    paced = "unpaced" if rate is None else f"at {rate:g} a second"
    text = f"{{call|calls}}, {paced}, with a round trip of {conditions.round_trip * 1000:,.0f} ms"
    console.say_counts((plan.size.calls, text, "bold"))
    checking = precise(plan.checking_seconds)
    parts = f"{checking} to check it, {_range(plan.sending_seconds)} to send it"
    console.say(f"  {_range(plan.seconds):>9} to apply the file: {parts}", "bold")


def _range(seconds: Seconds) -> str:
    least, most = precise(seconds.least), precise(seconds.most)
    return least if least == most else f"{least} to {most}"


def _print_server(console: Console, plan: Plan, server: OnServer, max_marked: int) -> None:
    console.say("")
    console.say(f"The server, read with {counted(server.calls_read, 'call')}:", "bold")
    calls = server.skip_calls
    saved = plan.size.calls - calls
    verdict = f"{saved:,} fewer" if saved > 0 else f"{-saved:,} more" if saved else "no fewer"
    seconds = (plan.skip_seconds or Seconds()) + plan.checking_seconds
    skipping = (
        f"{{call|calls}} with --skip-unchanged ({server.skip_reading:,} to read, "
        f"{server.skip_sending:,} to send), {verdict}: {_range(seconds)}"
    )
    over_limit = (
        f"{{user|users}} would pass the limit of {counted(max_marked, 'marked conversation')}: "
        f"{counted(server.conversations_over_limit, 'conversation')} would be refused (51008)"
    )
    unchanged = "{conversation is|conversations are} as the file wants {it|them} already"
    console.say_counts(
        (server.unchanged, unchanged, ""),
        (calls if server.unchanged else 0, skipping, "green" if saved > 0 else ""),
        (server.unknown_users, "{user is|users are} not known to the server (50001)", "red"),
    )
    if server.unknown_users:
        shown = first_of(server.first_unknown_users, server.unknown_users, _MOST_SHOWN)
        console.say(f"            {shown}")
    console.say_counts((server.users_over_limit, over_limit, "red"))
    if server.users_over_limit:
        rows = [
            (each.from_account, f"{each.marked:,}", f"{each.refused:,}")
            for each in server.first_over_limit[:_MOST_SHOWN]
        ]
        console.print_table("", ("user", *_REFUSALS), rows, numbers=_REFUSALS)
    console.say_counts((server.unread_users, "{user|users} could not be read", "red"))
    console.say_errors(server.errors, _MOST_SHOWN)
