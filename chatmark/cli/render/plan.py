"""A plan, as tables."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console

from chatmark import MarkNames
from chatmark.cli.render.console import first_of, print_table, say, say_counts, say_errors
from chatmark.jobs.counting import counted
from chatmark.jobs.planning.forecast import Seconds
from chatmark.jobs.planning.plan import OnServer, Plan
from chatmark.jobs.reports.progress import precise

_MOST_SHOWN: Final = 5
_BOLD: Final = "bold"
_BAD: Final = "red"
_COUNTS: Final = ("set in", "cleared in")
_REFUSALS: Final = ("marked now", "refused")


def print_plan(console: Console, plan: Plan, names: MarkNames, max_marked: int) -> None:
    """Print a plan."""
    size, effects = plan.size, plan.effects
    say(
        console,
        f"{plan.file}: {counted(size.changes, 'change')} in {counted(plan.rows, 'row')}",
        _BOLD,
    )
    say_counts(
        console,
        (plan.set_aside, "{row|rows} cannot be applied and would be set aside", _BAD),
        (size.users, "{user|users}", ""),
        (size.units, "{conversation|conversations}", ""),
        (
            effects.repeated,
            "{change names|changes name} a conversation that an earlier row named",
            "",
        ),
        (
            effects.contradicting,
            "{conversation has|conversations have} contradicting rows: the later row wins",
            "yellow",
        ),
    )
    for each in effects.contradictions[:_MOST_SHOWN]:
        first = f"{each.from_account} {each.conversation}"
        say(console, f"            line {each.line:,}: {first}, {each.rows} rows")
    print_table(console, "", ("mark", "bit", *_COUNTS), _marks(plan, names), numbers=_COUNTS)
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
    say_counts(console, (plan.size.calls, text, _BOLD))
    checking = precise(plan.checking_seconds)
    parts = f"{checking} to check it, {_range(plan.sending_seconds)} to send it"
    say(console, f"  {_range(plan.seconds):>9} to apply the file: {parts}", _BOLD)


def _range(seconds: Seconds) -> str:
    least, most = precise(seconds.least), precise(seconds.most)
    return least if least == most else f"{least} to {most}"


def _print_server(console: Console, plan: Plan, server: OnServer, max_marked: int) -> None:
    say(console, "")
    say(console, f"The server, read with {counted(server.calls_read, 'call')}:", _BOLD)
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
    say_counts(
        console,
        (
            server.unchanged,
            "{conversation is|conversations are} as the file wants {it|them} already",
            "",
        ),
        (calls if server.unchanged else 0, skipping, "green" if saved > 0 else ""),
        (server.unknown_users, "{user is|users are} not known to the server (50001)", _BAD),
    )
    if server.unknown_users:
        shown = first_of(server.first_unknown_users, server.unknown_users, _MOST_SHOWN)
        say(console, f"            {shown}")
    say_counts(console, (server.users_over_limit, over_limit, _BAD))
    if server.users_over_limit:
        rows = [
            (each.from_account, f"{each.marked:,}", f"{each.refused:,}")
            for each in server.first_over_limit[:_MOST_SHOWN]
        ]
        print_table(console, "", ("user", *_REFUSALS), rows, numbers=_REFUSALS)
    say_counts(console, (server.unread_users, "{user|users} could not be read", _BAD))
    say_errors(console, server.errors, _MOST_SHOWN)
