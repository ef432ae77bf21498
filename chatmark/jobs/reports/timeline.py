"""
How a job went over time, in a few hundred points however long it takes.
"""

from collections.abc import Sequence
from typing import Final, final

import attrs

from chatmark.jobs.counting import Addable

_MOST_SAMPLES: Final = 500
_FIRST_INTERVAL: Final = 1.0


@attrs.frozen
class Counts(Addable):
    """
    Reading of a running job, all of them since its start.

    Args:
        applied: Changes that took effect, those that were so already among them.
        failed: Changes that failed.
        calls: Calls made, of every kind.
        retries: Items sent again, counted each time.
    """

    applied: int = 0
    failed: int = 0
    calls: int = 0
    retries: int = 0


@attrs.frozen
class Sample:
    """
    The counters at one moment.

    Args:
        at: Seconds since the start of the job.
        counts: The counters.
    """

    at: float
    counts: Counts


@attrs.frozen
class Span:
    """
    The counters between two moments.

    Args:
        start: Seconds since the start of the job.
        end: Likewise.
        counts: The increase of the counters.
    """

    start: float
    end: float
    counts: Counts


@final
class Timeline:
    """
    Keeps samples at equal distances; the distance doubles when they become too many.

    The counters only grow, so leaving a sample out loses nothing but detail.

    >>> timeline = Timeline()
    >>> timeline.add(1.0, Counts(applied=10))
    >>> timeline.add(2.0, Counts(applied=30))
    >>> [(span.end, span.counts.applied) for span in timeline.spans()]
    [(1.0, 10), (2.0, 20)]
    """

    def __init__(self) -> None:
        self._samples: list[Sample] = [Sample(0.0, Counts())]
        self._latest = self._samples[0]
        self._interval = _FIRST_INTERVAL

    def add(self, at: float, counts: Counts) -> None:
        """
        Note the counters.

        Args:
            at: Seconds since the start of the job, no less than the last time.
            counts: The counters.
        """
        self._latest = Sample(at, counts)
        if at < self._samples[-1].at + self._interval:
            return
        self._samples.append(self._latest)
        if len(self._samples) > _MOST_SAMPLES:
            del self._samples[1::2]
            self._interval *= 2

    @property
    def samples(self) -> Sequence[Sample]:
        """
        The samples that were kept, the start and the last one among them.
        """
        if self._latest is self._samples[-1]:
            return tuple(self._samples)
        return (*self._samples, self._latest)

    def spans(self, seconds: float = 0.0) -> list[Span]:
        """
        Return the spans between samples, each of at least *seconds*.
        """
        spans: list[Span] = []
        samples = self.samples
        start = samples[0]
        for number, sample in enumerate(samples[1:], 1):
            if sample.at - start.at >= seconds or number == len(samples) - 1:
                spans.append(Span(start.at, sample.at, sample.counts - start.counts))
                start = sample
        return spans
