"""`chatmark serve`: run the emulator."""

import asyncio
import pathlib
import shlex
from typing import TYPE_CHECKING

import attrs
import click

from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.running.signals import call_on_signals
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import read_users

if TYPE_CHECKING:
    from chatmark.emulator import Emulator, FaultScript


@attrs.frozen
class _Options:
    host: str = option("The address to listen on.", "127.0.0.1")
    port: int = option(
        "The port to listen on; 0 for a free one.", 8085, type=click.IntRange(0, 65_535)
    )
    users: str | None = option(
        "The accounts that exist, one id a line.  [default: all]", metavar="FILE"
    )
    calls_per_second: int = option("Answer further calls with 60007; 0 for no limit.", 200)
    round_trip: float = option("The time to an answer.", 0.0, metavar="SECONDS")
    fault_rate: float = option(
        "The share of requests that fail: resets, 502, HTML, cut bodies, 60007, 60008.",
        0.0,
        type=click.FloatRange(0, 1),
    )
    item_fault_rate: float = option(
        "The share of items that fail with 50004 or 50005.", 0.0, type=click.FloatRange(0, 1)
    )
    shuffle: bool = option("Answer with the lines in another order.", False)
    seed: int = option("The seed of all random decisions.", 0, type=int)


@click.command(
    cls=GroupedCommand,
    help="""
    Run a server that behaves as Chat does for conversation marks, until Ctrl-C.

    It prints the environment variables with which chatmark finds it. The secret key is invented,
    and all marks are in memory only.
    """,
)
@takes_options(_Options)
def serve(options: _Options) -> int:
    from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads aiohttp.

    users = None
    if options.users is not None:
        with pathlib.Path(options.users).open("rb") as stream:
            users = list(read_users(stream, options.users, FileFormat.LINES, "users"))
    emulator = Emulator(
        host=options.host,
        port=options.port,
        users=users,
        calls_per_second=options.calls_per_second or None,
        round_trip=options.round_trip,
        keep_calls=1,
        seed=options.seed,
    )
    emulator.script.shuffle_lines = options.shuffle
    _plan_faults(emulator.script, options)
    asyncio.run(_serve(emulator))
    # Ctrl-C is the normal end, so the status is success.
    return 0


def _plan_faults(script: "FaultScript", options: _Options) -> None:
    from chatmark.emulator import (  # noqa: PLC0415 - as above.
        CutBody,
        Html,
        Refuse,
        ResetAfter,
        ResetBefore,
        Status,
    )

    drops = (ResetBefore(), ResetAfter(), CutBody())
    faults = (Status(502, html=True), *drops, Refuse(60007), Refuse(60008), Html())
    if options.fault_rate:
        script.randomly(options.fault_rate, faults, rng=options.seed)
    if options.item_fault_rate:
        script.items_randomly(options.item_fault_rate, (50004, 50005), rng=options.seed)


async def _serve(emulator: "Emulator") -> None:
    stop = asyncio.Event()
    call_on_signals(stop.set)
    async with emulator:
        for name, value in emulator.credentials_environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo(f"# listening on {emulator.url}; Ctrl-C ends it")
        await stop.wait()
    click.echo(f"# answered {sum(emulator.counts.values()):,} calls")
