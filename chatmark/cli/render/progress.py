"""
Progress on standard error: a bar that moves on a terminal, a plain line at intervals elsewhere.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import ClassVar, Final, Self, TypeVar

import attrs
import rich.progress
import rich.table
import rich.text

from chatmark.cli.render import log
from chatmark.cli.render.console import stderr_console
from chatmark.jobs.reports.progress import Counters, Meter, Progress

T = TypeVar("T")

_BAR_WIDTH: Final = 10

Clock = Callable[[], float]


class Display(contextlib.AbstractContextManager["Display"]):
    """Shows progress at intervals of so many seconds; this base class shows nothing."""

    interval: ClassVar[float] = 3600.0

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Show the progress of a job."""


class Lines(Display):
    """Writes a line each time, for logs and pipes."""

    interval = 5.0

    def show(self, progress: Progress) -> None:
        """Write the line."""
        log.LOG.phase = progress.phase
        log.write(
            "; ".join(filter(None, (progress.line, progress.troubles))),
            done=progress.counters.done,
            total=progress.total,
            per_second=round(progress.rate, 1),
            calls=progress.counters.calls,
        )


class Moving(Display):
    """Draws a bar and two lines in place, and removes them at the end."""

    interval = 0.1

    def __init__(self) -> None:
        cut = rich.table.Column(no_wrap=True, overflow="ellipsis")
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.fields[head]}", markup=False),
            rich.progress.BarColumn(_BAR_WIDTH),
            rich.progress.TextColumn("{task.description}", markup=False, table_column=cut),
            console=stderr_console(),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=None, head="")

    def __enter__(self) -> Self:
        self._progress.start()
        log.LOG.above = self._write
        return self

    def __exit__(self, *_: object) -> None:
        log.LOG.above = None
        self._progress.stop()

    def _write(self, line: str) -> None:
        self._progress.console.print(rich.text.Text.from_ansi(line), soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Draw the bar and the lines again."""
        log.LOG.phase = progress.phase
        below = ", ".join(filter(None, (progress.effort, progress.troubles)))
        fraction = progress.fraction
        self._progress.update(
            self._task,
            description=f"{progress.work}\n{below}".rstrip(),
            head=progress.head,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
        )
        self._progress.refresh()


def display_for(*, quiet: bool) -> Display:
    """Return the display that suits standard error."""
    if quiet:
        return Display()
    if sys.stderr.isatty() and not log.LOG.as_json and not stderr_console().is_dumb_terminal:
        return Moving()
    return Lines()


def reading_reporters(
    display: Display,
    share: Callable[[], float | None] = lambda: None,
    clock: Clock = time.monotonic,
) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """Return functions that show how many rows were checked, and how many changes are grouped."""
    meter = Meter(None, clock(), things="rows", phase="check")

    def check(rows: int) -> None:
        display.show(attrs.evolve(meter.at(clock(), Counters(rows)), share=share()))

    def group(changes: int) -> None:
        display.show(Progress(Counters(), changes, 0.0, 0.0, phase="group"))

    interval = display.interval
    return _at_intervals(check, interval, clock), _at_intervals(group, interval, clock)


def job_reporter(display: Display, clock: Clock = time.monotonic) -> Callable[[Progress], None]:
    """Return a function that shows the progress of a job at intervals."""
    return _at_intervals(display.show, display.interval, clock)


def _at_intervals(show: Callable[[T], None], interval: float, clock: Clock) -> Callable[[T], None]:
    last = clock()

    def report(news: T) -> None:
        nonlocal last
        now = clock()
        if now - last >= interval:
            last = now
            show(news)

    return report
