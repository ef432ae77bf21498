"""
`chatmark serve`: the emulator on a port.
"""

import asyncio
import pathlib
import shlex
import signal
from typing import TYPE_CHECKING

import click

from chatmark.errors import InputError
from chatmark.models import MAX_USER_ID_BYTES, check_id

if TYPE_CHECKING:
    from chatmark.emulator import Emulator, FaultScript


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8085,
    show_default=True,
    help="Port to listen on; 0 for a free one.",
)
@click.option(
    "--users", metavar="FILE", help="The accounts that exist, one id a line.  [default: all]"
)
@click.option(
    "--calls-per-second",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Answer 60007 beyond; 0 for no limit.",
)
@click.option(
    "--round-trip",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long an answer takes.",
)
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of requests that fail: resets, 502, HTML, cut bodies, 60007, 60008.",
)
@click.option(
    "--item-fault-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of items that fail with 50004 or 50005.",
)
@click.option("--shuffle", is_flag=True, help="Answer with the lines in another order.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all chance.")
def serve(
    host: str,
    port: int,
    users: str | None,
    calls_per_second: int,
    round_trip: float,
    fault_rate: float,
    item_fault_rate: float,
    seed: int,
    *,
    shuffle: bool,
) -> int:
    """
    Run a server that behaves as Chat does for conversation marks, until Ctrl-C.

    It prints the environment in which chatmark finds it; the secret key is made up. It keeps
    everything in memory.
    """
    from chatmark.emulator import Emulator  # noqa: PLC0415 - it loads aiohttp's server.

    emulator = Emulator(
        host=host,
        port=port,
        users=None if users is None else _read_users(users),
        calls_per_second=calls_per_second or None,
        round_trip=round_trip,
        keep_calls=1,
        seed=seed,
    )
    emulator.script.shuffle_lines = shuffle
    _plan_faults(emulator.script, fault_rate, item_fault_rate, seed)
    asyncio.run(_serve(emulator))
    # Ctrl-C is how it is meant to end, so that is success.
    return 0


def _read_users(path: str) -> list[str]:
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("users", "the file is not UTF-8", path) from None
    users = [line.strip() for line in lines if line.strip()]
    for user in users:
        check_id("users", user, MAX_USER_ID_BYTES)
    return users


def _plan_faults(script: "FaultScript", fault_rate: float, item_rate: float, seed: int) -> None:
    from chatmark.emulator import (  # noqa: PLC0415 - as above.
        CutBody,
        Html,
        Refuse,
        ResetAfter,
        ResetBefore,
        Status,
    )

    faults = [
        Status(502, html=True),
        ResetBefore(),
        ResetAfter(),
        Refuse(60007),
        Refuse(60008),
        Html(),
        CutBody(),
    ]
    if fault_rate:
        script.randomly(fault_rate, faults, rng=seed)
    if item_rate:
        script.items_randomly(item_rate, (50004, 50005), rng=seed)


async def _serve(emulator: "Emulator") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with emulator:
        for name, value in emulator.credentials_environment().items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo(f"# listening on {emulator.url}; Ctrl-C ends it")
        await stop.wait()
    click.echo(f"# answered {sum(emulator.counts.values()):,} calls")
