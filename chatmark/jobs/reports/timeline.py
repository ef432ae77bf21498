"""Counters of a job over time, in a few hundred samples however long the job takes."""

from typing import Final, final

import attrs

from chatmark.jobs.counting import Addable

_MOST_SAMPLES: Final = 500
_FIRST_INTERVAL: Final = 1.0


@attrs.frozen
class Throughput(Addable):
    """
    Counters of a job.

    Args:
        applied: Changes that took effect or were in effect already.
        failed: Changes that failed.
        calls: Calls of every kind.
        retries: Items sent again, counted each time.
    """

    applied: int = 0
    failed: int = 0
    calls: int = 0
    retries: int = 0


@attrs.frozen
class Span:
    """The increase of the counters between two moments, in seconds since the start."""

    start: float
    end: float
    counts: Throughput


@final
class Timeline:
    """
    Keeps samples at equal distances; the distance doubles when they become too many.

    The counters only grow, so leaving a sample out loses nothing but detail.

    >>> timeline = Timeline()
    >>> timeline.add(1.0, Throughput(applied=10))
    >>> timeline.add(2.0, Throughput(applied=30))
    >>> [(span.end, span.counts.applied) for span in timeline.spans()]
    [(1.0, 10), (2.0, 20)]
    """

    def __init__(self) -> None:
        self._samples = [(0.0, Throughput())]
        self._latest = self._samples[0]
        self._interval = _FIRST_INTERVAL

    def add(self, at: float, counts: Throughput) -> None:
        """Add the counters since the start, *at* seconds after it, no less than the last time."""
        self._latest = (at, counts)
        if at < self._samples[-1][0] + self._interval:
            return
        self._samples.append(self._latest)
        if len(self._samples) > _MOST_SAMPLES:
            del self._samples[1::2]
            self._interval *= 2

    def spans(self, seconds: float = 0.0) -> list[Span]:
        """Return the spans between samples, each but the last of at least *seconds*."""
        spans: list[Span] = []
        (start, before), *samples = self._samples
        if self._latest is not self._samples[-1]:
            samples.append(self._latest)
        for at, counts in samples:
            if at - start >= seconds or at == self._latest[0]:
                spans.append(Span(start, at, counts - before))
                start, before = at, counts
        return spans
