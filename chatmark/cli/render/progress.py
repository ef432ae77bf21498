"""
Progress on standard error: a bar that moves on a terminal, a plain line at intervals elsewhere.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import ClassVar, Final, Self, TypeVar

import click
import rich.progress

from chatmark.cli.render.console import stderr_console
from chatmark.jobs.reports.progress import Progress

T = TypeVar("T")

_BAR_WIDTH: Final = 16

Clock = Callable[[], float]


class Display(contextlib.AbstractContextManager["Display"]):
    """
    Shows progress; this one shows nothing.

    Attributes:
        interval: Seconds from one line to the next.
    """

    interval: ClassVar[float] = 3600.0

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """Show where a job stands."""


class Lines(Display):
    """Writes a line each time, for logs and pipes."""

    interval = 5.0

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """Write the line."""
        percent = "" if fraction is None else f"{fraction:.0%}: "
        click.echo(f"{percent}{line}{'; ' if troubles else ''}{troubles}", err=True)


class Moving(Display):
    """Draws a bar with the line in place, and wipes both at the end."""

    interval = 0.1

    def __init__(self) -> None:
        self._progress = rich.progress.Progress(
            rich.progress.BarColumn(_BAR_WIDTH),
            rich.progress.TextColumn("{task.description}", markup=False),
            console=stderr_console(),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """Draw them anew."""
        self._progress.update(
            self._task,
            description=f"{line}\n{troubles}".rstrip(),
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
        )
        self._progress.refresh()


def display_for(*, quiet: bool) -> Display:
    """Return the display that suits standard error."""
    if quiet:
        return Display()
    if sys.stderr.isatty() and not stderr_console().is_dumb_terminal:
        return Moving()
    return Lines()


def sign_of_reading(
    display: Display, name: str, clock: Clock = time.monotonic
) -> Callable[[int], None]:
    """Return a function that shows at intervals how many rows of a file are checked."""

    def show(rows: int) -> None:
        display.show(f"checking {name}: {rows:,} rows")

    return _at_intervals(show, display.interval, clock)


def sign_of_progress(display: Display, clock: Clock = time.monotonic) -> Callable[[Progress], None]:
    """Return a function that shows the progress of a job at intervals."""

    def show(progress: Progress) -> None:
        display.show(progress.line, progress.troubles, progress.fraction)

    return _at_intervals(show, display.interval, clock)


def _at_intervals(show: Callable[[T], None], interval: float, clock: Clock) -> Callable[[T], None]:
    last = clock()

    def sign(news: T) -> None:
        nonlocal last
        now = clock()
        if now - last >= interval:
            last = now
            show(news)

    return sign
