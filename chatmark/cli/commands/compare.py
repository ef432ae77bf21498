"""`chatmark plan` and `chatmark verify`: compare a file with the server."""

import contextlib
import math
import sys
import time
from typing import Any, Final

import attrs
import click

from chatmark import InputError, jobs
from chatmark.cli import endings, reading, terminal
from chatmark.cli.access import Target
from chatmark.cli.options import command, file_option, option
from chatmark.cli.sending import summary_console
from chatmark.cli.summary import print_read_back
from chatmark.jobs.counting import counted, precise
from chatmark.jobs.forecast import OnServer, Seconds
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.planning import MOST_MARKED
from chatmark.jobs.row_files import DIFFERENCES, RowFile
from chatmark.jobs.server import Difference, read_back_exactly

_ROUND_TRIP: Final = 50.0
_MOST_SHOWN: Final = 5
_COUNTS: Final = ("set in", "cleared in")


@attrs.frozen(kw_only=True)
class _PlanOptions(reading.Comparing):
    offline: bool = option("Do not ask the server.", False)
    round_trip: float | None = option(
        "The time to an answer.  [default: measured]", None, "MS", type=click.FloatRange(min=0)
    )
    max_marked: int = option("A user's most.", MOST_MARKED, "N", type=click.IntRange(min=1))


@command(
    _PlanOptions,
    """
    Predict the effect and the duration of applying FILE; nothing is sent.

    Without --offline it reads all marked conversations of the file's users. Exit status 1 means
    that a change would be refused, or that a user could not be read.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def plan(paths: tuple[str, ...], options: _PlanOptions) -> int:
    target = None if options.offline else options.choose_target()
    round_trip = _ROUND_TRIP if options.round_trip is None else options.round_trip
    if not math.isfinite(round_trip):
        raise InputError("round_trip", "must be a finite number of milliseconds")
    conditions = jobs.Conditions(options.rate, round_trip / 1000, options.max_in_flight)
    started = time.monotonic()
    with reading.read_to_end(paths, options, quiet=options.quiet) as read:
        planner = jobs.Planner(read, time.monotonic() - started)
        if target is None:
            made = jobs.plan_offline(planner, conditions)
        else:
            made = endings.run_to_end(_read(planner, target, conditions, options))
    if options.as_json:
        terminal.print_json(made.document(options.names))
    else:
        _print(terminal.Console(sys.stdout), made, options)
    unread = {} if made.server is None else made.server.errors
    return 0 if made.ok else endings.status_of_unread(unread.values()) or endings.FAILED


async def _read(
    planner: jobs.Planner, target: Target, conditions: jobs.Conditions, options: _PlanOptions
) -> jobs.Plan:
    trips, users = jobs.RoundTrips(), planner.loaded.spool.size.users
    async with reading.reading_session(
        target, users, lambda: planner.users, quiet=options.quiet, hooks=[trips]
    ) as session:
        given: dict[str, Any] = {"measured": options.round_trip is None}
        given["most_marked"] = options.max_marked
        return await jobs.plan_online(planner, session, trips, conditions, **given)


def _print(console: terminal.Console, plan: jobs.Plan, options: _PlanOptions) -> None:
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
        first = f"{each.change.from_account} {each.change.conversation}"
        console.say(f"            line {each.line:,}: {first}, {each.rows} rows")
    labelled = effects.labelled(options.names)
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


def _print_server(
    console: terminal.Console, plan: jobs.Plan, server: OnServer, max_marked: int
) -> None:
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


@attrs.frozen(kw_only=True)
class _VerifyOptions(reading.Comparing):
    exact: bool = option("Compare also what the users have and no row sets.", False)
    differing: str | None = file_option("Write what differs as rows to apply again.")


@command(
    _VerifyOptions,
    """
    Read the conversations of FILE back, and compare them with its rows; nothing is sent.

    Exit status 1 means that something differs, or could not be read. The vendor's clients clear
    hidden and unread themselves: conversations that lack only these are counted apart.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def verify(paths: tuple[str, ...], options: _VerifyOptions) -> int:
    target = options.choose_target()
    outputs = {"--differing": options.differing}
    check_outputs(outputs, [each.path for each in options.files(paths).files])
    result = jobs.ReadBack()
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(reading.read_to_end(paths, options, quiet=options.quiet))
        differing = None
        if options.differing is not None:
            differing = stack.enter_context(RowFile(options.differing, DIFFERENCES))

        def write(difference: Difference) -> None:
            if differing is not None:
                differing.write(difference.row())

        async def compare() -> None:
            async with reading.reading_session(
                target,
                read.spool.size.units,
                lambda: result.conversations,
                quiet=options.quiet,
                phase="verify",
                things="conversations",
            ) as session:
                read_all = read_back_exactly if options.exact else jobs.read_back
                await read_all(session, read.spool, result, write)

        endings.run_to_end(compare())
    ok = result.ok and not read.bad
    if options.as_json:
        document = {"file": read.name, "ok": ok, "exact": options.exact, "set_aside": read.bad}
        terminal.print_json(document | result.document())
    else:
        console = summary_console(outputs)
        counts = counted(result.conversations, "conversation")
        console.say(f"{read.name}: {counts} read back", "bold")
        print_read_back(console, result, options.names)
    if read.bad:
        terminal.complain(f"{counted(read.bad, 'row')} cannot be read and took no part in this")
    return 0 if ok else endings.status_of_unread(result.errors.values()) or endings.FAILED
