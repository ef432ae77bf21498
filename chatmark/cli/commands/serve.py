"""
`chatmark serve`: the emulator on a port.
"""

import asyncio
import pathlib
import shlex
from typing import TYPE_CHECKING

import attrs
import click

from chatmark.cli.options.groups import GroupedCommand, option_group, options_of
from chatmark.cli.running.signals import call_on_signals
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import read_users

if TYPE_CHECKING:
    from chatmark.emulator import Emulator, FaultScript


@attrs.frozen
class _Options:
    users: str | None
    host: str = "127.0.0.1"
    port: int = 8085
    calls_per_second: int = 200
    round_trip: float = 0.0
    fault_rate: float = 0.0
    item_fault_rate: float = 0.0
    shuffle: bool = False
    seed: int = 0


@click.command(
    cls=GroupedCommand,
    help="""
    Run a server that behaves as Chat does for conversation marks, until Ctrl-C.

    It prints the environment in which chatmark finds it; the secret key is made up. It keeps
    everything in memory.
    """,
)
@option_group(
    "options",
    _Options,
    *options_of(
        _Options,
        "Options",
        {
            "host": "Address to listen on.",
            "port": "Port to listen on; 0 for a free one.",
            "users": "The accounts that exist, one id a line.  [default: all]",
            "calls_per_second": "Answer 60007 beyond; 0 for no limit.",
            "round_trip": "How long an answer takes.",
            "fault_rate": "Share of requests that fail: resets, 502, HTML, cut bodies, 60007, "
            "60008.",
            "item_fault_rate": "Share of items that fail with 50004 or 50005.",
            "shuffle": "Answer with the lines in another order.",
            "seed": "Seed of all chance.",
        },
        env=False,
        host={"default": "127.0.0.1", "show_default": True},
        port={"type": click.IntRange(0, 65_535)},
        users={"metavar": "FILE"},
        round_trip={"metavar": "SECONDS"},
        fault_rate={"type": click.FloatRange(0, 1)},
        item_fault_rate={"type": click.FloatRange(0, 1)},
        seed={"type": int},
    ),
)
def serve(options: _Options) -> int:
    from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads aiohttp's server.

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
    # Ctrl-C is how it is meant to end, so that is success.
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
