"""`chatmark plan`: predict the effect of a file."""

import math
import sys
import time
from typing import Any, Final

import attrs
import click

from chatmark import InputError
from chatmark.cli import endings, reading, terminal
from chatmark.cli.access import Target
from chatmark.cli.options import Command, option
from chatmark.jobs import Conditions, Plan, Planner, RoundTrips, plan_offline, plan_online
from chatmark.jobs.counting import counted
from chatmark.jobs.planning.forecast import Seconds
from chatmark.jobs.planning.plan import OnServer
from chatmark.jobs.reports.progress import precise
from chatmark.jobs.server.lookup import MOST_MARKED

_ROUND_TRIP: Final = 50.0
_MOST_SHOWN: Final = 5
_COUNTS: Final = ("set in", "cleared in")


@attrs.frozen(kw_only=True)
class _Options(reading.ComparingOptions):
    HELP = """
    Predict the effect and the duration of applying FILE; nothing is sent.

    Without --offline the command reads all marked conversations of the file's users. Exit status 1
    means that a change would be refused, or that a user could not be read.
    """

    offline: bool = option("Do not ask the server.", False)
    round_trip: float | None = option(
        f"The time to an answer.  [default: measured, or {_ROUND_TRIP:g} with --offline]",
        metavar="MS",
        type=click.FloatRange(min=0),
    )
    max_marked: int = option(
        "The most marked conversations of a user.", MOST_MARKED, "N", type=click.IntRange(min=1)
    )


@click.command(cls=Command, options=_Options)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def plan(paths: tuple[str, ...], options: _Options) -> int:
    target = None if options.offline else options.access.target()
    round_trip = _ROUND_TRIP if options.round_trip is None else options.round_trip
    if not math.isfinite(round_trip):
        raise InputError("round_trip", "must be a finite number of milliseconds")
    calling = options.calling
    conditions = Conditions(calling.rate, round_trip / 1000, calling.max_in_flight)
    started = time.monotonic()
    with reading.read_to_end(paths, options.inputs, quiet=options.quiet) as read:
        planner = Planner(read, time.monotonic() - started)
        if target is None:
            made = plan_offline(planner, conditions)
        else:
            made = endings.run_to_end(_read(planner, target, conditions, options))
    if options.as_json:
        terminal.print_json(made.document(options.inputs.names))
    else:
        _print(terminal.Console(sys.stdout), made, options)
    unread = {} if made.server is None else made.server.errors
    return 0 if made.ok else endings.status_of_unread(unread.values()) or endings.FAILED


async def _read(
    planner: Planner, target: Target, conditions: Conditions, options: _Options
) -> Plan:
    trips, users = RoundTrips(), planner.loaded.spool.users
    async with reading.reading_session(
        target, options, users, lambda: planner.users, hooks=[trips]
    ) as session:
        given: dict[str, Any] = {"measured": options.round_trip is None}
        given["most_marked"] = options.max_marked
        return await plan_online(planner, session, trips, conditions, **given)


def _print(console: terminal.Console, plan: Plan, options: _Options) -> None:
    size, effects, conditions = plan.size, plan.effects, plan.conditions
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
        first = f"{each.from_account} {each.conversation}"
        console.say(f"            line {each.line:,}: {first}, {each.rows} rows")
    labelled = effects.labelled(options.inputs.names)
    marks = [(name, str(bit), f"{sets:,}", f"{clears:,}") for name, bit, sets, clears in labelled]
    if effects.custom_set or effects.custom_cleared:
        marks.append(("custom mark", "", f"{effects.custom_set:,}", f"{effects.custom_cleared:,}"))
    console.print_table("", ("mark", "bit", *_COUNTS), marks, numbers=_COUNTS)
    rate = conditions.calls_per_second
    paced = "unpaced" if rate is None else f"at {rate:g} a second"
    text = f"{{call|calls}}, {paced}, with a round trip of {conditions.round_trip * 1000:,.0f} ms"
    console.say_counts((size.calls, text, "bold"))
    checking, sending = precise(plan.checking_seconds), _range(plan.sending_seconds)
    parts = f"{checking} to check it, {sending} to send it"
    console.say(f"  {_range(plan.seconds):>9} to apply the file: {parts}", "bold")
    if plan.server is not None:
        _print_server(console, plan, plan.server, options.max_marked)


def _range(seconds: Seconds) -> str:
    least, most = precise(seconds.least), precise(seconds.most)
    return least if least == most else f"{least} to {most}"


def _print_server(console: terminal.Console, plan: Plan, server: OnServer, max_marked: int) -> None:
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
        shown = terminal.first_of(server.first_unknown_users, server.unknown_users, _MOST_SHOWN)
        console.say(f"            {shown}")
    console.say_counts((server.users_over_limit, over_limit, "red"))
    for each in server.first_over_limit[:_MOST_SHOWN]:
        counts = f"{each.marked:,} marked now, {each.refused:,} refused"
        console.say(f"            {each.from_account}: {counts}")
    console.say_counts((server.unread_users, "{user|users} could not be read", "red"))
    console.say_errors(server.errors, _MOST_SHOWN)
