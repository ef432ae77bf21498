"""
Progress on standard error: two lines that move on a terminal, a plain line now and then elsewhere.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Final, Self, TypeVar

import click
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chatmark.cli.render.console import stderr_console
from chatmark.jobs.reports.progress import Progress

T = TypeVar("T")

_BAR_WIDTH: Final = 40

Clock = Callable[[], float]


class Display(ABC):
    """
    Where progress is shown.

    Attributes:
        interval: Seconds between two looks at it.
    """

    interval: ClassVar[float]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    @abstractmethod
    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """
        Show where things are.
        """


class Silence(Display):
    """
    Shows nothing.
    """

    interval = 3600.0

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """
        Show nothing.
        """


class Lines(Display):
    """
    Writes a line each time, for logs and pipes.
    """

    interval = 5.0

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """
        Write the line.
        """
        percent = "" if fraction is None else f"{fraction:.0%}: "
        click.echo(f"{percent}{line}{'; ' if troubles else ''}{troubles}", err=True)


class Moving(Display):
    """
    Draws a bar and two lines in place, and wipes them at the end.
    """

    interval = 0.1

    def __init__(self) -> None:
        self._live = Live(
            console=stderr_console(),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, line: str, troubles: str = "", fraction: float | None = None) -> None:
        """
        Draw it anew.
        """
        total = None if fraction is None else 1.0
        table = Table.grid()
        table.add_row(ProgressBar(total=total, completed=fraction or 0.0, width=_BAR_WIDTH))
        table.add_row(Text(line))
        if troubles:
            table.add_row(Text(troubles, style="yellow"))
        self._live.update(table, refresh=True)


def display_for(*, quiet: bool) -> Display:
    """
    Return what suits standard error.
    """
    if quiet:
        return Silence()
    if sys.stderr.isatty() and not stderr_console().is_dumb_terminal:
        return Moving()
    return Lines()


def sign_of_reading(
    display: Display, name: str, clock: Clock = time.monotonic
) -> Callable[[int], None]:
    """
    Return what shows now and then how many rows of a file are checked.
    """

    def show(rows: int) -> None:
        display.show(f"checking {name}: {rows:,} rows")

    return _now_and_then(show, display.interval, clock)


def sign_of_progress(display: Display, clock: Clock = time.monotonic) -> Callable[[Progress], None]:
    """
    Return what shows how a job is doing, no more often than the display wants.
    """

    def show(progress: Progress) -> None:
        display.show(progress.line, progress.troubles, progress.fraction)

    return _now_and_then(show, display.interval, clock)


def _now_and_then(show: Callable[[T], None], interval: float, clock: Clock) -> Callable[[T], None]:
    last = clock()

    def sign(news: T) -> None:
        nonlocal last
        now = clock()
        if now - last >= interval:
            last = now
            show(news)

    return sign
