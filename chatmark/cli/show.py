"""
`chatmark show`: a user's marked conversations.
"""

import asyncio
import json
from typing import Final

import click

from chatmark.cli.access import Target
from chatmark.cli.console import stdout_console
from chatmark.cli.options import names_option, signer_options, target_options
from chatmark.cli.tables import marked_row, print_marked
from chatmark.models import MAX_USER_ID_BYTES, MarkedConversation, check_id
from chatmark.names import MarkNames

# Somebody waits at the terminal.
_DEADLINE: Final = 15.0


@click.command()
@click.argument("user")
@target_options
@signer_options
@names_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, one conversation a line.")
@click.pass_context
def show(ctx: click.Context, user: str, names: MarkNames, *, as_json: bool) -> None:
    """
    Show the conversations of USER that have marks, custom marks or groups.
    """
    check_id("user", user, MAX_USER_ID_BYTES)
    marked = asyncio.run(_read(Target.of(ctx), user))
    if as_json:
        for each in marked:
            click.echo(json.dumps(marked_row(user, each, names)))
    else:
        print_marked(stdout_console(), user, marked, names)


async def _read(target: Target, user: str) -> list[MarkedConversation]:
    async with target.session(deadline=_DEADLINE) as session:
        return [each async for each in session.marked(user)]
