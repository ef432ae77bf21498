"""`chatmark check`: prove credentials, region and plan with one call."""

import time
from typing import Final

import attrs
import click

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    InputError,
    ItemRefusedError,
    RefusedError,
)
from chatmark.cli.exit_status import status_of
from chatmark.cli.options.access import SERVER, Access, Target
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.render.console import print_json
from chatmark.cli.render.log import complain, warn
from chatmark.cli.running.reading import run_to_end

_BIT: Final = ConversationMark.extension(63)


@attrs.frozen(kw_only=True)
class _Options:
    access: Access = SERVER
    user: str | None = option(
        "A user of the application.  [default: the identifier]", metavar="USER"
    )
    # A person waits at the terminal.
    deadline: float = option("The time of the call with its retries.", 15.0, metavar="SECONDS")
    as_json: bool = option("Print the result as JSON.", False, names=["--json"])


@click.command(
    cls=GroupedCommand,
    help="""
    Prove credentials, region and plan with one call.

    The call clears bit 63 of the conversation of a user with itself: that of the identifier, or of
    --user. If the server does not know the user, the call proves the credentials and the region.

    Exit status 3 means that the server refuses the application or does not answer.
    """,
)
@takes_options(_Options)
def check(options: _Options) -> int:
    target = options.access.target()
    started = time.monotonic()
    error = run_to_end(_ask(target, options))
    seconds = time.monotonic() - started
    code = error.code if isinstance(error, RefusedError) else 0
    # A refusal of the user comes from a server that has taken the application.
    is_served = error is None or isinstance(error, ItemRefusedError)
    if options.as_json:
        print_json(
            {
                "ok": is_served,
                "target": target.name,
                "plan_proven": error is None,
                "code": code,
                "error": None if error is None else str(error),
                "seconds": round(seconds, 3),
            }
        )
    elif is_served:
        click.echo(f"{target.name}\n  credentials and region are right ({seconds:.2f} s)")
        if error is None:
            click.echo("  the plan includes standard marks")
        else:
            warn(f"the plan is not proven, because the call was refused: give --user. {error}")
    else:
        complain(f"{target.name}: {error}")
    return 0 if error is None or is_served else status_of(error)


async def _ask(target: Target, options: _Options) -> ChatmarkError | None:
    """Make the call, and return the error that it ended with."""
    assert target.credentials is not None, "the command has no --local"  # noqa: S101
    account = options.user or target.credentials.identifier
    try:
        async with target.session(deadline=options.deadline) as session:
            await session.mark(account, Conversation.one_to_one(account), clear_mark=_BIT)
    except InputError:
        raise
    except ChatmarkError as error:
        error.change = None
        return error
    return None
