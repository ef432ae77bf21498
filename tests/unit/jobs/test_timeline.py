from chatmark.jobs.reports.report import Throughput, Timeline


class TestSpans:
    def test_bounded(self) -> None:
        """
        A job of a month has some hundred spans, from its start to its end, and nothing is lost.
        """
        timeline = Timeline()
        for number in range(30 * 24 * 60):
            timeline.add(60.0 * number, Throughput(applied=number))
        spans = timeline.spans()

        assert 250 <= len(spans) <= 502
        assert [0.0, *(each.end for each in spans[:-1])] == [each.start for each in spans]
        assert 60.0 * (30 * 24 * 60 - 1) == spans[-1].end
        assert all(each.counts.applied * 60.0 == each.end - each.start for each in spans)

    def test_short(self) -> None:
        """The last counters count, however soon they come after the ones before."""
        timeline = Timeline()
        timeline.add(0.25, Throughput(applied=1))
        timeline.add(0.5, Throughput(applied=2))

        assert [(0.0, 0.5, 2)] == [(s.start, s.end, s.counts.applied) for s in timeline.spans()]

    def test_hours(self) -> None:
        """Spans of an hour hold what happened in it, and nothing is lost."""
        timeline = Timeline()
        for second in range(0, 9_001, 10):
            timeline.add(float(second), Throughput(second, second // 10, 2 * second, 1))
        hours = timeline.spans(3600.0)

        assert 3 == len(hours)
        assert 3600.0 <= hours[0].end <= 3700.0
        assert hours[0].end == hours[1].start
        assert 9_000.0 == hours[-1].end
        assert (9_000, 900, 18_000, 1) == tuple(
            sum(getattr(span.counts, name) for span in hours)
            for name in ("applied", "failed", "calls", "retries")
        )

    def test_nothing(self) -> None:
        """A job without a second look has no spans."""
        assert [] == Timeline().spans()
