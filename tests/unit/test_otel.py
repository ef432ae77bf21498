from collections import Counter

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from rig import Rig

from chatmark import Conversation, ConversationMark, MarkChange
from chatmark.emulator import Refuse, Status
from chatmark.otel import OpenTelemetryHook

Values = dict[str, Counter[str]]


class Backend:
    """A place where spans and metrics can be looked at."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.hook = OpenTelemetryHook(tracers, MeterProvider([self.reader]))

    def values(self) -> Values:
        """Return each metric's value by its labels; a histogram's is its count."""
        found: Values = {}
        data = self.reader.get_metrics_data()
        assert data is not None
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    values = found.setdefault(metric.name, Counter())
                    for point in metric.data.data_points:
                        labels = " ".join(map(str, (point.attributes or {}).values()))
                        values[labels] += getattr(point, "count", getattr(point, "value", 0))
        return found


@pytest.fixture
def backend() -> Backend:
    """Give a backend of its own to each test."""
    return Backend()


def changes(count: int) -> list[MarkChange]:
    """Return changes of different conversations of one user."""
    peers = (Conversation.one_to_one(f"p{n}") for n in range(count))
    return [MarkChange("alice", peer, ConversationMark.FAVORITE) for peer in peers]


class TestOpenTelemetryHook:
    async def test_makes_a_span_of_each_request(self, rig: Rig, backend: Backend) -> None:
        """A request is a span with its items, and a failed one has the reason."""
        rig.emulator.script.next(Status(502))
        async with rig.session(hooks=[backend.hook]) as session:
            await session.apply(changes(3))
        spans = backend.spans.get_finished_spans()

        assert ["chatmark mark_contact"] * 2 == [span.name for span in spans]
        assert [StatusCode.ERROR, StatusCode.UNSET] == [span.status.status_code for span in spans]
        assert ["502", None] == [(span.attributes or {}).get("error.type") for span in spans]
        assert [3, 3] == [(span.attributes or {})["chatmark.items"] for span in spans]
        assert all((span.end_time or 0) > (span.start_time or 0) for span in spans)

    async def test_counts_changes_retries_and_renewals(self, rig: Rig, backend: Backend) -> None:
        """Outcomes are counted by code, retries by reason, renewals by whether they were forced."""
        rig.emulator.script.next(Refuse(70001))
        rig.emulator.script.item((1, "p1"), 51008)
        rig.emulator.script.item((1, "p2"), 50004)
        async with rig.session(hooks=[backend.hook]) as session:
            (await session.submit(changes(9)[8])).cancel()
            await session.apply(changes(5))
        values = backend.values()

        assert {"succeeded 0": 4, "failed 51008": 1, "withdrawn none": 1} == values[
            "chatmark.changes"
        ]
        assert {"70001": 5, "50004": 1} == values["chatmark.retries"]
        assert {"False": 1, "True": 1} == values["chatmark.signature.renewals"]
        assert {"mark_contact": 2, "mark_contact 70001": 1} == values["chatmark.request.duration"]

    async def test_shows_no_secret(self, rig: Rig, backend: Backend) -> None:
        """No span holds a URL or a signature."""
        rig.emulator.script.next(Status(502))
        async with rig.session(hooks=[backend.hook]) as session:
            await session.apply(changes(3))
        shown = "".join(span.to_json() for span in backend.spans.get_finished_spans())

        assert "usersig" not in shown
        assert "http" not in shown
