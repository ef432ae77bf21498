"""Standard error: lines for people, or with --log-format json an object a line for programs."""

import contextlib
import datetime as dt
import json
import logging
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import click

from chatmark.cli.render.console import broken, clean, stderr_console

#: A command to copy follows these words.
TO_CONTINUE: Final = "to continue: "
# Columns for the level of a message.
_SIGN: Final = len("warning: ")
_COLOURS: Final = {"error": "red", "warning": "yellow"}


@final
@attrs.define
class _Log:
    """How lines are written in this process, and what they are about."""

    as_json: bool = False
    # How often -v was given.
    verbosity: int = 0
    target: str = ""
    phase: str = ""
    # Writes a line above a bar that moves.
    above: Callable[[str], object] | None = None


LOG: Final = _Log()


def reset() -> None:
    """Forget the settings of an earlier command."""
    LOG.__init__()
    logger = logging.getLogger("chatmark")
    logger.setLevel(logging.NOTSET)
    logger.handlers = [each for each in logger.handlers if not isinstance(each, _LibraryLog)]
    logger.addHandler(_LibraryLog())


def set_format(_: object, __: object, name: str | None) -> None:
    """Write lines as *name* says; None changes nothing."""
    LOG.as_json = LOG.as_json if name is None else name == "json"


def set_verbosity(_: object, __: object, count: int) -> None:
    """Write INFO of the library too with 1, and DEBUG with 2."""
    LOG.verbosity = max(LOG.verbosity, count)
    if count:
        level = logging.INFO if count == 1 else logging.DEBUG
        logging.getLogger("chatmark").setLevel(level)


def write(message: str, level: str = "info", **fields: Any) -> None:
    """Write a line; a standard error that is closed or full costs only the line."""
    if LOG.as_json:
        time = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        about = {"time": time, "level": level, "phase": LOG.phase, "target": LOG.target}
        line = json.dumps(about | {"message": message} | fields)
    else:
        colour = _COLOURS.get(level)
        sign = "" if colour is None else click.style(f"{level}:", fg=colour, bold=True) + " "
        line = sign + _fitting(clean(message))
    with contextlib.suppress(OSError, ValueError):
        if LOG.above is None:
            click.echo(line, err=True)
        else:
            LOG.above(line)


def _fitting(message: str) -> str:
    """Return a message as the terminal's lines; a command to copy is a line of its own, whole."""
    console = stderr_console()
    if not console.is_terminal:
        return message
    text, sign, command = message.partition(TO_CONTINUE)
    return broken(text + sign.rstrip(), console.width - _SIGN) + (f"\n{command}" if command else "")


def complain(message: str) -> None:
    """Write an error."""
    write(message, "error")


def warn(message: str) -> None:
    """Write a warning."""
    write(message, "warning")


@final
class _LibraryLog(logging.Handler):
    """
    Writes the library's warnings, and with -v more.

    Its errors are written only then: without, the command ends with the same words.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if record.levelno == logging.WARNING or LOG.verbosity:
            level = "info" if record.levelno <= logging.INFO else record.levelname.lower()
            write(record.getMessage(), level, logger=record.name)
