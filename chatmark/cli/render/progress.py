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
    """Shows progress at intervals of so many seconds; this base class shows nothing."""

    interval: ClassVar[float] = 3600.0

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """Show the progress of a job."""


class Lines(Display):
    """Writes a line each time, for logs and pipes."""

    interval = 5.0

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """Write the line."""
        percent = "" if fraction is None else f"{fraction:.0%}: "
        click.echo(f"{percent}{line}{'; ' if troubles else ''}{troubles}", err=True)


class Moving(Display):
    """Draws a bar and the line in place, and removes both at the end."""

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
        """Draw the bar and the line again."""
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


def reading_reporter(
    display: Display, name: str, clock: Clock = time.monotonic
) -> Callable[[int], None]:
    """Return a function that shows the number of checked rows of a file at intervals."""
    return _at_intervals(
        lambda rows: display.show(f"checking {name}: {rows:,} rows"), display.interval, clock
    )


def job_reporter(display: Display, clock: Clock = time.monotonic) -> Callable[[Progress], None]:
    """Return a function that shows the progress of a job at intervals."""
    return _at_intervals(
        lambda progress: display.show(progress.line, progress.troubles, progress.fraction),
        display.interval,
        clock,
    )


def _at_intervals(show: Callable[[T], None], interval: float, clock: Clock) -> Callable[[T], None]:
    last = clock()

    def report(news: T) -> None:
        nonlocal last
        now = clock()
        if now - last >= interval:
            last = now
            show(news)

    return report
