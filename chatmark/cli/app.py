"""The group of commands, and the exit status of each."""

import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from chatmark import BudgetError, ChatmarkError, InputError
from chatmark.cli.exit_status import BROKEN_PIPE, FAILED, INTERRUPTED, WRONG
from chatmark.cli.render.console import complain, prepare_streams

_COMMANDS: Final = (
    *("apply", "plan", "verify", "show", "group", "export"),
    *("serve", "explain", "usersig"),
)


class _Commands(click.Group):
    """Loads commands on demand, so that `explain` needs neither aiohttp nor cattrs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"chatmark.cli.commands.{cmd_name}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The status of click is 1, which means here that a change failed.
            return _leave_pipe()
        return status


def _leave_pipe() -> int:
    # A reader that closed the pipe needs no message, and the flush at exit must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Set, clear and read the conversation marks of Tencent Cloud Chat.

    Credentials come from CHATMARK_SDKAPPID, CHATMARK_IDENTIFIER (administrator by default) and
    CHATMARK_SECRET_KEY or CHATMARK_USERSIG. Other options may be given as CHATMARK_<OPTION> too;
    the command line overrides the environment.

    Exit status: 0 everything took effect, 1 something failed, 2 the command or its input is wrong,
    130 interrupted.
    """,
)
@click.version_option(package_name="chatmark", message="%(prog)s %(version)s")
def chatmark() -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    prepare_streams()
    try:
        status = chatmark.main(
            list(arguments),
            prog_name="chatmark",
            standalone_mode=False,
            # Messages repeat the command.
            obj=shlex.join(("chatmark", *arguments)),
        )
    except (click.ClickException, click.Abort, ChatmarkError, OSError) as error:
        return _status_of(error)
    return status if isinstance(status, int) else 0


def _status_of(error: Exception) -> int:
    """Print an error, and return the exit status for it."""
    status = WRONG
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
    elif isinstance(error, click.ClickException):
        complain(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"try: {error.ctx.command_path} --help", err=True)
    elif isinstance(error, click.Abort):
        status = INTERRUPTED
        complain("interrupted")
    elif isinstance(error, OSError) and not isinstance(error, ChatmarkError):
        reason = error.strerror or type(error).__name__
        complain(reason if error.filename is None else f"{error.filename}: {reason}")
    else:
        status = WRONG if isinstance(error, InputError | BudgetError) else FAILED
        for line in getattr(error, "complaints", (str(error),)):
            complain(line)
    return status
