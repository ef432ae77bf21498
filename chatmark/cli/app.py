"""The group of commands, and the exit status of each."""

import importlib
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Final, cast

import click

from chatmark import ChatmarkError
from chatmark.cli import endings, terminal
from chatmark.cli.options import LOGGING

# The commands of each module of `chatmark.cli.commands`.
_COMMANDS: Final = {
    "apply": ("apply", "mark"),
    "compare": ("plan", "verify"),
    "users": ("show", "export", "group"),
    "tools": ("check", "explain", "usersig"),
    "serve": ("serve",),
}


class _Commands(click.Group):
    """Loads commands on demand, so that `explain` needs neither aiohttp nor cattrs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in _COMMANDS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in _COMMANDS.items():
            if cmd_name in names:
                loaded = importlib.import_module(f"chatmark.cli.commands.{module}")
                return cast("click.Command", getattr(loaded, cmd_name))
        return None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click makes it the status 1, which means here that a change failed.
            return endings.BROKEN_PIPE


@click.group(
    cls=_Commands,
    params=[*LOGGING],
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Set, clear and read the conversation marks of Tencent Cloud Chat.

    Credentials come from CHATMARK_SDKAPPID, CHATMARK_IDENTIFIER (administrator by default) and
    CHATMARK_SECRET_KEY or CHATMARK_USERSIG. Every option may be given as CHATMARK_<OPTION> too,
    such as CHATMARK_DRY_RUN=1; the command line overrides the environment.

    Exit status: 0 all is well, 1 some changes failed or differ, 2 the command or its input is
    wrong, 3 the server, the application or the machine stopped the work, 130 interrupted by Ctrl-C,
    143 by SIGTERM or SIGHUP.

    Completion for bash (zsh and fish alike): eval "$(_CHATMARK_COMPLETE=bash_source chatmark)"
    """,
)
@click.version_option(package_name="chatmark", message="%(prog)s %(version)s")
def chatmark() -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    terminal.prepare_streams()
    terminal.reset_log()
    with endings.signals_interrupt():
        try:
            found = chatmark.main(
                list(arguments),
                prog_name="chatmark",
                standalone_mode=False,
                # Messages repeat the command.
                obj=shlex.join(("chatmark", *arguments)),
            )
            status = found if isinstance(found, int) else 0
        except Exception as error:  # noqa: BLE001 - a user gets no traceback.
            status = _status_of(error)
        try:
            sys.stdout.flush()
        except OSError as error:
            status = status or endings.status_of_output(error)
        return status


def _status_of(error: Exception) -> int:
    """Say what ended a command, and return its exit status."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return endings.WRONG
    if isinstance(error, click.ClickException):
        terminal.complain(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            terminal.log(f"try: {error.ctx.command_path} --help")
        return endings.WRONG
    if isinstance(error, click.Abort):
        terminal.complain("interrupted")
        return endings.interrupted_status()
    if isinstance(error, ChatmarkError):
        for line in getattr(error, "complaints", None) or [str(error)]:
            terminal.complain(line)
    elif isinstance(error, OSError):
        terminal.complain(terminal.describe(error))
    else:
        terminal.complain(f"{type(error).__name__}: {error}")
        terminal.complain("this is a fault of chatmark: report it, with what -vv prints")
        trace = "".join(traceback.format_exception(error)) if terminal.LOG.verbosity > 1 else ""
        for line in trace.splitlines():
            terminal.log(line, "debug")
    return endings.status_of(error)
